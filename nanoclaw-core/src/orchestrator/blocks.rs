//! Which block is which, and which messages it answers: the bookkeeping of one run, without I/O.

use std::collections::{BTreeSet, VecDeque};

use crate::{
    chat::ChatId,
    delivery::{DeliveryKey, NewDelivery},
    message::Seq,
    prompt::visible_reply,
    protocol::output::{Block, Status},
    run::{BlockNumber, Handed, RunId},
    store::BlockCommit,
    time::Timestamp,
};

/// Numbers the blocks of a stream and knows which are committed, so that the copy in the journal is not committed again.
#[derive(Debug, Default)]
pub(super) struct BlockSource {
    on_stream: u32,
    committed: BTreeSet<BlockNumber>,
}

impl BlockSource {
    /// The number of the next block on the stream.
    pub(super) fn next_on_stream(&mut self) -> BlockNumber {
        self.on_stream += 1;
        BlockNumber(self.on_stream)
    }

    pub(super) fn is_new(&self, number: BlockNumber) -> bool {
        !self.committed.contains(&number)
    }

    pub(super) fn committed(&mut self, number: BlockNumber) {
        self.committed.insert(number);
    }
}

/// What the agent was handed and what of it is answered.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Not yet answered, oldest first.
    open: VecDeque<OpenTurn>,
    handed_through: Seq,
    /// Whether any block of this run said which messages it answers, as our own agent's do.
    names_messages: bool,
    /// Whether the agent said anything at all.
    spoke: bool,
}

#[derive(Debug)]
struct OpenTurn {
    last: Seq,
    /// The follow-up's file; `None` for the prompt on standard input, and once the agent has taken it.
    file: Option<String>,
}

impl Ledger {
    /// A run begins with its first prompt in the agent's hands.
    pub(super) fn new(first: Handed) -> Self {
        Self {
            open: VecDeque::from([OpenTurn { last: first.last, file: None }]),
            handed_through: first.last,
            names_messages: false,
            spoke: false,
        }
    }

    pub(super) fn handed(&mut self, handed: Handed, file: String) {
        self.open.push_back(OpenTurn { last: handed.last, file: Some(file) });
        self.handed_through = self.handed_through.max(handed.last);
    }

    pub(super) fn handed_through(&self) -> Seq {
        self.handed_through
    }

    pub(super) fn all_answered(&self) -> bool {
        self.open.is_empty()
    }

    /// Looks which follow-up files are gone: the agent has taken those.
    pub(super) fn note_taken(&mut self, still_there: impl Fn(&str) -> bool) {
        for turn in &mut self.open {
            if turn.file.as_deref().is_some_and(|name| !still_there(name)) {
                turn.file = None;
            }
        }
    }

    pub(super) fn answered(&mut self, through: Seq) {
        while self.open.front().is_some_and(|turn| turn.last <= through) {
            self.open.pop_front();
        }
    }

    /// What a block answers. Ours says it, and is believed only for what was handed over. One that does not say it (v1)
    /// answers the oldest turn that the agent took; a null result says that it waits for more: all it took is answered.
    fn answers(&self, block: &Block) -> Option<Seq> {
        if block.status == Status::Error {
            return None;
        }
        if let Some(named) = block.answered_seq {
            return Some(named.min(self.handed_through));
        }
        if self.names_messages {
            return None;
        }
        let mut taken = self.open.iter().take_while(|turn| turn.file.is_none());
        match block.result {
            Some(_) => taken.next().map(|turn| turn.last),
            None => taken.last().map(|turn| turn.last),
        }
    }

    fn note_block(&mut self, block: &Block) {
        self.spoke = true;
        self.names_messages |= block.answered_seq.is_some();
    }

    /// Up to where an agent that never names messages, and has spoken, is done when it ends well.
    pub(super) fn taken_by_silent_agent(&self) -> Option<Seq> {
        if self.names_messages || !self.spoke {
            return None;
        }
        self.open.iter().take_while(|turn| turn.file.is_none()).last().map(|turn| turn.last)
    }
}

/// What a block means for the store.
pub(super) fn commit_of(
    run: &RunId,
    chat: &ChatId,
    number: BlockNumber,
    block: &Block,
    ledger: &mut Ledger,
) -> BlockCommit {
    ledger.note_block(block);
    let text = block.result.as_deref().and_then(visible_reply);
    BlockCommit {
        number,
        reply: text.map(|text| NewDelivery { key: DeliveryKey::reply(run, number), chat: chat.clone(), text }),
        answers: ledger.answers(block),
        // A failed run's session may be the reason why it failed (fault F8).
        session: if block.status == Status::Success { block.new_session_id.clone() } else { None },
        at: Timestamp::now(),
    }
}
