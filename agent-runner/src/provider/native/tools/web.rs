//! Fetches a page from the web, through the gateway: only hosts that the operator allowed answer. HTML comes as Markdown.

use std::{sync::OnceLock, time::Duration};

use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Outcome, Tool, Workplace, elsewhere};
use crate::{places::set, provider::native::conversation::Seen};

const TIME: Duration = Duration::from_secs(60);
/// The most bytes that are read.
const BYTES: usize = 5 * 1024 * 1024;
const REDIRECTS: usize = 5;
/// What init sets when any host is allowed (see `egress`).
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

pub(super) struct WebFetch;

#[derive(Deserialize)]
pub(super) struct Input {
    url: String,
}

impl Tool for WebFetch {
    const NAME: &'static str = "WebFetch";
    const DESCRIPTION: &'static str = "Fetches a page or file of text from the web (GET) and gives its text; HTML becomes \
        Markdown. Only hosts that the operator allowed for this group can be reached; others are refused, and trying again \
        does not help. At most 5 MB are read, in 60 seconds; a long text is cut in the middle.";
    type Input = Input;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {"url": {"type": "string", "description": "The address, with https:// or http://."}},
            "required": ["url"],
        })
    }

    async fn call(_: &Workplace, input: Input) -> Outcome {
        let url = reqwest::Url::parse(&input.url).map_err(|error| format!("{:?} is no address: {error}", input.url))?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(format!("{}: addresses cannot be fetched; only https and http", url.scheme()));
        }
        fetch(url).await
    }
}

/// Made when it is first needed: it reads the system's certificates.
fn client() -> Result<&'static reqwest::Client, String> {
    static CLIENT: OnceLock<Result<reqwest::Client, String>> = OnceLock::new();
    let made = CLIENT.get_or_init(|| {
        crate::provider::native::install_tls();
        reqwest::Client::builder()
            .user_agent(concat!("NanoClaw/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
            .timeout(TIME)
            .build()
            .map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|error| format!("nothing can be fetched: {error}"))
}

async fn fetch(url: reqwest::Url) -> Outcome {
    let inside = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if !inside && PROXIES.iter().all(|name| set(name).is_none()) {
        return Err("this group may reach no host: the operator allows hosts with `allow = [\"example.com\"]` in \
            nanoclaw.toml, for this group or all"
            .to_owned());
    }
    let response = client()?.get(url.clone()).send().await.map_err(|error| told(&url, &error))?;
    let status = response.status();
    let end = response.url().clone();
    let kind = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("text/plain").to_ascii_lowercase();
    let text_like = ["text/", "json", "xml", "javascript", "yaml"].iter().any(|word| kind.contains(word));
    if status.is_success() && !text_like {
        return Err(format!("{end} is {kind}, which is no text; get it with Bash (curl -o)"));
    }
    let (mut bytes, mut cut) = (Vec::new(), false);
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| told(&url, &error))?;
        let room = chunk.len().min(BYTES - bytes.len());
        bytes.extend_from_slice(&chunk[..room]);
        if room < chunk.len() {
            cut = true;
            break;
        }
    }
    let mut text = elsewhere(move || Ok(readable(&kind, &bytes))).await?;
    if cut {
        text.push_str(&format!("\n[Only the first {BYTES} bytes were read.]"));
    }
    if status.is_success() {
        let from = if end == url { String::new() } else { format!("(from {end})\n\n") };
        Ok(vec![Seen::text(format!("{from}{text}"))])
    } else {
        Err(format!("{end} says {status}: {text}"))
    }
}

fn readable(kind: &str, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if !kind.contains("html") {
        return text.into_owned();
    }
    let markdown =
        htmd::HtmlToMarkdown::builder().skip_tags(vec!["script", "style", "noscript", "svg", "iframe"]).build();
    markdown.convert(&text).unwrap_or_else(|_| text.into_owned())
}

fn told(url: &reqwest::Url, error: &reqwest::Error) -> String {
    let causes = nanoclaw_core::causes::with_causes(error);
    format!("{url} cannot be fetched: {causes}; perhaps its host is not allowed for this group")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_as_markdown_without_its_programs() {
        let page = "<html><head><title>T</title><style>p{}</style><script>evil()</script></head>\
            <body><h1>Head</h1><p>Some <b>bold</b> <a href=\"/x\">link</a></p><ul><li>one</li></ul></body></html>";
        let text = readable("text/html; charset=utf-8", page.as_bytes());
        assert!(text.contains("# Head") && text.contains("**bold**") && text.contains("[link](/x)"), "{text}");
        assert!(!text.contains("evil") && !text.contains("p{}"), "{text}");
        assert_eq!(readable("application/json", b"{\"a\": 1}"), "{\"a\": 1}");
    }

    #[tokio::test]
    async fn what_is_no_web_address_is_refused() {
        let workplace = Workplace::new("/".as_ref(), "/".as_ref());
        for (url, part) in [("file:///etc/passwd", "only https and http"), ("not one", "no address")] {
            let told = WebFetch::call(&workplace, Input { url: url.into() }).await.unwrap_err();
            assert!(told.contains(part), "{told}");
        }
    }
}
