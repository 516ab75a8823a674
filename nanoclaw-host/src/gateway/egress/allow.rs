//! Which hosts and ports a group may reach, as the operator lists them and as a request names them.

use std::{fmt, net::IpAddr, str::FromStr};

use reqwest::Url;

/// The port of an entry that names none.
const DEFAULT_PORT: u16 = 443;

/// The host of a request, in the one form in which everybody reads it the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// Lower case, ASCII, without a dot at its end.
    Name(String),
    /// An address, written in full.
    Address(IpAddr),
}

impl Host {
    /// Reads the host of a request. `Err` says what is wrong with it: among the forms that some programs take for an address
    /// (`2130706433`, `0x7f.1`, `0177.0.0.1`) only the usual one is understood.
    pub(crate) fn of_request(text: &str) -> Result<Self, &'static str> {
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']').and_then(|inner| inner.parse().ok());
            return address
                .map(|address| Self::Address(IpAddr::V6(address)))
                .ok_or("what is in brackets is no IPv6 address");
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label_is_good = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
        };
        if name.len() > 253 || !name.split('.').all(label_is_good) {
            return Err("it is no host name");
        }
        // The rule of the URL standard for what must be an address: the last label is a number.
        let last = name.rsplit('.').next().unwrap_or_default();
        let hexadecimal = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
            let address = name.parse().map_err(|_| "an address must be written as four decimal numbers")?;
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(Host),
    /// Every name that ends in a dot and this.
    Below(String),
}

/// One entry of a list: `registry.npmjs.org`, `*.example.com:8443`, `10.0.0.5:5432`. Names are compared without case, in
/// their ASCII form; `*.` stands for one label or more, and not for the name behind it. Without a port, 443 is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: Pattern,
    port: u16,
}

impl Endpoint {
    fn matches(&self, host: &Host, port: u16) -> bool {
        let host_matches = match (&self.host, host) {
            (Pattern::Exact(own), asked) => own == asked,
            (Pattern::Below(suffix), Host::Name(name)) => {
                name.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (Pattern::Below(_), Host::Address(_)) => false,
        };
        host_matches && self.port == port
    }

    /// Whether it names one host, not all below one.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self.host, Pattern::Exact(_))
    }

    /// Whether its host is an address.
    pub(crate) fn is_address(&self) -> bool {
        matches!(self.host, Pattern::Exact(Host::Address(_)))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Pattern::Exact(host) => write!(f, "{host}:{}", self.port),
            Pattern::Below(suffix) => write!(f, "*.{suffix}:{}", self.port),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    /// `Err` says what is wrong with `text`, which it names.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?} {what}");
        let (host, port) = split_port(text).ok_or_else(|| wrong("has a port that is none"))?;
        let (below, host) = match host.strip_prefix("*.") {
            Some(suffix) => (true, suffix),
            None => (false, host),
        };
        if host.is_empty() || host.contains(['*', '/', '@', '?', '#', '%', '\\', ' ']) {
            return Err(wrong("is not a host such as \"example.com\", \"*.example.com\" or \"example.com:8443\""));
        }
        let ascii = Url::parse(&format!("https://{host}/")).ok().and_then(|url| url.host_str().map(str::to_owned));
        let ascii = ascii.ok_or_else(|| wrong("is not a host name"))?;
        let host = Host::of_request(&ascii).map_err(|problem| wrong(&format!("cannot be a host: {problem}")))?;
        match (below, host) {
            (false, Host::Address(address)) => {
                // Other spellings of an address (`0x7f.1`) mean something else to other readers.
                let written = text.strip_prefix('[').and_then(|rest| rest.split(']').next()).or(text.split(':').next());
                if written.and_then(|written| written.parse::<IpAddr>().ok()) != Some(address) {
                    return Err(wrong(&format!("is an address in disguise; write {address}")));
                }
                Ok(Self { host: Pattern::Exact(Host::Address(address)), port })
            }
            (false, name) => Ok(Self { host: Pattern::Exact(name), port }),
            (true, Host::Name(suffix)) if suffix.contains('.') => Ok(Self { host: Pattern::Below(suffix), port }),
            (true, Host::Name(_)) => Err(wrong("would allow a whole top-level domain; name the domain itself")),
            (true, Host::Address(_)) => Err(wrong("has an address behind *., which has nothing below it")),
        }
    }
}

fn split_port(text: &str) -> Option<(&str, u16)> {
    let colon = match text.strip_prefix('[') {
        Some(_) => text.find("]:").map(|at| at + 1),
        None => text.rfind(':'),
    };
    match colon {
        None => Some((text, DEFAULT_PORT)),
        Some(at) => {
            let port = text[at + 1..].parse().ok().filter(|port| *port != 0)?;
            Some((&text[..at], port))
        }
    }
}

/// What a group may reach, in the order in which it was listed; empty: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowList(Vec<Endpoint>);

impl AllowList {
    /// The list of these.
    ///
    /// # Errors
    /// What is wrong with the first entry that is none.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        entries.into_iter().map(str::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nothing can be reached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[Endpoint] {
        &self.0
    }

    /// The entry that allows `host` and `port`.
    pub(crate) fn rule(&self, host: &Host, port: u16) -> Option<&Endpoint> {
        self.0.iter().find(|endpoint| endpoint.matches(host, port))
    }
}

impl FromIterator<Endpoint> for AllowList {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(endpoints: I) -> Self {
        Self(endpoints.into_iter().collect())
    }
}

/// Endpoints that may have an address that is not public, by exact host and port: the operator's exception. It allows no
/// group anything by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrivateEndpoints(Vec<Endpoint>);

impl PrivateEndpoints {
    /// The exception of these.
    ///
    /// # Errors
    /// What is wrong with the first entry that is none, or that names more than one host.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let endpoint = |text: &str| {
            let endpoint: Endpoint = text.parse()?;
            if endpoint.is_exact() { Ok(endpoint) } else { Err(format!("{text:?} names more than one host")) }
        };
        entries.into_iter().map(endpoint).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `host` and `port` are excepted.
    pub(crate) fn has(&self, host: &Host, port: u16) -> bool {
        self.0.iter().any(|endpoint| endpoint.matches(host, port))
    }

    /// Whether `endpoint` is among them.
    pub(crate) fn has_endpoint(&self, endpoint: &Endpoint) -> bool {
        self.0.contains(endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(list: &[&str], host: &str, port: u16) -> bool {
        let list = AllowList::parse(list.iter().copied()).unwrap();
        Host::of_request(host).is_ok_and(|host| list.rule(&host, port).is_some())
    }

    #[test]
    fn a_host_is_allowed_by_its_exact_name_and_port() {
        let list = ["Registry.NPMjs.org", "example.com:8443"];
        assert!(allowed(&list, "registry.npmjs.org", 443));
        assert!(allowed(&list, "REGISTRY.npmjs.ORG.", 443), "case and the dot of the root say nothing");
        assert!(allowed(&list, "example.com", 8443));
        for (host, port) in [
            ("registry.npmjs.org", 80),
            ("example.com", 443),
            ("npmjs.org", 443),
            ("x.registry.npmjs.org", 443),
            ("registry.npmjs.org.evil.com", 443),
            ("evilregistry.npmjs.org", 443),
            ("registry.npmjs.org..", 443),
        ] {
            assert!(!allowed(&list, host, port), "{host}:{port}");
        }
    }

    #[test]
    fn a_star_stands_for_labels_and_not_for_the_name_behind_it() {
        let list = ["*.example.com"];
        assert!(allowed(&list, "a.example.com", 443));
        assert!(allowed(&list, "a.b.example.com", 443));
        for host in ["example.com", "notexample.com", ".example.com", "a.example.com.evil.net"] {
            assert!(!allowed(&list, host, 443), "{host}");
        }
    }

    #[test]
    fn an_international_name_is_compared_in_its_ascii_form() {
        assert!(allowed(&["bücher.example"], "xn--bcher-kva.example", 443));
        assert!(!allowed(&["bücher.example"], "bcher.example", 443));
    }

    #[test]
    fn an_address_is_read_in_its_usual_form_alone() {
        for text in ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.01", "1.2.3.4.5", "0x"] {
            assert!(Host::of_request(text).is_err(), "{text}: {:?}", Host::of_request(text));
        }
        assert_eq!(Host::of_request("10.0.0.5").unwrap().to_string(), "10.0.0.5");
        assert_eq!(Host::of_request("[::1]").unwrap().to_string(), "[::1]");
        for text in ["", ".", "a..b", "a b", "a%2eb", "user@host", "[::1", "[fe80::1%25eth0]", "ho\u{7f}st", "a/b"] {
            assert!(Host::of_request(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_entry_that_cannot_be_meant_is_refused_and_named() {
        for (text, problem) in [
            ("", "is not a host"),
            ("*", "is not a host"),
            ("*.com", "whole top-level domain"),
            ("*.10.0.0.1", "address behind"),
            ("a.*.com", "is not a host"),
            ("https://example.com", "port that is none"),
            ("example.com/path", "is not a host"),
            ("example.com:0", "port"),
            ("example.com:99999", "port"),
            ("user@example.com", "is not a host"),
            ("0x7f.1", "in disguise; write 127.0.0.1"),
            ("2130706433:80", "in disguise"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        assert_eq!("10.0.0.5:8443".parse::<Endpoint>().unwrap().to_string(), "10.0.0.5:8443");
        assert_eq!("[fd00::1]:8443".parse::<Endpoint>().unwrap().to_string(), "[fd00::1]:8443");
        assert_eq!("[fd00::1]".parse::<Endpoint>().unwrap().to_string(), "[fd00::1]:443");
        assert!(PrivateEndpoints::parse(["*.example.com"]).unwrap_err().contains("more than one host"));
    }
}
