//! Promises about containers as the host counts them.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    Promise, SuiteContext,
    context::{InstallBeside, SOON, collect, wait_for_text},
    expect_that, promise,
};
use crate::runtime::{Exit, InstallId, RuntimeError};

pub(super) const PROMISES: &[Promise] = &[
    promise!(f33_a_container_is_listed_by_its_own_install, Nothing, "Listed while it runs, not after, not by others."),
    promise!(what_a_container_uses_is_told_or_not_known, Nothing, "Figures are real; there are none of what is gone."),
    promise!(
        many_can_start_at_once,
        Nothing,
        "Forty starts side by side, each with its own output, within two minutes."
    ),
    promise!(
        what_is_listed_can_be_removed_and_nothing_else_goes,
        Nothing,
        "By the list alone an installation's containers can be ended; those of another one go on."
    ),
    promise!(what_has_ended_leaves_nothing_behind, Nothing, "However it ended, and whether or not it ever started."),
    promise!(f26_a_dropped_container_leaves_no_process, Nothing, "Its input ends, so whoever reads it ends."),
    promise!(a_dropped_start_leaves_no_container, Nothing, "Nobody who gave up waiting leaves something behind."),
];

async fn f33_a_container_is_listed_by_its_own_install(context: &SuiteContext) -> Result<(), String> {
    let other = context.install_beside(InstallBeside::Longer);
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
    // All of them: a runtime that starts a few at a time makes the last one wait for its turn.
    const WITHIN: Duration = Duration::from_secs(120);
    let runs = (1..=40).map(|number| async move {
        let script = format!("read line; echo \"I am {number}, $line\"; exit {number}");
        let mut container = context.runtime.start(&context.spec(&script)).await.map_err(|error| error.to_string())?;
        container
            .stdin
            .send(format!("you are {number}\n").as_bytes(), WITHIN)
            .await
            .map_err(|error| error.to_string())?;
        let (stdout, stderr) = collect(&mut container.output).await;
        let right = stdout == format!("I am {number}, you are {number}\n").into_bytes() && stderr.is_empty();
        let (stdout, exit) = (String::from_utf8_lossy(&stdout).into_owned(), container.exit.await);
        expect_that!(right && exit == Exit::Code(number), "number {number} said {stdout:?} and ended with {exit}");
        Ok(())
    });
    let ended = timeout(WITHIN, join_all(runs)).await;
    ended.map_err(|_| format!("not all have ended after {} s", WITHIN.as_secs()))?.into_iter().collect()
}

async fn what_is_listed_can_be_removed_and_nothing_else_goes(context: &SuiteContext) -> Result<(), String> {
    // Installations of their own, so that the list has nobody else's containers while promises are checked side by side.
    let (pruned, kept) = (context.install_beside(InstallBeside::Pruned), context.install_beside(InstallBeside::Kept));
    let mut containers = Vec::new();
    for install in [&pruned, &pruned, &kept, &pruned] {
        let mut spec = context.spec("echo up; cat");
        spec.labels.install = install.clone();
        let mut container = context.start(&spec).await?;
        wait_for_text(&mut container, "up").await?;
        containers.push((spec, container));
    }
    let list = async |install: &InstallId| {
        context.runtime.list(install).await.map_err(|error| format!("list failed: {error}"))
    };
    let found = list(&pruned).await?;
    expect_that!(found.len() == 3, "wanted three containers, got {found:?}");
    for one in &found {
        context.runtime.remove(&one.id).await.map_err(|error| format!("remove failed: {error}"))?;
    }
    let left = list(&pruned).await?;
    expect_that!(left.is_empty(), "still listed after remove: {left:?}");
    for (spec, mut container) in containers {
        if spec.labels.install == kept {
            container.stdin.send(b"still here", SOON).await.map_err(|error| format!("it went too: {error}"))?;
            wait_for_text(&mut container, "still here").await?;
            context.runtime.remove(&container.id).await.map_err(|error| format!("remove failed: {error}"))?;
        }
        let exit = timeout(SOON, container.exit).await.map_err(|_| "no exit came of one that was removed")?;
        expect_that!(exit == Exit::Signal(9), "one that was removed ended with {exit}");
    }
    Ok(())
}

async fn what_has_ended_leaves_nothing_behind(context: &SuiteContext) -> Result<(), String> {
    let mut ids = Vec::new();
    let (well, badly, stopped) = (context.spec("exit 0"), context.spec("exit 9"), context.spec("sleep 60"));
    for spec in [&well, &badly, &stopped] {
        let container = context.start(spec).await?;
        if spec.labels.run == stopped.labels.run {
            let stop = context.runtime.stop(&container.id, Duration::ZERO).await;
            stop.map_err(|error| format!("stop failed: {error}"))?;
        }
        timeout(SOON, container.exit).await.map_err(|_| "no exit came")?;
        ids.push(container.id);
    }
    let mut never = context.spec("");
    never.command = vec!["/no/such/program".into()];
    context.refusal(&never).await?;
    for spec in [&well, &badly, &stopped, &never] {
        context.gone(spec).await?;
    }
    for id in &ids {
        let adopted = context.runtime.adopt(id).await.map(drop);
        expect_that!(matches!(adopted, Err(RuntimeError::Gone { .. })), "wanted that it is gone, got {adopted:?}");
    }
    // The same name may be used again: nothing of the ended one stands in the way.
    for spec in [&well, &never] {
        let mut again = context.spec("exit 4");
        again.name.clone_from(&spec.name);
        let ended = context.run_spec(&again, b"").await?;
        expect_that!(ended.exit == Exit::Code(4), "the second of that name: {}", ended.told());
    }
    Ok(())
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
