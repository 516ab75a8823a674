//! The ports as they are; in the tests' builds, with points at which the program can be told to die.

#[cfg(not(feature = "failpoints"))]
pub(super) use std::convert::{
    identity as channel, identity as launcher, identity as runtime, identity as store, identity as tasks,
};

#[cfg(feature = "failpoints")]
pub(super) use crate::failpoints::{channel, launcher, runtime, store, tasks};
