//! What must be true of every seed when all is over. What each kind of chat, agent and group is promised is in the
//! documentation of [`simulation`](super).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Facts,
    chats::{self, ChatLog, gave_up_through, is_of_host, numbers_in, takes_files},
    hostile::FORGED,
    hosts::{Lasting, store},
    plan::{AgentKind, GroupPlan},
    tasks::check_tasks,
};
use crate::{
    channel::Repeat,
    delivery::DeliveryKey,
    group::Group,
    message::{Seq, StoredMessage, Wakes},
    orchestrator::WhenUnknown,
    run::{Handed, RunId, RunNumber},
    store::{DeliveryFilter, DeliveryState, GiveUp, SetAside, Store, StoredDelivery, StoredTurn, TurnState},
};

/// Counts what happened, or says what is broken.
pub(super) async fn check(lasting: &Lasting, hosts: u32) -> Result<Facts, String> {
    let world = &lasting.world;
    let log = world.chats().clone();
    if let Some(broken) = log.broken.first() {
        return Err(broken.clone());
    }
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
    let used: BTreeSet<_> = store(lasting.store.files_in_use().await)?.into_iter().collect();
    if let Some(name) = world.spool.names().difference(&used).next() {
        return Err(format!("leak: the spool has the file {name}, which nobody needs"));
    }
    let mut facts = Facts { hosts: hosts.into(), runs: lasting.runtime.specs().len() as u64, ..Facts::default() };
    for plan in &world.plan.groups {
        let chat = Chat::read(lasting, &log, plan).await?;
        chat.check_turns()?;
        chat.check_messages(&mut facts)?;
        chat.check_rows(&mut facts)?;
        chat.check_order()?;
        chat.check_requests()?;
    }
    check_tasks(lasting, &log, &mut facts).await?;
    Ok(facts)
}

/// All there is to know of one chat.
struct Chat<'a> {
    log: &'a ChatLog,
    plan: &'a GroupPlan,
    group: Group,
    when_unknown: WhenUnknown,
    /// Whether there is a main group.
    has_owner: bool,
    messages: Vec<StoredMessage>,
    /// Of every run, in the order of the runs.
    turns: Vec<(RunId, Vec<StoredTurn>)>,
    set_aside: Vec<SetAside>,
    /// The outbox, in its order.
    rows: Vec<StoredDelivery>,
    /// The keys of all alerts, in whatever chat.
    alerts: BTreeSet<DeliveryKey>,
}

impl<'a> Chat<'a> {
    async fn read(lasting: &Lasting, log: &'a ChatLog, plan: &'a GroupPlan) -> Result<Self, String> {
        let group = chats::group(plan);
        let world = &lasting.world;
        let all = Handed { first: Seq(1), last: Seq(i64::MAX) };
        let mut turns = Vec::new();
        for run in store(lasting.store.runs(Some(&group.folder), u32::MAX).await)? {
            turns.push((run.id.clone(), store(lasting.store.turns(&run.id).await)?));
        }
        turns.sort_by_key(|(run, _)| run.number);
        let rows = store(lasting.store.deliveries(&DeliveryFilter::default(), u32::MAX).await)?;
        let alerts = rows.iter().map(|row| row.delivery.key.clone()).filter(DeliveryKey::is_alert).collect();
        let mut rows: Vec<_> = rows.into_iter().filter(|row| row.delivery.chat == group.chat).collect();
        rows.reverse();
        Ok(Self {
            log,
            messages: store(lasting.store.messages_between(&group.chat, all, u32::MAX).await)?,
            set_aside: store(lasting.store.set_aside(Some(&group.folder), true, u32::MAX).await)?,
            turns,
            rows,
            alerts,
            when_unknown: world.plan.when_unknown,
            has_owner: world.plan.groups.iter().any(|plan| plan.main),
            group,
            plan,
        })
    }

    /// What was answered is handed over no more, and no turn is left open.
    fn check_turns(&self) -> Result<(), String> {
        let mut answered = Seq::ZERO;
        for (run, turns) in &self.turns {
            let mut handed = answered;
            for turn in turns {
                if matches!(turn.state, TurnState::Handed | TurnState::Taken) {
                    return Err(format!("leak: the run {run} has an open turn"));
                }
                if turn.handed.first <= handed {
                    return Err(format!("twice: {:?} was handed to {run}, and {handed} before", turn.handed));
                }
                handed = turn.handed.last;
            }
            let last = turns.iter().filter(|turn| turn.state == TurnState::Answered).map(|turn| turn.handed.last).max();
            answered = answered.max(last.unwrap_or(Seq::ZERO));
        }
        Ok(())
    }

    fn check_messages(&self, facts: &mut Facts) -> Result<(), String> {
        let replies = self.replies()?;
        for (number, written) in self.log.written.iter().filter(|(_, written)| written.chat == self.group.chat) {
            facts.messages += 1;
            if !written.accepted && !written.refused {
                return Err(format!("lost: [{number}] was never acknowledged"));
            }
            let stored: Vec<_> = self.messages.iter().filter(|one| says(one, *number)).collect();
            if stored.is_empty() && written.accepted {
                return Err(format!("lost: [{number}] was acknowledged and is not stored"));
            }
            if written.wakes == Wakes::Yes {
                let replies = replies.get(number).cloned().unwrap_or_default();
                self.check_message(*number, &stored, &replies, facts)?;
            }
        }
        let notices: BTreeSet<_> = self.rows.iter().filter_map(|row| gave_up_through(&row.delivery.key)).collect();
        for through in &notices {
            let before = notices.range(..through).next_back().copied().unwrap_or(Seq::ZERO);
            let gives_up = |one: &&SetAside| one.messages.first <= *through && one.messages.last > before;
            if !self.set_aside.iter().filter(|one| !was_dropped(one)).any(|one| gives_up(&one)) {
                return Err(format!(
                    "noise: the notice for messages up to {through} of {} gives up nothing",
                    self.group.folder
                ));
            }
        }
        Ok(())
    }

    /// `stored` are a message and the copies of it that were made when somebody had it tried again; `replies` the runs whose
    /// replies name it.
    fn check_message(
        &self,
        number: u64,
        stored: &[&StoredMessage],
        replies: &BTreeSet<RunId>,
        facts: &mut Facts,
    ) -> Result<(), String> {
        let (mut expected, mut answered_it, mut had_it) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (place, message) in stored.iter().enumerate() {
            let seq = message.seq;
            let has = |turn: &StoredTurn| turn.handed.first <= seq && seq <= turn.handed.last;
            let of = |state: Option<TurnState>| {
                let turns = self.turns.iter().filter(move |(_, turns)| {
                    turns.iter().any(|turn| has(turn) && state.is_none_or(|state| turn.state == state))
                });
                turns.map(|(run, _)| run.clone()).collect::<Vec<_>>()
            };
            let answered = of(Some(TurnState::Answered));
            had_it.extend(of(None));
            let aside = self.set_aside.iter().find(|one| one.messages.first <= seq && seq <= one.messages.last);
            let given_up = aside.is_some_and(|one| !was_dropped(one));
            let left = self.was_left(seq);
            match answered.as_slice() {
                [] if given_up => {
                    let told = self.rows.iter().filter_map(|row| gave_up_through(&row.delivery.key));
                    if !told.into_iter().any(|through| through >= seq) {
                        return Err(format!("silence: [{number}] was given up and nobody was told"));
                    }
                    facts.given_up += 1;
                }
                [] if aside.is_some() || left => {}
                [] => return Err(format!("lost: [{number}] ({seq}) is neither answered nor given up")),
                [run] if given_up => return Err(format!("twice: [{number}] was answered by {run} and given up")),
                [run] if left => {
                    return Err(format!("late: [{number}] was answered by {run} after its group was removed"));
                }
                [run] => {
                    facts.answered += 1;
                    // It may have answered in words before, and be silent about a copy of it.
                    answered_it.insert(run.clone());
                    let known = (number, run.clone());
                    // What becomes of what v1 takes in the wrong moment hangs on how it ends.
                    if !self.log.silenced.contains(&known)
                        && (!self.log.hasty.contains(&known) || replies.contains(run))
                    {
                        expected.insert(run.clone());
                    }
                }
                more => return Err(format!("twice: [{number}] was answered by {more:?}")),
            }
            if place + 1 < stored.len() && aside.is_none() {
                return Err(format!("twice: [{number}] was stored again, and was not set aside"));
            }
        }
        let unheard = expected.difference(replies).next();
        if let Some(run) = unheard {
            return Err(format!("lost: [{number}] counts as answered by {run}, and no reply of it is stored"));
        }
        let allowed = if self.plan.agent == AgentKind::Ours { &answered_it } else { &had_it };
        match replies.difference(allowed).next() {
            Some(run) => Err(format!("twice: a reply of {run} answers [{number}], which is not its to answer")),
            None => Ok(()),
        }
    }

    /// The runs whose replies name a message. A run names each once, and once more for each copy that was made of it.
    fn replies(&self) -> Result<BTreeMap<u64, BTreeSet<RunId>>, String> {
        let mut replies: BTreeMap<u64, BTreeSet<RunId>> = BTreeMap::new();
        let mut named: BTreeMap<(u64, RunId), usize> = BTreeMap::new();
        for row in &self.rows {
            let (key, text) = (row.delivery.key.as_str(), &row.delivery.text);
            if text.contains(FORGED) {
                return Err(format!("forged: {key} is {text:?}"));
            }
            let Some(number) = key.strip_prefix("reply/").and_then(|rest| rest.split('/').nth(1)) else { continue };
            let number = RunNumber(number.parse().map_err(|_| format!("the key {key} names no run"))?);
            let run = RunId { group: self.group.folder.clone(), number };
            for message in numbers_in(text) {
                let copies =
                    self.messages.iter().filter(|one| numbers_in(&one.message.text).contains(&message)).count();
                let times = named.entry((message, run.clone())).or_default();
                *times += 1;
                if *times > copies {
                    return Err(format!("twice: {run} answers [{message}] twice"));
                }
                replies.entry(message).or_default().insert(run.clone());
            }
        }
        Ok(replies)
    }

    /// Whether a message waited when its group was removed, or came when there was none.
    fn was_left(&self, seq: Seq) -> bool {
        let left = self.log.left.get(&self.group.folder);
        left.into_iter().flatten().any(|(from, to)| *from < seq && to.is_none_or(|to| seq <= to))
    }

    fn check_rows(&self, facts: &mut Facts) -> Result<(), String> {
        let mut texts = BTreeSet::new();
        for row in &self.rows {
            let (key, id) = (&row.delivery.key, row.delivery.id.0);
            let log = self.log.sends.get(key).cloned().unwrap_or_default();
            let asks = self.when_unknown == WhenUnknown::Ask && !key.is_alert();
            facts.shown += u64::from(log.shown);
            facts.repeated += u64::from(log.shown.saturating_sub(1));
            facts.files += u64::from(if row.delivery.file.is_some() { log.shown } else { 0 });
            match row.state {
                DeliveryState::Sent if log.shown > 0 => {}
                DeliveryState::Sent => return Err(format!("lost: {key} counts as sent, and nobody saw it")),
                DeliveryState::Unknown if asks && self.plan.repeat != Repeat::Deduplicated => {
                    facts.unknown += 1;
                    // An operator may have decided about it while it was being sent: then the notice is of the row before.
                    let notice = DeliveryKey::alert(format_args!("delivery/{id}/")).to_string();
                    let told = self.alerts.iter().any(|alert| alert.to_string().starts_with(&notice));
                    if self.has_owner && !told {
                        return Err(format!(
                            "silence: nobody knows whether {key} was shown, and the owner was not told"
                        ));
                    }
                }
                DeliveryState::Dropped if row.decisions > 0 => {}
                // It was asked for when nobody knew what the channel takes, or was dropped once, and its file with it.
                DeliveryState::Failed
                    if row.delivery.file.is_some() && (row.decisions > 0 || !takes_files(self.plan.repeat)) => {}
                state => return Err(format!("lost: {key} is {state:?} when all is over")),
            }
            let most = match self.plan.repeat {
                Repeat::Deduplicated => 1,
                Repeat::LookedUp | Repeat::Shown => 1 + row.decisions + if asks { 0 } else { log.in_doubt },
            };
            if log.shown > most {
                return Err(format!("twice: {key} was shown {} times, {most} are allowed", log.shown));
            }
            if !is_of_host(key) && !texts.insert(&row.delivery.text) {
                return Err(format!("twice: {:?} has two keys in {}", row.delivery.text, self.group.chat));
            }
        }
        Ok(())
    }

    /// Each chat is shown its messages in the order of its outbox, and is answered in the order in which it was written; but
    /// for what somebody had sent or tried again.
    fn check_order(&self) -> Result<(), String> {
        let known: BTreeMap<_, _> = self.rows.iter().map(|row| (&row.delivery.key, row)).collect();
        let (mut last_row, mut last_number) = (None, None);
        for shown in self.log.shown.get(&self.group.chat).into_iter().flatten() {
            let Some(row) = known.get(&shown.key) else {
                return Err(format!("invention: {} is shown and was never posted", shown.key));
            };
            if row.decisions > 0 {
                continue;
            }
            let again = last_row.replace(row.delivery.id);
            if again.is_some_and(|last| last > row.delivery.id) {
                return Err(format!("order: {} was shown late in {}", shown.key, self.group.chat));
            }
            if again == Some(row.delivery.id) || is_of_host(&shown.key) || self.plan.agent != AgentKind::Ours {
                continue;
            }
            for number in numbers_in(&shown.text) {
                // What was tried again, and what came again from its service when the chat was a group again.
                let late = self.log.written.get(&number).is_some_and(|written| written.refused);
                if late || self.messages.iter().filter(|one| says(one, number)).count() > 1 {
                    continue;
                }
                if last_number.replace(number).is_some_and(|last| last >= number) {
                    return Err(format!("order: [{number}] was answered late in {}", self.group.chat));
                }
            }
        }
        Ok(())
    }

    fn check_requests(&self) -> Result<(), String> {
        let texts: BTreeSet<&str> = self.rows.iter().map(|row| row.delivery.text.as_str()).collect();
        let prefix = format!("asked for ({}#", self.group.folder);
        for (text, done) in self.log.requested.iter().filter(|(text, _)| text.starts_with(&prefix)) {
            if *done && !texts.contains(text.as_str()) {
                return Err(format!("lost: the agent was told that {text:?} is done, and it is not in the outbox"));
            }
        }
        Ok(())
    }
}

fn says(stored: &StoredMessage, number: u64) -> bool {
    match stored.wakes {
        Wakes::Yes => numbers_in(&stored.message.text).contains(&number),
        Wakes::No => stored.message.text.ends_with(&format!("({number})")),
    }
}

/// Whether an operator went on without them, who knows of it; what an agent had of them at that moment, it may answer.
fn was_dropped(one: &SetAside) -> bool {
    one.reason == GiveUp::dropped(Seq::ZERO).reason
}
