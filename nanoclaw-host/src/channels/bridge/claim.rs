//! Which chats a bridge calls its own.

use nanoclaw_core::chat::ChatId;

/// The most prefixes and suffixes, together, that one bridge may claim.
const MAX_PARTS: usize = 32;

/// The longest prefix or suffix, in bytes.
const MAX_PART_BYTES: usize = 64;

/// A set of chats, by how their ids begin or end.
///
/// A prefix ends with `:` (`tg:`). A suffix begins with `@` (`@g.us`) and covers only ids without a `:`. So no chat can
/// be claimed by a prefix and by a suffix, and whether two claims overlap can be told from the claims alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    prefixes: Vec<String>,
    suffixes: Vec<String>,
}

/// A claim was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// It covers nothing.
    #[error("a bridge needs at least one prefix (\"tg:\") or suffix (\"@g.us\") of chat ids")]
    Empty,
    /// It has too many parts.
    #[error("a bridge may have {MAX_PARTS} prefixes and suffixes, not {count}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A prefix has the wrong form.
    #[error("the prefix {prefix:?} must end with `:`, have at most {MAX_PART_BYTES} bytes and no control characters")]
    Prefix {
        /// Which.
        prefix: String,
    },
    /// A suffix has the wrong form.
    #[error(
        "the suffix {suffix:?} must begin with `@`, have no `:`, at most {MAX_PART_BYTES} bytes and no control characters"
    )]
    Suffix {
        /// Which.
        suffix: String,
    },
}

impl Claim {
    /// The chats whose ids begin with one of `prefixes` or end with one of `suffixes`.
    ///
    /// # Errors
    /// [`ClaimError`] says which part is wrong and what would be right.
    pub fn new(prefixes: Vec<String>, suffixes: Vec<String>) -> Result<Self, ClaimError> {
        let plain = |part: &str| part.len() <= MAX_PART_BYTES && !part.chars().any(char::is_control);
        let count = prefixes.len() + suffixes.len();
        if count == 0 {
            return Err(ClaimError::Empty);
        }
        if count > MAX_PARTS {
            return Err(ClaimError::TooMany { count });
        }
        let shorten = |part: &str| part.chars().take(MAX_PART_BYTES).collect::<String>();
        if let Some(prefix) =
            prefixes.iter().find(|prefix| prefix.len() < 2 || !prefix.ends_with(':') || !plain(prefix))
        {
            return Err(ClaimError::Prefix { prefix: shorten(prefix) });
        }
        let is_suffix = |suffix: &str| suffix.len() > 1 && suffix.starts_with('@') && !suffix.contains(':');
        if let Some(suffix) = suffixes.iter().find(|suffix| !is_suffix(suffix) || !plain(suffix)) {
            return Err(ClaimError::Suffix { suffix: shorten(suffix) });
        }
        Ok(Self { prefixes, suffixes })
    }

    /// Whether it covers `chat`.
    #[must_use]
    pub fn covers(&self, chat: &ChatId) -> bool {
        let id = chat.as_str();
        let longer = |part: &String| id.len() > part.len();
        self.prefixes.iter().any(|prefix| longer(prefix) && id.starts_with(prefix.as_str()))
            || (!id.contains(':') && self.suffixes.iter().any(|suffix| longer(suffix) && id.ends_with(suffix.as_str())))
    }

    /// The first pair of parts, one of each claim, that both cover some chat.
    #[must_use]
    pub fn overlap<'a>(&'a self, other: &'a Self) -> Option<(&'a str, &'a str)> {
        let pairs = |ours: &'a [String], theirs: &'a [String]| {
            ours.iter().flat_map(move |our| theirs.iter().map(move |their| (our.as_str(), their.as_str())))
        };
        pairs(&self.prefixes, &other.prefixes)
            .find(|(our, their)| our.starts_with(their) || their.starts_with(our))
            .or_else(|| {
                pairs(&self.suffixes, &other.suffixes).find(|(our, their)| our.ends_with(their) || their.ends_with(our))
            })
    }
}

impl std::fmt::Display for Claim {
    /// Its parts, comma-separated: `tg:, @g.us`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, part) in self.prefixes.iter().chain(&self.suffixes).enumerate() {
            write!(f, "{}{part}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(prefixes: &[&str], suffixes: &[&str]) -> Claim {
        let owned = |parts: &[&str]| parts.iter().map(|&part| part.to_owned()).collect();
        Claim::new(owned(prefixes), owned(suffixes)).unwrap()
    }

    #[test]
    fn chats_are_known_by_prefix_or_suffix() {
        let claim = claim(&["tg:", "telegram:x:"], &["@g.us"]);
        let covers = |id: &str| claim.covers(&ChatId::new(id).unwrap());
        assert!(covers("tg:-100") && covers("telegram:x:1") && covers("1203@g.us"));
        assert!(!covers("tgx:1") && !covers("telegram:y:1") && !covers("1203@g.us.evil") && !covers("xtg:1"));
        assert!(!covers("tg:") && !covers("@g.us"), "an id is more than the prefix or suffix");
        assert!(!covers("slack:1@g.us"), "a suffix does not reach into another service's prefix");
    }

    #[test]
    fn overlapping_claims_are_noticed() {
        assert_eq!(claim(&["tg:"], &[]).overlap(&claim(&["tg:a:"], &[])), Some(("tg:", "tg:a:")));
        assert_eq!(claim(&["tg:a:"], &[]).overlap(&claim(&["dc:", "tg:"], &[])), Some(("tg:a:", "tg:")));
        assert_eq!(claim(&[], &["@g.us"]).overlap(&claim(&[], &["@g.us"])), Some(("@g.us", "@g.us")));
        assert_eq!(claim(&["tg:"], &["@g.us"]).overlap(&claim(&["dc:"], &["@s.whatsapp.net"])), None);
    }

    #[test]
    fn a_claim_of_the_wrong_form_is_refused() {
        let new = |prefixes: &[&str], suffixes: &[&str]| {
            let owned = |parts: &[&str]| parts.iter().map(|&part| part.to_owned()).collect();
            Claim::new(owned(prefixes), owned(suffixes)).unwrap_err()
        };
        assert_eq!(new(&[], &[]), ClaimError::Empty);
        assert_eq!(new(&["tg"], &[]), ClaimError::Prefix { prefix: "tg".to_owned() });
        assert_eq!(new(&[":"], &[]), ClaimError::Prefix { prefix: ":".to_owned() });
        assert_eq!(new(&["a\nb:"], &[]), ClaimError::Prefix { prefix: "a\nb:".to_owned() });
        assert_eq!(new(&[], &["g.us"]), ClaimError::Suffix { suffix: "g.us".to_owned() });
        assert_eq!(new(&[], &["@a:b"]), ClaimError::Suffix { suffix: "@a:b".to_owned() });
        assert_eq!(new(&["x:"; 33], &[]), ClaimError::TooMany { count: 33 });
    }
}
