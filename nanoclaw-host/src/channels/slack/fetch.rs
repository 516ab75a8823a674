//! Files that come with messages: which are fetched, and fetching one into the spool's `arriving/`.

use nanoclaw_core::{
    attachment::{Attachment, Fetched},
    secret::Secret,
};
use reqwest::{Response, StatusCode, Url, header};

use super::{Slack, client::Client, event::File};
use crate::{
    channels::{
        arriving::too_many,
        clean_name,
        download::{self, Stopped, plain, too_large},
    },
    files::Spool,
};

impl Slack {
    /// Fetches the files of a message into `arriving/`. Returns what the message says of each, and its name there.
    pub(super) async fn fetch_all(
        &self,
        client: &Client,
        bot: &Secret,
        conversation: &str,
        files: &[File],
    ) -> (Vec<Attachment>, Vec<Option<String>>) {
        let (mut attachments, mut names) = (Vec::new(), Vec::new());
        for (number, file) in files.iter().enumerate() {
            let fetched = match &self.files {
                None => Err("this host takes no files".to_owned()),
                Some(spool) if number >= spool.limits().per_message => Err(too_many(spool)),
                Some(spool) => fetch(client, bot, spool, conversation, file).await,
            };
            let reason = fetched.as_ref().err().cloned();
            attachments.push(Attachment {
                kind: kind_of(file).to_owned(),
                name: file.name.as_deref().and_then(clean_name),
                fetched: Fetched::No { reason },
            });
            names.push(fetched.ok());
        }
        (attachments, names)
    }
}

/// Fetches one file; an error is why there is none, as it follows "not fetched: ".
async fn fetch(
    client: &Client,
    bot: &Secret,
    spool: &Spool,
    conversation: &str,
    file: &File,
) -> Result<String, String> {
    let most = spool.limits().file_bytes;
    let url = address(file, client.api_url(), most)?;
    // The same name for the same file, so that a message that is said again does not leave a second one.
    let name = format!("slack-{}-{}", plain(conversation), plain(&file.id));
    let request = || client.files().get(url.clone()).bearer_auth(bot.reveal());
    download::fetch(spool, &name, request, |answer| judge(answer, file)).await?;
    Ok(name)
}

/// Whether the answer is the file.
fn judge(answer: &Response, file: &File) -> Result<(), Stopped> {
    let is_page = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("text/html")));
    let is_meant = file.mimetype.as_deref().is_some_and(|kind| kind.starts_with("text/html"));
    match answer.status() {
        // Who may not see a file is shown the page to log in.
        StatusCode::OK if is_page && !is_meant => {
            Err(Stopped::For("Slack does not let the app see it; it needs the scope files:read".to_owned()))
        }
        StatusCode::OK => Ok(()),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(Stopped::Perhaps(format!("Slack answered with {status}")))
        }
        status if status.is_redirection() => {
            Err(Stopped::For("Slack does not let the app see it; it needs the scope files:read".to_owned()))
        }
        status => Err(Stopped::For(format!("Slack answered with {status}"))),
    }
}

/// Where a file is; an error is why it is not fetched. Only Slack's own addresses are asked, because the token goes along.
fn address(file: &File, api_url: &Url, most: u64) -> Result<Url, String> {
    match file.mode.as_deref() {
        Some("tombstone") => return Err("it was deleted".to_owned()),
        Some("hidden_by_limit") => return Err("the workspace's plan hides it".to_owned()),
        _ => {}
    }
    if file.size.is_some_and(|bytes| bytes > most) {
        return Err(too_large(most));
    }
    let url = file.url_private_download.as_deref().or(file.url_private.as_deref());
    let url = url.and_then(|url| Url::parse(url).ok()).ok_or("Slack does not say where it is")?;
    let host = url.host_str().unwrap_or_default();
    let slacks = url.scheme() == "https" && (host == "slack.com" || host.ends_with(".slack.com"));
    if slacks || url.origin() == api_url.origin() {
        Ok(url)
    } else {
        Err("it is not kept by Slack, but linked from elsewhere".to_owned())
    }
}

fn kind_of(file: &File) -> &'static str {
    match (file.subtype.as_deref(), file.mimetype.as_deref().unwrap_or_default()) {
        (Some("slack_audio"), _) => "voice",
        (_, kind) if kind.starts_with("image/") => "photo",
        (_, kind) if kind.starts_with("audio/") => "audio",
        (_, kind) if kind.starts_with("video/") => "video",
        _ => "document",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(more: serde_json::Value) -> File {
        serde_json::from_value(more).unwrap()
    }

    fn of(more: serde_json::Value) -> Result<String, String> {
        let api = Url::parse("https://slack.com/api").unwrap();
        address(&file(more), &api, 1 << 20).map(|url| url.to_string())
    }

    #[test]
    fn the_token_goes_to_slack_and_to_nobody_else() {
        let good = "https://files.slack.com/files-pri/T1-F1/a.png";
        assert_eq!(of(json!({"url_private": good})).unwrap(), good);
        for bad in [
            "http://files.slack.com/a",
            "https://slack.com.evil.example/a",
            "https://evilslack.com/a",
            "https://docs.google.com/a",
            "https://files.slack.com@evil.example/a",
            "not an address",
        ] {
            assert!(of(json!({ "url_private": bad })).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_fetched_says_why() {
        let url = "https://files.slack.com/a";
        for (more, reason) in [
            (json!({"url_private": url, "size": 2 << 20}), "larger than 1MiB"),
            (json!({"url_private": url, "mode": "tombstone"}), "deleted"),
            (json!({"mode": "hidden_by_limit"}), "plan"),
            (json!({}), "does not say where"),
            (json!({"url_private": "https://docs.google.com/a"}), "elsewhere"),
        ] {
            assert!(of(more.clone()).unwrap_err().contains(reason), "{more}");
        }
    }

    #[test]
    fn a_file_is_called_what_people_would_call_it() {
        for (more, kind) in [
            (json!({"mimetype": "image/png"}), "photo"),
            (json!({"mimetype": "audio/mp4", "subtype": "slack_audio"}), "voice"),
            (json!({"mimetype": "application/pdf"}), "document"),
            (json!({}), "document"),
        ] {
            assert_eq!(kind_of(&file(more)), kind);
        }
    }
}
