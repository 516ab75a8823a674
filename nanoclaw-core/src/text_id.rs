//! The shape that all text ids share: a checked constructor, display as the bare text, and the same text on the wire.

/// A text was refused as an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} {reason}")]
pub struct InvalidId {
    /// Which kind of id was wanted, in words ("chat id").
    pub what: &'static str,
    /// The refused text, shortened to 80 characters.
    pub text: String,
    /// What is wrong and what would be right.
    pub reason: &'static str,
}

impl InvalidId {
    pub(crate) fn new(what: &'static str, text: &str, reason: &'static str) -> Self {
        Self { what, text: text.chars().take(80).collect(), reason }
    }
}

/// Checks a text that comes from a chat service: not empty, at most `max_bytes`, no control characters.
pub(crate) fn plain_text(text: &str, max_bytes: usize) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > max_bytes {
        return Err("is too long");
    }
    if text.chars().any(char::is_control) {
        return Err("has a control character in it");
    }
    Ok(())
}

/// Declares a text id: `text_id! { /// doc  ChatId, "chat id", check_function }`.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            #[doc = concat!("Takes `text` as a ", $what, ".")]
            ///
            /// # Errors
            /// [`InvalidId`](crate::InvalidId) says what is wrong with it.
            pub fn new(text: impl Into<String>) -> Result<Self, crate::InvalidId> {
                let text = text.into();
                let check: fn(&str) -> Result<(), &'static str> = $check;
                match check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(reason) => Err(crate::InvalidId::new($what, &text, reason)),
                }
            }

            /// The bare text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::InvalidId;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = crate::InvalidId;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(crate) use text_id;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ChatId;

    #[test]
    fn an_id_shows_and_is_written_as_its_bare_text() {
        let id = ChatId::new("tg:-100123").unwrap();
        assert_eq!((id.to_string(), format!("{id:?}")), ("tg:-100123".to_owned(), "\"tg:-100123\"".to_owned()));
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"tg:-100123\"");
        assert_eq!(serde_json::from_str::<ChatId>("\"tg:-100123\"").unwrap(), id);
        assert_eq!("tg:-100123".parse::<ChatId>().unwrap(), id);
    }

    #[test]
    fn the_check_holds_on_every_way_in() {
        let bad = "a\nb";
        let expected = InvalidId::new("chat id", bad, "has a control character in it");
        assert_eq!(ChatId::new(bad).unwrap_err(), expected);
        assert_eq!(bad.parse::<ChatId>().unwrap_err(), expected);
        assert_eq!(ChatId::try_from(bad.to_owned()).unwrap_err(), expected);
        let error = serde_json::from_str::<ChatId>(r#""a\nb""#).unwrap_err().to_string();
        assert!(error.contains("chat id \"a\\nb\" has a control character in it"), "{error}");
    }

    #[test]
    fn a_refused_text_is_shown_in_part_only() {
        let error = ChatId::new("é".repeat(1000)).unwrap_err();
        assert_eq!(error.text, "é".repeat(80));
        assert_eq!(error.reason, "is too long");
    }

    #[test]
    fn plain_text_has_bounds_in_bytes_and_no_control_characters() {
        assert_eq!(plain_text("", 4), Err("is empty"));
        assert_eq!(plain_text("éé", 4), Ok(()));
        assert_eq!(plain_text("ééx", 4), Err("is too long"));
        for text in ["\0", "a\tb", "\u{7f}", "\u{85}"] {
            assert_eq!(plain_text(text, 4), Err("has a control character in it"), "{text:?}");
        }
    }
}
