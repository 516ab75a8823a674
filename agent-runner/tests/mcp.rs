//! `agent-runner mcp` as an MCP client meets it: a process, JSON-RPC on its standard input and output.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its parts has failed")]

mod common;

use std::{io::Write as _, process::ChildStdin};

use common::{Home, Running, until};
use nanoclaw_core::protocol::{
    environment::{CHAT, FOLDER, IS_MAIN},
    requests::Answer,
};
use serde_json::{Value, json};

/// A client that has introduced itself.
struct Client {
    server: Running,
    stdin: ChildStdin,
    asked: u64,
    /// How much of its output was looked at.
    read: usize,
}

impl Client {
    fn of(home: &Home, is_main: &str) -> Self {
        let mut command = home.command(&["mcp"]);
        command.env(CHAT, "local:family").env(FOLDER, "family").env(IS_MAIN, is_main);
        let mut server = Running::start(&mut command);
        let stdin = server.child.stdin.take().unwrap();
        let mut client = Self { server, stdin, asked: 0, read: 0 };
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
        let introduced = client.ask("initialize", hello);
        assert_eq!(introduced["result"]["serverInfo"]["name"], "nanoclaw", "{introduced}");
        assert!(introduced["result"]["capabilities"]["tools"].is_object(), "{introduced}");
        client.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
        client
    }

    fn write(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Asks, and returns the number of the question.
    fn send(&mut self, method: &str, params: Value) -> u64 {
        self.asked += 1;
        let id = self.asked;
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string());
        id
    }

    fn call(&mut self, name: &str, arguments: Value) -> u64 {
        self.send("tools/call", json!({"name": name, "arguments": arguments}))
    }

    /// What comes next that has a number.
    fn heard(&mut self) -> Value {
        let mut heard = Value::Null;
        // As bytes: a list of tools is longer than a line that a host reads.
        until("a word of the server", || {
            let bytes = self.server.bytes();
            while let Some(length) = bytes[self.read..].iter().position(|byte| *byte == b'\n') {
                let line = &bytes[self.read..self.read + length];
                self.read += length + 1;
                match serde_json::from_slice::<Value>(line) {
                    Ok(value) if value["id"].is_u64() => {
                        heard = value;
                        return true;
                    }
                    _ => {}
                }
            }
            false
        });
        heard
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        let heard = self.heard();
        assert_eq!(heard["id"], id, "{heard}");
        heard
    }

    /// The text of a result, and whether it is an error.
    fn result(heard: &Value) -> (String, bool) {
        let result = &heard["result"];
        (
            result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{heard}")).to_owned(),
            result["isError"] == true,
        )
    }

    /// Ends its input; it ends by that.
    fn ends(mut self) {
        drop(self.stdin);
        assert_eq!(self.server.code(), 0, "{}", self.server.errors());
    }
}

#[test]
fn a_client_is_offered_the_tools_of_its_group() {
    let home = Home::new();
    for (is_main, count) in [("0", 10), ("1", 12)] {
        let mut client = Client::of(&home, is_main);
        let listed = client.ask("tools/list", json!({}));
        let tools = listed["result"]["tools"].as_array().unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!((names.len(), names.contains(&"register_group")), (count, is_main == "1"), "{names:?}");
        assert_eq!(tools[0]["inputSchema"]["required"], json!(["text"]));
        assert_eq!(tools[0]["_meta"]["anthropic/alwaysLoad"], true);
        client.ends();
    }
}

#[test]
fn a_call_is_a_request_and_the_hosts_answer_is_its_result() {
    let home = Home::new();
    let mut client = Client::of(&home, "0");
    client.call("send_message", json!({"text": "hi"}));
    let (name, asked) = home.request("messages");
    assert_eq!(asked, json!({"type": "message", "chatJid": "local:family", "text": "hi"}));
    home.answer(&name, &Answer::Done { detail: "stored as message 7".to_owned() });
    assert_eq!(Client::result(&client.heard()), ("stored as message 7".to_owned(), false));

    client.call("cancel_task", json!({"task_id": "t"}));
    let (name, _) = home.request("tasks");
    home.answer(&name, &Answer::Refused { reason: "there is no such task".to_owned() });
    assert_eq!(Client::result(&client.heard()), ("Refused: there is no such task".to_owned(), true));
    assert!(home.names("answers").is_empty());
    client.ends();
}

#[test]
fn two_calls_at_once_are_served_side_by_side() {
    let home = Home::new();
    let mut client = Client::of(&home, "0");
    let first = client.call("send_message", json!({"text": "first"}));
    let (first_name, _) = home.request("messages");
    let second = client.call("send_message", json!({"text": "second"}));
    let (second_name, _) = home.request("messages");
    home.answer(&second_name, &Answer::Done { detail: "second".to_owned() });
    let heard = client.heard();
    assert_eq!((&heard["id"], Client::result(&heard).0.as_str()), (&json!(second), "second"));
    home.answer(&first_name, &Answer::Done { detail: "first".to_owned() });
    let heard = client.heard();
    assert_eq!((&heard["id"], Client::result(&heard).0.as_str()), (&json!(first), "first"));
    client.ends();
}

#[test]
fn bad_calls_are_told_what_is_wrong_and_the_server_goes_on() {
    let home = Home::new();
    let mut client = Client::of(&home, "0");
    for (name, arguments, part) in [
        ("dance", json!({}), "there is no tool"),
        ("register_group", json!({}), "only the main group may"),
        ("send_message", json!({"text": ["a"]}), "is a text, not a list"),
        ("send_message", json!({"text": "x".repeat(10_000_000)}), "it is too large"),
    ] {
        client.call(name, arguments);
        let (text, is_error) = Client::result(&client.heard());
        assert!(is_error && text.contains(part), "{text}");
    }
    // What is no request at all.
    for line in ["", "{torn", "[]", r#"{"jsonrpc":"2.0","id":"x","method":"no/such/method"}"#, "\u{0}"] {
        client.write(line);
    }
    let listed = client.ask("tools/list", json!({}));
    assert!(listed["result"]["tools"].is_array(), "{listed}");
    assert!(home.names("messages").is_empty());
    client.ends();
}

#[test]
fn without_a_chat_nothing_is_served() {
    let home = Home::new();
    let mut server = Running::start(&mut home.command(&["mcp"]));
    assert_eq!(server.code(), 1);
    assert!(server.errors().contains(CHAT), "{}", server.errors());
}
