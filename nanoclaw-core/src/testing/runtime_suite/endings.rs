//! Promises about how containers end and how that is told.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{
    Promise, SuiteContext,
    context::{SOON, wait_for_text},
    expect_that, promise,
};
use crate::runtime::{ContainerId, Exit, StopOutcome};

pub(super) const PROMISES: &[Promise] = &[
    promise!(an_exit_code_is_told_as_it_is, Nothing, "Code 7 is code 7, also when it comes at once."),
    promise!(
        a_code_above_128_is_told_as_its_signal,
        Nothing,
        "Code 143 is signal 15 at every runtime, since most cannot tell the two apart; code 200 is code 200."
    ),
    promise!(an_exit_can_be_awaited_again, Nothing, "Many may wait for the exit, before and after it."),
    promise!(a_killed_container_ended_by_a_signal, Nothing, "Removing a running container kills it, and that is told."),
    promise!(a_handler_of_term_has_its_say, Nothing, "Stop asks first: output and code of the handler come through."),
    promise!(
        a_container_that_has_just_started_hears_that_it_is_to_end,
        Nothing,
        "Stop is heard although the first process was not yet ready to hear it."
    ),
    promise!(
        f34_a_deaf_container_is_killed_after_the_grace_time,
        Nothing,
        "Who does not listen is killed, not before."
    ),
    promise!(stopping_the_unknown_is_fine, Nothing, "Stop and remove of what is not there are no errors."),
    promise!(remove_returns_when_it_is_gone, Nothing, "After remove the container is not listed, at any time."),
];

async fn an_exit_code_is_told_as_it_is(context: &SuiteContext) -> Result<(), String> {
    for code in [0, 1, 7, 42, 126] {
        let ended = context.run(&format!("exit {code}"), b"").await?;
        expect_that!(ended.exit == Exit::Code(code), "wanted code {code}, got {}", ended.told());
    }
    Ok(())
}

async fn a_code_above_128_is_told_as_its_signal(context: &SuiteContext) -> Result<(), String> {
    for (script, wanted) in [
        ("exit 143", Exit::Signal(15)),
        ("sh -c 'kill -TERM $$'; exit $?", Exit::Signal(15)),
        ("exit 128", Exit::Code(128)),
        ("exit 200", Exit::Code(200)),
    ] {
        let ended = context.run(script, b"").await?;
        expect_that!(ended.exit == wanted, "{script}: wanted {wanted}, got {}", ended.told());
    }
    Ok(())
}

async fn an_exit_can_be_awaited_again(context: &SuiteContext) -> Result<(), String> {
    let container = context.start(&context.spec("exit 3")).await?;
    let (first, second) = (container.exit.clone(), container.exit.clone());
    let both = timeout(SOON, async { tokio::join!(first, second) }).await.map_err(|_| "no exit came")?;
    expect_that!(both == (Exit::Code(3), Exit::Code(3)), "wanted code 3 twice, got {both:?}");
    let again = timeout(SOON, container.exit).await.map_err(|_| "no exit came the second time")?;
    expect_that!(again == Exit::Code(3), "wanted code 3 again, got {again}");
    Ok(())
}

async fn a_killed_container_ended_by_a_signal(context: &SuiteContext) -> Result<(), String> {
    let spec = context.spec("echo up; sleep 60");
    let mut container = context.start(&spec).await?;
    wait_for_text(&mut container, "up").await?;
    context.runtime.remove(&container.id).await.map_err(|error| format!("remove failed: {error}"))?;
    let exit = timeout(SOON, container.exit).await.map_err(|_| "no exit came")?;
    expect_that!(exit == Exit::Signal(9), "wanted signal 9, got {exit}");
    Ok(())
}

async fn a_handler_of_term_has_its_say(context: &SuiteContext) -> Result<(), String> {
    let spec = context.spec("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done");
    let mut container = context.start(&spec).await?;
    wait_for_text(&mut container, "up").await?;
    let outcome = timeout(SOON * 2, context.runtime.stop(&container.id, SOON))
        .await
        .map_err(|_| "stop never returned")?
        .map_err(|error| format!("stop failed: {error}"))?;
    expect_that!(outcome == StopOutcome::Ended, "wanted that it ended, got {outcome:?}");
    wait_for_text(&mut container, "bye").await?;
    let exit = timeout(SOON, container.exit).await.map_err(|_| "no exit came")?;
    expect_that!(exit == Exit::Code(3), "wanted code 3, got {exit}");
    context.gone(&spec).await?;
    let outcome = context.runtime.stop(&container.id, Duration::ZERO).await;
    expect_that!(matches!(outcome, Ok(StopOutcome::Gone)), "a second stop: wanted that it is gone, got {outcome:?}");
    Ok(())
}

async fn a_container_that_has_just_started_hears_that_it_is_to_end(context: &SuiteContext) -> Result<(), String> {
    // The kernel drops a signal to the first process of a container that has no handler for it yet.
    let spec = context.spec("sleep 0.05; trap 'exit 3' TERM; while :; do sleep 0.01; done");
    let container = context.start(&spec).await?;
    let outcome = timeout(SOON * 2, context.runtime.stop(&container.id, SOON))
        .await
        .map_err(|_| "stop never returned")?
        .map_err(|error| format!("stop failed: {error}"))?;
    expect_that!(outcome == StopOutcome::Ended, "wanted that it ended, got {outcome:?}");
    Ok(())
}

async fn f34_a_deaf_container_is_killed_after_the_grace_time(context: &SuiteContext) -> Result<(), String> {
    let spec = context.spec("trap '' TERM; echo up; while :; do sleep 0.1; done");
    let mut container = context.start(&spec).await?;
    wait_for_text(&mut container, "up").await?;
    let (grace, since) = (Duration::from_secs(1), Instant::now());
    let outcome = timeout(SOON, context.runtime.stop(&container.id, grace))
        .await
        .map_err(|_| "stop never returned")?
        .map_err(|error| format!("stop failed: {error}"))?;
    expect_that!(outcome == StopOutcome::Killed, "wanted that it was killed, got {outcome:?}");
    expect_that!(since.elapsed() >= grace, "it was killed after {} ms", since.elapsed().as_millis());
    let exit = timeout(SOON, container.exit).await.map_err(|_| "no exit came")?;
    expect_that!(exit == Exit::Signal(9), "wanted signal 9, got {exit}");
    context.gone(&spec).await
}

async fn stopping_the_unknown_is_fine(context: &SuiteContext) -> Result<(), String> {
    let id = ContainerId::new(format!("nanoclaw-{}-nobody-1", context.install)).map_err(|error| error.to_string())?;
    let stopped = context.runtime.stop(&id, Duration::from_secs(1)).await;
    expect_that!(matches!(stopped, Ok(StopOutcome::Gone)), "stop: wanted that it is gone, got {stopped:?}");
    let removed = context.runtime.remove(&id).await;
    expect_that!(removed.is_ok(), "remove: {removed:?}");
    Ok(())
}

async fn remove_returns_when_it_is_gone(context: &SuiteContext) -> Result<(), String> {
    for round in 1..=3 {
        let spec = context.spec("echo up; sleep 60");
        let mut container = context.start(&spec).await?;
        if round > 1 {
            wait_for_text(&mut container, "up").await?;
        }
        for _ in 0..2 {
            context.runtime.remove(&container.id).await.map_err(|error| format!("remove failed: {error}"))?;
            let left = context.listed(&spec).await?;
            expect_that!(left.is_none(), "round {round}: still listed after remove: {left:?}");
        }
    }
    Ok(())
}
