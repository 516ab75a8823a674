//! What people are told when they are not answered: the words, and who hears them. For tired people: what happened, what
//! happens next, whether they have to do anything.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{alerts::Alerts, event::Tell};
use crate::{
    delivery::DeliveryKey,
    group::{Group, GroupFolder, GroupRole},
    message::{Seq, StoredMessage, Wakes},
    run::Trouble,
    store::{DeliveryState, Store, StoreError},
    time::Timestamp,
};

/// How much of a message is quoted, in characters.
const QUOTED_CHARS: usize = 120;
/// How much of a reason is told in a chat, in characters.
const REASON_CHARS: usize = 600;

/// A trouble that a group waits for the end of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) trouble: Trouble,
    /// How the run ended, a fragment that fits after "the run".
    pub(super) reason: String,
    /// When it is tried again by itself.
    pub(super) retry_in: Duration,
}

/// Tells `group`'s chat and the owner of a trouble, each once for as long as the same messages wait. Returns the key of what
/// the chat has still to be shown; `None` when it was told before, or could not be told.
pub(super) async fn tell_of_pause(
    alerts: &Alerts,
    group: &Group,
    pause: &Pause,
    tell: Tell,
    zone: &TimeZone,
    login_help: &str,
) -> Option<DeliveryKey> {
    if tell == Tell::Nobody {
        return None;
    }
    let first = match first_waiting(&*alerts.store, &group.folder).await {
        Ok(first) => first,
        Err(error) => {
            tracing::error!(group = %group.folder, %error, "cannot tell people why they are not answered");
            return None;
        }
    };
    let in_main = group.role == GroupRole::Main;
    if tell == Tell::ChatAndOwner {
        let key = owner_key(&*alerts.store, pause.trouble, first).await;
        alerts.owner(key.clone(), for_owner(&group.folder, pause, zone, login_help)).await;
        if in_main {
            return still_to_show(&*alerts.store, key).await;
        }
    }
    let key = DeliveryKey::alert(format!("{}/{}/{first}", pause.trouble, group.folder));
    alerts.chat(&group.chat, key.clone(), for_chat(pause, zone)).await;
    still_to_show(&*alerts.store, key).await
}

/// The key, when what it stands for is on its way.
async fn still_to_show(store: &dyn Store, key: DeliveryKey) -> Option<DeliveryKey> {
    let row = store.delivery(&key).await.ok().flatten()?;
    (row.state == DeliveryState::Pending).then_some(key)
}

/// One for each trouble, whichever group meets it first after a restart: named after the message that has waited longest.
async fn owner_key(store: &dyn Store, trouble: Trouble, first_here: Seq) -> DeliveryKey {
    let longest = match store.recover().await {
        Ok(groups) => groups.into_iter().find(|group| group.waiting.is_some()),
        Err(_) => None,
    };
    let first = match longest {
        Some(group) => first_waiting(store, &group.group.folder).await.unwrap_or(first_here),
        None => first_here,
    };
    DeliveryKey::alert(format!("{trouble}/owner/{first}"))
}

/// The first message of a group that wakes and waits; [`Seq::ZERO`] when there is none.
async fn first_waiting(store: &dyn Store, group: &GroupFolder) -> Result<Seq, StoreError> {
    let mut after = Seq::ZERO;
    loop {
        let page = store.messages_after(group, after, 64).await?;
        let Some(last) = page.last() else { return Ok(Seq::ZERO) };
        after = last.seq;
        if let Some(first) = page.iter().find(|stored| stored.wakes == Wakes::Yes) {
            return Ok(first.seq);
        }
    }
}

fn for_chat(pause: &Pause, zone: &TimeZone) -> String {
    let when = when(pause.retry_in, zone);
    let cause = match pause.trouble {
        Trouble::Login => "my login for the model does not work, which somebody has to renew",
        Trouble::Quota => "what I may use of the model for now is used up",
        Trouble::Setup => "something is not set up on the machine that I run on, which somebody has to mend",
        Trouble::Host => "something that I need does not work just now",
        Trouble::Preparing => "what I run in is still being made ready",
    };
    let next = match pause.trouble {
        Trouble::Login | Trouble::Setup | Trouble::Preparing => "and is answered as soon as that is done",
        Trouble::Quota => "and is answered when there is more",
        Trouble::Host => "and is answered as soon as it works again",
    };
    let when = match pause.trouble {
        // It is looked at every few seconds.
        Trouble::Preparing => String::new(),
        _ => format!(" (Next try {when}.)"),
    };
    format!("I cannot answer just now: {cause}. What you wrote is kept {next}; you need not write it again.{when}")
}

fn for_owner(group: &GroupFolder, pause: &Pause, zone: &TimeZone, login_help: &str) -> String {
    let (reason, when) = (shortened(&pause.reason, REASON_CHARS), when(pause.retry_in, zone));
    let (what, remedy) = match pause.trouble {
        Trouble::Login => ("the login for the model does not work", login_help),
        Trouble::Quota => (
            "the model's quota is used up",
            "Nothing has to be done: it goes on when the quota is reset. More of it helps sooner.",
        ),
        Trouble::Setup => (
            "something is not set up on this machine",
            "Mend what the reason names; `nanoclaw doctor` checks the machine.",
        ),
        Trouble::Host => (
            "the machine, or the model's service, does not do its part",
            "Often this passes by itself; `nanoclaw doctor` checks the machine.",
        ),
        Trouble::Preparing => ("what it runs in is being made ready", "Nothing has to be done."),
    };
    format!(
        "{group} is not answered: {what}. The run {reason}\n\n{remedy}\n\nNothing is lost: messages wait and the next try is \
         {when}. `nanoclaw turns list` shows what waits, `nanoclaw turns retry --all` tries at once."
    )
}

/// What a chat is told of messages that were set aside: which, why, and how to have them tried again.
pub(super) fn of_given_up(group: &GroupFolder, through: Seq, messages: &[StoredMessage], reason: &str) -> String {
    let asked: Vec<&StoredMessage> = messages.iter().filter(|stored| stored.wakes == Wakes::Yes).collect();
    let reason = shortened(reason, REASON_CHARS);
    let (which, it, was) = match asked[..] {
        [] => ("what was written here".to_owned(), "it", "It is"),
        [one] => (quoted(one), "it", "It is"),
        [first, .., last] => {
            (format!("{} messages, from {} to {}", asked.len(), quoted(first), quoted(last)), "them", "They are")
        }
    };
    format!(
        "I could not answer {which}: the run {reason}\n\n{was} set aside so that I can go on with the rest, and kept. To have \
         {it} tried again, write {it} again, or use `nanoclaw turns retry {group}/{through}` on the machine that I run on."
    )
}

fn quoted(stored: &StoredMessage) -> String {
    match shortened(&stored.message.text, QUOTED_CHARS) {
        text if text.is_empty() => "a message without text".to_owned(),
        text => format!("“{text}”"),
    }
}

/// Text on one line, of at most this many characters.
fn shortened(text: &str, chars: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= chars {
        return line;
    }
    line.chars().take(chars - 1).chain(['…']).collect()
}

/// A time as people say it: `40 seconds`, `15 minutes`, `2 hours`.
pub(super) fn span(time: Duration) -> String {
    match time.as_secs() {
        1 => "1 second".to_owned(),
        seconds @ ..90 => format!("{seconds} seconds"),
        seconds @ ..5400 => format!("{} minutes", (seconds + 30) / 60),
        seconds => format!("{} hours", (seconds + 1800) / 3600),
    }
}

/// A moment as people say it: `in 40 seconds`, `in 15 minutes`, `at 14:30`, `on 2026-03-04 at 14:30`.
fn when(retry_in: Duration, zone: &TimeZone) -> String {
    let seconds = retry_in.as_secs();
    if seconds < 90 {
        return format!("in {seconds} seconds");
    }
    if seconds < 50 * 60 {
        return format!("in {} minutes", (seconds + 30) / 60);
    }
    let at = Timestamp::now().plus(retry_in);
    let Ok(at) = jiff::Timestamp::from_millisecond(at.as_ms()) else { return "much later".to_owned() };
    let at = at.to_zoned(zone.clone());
    let format = if seconds < 20 * 60 * 60 { "at %H:%M" } else { "on %Y-%m-%d at %H:%M" };
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::sample;

    fn pause(trouble: Trouble) -> Pause {
        let reason = "could not start: there is no image nope:1; `nanoclaw image build` builds it".to_owned();
        Pause { trouble, reason, retry_in: Duration::from_secs(600) }
    }

    fn stored(seq: i64, wakes: Wakes, text: &str) -> StoredMessage {
        StoredMessage { seq: Seq(seq), wakes, message: sample(text) }
    }

    #[test]
    fn people_are_told_that_nothing_is_lost_and_when_it_goes_on() {
        for trouble in [Trouble::Login, Trouble::Quota, Trouble::Setup, Trouble::Host] {
            let told = for_chat(&pause(trouble), &TimeZone::UTC);
            assert!(told.contains("is kept") && told.contains("in 10 minutes"), "{told}");
            assert!(!told.contains("nope:1"), "technical words are for the owner: {told}");
        }
        let told = for_chat(&pause(Trouble::Preparing), &TimeZone::UTC);
        assert!(told.contains("being made ready") && told.contains("is kept") && !told.contains("Next try"), "{told}");
    }

    #[test]
    fn the_owner_is_told_the_cause_and_the_remedy() {
        let family = GroupFolder::new("family").unwrap();
        let told = |trouble| for_owner(&family, &pause(trouble), &TimeZone::UTC, "Put the key into the file.");
        assert!(told(Trouble::Login).contains("Put the key into the file."), "{}", told(Trouble::Login));
        for trouble in [Trouble::Login, Trouble::Quota, Trouble::Setup, Trouble::Host, Trouble::Preparing] {
            let told = told(trouble);
            for part in ["family", "nope:1", "image build", "nanoclaw turns retry --all"] {
                assert!(told.contains(part), "{part} is missing: {told}");
            }
        }
    }

    #[test]
    fn f06_who_is_given_up_is_told_which_message_why_and_how_to_try_again() {
        let family = GroupFolder::new("family").unwrap();
        let one = [stored(4, Wakes::No, "chat"), stored(17, Wakes::Yes, "what is\non my list?")];
        let told = of_given_up(&family, Seq(17), &one, "ended with code 3");
        assert!(told.starts_with("I could not answer “what is on my list?”: the run ended with code 3"), "{told}");
        assert!(told.contains("nanoclaw turns retry family/17"), "{told}");
        let two =
            [stored(17, Wakes::Yes, "one"), stored(18, Wakes::Yes, "two"), stored(19, Wakes::Yes, &"x".repeat(500))];
        let told = of_given_up(&family, Seq(19), &two, "ended with code 3");
        assert!(told.contains("3 messages, from “one” to “xxx"), "{told}");
        assert!(told.chars().count() < 600, "{told}");
    }

    #[test]
    fn moments_are_told_as_people_say_them() {
        assert_eq!(when(Duration::from_secs(40), &TimeZone::UTC), "in 40 seconds");
        assert_eq!(when(Duration::from_secs(900), &TimeZone::UTC), "in 15 minutes");
        assert!(when(Duration::from_secs(2 * 3600), &TimeZone::UTC).starts_with("at "));
        assert!(when(Duration::from_secs(48 * 3600), &TimeZone::UTC).starts_with("on 20"));
    }
}
