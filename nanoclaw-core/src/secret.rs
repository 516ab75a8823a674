//! Text that must not be seen: credentials.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A credential. It prints as `****` and cannot be serialised; [`Secret::reveal`] is the one way to its text, so that every
/// place that uses one can be found by name. Its memory is overwritten when it is dropped, and comparing it tells by the
/// time it takes nothing but whether the lengths are the same.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a credential.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text. Never put it into a log line, an error, an environment, an argument, a label or a table.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_of_itself_not_even_its_length() {
        #[derive(Debug)]
        struct Config {
            #[expect(dead_code, reason = "it is there to be shown")]
            key: Option<Secret>,
        }
        for text in ["sk-ant-123", ""] {
            let secret = Secret::new(text);
            assert_eq!((secret.to_string(), format!("{secret:?}"), format!("{secret:#?}")), stars());
            assert_eq!(format!("{:?}", Config { key: Some(secret.clone()) }), "Config { key: Some(****) }");
            assert_eq!(secret.reveal(), text);
        }
    }

    #[test]
    fn secrets_are_the_same_when_their_texts_are() {
        let secret = Secret::new("abc");
        assert_eq!(secret, Secret::new(String::from("abc")));
        for other in ["", "ab", "abd", "abcd", "ABC"] {
            assert_ne!(secret, Secret::new(other));
        }
    }

    fn stars() -> (String, String, String) {
        ("****".to_owned(), "****".to_owned(), "****".to_owned())
    }
}
