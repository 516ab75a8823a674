//! The channels that are a socket of the host: the terminal, and a bridge.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{Chat, Person, Said, Stage, runtime};
use crate::{lines::Socket, place::Place, process::until};

/// A terminal for each chat.
pub(super) struct Terminals {
    terminals: [Socket; 2],
    said: AtomicUsize,
    _runtime: Runtime,
}

impl Terminals {
    pub(super) fn at(place: &Place) -> Self {
        place.run(["init"]).succeeded();
        let runtime = runtime();
        let within = runtime.enter();
        let terminals = Chat::ALL.map(|chat| Socket::terminal(place.home().local_socket(), &address("local", chat)));
        drop(within);
        Self { terminals, said: AtomicUsize::new(0), _runtime: runtime }
    }
}

impl Stage for Terminals {
    fn channel(&self) -> &'static str {
        "local"
    }

    fn address(&self, chat: Chat) -> String {
        address("local", chat)
    }

    fn host_is_up(&self, _place: &Place) {
        until("all terminals are attached", || self.terminals.iter().all(Socket::is_welcome).then_some(()));
    }

    fn say(&self, place: &Place, said: &Said) {
        let number = self.said.fetch_add(1, Ordering::Relaxed) + 1;
        let mut text = said.text.clone();
        if let Some((name, content)) = &said.file {
            // As the host names files that come by other channels.
            let (folder, name) = (place.group(said.chat.word()), format!("attachments/{number}-1-{name}"));
            std::fs::create_dir_all(folder.join("attachments")).unwrap();
            std::fs::write(folder.join(&name), content).unwrap();
            text.push_str(&format!("\n[document: {name}, text/plain, {} bytes]", content.len()));
        }
        let terminal = &self.terminals[said.chat as usize];
        terminal.say(&self.address(said.chat), &format!("m{number}"), name(said.who), &text, &Value::Null);
    }

    fn shown(&self, chat: Chat) -> Vec<String> {
        shown(&self.terminals[chat as usize], &self.address(chat))
    }

    fn drop_connections(&self) {
        let before: Vec<usize> = self.terminals.iter().map(Socket::welcomes).collect();
        self.terminals.iter().for_each(Socket::drop_connection);
        until("all terminals are attached anew", || {
            self.terminals.iter().zip(&before).all(|(terminal, before)| terminal.welcomes() > *before).then_some(())
        });
    }
}

/// A service with a bridge.
pub(super) struct Bridged {
    bridge: Socket,
    said: AtomicUsize,
    _runtime: Runtime,
}

impl Bridged {
    pub(super) fn at(place: &Place) -> Self {
        place.run(["init"]).succeeded();
        let runtime = runtime();
        let within = runtime.enter();
        let bridge = Socket::bridge(place.home().bridge_socket(), "net");
        drop(within);
        Self { bridge, said: AtomicUsize::new(0), _runtime: runtime }
    }
}

impl Stage for Bridged {
    fn channel(&self) -> &'static str {
        "net"
    }

    fn address(&self, chat: Chat) -> String {
        address("net", chat)
    }

    fn host_is_up(&self, _place: &Place) {
        until("the bridge is welcome", || self.bridge.is_welcome().then_some(()));
    }

    fn say(&self, place: &Place, said: &Said) {
        let number = self.said.fetch_add(1, Ordering::Relaxed) + 1;
        let mut attachments = json!([]);
        if let Some((name, content)) = &said.file {
            let file = format!("file-of-{number}");
            std::fs::write(place.home().files().join("arriving").join(&file), content).unwrap();
            attachments = json!([{"kind": "document", "name": name, "file": file}]);
        }
        let (chat, id) = (self.address(said.chat), format!("m{number}"));
        self.bridge.say(&chat, &id, name(said.who), &said.text, &attachments);
    }

    fn shown(&self, chat: Chat) -> Vec<String> {
        shown(&self.bridge, &self.address(chat))
    }

    fn drop_connections(&self) {
        let before = self.bridge.welcomes();
        self.bridge.drop_connection();
        until("the bridge is welcome anew", || (self.bridge.welcomes() > before).then_some(()));
    }
}

fn address(channel: &str, chat: Chat) -> String {
    format!("{channel}:{chat}")
}

fn name(who: Person) -> &'static str {
    match who {
        Person::Ann => "Ann",
        Person::Bob => "Bob",
    }
}

/// Bold text comes as Markdown.
fn shown(socket: &Socket, chat: &str) -> Vec<String> {
    let all = socket.shown(0).into_iter();
    all.filter(|(place, _)| place == chat).map(|(_, text)| text.replace("**", "")).collect()
}
