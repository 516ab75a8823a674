//! A group: a chat that is registered, with a folder, a trigger and a role.

use serde::{Deserialize, Serialize};

use crate::{chat::ChatId, text_id::text_id, time::Timestamp};

text_id! {
    /// The name of a group's folder, and the group's id everywhere: in tables, labels, paths and on the command line.
    ///
    /// Starts with a letter or digit, then letters, digits, `_` and `-`, 64 at most; never `global`, which is the shared
    /// folder (rule: NanoClaw v1).
    GroupFolder, "group folder", |text| {
        let mut bytes = text.bytes();
        if !bytes.next().is_some_and(|b| b.is_ascii_alphanumeric()) {
            return Err("must start with a letter or digit");
        }
        if text.len() > 64 {
            return Err("must have at most 64 characters");
        }
        if !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return Err("may have letters, digits, _ and - only");
        }
        if text.eq_ignore_ascii_case("global") {
            return Err("is the name of the folder that all groups share; take another");
        }
        Ok(())
    }
}

/// What a group may do beyond its own folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupRole {
    /// The owner's group: needs no trigger, may register groups and write to any chat. At most one.
    Main,
    /// Every other group: its own chat and folder.
    Ordinary,
}

/// Which messages of a group wake its agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerPolicy {
    /// Every message does.
    Always,
    /// A message that starts with `@` and the assistant's name.
    AssistantName,
    /// A message that starts with these words, taken literally, whatever their case.
    Words(String),
}

/// A registered chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its folder and id.
    pub folder: GroupFolder,
    /// The chat it belongs to; one group a chat, one chat a group.
    pub chat: ChatId,
    /// The name people know it by.
    pub name: String,
    /// When its agent wakes.
    pub trigger: TriggerPolicy,
    /// Its rights.
    pub role: GroupRole,
    /// When it was registered.
    pub added_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folder_names_of_v1_are_taken() {
        for name in ["main", "telegram_family", "whatsapp_main", "0", "A-b_9", "global2", "x".repeat(64).as_str()] {
            assert_eq!(GroupFolder::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn f55_a_folder_name_that_leads_elsewhere_is_refused() {
        for (name, reason) in [
            ("", "must start with"),
            ("..", "must start with"),
            (".hidden", "must start with"),
            ("-rf", "must start with"),
            ("_x", "must start with"),
            ("/etc", "must start with"),
            ("émile", "must start with"),
            ("a/../../etc", "may have"),
            ("a/b", "may have"),
            ("a\\b", "may have"),
            ("a..b", "may have"),
            ("a b", "may have"),
            ("a\0", "may have"),
            ("a\n", "may have"),
            ("aé", "may have"),
            ("global", "all groups share"),
            ("GLOBAL", "all groups share"),
            (&"x".repeat(65), "at most 64"),
        ] {
            let error = GroupFolder::new(name).unwrap_err();
            assert!(error.reason.contains(reason), "{error}");
        }
    }

    proptest! {
        #[test]
        fn f55_a_folder_that_is_taken_is_one_plain_name(name in "[./\\\\a-zA-Z0-9_\\-\\PC]{0,70}") {
            if let Ok(folder) = GroupFolder::new(name) {
                let path = std::path::Path::new("base").join(folder.as_str());
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("base")));
                prop_assert_eq!(path.file_name().unwrap(), folder.as_str());
            }
        }
    }

    #[test]
    fn a_group_reads_as_before() {
        let group = Group {
            folder: GroupFolder::new("family").unwrap(),
            chat: ChatId::new("tg:-100123").unwrap(),
            name: "Family".to_owned(),
            trigger: TriggerPolicy::Words("hey bot".to_owned()),
            role: GroupRole::Ordinary,
            added_at: Timestamp::from_ms(1_772_627_400_000),
        };
        insta::assert_json_snapshot!(group, @r#"
            {
              "folder": "family",
              "chat": "tg:-100123",
              "name": "Family",
              "trigger": {
                "words": "hey bot"
              },
              "role": "ordinary",
              "added_at": 1772627400000
            }
            "#);
        assert_eq!(serde_json::from_value::<Group>(serde_json::to_value(&group).unwrap()).unwrap(), group);
        assert_eq!(serde_json::to_value(TriggerPolicy::Always).unwrap(), "always");
        assert_eq!(serde_json::to_value(TriggerPolicy::AssistantName).unwrap(), "assistant_name");
        assert_eq!(serde_json::to_value(GroupRole::Main).unwrap(), "main");
    }
}
