//! The owner's list of who may speak to agents: `~/.config/nanoclaw/sender-allowlist.json`, in the form of NanoClaw v1. Read
//! anew for each message, so that a change holds at once. No list: everybody may. One that cannot be used: nobody but the
//! owner may (fault F69: v1 let everybody).

use std::{collections::BTreeMap, os::unix::fs::MetadataExt as _, path::Path};

use async_trait::async_trait;
use nanoclaw_core::{
    chat::ChatId,
    message::SenderId,
    senders::{Allow, BadSenders, Others, SenderPolicy, SenderRule, Senders},
};
use serde_json::{Map, Value};

use crate::{
    config::SendersConfig,
    operator_file::{flag, object, text},
};

/// Reads the list.
#[derive(Debug)]
pub struct SenderList {
    config: SendersConfig,
}

impl SenderList {
    /// The list that is configured.
    #[must_use]
    pub fn new(config: SendersConfig) -> Self {
        Self { config }
    }
}

#[async_trait]
impl Senders for SenderList {
    async fn policy(&self) -> Result<SenderPolicy, BadSenders> {
        let config = self.config.clone();
        // Off the async threads: it may be on a slow disk.
        match tokio::task::spawn_blocking(move || read(&config)).await {
            Ok(read) => read.map(|list| list.unwrap_or_else(SenderPolicy::everybody)),
            Err(error) => {
                let reason = format!("reading the list of senders failed: {error}");
                Err(BadSenders { version: reason.clone(), reason })
            }
        }
    }
}

/// Reads the list; `None` when there is none. Blocking.
///
/// # Errors
/// [`BadSenders`], with the file, what is wrong with it, and what would be right.
pub fn read(config: &SendersConfig) -> Result<Option<SenderPolicy>, BadSenders> {
    let Some(file) = &config.list else { return Ok(None) };
    if let Some(other) = config.elsewhere.as_deref().filter(|other| is_another(file, other)) {
        let (here, there) = (file.display(), other.display());
        let reason = format!(
            "there is a list at {there}, and the place for it is {here}, since XDG_CONFIG_HOME is set: move it there, or remove it"
        );
        return Err(BadSenders { version: version(other), reason });
    }
    let bad = |reason: String| {
        let reason = format!("{}: {reason}", file.display());
        BadSenders { version: version(file), reason }
    };
    match text(file).map_err(bad)? {
        Some(text) => parse(&text).map(Some).map_err(bad),
        None => Ok(None),
    }
}

/// Whether there is a file at `other` which is not the one at `file`.
fn is_another(file: &Path, other: &Path) -> bool {
    other.symlink_metadata().is_ok()
        && match (file.canonicalize(), other.canonicalize()) {
            (Ok(one), Ok(another)) => one != another,
            _ => true,
        }
}

/// Names the state of a file: its number and when it was last changed. Empty when there is none to be seen.
fn version(file: &Path) -> String {
    match file.metadata() {
        Ok(found) => format!("{}-{}.{:09}", found.ino(), found.ctime(), found.ctime_nsec()),
        Err(error) => error.kind().to_string(),
    }
}

const FORM: &str = r#"{ "default": { "allow": "*", "mode": "trigger" }, "chats": {}, "logDenied": true }"#;

fn parse(text: &str) -> Result<SenderPolicy, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let list = object(&value, "it", &["default", "chats", "logDenied"])?;
    let Some(default) = list.get("default") else {
        return Err(format!(
            "it has no \"default\", the rule for chats without one of their own; it looks like {FORM}"
        ));
    };
    let default = rule(default, "\"default\"")?;
    let none = Map::new();
    let of_chats = match list.get("chats") {
        None => &none,
        Some(Value::Object(chats)) => chats,
        Some(_) => return Err("\"chats\" must be an object with a rule for each chat id".to_owned()),
    };
    let mut chats = BTreeMap::new();
    for (id, value) in of_chats {
        let chat = ChatId::new(id.as_str()).map_err(|error| format!("\"chats\": {error}"))?;
        chats.insert(chat, rule(value, &format!("the rule of {id:?}"))?);
    }
    Ok(SenderPolicy { default, chats, log_denied: flag(list, "logDenied", true)? })
}

fn rule(value: &Value, what: &str) -> Result<SenderRule, String> {
    let rule = object(value, what, &["allow", "mode"])?;
    let wrong_ids = || format!("\"allow\" of {what} must be \"*\", or a list of sender ids, which are texts");
    let allow = match rule.get("allow") {
        Some(Value::String(all)) if all == "*" => Allow::All,
        Some(Value::Array(ids)) => {
            let id = |id: &Value| match id {
                // A star among ids looks like everybody and is nobody's id.
                Value::String(id) if id != "*" => {
                    SenderId::new(id.as_str()).map_err(|error| format!("{what}: {error}"))
                }
                _ => Err(wrong_ids()),
            };
            Allow::These(ids.iter().map(id).collect::<Result<_, _>>()?)
        }
        _ => return Err(wrong_ids()),
    };
    let others = match rule.get("mode").and_then(Value::as_str) {
        Some("trigger") => Others::Kept,
        Some("drop") => Others::Dropped,
        _ => {
            return Err(format!(
                "\"mode\" of {what} must be \"trigger\" (others are context) or \"drop\" (they are not kept)"
            ));
        }
    };
    Ok(SenderRule { allow, others })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
        path::PathBuf,
    };

    use nanoclaw_core::{
        message::Author,
        senders::{SenderVerdict, UnknownPrivate},
    };

    use super::*;
    use crate::config::Setting;

    struct User {
        folder: tempfile::TempDir,
        config: SendersConfig,
    }

    impl User {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let config = SendersConfig {
                list: Some(folder.path().join("sender-allowlist.json")),
                elsewhere: None,
                unknown_private: Setting::default_to(UnknownPrivate::Ignore),
            };
            Self { folder, config }
        }

        fn file(&self) -> PathBuf {
            self.config.list.clone().unwrap()
        }

        fn write(&self, text: &str) {
            fs::write(self.file(), text).unwrap();
            fs::set_permissions(self.file(), fs::Permissions::from_mode(0o600)).unwrap();
        }

        fn bad(&self) -> String {
            read(&self.config).unwrap_err().reason
        }

        async fn verdict(&self, chat: &str, sender: &str) -> SenderVerdict {
            let policy = SenderList::new(self.config.clone()).policy().await.unwrap_or_else(|_| SenderPolicy::nobody());
            policy.verdict(&chat.parse().unwrap(), &sender.parse().unwrap(), Author::Person)
        }
    }

    const OF_V1: &str = r#"{
        "default": { "allow": ["ann"], "mode": "trigger" },
        "chats": { "120363@g.us": { "allow": ["49123@s.whatsapp.net"], "mode": "drop" }, "tg:1": { "allow": "*", "mode": "drop" } },
        "logDenied": false
    }"#;

    #[tokio::test]
    async fn a_list_of_v1_means_what_it_meant() {
        let user = User::new();
        user.write(OF_V1);
        for (chat, sender, verdict) in [
            ("tg:2", "ann", SenderVerdict::Allowed),
            ("tg:2", "bob", SenderVerdict::KeptOnly),
            ("120363@g.us", "49123@s.whatsapp.net", SenderVerdict::Allowed),
            ("120363@g.us", "ann", SenderVerdict::Dropped),
            ("tg:1", "bob", SenderVerdict::Allowed),
        ] {
            assert_eq!(user.verdict(chat, sender).await, verdict, "{sender} in {chat}");
        }
        assert!(!read(&user.config).unwrap().unwrap().log_denied);
    }

    #[tokio::test]
    async fn a_change_holds_for_the_next_message() {
        let user = User::new();
        assert_eq!(user.verdict("tg:1", "bob").await, SenderVerdict::Allowed, "there is no list");
        user.write(r#"{ "default": { "allow": [], "mode": "drop" } }"#);
        assert_eq!(user.verdict("tg:1", "bob").await, SenderVerdict::Dropped);
        // As long as the one before, and written at once.
        user.write(r#"{ "default": { "allow": "*","mode": "drop" } }"#);
        assert_eq!(user.verdict("tg:1", "bob").await, SenderVerdict::Allowed);
    }

    #[tokio::test]
    async fn f69_a_list_with_a_mistake_lets_nobody_speak_and_says_what_is_wrong() {
        let user = User::new();
        for (text, part) in [
            ("", "it is not JSON"),
            ("[]", "it must be an object"),
            ("{}", "it has no \"default\""),
            (r#"{"default":{"allow":"*","mode":"trigger"},"chat":{}}"#, "did you mean \"chats\"?"),
            (r#"{"default":{"allow":"*","mode":"trigger"},"chats":[]}"#, "\"chats\" must be an object"),
            (r#"{"default":{"allow":"*","mode":"trigger"},"chats":{"":{"allow":"*","mode":"drop"}}}"#, "chat id"),
            (
                r#"{"default":{"allow":"*","mode":"trigger"},"chats":{"tg:1":{"allow":"ann","mode":"drop"}}}"#,
                "\"tg:1\"",
            ),
            (r#"{"default":{"allow":"all","mode":"trigger"}}"#, "\"allow\" of \"default\" must be \"*\""),
            (r#"{"default":{"allow":["*"],"mode":"trigger"}}"#, "must be \"*\", or a list"),
            (r#"{"default":{"allow":[7],"mode":"trigger"}}"#, "which are texts"),
            (r#"{"default":{"allow":[""],"mode":"trigger"}}"#, "sender id"),
            (r#"{"default":{"allow":"*"}}"#, "\"mode\" of \"default\" must be"),
            (r#"{"default":{"allow":"*","mode":"block"}}"#, "\"mode\" of \"default\" must be"),
            (r#"{"default":{"allow":"*","mode":"drop","deny":[]}}"#, "\"default\" has no key \"deny\""),
            (r#"{"default":{"allow":"*","mode":"drop"},"logDenied":"yes"}"#, "true or false"),
        ] {
            user.write(text);
            let reason = user.bad();
            assert!(reason.starts_with(&*user.file().to_string_lossy()) && reason.contains(part), "{text}: {reason}");
            assert_eq!(user.verdict("tg:1", "ann").await, SenderVerdict::KeptOnly, "{text}");
        }
    }

    #[test]
    fn f69_a_list_that_others_could_have_written_or_that_is_not_there_to_be_read_lets_nobody_speak() {
        let user = User::new();
        user.write(OF_V1);
        fs::set_permissions(user.file(), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(user.bad().contains("run `chmod go-w"), "{}", user.bad());
        user.write(OF_V1);
        fs::set_permissions(user.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(user.bad().contains("run `chmod go-w"), "{}", user.bad());
        fs::set_permissions(user.folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(read(&user.config).is_ok());

        fs::remove_file(user.file()).unwrap();
        symlink(user.folder.path().join("gone"), user.file()).unwrap();
        assert!(user.bad().contains("leads nowhere"), "{}", user.bad());
        fs::remove_file(user.file()).unwrap();
        fs::create_dir(user.file()).unwrap();
        assert!(user.bad().contains("not a regular file"), "{}", user.bad());
    }

    #[test]
    fn f69_a_list_where_v1_has_it_is_not_passed_over() {
        let mut user = User::new();
        let elsewhere = user.folder.path().join("of-v1.json");
        user.config.elsewhere = Some(elsewhere.clone());
        assert_eq!(read(&user.config), Ok(None));
        fs::write(&elsewhere, OF_V1).unwrap();
        assert!(user.bad().contains("XDG_CONFIG_HOME"), "{}", user.bad());
        // A link to it is the same list.
        symlink(&elsewhere, user.file()).unwrap();
        assert!(read(&user.config).unwrap().is_some());
    }

    #[test]
    fn each_state_of_a_bad_list_has_a_name_of_its_own() {
        let user = User::new();
        user.write("{");
        let first = read(&user.config).unwrap_err();
        assert_eq!(read(&user.config).unwrap_err(), first);
        let new = user.folder.path().join("new");
        fs::write(&new, "[").unwrap();
        fs::rename(&new, user.file()).unwrap();
        assert_ne!(read(&user.config).unwrap_err().version, first.version);
    }
}
