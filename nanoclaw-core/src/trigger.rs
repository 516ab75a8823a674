//! When a message wakes the agent.

use crate::{
    group::{Group, GroupRole, TriggerPolicy},
    message::{InboundMessage, Wakes},
};

/// Decides whether `message` wakes the agent of `group`, whose assistant is called `assistant_name`.
///
/// The main group and [`TriggerPolicy::Always`](crate::group::TriggerPolicy) wake on every message with text or
/// attachments. Otherwise the trimmed text must start with the trigger, whatever its case, and a word must end there
/// (`@Andy` in "@andy, hello" but not in "@Andyx"; rule: NanoClaw v1, `^@NAME\b`). The trigger is taken literally. A
/// trigger of nothing but white space wakes nobody. Who wrote the message does not matter here.
#[must_use]
pub fn wakes(group: &Group, message: &InboundMessage, assistant_name: &str) -> Wakes {
    let text = message.text.trim();
    // What channels hand in without any content (a reaction, a key exchange) is context at most (fault F22).
    let says_something = !text.is_empty() || !message.attachments.is_empty();
    let triggers = match (&group.role, &group.trigger) {
        (GroupRole::Main, _) | (_, TriggerPolicy::Always) => says_something,
        (GroupRole::Ordinary, TriggerPolicy::AssistantName) => {
            let name = assistant_name.trim();
            !name.is_empty() && starts_with_words(text, &format!("@{name}"))
        }
        (GroupRole::Ordinary, TriggerPolicy::Words(words)) => starts_with_words(text, words.trim()),
    };
    if triggers { Wakes::Yes } else { Wakes::No }
}

/// The words by which the assistant called `assistant_name` is called under `policy`: those that wake it, or `@` and its name
/// where every message does.
#[must_use]
pub fn called(policy: &TriggerPolicy, assistant_name: &str) -> String {
    match policy {
        TriggerPolicy::Words(words) if !words.trim().is_empty() => words.trim().to_owned(),
        TriggerPolicy::Words(_) | TriggerPolicy::Always | TriggerPolicy::AssistantName => {
            format!("@{}", assistant_name.trim())
        }
    }
}

fn starts_with_words(text: &str, words: &str) -> bool {
    after_words(text, words).is_some()
}

/// What follows on `words`, if `text` starts with them, whatever the case, and a word ends there. `None` for empty words.
pub(crate) fn after_words<'t>(text: &'t str, words: &str) -> Option<&'t str> {
    let last = words.chars().next_back()?;
    let mut wanted = words.chars().flat_map(fold_case);
    let mut rest = text.chars();
    let mut next_wanted = wanted.next();
    while next_wanted.is_some() {
        let character = rest.next()?;
        // One character can be several in another case; it must be wanted whole.
        for folded in fold_case(character) {
            if next_wanted != Some(folded) {
                return None;
            }
            next_wanted = wanted.next();
        }
    }
    let rest = rest.as_str();
    (!is_word(last) || !rest.starts_with(is_word)).then_some(rest)
}

/// A character without its case: through upper case, so that `σ` and `ς`, both of which are `Σ` there, are equal.
fn fold_case(character: char) -> impl Iterator<Item = char> {
    character.to_uppercase().flat_map(char::to_lowercase)
}

/// What a word is made of: `\w` of a regular expression that knows Unicode.
fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        attachment::{Attachment, Fetched},
        group::GroupFolder,
        message::{Author, sample},
        time::Timestamp,
    };

    fn group(role: GroupRole, trigger: TriggerPolicy) -> Group {
        Group {
            folder: GroupFolder::new("family").unwrap(),
            chat: sample("").chat,
            name: "Family".to_owned(),
            trigger,
            role,
            added_at: Timestamp::from_ms(0),
        }
    }

    fn wakes_on(trigger: TriggerPolicy, text: &str) -> bool {
        wakes(&group(GroupRole::Ordinary, trigger), &sample(text), "Andy") == Wakes::Yes
    }

    fn words(words: &str) -> TriggerPolicy {
        TriggerPolicy::Words(words.to_owned())
    }

    #[test]
    fn the_assistants_name_wakes_at_the_start_as_a_word_in_any_case() {
        for text in ["@Andy", "@andy, hello", "  @ANDY\nhello", "@Andy's list", "@aNdY: x", "@Andy-x", "@Andy😀"] {
            assert!(wakes_on(TriggerPolicy::AssistantName, text), "{text:?}");
        }
        for text in ["", "Andy", "hi @Andy", "@Andyx", "@Andy_", "@Andy7", "@Andyé", "@And", "@", "@ Andy", "\\@Andy"]
        {
            assert!(!wakes_on(TriggerPolicy::AssistantName, text), "{text:?}");
        }
    }

    #[test]
    fn f68_the_groups_own_trigger_is_honoured_and_taken_literally() {
        assert!(wakes_on(words("hey bot"), "Hey Bot what is up"));
        assert!(!wakes_on(words("hey bot"), "@Andy what is up"));
        assert!(wakes_on(words("@A.dy"), "@a.dy hello"));
        assert!(!wakes_on(words("@A.dy"), "@Andy hello"));
        assert!(wakes_on(words("(help"), "(HELP me"));
        let group = group(GroupRole::Ordinary, TriggerPolicy::AssistantName);
        assert_eq!(wakes(&group, &sample("@C++ hello"), "C++"), Wakes::Yes);
        assert_eq!(wakes(&group, &sample("@C hello"), "C++"), Wakes::No);
    }

    #[test]
    fn a_message_that_begins_with_what_the_assistant_is_called_wakes_it() {
        for policy in [TriggerPolicy::AssistantName, TriggerPolicy::Always, words(" hey bot ")] {
            let text = format!("{} hello", called(&policy, "Andy"));
            assert!(wakes_on(policy.clone(), &text), "{policy:?}: {text}");
        }
    }

    #[test]
    fn a_trigger_that_ends_in_a_sign_needs_no_end_of_a_word() {
        assert!(wakes_on(words("!"), "!list"));
        assert!(wakes_on(words("andy:"), "Andy:list"));
    }

    #[test]
    fn case_is_ignored_in_every_script() {
        for (trigger, text) in
            [("@Ärger", "@äRGER!"), ("@Иван", "@иВАН привет"), ("@ΝΙΚΟΣ", "@Νικος, γεια"), ("@小明", "@小明!")]
        {
            assert!(wakes_on(words(trigger), text), "{trigger} in {text}");
        }
        assert!(!wakes_on(words("@Иван"), "@Иваново"));
        assert!(!wakes_on(words("@s"), "@ß"), "half of a character is not enough");
    }

    #[test]
    fn white_space_around_a_trigger_does_not_count_and_a_blank_one_wakes_nobody() {
        assert!(wakes_on(words(" @bot "), "@bot"));
        for text in ["", "hello", " "] {
            assert!(!wakes_on(words("  "), text));
            let group = group(GroupRole::Ordinary, TriggerPolicy::AssistantName);
            assert_eq!(wakes(&group, &sample("@ hello"), " "), Wakes::No);
        }
    }

    #[test]
    fn the_main_group_and_an_always_group_need_no_trigger() {
        for group in [
            group(GroupRole::Main, TriggerPolicy::AssistantName),
            group(GroupRole::Main, words("never said")),
            group(GroupRole::Ordinary, TriggerPolicy::Always),
        ] {
            assert_eq!(wakes(&group, &sample("hello"), "Andy"), Wakes::Yes, "{group:?}");
        }
    }

    #[test]
    fn f22_a_message_of_media_alone_wakes_and_one_without_anything_never_does() {
        let photo = Attachment { kind: "photo".to_owned(), name: None, fetched: Fetched::default() };
        let media_alone = InboundMessage { attachments: vec![photo], ..sample("") };
        for (group, media_wakes) in [
            (group(GroupRole::Main, TriggerPolicy::AssistantName), Wakes::Yes),
            (group(GroupRole::Ordinary, TriggerPolicy::Always), Wakes::Yes),
            (group(GroupRole::Ordinary, TriggerPolicy::AssistantName), Wakes::No),
        ] {
            assert_eq!(wakes(&group, &media_alone, "Andy"), media_wakes, "{group:?}");
            for text in ["", " ", "\n\t"] {
                assert_eq!(wakes(&group, &sample(text), "Andy"), Wakes::No, "{group:?} {text:?}");
            }
        }
    }

    #[test]
    fn the_owner_and_everybody_else_may_trigger() {
        for author in [Author::Owner, Author::Person] {
            for (text, expected) in [("@Andy hi", Wakes::Yes), ("hi", Wakes::No)] {
                let message = InboundMessage { author, ..sample(text) };
                assert_eq!(
                    wakes(&group(GroupRole::Ordinary, TriggerPolicy::AssistantName), &message, "Andy"),
                    expected
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_trigger_followed_by_a_space_always_wakes(trigger in "\\PC{1,20}", rest in any::<String>()) {
            prop_assume!(!trigger.trim().is_empty());
            let text = format!("{} {rest}", trigger.trim());
            prop_assert!(wakes_on(words(&trigger), &text), "{text}");
        }

        #[test]
        fn no_text_and_no_trigger_is_too_strange(trigger in any::<String>(), text in any::<String>()) {
            let _ = wakes_on(words(&trigger), &text);
        }
    }
}
