//! What the agent says: blocks on its output and in its journal, committed once; everything else is log text.

use std::{io::Write as _, time::Duration};

use super::{live::Live, tries::Tries};
use crate::{
    channel::Typing,
    delivery::OutboxId,
    mailbox::Limits,
    message::Seq,
    orchestrator::{
        Notice,
        blocks::{LAST_NOTE, commit_of},
        event::RunWord,
    },
    protocol::{
        markers::{Found, MAX_BLOCK_BYTES},
        output::{Block, FailureKind, JournalEntry, Status},
    },
    run::{BlockNumber, Retry, Trouble},
    store::{BlockCommit, BlockOutcome, SessionContext, Store, StoreError},
    time::Timestamp,
};

/// A journal file holds a whole block and a little around it.
pub(in crate::orchestrator) const JOURNAL_LIMITS: Limits = Limits { file_bytes: MAX_BLOCK_BYTES + 4096, names: 256 };
/// How often in a row the journal is looked at for more.
const JOURNAL_ROUNDS: u32 = 64;
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
            let wait = |at: Timestamp| {
                let ms = u64::try_from(at.as_ms().saturating_sub(now.as_ms())).unwrap_or(0);
                Duration::from_millis(ms).clamp(QUOTA_SOONEST, QUOTA_LATEST)
            };
            when_mended(Trouble::Quota, retry_at.map(wait))
        }
        // The model's service is down or busy, which says nothing about what it was asked: nothing is set aside for it.
        FailureKind::Overload => when_mended(Trouble::Host, None),
        FailureKind::Refused => Retry::Never,
        FailureKind::NoSession | FailureKind::Other | FailureKind::Unknown => Retry::Later,
    }
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
                    tracing::warn!(run = %self.id, %reason, "the agent wrote something between markers that is no block");
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
        self.ledger.note_taken(|name| self.folders.input.has(name).unwrap_or(true));
        if block.status == Status::Error {
            self.note_failure(&block).await;
        }
        let commit = commit_of(self.id, &self.group.chat, number, &block, &mut self.ledger);
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
                if commit.reply.is_some() {
                    self.context.nudges.chat(&self.group.chat);
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
                    self.typing.show(Typing::Off);
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
        let reason = block.error.clone().unwrap_or_else(|| "the agent did not say why".to_owned());
        let kind = block.failure.unwrap_or(FailureKind::Other);
        if kind == FailureKind::NoSession
            && let Err(error) = self.context.store.forget_session(&self.group.folder, &SessionContext::Chat).await
        {
            tracing::error!(run = %self.id, %error, "cannot forget a session that cannot be resumed");
        }
        self.failure = Some((reason, retry_of_failure(kind, block.retry_at, Timestamp::now())));
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

    /// Commits what lies in the journal. What cannot be committed stays there.
    pub(super) async fn drain_journal(&mut self) {
        for _ in 0..JOURNAL_ROUNDS {
            let claimed = self.claim(|folders| &folders.output, JOURNAL_LIMITS).await;
            if claimed.is_empty() {
                return;
            }
            for file in claimed {
                let entry = file.content.map_err(|refused| refused.to_string()).and_then(|bytes| {
                    serde_json::from_slice::<JournalEntry>(&bytes).map_err(|error| error.to_string())
                });
                match entry {
                    Ok(entry) if entry.run == self.id.number && entry.number != LAST_NOTE => {
                        self.take_block(entry.number, entry.block).await;
                        if self.lost.is_some() {
                            return;
                        }
                    }
                    Ok(entry) if entry.number == LAST_NOTE => {
                        tracing::warn!(run = %self.id, file = file.name, "a journal file has a number that no block has")
                    }
                    Ok(_) => {} // An earlier run's: reconciliation had its chance; late words change nothing.
                    Err(reason) => {
                        tracing::warn!(run = %self.id, file = file.name, %reason, "a journal file is no block")
                    }
                }
                self.remove(|folders| &folders.output, &file.name).await;
            }
        }
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
