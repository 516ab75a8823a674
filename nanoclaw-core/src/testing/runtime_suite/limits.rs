//! Promises about upper bounds.

use super::{Ended, Promise, SuiteContext, expect_that, promise};
use crate::runtime::{Exit, RuntimeError};

pub(super) const PROMISES: &[Promise] = &[
    promise!(processes_are_limited, PidsLimit, "A flood of processes ends at the limit."),
    promise!(memory_is_limited, MemoryLimit, "Who asks for too much memory does not get it."),
    promise!(running_out_of_memory_is_told, TellsOutOfMemory, "Who is killed for it did not just end."),
    promise!(
        running_out_of_memory_is_told_through_an_init,
        TellsOutOfMemory,
        "Also when the first process lives, and passes on how the killed one ended."
    ),
    promise!(
        who_survives_a_lack_of_memory_ends_as_it_ends,
        TellsOutOfMemory,
        "One process was killed, the container went on: its end is its own."
    ),
    promise!(processor_time_is_limited, CpuLimit, "A busy loop gets its share and no more."),
    promise!(a_limit_that_is_not_in_force_is_refused, MissingLimit, "Never silently less than was asked."),
];

async fn processes_are_limited(context: &SuiteContext) -> Result<(), String> {
    let mut spec = context.spec("i=0; while [ $i -lt 200 ]; do sleep 20 & i=$((i+1)); echo $i; done");
    spec.limits.pids = Some(32);
    let ended = context.run_spec(&spec, b"").await?;
    let started = ended.text().lines().count();
    // A few are the runtime's own, and the shell counts itself.
    expect_that!((16..=32).contains(&started), "{started} processes started under a limit of 32: {}", ended.told());
    expect_that!(!ended.stderr.is_empty(), "nothing was said about it: {}", ended.told());
    Ok(())
}

async fn memory_is_limited(context: &SuiteContext) -> Result<(), String> {
    let ended = with_too_little_memory(context).await?;
    expect_that!(!ended.text().contains("got 314572800"), "300 MiB were had under a limit of 64 MiB");
    expect_that!(ended.exit != Exit::Code(0), "it is taken for a success");
    Ok(())
}

async fn running_out_of_memory_is_told(context: &SuiteContext) -> Result<(), String> {
    let ended = with_too_little_memory(context).await?;
    expect_that!(ended.exit == Exit::OutOfMemory, "wanted out of memory, got {}", ended.told());
    Ok(())
}

async fn running_out_of_memory_is_told_through_an_init(context: &SuiteContext) -> Result<(), String> {
    let ended = with_little_memory(context, "sh -c \"$GROW\"; exit $?").await?;
    expect_that!(ended.exit == Exit::OutOfMemory, "wanted out of memory, got {}", ended.told());
    Ok(())
}

async fn who_survives_a_lack_of_memory_ends_as_it_ends(context: &SuiteContext) -> Result<(), String> {
    let ended = with_little_memory(context, "sh -c \"$GROW\"; echo it ended with $?; exit 3").await?;
    let right = ended.text() == "it ended with 137\n" && ended.exit == Exit::Code(3);
    expect_that!(right, "wanted 137 inside and code 3, got {}", ended.told());
    Ok(())
}

async fn with_too_little_memory(context: &SuiteContext) -> Result<Ended, String> {
    // The shell itself is the one that grows.
    with_little_memory(context, "eval \"$GROW\"").await
}

/// Runs a script that finds one in `GROW` which needs 300 MiB, with 64.
async fn with_little_memory(context: &SuiteContext, script: &str) -> Result<Ended, String> {
    let mut spec = context.spec(script);
    let grow = "x=$(dd if=/dev/zero bs=1048576 count=300 2>/dev/null | tr '\\0' a); echo got ${#x}";
    spec.env.insert("GROW".to_owned(), grow.into());
    spec.limits.memory_bytes = Some(64 << 20);
    context.run_spec(&spec, b"").await
}

async fn processor_time_is_limited(context: &SuiteContext) -> Result<(), String> {
    // Several busy loops and a small share, so that without the limit they would have more than that on a busy machine too.
    let script = "burn() { read up rest </proc/uptime; end=$((${up%.*} + 4)); \
                  while [ ${up%.*} -lt $end ]; do read up rest </proc/uptime; done; }; \
                  burn & burn & burn & burn & wait; times";
    let mut spec = context.spec(script);
    spec.limits.milli_cpus = Some(100);
    let ended = context.run_spec(&spec, b"").await?;
    let text = ended.text();
    let used: f64 = text.split_whitespace().filter_map(seconds).sum();
    expect_that!(used > 0.0, "no times were told: {}", ended.told());
    // 4 s at 0.1 processors are 0.4 s; the rest is for the start and the period's grain. Without a limit it would be 4 s or
    // more on an idle machine.
    expect_that!(used < 0.9, "{used:.2} s of processor time in 4 s under a limit of 0.1 processors");
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
