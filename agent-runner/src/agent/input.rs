//! What comes in on standard input: one JSON object, then end of file.

use std::{collections::BTreeMap, io::Read as _};

use anyhow::{Context as _, bail};
use nanoclaw_core::{protocol::input::ContainerInput, secret::Secret};
use serde::Deserialize;

/// The most bytes that are read; a prompt of this size fits no model.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What stands before a task's prompt. The last sentence is there because an agent that does not know it sends its answer by a
/// tool as well, and the chat sees it twice (fault F64).
pub(crate) const TASK_NOTICE: &str = "[SCHEDULED TASK - started by the scheduler: nobody wrote this just now, and nobody is \
there to answer a question. What you answer is sent to the chat.]";

/// The variables that a v1 host hands over as secrets on standard input; anything else there is ignored.
const V1_SECRETS: [&str; 4] =
    ["CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"];

/// The input, taken apart.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) input: ContainerInput,
    /// Logins from a v1 host, for the provider's process alone. Ours sends none: the gateway has them.
    pub(crate) secrets: BTreeMap<&'static str, Secret>,
}

/// Reads standard input to its end.
///
/// # Errors
/// It cannot be read, is too large, or is no such object.
pub(crate) async fn receive() -> anyhow::Result<Received> {
    let bytes = tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes).map(|_| bytes)
    })
    .await
    .context("reading standard input was interrupted")?
    .context("cannot read standard input")?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("it has more than {MAX_BYTES} bytes");
    }
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> anyhow::Result<Received> {
    #[derive(Deserialize)]
    struct Secrets {
        #[serde(default)]
        secrets: BTreeMap<String, String>,
    }

    if bytes.trim_ascii().is_empty() {
        bail!("standard input is empty; one JSON object is expected there");
    }
    let input: ContainerInput =
        serde_json::from_slice(bytes).context("standard input is not the JSON object expected")?;
    let given = serde_json::from_slice::<Secrets>(bytes).map(|found| found.secrets).unwrap_or_default();
    let secrets = V1_SECRETS
        .into_iter()
        .filter_map(|name| Some((name, Secret::new(given.get(name).filter(|value| !value.is_empty())?))))
        .collect();
    Ok(Received { input, secrets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v1_hosts_input_is_taken_with_its_secrets() {
        let received = parse(
            br#"{"prompt":"hi","groupFolder":"family","chatJid":"1203@g.us","isMain":false,"later":1,
                "secrets":{"ANTHROPIC_API_KEY":"k","PATH":"/evil"}}"#,
        )
        .unwrap();
        assert_eq!(received.input.prompt, "hi");
        assert_eq!(received.secrets.keys().copied().collect::<Vec<_>>(), ["ANTHROPIC_API_KEY"]);
        assert_eq!(received.secrets["ANTHROPIC_API_KEY"].reveal(), "k");
    }

    #[test]
    fn what_is_wrong_with_the_input_is_said() {
        let error = parse(b" \n").unwrap_err();
        assert!(format!("{error:#}").contains("is empty"), "{error:#}");
        let error = parse(br#"{"prompt":"hi"}"#).unwrap_err();
        assert!(format!("{error:#}").contains("groupFolder"), "{error:#}");
    }
}
