//! Which block is which, and which messages it answers: the bookkeeping of one run, without I/O.

use std::collections::{BTreeSet, VecDeque};

use crate::{
    chat::ChatId,
    delivery::{Answers, DeliveryKey, NewDelivery},
    message::Seq,
    prompt::visible_reply,
    protocol::{
        input::follow_up_name,
        output::{Block, Status},
    },
    run::{BlockNumber, Handed, RunId},
    store::{BlockCommit, SessionContext, StoredTurn, TurnState},
    time::Timestamp,
};

/// Numbers the blocks of a stream and knows which are committed, so that the copy in the journal is not committed again.
#[derive(Debug, Default)]
pub(super) struct BlockSource {
    on_stream: u32,
    /// All up to this one are committed, and those beyond it that were out of turn: a talkative agent must not cost memory.
    through: u32,
    committed: BTreeSet<BlockNumber>,
}

impl BlockSource {
    /// The number of the next block on the stream.
    pub(super) fn next_on_stream(&mut self) -> BlockNumber {
        self.on_stream += 1;
        BlockNumber(self.on_stream)
    }

    pub(super) fn is_new(&self, number: BlockNumber) -> bool {
        number.0 > self.through && !self.committed.contains(&number)
    }

    pub(super) fn committed(&mut self, number: BlockNumber) {
        self.committed.insert(number);
        while self.committed.remove(&BlockNumber(self.through + 1)) {
            self.through += 1;
        }
    }
}

/// The number of the note that an agent without names for messages ended well. No block of its output has it.
pub(super) const LAST_NOTE: BlockNumber = BlockNumber(u32::MAX);

/// What the agent was handed and what of it is answered.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Not yet answered, oldest first.
    open: VecDeque<OpenTurn>,
    handed_through: Seq,
    answered_through: Seq,
    /// Up to where it is noted in the store that the agent has it.
    noted: Option<Seq>,
    /// Whether any block of this run said which messages it answers, as our own agent's do.
    names_messages: bool,
    /// Whether the agent said anything at all.
    spoke: bool,
    /// Whether agents of the group's earlier runs named messages; `None` when none of them spoke.
    named_before: Option<bool>,
    /// What the agent had taken when it last said something to be shown, until it says that it waits for more.
    had: Option<Seq>,
    /// Whether this host hears what it says. Of an agent that an earlier host started, one that keeps no journal is not heard.
    heard: bool,
}

#[derive(Debug)]
struct OpenTurn {
    last: Seq,
    /// The follow-up's file; `None` for the prompt on standard input, and once the agent has taken it.
    file: Option<String>,
    /// How much of a prompt it is.
    size: Size,
}

/// How much of a prompt something takes up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Ledger {
    /// A run begins with its first prompt in the agent's hands. `named_before` says whether agents of the group's earlier runs
    /// named messages.
    pub(super) fn new(first: Handed, named_before: Option<bool>) -> Self {
        Self {
            open: VecDeque::from([OpenTurn { last: first.last, file: None, size: Size::default() }]),
            handed_through: first.last,
            answered_through: Seq(first.first.0 - 1),
            noted: None,
            names_messages: false,
            spoke: false,
            named_before,
            had: None,
            heard: true,
        }
    }

    /// A run goes on that an earlier host began: `turns` is what it noted of it, in order, at least one. A follow-up whose
    /// file is still there was not taken; one without was.
    pub(super) fn resume(
        turns: &[StoredTurn],
        names_messages: Option<bool>,
        still_there: impl Fn(&str) -> bool,
    ) -> Self {
        let answered = |turn: &&StoredTurn| turn.state == TurnState::Answered;
        let first = turns.first().map_or(Seq::ZERO, |turn| Seq(turn.handed.first.0 - 1));
        let open = turns.iter().enumerate().filter(|(_, turn)| !answered(turn)).map(|(place, turn)| {
            // The first one came on standard input.
            let file = (place > 0).then(|| follow_up_name(turn.handed.last)).filter(|name| still_there(name));
            OpenTurn { last: turn.handed.last, file, size: Size::default() }
        });
        Self {
            open: open.collect(),
            handed_through: turns.iter().map(|turn| turn.handed.last).max().unwrap_or(Seq::ZERO),
            answered_through: turns.iter().filter(answered).map(|turn| turn.handed.last).max().unwrap_or(first),
            noted: turns.iter().filter(|turn| turn.taken_at.is_some()).map(|turn| turn.handed.last).max(),
            names_messages: names_messages == Some(true),
            spoke: names_messages.is_some(),
            named_before: names_messages,
            had: None,
            heard: false,
        }
    }

    pub(super) fn handed(&mut self, handed: Handed, file: String, size: Size) {
        self.open.push_back(OpenTurn { last: handed.last, file: Some(file), size });
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

    /// What lies in the mailbox and is not taken yet, as far as [`Ledger::note_taken`] has seen. An agent may take all of it
    /// as one prompt.
    pub(super) fn untaken(&self) -> Size {
        let lying = self.open.iter().filter(|turn| turn.file.is_some());
        lying.fold(Size::default(), |sum, turn| Size {
            messages: sum.messages + turn.size.messages,
            bytes: sum.bytes + turn.size.bytes,
        })
    }

    /// Up to where the agent has what it is to answer, when that is more than is noted in the store.
    pub(super) fn taken_not_noted(&self) -> Option<Seq> {
        let taken = self.open.iter().take_while(|turn| turn.file.is_none()).last().map(|turn| turn.last);
        taken.filter(|taken| self.noted.is_none_or(|noted| *taken > noted))
    }

    pub(super) fn noted_taken(&mut self, through: Seq) {
        self.noted = self.noted.max(Some(through));
    }

    pub(super) fn answered_through(&self) -> Seq {
        self.answered_through
    }

    /// Whether its agent has said anything.
    pub(super) fn spoke(&self) -> bool {
        self.spoke
    }

    pub(super) fn names_messages(&self) -> bool {
        self.names_messages
    }

    /// Whether the agent may be handed more now. One of v1 says by one word that it is done with all it has taken by then: what
    /// it took at the last moment would count as answered. So it gets the next when it owes nothing.
    pub(super) fn takes_more(&self) -> bool {
        let names = if self.spoke { self.names_messages } else { self.named_before != Some(false) };
        names || self.all_answered()
    }

    pub(super) fn answered(&mut self, through: Seq) {
        self.answered_through = self.answered_through.max(through);
        while self.open.front().is_some_and(|turn| turn.last <= through) {
            self.open.pop_front();
        }
    }

    /// What a block answers that was not answered before. Ours says it, and is believed only for what was handed over. One that does not say it (v1)
    /// answers the oldest turn that the agent took; a null result says that it waits for more: all it took is answered, but for
    /// what it took since it last said something, which that word came too early for.
    fn answers(&mut self, block: &Block) -> Option<Seq> {
        if block.status == Status::Error {
            return None;
        }
        if let Some(named) = block.answered_seq {
            return Some(named.min(self.handed_through)).filter(|named| *named > self.answered_through);
        }
        if self.names_messages {
            return None;
        }
        let mut taken = self.open.iter().take_while(|turn| turn.file.is_none()).map(|turn| turn.last);
        match (&block.result, self.had.take()) {
            (Some(_), had) => {
                let first = taken.next();
                self.had = taken.last().or(first).or(had);
                first
            }
            (None, Some(had)) => Some(had).filter(|had| *had > self.answered_through),
            (None, None) => taken.last(),
        }
    }

    fn note_block(&mut self, block: &Block) {
        (self.spoke, self.heard) = (true, true);
        self.names_messages |= block.answered_seq.is_some();
    }

    /// Up to where an agent that never names messages, and has spoken, is done when it ends well. One that is not heard may
    /// have answered into the void: what it was asked is asked again.
    pub(super) fn taken_by_silent_agent(&self) -> Option<Seq> {
        if self.names_messages || !self.spoke || !self.heard {
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
    let answers = ledger.answers(block);
    BlockCommit {
        number,
        reply: text.map(|text| NewDelivery {
            key: DeliveryKey::reply(run, number),
            chat: chat.clone(),
            text,
            file: None,
            answers: Some(Answers::Run { run: run.clone(), through: answers }),
        }),
        answers,
        // A failed run's session may be the reason why it failed (fault F8).
        session: if block.status == Status::Success {
            block.new_session_id.clone().map(|session| (SessionContext::Chat, session))
        } else {
            None
        },
        taken: ledger.taken_not_noted(),
        names_messages: ledger.names_messages(),
        firing: None,
        at: Timestamp::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(result: Option<&str>) -> Block {
        Block::success(result.map(str::to_owned))
    }

    fn one(seq: i64) -> Handed {
        Handed { first: Seq(seq), last: Seq(seq) }
    }

    #[test]
    fn what_an_agent_of_v1_takes_between_its_answer_and_the_word_that_it_waits_is_not_answered_by_that_word() {
        let mut ledger = Ledger::new(one(1), None);
        let say = |ledger: &mut Ledger, block: Block| {
            ledger.note_block(&block);
            let answers = ledger.answers(&block);
            answers.into_iter().for_each(|through| ledger.answered(through));
            answers
        };
        assert_eq!(say(&mut ledger, spoken(Some("re 1"))), Some(Seq(1)));
        ledger.handed(one(2), "2.json".to_owned(), Size::default());
        ledger.note_taken(|_| false);
        assert_eq!(say(&mut ledger, spoken(None)), None, "it was written before the second was there");
        assert_eq!(say(&mut ledger, spoken(None)), Some(Seq(2)), "this is its silence about the second");
    }

    #[test]
    fn one_word_of_an_agent_of_v1_answers_all_that_it_had_when_it_said_it() {
        let mut ledger = Ledger::new(one(1), None);
        ledger.handed(one(2), "2.json".to_owned(), Size::default());
        ledger.note_taken(|_| false);
        assert_eq!(ledger.answers(&spoken(Some("re 1 and 2"))), Some(Seq(1)));
        ledger.answered(Seq(1));
        assert_eq!(ledger.answers(&spoken(None)), Some(Seq(2)));
    }

    #[test]
    fn an_agent_that_names_no_messages_is_handed_the_next_when_it_owes_nothing() {
        let mut ledger = Ledger::new(one(1), Some(false));
        assert!(!ledger.takes_more());
        assert!(Ledger::new(one(1), Some(true)).takes_more() && Ledger::new(one(1), None).takes_more());
        ledger.note_block(&spoken(Some("re 1")));
        assert!(!ledger.takes_more());
        ledger.answered(Seq(1));
        assert!(ledger.takes_more());
        // One that begins to name them is another agent now.
        let mut ledger = Ledger::new(one(1), Some(false));
        ledger.note_block(&Block { answered_seq: Some(Seq(0)), ..spoken(None) });
        assert!(ledger.takes_more());
    }

    #[test]
    fn an_agent_of_v1_that_no_host_has_heard_since_the_last_one_died_is_not_done_by_ending_well() {
        let at = Timestamp::from_ms(1);
        let handed = Handed { first: Seq(1), last: Seq(2) };
        let turn = StoredTurn { handed, handed_at: at, state: TurnState::Taken, taken_at: Some(at), ended_at: None };
        let mut ledger = Ledger::resume(&[turn], Some(false), |_| false);
        assert_eq!(ledger.taken_by_silent_agent(), None);
        // What it wrote into its journal was heard: it has one.
        ledger.note_block(&spoken(Some("one moment")));
        assert_eq!(ledger.taken_by_silent_agent(), Some(Seq(2)));
    }
}
