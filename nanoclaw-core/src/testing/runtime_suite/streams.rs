//! Promises about input and output.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{
    Promise, SuiteContext,
    context::{SOON, collect, wait_for_text},
    expect_that, promise,
};
use crate::runtime::Exit;

pub(super) const PROMISES: &[Promise] = &[
    promise!(first_bytes_are_never_lost, Nothing, "What a container writes at once is seen, however short its life."),
    promise!(stdout_and_stderr_are_kept_apart, Nothing, "Standard output and standard error never mix."),
    promise!(input_and_output_are_byte_exact, Nothing, "16 MiB of arbitrary bytes go in and come out unchanged."),
    promise!(errors_are_byte_exact, Nothing, "The same through standard error."),
    promise!(a_container_answers_while_its_input_is_open, Nothing, "A line sent is a line received, before any end."),
    promise!(closed_input_is_end_of_file_and_output_goes_on, Nothing, "Closing the input says end of file, no more."),
    promise!(dropped_input_is_end_of_file, Nothing, "So does dropping it."),
    promise!(output_ends_with_the_container, Nothing, "Output ends within 2 s of the exit, whatever still holds it."),
    promise!(a_container_that_never_reads_holds_nobody_up, Nothing, "Sending has a limit in time."),
    promise!(f29_input_of_an_ended_container_is_an_error_at_most, Nothing, "Writing to the dead hurts nobody."),
];

async fn first_bytes_are_never_lost(context: &SuiteContext) -> Result<(), String> {
    for round in 1..=5 {
        let ended = context.run("echo one; echo two >&2", b"").await?;
        let right = ended.stdout == b"one\n" && ended.stderr == b"two\n" && ended.exit == Exit::Code(0);
        expect_that!(right, "round {round}: wanted one, two and code 0, got {}", ended.told());
    }
    Ok(())
}

async fn stdout_and_stderr_are_kept_apart(context: &SuiteContext) -> Result<(), String> {
    let script = "i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let ended = context.run(script, b"").await?;
    let lines = |word: &str| (0..500).map(|i| format!("{word} {i}\n")).collect::<String>().into_bytes();
    let right = ended.stdout == lines("out") && ended.stderr == lines("err");
    expect_that!(right, "lines were lost, mixed or out of order: {}", ended.told());
    Ok(())
}

async fn input_and_output_are_byte_exact(context: &SuiteContext) -> Result<(), String> {
    let sent = arbitrary_bytes(16 << 20);
    let ended = context.run("cat", &sent).await?;
    expect_that!(ended.stdout == sent, "{}", difference(&sent, &ended.stdout));
    expect_that!(ended.stderr.is_empty() && ended.exit == Exit::Code(0), "{}", ended.exit);
    Ok(())
}

async fn errors_are_byte_exact(context: &SuiteContext) -> Result<(), String> {
    let sent = arbitrary_bytes(16 << 20);
    let ended = context.run("cat >&2", &sent).await?;
    expect_that!(ended.stderr == sent, "{}", difference(&sent, &ended.stderr));
    expect_that!(ended.stdout.is_empty() && ended.exit == Exit::Code(0), "{}", ended.exit);
    Ok(())
}

async fn a_container_answers_while_its_input_is_open(context: &SuiteContext) -> Result<(), String> {
    let mut container = context.start(&context.spec("read line; echo \"got $line\"; cat")).await?;
    container.stdin.send(b"hello\n", SOON).await.map_err(|error| format!("sending failed: {error}"))?;
    wait_for_text(&mut container, "got hello\n").await?;
    container.stdin.send(b"more\n", SOON).await.map_err(|error| format!("sending again failed: {error}"))?;
    wait_for_text(&mut container, "more\n").await?;
    container.stdin.close().await;
    let exit = timeout(SOON, container.exit).await.map_err(|_| "it did not end at end of file")?;
    expect_that!(exit == Exit::Code(0), "wanted code 0, got {exit}");
    Ok(())
}

async fn closed_input_is_end_of_file_and_output_goes_on(context: &SuiteContext) -> Result<(), String> {
    let ended = context.run("cat >/dev/null; echo end; sleep 1; echo later; echo last >&2; exit 5", b"input").await?;
    let right = ended.stdout == b"end\nlater\n" && ended.stderr == b"last\n" && ended.exit == Exit::Code(5);
    expect_that!(right, "wanted end, later, last and code 5, got {}", ended.told());
    Ok(())
}

async fn dropped_input_is_end_of_file(context: &SuiteContext) -> Result<(), String> {
    let mut container = context.start(&context.spec("cat >/dev/null; echo end")).await?;
    drop(container.stdin);
    let (stdout, _) = timeout(SOON, collect(&mut container.output)).await.map_err(|_| "end of file never came")?;
    expect_that!(stdout == b"end\n", "wanted end, got {:?}", String::from_utf8_lossy(&stdout));
    Ok(())
}

async fn output_ends_with_the_container(context: &SuiteContext) -> Result<(), String> {
    let spec = context.spec("sleep 30 & echo up");
    let mut container = context.start(&spec).await?;
    let exit = container.exit.clone();
    let output = tokio::spawn(async move { (collect(&mut container.output).await, Instant::now()) });
    timeout(SOON, exit).await.map_err(|_| "its first process ended and no exit came")?;
    let exited = Instant::now();
    let ((stdout, _), closed) = timeout(SOON, output)
        .await
        .map_err(|_| "the output never ended")?
        .map_err(|error| format!("reading failed: {error}"))?;
    let late = closed.saturating_duration_since(exited);
    expect_that!(stdout == b"up\n", "wanted up, got {:?}", String::from_utf8_lossy(&stdout));
    // Half a second is for a busy machine.
    expect_that!(late < Duration::from_millis(2500), "the output ended {} ms after the exit", late.as_millis());
    context.gone(&spec).await
}

async fn a_container_that_never_reads_holds_nobody_up(context: &SuiteContext) -> Result<(), String> {
    let spec = context.spec("sleep 60");
    let mut container = context.start(&spec).await?;
    let since = Instant::now();
    let sent = container.stdin.send(&arbitrary_bytes(16 << 20), Duration::from_secs(1)).await;
    let took = since.elapsed();
    context.runtime.remove(&container.id).await.map_err(|error| format!("remove failed: {error}"))?;
    expect_that!(sent.is_err(), "16 MiB were sent to a container that reads nothing");
    expect_that!(took < SOON, "sending took {} s with a limit of 1 s", took.as_secs());
    Ok(())
}

async fn f29_input_of_an_ended_container_is_an_error_at_most(context: &SuiteContext) -> Result<(), String> {
    let mut container = context.start(&context.spec("exit 0")).await?;
    timeout(SOON, container.exit.clone()).await.map_err(|_| "no exit came")?;
    let much = arbitrary_bytes(1 << 20);
    let send = container.stdin.send(&much, Duration::from_secs(5));
    // Whether it is an error depends on when the engine lets go of the connection; that it comes back does not.
    let _ = timeout(SOON, send).await.map_err(|_| "sending ignored its limit")?;
    timeout(SOON, container.stdin.close()).await.map_err(|_| "closing hangs")?;
    Ok(())
}

/// Bytes that repeat nowhere near (a small congruential generator), every value among them.
fn arbitrary_bytes(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn difference(sent: &[u8], received: &[u8]) -> String {
    let place = sent.iter().zip(received).position(|(a, b)| a != b);
    match place {
        Some(place) => format!("byte {place} of {} differs", sent.len()),
        None => format!("{} bytes went in, {} came out", sent.len(), received.len()),
    }
}
