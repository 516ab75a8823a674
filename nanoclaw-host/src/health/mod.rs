//! Whether the service does its work: what was found goes in, a verdict with its reasons comes out.
//!
//! [`facts`] are what somebody looked at and wrote down; `verdict` decides what follows from them, and neither looks at
//! anything itself. Who looks is `app`, where all parts meet; [`http`] carries the verdict to whoever asks, and [`probe`] asks the
//! model about the credential, seldom.

pub mod facts;
pub mod http;
pub mod probe;
mod report;
mod verdict;

pub use report::{Check, Health, Report};
pub use verdict::{Thresholds, judge};
