//! Promises about containers that outlive the host which started them.
//!
//! A host that dies lets go of everything it holds of a container; in here that is dropping the [`Container`].
//!
//! [`Container`]: crate::runtime::Container

use std::{fs, path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{
    Promise, SuiteContext,
    context::{SOON, collect, wait_for_text},
    expect_that, promise,
};
use crate::runtime::{Access, Container, ContainerId, ContainerSpec, Exit, ExitWatch, RuntimeError, StopOutcome};

pub(super) const PROMISES: &[Promise] = &[
    promise!(a_container_goes_on_without_its_host, OutlivesHost, "Its work, its files, its exit: all as before."),
    promise!(output_that_nobody_takes_holds_nobody_up, OutlivesHost, "Who writes to a dead host is not stuck."),
    promise!(what_an_adopted_container_says_of_trouble_is_heard, OutlivesHost, "From then on, to its last word."),
    promise!(an_adopted_container_can_be_stopped, OutlivesHost, "Asked and ended, or asked and killed."),
    promise!(an_adopted_container_that_is_removed_has_ended, OutlivesHost, "Its exit comes, whatever it is."),
    promise!(adopting_what_has_ended_says_so, Nothing, "Gone, at once; nobody waits for ever."),
];

async fn a_container_goes_on_without_its_host(context: &SuiteContext) -> Result<(), String> {
    let (spec, folder) = with_folder(
        context,
        "cat > $DIR/prompt; echo up; until [ -e $DIR/go ]; do sleep 0.05; done; cp $DIR/prompt $DIR/answer; exit 7",
    )?;
    let mut container = context.start(&spec).await?;
    container.stdin.send(b"the prompt", SOON).await.map_err(|error| error.to_string())?;
    let id = left_alone(container).await?;
    let summary = context.listed(&spec).await?.ok_or("it is not listed any more")?;
    expect_that!(summary.id == id && summary.running, "it is listed as {summary:?}");
    let exit = adopt(context, &id).await?;
    sleep(Duration::from_millis(300)).await;
    expect_that!(context.listed(&spec).await?.is_some(), "it ended when it was adopted");
    context.file(&folder.join("go"), "", 0o644)?;
    let exit = timeout(SOON, exit).await.map_err(|_| "no exit came")?;
    expect_that!(exit == Exit::Code(7), "wanted code 7, got {exit}");
    let answer = fs::read_to_string(folder.join("answer")).map_err(|error| error.to_string())?;
    expect_that!(answer == "the prompt", "it answered {answer:?}");
    context.gone(&spec).await
}

async fn output_that_nobody_takes_holds_nobody_up(context: &SuiteContext) -> Result<(), String> {
    // Far more than all buffers on the way hold; once with a reader that was there first and took nothing.
    for closed_first in [true, false] {
        let script = "cat; echo up; until [ -e $DIR/go ]; do sleep 0.05; done; head -c 8000000 /dev/zero; \
                      head -c 8000000 /dev/zero >&2; echo > $DIR/done; exit 7";
        let (spec, folder) = with_folder(context, script)?;
        let mut container = context.start(&spec).await?;
        std::mem::replace(&mut container.stdin, nobody()).close().await;
        wait_for_text(&mut container, "up").await?;
        let id = container.id.clone();
        let exit = adopt(context, &id).await?;
        if closed_first {
            drop(container);
            context.file(&folder.join("go"), "", 0o644)?;
        } else {
            context.file(&folder.join("go"), "", 0o644)?;
            sleep(Duration::from_millis(500)).await;
            drop(container);
        }
        let exit = timeout(SOON, exit).await.map_err(|_| format!("it is stuck, reader gone first: {closed_first}"))?;
        expect_that!(exit == Exit::Code(7) && folder.join("done").exists(), "it ended with {exit}");
        context.gone(&spec).await?;
    }
    Ok(())
}

async fn what_an_adopted_container_says_of_trouble_is_heard(context: &SuiteContext) -> Result<(), String> {
    let script = "cat; echo up; until [ -e $DIR/one ]; do sleep 0.05; done; echo before; echo lost >&2; \
                  echo > $DIR/lost; until [ -e $DIR/two ]; do sleep 0.05; done; echo after; echo last words >&2; exit 7";
    let (spec, folder) = with_folder(context, script)?;
    let id = left_alone(context.start(&spec).await?).await?;
    context.file(&folder.join("one"), "", 0o644)?;
    let since = Instant::now();
    while !folder.join("lost").exists() {
        expect_that!(since.elapsed() < SOON, "it does not go on without its host");
        sleep(Duration::from_millis(20)).await;
    }
    let adopted = context.runtime.adopt(&id).await.map_err(|error| format!("adopt failed: {error}"))?;
    let mut errors = adopted.errors.ok_or("nothing can be heard of it")?;
    // An engine may say that it listens a moment before it does.
    sleep(Duration::from_millis(300)).await;
    context.file(&folder.join("two"), "", 0o644)?;
    let (stdout, stderr) = timeout(SOON, collect(&mut errors)).await.map_err(|_| "its words never end")?;
    let exit = timeout(SOON, adopted.exit).await.map_err(|_| "no exit came")?;
    let right = stdout.is_empty() && stderr == b"last words\n" && exit == Exit::Code(7);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    expect_that!(right, "heard {:?} and {:?}, then {exit}", text(&stdout), text(&stderr));
    context.gone(&spec).await
}

async fn an_adopted_container_can_be_stopped(context: &SuiteContext) -> Result<(), String> {
    for (script, grace, wanted, by) in [
        ("trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done", SOON, StopOutcome::Ended, Exit::Code(3)),
        (
            "trap '' TERM; echo up; while :; do sleep 0.05; done",
            Duration::from_millis(200),
            StopOutcome::Killed,
            Exit::Signal(9),
        ),
    ] {
        let spec = context.spec(script);
        let id = left_alone(context.start(&spec).await?).await?;
        let exit = adopt(context, &id).await?;
        let stopped = context.runtime.stop(&id, grace).await.map_err(|error| format!("stop failed: {error}"))?;
        let exit = timeout(SOON, exit).await.map_err(|_| "no exit came")?;
        expect_that!(stopped == wanted && exit == by, "wanted {wanted:?} and {by}, got {stopped:?} and {exit}");
        context.gone(&spec).await?;
    }
    Ok(())
}

async fn an_adopted_container_that_is_removed_has_ended(context: &SuiteContext) -> Result<(), String> {
    let spec = context.spec("echo up; sleep 600");
    let id = left_alone(context.start(&spec).await?).await?;
    let exit = adopt(context, &id).await?;
    context.runtime.remove(&id).await.map_err(|error| format!("remove failed: {error}"))?;
    let exit = timeout(SOON, exit).await.map_err(|_| "no exit came")?;
    expect_that!(exit != Exit::Code(0), "it is taken for a success");
    context.gone(&spec).await
}

async fn adopting_what_has_ended_says_so(context: &SuiteContext) -> Result<(), String> {
    let spec = context.spec("cat");
    let Container { id, stdin, exit, output } = context.start(&spec).await?;
    let watch = context.runtime.adopt(&id).await;
    stdin.close().await;
    timeout(SOON, exit).await.map_err(|_| "no exit came")?;
    if let Ok(adopted) = watch {
        timeout(SOON, adopted.exit).await.map_err(|_| "no exit came to the second watch")?;
    }
    drop(output);
    context.gone(&spec).await?;
    let gone = timeout(SOON, context.runtime.adopt(&id)).await.map_err(|_| "no answer")?;
    expect_that!(matches!(gone, Err(RuntimeError::Gone { .. })), "wanted gone, got {:?}", gone.map(drop));
    Ok(())
}

/// A spec whose script knows a folder of the host as `$DIR`.
fn with_folder(context: &SuiteContext, script: &str) -> Result<(ContainerSpec, PathBuf), String> {
    let folder = context.folder("shared")?;
    let mut spec = context.spec(script);
    context.mount(&mut spec, "DIR", &folder, "/shared", Access::ReadWrite);
    Ok((spec, folder))
}

fn nobody() -> crate::runtime::ContainerStdin {
    crate::runtime::ContainerStdin::new(tokio::io::sink())
}

/// Ends the container's input, waits until it says "up", then lets go of it.
async fn left_alone(mut container: Container) -> Result<ContainerId, String> {
    std::mem::replace(&mut container.stdin, nobody()).close().await;
    wait_for_text(&mut container, "up").await?;
    Ok(container.id)
}

/// Adopts a container and listens to nothing of it.
async fn adopt(context: &SuiteContext, id: &ContainerId) -> Result<ExitWatch, String> {
    let since = Instant::now();
    let adopted = context.runtime.adopt(id).await.map_err(|error| format!("adopt failed: {error}"))?;
    expect_that!(since.elapsed() < SOON, "adopting took {:?}", since.elapsed());
    Ok(adopted.exit)
}
