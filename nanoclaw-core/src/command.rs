//! Commands to the host: what a person says in a chat to the host itself and not to its agent.

use crate::{
    group::{Group, TriggerPolicy},
    message::InboundMessage,
    trigger::after_words,
};

/// A command to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostCommand {
    /// `/ping`: is anybody there?
    Ping,
    /// `/chatid`: what is this chat called?
    ChatId,
    /// `/status`: how do things stand here?
    Status,
    /// `/new`: the next turn begins a new session.
    New,
    /// `/session`: which conversations are there?
    Sessions,
    /// `/session NAME`: the next turn goes on with the conversation of this name, which is as it was written.
    Session(String),
    /// `/stop`: what is being worked on is stopped, and not tried again.
    Stop,
}

/// The most characters that may follow a command.
const MOST_SAID: usize = 64;

/// The command that `message` to `group` is, if its whole text is one, whatever its case; the trigger may stand before it
/// (`@Andy /new`), and after it whom it is for (`/new@Andy`): the assistant, or whatever the trigger is. With any other name it is for
/// another bot of the chat; a channel whose service has a name of its own for the assistant takes that away. Only `/session` may be followed
/// by something, of 64 characters at most. Nothing else is one, nor is a message with files.
#[must_use]
pub fn command_in(group: &Group, message: &InboundMessage, assistant_name: &str) -> Option<HostCommand> {
    if !message.attachments.is_empty() {
        return None;
    }
    let text = message.text.trim();
    let name = format!("@{}", assistant_name.trim());
    let own = match &group.trigger {
        TriggerPolicy::Words(words) => words.trim(),
        TriggerPolicy::Always | TriggerPolicy::AssistantName => "",
    };
    let bare = after_words(text, &name).or_else(|| after_words(text, own)).unwrap_or(text).trim();
    let (first, said) = bare.split_once(char::is_whitespace).unwrap_or((bare, ""));
    let (word, to) = first.split_once('@').unzip();
    let ours = |to: &str| {
        [&name, own].into_iter().any(|name| name.strip_prefix('@').is_some_and(|name| name.eq_ignore_ascii_case(to)))
    };
    if to.is_some_and(|to| !ours(to)) {
        return None;
    }
    let said = said.trim_start();
    match (word.unwrap_or(first).to_ascii_lowercase().as_str(), said) {
        ("/ping", "") => Some(HostCommand::Ping),
        ("/chatid", "") => Some(HostCommand::ChatId),
        ("/status", "") => Some(HostCommand::Status),
        ("/new", "") => Some(HostCommand::New),
        ("/session", "") => Some(HostCommand::Sessions),
        ("/session", name) if name.chars().count() <= MOST_SAID && !name.contains(char::is_control) => {
            Some(HostCommand::Session(name.to_owned()))
        }
        ("/stop", "") => Some(HostCommand::Stop),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attachment::{Attachment, Fetched},
        group::{GroupFolder, GroupRole},
        message::sample,
        time::Timestamp,
    };

    fn group(trigger: TriggerPolicy) -> Group {
        Group {
            folder: GroupFolder::new("family").unwrap(),
            chat: sample("").chat,
            name: "Family".to_owned(),
            trigger,
            role: GroupRole::Ordinary,
            added_at: Timestamp::from_ms(0),
        }
    }

    fn of(trigger: TriggerPolicy, text: &str) -> Option<HostCommand> {
        command_in(&group(trigger), &sample(text), "Andy")
    }

    #[test]
    fn the_whole_text_is_the_command_in_any_case_with_the_trigger_and_the_assistants_name() {
        for (text, command) in [
            ("/ping", HostCommand::Ping),
            ("  /ChatID \n", HostCommand::ChatId),
            ("/status@andy", HostCommand::Status),
            ("@Andy /new", HostCommand::New),
            ("@andy   /STOP@Andy", HostCommand::Stop),
            ("/session", HostCommand::Sessions),
            ("@Andy /Session@andy", HostCommand::Sessions),
            ("/session  Trip", HostCommand::Session("Trip".to_owned())),
            ("/SESSION@Andy two words ", HostCommand::Session("two words".to_owned())),
        ] {
            for trigger in [TriggerPolicy::Always, TriggerPolicy::AssistantName] {
                assert_eq!(of(trigger, text), Some(command.clone()), "{text:?}");
            }
        }
        let words = TriggerPolicy::Words("hey bot".to_owned());
        assert_eq!(of(words.clone(), "Hey Bot /new"), Some(HostCommand::New));
        assert_eq!(of(words, "hey you /new"), None);
        let words = TriggerPolicy::Words("@helper".to_owned());
        assert_eq!(of(words.clone(), "/new@Helper"), Some(HostCommand::New));
        assert_eq!(of(words, "/new@Andy"), Some(HostCommand::New), "it goes by its name as well");
    }

    #[test]
    fn anything_else_is_for_the_agent() {
        for text in [
            "",
            "/",
            "ping",
            "/pin",
            "/pings",
            "/ping me",
            "/new session",
            "please /stop",
            "/stop.",
            "//stop",
            "/ stop",
            "/stop @andy",
            "/stop@",
            "/stop@ andy",
            "/stop@andy bot",
            "/stop@other_bot",
            "/stop@andy_bot",
            "@Andy /stop@other_bot",
            "/stop@andy@andy",
            "/compact",
            "@Andy",
            "@Andy stop",
            "@Andyx /stop",
            "/stop\n/stop",
            "/sessions",
            "/session@other_bot trip",
            "/session trip\nand pack",
            &format!("/session {}", "x".repeat(65)),
        ] {
            assert_eq!(of(TriggerPolicy::AssistantName, text), None, "{text:?}");
        }
        let photo = Attachment { kind: "photo".to_owned(), name: None, fetched: Fetched::default() };
        let with_photo = InboundMessage { attachments: vec![photo], ..sample("/stop") };
        assert_eq!(command_in(&group(TriggerPolicy::Always), &with_photo, "Andy"), None);
    }
}
