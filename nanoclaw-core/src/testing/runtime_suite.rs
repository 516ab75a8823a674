//! The contract of [`ContainerRuntime`] as a list of named promises, each of which can be checked against any runtime.
//!
//! Every promise starts real containers through the port alone and looks at what came back and at the host's files. The
//! scripts in them need a shell and the usual small programs only; busybox and Debian both do.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use nanoclaw_core::{
//!     runtime::{ContainerRuntime, ImageRef, InstallId, RunAs},
//!     testing::runtime_suite::{SuiteContext, check_all},
//! };
//!
//! async fn look_at(runtime: Arc<dyn ContainerRuntime>) -> Result<(), String> {
//!     let (image, install) = (ImageRef::new("busybox").unwrap(), InstallId::new("mysuite1").unwrap());
//!     let user = RunAs { uid: 1000, gid: 1000 };
//!     let context = SuiteContext::new(runtime, image, "/tmp/suite".into(), user, install).await?;
//!     let report = check_all(&context, 2, |promise, verdict| println!("{}: {verdict:?}", promise.name)).await;
//!     context.clean_up().await.map_err(|error| error.to_string())?;
//!     if report.broken().is_empty() { Ok(()) } else { Err(report.to_string()) }
//! }
//! ```

mod adoption;
mod context;
mod endings;
mod inside;
mod isolation;
mod lifecycle;
mod limits;
mod mounts;
mod refusals;
mod streams;

use std::{fmt, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream};

pub use context::{Ended, SocketClient, SuiteContext};

#[cfg(doc)]
use crate::runtime::ContainerRuntime;
use crate::runtime::{Capabilities, RuntimeKind};

/// After this long a promise counts as broken.
const TIME_FOR_A_PROMISE: Duration = Duration::from_secs(180);

/// What a runtime must do, and how to see whether it does.
#[derive(Clone, Copy)]
pub struct Promise {
    /// Its name, unique, in snake case.
    pub name: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
    /// What it is about; a runtime that says in its [`Capabilities`] that it lacks this does not make the promise.
    pub needs: Need,
    check: fn(&SuiteContext) -> BoxFuture<'_, Result<(), String>>,
}

/// What a promise takes for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: every runtime makes it.
    Nothing,
    /// Isolation of any kind; only a fake has none.
    Isolation,
    /// Containers with a mount table of their own, and with it their own view of `/`, `/tmp`, `/dev` and `/proc`.
    OwnMounts,
    /// Containers with a network of their own.
    OwnNetwork,
    /// A memory limit that is in force.
    MemoryLimit,
    /// That is told when memory runs out.
    TellsOutOfMemory,
    /// A limit on processes that is in force.
    PidsLimit,
    /// A limit on processor time that is in force.
    CpuLimit,
    /// That one of the limits cannot be in force, for a look at what is said to that.
    MissingLimit,
    /// Containers that go on when the host ends.
    OutlivesHost,
    /// A choice of images.
    Images,
    /// A program for the socket promise, see [`SuiteContext::socket_client`].
    SocketClient,
}

impl Need {
    /// Why the promise is not made, or `None` when it is.
    fn missing(self, capabilities: &Capabilities, context: &SuiteContext) -> Option<&'static str> {
        let (present, otherwise) = match self {
            Self::Nothing => (true, ""),
            Self::Isolation => (context.runtime.kind() != RuntimeKind::Fake, "a fake isolates nothing"),
            Self::OwnMounts => (capabilities.own_mounts, "containers have no mount table of their own"),
            Self::OwnNetwork => (capabilities.own_network, "containers have no network of their own"),
            Self::MemoryLimit => (capabilities.memory_limit, "no memory limit can be enforced"),
            Self::TellsOutOfMemory => (
                capabilities.memory_limit && capabilities.tells_out_of_memory,
                "an end for lack of memory is told like any other kill",
            ),
            Self::PidsLimit => (capabilities.pids_limit, "no limit on processes can be enforced"),
            Self::CpuLimit => (capabilities.cpu_limit, "no limit on processor time can be enforced"),
            Self::MissingLimit => (
                !(capabilities.memory_limit && capabilities.pids_limit && capabilities.cpu_limit),
                "every limit can be enforced here",
            ),
            Self::OutlivesHost => (capabilities.outlive_host, "containers end with the host"),
            Self::Images => (capabilities.images, "there is no choice of images"),
            Self::SocketClient => (context.socket_client.is_some(), "no program to connect with was given"),
        };
        (!present).then_some(otherwise)
    }
}

impl Promise {
    /// Checks it.
    pub async fn check(&self, context: &SuiteContext) -> Verdict {
        if let Some(reason) = self.needs.missing(&context.capabilities, context) {
            return Verdict::NotMade(reason);
        }
        match tokio::time::timeout(TIME_FOR_A_PROMISE, (self.check)(context)).await {
            Ok(Ok(())) => Verdict::Kept,
            Ok(Err(reason)) => Verdict::Broken(reason),
            Err(_) => Verdict::Broken(format!("no end after {} s", TIME_FOR_A_PROMISE.as_secs())),
        }
    }
}

/// What became of a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The runtime kept it.
    Kept,
    /// The runtime does not make it, for this reason.
    NotMade(&'static str),
    /// It did not keep it: what was expected and what was seen.
    Broken(String),
}

/// Every promise, in the order in which they are worth reading.
#[must_use]
pub fn promises() -> Vec<Promise> {
    [
        streams::PROMISES,
        endings::PROMISES,
        inside::PROMISES,
        mounts::PROMISES,
        isolation::PROMISES,
        limits::PROMISES,
        refusals::PROMISES,
        lifecycle::PROMISES,
        adoption::PROMISES,
    ]
    .concat()
}

/// Checks every promise, `at_once` of them at a time, and hands each verdict to `said` as soon as it is known.
pub async fn check_all(
    context: &SuiteContext,
    at_once: usize,
    mut said: impl FnMut(&Promise, &Verdict) + Send,
) -> Report {
    let all = promises();
    let mut checks = stream::iter(all.into_iter().enumerate())
        .map(|(place, promise)| async move { (place, promise, promise.check(context).await) })
        .buffer_unordered(at_once.max(1));
    let mut verdicts = Vec::new();
    while let Some((place, promise, verdict)) = checks.next().await {
        said(&promise, &verdict);
        verdicts.push((place, promise, verdict));
    }
    verdicts.sort_by_key(|(place, ..)| *place);
    Report { verdicts: verdicts.into_iter().map(|(_, promise, verdict)| (promise, verdict)).collect() }
}

/// All verdicts on one runtime, in the order of [`promises`]. Displays as a line for each.
pub struct Report {
    /// Each promise with its verdict.
    pub verdicts: Vec<(Promise, Verdict)>,
}

impl Report {
    /// The promises that were not kept, a line each.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let broken = |(promise, verdict): &(Promise, Verdict)| match verdict {
            Verdict::Broken(reason) => Some(format!("{}: {reason}", promise.name)),
            Verdict::Kept | Verdict::NotMade(_) => None,
        };
        self.verdicts.iter().filter_map(broken).collect()
    }

    /// How many were kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Kept).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (promise, verdict) in &self.verdicts {
            match verdict {
                Verdict::Kept => writeln!(f, "kept      {}", promise.name)?,
                Verdict::NotMade(reason) => writeln!(f, "not made  {} ({reason})", promise.name)?,
                Verdict::Broken(reason) => writeln!(f, "BROKEN    {}: {reason}", promise.name)?,
            }
        }
        Ok(())
    }
}

/// Writes down a promise: `promise!(function, Need, "summary")`.
macro_rules! promise {
    ($check:ident, $needs:ident, $summary:literal) => {
        $crate::testing::runtime_suite::Promise {
            name: stringify!($check),
            summary: $summary,
            needs: $crate::testing::runtime_suite::Need::$needs,
            check: |context| Box::pin($check(context)),
        }
    };
}
use promise;

/// `Err` with the message unless the condition holds.
macro_rules! expect_that {
    ($condition:expr, $($message:tt)+) => {
        let holds: bool = $condition;
        if !holds {
            return Err(format!($($message)+));
        }
    };
}
use expect_that;
