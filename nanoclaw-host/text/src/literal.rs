//! What looks like Markdown and is none: signs within words, addresses and paths.
//!
//! CommonMark takes `2*3*4` for emphasis and the first backslash of `\\server` for an escape. People in a chat, and agents
//! that quote a path or an address, mean the signs themselves.

/// How far back a word is followed to see what it begins with, in bytes. Bounded, so that a text of one word is read in linear time.
const FAR: usize = 300;

/// Whether a sign of emphasis (`*`, `_`, `~`) that opens at `start` and whose partner ends at `end` stands for itself.
///
/// It does within a word (but not between letters of a script that is written without spaces), within an address or a path,
/// and, if it is `_`, where a name goes on that only begins like emphasis, as in `__init__.py`.
pub(super) fn is_literal(source: &str, start: usize, end: usize) -> bool {
    let Some(sign) = source[start..].chars().next() else { return false };
    if sign == '_' && goes_on(&source[end..]) {
        return true;
    }
    let before = back(source, start);
    let Some(previous) = before.trim_end_matches(sign).chars().next_back() else { return false };
    is_of_word(previous)
        || in_address(before)
        || in_windows_path(before)
        || (sign == '_' && "/\\.:=&%#@+-$?".contains(previous))
}

/// Whether a name goes on with this.
fn goes_on(after: &str) -> bool {
    let mut after = after.chars();
    match after.next() {
        Some('.') => after.next().is_some_and(char::is_alphanumeric),
        Some(next) => "(/\\=[".contains(next),
        None => false,
    }
}

/// Whether the backslash at `at`, which Markdown would take for an escape, is part of a path.
pub(super) fn is_path_separator(source: &str, at: usize) -> bool {
    let before = back(source, at);
    let word = last_word(before);
    in_windows_path(before) || (word.is_empty() && unc(&source[at..])) || is_drive(word)
}

/// Whether `c` is a letter or digit of a word that ends at white space. Chinese, Japanese and Thai words do not.
pub(super) fn is_of_word(c: char) -> bool {
    c.is_alphanumeric()
        && !matches!(u32::from(c), 0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x2E80..=0x31FF | 0x3400..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF)
}

/// Whether the last word of `before` is an address, which services recognise by themselves.
pub(super) fn in_address(before: &str) -> bool {
    let word = last_word(before);
    word.contains("://") || word.starts_with("www.")
}

/// Whether a word is known for an address by what stands at `at`.
pub(super) fn begins_address(text: &str, at: usize) -> bool {
    let begins_word = || text[..at].chars().next_back().is_none_or(ends_word);
    text[at..].starts_with("://") || (text[at..].starts_with("www.") && begins_word())
}

/// Whether no word, address or path goes on behind `character`.
pub(super) fn ends_word(character: char) -> bool {
    character.is_whitespace() || "\"'([{<|`".contains(character)
}

fn in_windows_path(before: &str) -> bool {
    let word = last_word(before);
    unc(word) || word.get(..2).is_some_and(is_drive) && word[2..].starts_with('\\')
}

fn is_drive(word: &str) -> bool {
    matches!(word.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
}

fn unc(word: &str) -> bool {
    word.strip_prefix("\\\\")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || c == '?' || c == '.'))
}

/// What stands before `at`, so far as it matters.
fn back(source: &str, at: usize) -> &str {
    &source[source.floor_char_boundary(at.saturating_sub(FAR))..at]
}

fn last_word(before: &str) -> &str {
    &before[before.trim_end_matches(|c| !ends_word(c)).len()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_within_words_addresses_and_paths_stand_for_themselves() {
        // The sign that opens is at the first `^`, its partner ends before the second.
        for (text, start, end) in [
            ("2*3*4", 1, 4),
            ("a**b**c", 1, 6),
            ("https://x.org/_a_/b", 14, 17),
            ("see www.x.org/_a_", 14, 17),
            ("C:\\*a*", 3, 6),
            ("/usr/lib/__init__.py", 9, 17),
            ("__init__.py", 0, 8),
            ("__init__()", 0, 8),
            ("H~2~O", 1, 4),
        ] {
            assert!(is_literal(text, start, end), "{text}");
        }
    }

    #[test]
    fn signs_around_words_are_emphasis() {
        for (text, start, end) in [
            ("*a*", 0, 3),
            ("_a_", 0, 3),
            ("(_a_)", 1, 4),
            ("Note:**b**", 5, 10),
            ("中文**粗**中", 6, 13),
            ("**a**s", 0, 5),
            ("https://x.org *a*", 14, 17),
            ("_a_.", 0, 3),
        ] {
            assert!(!is_literal(text, start, end), "{text}");
        }
    }

    #[test]
    fn a_windows_path_keeps_its_backslashes() {
        for (text, at) in
            [("C:\\_x", 2), ("C:\\a\\.git", 4), ("\\\\server\\x", 0), ("in \"C:\\.x", 6), ("\\\\server\\_x", 8)]
        {
            assert!(is_path_separator(text, at), "{text}");
        }
        for (text, at) in [("a\\_b", 1), ("\\*a", 0), ("x: \\_", 3), ("\\\\*", 0)] {
            assert!(!is_path_separator(text, at), "{text}");
        }
    }
}
