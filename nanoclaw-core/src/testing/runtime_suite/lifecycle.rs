//! Promises about containers as the host counts them.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    Promise, SuiteContext,
    context::{SOON, wait_for_text},
    expect_that, promise,
};
use crate::runtime::{Exit, InstallId, RuntimeError};

pub(super) const PROMISES: &[Promise] = &[
    promise!(f33_a_container_is_listed_by_its_own_install, Nothing, "Listed while it runs, not after, not by others."),
    promise!(what_a_container_uses_is_told_or_not_known, Nothing, "Figures are real; there are none of what is gone."),
    promise!(many_can_start_at_once, Nothing, "Eight starts side by side, each with its own output."),
    promise!(f26_a_dropped_container_leaves_no_process, Nothing, "Its input ends, so whoever reads it ends."),
    promise!(a_dropped_start_leaves_no_container, Nothing, "Nobody who gave up waiting leaves something behind."),
];

async fn f33_a_container_is_listed_by_its_own_install(context: &SuiteContext) -> Result<(), String> {
    // A name of which ours is a part, and one that is a part of ours: a search by substring would mix them up.
    let longer = format!("{}x", &context.install.as_str()[..context.install.as_str().len().min(63)]);
    let other = InstallId::new(longer).map_err(|error| error.to_string())?;
    let ours = context.spec("echo up; cat");
    let mut theirs = context.spec("echo up; cat");
    theirs.labels.install = other.clone();
    let (mut our_container, mut their_container) = (context.start(&ours).await?, context.start(&theirs).await?);
    wait_for_text(&mut our_container, "up").await?;
    wait_for_text(&mut their_container, "up").await?;

    let summary = context.listed(&ours).await?.ok_or("ours is not listed while it runs")?;
    let right = summary.id == our_container.id && summary.group == ours.labels.run.group && summary.running;
    expect_that!(right, "it is listed as {summary:?}, its id is {}", our_container.id);
    expect_that!(context.listed(&theirs).await?.is_some(), "theirs is not listed under their install");
    let list_of = async |install: &InstallId| {
        let all = context.runtime.list(install).await.map_err(|error| format!("list failed: {error}"))?;
        Ok::<_, String>(all.into_iter().map(|one| one.number).collect::<Vec<_>>())
    };
    let mixed = list_of(&context.install).await?.contains(&theirs.labels.run.number)
        || list_of(&other).await?.contains(&ours.labels.run.number);
    expect_that!(!mixed, "one install sees the other's container");

    our_container.stdin.close().await;
    their_container.stdin.close().await;
    timeout(SOON, our_container.exit).await.map_err(|_| "no exit came")?;
    context.gone(&ours).await?;
    context.gone(&theirs).await
}

async fn what_a_container_uses_is_told_or_not_known(context: &SuiteContext) -> Result<(), String> {
    let spec = context.spec("sleep 60 & sleep 60 & echo up; cat");
    let mut container = context.start(&spec).await?;
    wait_for_text(&mut container, "up").await?;
    let stats = context.runtime.stats(&container.id).await.map_err(|error| format!("stats failed: {error}"))?;
    if let Some(stats) = stats {
        expect_that!(stats.memory_bytes > 4096 && stats.memory_bytes < 256 << 20, "{stats:?} cannot be");
        expect_that!((3..=16).contains(&stats.pids), "wanted three processes and a few, got {stats:?}");
    }
    context.runtime.remove(&container.id).await.map_err(|error| format!("remove failed: {error}"))?;
    let after = context.runtime.stats(&container.id).await;
    expect_that!(matches!(after, Err(RuntimeError::Gone { .. })), "after it is gone: {after:?}");
    Ok(())
}

async fn many_can_start_at_once(context: &SuiteContext) -> Result<(), String> {
    let runs = (0..8).map(|number| async move {
        let ended = context.run(&format!("echo I am {number}; exit {number}"), b"").await?;
        let right = ended.text() == format!("I am {number}\n") && ended.exit == Exit::Code(number);
        expect_that!(right, "wanted number {number}, got {}", ended.told());
        Ok(())
    });
    join_all(runs).await.into_iter().collect()
}

async fn f26_a_dropped_container_leaves_no_process(context: &SuiteContext) -> Result<(), String> {
    let (silent, talking) = (context.spec("echo up; cat"), context.spec("echo up; yes & cat; kill $!"));
    for spec in [&silent, &talking] {
        let mut container = context.start(spec).await?;
        wait_for_text(&mut container, "up").await?;
        drop(container);
        context.gone(spec).await?;
    }
    Ok(())
}

async fn a_dropped_start_leaves_no_container(context: &SuiteContext) -> Result<(), String> {
    for wait_ms in [0, 1, 5, 20, 60] {
        let spec = context.spec("sleep 600");
        let started = timeout(Duration::from_millis(wait_ms), context.runtime.start(&spec)).await;
        match started {
            // It was quicker than we gave up.
            Ok(Ok(container)) => {
                context.runtime.remove(&container.id).await.map_err(|error| format!("remove failed: {error}"))?;
            }
            Ok(Err(error)) => return Err(format!("start failed: {error}")),
            Err(_) => context.gone_for_good(&spec).await?,
        }
    }
    Ok(())
}
