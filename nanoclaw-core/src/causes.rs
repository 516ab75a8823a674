//! How an error is told in one line, together with what it came from.

use std::error::Error;

/// The error and all its causes on one line, from the outermost to the innermost, each said once: some errors repeat their
/// cause in their own words.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error with this text and the next one as its cause.
    #[derive(Debug)]
    struct Told(&'static str, Option<Box<Told>>);

    impl std::fmt::Display for Told {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Told {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    fn chain<const COUNT: usize>(texts: [&'static str; COUNT]) -> String {
        let mut error = None;
        for text in texts.into_iter().rev() {
            error = Some(Box::new(Told(text, error)));
        }
        with_causes(&*error.unwrap())
    }

    #[test]
    fn every_cause_is_told_from_outside_in() {
        assert_eq!(chain(["cannot start"]), "cannot start");
        assert_eq!(chain(["cannot start", "no file", "denied"]), "cannot start: no file: denied");
    }

    #[test]
    fn a_cause_that_was_told_already_is_not_told_again() {
        assert_eq!(chain(["cannot start: denied", "denied"]), "cannot start: denied");
        assert_eq!(chain(["cannot start", "no file: denied", "denied"]), "cannot start: no file: denied");
    }
}
