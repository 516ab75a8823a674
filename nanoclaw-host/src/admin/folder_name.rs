//! A folder for a group that was given none.

use nanoclaw_core::{
    chat::ChatId,
    group::{GroupFolder, GroupRole},
};

/// The folder to propose: `main` for the main group, else `<service>_<name>` (convention: NanoClaw v1), with a number after
/// it when `taken` says so.
pub(super) fn propose(
    chat: &ChatId,
    name: &str,
    role: GroupRole,
    taken: impl Fn(&GroupFolder) -> bool,
) -> Option<GroupFolder> {
    let base = match role {
        GroupRole::Main => "main".to_owned(),
        GroupRole::Ordinary => {
            let mut name = slug(name);
            if name.is_empty() {
                name = slug(chat.as_str());
            }
            format!("{}_{name}", service(chat))
        }
    };
    // Room for the number; slugs are ASCII, so this cuts between characters.
    let base = base.get(..56).unwrap_or(&base).trim_end_matches(['-', '_']);
    (1..=999)
        .map(|number| if number == 1 { base.to_owned() } else { format!("{base}-{number}") })
        .filter_map(|folder| GroupFolder::new(folder).ok())
        .find(|folder| !taken(folder))
}

fn service(chat: &ChatId) -> String {
    let prefix = match chat.as_str().split_once(':') {
        Some((prefix, _)) => slug(prefix),
        None => "whatsapp".to_owned(),
    };
    if prefix.is_empty() { "chat".to_owned() } else { prefix }
}

fn slug(text: &str) -> String {
    let mut slug = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_of_service_and_name_and_never_taken_twice() {
        let propose = |chat: &str, name: &str, taken: &[&str]| {
            let chat = ChatId::new(chat).unwrap();
            propose(&chat, name, GroupRole::Ordinary, |folder| taken.contains(&folder.as_str())).unwrap().to_string()
        };
        assert_eq!(propose("tg:-100", "Family Chat!", &[]), "tg_family-chat");
        assert_eq!(propose("tg:-100", "Family Chat!", &["tg_family-chat"]), "tg_family-chat-2");
        assert_eq!(propose("1203@g.us", "Familie", &[]), "whatsapp_familie");
        assert_eq!(propose("tg:-100", "家族", &[]), "tg_tg-100");
        assert_eq!(propose("x:1", "../../etc", &[]), "x_etc");
        assert!(propose("x:1", &"long ".repeat(50), &[]).len() <= 64);
    }
}
