//! A session: an agent's conversation that can be resumed. A chat can have several, by name, and goes on with one at a time.

use crate::{
    InvalidId,
    text_id::{plain_text, text_id},
};

text_id! {
    /// The provider's own name for a conversation. Up to 256 bytes without control characters.
    SessionId, "session id", |text| plain_text(text, 256)
}

text_id! {
    /// What people call one of their chat's conversations. Up to 32 letters, digits, `-` and `_`, in lower case.
    SessionName, "session name", |text| {
        if text.is_empty() || text.chars().count() > MOST_NAME {
            return Err("has to have 1 to 32 characters");
        }
        if !text.chars().all(|c| (c.is_alphanumeric() || matches!(c, '-' | '_')) && c.to_lowercase().eq([c])) {
            return Err("has to be one word of letters, digits, - and _");
        }
        Ok(())
    }
}

/// The most characters of a name.
const MOST_NAME: usize = 32;

impl SessionName {
    /// The name that somebody has said, in whatever case.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn said(text: &str) -> Result<Self, InvalidId> {
        Self::new(text.trim().to_lowercase())
    }
}

impl Default for SessionName {
    /// That of a chat's conversation that nobody has named.
    fn default() -> Self {
        Self::new("default").expect("a word in lower case is a name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_is_any_plain_text() {
        assert!(SessionId::new("0b9e9a1c-5c1f-4a66-9d3c-1e8b5f5a2a10").is_ok());
        for id in ["", "a\nb", "x".repeat(257).as_str()] {
            assert!(SessionId::new(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_session_name_is_one_short_word_whose_case_does_not_matter() {
        for (said, name) in [("Trip", "trip"), (" tax-2026 ", "tax-2026"), ("Übersee_1", "übersee_1")] {
            assert_eq!(SessionName::said(said).unwrap().as_str(), name);
        }
        for said in ["", " ", "two words", "a/b", "..", "a:b", "a\nb", "@andy", &"x".repeat(33)] {
            assert!(SessionName::said(said).is_err(), "{said:?}");
        }
        assert!(SessionName::new("Trip").is_err());
        assert_eq!(SessionName::default().as_str(), "default");
    }
}
