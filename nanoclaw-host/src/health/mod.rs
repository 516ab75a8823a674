//! Whether the service does its work: what was found goes in, a verdict with its reasons comes out.
//!
//! [`facts`] are what somebody looked at and wrote down; `verdict` decides what follows from them, and neither looks at
//! anything itself. Who looks is `app`, where all parts meet (at the disk, `disk`, for the doctor too); [`http`] carries the verdict to
//! whoever asks, and [`probe`] asks the model about the credential, seldom.

mod disk;
pub mod facts;
pub mod http;
pub mod probe;
mod report;
mod verdict;

pub(crate) use disk::room;
pub use report::{Check, Health, Report};
pub(crate) use verdict::disk as judge_disk;
pub use verdict::{Thresholds, judge};
