//! What somebody writes, as a test says it.

use super::files::File;

/// What somebody writes.
///
/// ```
/// use nanoclaw_fakes::telegram::{FakeTelegram, File, Said};
/// let said = Said::text("look, Andy").reply_to(3).mention("Andy", FakeTelegram::BOT_ID).file(File::photo(b"a photo"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    pub(super) text: String,
    pub(super) reply_to: Option<i32>,
    pub(super) topic: Option<i32>,
    pub(super) mention: Option<(String, i64)>,
    pub(super) file: Option<File>,
    pub(super) media: Option<Vec<u8>>,
    pub(super) album: Option<i64>,
    pub(super) forwarded_from: Option<String>,
}

impl Said {
    /// A text, or a file's caption. `@names` and `/commands` in it stand out, as Telegram makes them.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// It answers the message of this id in the same chat.
    #[must_use]
    pub fn reply_to(self, id: i32) -> Self {
        Self { reply_to: Some(id), ..self }
    }

    /// It is in the topic of a forum that begins with the message of this id; topics come to be so.
    #[must_use]
    pub fn topic(self, first: i32) -> Self {
        Self { topic: Some(first), ..self }
    }

    /// The first place of the text where `part` stands is a mention of somebody by their id, as of people without a username.
    #[must_use]
    pub fn mention(self, part: &str, user: i64) -> Self {
        Self { mention: Some((part.to_owned(), user)), ..self }
    }

    /// It comes with a file.
    #[must_use]
    pub fn file(self, file: File) -> Self {
        Self { file: Some(file), ..self }
    }

    /// It comes with something that is no file, as a place or a contact: the bytes of a `MessageMedia`.
    #[must_use]
    pub fn media(self, media: Vec<u8>) -> Self {
        Self { media: Some(media), ..self }
    }

    /// It is one of several messages that are shown as one; they have the same number.
    #[must_use]
    pub fn album(self, number: i64) -> Self {
        Self { album: Some(number), ..self }
    }

    /// It was first written by somebody of this name.
    #[must_use]
    pub fn forwarded_from(self, name: &str) -> Self {
        Self { forwarded_from: Some(name.to_owned()), ..self }
    }
}
