//! When the window fills: the conversation so far is put into `conversations/` of the group's folder, word for word, and the
//! model goes on with a summary of it.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    super::archive::{self, Entry},
    conversation::{Message, Said, Seen},
};

/// Of a conversation this part of the window may be full before the next request.
const FULL: f64 = 0.8;
/// Of the window this part may be what a summary is made of; the rest is for the summary, and for errors of the guess.
const TO_SUMMARISE: f64 = 0.5;
/// About how many bytes are a token; fewer than in plain English, to be on the safe side.
const BYTES_A_TOKEN: f64 = 3.0;
/// How much of a message a summary is made of.
const SUMMARISED_CHARACTERS: usize = 4000;

/// What the model is asked for.
pub(super) const TASK: &str = "\
Below is a conversation between an assistant (you) and the people of a chat, which has become too long to be kept. Write \
what you need to go on as if you remembered it: who the people are and what they want, what was agreed and promised, what \
was done and with which result (names of files, numbers, dates, decisions), what is still open, and what was being done \
last. Leave out what can be read in files. Do not answer the conversation; write the notes alone.";

/// Whether the conversation is to be compacted before the next request. `tokens` is what it had after the last answer, as
/// far as the API told, and `added` the bytes that came since.
pub(super) fn is_due(window: u64, tokens: Option<u64>, added: usize, all: usize) -> bool {
    let guess = |bytes: usize| bytes as f64 / BYTES_A_TOKEN;
    let full = tokens.map_or_else(|| guess(all), |tokens| tokens as f64 + guess(added));
    full > window as f64 * FULL
}

/// The conversation as a text that fits into the window beside a summary: the end of it, if it is too long.
pub(super) fn to_summarise(messages: &[Message], window: u64) -> String {
    let text = text(messages, SUMMARISED_CHARACTERS);
    let room = (window as f64 * TO_SUMMARISE * BYTES_A_TOKEN) as usize;
    let cut = text.len().saturating_sub(room);
    if cut == 0 {
        return text;
    }
    let cut = (cut..text.len()).find(|place| text.is_char_boundary(*place)).unwrap_or(text.len());
    format!("[The first {cut} bytes of the conversation do not fit here.]\n{}", &text[cut..])
}

/// What stands for the conversation from then on.
pub(super) fn summary(text: &str, archive: Option<&Path>) -> Message {
    let archive = archive.map_or_else(String::new, |path| format!(" All of it is in {}.", path.display()));
    Message::User(vec![Seen::text(format!(
        "[The conversation before this became too long and was cut.{archive} Your notes about it:]\n\n{text}"
    ))])
}

/// Puts the conversation into a new file of `folder` and says which.
pub(super) fn archive(folder: &Path, messages: &[Message]) -> io::Result<PathBuf> {
    archive::write(folder, &text(messages, archive::ARCHIVED_CHARACTERS))
}

fn text(messages: &[Message], characters: usize) -> String {
    archive::text(messages.iter().flat_map(entries), characters)
}

fn entries(message: &Message) -> Vec<Entry> {
    match message {
        Message::User(parts) => vec![Entry::new("User", seen(parts))],
        Message::Model(parts) => parts
            .iter()
            .filter_map(|part| match part {
                Said::Text { text } => Some(Entry::new("Assistant", text.as_str())),
                Said::ToolUse(used) => {
                    Some(Entry::new(format!("Assistant uses {}", used.name), used.input.to_string()))
                }
                Said::Reasoning { .. } | Said::Kept { .. } => None,
            })
            .collect(),
        Message::Results(results) => results
            .iter()
            .map(|result| Entry::new(if result.is_error { "Failed" } else { "Result" }, seen(&result.content)))
            .collect(),
    }
}

fn seen(parts: &[Seen]) -> String {
    let part = |part: &Seen| match part {
        Seen::Text { text } => text.clone(),
        Seen::Image { media_type, .. } => format!("({media_type})"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn conversation() -> Vec<Message> {
        vec![
            Message::User(vec![Seen::text("first question")]),
            Message::Model(vec![Said::text("x".repeat(10_000))]),
            Message::User(vec![Seen::text("last question")]),
        ]
    }

    #[test]
    fn it_is_due_when_four_fifths_of_the_window_are_full() {
        assert!(!is_due(1000, Some(700), 200, 0));
        assert!(is_due(1000, Some(700), 400, 0));
        assert!(is_due(1000, None, 0, 2700) && !is_due(1000, None, 0, 2000));
    }

    #[test]
    fn what_is_summarised_fits_and_ends_with_the_end() {
        let text = to_summarise(&conversation(), 1000);
        assert!(
            text.len() < 1600 && text.starts_with("[The first") && text.trim_end().ends_with("last question"),
            "{text}"
        );
        assert!(to_summarise(&conversation(), 200_000).starts_with("**User**: first question"));
    }

    #[test]
    fn an_archive_is_a_new_file_with_every_message_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let conversations = folder.path().join("conversations");
        let first = archive(&conversations, &conversation()).unwrap();
        let second = archive(&conversations, &conversation()).unwrap();
        assert_ne!(first, second);
        let text = fs::read_to_string(&second).unwrap();
        assert!(text.contains("first question") && text.contains("last question") && text.len() < 3000, "{text}");
    }
}
