//! Whatever is asked, in whatever order: the store in SQLite and the store in memory answer alike.

use std::fmt::Debug;

use nanoclaw_core::{
    attachment::{OutgoingFile, SpoolName, SpooledFile},
    chat::{ChannelName, ChatId, ChatKind, ChatMetadata},
    delivery::{Answered, Answers, NewDelivery, OutboxId, Sent},
    group::{Group, GroupRole},
    message::{InboundMessage, PlatformMessageId, Seq, Wakes},
    run::{BlockNumber, Handed, Retry, RunEnding, RunId, RunKind, RunNumber, TaskId},
    runtime::RuntimeKind,
    session::{SessionId, SessionName},
    store::{
        AfterTry, BlockCommit, DeliveryFilter, DeliveryState, GiveUp, GroupSessions, NewRun, NextSession, Resolution,
        SessionContext, SetAsideState, StopWork, Store, StoreError, TurnResolution,
    },
    testing::MemoryStore,
};
use proptest::{collection::vec, option, prelude::*};

use super::{at, delivery, empty_sqlite, folder, group, message};

const NAMES: [&str; 3] = ["one", "two", "three"];
const KEYS: [&str; 4] = ["key-0", "key-1", "key-2", "key-3"];

/// A number of a run, told from the latest one of its group, so that most operations meet the run that is open.
#[derive(Debug, Clone, Copy)]
struct RunPick {
    group: usize,
    /// -1 is the one before the latest, 1 the next.
    offset: i64,
}

#[derive(Debug, Clone)]
enum Operation {
    NoteChat {
        chat: usize,
        named: bool,
        private: Option<bool>,
        at: i64,
    },
    AddGroup {
        folder: usize,
        chat: usize,
        main: bool,
        at: i64,
    },
    RemoveGroup {
        folder: usize,
    },
    Accept {
        chat: usize,
        id: u8,
        wakes: bool,
        at: i64,
    },
    OpenRun {
        run: RunPick,
        task: bool,
        at: i64,
    },
    HandOver {
        run: RunPick,
        first: i64,
        last: i64,
    },
    Commit {
        run: RunPick,
        block: u32,
        reply: Option<usize>,
        answers: Option<i64>,
        session: Option<u8>,
        extra: (Option<i64>, bool),
        at: i64,
    },
    Taken {
        run: RunPick,
        through: i64,
        at: i64,
    },
    Close {
        run: RunPick,
        failed: bool,
        at: i64,
    },
    GiveUp {
        group: usize,
        through: i64,
        key: usize,
        dropped: bool,
    },
    EndSession {
        group: usize,
        /// With which it goes on, by name.
        name: Option<usize>,
        key: usize,
    },
    StopWork {
        group: usize,
        key: usize,
    },
    ForgetSession {
        run: RunPick,
        task: bool,
    },
    Post {
        key: usize,
        chat: usize,
        at: i64,
    },
    Begun {
        id: i64,
    },
    Postponed {
        id: i64,
    },
    Sent {
        id: i64,
    },
    Failed {
        id: i64,
        after: u8,
        notice: Option<usize>,
        at: i64,
    },
    NotSent {
        id: i64,
        after: u8,
        notice: Option<usize>,
        at: i64,
    },
    Resolve {
        id: i64,
        again: bool,
        at: i64,
    },
    ResolveSetAside {
        group: usize,
        last: i64,
        retry: bool,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let name = || 0..NAMES.len();
    let key = || 0..KEYS.len();
    let run = || {
        (name(), prop_oneof![6 => Just(0), 1 => Just(-1), 1 => Just(1)])
            .prop_map(|(group, offset)| RunPick { group, offset })
    };
    let seq = || 0..12_i64;
    let time = || 0..50_i64;
    prop_oneof![
        1 => (name(), any::<bool>(), option::of(any::<bool>()), time())
            .prop_map(|(chat, named, private, at)| NoteChat { chat, named, private, at }),
        3 => (name(), name(), prop::bool::weighted(0.2), time())
            .prop_map(|(folder, chat, main, at)| AddGroup { folder, chat, main, at }),
        1 => name().prop_map(|folder| RemoveGroup { folder }),
        8 => (name(), 0..8_u8, any::<bool>(), time())
            .prop_map(|(chat, id, wakes, at)| Accept { chat, id, wakes, at }),
        4 => (name(), prop_oneof![5 => Just(1), 1 => Just(0), 1 => Just(3)], prop::bool::weighted(0.3), time())
            .prop_map(|(group, offset, task, at)| OpenRun { run: RunPick { group, offset }, task, at }),
        6 => (run(), seq(), seq()).prop_map(|(run, first, last)| HandOver { run, first, last }),
        8 => (run(), 1..4_u32, option::of(key()), option::of(seq()), option::of(0..3_u8), (option::of(seq()), any::<bool>()), time())
            .prop_map(|(run, block, reply, answers, session, extra, at)| Commit { run, block, reply, answers, session, extra, at }),
        2 => (run(), seq(), time()).prop_map(|(run, through, at)| Taken { run, through, at }),
        2 => (run(), any::<bool>(), time()).prop_map(|(run, failed, at)| Close { run, failed, at }),
        3 => (name(), seq(), key(), any::<bool>())
            .prop_map(|(group, through, key, dropped)| GiveUp { group, through, key, dropped }),
        3 => (name(), seq(), any::<bool>()).prop_map(|(group, last, retry)| ResolveSetAside { group, last, retry }),
        3 => (name(), option::of(name()), key()).prop_map(|(group, name, key)| EndSession { group, name, key }),
        2 => (name(), key()).prop_map(|(group, key)| StopWork { group, key }),
        1 => (run(), any::<bool>()).prop_map(|(run, task)| ForgetSession { run, task }),
        2 => (key(), name(), time()).prop_map(|(key, chat, at)| Post { key, chat, at }),
        2 => (1..5_i64).prop_map(|id| Begun { id }),
        1 => (1..5_i64).prop_map(|id| Postponed { id }),
        2 => (1..5_i64).prop_map(|id| Sent { id }),
        3 => (1..5_i64, 0..4_u8, option::of(key()), time())
            .prop_map(|(id, after, notice, at)| Failed { id, after, notice, at }),
        2 => (1..5_i64, 0..4_u8, option::of(key()), time())
            .prop_map(|(id, after, notice, at)| NotSent { id, after, notice, at }),
        2 => (1..5_i64, any::<bool>(), time()).prop_map(|(id, again, at)| Resolve { id, again, at }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_answer_alike(operations in vec(operation(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (sqlite, _folder) = empty_sqlite().await;
            let memory = MemoryStore::new();
            for (place, operation) in operations.iter().enumerate() {
                let expected = perform(&memory, operation).await;
                assert_eq!(perform(&sqlite, operation).await, expected, "operation {place}: {operation:?}");
            }
            assert_eq!(everything(&sqlite).await, everything(&memory).await);
        });
    }
}

/// Asks `store` for `operation` and says what it answered.
async fn perform(store: &dyn Store, operation: &Operation) -> String {
    match *operation {
        Operation::NoteChat { chat, named, private, at: ms } => {
            let kind = private.map(|private| if private { ChatKind::Private } else { ChatKind::Group });
            let metadata = ChatMetadata {
                chat: chat_of(chat),
                channel: ChannelName::new("slack").unwrap(),
                name: named.then(|| format!("name {ms}")),
                kind,
                last_seen: at(ms),
            };
            told(store.note_chat(&metadata).await)
        }
        Operation::AddGroup { folder, chat, main, at: ms } => {
            let role = if main { GroupRole::Main } else { GroupRole::Ordinary };
            let new = Group { role, added_at: at(ms), ..group(NAMES[folder], chat_of(chat).as_str()) };
            told(store.add_group(&new).await)
        }
        Operation::RemoveGroup { folder: name } => told(store.remove_group(&folder(NAMES[name])).await),
        Operation::Accept { chat, id, wakes, at: ms } => {
            let wakes = if wakes { Wakes::Yes } else { Wakes::No };
            let kind = [None, Some(ChatKind::Group), Some(ChatKind::Private)][usize::from(id % 3)];
            let thread = (id % 2 == 0).then(|| PlatformMessageId::new(format!("t-{id}")).unwrap());
            let message = message(chat_of(chat).as_str(), &format!("m-{id}"));
            told(store.accept(&InboundMessage { chat_kind: kind, thread, ..message }, wakes, at(ms)).await)
        }
        Operation::OpenRun { run, task, at: ms } => {
            let kind = if task { RunKind::Task(the_task()) } else { RunKind::Chat };
            let id = picked(store, run).await;
            let handed = (ms % 2 == 0).then_some(Handed { first: Seq(1), last: Seq(2) });
            told(store.open_run(&NewRun { id, kind, runtime: RuntimeKind::Sandbox, handed, at: at(ms) }).await)
        }
        Operation::HandOver { run, first, last } => {
            let handed = Handed { first: Seq(first.min(last)), last: Seq(first.max(last)) };
            told(store.hand_over(&picked(store, run).await, handed, at(3)).await)
        }
        Operation::Commit { run, block, reply, answers, session, extra: (taken, names_messages), at: ms } => {
            let run = picked(store, run).await;
            let through = answers.map(Seq);
            let answering = |key: usize| NewDelivery {
                answers: Some(Answers::Run { run: run.clone(), through }),
                ..delivery(KEYS[key], "tg:one")
            };
            let block = BlockCommit {
                number: BlockNumber(block),
                reply: reply.map(answering),
                answers: answers.map(Seq),
                session: session.map(|number| (SessionContext::Chat, SessionId::new(format!("s-{number}")).unwrap())),
                firing: None,
                taken: taken.map(Seq),
                names_messages,
                at: at(ms),
            };
            told(store.commit_block(&run, &block).await)
        }
        Operation::Taken { run, through, at: ms } => {
            told(store.turns_taken(&picked(store, run).await, Seq(through), at(ms)).await)
        }
        Operation::Close { run, failed, at: ms } => {
            let ending = match failed {
                true => RunEnding::Failed { reason: "overloaded".into(), retry: Retry::Later },
                false => RunEnding::Finished,
            };
            told(store.close_run(&picked(store, run).await, &ending, at(ms)).await)
        }
        Operation::GiveUp { group, through, key, dropped } => {
            let given_up = GiveUp {
                through: Seq(through),
                reason: "crashed".into(),
                run: (!dropped).then_some(RunNumber(1)),
                state: if dropped { SetAsideState::Dropped } else { SetAsideState::Kept },
                notice: (!dropped).then(|| delivery(KEYS[key], "tg:one")),
            };
            told(store.give_up(&folder(NAMES[group]), &given_up, at(4)).await)
        }
        Operation::ResolveSetAside { group, last, retry } => {
            let resolution = if retry { TurnResolution::Retry } else { TurnResolution::Drop };
            told(store.resolve_set_aside(&folder(NAMES[group]), Seq(last), resolution, at(6)).await)
        }
        Operation::EndSession { group, name, key } => {
            let next = name.map_or(NextSession::New, |name| NextSession::Named(SessionName::new(NAMES[name]).unwrap()));
            told(store.end_session(&folder(NAMES[group]), &next, Some(&delivery(KEYS[key], "tg:one")), at(5)).await)
        }
        Operation::StopWork { group, key } => {
            let texts = ["was stopped", "stopped", "the task too", "nothing"].map(str::to_owned);
            let [reason, stopped, task_stopped, nothing] = texts;
            let command = Answered::to(&message("tg:one", "stop"), true);
            let stop = StopWork { key: KEYS[key].parse().unwrap(), command, reason, stopped, task_stopped, nothing };
            told(store.stop_work(&folder(NAMES[group]), &stop, at(5)).await)
        }
        Operation::ForgetSession { run, task } => {
            told(store.forget_session(&picked(store, run).await, &context(task)).await)
        }
        Operation::Post { key, chat, at: ms } => {
            // Every other one has a file.
            let spool = SpoolName::new(format!("f{}", ms.unsigned_abs())).unwrap();
            let spooled = SpooledFile { spool, media_type: "text/plain".to_owned(), bytes: 3 };
            let file = (ms % 2 == 0).then(|| OutgoingFile::new(folder(NAMES[0]), "a.txt", spooled));
            let run = picked(store, RunPick { group: chat, offset: 0 }).await;
            let answers = (ms % 3 != 0).then_some(Answers::Run { run, through: None });
            let new = NewDelivery { file, answers, ..delivery(KEYS[key], chat_of(chat).as_str()) };
            told(store.post(&new, at(ms)).await)
        }
        Operation::Sent { id } => told(store.delivery_sent(OutboxId(id), &Sent::default(), at(5)).await),
        Operation::Begun { id } => told(store.delivery_begun(OutboxId(id)).await),
        Operation::Postponed { id } => told(store.delivery_postponed(OutboxId(id)).await),
        Operation::Failed { id, after, notice, at: ms } => {
            told(store.delivery_failed(OutboxId(id), "no network", &what_follows(after, notice, ms), at(ms)).await)
        }
        Operation::NotSent { id, after, notice, at: ms } => {
            told(store.delivery_not_sent(OutboxId(id), "late", &what_follows(after, notice, ms), at(ms)).await)
        }
        Operation::Resolve { id, again, at: ms } => {
            let resolution = if again { Resolution::SendAgain } else { Resolution::Drop };
            told(store.resolve_delivery(OutboxId(id), resolution, at(ms)).await)
        }
    }
}

/// Everything that can be read of a store.
async fn everything(store: &dyn Store) -> Vec<String> {
    let mut told_so_far = vec![
        told(store.chats().await),
        told(store.groups().await),
        told(store.recover().await),
        told(store.runs(None, 100).await),
        told(store.pending_deliveries().await),
        told(store.deliveries(&DeliveryFilter::default(), 100).await),
        told(store.delivery_at(OutboxId(2)).await),
        told(store.set_aside(None, false, 100).await),
        told(store.set_aside(None, true, 3).await),
    ];
    for states in [vec![DeliveryState::Failed, DeliveryState::Unknown], vec![DeliveryState::Sending]] {
        let filter = DeliveryFilter { states, chat: Some(chat_of(0)) };
        told_so_far.push(told(store.deliveries(&filter, 2).await));
    }
    let mut in_use = store.files_in_use().await.unwrap();
    in_use.sort();
    told_so_far.push(format!("{in_use:?}"));
    for run in store.runs(None, 100).await.unwrap() {
        told_so_far.push(told(store.turns(&run.id).await));
    }
    for (place, name) in NAMES.iter().enumerate() {
        let group = folder(name);
        told_so_far.extend([
            told(store.messages_after(&group, Seq::ZERO, 100).await),
            told(store.messages_after(&group, Seq(5), 2).await),
            told(store.unanswered(&group).await),
            told(store.cursor(&group).await),
            told(store.given_up(&group, 100).await),
            told(store.set_aside(Some(&group), true, 100).await),
            told(store.messages_between(&chat_of(place), Handed { first: Seq(2), last: Seq(8) }, 4).await),
            told(store.session(&group, &context(false)).await),
            told(store.session(&group, &context(true)).await),
            told(store.sessions(&group).await.map(in_order)),
            told(store.runs(Some(&group), 2).await),
            told(store.pending_deliveries_of(&chat_of(place), 2).await),
        ]);
    }
    for key in KEYS {
        told_so_far.push(told(store.delivery(&delivery(key, "tg:one").key).await));
    }
    told_so_far
}

/// The store names them in no order.
fn in_order(known: Option<GroupSessions>) -> Option<GroupSessions> {
    known.map(|mut known| {
        known.sessions.sort_by_key(|(context, _)| format!("{context:?}"));
        known
    })
}

/// The answer in words; of a failure only that it is one, since its words are the store's own.
fn told<T: Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Failed { .. }) => "failed".to_owned(),
        answer => format!("{answer:?}"),
    }
}

async fn picked(store: &dyn Store, pick: RunPick) -> RunId {
    let group = folder(NAMES[pick.group]);
    let latest = store.runs(Some(&group), 1).await.unwrap();
    let latest = latest.first().map_or(0, |run| i64::from(run.id.number.0));
    RunId { group, number: RunNumber(u32::try_from((latest + pick.offset).max(0)).unwrap()) }
}

fn what_follows(after: u8, notice: Option<usize>, ms: i64) -> AfterTry {
    let notice = notice.map(|key| delivery(KEYS[key], "tg:owner"));
    match after {
        0 => AfterTry::TryAgain(at(ms)),
        1 => AfterTry::LookUp(at(ms)),
        2 => AfterTry::GiveUp(notice),
        _ => AfterTry::Ask(notice),
    }
}

fn chat_of(place: usize) -> ChatId {
    ChatId::new(format!("tg:{}", NAMES[place])).unwrap()
}

fn the_task() -> TaskId {
    TaskId::new("t-1").unwrap()
}

fn context(task: bool) -> SessionContext {
    if task { SessionContext::Task(the_task()) } else { SessionContext::Chat }
}
