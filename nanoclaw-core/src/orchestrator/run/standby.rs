//! The worker of a container that is started ahead: makes it ready as for any run, waits with it, and when it is used goes on
//! as the worker of that run.
//!
//! ```text
//!  open run ─▶ prepare ─▶ start container ─▶ stand by ──begin──▶ still the same? ─▶ note the turn ─▶ write prompt ─▶ serve
//!                                               │                     │ no
//!                                               └─ stopped, died ─────┴─▶ see it gone ─▶ close run, unused
//! ```
//!
//! Until the turn is noted nobody has asked the container anything, so whatever befalls it is nobody's failure: it goes, its
//! run is closed, and what waits is answered by the next run, which starts as if there had been none. Its row is open from the
//! start: a survey spares its container while this host lives and removes it afterwards, since a run without a turn is not
//! taken over, and its number is never another's.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::{
    Command, RunContext, Words, bring_files, leave,
    leftover::{Fate, Leftover},
    limits_of,
    live::{Held, Left, Live, Taken, known_ahead, named_before, start_container},
    make_ready, note_closed, wanted,
};
use crate::{
    causes::with_causes,
    group::Group,
    message::Seq,
    orchestrator::{
        batch::{Batch, Missing, next_batch},
        blocks::Ledger,
        control::Input,
        event::{PromptSize, RunWord},
    },
    protocol::{environment::AHEAD, input::Ahead},
    run::{RunEnding, RunId, RunKind},
    runtime::{Container, ContainerId, ContainerSpec, ContainerStdin, Exit, GuestValue, ImageRef},
    session::SessionId,
    store::{NewRun, SessionContext},
    time::Timestamp,
};

/// When a container is looked at for the first time: what it takes, and whether what it was made of is still what it would be
/// made of. What is started in it goes on growing, on a busy machine for many seconds, so the pause doubles from look to look.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// The longest pause. It is looked at again when it is used; these looks are for those that wait, so that whoever is first
/// finds a good one.
const LOOK_PAUSE: Duration = Duration::from_secs(60);

/// Starts a container ahead and returns the worker's last word: that it was not used, or what [`run`](super::run) returns of
/// one that was.
pub(in crate::orchestrator) async fn stand_by(
    context: Arc<RunContext>,
    group: Arc<Group>,
    id: RunId,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Input>,
) -> RunWord {
    let words = Words { run: id.clone(), events };
    let new_run = NewRun {
        id: id.clone(),
        kind: RunKind::Chat,
        runtime: context.runtime.kind(),
        handed: None,
        at: Timestamp::now(),
    };
    if let Err(error) = context.store.open_run(&new_run).await {
        tracing::warn!(run = %id, error = with_causes(&error), "cannot start a container ahead");
        // It may be open all the same, and the group's next run, which would close it, may be long in coming.
        note_closed(&*context.store, &id, &RunEnding::Stopped).await;
        return RunWord::Unused { failed: true };
    }
    let left = match wait_and_serve(&context, &group, &id, &mut commands, &words).await {
        Stood::Used(left) => left,
        Stood::Unused { failed } => {
            note_closed(&*context.store, &id, &RunEnding::Stopped).await;
            return RunWord::Unused { failed };
        }
        Stood::LetGo => return RunWord::Detached,
    };
    leave(&*context.store, &id, &left).await;
    match left {
        Left::Ended(ending) => RunWord::Ended { ending },
        Left::Running => RunWord::Detached,
    }
}

/// What became of a container that was started ahead.
enum Stood {
    Used(Left),
    /// It is gone.
    Unused {
        failed: bool,
    },
    /// It may live. This host ends; the next one removes it.
    LetGo,
}

/// Why a container stands by no more.
enum Over {
    Begin(PromptSize),
    /// Nobody wants it any more.
    Unwanted,
    /// It is not what a new one would be.
    Stale,
    Died(Exit),
}

async fn wait_and_serve(
    context: &RunContext,
    group: &Group,
    id: &RunId,
    commands: &mut mpsc::Receiver<Command>,
    words: &Words,
) -> Stood {
    // Before the container is made: what changes meanwhile makes it stale.
    let made_of = match fingerprint(context, group, id, None).await {
        Ok(made_of) => made_of,
        Err(reason) => return not_started(id, &reason),
    };
    let (mut live, mut spec) = match make_ready(context, group, id, &RunKind::Chat, words).await {
        Ok(prepared) => prepared,
        Err(ending) => return not_started(id, &ending.to_string()),
    };
    match context.store.session(&group.folder, &SessionContext::Chat).await {
        Ok(session) => tell_ahead(&mut spec, &known_ahead(context, group, session)),
        Err(error) => return not_started(id, &with_causes(&error)),
    }
    let image = match context.runtime.image_id(&spec.image).await {
        Ok(image) => image,
        Err(error) => return not_started(id, &error.to_string()),
    };
    let container = match start_container(context, &spec).await {
        Ok(container) => container,
        Err(ending) => return not_started(id, &ending.to_string()),
    };
    let made_of = MadeOf { launch: made_of, image };
    tracing::debug!(run = %id, container = %container.id, "a container was started ahead");
    words.say(RunWord::StandsBy { memory_bytes: None }).await;

    let over = {
        let mut watched = pin!(watch(context, id, words, &container.id, &spec, &made_of));
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Begin(prompt)) => break Over::Begin(prompt),
                    // Whoever is to let go of it ends it: nobody could go on with it.
                    Some(Command::Stop(_) | Command::Close | Command::Detach) | None => break Over::Unwanted,
                    Some(Command::Feed) => {}
                },
                exit = container.exit.clone() => break Over::Died(exit),
                () = &mut watched => break Over::Stale,
            }
        }
    };
    let mut exit = Exit::Unknown;
    let failed = match over {
        Over::Begin(prompt) => {
            let asked = ask(context, group, id, prompt, &spec.image, &made_of).await;
            let died = container.exit.clone().now_or_never();
            match asked {
                Ok(Asked { batch, session, named }) if died.is_none() => {
                    let noted = context.store.hand_over(id, batch.handed, Timestamp::now()).await;
                    match noted {
                        Ok(()) => {
                            live.ledger = Ledger::new(batch.handed, named);
                            live.prompt = prompt;
                            let held = begin(&mut live, container, batch, session).await;
                            return Stood::Used(live.serve(held, commands).await);
                        }
                        Err(error) => {
                            tracing::warn!(run = %id, error = with_causes(&error), "cannot hand over what waits");
                        }
                    }
                    false
                }
                Ok(_) => {
                    tracing::warn!(run = %id, "the container that was started ahead had died; another is started");
                    true
                }
                Err(reason) => {
                    tracing::info!(run = %id, reason, "what was started ahead is not used; a container is started anew");
                    false
                }
            }
        }
        Over::Unwanted => {
            tracing::debug!(run = %id, "a container that was started ahead gives way");
            false
        }
        Over::Stale => {
            tracing::debug!(run = %id, "a container that was started ahead is not what it would be now, and goes");
            false
        }
        Over::Died(how) => {
            tracing::warn!(run = %id, exit = %how, "a container that was started ahead has ended by itself");
            exit = how;
            true
        }
    };
    // The output is of no use, and a container that cannot write ends no later for it.
    let Container { id: container, .. } = container;
    match Leftover::new(context, words, &container, exit).see_gone(commands, false).await {
        Fate::Over => Stood::Unused { failed },
        Fate::LetGo => Stood::LetGo,
    }
}

/// Has the container know what is known already, so that what thinks in it can be up before it is asked.
fn tell_ahead(spec: &mut ContainerSpec, ahead: &Ahead) {
    let json = serde_json::to_string(ahead).expect("what is known ahead has text keys and plain values");
    spec.env.insert(AHEAD.to_owned(), GuestValue::Text(json));
}

fn not_started(id: &RunId, reason: &str) -> Stood {
    tracing::warn!(run = %id, reason, "cannot start a container ahead");
    Stood::Unused { failed: true }
}

/// Hands over the first prompt, which is noted.
async fn begin(live: &mut Live<'_>, mut container: Container, batch: Batch, session: Option<SessionId>) -> Held {
    let runtime = live.context.runtime.kind();
    tracing::info!(run = %live.id, %runtime, standby = true, "run opened");
    let stdin = std::mem::replace(&mut container.stdin, ContainerStdin::new(tokio::io::sink()));
    if live.hand_prompt(stdin, batch, session).await == Taken::No {
        // It died while it waited, which says nothing about what it was to be asked.
        live.prompt_in_doubt = true;
    }
    let Container { id, output, exit, .. } = container;
    Held { id, output: Some(output), exit }
}

/// What a container was made of.
struct MadeOf {
    launch: String,
    image: Option<String>,
}

async fn fingerprint(context: &RunContext, group: &Group, id: &RunId, seen: Option<&Group>) -> Result<String, String> {
    if seen.is_some_and(|seen| seen != group) {
        return Err("the group's registration has changed".to_owned());
    }
    context.launcher.fingerprint(group, id, &RunKind::Chat).await.map_err(|error| error.reason)
}

impl MadeOf {
    /// Whether a container of `group` would be made of the same now.
    ///
    /// # Errors
    /// Why not, or why nobody knows.
    async fn still(&self, context: &RunContext, group: &Group, id: &RunId, image: &ImageRef) -> Result<(), String> {
        let registered = context.alerts.directory.get(&group.folder);
        let seen = registered.as_deref().ok_or("its group was removed")?;
        let (launch, image) =
            tokio::join!(fingerprint(context, group, id, Some(seen)), context.runtime.image_id(image));
        if launch? != self.launch {
            return Err("its group's configuration, skills, mounts or programs have changed".to_owned());
        }
        if image.map_err(|error| error.to_string())? != self.image {
            return Err("its image has changed".to_owned());
        }
        Ok(())
    }
}

/// Tells now and then what the container takes; returns when it is not what a new one would be.
async fn watch(
    context: &RunContext,
    id: &RunId,
    words: &Words,
    container: &ContainerId,
    spec: &ContainerSpec,
    made_of: &MadeOf,
) {
    let mut pause = FIRST_LOOK;
    loop {
        tokio::time::sleep(pause).await;
        if let Ok(Some(stats)) = context.runtime.stats(container).await {
            words.say(RunWord::StandsBy { memory_bytes: Some(stats.memory_bytes) }).await;
        }
        pause = LOOK_PAUSE.min(pause * 2);
        let Some(group) = context.alerts.directory.get(&id.group) else { continue };
        if made_of.still(context, &group, id, &spec.image).await.is_err() {
            return;
        }
    }
}

/// What an agent is to be asked first.
struct Asked {
    batch: Batch,
    session: Option<SessionId>,
    named: Option<bool>,
}

/// Reads what waits while it is looked whether the container is still good.
///
/// # Errors
/// Why it is not used. Whoever is started instead meets what is wrong again, and judges it.
async fn ask(
    context: &RunContext,
    group: &Group,
    id: &RunId,
    prompt: PromptSize,
    image: &ImageRef,
    made_of: &MadeOf,
) -> Result<Asked, String> {
    let limits = limits_of(context, group, prompt);
    let nothing_missing = Missing::new();
    let (still, batch, session, named) = tokio::join!(
        made_of.still(context, group, id, image),
        next_batch(&*context.store, wanted(context, group, Seq::ZERO, limits), &nothing_missing),
        context.store.session(&group.folder, &SessionContext::Chat),
        named_before(context, group),
    );
    still?;
    let batch = batch.map_err(|error| error.to_string())?.ok_or("nothing waits")?;
    let brought = bring_files(context, wanted(context, group, Seq::ZERO, limits), batch).await;
    let batch = brought.map_err(|error| error.to_string())?.ok_or("nothing waits any longer")?;
    let session = session.map_err(|error| error.to_string())?;
    let named = named.map_err(|ending| ending.to_string())?;
    Ok(Asked { batch, session, named })
}
