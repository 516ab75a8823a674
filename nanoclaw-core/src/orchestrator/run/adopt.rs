//! A run that an earlier host began: taken over when its container lives, finished when it does not.
//!
//! What the agent has is told by what that host noted and what lies in the mailbox: a follow-up is staged, noted, published,
//! in this order, and taken by the agent with its file. So nothing is handed over twice, and nothing is taken for handed over
//! that is not.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::{
    Command, Errand, RunContext, Words, close, leave,
    leftover::{Fate, Leftover},
    live::{Held, Left, Live},
    note_closed,
    requests::finish_requests,
};
use crate::{
    group::{Group, GroupFolder},
    launch::Rejoined,
    mailbox::{Folder, Mailbox, MailboxError},
    message::{PlatformMessageId, Seq},
    orchestrator::{
        blocks::Ledger,
        control::Input,
        event::{Adopted, RunWord},
    },
    protocol::input::{CLOSE_FILE, follow_up_name},
    run::{RunEnding, RunId},
    runtime::Exit,
    store::{Store, StoreError, StoredRun, StoredTurn, TurnState},
};

/// A run whose container outlived its host, with all that its new worker needs.
pub(in crate::orchestrator) struct Adoptee {
    /// As it was registered when its container was found; it may be removed since.
    pub(in crate::orchestrator) group: Arc<Group>,
    pub(in crate::orchestrator) run: StoredRun,
    /// In the order in which they were handed over; at least one, of a run for the chat.
    pub(in crate::orchestrator) turns: Vec<StoredTurn>,
    /// What it does when that is not the chat's.
    pub(in crate::orchestrator) errand: Option<Errand>,
    pub(in crate::orchestrator) container: Held,
    pub(in crate::orchestrator) rejoined: Rejoined,
}

/// What the log of an adopted run says, where its container is heard and where it is not.
const GOES_ON: &[u8] =
    b"another host took over here; what the agent wrote while there was none, and all that it writes to \
                         standard output, is missing";
const ENDS: &[u8] = b"another host took over here, and cannot hear the agent: what it writes from now on is missing";

/// How far a run got with `turns`, for the dispatcher. `cursor` is its group's.
pub(in crate::orchestrator) fn stands(run: &StoredRun, turns: &[StoredTurn], cursor: Seq) -> Adopted {
    let handed = turns.iter().map(|turn| turn.handed.last).max().unwrap_or(Seq::ZERO);
    let all_answered = turns.iter().all(|turn| turn.state == TurnState::Answered);
    let answered = if all_answered { handed } else { cursor.min(Seq(handed.0 - 1)) };
    Adopted { kind: run.kind.clone(), handed, answered, last_turn: run.session_ended }
}

/// Takes over a container, and returns the worker's last word as [`run`](super::run) does. Says `caught_up` when what the
/// agent said while no host was there is committed.
pub(in crate::orchestrator) async fn adopt(
    context: Arc<RunContext>,
    adoptee: Adoptee,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Input>,
    caught_up: oneshot::Sender<()>,
) -> RunWord {
    let Adoptee { group, run, turns, errand, container, rejoined } = adoptee;
    let words = Words { run: run.id.clone(), events };
    let Rejoined { mailbox, log, guard } = rejoined;
    tracing::info!(run = %run.id, container = %container.id, "adopting a container that outlived its host");
    let live = Live::new(&context, &group, &run.id, &words, &Mailbox::new(mailbox), log, guard)
        .and_then(|live| live.resumed(&run, &turns));
    let left = match live {
        Ok(mut live) => {
            live.errand = errand;
            live.write_log(
                "host",
                match container.output {
                    Some(_) => GOES_ON,
                    None => ENDS,
                },
            );
            live.drain_whole_journal().await;
            live.answer_requests().await;
            live.note_taken().await;
            let _ = caught_up.send(());
            if !live.ledger.all_answered() {
                let thread = thread_of(&*context.store, &group.folder, live.ledger.handed_through()).await;
                live.typing.show(thread);
            }
            live.serve(container, &mut commands).await
        }
        Err(error) => {
            drop(caught_up);
            match Leftover::new(&context, &words, &container.id, Exit::Unknown).see_gone(&mut commands, false).await {
                Fate::Over => Left::Ended(RunEnding::Lost { reason: error.to_string() }),
                Fate::LetGo => Left::Running,
            }
        }
    };
    leave(&*context.store, &run.id, &left).await;
    if let Left::Ended(ending) = &left {
        context.errand_ended(&run.id, &group, ending).await;
    }
    match left {
        Left::Ended(ending) => RunWord::Ended { ending },
        Left::Running => RunWord::Detached,
    }
}

/// The thread in which a message that waits for its answer was written. Only a sign is shown there, so a failure matters little.
async fn thread_of(store: &dyn Store, group: &GroupFolder, seq: Seq) -> Option<PlatformMessageId> {
    let after = Seq(seq.0.saturating_sub(1));
    let found = store.messages_after(group, after, 1).await.ok()?;
    found.into_iter().find(|stored| stored.seq == seq)?.message.thread
}

/// Commits what a run said while nobody listened, closes it, since its container is gone or will end by the
/// [fence](crate::protocol::fence), and says how it ended. What it did not answer is pending again. It ended as `known` says;
/// when nobody knows, as the agent says, or else with its host.
///
/// # Errors
/// When the store does not take it; the run stays open then.
pub(in crate::orchestrator) async fn finish(
    context: &RunContext,
    group: &Group,
    run: &StoredRun,
    turns: &[StoredTurn],
    known: Option<RunEnding>,
) -> Result<RunEnding, StoreError> {
    // Nobody listens: there is no loop yet, or it knows nothing of this run.
    let errand = context.errand_of(&run.id, &run.kind).await?;
    if turns.is_empty() && errand.is_none() && known.is_none() {
        // Its container was started ahead, or not at all. It was asked nothing, so nothing that it said is of use: most agents
        // only complain that their input ended.
        let fenced = Mailbox::new(context.launcher.mailbox(&group.folder)).fence(run.id.number.next());
        if let Err(error) = fenced {
            tracing::warn!(run = %run.id, %error, "cannot fence the run; the group's next one does");
        }
        note_closed(&*context.store, &run.id, &RunEnding::HostEnded).await;
        return Ok(RunEnding::HostEnded);
    }
    let words = Words { run: run.id.clone(), events: mpsc::channel(1).0 };
    let mailbox = Mailbox::new(context.launcher.mailbox(&group.folder));
    // Its container may be one of another runtime, which nobody asks now: then this ends it.
    if let Err(error) = mailbox.fence(run.id.number.next()) {
        tracing::warn!(run = %run.id, %error, "cannot fence the run; the group's next one does");
    }
    let live = Live::new(context, group, &run.id, &words, &mailbox, Box::new(std::io::sink()), Box::new(()))
        .and_then(|live| live.resumed(run, turns));
    let ending = match live {
        Ok(mut live) => {
            live.errand = errand;
            finish_requests(context, &run.id, &live.folders).await?;
            live.drain_rest_of_journal().await;
            if let Some(reason) = live.lost.take() {
                return Err(StoreError::Failed { action: "commit what an earlier run said", reason });
            }
            live.note_taken().await;
            match live.failure.is_some() {
                true => live.ending(Exit::Unknown).await,
                false => RunEnding::HostEnded,
            }
        }
        Err(error) => {
            tracing::warn!(run = %run.id, %error, "cannot read the mailbox; what the run said in it is not known");
            RunEnding::HostEnded
        }
    };
    let ending = known.unwrap_or(ending);
    close(&*context.store, &run.id, &ending).await;
    context.errand_ended(&run.id, group, &ending).await;
    Ok(ending)
}

impl Live<'_> {
    /// The same where the earlier host left it.
    fn resumed(mut self, run: &StoredRun, turns: &[StoredTurn]) -> Result<Self, MailboxError> {
        let input = &self.folders.input;
        settle_input(input, self.id, turns)?;
        self.ledger = Ledger::resume(turns, run.names_messages, |name| input.has(name).unwrap_or(true));
        self.closing = input.has(CLOSE_FILE)?;
        self.prompt_in_doubt = turns.first().is_none_or(|turn| turn.taken_at.is_none());
        Ok(self)
    }
}

/// Gives each noted follow-up its name that does not have it, and removes what was staged and never noted.
fn settle_input(input: &Folder, run: &RunId, turns: &[StoredTurn]) -> Result<(), MailboxError> {
    let owed: Vec<String> = turns
        .iter()
        .skip(1)
        .filter(|turn| turn.state != TurnState::Answered)
        .map(|turn| follow_up_name(turn.handed.last))
        .collect();
    for name in input.staged()? {
        if owed.contains(&name) {
            tracing::info!(%run, file = name, "handing over a follow-up that was noted and not published");
            input.publish(&name)?;
        } else {
            input.unstage(&name)?;
        }
    }
    Ok(())
}
