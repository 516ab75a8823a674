//! The services that speak over sockets of the host: terminals, and a bridge.

use nanoclaw_fakes::kill::Chance;
use nanoclaw_host::home::Home;
use serde_json::Value;

use super::{Service, number_after};
use crate::lines::Socket;

/// The terminal: one for each chat, with the number of texts that were seen.
pub(super) struct Terminals {
    terminals: Vec<(Socket, usize)>,
    said: usize,
}

impl Terminals {
    pub(super) fn of(home: &Home, chats: usize) -> Self {
        let terminals = (0..chats).map(|chat| Socket::terminal(home.local_socket(), &format!("local:{chat}")));
        Self { terminals: terminals.map(|socket| (socket, 0)).collect(), said: 0 }
    }

    fn any(&self, chance: &mut Chance) -> &Socket {
        let (socket, _) = chance.one_of(&self.terminals).expect("there are chats");
        socket
    }
}

impl Service for Terminals {
    fn name(&self) -> &'static str {
        "local"
    }

    fn address(&self, chat: usize) -> String {
        format!("local:{chat}")
    }

    fn is_welcome(&self) -> Option<bool> {
        Some(self.terminals.iter().all(|(socket, _)| socket.is_welcome()))
    }

    fn say(&mut self, chat: usize, text: &str) {
        self.said += 1;
        self.terminals[chat].0.say("", &format!("m{}", self.said), "Ann", text, &Value::Null);
    }

    fn news(&mut self) -> Vec<(usize, String)> {
        let mut news = Vec::new();
        for (chat, (socket, seen)) in self.terminals.iter_mut().enumerate() {
            let shown = socket.shown(*seen);
            *seen += shown.len();
            news.extend(shown.into_iter().map(|(_, text)| (chat, text)));
        }
        news
    }

    fn trip(&mut self, chance: &mut Chance) -> &'static str {
        if chance.below(2) == 0 {
            self.any(chance).say_again();
            return "a message said again on another connection";
        }
        self.any(chance).lose_confirmations(1);
        "shown, and the connection lost before that was said"
    }

    fn lose_connections(&mut self, _: &mut Chance) -> &'static str {
        self.terminals.iter().for_each(|(socket, _)| socket.drop_connection());
        "all connections dropped"
    }
}

/// A bridge named `net`.
pub(super) struct Bridge {
    socket: Socket,
    seen: usize,
    said: usize,
}

impl Bridge {
    pub(super) fn of(home: &Home) -> Self {
        Self { socket: Socket::bridge(home.bridge_socket(), "net"), seen: 0, said: 0 }
    }
}

impl Service for Bridge {
    fn name(&self) -> &'static str {
        "net"
    }

    fn address(&self, chat: usize) -> String {
        format!("net:{chat}")
    }

    fn is_welcome(&self) -> Option<bool> {
        Some(self.socket.is_welcome())
    }

    fn say(&mut self, chat: usize, text: &str) {
        self.said += 1;
        let nothing = Value::Array(Vec::new());
        self.socket.say(&self.address(chat), &format!("m{}", self.said), "Ann", text, &nothing);
    }

    fn news(&mut self) -> Vec<(usize, String)> {
        let shown = self.socket.shown(self.seen);
        self.seen += shown.len();
        shown.into_iter().map(|(chat, text)| (number_after("net:", &chat), text)).collect()
    }

    fn trip(&mut self, chance: &mut Chance) -> &'static str {
        match chance.below(3) {
            0 => {
                self.socket.say_again();
                "a message said again on another connection"
            }
            1 => {
                self.socket.lose_confirmations(1);
                "shown, and the connection lost before that was said"
            }
            _ => {
                self.socket.fail_next(2);
                "two messages refused for a moment"
            }
        }
    }

    fn lose_connections(&mut self, _: &mut Chance) -> &'static str {
        self.socket.drop_connection();
        "the connection dropped"
    }
}
