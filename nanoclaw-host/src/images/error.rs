//! What can be said instead of an image, with what to do about it; and whether that is to be waited for.

use std::{path::PathBuf, time::Duration};

use nanoclaw_core::{
    run::{Retry, Trouble},
    runtime::{ImageRef, RuntimeError},
};

use super::workshop::REMEMBERED;

/// How soon a run looks again for an image that is being made.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Why there is no image.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ImageError {
    /// The engine failed, or does not have it.
    #[error(transparent)]
    Engine(#[from] RuntimeError),
    /// It may not be fetched.
    #[error(
        "there is no image {image} here, and [images] pull in nanoclaw.toml is \"never\"; `{engine} pull {image}` fetches it"
    )]
    NotFetched {
        /// Which.
        image: ImageRef,
        /// The engine's program.
        engine: &'static str,
    },
    /// Its registry does not give it.
    #[error("the image {image} could not be fetched: {reason}; `{engine} pull {image}` tries it by hand")]
    PullFailed {
        /// Which.
        image: ImageRef,
        /// What came back.
        reason: String,
        /// The engine's program.
        engine: &'static str,
    },
    /// What was fetched is not what the name is pinned to.
    #[error(
        "what was fetched for {image} has another digest ({found}), so it is not used; correct the one in nanoclaw.toml, or ask whoever runs the registry"
    )]
    WrongDigest {
        /// Which.
        image: ImageRef,
        /// The digests that it has.
        found: String,
    },
    /// The build of an image ended with an error.
    #[error(
        "{what} could not be built: {reason}{}{}; `{mend}` tries it again and shows all of it",
        last_words(last_lines),
        advice.map(|advice| format!("; {advice}")).unwrap_or_default()
    )]
    BuildFailed {
        /// Whose.
        what: String,
        /// What the engine said.
        reason: String,
        /// The last lines that the build printed.
        last_lines: Vec<String>,
        /// What would help, where they say it.
        advice: Option<&'static str>,
        /// The command that builds it.
        mend: String,
    },
    /// What the image is to be made of cannot be used.
    #[error("{}: {reason}", place.display())]
    BadRecipe {
        /// The Dockerfile, or something of its folder.
        place: PathBuf,
        /// Why, and what would be right.
        reason: String,
    },
    /// It is being made at this moment.
    #[error("{what} is being made ready: {step}")]
    InProgress {
        /// What.
        what: String,
        /// How far it is.
        step: String,
    },
}

impl ImageError {
    /// When a run that needs the image is tried again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::InProgress { .. } => Retry::WhenMended { trouble: Trouble::Preparing, after: Some(LOOK_AGAIN) },
            Self::Engine(error) if error.passes_by_itself() => {
                Retry::WhenMended { trouble: Trouble::Host, after: None }
            }
            // Not before it is worth trying anew.
            Self::BuildFailed { .. } | Self::PullFailed { .. } => {
                Retry::WhenMended { trouble: Trouble::Setup, after: Some(REMEMBERED) }
            }
            _ => Retry::WhenMended { trouble: Trouble::Setup, after: None },
        }
    }
}

fn last_words(lines: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = lines.iter().rev().take(SHOWN).rev().map(String::as_str).collect();
    if shown.is_empty() { String::new() } else { format!(" (“{}”)", shown.join(" / ")) }
}
