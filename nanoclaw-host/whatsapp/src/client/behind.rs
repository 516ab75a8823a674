//! The chats of which the host could not store a message in time: nothing that is said there is handed on before that message comes again, so
//! that nothing overtakes it. Decides and does nothing: no clock, no connection.
//!
//! What is refused is not acknowledged, so WhatsApp says it again on the next connection, in its order, from the message that was not stored
//! on. As soon as the host has that one, such a connection is wanted.

use std::collections::HashMap;

/// See the [module](self). A chat and a message are named as WhatsApp names them.
#[derive(Debug, Default)]
pub struct Behind(HashMap<String, Lag>);

#[derive(Debug)]
struct Lag {
    /// The oldest message that is not acknowledged: what WhatsApp will say first.
    first: String,
    /// Whether the host has it.
    stored: bool,
    /// Whether a connection began since then, on which it is to come.
    began: bool,
    /// What was refused first on that.
    refused: Option<String>,
}

impl Behind {
    /// Whether a message may be handed to the host, after those that WhatsApp said before it; `false`: it is to come again.
    pub fn takes(&mut self, chat: &str, id: &str) -> bool {
        let Some(lag) = self.0.get_mut(chat) else { return true };
        if lag.stored && lag.first == id {
            // From here on all comes in its order.
            self.0.remove(chat);
            return true;
        }
        if lag.began {
            lag.refused.get_or_insert_with(|| id.to_owned());
        }
        false
    }

    /// The host did not take a message in time. It is not acknowledged.
    pub fn falls_behind(&mut self, chat: &str, id: &str) {
        let lag = Lag { first: id.to_owned(), stored: false, began: false, refused: None };
        self.0.insert(chat.to_owned(), lag);
    }

    /// The host has the message of a chat that it did not take in time.
    pub fn is_stored(&mut self, chat: &str) {
        if let Some(lag) = self.0.get_mut(chat) {
            lag.stored = true;
        }
    }

    /// Whether something would be taken on a new connection that is not on this one.
    #[must_use]
    pub fn wants_connection(&self) -> bool {
        self.0.values().any(|lag| lag.stored && !lag.began)
    }

    /// The connection to WhatsApp has ended; what comes from now on comes on the next.
    pub fn connection_ended(&mut self) {
        self.0.values_mut().filter(|lag| lag.stored).for_each(|lag| lag.began = true);
    }

    /// WhatsApp has said again all that it had to. A message of which it knows by then that it arrived does not come; a chat that waits for it
    /// goes on, from what was refused meanwhile if anything was.
    pub fn all_came(&mut self) {
        self.0.retain(|_, lag| {
            if !lag.began {
                return true;
            }
            let Some(refused) = lag.refused.take() else { return false };
            (lag.first, lag.began) = (refused, false);
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_chat_is_taken_before_what_the_host_could_not_store_comes_again() {
        let mut behind = Behind::default();
        assert!(behind.takes("one", "1"));
        behind.falls_behind("one", "1");
        assert!(!behind.takes("one", "2"));
        assert!(behind.takes("two", "1"), "other chats go on");
        // Not even itself, on a connection that comes of its own accord.
        behind.connection_ended();
        assert!(!behind.takes("one", "1") && !behind.takes("one", "2"));
        behind.all_came();
        assert!(!behind.takes("one", "3"));
        assert!(!behind.wants_connection());

        behind.is_stored("one");
        assert!(behind.wants_connection());
        assert!(!behind.takes("one", "4"), "2 and 3 would come after it");
        behind.connection_ended();
        assert!(!behind.wants_connection(), "once is enough");
        assert!(!behind.takes("one", "5"), "what the last connection still brings");
        assert!(["1", "2", "3", "4", "5"].into_iter().all(|id| behind.takes("one", id)));
        behind.all_came();
        assert!(behind.takes("one", "6") && !behind.wants_connection());
    }

    #[test]
    fn a_chat_whose_message_does_not_come_again_goes_on_and_loses_nothing_that_was_refused() {
        let mut behind = Behind::default();
        behind.falls_behind("one", "1");
        behind.is_stored("one");
        behind.all_came();
        assert!(behind.wants_connection(), "that was the end of what the last connection had to say");
        behind.connection_ended();
        assert!(!behind.takes("one", "2") && !behind.takes("one", "3"));
        behind.all_came();
        assert!(behind.wants_connection(), "2 and 3 are to come");
        assert!(!behind.takes("one", "4"));
        behind.connection_ended();
        assert!(["2", "3", "4"].into_iter().all(|id| behind.takes("one", id)));

        behind.falls_behind("one", "5");
        behind.is_stored("one");
        behind.connection_ended();
        behind.all_came();
        assert!(behind.takes("one", "6") && !behind.wants_connection(), "nothing was refused");
    }

    #[test]
    fn a_chat_can_fall_behind_again() {
        let mut behind = Behind::default();
        for _ in 0..2 {
            behind.falls_behind("one", "1");
            behind.is_stored("one");
            behind.connection_ended();
            assert!(behind.takes("one", "1"));
        }
        behind.falls_behind("one", "2");
        assert!(!behind.takes("one", "3") && !behind.wants_connection());
    }
}
