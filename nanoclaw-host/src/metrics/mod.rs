//! Figures for Prometheus: counted where things happen, read where they are kept already when somebody asks, never polled.
//!
//! [`text`] writes Prometheus' text format, [`histogram`] counts lengths of time, [`runs`] hears what the orchestrator's loop hears
//! and makes figures of it, and [`deliveries`] stands before each channel. The set is small and most of it is read when asked, so that a
//! library's registry of instruments would be more to explain than the format is.

pub mod deliveries;
pub mod histogram;
pub mod runs;
pub mod text;

pub use self::{deliveries::Deliveries, histogram::Histogram, runs::Runs, text::Page};
