//! Which image a group's containers are made of, and getting it: fetched from where its name says, or built from the
//! packages or the Dockerfile that the group's configuration names.
//!
//! [`Recipe`] says what goes into a group's image and names the image after all of it, so that the same is built once and
//! anything else is another image. [`Images`] decides, plainly, what has to be done before a run; the [`Workshop`] has each
//! thing done once at a time and remembers what failed; an [`ImageEngine`] does it.

mod context;
mod engine;
mod error;
mod flavour;
mod obtain;
mod recipe;
mod source;
mod step;
mod workshop;

pub use context::{LARGEST_CONTEXT_BYTES, MOST_CONTEXT_FILES};
pub use engine::{BuildRequest, Content, ContextFile, Engines, Found, ImageEngine, LocalEngines, Tell};
pub use error::ImageError;
pub use flavour::Flavour;
pub use obtain::{Images, Obtained};
pub use recipe::{BASE_ARGUMENT, GROUP_REPOSITORY, Recipe};
pub use source::{BuildNetwork, Pull, Source, digest_of, says_where_from};
pub use step::{advice, reason_in_words, step_in_words};
pub use workshop::Workshop;
