//! Guilds, which people call servers: the names of their channels, threads and roles, as Discord tells them when a session begins
//! and when they change.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::channels::clean_name;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Names of guilds.
    guilds: HashMap<String, String>,
    /// Channels and threads.
    channels: HashMap<String, Place>,
    roles: HashMap<String, Role>,
}

#[derive(Debug, PartialEq)]
struct Place {
    guild: String,
    name: String,
}

#[derive(Debug)]
struct Role {
    guild: String,
    name: String,
    /// It is the one that the bot has by being in the guild.
    ours: bool,
}

/// What follows from what was told.
#[derive(Debug, Default, PartialEq)]
pub(super) struct News {
    /// Channels that can be written in, with the names that people know them by.
    pub(super) named: Vec<(String, String)>,
    /// Channels that are gone for us, and how.
    pub(super) left: Vec<(String, &'static str)>,
}

#[derive(Debug, Deserialize)]
struct Channel {
    id: String,
    #[serde(default)]
    guild_id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    r#type: u64,
}

/// The kinds of channels in which people write: texts, voice with its text, announcements, threads, stages. *Source*: Discord's
/// documentation, "Channel Types".
const WRITTEN_IN: [u64; 7] = [0, 2, 5, 10, 11, 12, 13];

impl Places {
    /// Takes in an event; one that is about none of these changes nothing. `me` is the bot's user.
    pub(super) fn hear(&mut self, kind: &str, data: &Value, me: &str) -> News {
        let guild = data["guild_id"].as_str();
        let id = data["id"].as_str();
        match (kind, guild, id) {
            ("GUILD_CREATE", _, Some(id)) => self.guild(id, data, me),
            ("GUILD_UPDATE", _, Some(id)) => {
                self.named_guild(id, data);
                self.roles_of(id, data["roles"].as_array(), me);
                News::default()
            }
            // An outage: it comes back by itself.
            ("GUILD_DELETE", _, _) if data["unavailable"] == true => News::default(),
            ("GUILD_DELETE", _, Some(id)) => self.left_guild(id),
            ("GUILD_ROLE_CREATE" | "GUILD_ROLE_UPDATE", Some(guild), _) => {
                self.role_of(guild, &data["role"], me);
                News::default()
            }
            ("GUILD_ROLE_DELETE", Some(_), _) => {
                drop(data["role_id"].as_str().map(|role| self.roles.remove(role)));
                News::default()
            }
            ("CHANNEL_CREATE" | "CHANNEL_UPDATE" | "THREAD_CREATE" | "THREAD_UPDATE", Some(guild), _) => {
                News { named: self.channel_of(guild, data).into_iter().collect(), left: Vec::new() }
            }
            ("CHANNEL_DELETE" | "THREAD_DELETE", _, Some(id)) => {
                self.channels.remove(id);
                News { named: Vec::new(), left: vec![(id.to_owned(), "it was deleted")] }
            }
            ("THREAD_LIST_SYNC", Some(guild), _) => {
                let threads = data["threads"].as_array().into_iter().flatten();
                News { named: threads.filter_map(|thread| self.channel_of(guild, thread)).collect(), left: Vec::new() }
            }
            _ => News::default(),
        }
    }

    /// The name of a channel or thread, as it stands after `#`.
    pub(super) fn channel(&self, id: &str) -> Option<&str> {
        self.channels.get(id).map(|place| place.name.as_str())
    }

    /// The name of a role, as it stands after `@`.
    pub(super) fn role(&self, id: &str) -> Option<&str> {
        self.roles.get(id).map(|role| role.name.as_str())
    }

    /// Whether a role is the bot's own, which people mention when they mean the bot.
    pub(super) fn is_our_role(&self, id: &str) -> bool {
        self.roles.get(id).is_some_and(|role| role.ours)
    }

    fn guild(&mut self, id: &str, data: &Value, me: &str) -> News {
        if data["unavailable"] == true {
            return News::default();
        }
        self.named_guild(id, data);
        // All of it is told: what is not, is not there any more.
        self.channels.retain(|_, place| place.guild != id);
        self.roles.retain(|_, role| role.guild != id);
        self.roles_of(id, data["roles"].as_array(), me);
        let all = ["channels", "threads"].into_iter().filter_map(|list| data[list].as_array()).flatten();
        News { named: all.filter_map(|channel| self.channel_of(id, channel)).collect(), left: Vec::new() }
    }

    fn left_guild(&mut self, id: &str) -> News {
        self.guilds.remove(id);
        self.roles.retain(|_, role| role.guild != id);
        let mut left: Vec<_> = Vec::new();
        self.channels.retain(|channel, place| {
            let gone = place.guild == id;
            if gone {
                left.push((channel.clone(), "the assistant was removed from the server"));
            }
            !gone
        });
        News { named: Vec::new(), left }
    }

    fn named_guild(&mut self, id: &str, data: &Value) {
        if let Some(name) = data["name"].as_str().and_then(clean_name) {
            self.guilds.insert(id.to_owned(), name);
        }
    }

    fn roles_of(&mut self, guild: &str, roles: Option<&Vec<Value>>, me: &str) {
        roles.into_iter().flatten().for_each(|role| self.role_of(guild, role, me));
    }

    fn role_of(&mut self, guild: &str, role: &Value, me: &str) {
        let (Some(id), Some(name)) = (role["id"].as_str(), role["name"].as_str().and_then(clean_name)) else { return };
        let ours = role["tags"]["bot_id"].as_str() == Some(me);
        self.roles.insert(id.to_owned(), Role { guild: guild.to_owned(), name, ours });
    }

    /// Keeps a channel; what it is called if people write in it.
    fn channel_of(&mut self, guild: &str, channel: &Value) -> Option<(String, String)> {
        let channel = Channel::deserialize(channel).ok()?;
        let guild = channel.guild_id.as_deref().unwrap_or(guild);
        let name = clean_name(&channel.name?)?;
        let known = match self.guilds.get(guild) {
            Some(guild) => format!("{name} ({guild})"),
            None => name.clone(),
        };
        self.channels.insert(channel.id.clone(), Place { guild: guild.to_owned(), name });
        WRITTEN_IN.contains(&channel.r#type).then_some((channel.id, known))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn guild() -> Value {
        json!({
            "id": "30", "name": "Home",
            "channels": [
                {"id": "20", "name": "general", "type": 0}, {"id": "21", "name": "Texts", "type": 4}, {"odd": true},
                {"id": "22", "name": "talk", "type": 2},
            ],
            "threads": [{"id": "23", "name": "a plan", "type": 11, "guild_id": "30"}],
            "roles": [{"id": "40", "name": "Andy", "tags": {"bot_id": "99"}}, {"id": "41", "name": "Cooks", "tags": {}}],
        })
    }

    fn pair(id: &str, name: &str) -> (String, String) {
        (id.to_owned(), name.to_owned())
    }

    #[test]
    fn a_guild_tells_its_channels_threads_and_roles() {
        let mut places = Places::default();
        let news = places.hear("GUILD_CREATE", &guild(), "99");
        let named = [pair("20", "general (Home)"), pair("22", "talk (Home)"), pair("23", "a plan (Home)")];
        assert_eq!(news, News { named: named.into(), left: Vec::new() });
        assert_eq!((places.channel("21"), places.channel("24")), (Some("Texts"), None));
        assert_eq!(
            (places.role("41"), places.is_our_role("40"), places.is_our_role("41")),
            (Some("Cooks"), true, false)
        );
    }

    #[test]
    fn what_changes_is_known_by_its_new_name_and_what_is_gone_is_told() {
        let mut places = Places::default();
        places.hear("GUILD_CREATE", &guild(), "99");
        let renamed = json!({"id": "20", "guild_id": "30", "name": "kitchen", "type": 0});
        assert_eq!(places.hear("CHANNEL_UPDATE", &renamed, "99").named, [pair("20", "kitchen (Home)")]);
        assert_eq!(places.channel("20"), Some("kitchen"));
        let thread = json!({"id": "25", "guild_id": "30", "name": "cake", "type": 11});
        assert_eq!(places.hear("THREAD_CREATE", &thread, "99").named, [pair("25", "cake (Home)")]);
        let news = places.hear("CHANNEL_DELETE", &renamed, "99");
        assert_eq!((news.left, places.channel("20")), (vec![("20".to_owned(), "it was deleted")], None));
        let sync = json!({"guild_id": "30", "threads": [{"id": "26", "name": "tea", "type": 12}]});
        assert_eq!(places.hear("THREAD_LIST_SYNC", &sync, "99").named, [pair("26", "tea (Home)")]);
    }

    #[test]
    fn a_guild_that_is_left_takes_its_channels_along_and_an_outage_none() {
        let mut places = Places::default();
        places.hear("GUILD_CREATE", &guild(), "99");
        assert_eq!(places.hear("GUILD_DELETE", &json!({"id": "30", "unavailable": true}), "99"), News::default());
        let mut left = places.hear("GUILD_DELETE", &json!({"id": "30"}), "99").left;
        left.sort();
        assert_eq!(left.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["20", "21", "22", "23"]);
        assert_eq!((places.channel("20"), places.role("40")), (None, None));
    }

    #[test]
    fn no_event_is_too_strange() {
        let mut places = Places::default();
        for kind in ["GUILD_CREATE", "GUILD_DELETE", "CHANNEL_CREATE", "THREAD_LIST_SYNC", "GUILD_ROLE_CREATE", "NEW"] {
            for data in [json!(null), json!(7), json!({"id": 7, "guild_id": []}), json!({"id": "1", "guild_id": "2"})] {
                places.hear(kind, &data, "99");
            }
        }
    }
}
