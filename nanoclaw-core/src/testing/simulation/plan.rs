//! What a seed decides before anything happens: who is there, what they write when, and what goes wrong how often.

use std::{num::NonZeroUsize, time::Duration};

use super::dice::{Dice, Rate};
use crate::{
    channel::Repeat,
    orchestrator::{StandbySettings, WhenUnknown},
    store::{Resolution, TurnResolution},
    tasks::{CatchUp, Overlap, TaskContext, TaskTerms},
};

/// What one seed plays.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) groups: Vec<GroupPlan>,
    pub(super) cap: NonZeroUsize,
    /// How long faults are injected; messages come within the first two thirds of it.
    pub(super) stormy: Duration,
    /// How long a resting container rests.
    pub(super) idle: Duration,
    /// The longest turn of a healthy agent.
    pub(super) turn: Duration,
    /// When hosts die or are restarted, whatever they do.
    pub(super) restarts: Vec<(Duration, Restart)>,
    pub(super) clock_jumps: Vec<(Duration, ClockJump)>,
    /// When the engine goes down and takes all containers along.
    pub(super) engine_losses: Vec<Duration>,
    /// When the engine does not answer for a while; its containers go on, and nobody sees how they end.
    pub(super) engine_away: Option<(Duration, Duration)>,
    /// Whether the engine keeps containers that have ended until they are removed.
    pub(super) keeps_dead: bool,
    /// What operators do, each at its time.
    pub(super) operations: Vec<(Duration, Operation)>,
    /// What is done with a message of which nobody knows whether it was shown.
    pub(super) when_unknown: WhenUnknown,
    /// Whether the engine names each container twice.
    pub(super) lists_twice: bool,
    /// For whom containers are started ahead.
    pub(super) standby: StandbySettings,
    /// How often it changes what containers are made of.
    pub(super) changes_every: Option<Duration>,
    /// What people schedule. In half of the seeds hosts do not schedule.
    pub(super) tasks: Vec<TaskPlan>,
    pub(super) rates: Rates,
}

#[derive(Debug, Clone)]
pub(super) struct GroupPlan {
    pub(super) name: String,
    /// Whether it is the owner's.
    pub(super) main: bool,
    /// Whether each message wakes.
    pub(super) always: bool,
    /// What its chat's service does with a message that is sent again.
    pub(super) repeat: Repeat,
    pub(super) agent: AgentKind,
    /// When people write, and whether they call the assistant.
    pub(super) messages: Vec<(Duration, Calls)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calls {
    Assistant,
    Nobody,
}

/// What works in a group's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AgentKind {
    /// Ours: says in each block what it answers, and keeps a journal.
    Ours,
    /// One of v1 under our init: keeps a journal, and never says what it answers.
    WrappedV1,
    /// One of v1 alone: what it says while no host listens is lost.
    BareV1,
}

/// A task that somebody asks for.
#[derive(Debug, Clone)]
pub(super) struct TaskPlan {
    /// The place of its group.
    pub(super) group: usize,
    /// When it is asked for.
    pub(super) at: Duration,
    /// How long after that it is due first.
    pub(super) first: Duration,
    /// How far its times are apart; `None`: it is due once.
    pub(super) every: Option<Duration>,
    pub(super) terms: TaskTerms,
    /// What is wished of it afterwards, each at its time, in order. In the end it is not due any more.
    pub(super) wishes: Vec<(Duration, Wish)>,
}

/// What somebody wishes of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Pause,
    Resume,
    /// It is due once, so long from then.
    Move(Duration),
    RunNow,
    Cancel,
}

/// What an operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// Has a group tried at once, or all.
    TryNow,
    /// Decides about messages that were set aside.
    SetAside(TurnResolution),
    /// Goes on without what waits in a group.
    DropWaiting,
    /// Decides about a message in the outbox, knowing as little as the host does.
    Delivery(Resolution),
    /// Removes a group, and adds it again after a while, or never.
    Remove(Option<Duration>),
    /// Freezes a group for a while.
    Freeze(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    Crash,
    Orderly,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum ClockJump {
    Forward(Duration),
    Back(Duration),
}

/// How often each thing goes wrong, of ten thousand times.
#[derive(Debug, Clone, Default)]
pub(super) struct Rates {
    /// At a call of a port: the host dies before it, or after it.
    pub(super) crash: Rate,
    /// At a call of a port: it takes a while.
    pub(super) slow: Rate,
    /// The store fails and does nothing.
    pub(super) store_fails: Rate,
    /// The store does what it is asked and says that it failed.
    pub(super) store_lies: Rate,
    /// The channel fails to send.
    pub(super) send_fails: Rate,
    /// The channel sends and says that it failed.
    pub(super) send_lies: Rate,
    /// The channel does not answer.
    pub(super) send_hangs: Rate,
    /// A channel that looks up cannot do so now.
    pub(super) find_fails: Rate,
    /// It has forgotten what was sent.
    pub(super) find_forgets: Rate,
    /// The channel loses its connection for a while.
    pub(super) disconnects: Rate,
    /// The platform loses its connection to the host while a message is handed in.
    pub(super) accept_cut: Rate,
    /// The platform delivers a message again that was acknowledged.
    pub(super) delivered_again: Rate,
    /// A container is not started; it may be later.
    pub(super) start_fails: Rate,
    /// A container is not started, and only a person could help.
    pub(super) start_hopeless: Rate,
    /// Stopping, removing or listing containers fails.
    pub(super) runtime_fails: Rate,
    /// A container cannot be stopped or removed for some minutes, dead or alive.
    pub(super) stuck: Rate,
    /// The launcher fails.
    pub(super) launch_fails: Rate,
    /// A container dies at some time.
    pub(super) death: Rate,
    /// A turn is never done.
    pub(super) turn_hangs: Rate,
    /// A turn ends in a failure that the agent tells of.
    pub(super) turn_fails: Rate,
    /// An agent ends well in the middle of a turn.
    pub(super) turn_left: Rate,
    /// A turn is answered by silence.
    pub(super) turn_silent: Rate,
    /// An agent takes what came meanwhile into the turn at hand, and answers all of it with one block.
    pub(super) turn_takes_more: Rate,
    /// An agent puts into its journal what does not belong there.
    pub(super) hostile: Rate,
    /// An agent asks for a message to be sent.
    pub(super) request: Rate,
    /// An agent says something before its answer.
    pub(super) remark: Rate,
    /// A block comes by standard output alone, and the agent ends.
    pub(super) journal_fails: Rate,
}

impl Plan {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let mut aside = dice.aside();
        let stormy = Duration::from_secs(dice.between(60, 240));
        let count = dice.between(2, 8);
        let tasks = TaskPlan::draw_some(&mut dice.another_aside(), count, stormy);
        let cap = usize::try_from(dice.between(1, 3)).unwrap_or(1);
        // A few groups often write much, many groups each a little.
        let most = if count <= 3 { 12 } else { 6 };
        let groups = (0..count).map(|number| GroupPlan::draw(dice, number, most, stormy)).collect();
        Self {
            groups,
            cap: NonZeroUsize::new(cap).unwrap_or(NonZeroUsize::MIN),
            stormy,
            idle: Duration::from_secs(dice.one_of(&[2, 10, 60])),
            turn: Duration::from_secs(dice.one_of(&[1, 5, 20])),
            restarts: (0..dice.between(0, 4))
                .map(|_| (within(dice, stormy), dice.one_of(&[Restart::Crash, Restart::Crash, Restart::Orderly])))
                .collect(),
            clock_jumps: (0..dice.one_of(&[0, 0, 1, 3]))
                .map(|_| (within(dice, stormy), ClockJump::draw(dice)))
                .map(|(at, jump)| (at, if tasks.is_empty() { jump } else { jump.that_tasks_can_wait_for() }))
                .collect(),
            engine_losses: (0..dice.one_of(&[0, 0, 0, 1, 2])).map(|_| within(dice, stormy)).collect(),
            operations: (0..dice.one_of(&[0, 0, 1, 3, 6]))
                .map(|_| (within(dice, stormy), Operation::draw(dice)))
                .collect(),
            when_unknown: dice.one_of(&[WhenUnknown::Ask, WhenUnknown::SendAgain]),
            lists_twice: dice.chance(2500),
            rates: Rates::draw(dice),
            engine_away: dice.chance(2500).then(|| (within(dice, stormy), Duration::from_secs(dice.between(2, 180)))),
            keeps_dead: dice.chance(5000),
            standby: StandbySettings {
                groups: aside.one_of(&[0, 0, 0, 1, 2, 3]),
                within: Duration::from_secs(aside.one_of(&[15, 40, 90])),
                ..StandbySettings::default()
            },
            changes_every: aside.one_of(&[None, None, Some(Duration::from_secs(20))]),
            tasks,
        }
    }
}

impl GroupPlan {
    fn draw(dice: &mut Dice, number: u64, most: u64, stormy: Duration) -> Self {
        let always = dice.chance(6000);
        let bursts = dice.chance(5000);
        let mut at = within(dice, stormy / 3);
        let mut messages = Vec::new();
        for _ in 0..dice.between(1, most) {
            at += match bursts && dice.chance(7000) {
                true => Duration::from_millis(dice.between(0, 300)),
                false => within(dice, stormy / 6),
            };
            let calls = if always || dice.chance(6000) { Calls::Assistant } else { Calls::Nobody };
            messages.push((at.min(stormy * 2 / 3), calls));
        }
        let main = number == 0 && dice.chance(5000);
        let repeat = dice.one_of(&[Repeat::Deduplicated, Repeat::LookedUp, Repeat::Shown]);
        let agent = dice.one_of(&[AgentKind::Ours, AgentKind::Ours, AgentKind::WrappedV1, AgentKind::BareV1]);
        Self { name: format!("g{number}"), main, always, repeat, agent, messages }
    }
}

impl TaskPlan {
    fn draw_some(dice: &mut Dice, groups: u64, stormy: Duration) -> Vec<Self> {
        (0..dice.one_of(&[0, 0, 0, 1, 3, 6])).map(|_| Self::draw(dice, groups, stormy)).collect()
    }

    fn draw(dice: &mut Dice, groups: u64, stormy: Duration) -> Self {
        let group = usize::try_from(dice.between(0, groups - 1)).unwrap_or(0);
        let (at, last) = (within(dice, stormy / 2), stormy * 2 / 3);
        let every = dice.chance(6000).then(|| Duration::from_secs(dice.between(10, 60)));
        let terms = TaskTerms {
            context: dice.one_of(&[TaskContext::Group, TaskContext::Isolated, TaskContext::Own]),
            catch_up: dice.one_of(&[CatchUp::Skip, CatchUp::Once, CatchUp::All]),
            overlap: dice.one_of(&[Overlap::Skip, Overlap::Queue]),
            silent: dice.chance(1500),
        };
        let mut wishes: Vec<(Duration, Wish)> = (0..dice.one_of(&[0, 0, 1, 2, 5]))
            .map(|_| (at + within(dice, last.saturating_sub(at)), Wish::draw(dice)))
            .collect();
        wishes.sort_by_key(|(at, _)| *at);
        let end = dice.one_of(&[Wish::Pause, Wish::Cancel, Wish::Move(Duration::from_secs(5))]);
        wishes.extend(every.map(|_| (last, end)));
        Self { group, at, first: within(dice, Duration::from_secs(20)), every, terms, wishes }
    }
}

impl Wish {
    fn draw(dice: &mut Dice) -> Self {
        match dice.between(0, 9) {
            0 => Self::Cancel,
            1 | 2 => Self::Pause,
            3 | 4 => Self::Resume,
            5 | 6 => Self::RunNow,
            _ => Self::Move(within(dice, Duration::from_secs(30))),
        }
    }
}

impl Operation {
    fn draw(dice: &mut Dice) -> Self {
        match dice.between(0, 9) {
            0 => Self::TryNow,
            1 => Self::SetAside(TurnResolution::Drop),
            2 => Self::SetAside(TurnResolution::Retry),
            3 => Self::DropWaiting,
            4 => Self::Delivery(Resolution::Drop),
            5 => Self::Delivery(Resolution::SendAgain),
            6 => Self::Remove(None),
            7 => Self::Remove(Some(within(dice, Duration::from_secs(60)))),
            _ => Self::Freeze(within(dice, Duration::from_secs(120))),
        }
    }
}

impl ClockJump {
    fn draw(dice: &mut Dice) -> Self {
        let by = Duration::from_secs(dice.one_of(&[1, 60, 3600, 24 * 3600]));
        if dice.chance(5000) { Self::Forward(by) } else { Self::Back(by) }
    }
}

impl ClockJump {
    /// A clock that is set back by a day has everybody wait for a day who waits for its time.
    fn that_tasks_can_wait_for(self) -> Self {
        match self {
            Self::Back(by) => Self::Back(by.min(Duration::from_secs(60))),
            Self::Forward(_) => self,
        }
    }
}

impl Rates {
    /// Each fault is absent in most seeds and frequent in some, so that seeds differ in kind and not in luck alone.
    fn draw(dice: &mut Dice) -> Self {
        let mut rate = |some: Rate, many: Rate| dice.one_of(&[0, 0, some, many]);
        Self {
            crash: rate(20, 150),
            slow: rate(500, 3000),
            store_fails: rate(50, 500),
            store_lies: rate(50, 500),
            send_fails: rate(300, 3000),
            send_lies: rate(300, 3000),
            send_hangs: rate(100, 1000),
            find_fails: rate(500, 3000),
            find_forgets: rate(0, 1000),
            disconnects: rate(100, 1000),
            accept_cut: rate(300, 2000),
            delivered_again: rate(500, 3000),
            start_fails: rate(300, 2000),
            start_hopeless: rate(0, 300),
            runtime_fails: rate(100, 1000),
            launch_fails: rate(100, 1000),
            death: rate(500, 3000),
            turn_hangs: rate(100, 500),
            turn_fails: rate(300, 1500),
            turn_left: rate(100, 1000),
            turn_silent: rate(300, 2000),
            turn_takes_more: rate(1000, 7000),
            hostile: rate(300, 3000),
            request: rate(500, 3000),
            remark: rate(500, 3000),
            journal_fails: rate(300, 2000),
            stuck: rate(300, 2000),
        }
    }
}

fn within(dice: &mut Dice, span: Duration) -> Duration {
    Duration::from_millis(dice.between(0, u64::try_from(span.as_millis()).unwrap_or(0)))
}
