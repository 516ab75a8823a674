//! What must be true of every seed when all is over.

use std::collections::BTreeSet;

use super::{
    Facts,
    chats::{self, ChatLog, answered_by, gave_up_through, is_of_host},
    hosts::{Lasting, store},
};
use crate::{
    group::Group,
    message::Wakes,
    store::{Store, TurnState},
};

/// Counts what happened, or says what is broken.
pub(super) async fn check(lasting: &Lasting, hosts: u32) -> Result<Facts, String> {
    let world = &lasting.world;
    let cap = world.plan.cap.get();
    if lasting.runtime.most_live() > cap {
        return Err(format!("cap: {} containers lived at a time, {cap} are allowed", lasting.runtime.most_live()));
    }
    if lasting.runtime.most_live_of_a_group() > 1 {
        return Err("fence: two containers of one group lived at a time, and shared its mailbox".to_owned());
    }
    if lasting.runtime.live() + lasting.runtime.dead() > 0 {
        return Err("leak: the engine has containers, dead or alive".to_owned());
    }
    let mut facts = Facts { hosts: hosts.into(), runs: lasting.runtime.specs().len() as u64, ..Facts::default() };
    let log = world.chats().clone();
    for plan in &world.plan.groups {
        check_chat(lasting, &log, &chats::group(plan), &mut facts).await?;
    }
    for run in store(lasting.store.runs(None, u32::MAX).await)? {
        let turns = store(lasting.store.turns(&run.id).await)?;
        if turns.iter().any(|turn| matches!(turn.state, TurnState::Handed | TurnState::Taken)) {
            return Err(format!("leak: the run {} has an open turn", run.id));
        }
    }
    Ok(facts)
}

async fn check_chat(lasting: &Lasting, log: &ChatLog, group: &Group, facts: &mut Facts) -> Result<(), String> {
    let shown = log.shown.get(&group.chat).map(Vec::as_slice).unwrap_or_default();
    let given_up = store(lasting.store.given_up(&group.folder, u32::MAX).await)?;
    let given_up: BTreeSet<_> = given_up.iter().map(|stored| stored.seq).collect();
    let notices: BTreeSet<_> = shown.iter().filter_map(|shown| gave_up_through(&shown.key)).collect();
    for (number, message) in log.written.iter().filter(|(_, message)| message.chat == group.chat) {
        let Some(seq) = message.accepted else { return Err(format!("lost: [{number}] was never acknowledged")) };
        facts.messages += 1;
        if message.wakes == Wakes::No {
            continue;
        }
        match (log.answers.get(number).copied().unwrap_or(0), given_up.contains(&seq)) {
            (1, false) => facts.answered += 1,
            (0, true) if notices.iter().any(|through| *through >= seq) => facts.given_up += 1,
            (0, true) => return Err(format!("silence: [{number}] was given up and nobody was told")),
            (0, false) => return Err(format!("lost: [{number}] has no answer and was not given up")),
            (1, true) => return Err(format!("twice: [{number}] was answered and given up")),
            (count, _) => return Err(format!("twice: [{number}] was answered {count} times")),
        }
    }
    for through in &notices {
        let before = notices.range(..through).next_back();
        if !given_up.iter().any(|seq| seq <= through && before.is_none_or(|before| seq > before)) {
            return Err(format!("noise: the notice for messages up to {through} of {} gives up nothing", group.folder));
        }
    }

    let (mut texts, mut places) = (BTreeSet::new(), Vec::new());
    let mut last_number = None;
    for shown in shown {
        let row = store(lasting.store.delivery(&shown.key).await)?;
        let Some(row) = row else { return Err(format!("invention: {} is shown and was never posted", shown.key)) };
        places.push(row.delivery.id);
        if !is_of_host(&shown.key) && !texts.insert(&shown.text) {
            return Err(format!("twice: {:?} was shown in {} under two keys", shown.text, group.chat));
        }
        for number in answered_by(&shown.key, &shown.text) {
            if last_number.replace(number).is_some_and(|last| last >= number) {
                return Err(format!("order: [{number}] was answered late in {}", group.chat));
            }
        }
    }
    if !places.is_sorted() {
        return Err(format!("order: {} was shown its messages in the order {places:?}", group.chat));
    }
    let prefix = format!("asked for ({}#", group.folder);
    for (text, done) in log.requested.iter().filter(|(text, _)| text.starts_with(&prefix)) {
        if *done && !texts.contains(text) {
            return Err(format!("lost: the agent was told that {text:?} is done, and nobody saw it"));
        }
    }
    facts.shown += shown.len() as u64;
    Ok(())
}
