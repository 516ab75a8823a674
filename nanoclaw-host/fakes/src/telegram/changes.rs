//! A sequence of changes that a client follows by a number, Telegram's `pts`, that rises with each of them.
//!
//! An account has one sequence for its private chats and basic groups, one for some news to bots (there the number is called `qts`), and
//! one for every supergroup. A client that knows its number asks for what came after it; the difference is computed here.

use std::collections::{BTreeMap, BTreeSet};

/// The number before anything happened. Not 0: clients take that for "I know none".
pub(super) const BEGINNING: i32 = 10;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A message of this id was written.
    New(i32),
    /// A message was changed.
    Edited(i32),
    /// Messages were removed; it counts as many.
    Deleted(Vec<i32>),
    /// Anything else: an update as it is on the wire.
    Other(Vec<u8>),
}

#[derive(Debug, Default)]
pub(super) struct Changes {
    /// With the number that each led to, and when it happened, in seconds since 1970.
    log: Vec<(i32, i32, Change)>,
    /// What led to numbers up to this is not remembered.
    forgotten: Option<i32>,
}

/// What came after a number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// So much that it is not told.
    TooLong,
    News(News),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Messages that were written, oldest first, without those that were removed again.
    pub(super) messages: Vec<i32>,
    /// Messages that were there before and were changed, with the number of the latest change of each.
    pub(super) edited: Vec<(i32, i32)>,
    /// Messages that were removed, with the number that this led to.
    pub(super) deleted: Vec<(i32, Vec<i32>)>,
    /// Everything else, oldest first.
    pub(super) other: Vec<Vec<u8>>,
    /// The number that all this leads to.
    pub(super) reached: i32,
    /// Whether that is the latest.
    pub(super) complete: bool,
}

impl Change {
    /// By how much the number rises.
    fn count(&self) -> i32 {
        match self {
            // Removals are of what a test named.
            Self::Deleted(messages) => messages.len() as i32,
            Self::New(_) | Self::Edited(_) | Self::Other(_) => 1,
        }
    }
}

impl Changes {
    /// The latest number.
    pub(super) fn last(&self) -> i32 {
        self.log.last().map_or(BEGINNING, |(number, ..)| *number)
    }

    /// Something happens; returns the number that it leads to.
    pub(super) fn add(&mut self, change: Change, date: i32) -> i32 {
        let number = self.last() + change.count();
        self.log.push((number, date, change));
        number
    }

    /// Whether anything happened at or after a moment.
    pub(super) fn any_since_date(&self, date: i32) -> bool {
        self.log.last().is_some_and(|(_, last, _)| *last >= date)
    }

    /// From now on, what happened until now is not told to whoever missed it.
    pub(super) fn forget(&mut self) {
        self.forgotten = Some(self.last());
    }

    /// What came after `number`, at most so many changes.
    pub(super) fn since(&self, number: i32, at_most: usize) -> Since {
        if self.forgotten.is_some_and(|forgotten| number < forgotten) {
            return Since::TooLong;
        }
        let begin = self.log.partition_point(|(led_to, ..)| *led_to <= number);
        let taken = &self.log[begin..self.log.len().min(begin.saturating_add(at_most.max(1)))];
        let reached = taken.last().map_or(self.last(), |(led_to, ..)| *led_to);
        let mut news = News { reached, complete: reached == self.last(), ..News::default() };
        let mut written = BTreeSet::new();
        let mut edited = BTreeMap::new();
        for (led_to, _, change) in taken {
            match change {
                Change::New(message) => {
                    written.insert(*message);
                    news.messages.push(*message);
                }
                // Whoever is told of the message is told how it is now.
                Change::Edited(message) if written.contains(message) => {}
                Change::Edited(message) => drop(edited.insert(*message, *led_to)),
                Change::Deleted(messages) => {
                    news.messages.retain(|message| !messages.contains(message));
                    edited.retain(|message, _| !messages.contains(message));
                    news.deleted.push((*led_to, messages.clone()));
                }
                Change::Other(update) => news.other.push(update.clone()),
            }
        }
        news.edited = edited.into_iter().collect();
        Since::News(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(all: &[Change]) -> Changes {
        let mut changes = Changes::default();
        for change in all {
            changes.add(change.clone(), 1_700_000_000);
        }
        changes
    }

    fn news(changes: &Changes, number: i32, at_most: usize) -> News {
        match changes.since(number, at_most) {
            Since::News(news) => news,
            Since::TooLong => panic!("nothing was forgotten"),
        }
    }

    #[test]
    fn whoever_knows_a_number_is_told_exactly_what_came_after_it() {
        let changes = changes(&[Change::New(1), Change::New(2), Change::New(3)]);
        assert_eq!(changes.last(), 13);
        assert_eq!(news(&changes, 10, 99).messages, [1, 2, 3]);
        let later = news(&changes, 12, 99);
        assert_eq!((&later.messages[..], later.reached, later.complete), (&[3][..], 13, true));
        let nothing = news(&changes, 13, 99);
        assert_eq!(nothing, News { reached: 13, complete: true, ..News::default() });
    }

    #[test]
    fn a_long_difference_comes_in_slices_that_together_are_all_of_it() {
        let changes = changes(&[1, 2, 3, 4, 5].map(Change::New));
        let (mut number, mut told, mut slices) = (10, Vec::new(), 0);
        loop {
            let slice = news(&changes, number, 2);
            (number, slices) = (slice.reached, slices + 1);
            told.extend(slice.messages);
            if slice.complete {
                break;
            }
        }
        assert_eq!((told, number, slices), (vec![1, 2, 3, 4, 5], 15, 3));
    }

    #[test]
    fn an_edit_is_told_of_messages_that_are_known_already_and_only_the_latest() {
        let changes =
            changes(&[Change::New(1), Change::Edited(1), Change::Edited(1), Change::New(2), Change::Edited(2)]);
        let all = news(&changes, 10, 99);
        assert_eq!((&all.messages[..], &all.edited[..]), (&[1, 2][..], &[][..]));
        let after_the_first = news(&changes, 11, 99);
        assert_eq!((&after_the_first.messages[..], &after_the_first.edited[..]), (&[2][..], &[(1, 13)][..]));
    }

    #[test]
    fn a_message_that_was_removed_is_not_told_and_its_removal_counts_as_many_changes() {
        let changes = changes(&[Change::New(1), Change::New(2), Change::New(3), Change::Deleted(vec![1, 3])]);
        assert_eq!(changes.last(), 15);
        let all = news(&changes, 10, 99);
        assert_eq!((&all.messages[..], &all.deleted[..]), (&[2][..], &[(15, vec![1, 3])][..]));
    }

    #[test]
    fn what_was_forgotten_is_too_long_for_those_who_missed_it_only() {
        let mut changes = changes(&[Change::New(1), Change::New(2)]);
        changes.forget();
        changes.add(Change::New(3), 1_700_000_000);
        assert_eq!(changes.since(11, 99), Since::TooLong);
        assert_eq!(news(&changes, 12, 99).messages, [3]);
    }
}
