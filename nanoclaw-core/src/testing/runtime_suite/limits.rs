//! Promises about upper bounds.

use super::{Promise, SuiteContext, expect_that, promise};
use crate::runtime::{Exit, RuntimeError};

pub(super) const PROMISES: &[Promise] = &[
    promise!(processes_are_limited, PidsLimit, "A flood of processes ends at the limit."),
    promise!(
        memory_is_limited,
        MemoryLimit,
        "Who asks for too much memory does not get it; who is killed, that is told."
    ),
    promise!(processor_time_is_limited, CpuLimit, "A busy loop gets its share and no more."),
    promise!(a_limit_that_is_not_in_force_is_refused, Nothing, "Never silently less than was asked."),
];

async fn processes_are_limited(context: &SuiteContext) -> Result<(), String> {
    let mut spec = context.spec("i=0; while [ $i -lt 200 ]; do sleep 20 & i=$((i+1)); done; echo all started");
    spec.limits.pids = Some(32);
    let ended = context.run_spec(&spec, b"").await?;
    expect_that!(!ended.text().contains("all started"), "200 processes started under a limit of 32");
    expect_that!(!ended.stderr.is_empty(), "nothing was said about it: {}", ended.told());
    Ok(())
}

async fn memory_is_limited(context: &SuiteContext) -> Result<(), String> {
    // The shell itself is the one that grows.
    let mut spec = context.spec("x=$(dd if=/dev/zero bs=1048576 count=300 2>/dev/null | tr '\\0' a); echo got ${#x}");
    spec.limits.memory_bytes = Some(64 << 20);
    let ended = context.run_spec(&spec, b"").await?;
    expect_that!(!ended.text().contains("got 314572800"), "300 MiB were had under a limit of 64 MiB");
    // Where the limit refuses memory instead of killing, the shell gives up by itself.
    let told = match ended.exit {
        Exit::OutOfMemory => true,
        Exit::Code(code) => code != 0,
        Exit::Signal(_) | Exit::Unknown => false,
    };
    expect_that!(told, "wanted out of memory, got {}", ended.told());
    Ok(())
}

async fn processor_time_is_limited(context: &SuiteContext) -> Result<(), String> {
    let script = "read up rest </proc/uptime; end=$((${up%.*} + 4)); \
                  while [ ${up%.*} -lt $end ]; do read up rest </proc/uptime; done; times";
    let mut spec = context.spec(script);
    spec.limits.milli_cpus = Some(300);
    let ended = context.run_spec(&spec, b"").await?;
    let text = ended.text();
    let used: f64 = text.split_whitespace().take(2).filter_map(seconds).sum();
    expect_that!(used > 0.0, "no times were told: {}", ended.told());
    // Up to 4 s at 0.3 processors are 1.2 s; the rest is for the period's grain. Without a limit it would be over 3 s.
    expect_that!(used < 1.8, "{used} s of processor time in 4 s under a limit of 0.3 processors");
    Ok(())
}

/// `0m1.234s` in seconds.
fn seconds(text: &str) -> Option<f64> {
    let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
    Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
}

async fn a_limit_that_is_not_in_force_is_refused(context: &SuiteContext) -> Result<(), String> {
    let mut asked = Vec::new();
    let none = context.spec("true");
    if !context.capabilities.memory_limit {
        let mut spec = none.clone();
        spec.limits.memory_bytes = Some(64 << 20);
        asked.push(("memory", spec));
    }
    if !context.capabilities.pids_limit {
        let mut spec = none.clone();
        spec.limits.pids = Some(32);
        asked.push(("processes", spec));
    }
    if !context.capabilities.cpu_limit {
        let mut spec = none;
        spec.limits.milli_cpus = Some(300);
        asked.push(("processor time", spec));
    }
    for (what, spec) in asked {
        let error = context.refusal(&spec).await?;
        expect_that!(matches!(error, RuntimeError::NotEnforced { .. }), "{what}: wanted a refusal, got {error:?}");
    }
    Ok(())
}
