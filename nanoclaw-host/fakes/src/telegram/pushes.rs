//! News on their way to the client. They go to the connection on which it last asked for something; news for which there is none are told
//! to nobody, and the client gets them as a difference.

use std::collections::VecDeque;

use super::tl::Object;

#[derive(Debug, Default)]
pub(super) struct Pushes {
    active: Option<usize>,
    waiting: VecDeque<Object>,
    /// Those that wait for the test's word.
    held: Option<Vec<Object>>,
    last: Option<Object>,
}

impl Pushes {
    pub(super) fn add(&mut self, push: Object) {
        self.last = Some(push.clone());
        match &mut self.held {
            Some(held) => held.push(push),
            None => self.send(push),
        }
    }

    fn send(&mut self, push: Object) {
        if self.active.is_some() {
            self.waiting.push_back(push);
        }
    }

    /// The next for a connection.
    pub(super) fn next_for(&mut self, connection: usize) -> Option<Object> {
        self.waiting.pop_front_if(|_| self.active == Some(connection))
    }

    /// A connection asked for something.
    pub(super) fn activate(&mut self, connection: usize) {
        self.active = Some(connection);
    }

    /// A connection is no more, and what was on its way on it is lost.
    pub(super) fn closed(&mut self, connection: usize) {
        if self.active == Some(connection) {
            self.active = None;
            self.waiting.clear();
        }
    }

    /// From now on they wait.
    pub(super) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Those that waited go, and later ones do not wait.
    pub(super) fn release(&mut self, reversed: bool) {
        let mut held = self.held.take().unwrap_or_default();
        if reversed {
            held.reverse();
        }
        held.into_iter().for_each(|push| self.send(push));
    }

    /// Those that waited are told to nobody, and later ones do not wait.
    pub(super) fn lose(&mut self) {
        self.held = None;
    }

    /// The last goes once more.
    pub(super) fn again(&mut self) {
        if let Some(last) = self.last.clone() {
            self.send(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushes(active: usize) -> Pushes {
        let mut pushes = Pushes::default();
        pushes.activate(active);
        pushes
    }

    fn all(pushes: &mut Pushes, connection: usize) -> Vec<Object> {
        std::iter::from_fn(|| pushes.next_for(connection)).collect()
    }

    #[test]
    fn news_go_to_the_connection_that_asked_last_and_to_nobody_without_one() {
        let mut pushes = pushes(1);
        pushes.add(vec![1]);
        pushes.activate(2);
        pushes.add(vec![2]);
        assert_eq!(all(&mut pushes, 1), [] as [Object; 0]);
        assert_eq!(all(&mut pushes, 2), [vec![1], vec![2]]);
        pushes.add(vec![3]);
        pushes.closed(2);
        pushes.add(vec![4]);
        pushes.activate(3);
        assert_eq!(all(&mut pushes, 3), [] as [Object; 0]);
    }

    #[test]
    fn held_news_come_later_in_order_or_reversed_or_never() {
        for (end, expected) in [(0, vec![vec![1], vec![2]]), (1, vec![vec![2], vec![1]]), (2, vec![])] {
            let mut pushes = pushes(1);
            pushes.hold();
            pushes.add(vec![1]);
            pushes.add(vec![2]);
            assert_eq!(all(&mut pushes, 1), [] as [Object; 0]);
            match end {
                0 => pushes.release(false),
                1 => pushes.release(true),
                _ => pushes.lose(),
            }
            assert_eq!(all(&mut pushes, 1), expected);
            pushes.add(vec![3]);
            assert_eq!(all(&mut pushes, 1), [vec![3]], "later ones do not wait");
        }
    }
}
