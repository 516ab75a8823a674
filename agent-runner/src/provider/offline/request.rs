//! Asking the host for something: a request file, and the answer file of the same name.

use std::time::Duration;

use nanoclaw_core::{
    mailbox::{Folder, Mailbox, MailboxError, Watcher},
    protocol::requests::{Answer, MessageRequest},
    time::Timestamp,
};
use tokio::time::timeout;

use crate::provider::random_bytes;

/// How long the host may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the host to send `text` to `chat`. `None`: no answer came in time, as from a v1 host, which gives none.
pub(super) async fn send(mailbox: &Mailbox, chat: &str, text: &str) -> Result<Option<Answer>, MailboxError> {
    let request = MessageRequest::Message { chat_jid: chat.to_owned(), text: text.to_owned(), sender: None };
    let name = format!("{}-{}.json", Timestamp::now().as_ms(), six_letters());
    // Watched before the request is there: the answer cannot come unseen.
    let answers = mailbox.answers()?;
    let (mut watch, _) = Watcher::watch_or_rescan(answers.path());
    let bytes = serde_json::to_vec(&request).expect("a request has text keys only, and cannot fail to serialise");
    mailbox.messages()?.write(&name, &bytes)?;
    let answer = async {
        loop {
            watch.changed().await;
            if let Some(answer) = take(&answers, &name)? {
                return Ok(answer);
            }
        }
    };
    timeout(PATIENCE, answer).await.ok().transpose()
}

/// Reads and removes the answer `name`, if it is there. By its name alone: there may be any number of others.
fn take(answers: &Folder, name: &str) -> Result<Option<Answer>, MailboxError> {
    if !answers.has(name)? {
        return Ok(None);
    }
    let read = std::fs::read(answers.path().join(name)).map_err(|error| error.to_string());
    answers.remove(name)?;
    let answer = read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
    Ok(Some(
        answer.unwrap_or_else(|error| Answer::Failed { reason: format!("the host's answer makes no sense: {error}") }),
    ))
}

/// Six characters of base 36, as v1's names have them.
fn six_letters() -> String {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    random_bytes::<6>().iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}
