//! Up to where what Telegram said is taken in: the state after the last batch of updates before which nothing is open.
//!
//! Messages of different chats are taken in at once, so a later batch may be done before an earlier one. Only the state of the last
//! batch that is done with all before it is stored: Telegram says again what came after.

use std::collections::VecDeque;

use grammers_client::session::types::UpdatesState;

/// The batches that are not done, in their order.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    open: VecDeque<Batch>,
    /// The number of the first of `open`.
    first: u64,
    /// The state that may be stored, and is not yet.
    reached: Option<UpdatesState>,
}

#[derive(Debug)]
struct Batch {
    left: usize,
    after: UpdatesState,
}

impl Checkpoints {
    /// A batch of so many things to do, after which the state is `after`. Returns its number.
    pub(super) fn begin(&mut self, things: usize, after: UpdatesState) -> u64 {
        match self.open.back_mut() {
            // Nothing to wait for by itself: it is done with the one before it.
            Some(last) if things == 0 => last.after = after,
            _ => self.open.push_back(Batch { left: things, after }),
        }
        let number = self.first + self.open.len() as u64 - 1;
        self.move_on();
        number
    }

    /// One thing of the batch of this number is done.
    pub(super) fn done(&mut self, number: u64) {
        let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some(batch) = place.and_then(|place| self.open.get_mut(place)) {
            batch.left = batch.left.saturating_sub(1);
        }
        self.move_on();
    }

    /// The state that may be stored now; `None` when the last that was returned is still the one.
    pub(super) fn reached(&mut self) -> Option<UpdatesState> {
        self.reached.take()
    }

    fn move_on(&mut self) {
        while self.open.front().is_some_and(|batch| batch.left == 0) {
            self.first += 1;
            self.reached = self.open.pop_front().map(|batch| batch.after);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(pts: i32) -> UpdatesState {
        UpdatesState { pts, ..UpdatesState::default() }
    }

    fn reached(checkpoints: &mut Checkpoints) -> Option<i32> {
        checkpoints.reached().map(|state| state.pts)
    }

    #[test]
    fn a_state_is_reached_when_all_before_it_is_done() {
        let mut checkpoints = Checkpoints::default();
        let one = checkpoints.begin(2, at(1));
        let two = checkpoints.begin(1, at(2));
        checkpoints.done(two);
        checkpoints.done(one);
        assert_eq!(reached(&mut checkpoints), None);
        checkpoints.done(one);
        assert_eq!(reached(&mut checkpoints), Some(2));
        assert_eq!(reached(&mut checkpoints), None, "it is told once");
    }

    #[test]
    fn a_batch_without_anything_to_do_is_done_with_what_is_before_it() {
        let mut checkpoints = Checkpoints::default();
        checkpoints.begin(0, at(1));
        assert_eq!(reached(&mut checkpoints), Some(1));
        let two = checkpoints.begin(1, at(2));
        checkpoints.begin(0, at(3));
        assert_eq!(reached(&mut checkpoints), None);
        checkpoints.done(two);
        assert_eq!(reached(&mut checkpoints), Some(3));
    }

    proptest! {
        #[test]
        fn nothing_open_is_ever_passed(sizes in proptest::collection::vec(0_usize..4, 1..20), order in any::<u64>()) {
            let mut checkpoints = Checkpoints::default();
            let mut open: Vec<(u64, i32)> = Vec::new();
            for (place, size) in sizes.iter().enumerate() {
                let pts = i32::try_from(place).unwrap() + 1;
                let number = checkpoints.begin(*size, at(pts));
                open.extend(std::iter::repeat_n((number, pts), *size));
            }
            let (mut order, mut last) = (order, None);
            loop {
                let next = checkpoints.reached();
                if let Some(next) = &next {
                    prop_assert!(open.iter().all(|(_, pts)| *pts > next.pts));
                    last = Some(next.pts);
                }
                if open.is_empty() {
                    break;
                }
                order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (number, _) = open.swap_remove(usize::try_from(order >> 33).unwrap() % open.len());
                checkpoints.done(number);
            }
            prop_assert_eq!(last, Some(i32::try_from(sizes.len()).unwrap()));
        }
    }
}
