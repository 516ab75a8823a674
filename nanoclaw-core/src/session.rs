//! A session: an agent's conversation that can be resumed.

use crate::text_id::{plain_text, text_id};

text_id! {
    /// The provider's own name for a conversation. Up to 256 bytes without control characters.
    SessionId, "session id", |text| plain_text(text, 256)
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
}
