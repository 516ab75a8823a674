//! What the agent says: blocks on its output and in its journal, committed once; everything else is log text.

use std::{io::Write as _, time::Duration};

use super::{complaints::in_short, errand::Errand, live::Live, tries::Tries};
use crate::{
    delivery::OutboxId,
    mailbox::Limits,
    message::Seq,
    orchestrator::{
        Notice,
        blocks::{LAST_NOTE, commit_of},
        event::RunWord,
    },
    pace::Pace,
    protocol::{
        markers::{Found, MAX_BLOCK_BYTES},
        output::{Block, FailureKind, JournalEntry, Status},
    },
    run::{BlockNumber, Retry, Trouble},
    steps::STEPS,
    store::{BlockCommit, BlockOutcome, SessionContext, Store, StoreError},
    time::Timestamp,
};

/// A journal file holds a whole block and a little around it.
pub(in crate::orchestrator) const JOURNAL_LIMITS: Limits = Limits { file_bytes: MAX_BLOCK_BYTES + 4096, names: 256 };
/// How often in a row the journal of a run that is over is looked at for more.
const JOURNAL_ROUNDS: u32 = 64;
/// How much a run may say: so many blocks at once, and then ten a second, more than anybody reads. Beyond that it waits.
const BLOCKS_AT_ONCE: u32 = 1000;
const BLOCK_EVERY: Duration = Duration::from_millis(100);
/// A large block counts as several: one more for each so many bytes of it.
const BLOCK_COST_BYTES: usize = 16 * 1024;
/// How much of what a run said while nobody listened is kept, counted like this. Other groups may wait for it.
const KEPT_AT_ONCE: u32 = 4096;
/// How much of standard error is kept to explain a crash.
const LAST_WORDS_BYTES: usize = 600;

/// The shortest and the longest wait for a quota that is believed, whatever an agent says of it. The longest limits that are
/// known are a week's.
const QUOTA_SOONEST: Duration = Duration::from_secs(60);
const QUOTA_LATEST: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// What a failure of this kind means for what the agent was asked.
fn retry_of_failure(kind: FailureKind, retry_at: Option<Timestamp>, now: Timestamp) -> Retry {
    let when_mended = |trouble, after| Retry::WhenMended { trouble, after };
    match kind {
        FailureKind::Login => when_mended(Trouble::Login, None),
        FailureKind::Quota => {
            let wait = |at: Timestamp| at.since(now).clamp(QUOTA_SOONEST, QUOTA_LATEST);
            when_mended(Trouble::Quota, retry_at.map(wait))
        }
        // The model's service is down or busy, which says nothing about what it was asked: nothing is set aside for it.
        FailureKind::Overload => when_mended(Trouble::Host, None),
        FailureKind::Refused => Retry::Never,
        FailureKind::NoSession | FailureKind::Script | FailureKind::Other | FailureKind::Unknown => Retry::Later,
    }
}

/// How much a run may say.
pub(super) fn block_pace() -> Pace {
    Pace::new(BLOCKS_AT_ONCE, BLOCK_EVERY)
}

/// What a block costs of it.
fn cost(block: &Block) -> u32 {
    let bytes = block.result.as_ref().map_or(0, String::len) + block.error.as_ref().map_or(0, String::len);
    1 + u32::try_from(bytes / BLOCK_COST_BYTES).unwrap_or(u32::MAX / 2)
}

/// What a look at the journal left there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// There was nothing to begin with.
    Nothing,
    /// What came since, if anything.
    Some,
    /// More files than are looked at at a time, perhaps.
    More,
    /// More blocks than the run may say just now.
    TooMuch,
}

impl Live<'_> {
    pub(super) async fn take_found(&mut self, found: Vec<Found>) {
        for item in found {
            match item {
                Found::Block(block) => {
                    let number = self.blocks.next_on_stream();
                    self.take_block(number, block).await;
                }
                Found::Line(line) if line.is_empty() => {}
                Found::Line(line) => self.write_log("stdout", line.as_bytes()),
                Found::Broken { reason } => {
                    // It costs what it takes to read it.
                    self.block_pace.spend(1);
                    self.complain("the agent wrote something between markers that is no block", "", &reason);
                }
            }
        }
    }

    pub(super) fn take_stderr(&mut self, bytes: &[u8]) {
        self.last_words.extend(bytes);
        let excess = self.last_words.len().saturating_sub(LAST_WORDS_BYTES);
        self.last_words.drain(..excess);
        self.write_log("stderr", bytes.strip_suffix(b"\n").unwrap_or(bytes));
    }

    pub(super) fn write_log(&mut self, stream: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for line in text.split('\n') {
            // A log that cannot be written must not stop an answer.
            let _ = writeln!(self.log, "{stream}: {line}");
        }
    }

    /// Takes a block that came by the stream or by the journal, whichever was first.
    pub(super) async fn take_block(&mut self, number: BlockNumber, block: Block) {
        if !self.blocks.is_new(number) || self.lost.is_some() {
            return;
        }
        tracing::debug!(target: STEPS, run = %self.id, block = number.0, "reply decoded");
        self.ledger.note_taken(|name| self.folders.input.has(name).unwrap_or(true));
        self.block_pace.spend(cost(&block));
        if block.status == Status::Error {
            self.note_failure(&block).await;
        }
        let mut commit = commit_of(self.id, &self.group.chat, number, &block, &mut self.ledger);
        if let Some(errand) = &self.errand {
            errand.adapt(&mut commit, &block);
        }
        // A commit of which an error was told may have happened all the same, and is a duplicate when tried again: nobody
        // was told of it yet.
        let (outcome, answers) = match self.commit(&commit).await {
            Ok(BlockOutcome::Duplicate) => {
                let reply = committed_before(&*self.context.store, &commit).await;
                // Or an earlier host committed it, and what it answered is not what it would answer now.
                (Ok(BlockOutcome::Committed(reply)), self.answered_meanwhile().await)
            }
            outcome => (outcome, commit.answers),
        };
        match outcome {
            Ok(BlockOutcome::Committed(reply)) => {
                self.blocks.committed(number);
                if let Some(taken) = commit.taken {
                    self.ledger.noted_taken(taken);
                }
                // It could not have said that without its prompt.
                self.prompt_in_doubt &= block.status == Status::Error;
                if let Some(reply) = &commit.reply {
                    tracing::debug!(target: STEPS, run = %self.id, block = number.0, key = %reply.key, "reply committed");
                    self.context.nudges.chat(&self.group.chat);
                }
                if commit.firing.is_some() {
                    self.errand_done();
                    self.words.say(RunWord::TaskDone).await;
                }
                let Some(through) = answers else {
                    self.words.say(RunWord::Progress).await;
                    return;
                };
                self.ledger.answered(through);
                self.words.say(RunWord::Answered { through }).await;
                let notice = Notice::Answered {
                    group: self.group.folder.clone(),
                    chat: self.group.chat.clone(),
                    through,
                    reply,
                };
                let _ = self.context.notices.send(notice);
                if self.ledger.all_answered() {
                    self.typing.stop();
                }
            }
            Ok(BlockOutcome::Duplicate | BlockOutcome::Fenced) => {
                self.lost = Some("a later run has taken its place".to_owned())
            }
            Err(error) => self.lost = Some(error.to_string()),
        }
    }

    /// Up to where the store has answers, when that is more than is known here.
    async fn answered_meanwhile(&mut self) -> Option<Seq> {
        let cursor = self.context.store.cursor(&self.group.folder).await.ok()?;
        Some(cursor).filter(|cursor| *cursor > self.ledger.answered_through())
    }

    pub(super) async fn note_failure(&mut self, block: &Block) {
        let reason = block.error.as_deref().map_or_else(|| "the agent did not say why".to_owned(), in_short);
        let kind = block.failure.unwrap_or(FailureKind::Other);
        if kind == FailureKind::NoSession
            && let Some(conversation) = self.session_context()
            && let Err(error) = self.context.store.forget_session(self.id, &conversation).await
        {
            tracing::error!(run = %self.id, %error, "cannot forget a session that cannot be resumed");
        }
        self.failure = Some((reason, retry_of_failure(kind, block.retry_at, Timestamp::now())));
    }

    /// The conversation that its agent goes on with; `None`: one that is not kept.
    fn session_context(&self) -> Option<SessionContext> {
        self.errand.as_ref().map_or(Some(SessionContext::Chat), Errand::session_context)
    }

    /// A full disk passes, and so does a busy database: the block is tried again for a while, and the journal keeps it
    /// meanwhile.
    pub(super) async fn commit(&mut self, commit: &BlockCommit) -> Result<BlockOutcome, StoreError> {
        let mut tries = Tries::default();
        loop {
            let error = match self.context.store.commit_block(self.id, commit).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            let Some(pause) = tries.pause() else { return Err(error) };
            tracing::error!(run = %self.id, %error, ?pause, "cannot commit what the agent said; trying again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Commits what lies in the journal, as far as the agent's pace lets it. What cannot be committed stays there.
    pub(super) async fn drain_journal(&mut self) {
        let rest = match self.block_pace.wait() {
            Some(_) => Rest::TooMuch,
            None => self.look_at_journal(None).await,
        };
        if rest == Rest::TooMuch
            && let Some(at) = self.block_pace.wait()
        {
            self.output_watch.rest_until(at);
        }
        if matches!(rest, Rest::More | Rest::TooMuch) {
            self.output_watch.look_again();
        }
        self.rest_of_effort();
    }

    /// The same without waiting: all that lies there, within bounds that no honest agent meets. Whether it was all.
    pub(super) async fn drain_whole_journal(&mut self) -> bool {
        let mut budget = KEPT_AT_ONCE;
        for _ in 0..JOURNAL_ROUNDS {
            match self.look_at_journal(Some(&mut budget)).await {
                Rest::Nothing => {
                    self.block_pace = block_pace();
                    return true;
                }
                _ if self.lost.is_some() => return true,
                Rest::Some | Rest::More => {}
                Rest::TooMuch => break,
            }
        }
        false
    }

    /// The same when the run is over: what is left after that is never kept.
    pub(super) async fn drain_rest_of_journal(&mut self) {
        if !self.drain_whole_journal().await {
            self.complain("the agent left more in its journal than is kept of a run", "", "the rest is dropped");
        }
    }

    /// One look; within `budget`, or else within the agent's pace.
    async fn look_at_journal(&mut self, mut budget: Option<&mut u32>) -> Rest {
        let claimed = self.claim(|folders| &folders.output, JOURNAL_LIMITS).await;
        let bytes: usize = claimed.iter().map(|file| file.content.as_ref().map_or(0, Vec::len)).sum();
        let rest = match claimed.len() {
            0 => Rest::Nothing,
            // A look ends at so many bytes as well.
            count if count < JOURNAL_LIMITS.names && bytes < JOURNAL_LIMITS.file_bytes => Rest::Some,
            _ => Rest::More,
        };
        for file in claimed {
            let entry = file
                .content
                .map_err(|refused| refused.to_string())
                .and_then(|bytes| serde_json::from_slice::<JournalEntry>(&bytes).map_err(|error| error.to_string()));
            match entry {
                Ok(entry) if entry.run == self.id.number && entry.number != LAST_NOTE => {
                    if self.blocks.is_new(entry.number) {
                        match &mut budget {
                            Some(budget) => match budget.checked_sub(cost(&entry.block)) {
                                Some(left) => **budget = left,
                                None => return Rest::TooMuch,
                            },
                            None if self.block_pace.wait().is_some() => return Rest::TooMuch,
                            None => {}
                        }
                    }
                    self.take_block(entry.number, entry.block).await;
                    if self.lost.is_some() {
                        return Rest::Some;
                    }
                }
                Ok(entry) if entry.number == LAST_NOTE => {
                    self.complain("a journal file has a number that no block has", &file.name, "");
                }
                Ok(_) => {} // An earlier run's: reconciliation had its chance; late words change nothing.
                Err(reason) => self.complain("a journal file is no block", &file.name, &reason),
            }
            self.remove(|folders| &folders.output, &file.name).await;
        }
        rest
    }
}

/// The outbox row of a block that was committed before. Only watchers want to know, so nothing hangs on finding it.
async fn committed_before(store: &dyn Store, commit: &BlockCommit) -> Option<OutboxId> {
    let row = store.delivery(&commit.reply.as_ref()?.key).await.ok().flatten();
    row.map(|row| row.delivery.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f42_only_what_is_the_messages_own_fault_counts_against_them() {
        let retry = |kind| retry_of_failure(kind, None, Timestamp::from_ms(0));
        let waits_for = |kind| match retry(kind) {
            Retry::WhenMended { trouble, after: None } => Some(trouble),
            _ => None,
        };
        assert_eq!(waits_for(FailureKind::Login), Some(Trouble::Login));
        assert_eq!(waits_for(FailureKind::Quota), Some(Trouble::Quota));
        assert_eq!(waits_for(FailureKind::Overload), Some(Trouble::Host));
        assert_eq!(retry(FailureKind::Refused), Retry::Never);
        for kind in [FailureKind::NoSession, FailureKind::Other, FailureKind::Unknown] {
            assert_eq!(retry(kind), Retry::Later);
        }
    }

    #[test]
    fn a_quota_is_waited_for_until_its_reset_but_no_absurd_time() {
        let now = Timestamp::from_ms(1_000_000);
        let wait = |at: i64| match retry_of_failure(FailureKind::Quota, Some(Timestamp::from_ms(at)), now) {
            Retry::WhenMended { trouble: Trouble::Quota, after: Some(after) } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(1_000_000 + 7_200_000), Duration::from_secs(7200));
        for past in [1_000_000, 0, i64::MIN] {
            assert_eq!(wait(past), QUOTA_SOONEST);
        }
        assert_eq!(wait(i64::MAX), QUOTA_LATEST);
    }
}
