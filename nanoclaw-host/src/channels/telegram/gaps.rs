//! What was pushed and does not follow on what is known: how long it may wait for what comes between.
//!
//! The crate's `MessageBoxes` wait half a second for it and then ask. But when one gap closes by itself and another opens within its half
//! second, they forget the second one until the next update or a quarter of an hour later (their one deadline is moved on when the first
//! gap's is due and no gap is). So it is kept here as well, a little longer.

use std::{collections::HashMap, time::Duration};

use grammers_client::{
    session::{types::UpdatesState, updates::UpdatesLike},
    tl::enums::{Message, Peer, Update, Updates},
};
use tokio::time::Instant;

/// How long what came may wait for what comes before it. `MessageBoxes` ask after half a second.
const PATIENCE: Duration = Duration::from_millis(700);

/// What has numbers of its own, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Sequence {
    /// Private chats and small groups.
    Common,
    /// A supergroup.
    Channel(i64),
}

/// The sequences in which something is missing.
#[derive(Debug, Default)]
pub(super) struct Gaps(HashMap<Sequence, Gap>);

#[derive(Debug)]
struct Gap {
    /// Up to which number something came.
    until: i32,
    ask_at: Instant,
}

impl Gaps {
    /// Something came up to these numbers; `state` is how far we are with it.
    pub(super) fn came(&mut self, until: Vec<(Sequence, i32)>, state: &UpdatesState, now: Instant) {
        for (sequence, until) in until {
            let gap = self.0.entry(sequence).or_insert(Gap { until, ask_at: now + PATIENCE });
            gap.until = gap.until.max(until);
        }
        self.closed(state);
    }

    /// `state` is how far we are.
    pub(super) fn closed(&mut self, state: &UpdatesState) {
        self.0.retain(|sequence, gap| place_in(state, *sequence).is_some_and(|place| place < gap.until));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When to ask for the first of them.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        self.0.values().map(|gap| gap.ask_at).min()
    }

    /// One that is to be asked for now. It counts as closed.
    pub(super) fn due(&mut self, now: Instant) -> Option<Sequence> {
        let sequence = *self.0.iter().find(|(_, gap)| gap.ask_at <= now)?.0;
        self.0.remove(&sequence);
        Some(sequence)
    }
}

/// Up to which number we are; `None` when nobody counts there.
fn place_in(state: &UpdatesState, sequence: Sequence) -> Option<i32> {
    match sequence {
        Sequence::Common => Some(state.pts),
        Sequence::Channel(id) => state.channels.iter().find(|channel| channel.id == id).map(|channel| channel.pts),
    }
}

/// Up to which numbers something is told by what was pushed, of the kinds that matter to us.
pub(super) fn told_until(pushed: &UpdatesLike) -> Vec<(Sequence, i32)> {
    let updates = match pushed {
        UpdatesLike::Updates(Updates::Updates(told)) => told.updates.as_slice(),
        UpdatesLike::Updates(Updates::Combined(told)) => told.updates.as_slice(),
        UpdatesLike::Updates(Updates::UpdateShort(told)) => std::slice::from_ref(&told.update),
        _ => &[],
    };
    updates.iter().filter_map(until).collect()
}

fn until(update: &Update) -> Option<(Sequence, i32)> {
    match update {
        Update::NewMessage(told) => Some((Sequence::Common, told.pts)),
        Update::EditMessage(told) => Some((Sequence::Common, told.pts)),
        Update::DeleteMessages(told) => Some((Sequence::Common, told.pts)),
        Update::NewChannelMessage(told) => Some((channel_of(&told.message)?, told.pts)),
        Update::EditChannelMessage(told) => Some((channel_of(&told.message)?, told.pts)),
        Update::DeleteChannelMessages(told) => Some((Sequence::Channel(told.channel_id), told.pts)),
        _ => None,
    }
}

fn channel_of(message: &Message) -> Option<Sequence> {
    let peer = match message {
        Message::Message(message) => &message.peer_id,
        Message::Service(message) => &message.peer_id,
        Message::Empty(_) => return None,
    };
    match peer {
        Peer::Channel(peer) => Some(Sequence::Channel(peer.channel_id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use grammers_client::session::types::ChannelState;

    use super::*;

    fn state(common: i32, channel: i32) -> UpdatesState {
        let channels = vec![ChannelState { id: 55, pts: channel }];
        UpdatesState { pts: common, channels, ..UpdatesState::default() }
    }

    #[test]
    fn what_is_missing_is_asked_for_when_it_does_not_come_in_time() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.came(vec![(Sequence::Common, 5), (Sequence::Channel(55), 9)], &state(5, 7), now);
        assert_eq!(gaps.ask_at(), Some(now + PATIENCE), "nothing is missing before what came in its turn");
        assert_eq!(gaps.due(now), None);
        assert_eq!(gaps.due(now + PATIENCE), Some(Sequence::Channel(55)));
        assert!(gaps.is_empty(), "it is asked for once");
    }

    #[test]
    fn what_comes_after_all_is_not_asked_for() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.came(vec![(Sequence::Common, 5)], &state(3, 0), now);
        gaps.closed(&state(4, 0));
        assert!(!gaps.is_empty());
        gaps.closed(&state(5, 0));
        assert!(gaps.is_empty());
    }

    #[test]
    fn a_gap_that_opens_while_another_is_open_waits_no_longer_for_it() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.came(vec![(Sequence::Common, 5)], &state(3, 0), now);
        let later = now + PATIENCE / 2;
        gaps.came(vec![(Sequence::Common, 8)], &state(3, 0), later);
        gaps.closed(&state(5, 0));
        assert_eq!(gaps.due(now + PATIENCE), Some(Sequence::Common));
    }

    #[test]
    fn of_a_supergroup_that_nobody_counts_in_nothing_is_missing() {
        let (mut gaps, now) = (Gaps::default(), Instant::now());
        gaps.came(vec![(Sequence::Channel(77), 9)], &state(0, 0), now);
        assert!(gaps.is_empty());
    }
}
