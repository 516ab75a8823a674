//! Files that come with messages: which are fetched, and from where.

use nanoclaw_core::attachment::{Attachment, Fetched};
use reqwest::{Response, StatusCode, Url};

use super::{Discord, client::Client, event::File};
use crate::{
    channels::{
        arriving::too_many,
        clean_name,
        download::{self, Stopped, plain, too_large},
    },
    files::Spool,
};

impl Discord {
    /// Fetches the files of a message into `arriving/`. Returns what the message says of each, and its name there.
    pub(super) async fn fetch_all(&self, client: &Client, files: &[File]) -> (Vec<Attachment>, Vec<Option<String>>) {
        let (mut attachments, mut names) = (Vec::new(), Vec::new());
        for (number, file) in files.iter().enumerate() {
            let fetched = match &self.files {
                None => Err("this host takes no files".to_owned()),
                Some(spool) if number >= spool.limits().per_message => Err(too_many(spool)),
                Some(spool) => fetch(client, spool, file).await,
            };
            let reason = fetched.as_ref().err().cloned();
            attachments.push(Attachment {
                kind: kind_of(file).to_owned(),
                name: file.filename.as_deref().and_then(clean_name),
                fetched: Fetched::No { reason },
            });
            names.push(fetched.ok());
        }
        (attachments, names)
    }
}

/// Fetches one file; an error is why there is none, as it follows "not fetched: ".
async fn fetch(client: &Client, spool: &Spool, file: &File) -> Result<String, String> {
    let url = address(file, client.api_url(), spool.limits().file_bytes)?;
    // The same name for the same file, so that a message that is said again does not leave a second one.
    let name = format!("discord-{}", plain(&file.id));
    // Without the token: who has the address has the file.
    download::fetch(spool, &name, || client.files().get(url.clone()), judge).await?;
    Ok(name)
}

/// Whether the answer is the file.
fn judge(answer: &Response) -> Result<(), Stopped> {
    match answer.status() {
        StatusCode::OK => Ok(()),
        StatusCode::NOT_FOUND => Err(Stopped::For("it is not there any more".to_owned())),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(Stopped::Perhaps(format!("Discord answered with {status}")))
        }
        status => Err(Stopped::For(format!("Discord answered with {status}"))),
    }
}

/// Where a file is; an error is why it is not fetched. Only Discord's own addresses are asked: the host asks nobody else for what a
/// stranger names.
fn address(file: &File, api_url: &Url, most: u64) -> Result<Url, String> {
    if file.size.is_some_and(|bytes| bytes > most) {
        return Err(too_large(most));
    }
    let url = file.url.as_deref().and_then(|url| Url::parse(url).ok()).ok_or("Discord does not say where it is")?;
    let host = url.host_str().unwrap_or_default();
    let is_discords = ["discord.com", "discordapp.com", "discordapp.net"]
        .iter()
        .any(|own| host == *own || host.strip_suffix(own).is_some_and(|before| before.ends_with('.')));
    if url.scheme() == "https" && is_discords || url.origin() == api_url.origin() {
        Ok(url)
    } else {
        Err("it is not kept by Discord".to_owned())
    }
}

fn kind_of(file: &File) -> &'static str {
    match file.content_type.as_deref().unwrap_or_default() {
        kind if kind.starts_with("audio/") && file.duration_secs.is_some() => "voice",
        kind if kind.starts_with("image/") => "photo",
        kind if kind.starts_with("audio/") => "audio",
        kind if kind.starts_with("video/") => "video",
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
        let api = Url::parse("https://discord.com").unwrap();
        address(&file(more), &api, 1 << 20).map(|url| url.to_string())
    }

    #[test]
    fn files_are_fetched_of_discord_and_of_nobody_else() {
        for good in ["https://cdn.discordapp.com/attachments/1/2/a.png?ex=1", "https://media.discordapp.net/a"] {
            assert_eq!(of(json!({ "url": good })).unwrap(), good);
        }
        for bad in [
            "http://cdn.discordapp.com/a",
            "https://evildiscordapp.com/a",
            "https://discordapp.com.evil.example/a",
            "https://discordapp.com@evil.example/a",
            "https://169.254.169.254/latest",
            "not an address",
        ] {
            assert!(of(json!({ "url": bad })).is_err(), "{bad}");
        }
        assert!(of(json!({})).is_err());
        let large = json!({"url": "https://cdn.discordapp.com/a", "size": 2 << 20});
        assert!(of(large).unwrap_err().contains("larger than 1MiB"));
    }

    #[test]
    fn a_file_is_called_what_people_would_call_it() {
        for (more, kind) in [
            (json!({"content_type": "image/png"}), "photo"),
            (json!({"content_type": "audio/ogg", "duration_secs": 1.5}), "voice"),
            (json!({"content_type": "audio/ogg"}), "audio"),
            (json!({"content_type": "application/pdf"}), "document"),
            (json!({}), "document"),
        ] {
            assert_eq!(kind_of(&file(more)), kind);
        }
    }
}
