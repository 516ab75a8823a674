//! `[gateway]` and `[[gateway.upstreams]]`: what groups may reach besides the model, and how much of it.

use std::time::Duration;

use http::{HeaderName, Method};
use nanoclaw_core::group::GroupFolder;
use toml::de::DeValue;

use super::{
    Config,
    mistake::{Mistake, Place},
    reader::{Reader, Section},
    setting::{Setting, Source},
    value::{self, Raw, Right, Rule},
};
use crate::gateway::{AllowList, FurtherUpstream, Injection, Limits, Policy, PrivateEndpoints, UpstreamName};

/// What groups may reach besides the model, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// The hosts and ports that every group may reach.
    pub allow: Setting<AllowList>,
    /// Those, and upstreams, that may have an address that is not public.
    pub private: Setting<PrivateEndpoints>,
    /// Connections of one group at a time.
    pub max_connections: Setting<u32>,
    /// Tunnels of one group at a time.
    pub max_tunnels: Setting<u32>,
    /// Requests of one group in a minute.
    pub max_requests_per_minute: Setting<u32>,
    /// Bytes of one request's body.
    pub max_request_size: Setting<u64>,
    /// How long a request, an answer or a tunnel may stand still.
    pub idle_timeout: Setting<Duration>,
    /// How long a request may take.
    pub request_timeout: Setting<Duration>,
    /// Further upstreams, in the order of the file.
    pub upstreams: Vec<UpstreamConfig>,
}

/// One of `[[gateway.upstreams]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Its name.
    pub name: UpstreamName,
    /// Its address, before the path that the agent asks for.
    pub base_url: String,
    /// How the credential is presented.
    pub inject: Injection,
    /// The name of the credential in the credentials file or the environment.
    pub secret: String,
    /// The methods that may be used.
    pub methods: Vec<Method>,
    /// The prefixes of paths.
    pub paths: Vec<String>,
    /// The groups that may use it.
    pub groups: Groups,
}

/// Which groups are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// All of them.
    All,
    /// These.
    Of(Vec<GroupFolder>),
}

impl Groups {
    pub(super) fn has(&self, group: &GroupFolder) -> bool {
        match self {
            Self::All => true,
            Self::Of(groups) => groups.contains(group),
        }
    }
}

impl GatewayConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let usual = Limits::default();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let time = || value::duration(Duration::from_secs(1)..=Duration::from_secs(7 * 86_400));
        let mut section = reader.section("gateway");
        let mut upstreams = Vec::new();
        section.tables("upstreams", |table| upstreams.extend(UpstreamConfig::read(table)));
        let config = Self {
            allow: allow(&mut section).unwrap_or_else(|| Setting::default_to(AllowList::default())),
            private: section.read("private", None, PrivateEndpoints::default(), private()),
            max_connections: section.read("max_connections", None, count(usual.connections), value::count(1..=1024)),
            max_tunnels: section.read("max_tunnels", None, count(usual.tunnels), value::count(1..=1024)),
            max_requests_per_minute: section.read(
                "max_requests_per_minute",
                None,
                usual.requests_a_minute,
                value::count(1..=1_000_000),
            ),
            max_request_size: section.read(
                "max_request_size",
                None,
                usual.request_bytes,
                value::size(64 << 10..=64 << 30),
            ),
            idle_timeout: section.read("idle_timeout", None, usual.idle, time()),
            request_timeout: section.read("request_timeout", None, usual.request_time, time()),
            upstreams,
        };
        section.finish();
        config
    }

    /// What is wrong with the lists taken together.
    pub(super) fn check(&self, groups: &[(&str, &Setting<AllowList>)], file: &std::path::Path) -> Vec<Mistake> {
        let own = ("gateway", &self.allow);
        let mut mistakes = Vec::new();
        for (section, allow) in std::iter::once(&own).chain(groups) {
            let alone = allow.entries().iter().filter(|one| one.is_address() && !self.private.has_endpoint(one));
            for endpoint in alone {
                let place = match &allow.source {
                    Source::File { file, line } => Place::Line { file: file.clone(), line: *line },
                    Source::Variable(name) => Place::Variable(name.clone()),
                    Source::Default | Source::Because(_) => Place::File(file.to_owned()),
                };
                let message = format!(
                    "{section}.allow has the address {endpoint}; allow names, or make it an exception of yours by listing \
                     it in gateway.private too"
                );
                mistakes.push(Mistake { place, key: Some(format!("{section}.allow")), message });
            }
        }
        mistakes
    }
}

impl UpstreamConfig {
    fn read(table: &mut Section<'_, '_>) -> Option<Self> {
        let get = "the methods that may be used, such as [\"GET\", \"POST\"]";
        let name = table.need("name", |raw: &Raw<'_>| {
            let text = value::line(32)(raw)?;
            text.parse::<UpstreamName>().map_err(Right::from)
        });
        let base_url = table.need("base_url", value::line(1024));
        let inject = table.need("inject", injection);
        let secret = table.need("secret", secret_name);
        let methods = table.read("methods", None, vec![Method::GET, Method::HEAD], move |raw: &Raw<'_>| {
            let words = value::texts()(raw).map_err(|_| get)?;
            let method = |word: &String| {
                let good = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase());
                let method = word.parse::<Method>().ok().filter(|_| good)?;
                (![Method::CONNECT, Method::TRACE].contains(&method)).then_some(method)
            };
            words.iter().map(method).collect::<Option<Vec<_>>>().ok_or_else(|| get.into())
        });
        let paths = table.read("paths", None, vec!["/".to_owned()], |raw: &Raw<'_>| {
            const RIGHT: &str = "a list of beginnings of paths, such as [\"/repos/me\"]";
            let paths = value::texts()(raw).map_err(|_| RIGHT)?;
            if paths.iter().all(|path| path.starts_with('/')) { Ok(paths) } else { Err(RIGHT.into()) }
        });
        let groups = table.read("groups", None, Groups::Of(Vec::new()), groups);
        Some(Self {
            name: name?,
            base_url: base_url?,
            inject: inject?,
            secret: secret?,
            methods: methods.value,
            paths: paths.value,
            groups: groups.value,
        })
    }
}

impl Config {
    /// What `group` may do through the gateway, besides the model API.
    #[must_use]
    pub fn gateway_policy(&self, group: &GroupFolder) -> Policy {
        let own = self.groups.get(group).and_then(|own| own.allow.as_ref());
        let general = self.gateway.allow.entries();
        let allow = match own {
            // An empty list is said on purpose: nothing at all.
            Some(own) if own.is_empty() => AllowList::default(),
            Some(own) => general.iter().chain(own.entries()).cloned().collect(),
            None => general.iter().cloned().collect(),
        };
        let gateway = &self.gateway;
        let may_ask = gateway.upstreams.iter().filter(|upstream| upstream.groups.has(group));
        Policy {
            model_api: false,
            allow,
            private: gateway.private.value.clone(),
            upstreams: may_ask.map(|upstream| upstream.name.to_string()).collect(),
            limits: Limits {
                connections: *gateway.max_connections as usize,
                tunnels: *gateway.max_tunnels as usize,
                requests_a_minute: *gateway.max_requests_per_minute,
                request_bytes: *gateway.max_request_size,
                idle: *gateway.idle_timeout,
                request_time: *gateway.request_timeout,
                ..Limits::default()
            },
            run: None,
            allowed_in: Some(format!("[gateway] or [groups.{group}]")),
        }
    }

    /// The further upstreams, each with its secret as it is now.
    #[must_use]
    pub fn further_upstreams(&self) -> Vec<FurtherUpstream> {
        let upstreams = self.gateway.upstreams.iter();
        upstreams
            .map(|upstream| {
                let UpstreamConfig { name, base_url, inject, secret, methods, paths, groups: _ } = upstream.clone();
                let secret = self.credentials.secret_named(&secret);
                FurtherUpstream { name, base_url, inject, secret, methods, paths }
            })
            .collect()
    }

    /// What is odd about upstreams, a sentence each: those without their secret.
    pub(super) fn upstreams_without_secret(&self) -> Vec<String> {
        let missing = self.gateway.upstreams.iter().filter(|one| self.credentials.secret_named(&one.secret).is_none());
        missing
            .map(|UpstreamConfig { name, secret, .. }| {
                format!(
                    "the upstream {name} cannot be used: there is no {secret}; `nanoclaw auth set {secret}` stores one"
                )
            })
            .collect()
    }
}

/// `allow`, of all groups or of one.
pub(super) fn allow(section: &mut Section<'_, '_>) -> Option<Setting<AllowList>> {
    section.lookup("allow", None, |raw: &Raw<'_>| {
        let entries = value::texts()(raw).map_err(|_| HOSTS)?;
        AllowList::parse(entries.iter().map(String::as_str)).map_err(with_hosts)
    })
}

const HOSTS: &str = "a list of hosts such as [\"registry.npmjs.org\", \"*.example.com:8443\"]";

fn with_hosts(problem: String) -> Right {
    format!("{HOSTS}: {problem}").into()
}

fn private() -> impl Rule<PrivateEndpoints> {
    |raw: &Raw<'_>| {
        let entries = value::texts()(raw).map_err(|_| HOSTS)?;
        PrivateEndpoints::parse(entries.iter().map(String::as_str)).map_err(with_hosts)
    }
}

fn injection(raw: &Raw<'_>) -> Result<Injection, Right> {
    const RIGHT: &str =
        "\"bearer\", { header = \"x-api-key\" }, { basic = \"user\" } or { query = \"key\" }, one of them";
    let Raw::Toml(value) = raw else { return Err(RIGHT.into()) };
    match value {
        DeValue::String(word) if word == "bearer" => Ok(Injection::Bearer),
        DeValue::Table(table) if table.len() == 1 => {
            let (key, value) = table.iter().next().ok_or(RIGHT)?;
            let text = value::line(128)(&Raw::Toml(value.get_ref())).map_err(|_| RIGHT)?;
            match key.get_ref().as_ref() {
                "header" => {
                    let name: HeaderName = text.parse().map_err(|_| RIGHT)?;
                    let of_the_connection =
                        ["host", "connection", "content-length", "transfer-encoding", "te", "upgrade"];
                    if of_the_connection.contains(&name.as_str()) {
                        Err(RIGHT.into())
                    } else {
                        Ok(Injection::Header(name))
                    }
                }
                "basic" if !text.contains(':') => Ok(Injection::Basic(text)),
                "query" => Ok(Injection::Query(text)),
                _ => Err(RIGHT.into()),
            }
        }
        _ => Err(RIGHT.into()),
    }
}

fn secret_name(raw: &Raw<'_>) -> Result<String, Right> {
    const RIGHT: &str =
        "the name of a line in ~/.config/nanoclaw/credentials such as \"GITHUB_TOKEN\", never the secret itself";
    let text = value::line(64)(raw).map_err(|_| RIGHT)?;
    let good = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if good { Ok(text) } else { Err(RIGHT.into()) }
}

fn groups(raw: &Raw<'_>) -> Result<Groups, Right> {
    const RIGHT: &str = "a list of groups' folders such as [\"family\"], or [\"*\"] for all";
    let words = value::texts()(raw).map_err(|_| RIGHT)?;
    if words == ["*"] {
        return Ok(Groups::All);
    }
    let folders = words.into_iter().map(GroupFolder::new).collect::<Result<_, _>>();
    folders.map(Groups::Of).map_err(|_| RIGHT.into())
}
