use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use nanoclaw_core::{
    attachment::{OutgoingFile, SpoolName, SpooledFile},
    chat::{ChannelName, ChatId},
    delivery::{DeliveryKey, NewDelivery, OutboxId},
    group::{GroupFolder, GroupRole, TriggerPolicy},
    message::{Author, InboundMessage, PlatformMessageId, SenderId, Seq, Wakes},
    pairing::PairingId,
    run::{Handed, RunId, RunKind, RunNumber, Trouble},
    runtime::RuntimeKind,
    store::{AfterTry, DeliveryState, GiveUp, NewRun, Resolution, SetAsideState, Store as _},
    tasks::{FiringState, Overlap, TaskStatus, TaskTerms, asked::TermsAsked},
    testing::MemoryStore,
    time::Timestamp,
};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use super::{
    turns::{Standing, Standings},
    types::*,
    *,
};
use crate::{
    config::{Config, environment_of},
    home::Home,
    unix_socket::{self, Listener, SocketError},
};

fn on_store(home: &Home) -> OnStore {
    let config = Config::parse(Path::new("nanoclaw.toml"), "", home.root(), &environment_of([])).unwrap();
    let config = Arc::new(config);
    let store = Arc::new(MemoryStore::new());
    OnStore {
        store: store.clone(),
        tasks: store,
        ledger: None,
        config: config.clone(),
        home: home.clone(),
        explainer: Arc::new(FromConfig(config)),
    }
}

fn new_group(chat: &str, name: &str) -> NewGroup {
    let chat = ChatId::new(chat).unwrap();
    NewGroup { chat, name: name.to_owned(), folder: None, trigger: None, role: GroupRole::Ordinary }
}

/// A service on a socket in a home of its own.
struct Service {
    home: Home,
    shutdown: CancellationToken,
    worker: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Service {
    fn start(handler: impl FnOnce(&Home) -> Arc<dyn AdminHandler>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        std::fs::create_dir(home.store()).unwrap();
        let listener = Listener::bind(&home.admin_socket()).unwrap();
        let shutdown = CancellationToken::new();
        let worker = tokio::spawn(serve(listener, handler(&home), shutdown.clone()));
        Self { home, shutdown, worker, _folder: folder }
    }

    fn on_store() -> Self {
        Self::start(|home| Arc::new(on_store(home)))
    }

    async fn raw(&self) -> Raw {
        let stream = unix_socket::connect(&self.home.admin_socket()).await.unwrap();
        let (reader, writer) = stream.into_split();
        Raw { lines: BufReader::new(reader).lines(), writer }
    }
}

/// A client that writes bytes as they are.
struct Raw {
    lines: Lines<BufReader<tokio::net::unix::OwnedReadHalf>>,
    writer: tokio::net::unix::OwnedWriteHalf,
}

impl Raw {
    async fn ask(&mut self, bytes: &[u8]) -> Value {
        self.writer.write_all(bytes).await.unwrap();
        let line = self.lines.next_line().await.unwrap().expect("the connection was dropped instead of answered");
        serde_json::from_str(&line).unwrap()
    }
}

#[tokio::test]
async fn the_socket_answers_as_the_store_does() {
    let service = Service::on_store();
    let client = Client::connect(&service.home).await.unwrap();
    let added = client.add_group(new_group("tg:-1", "Family")).await.unwrap();
    assert_eq!(added.folder.as_str(), "tg_family");
    assert_eq!(client.groups().await.unwrap(), std::slice::from_ref(&added));
    assert_eq!(client.group("tg:-1").await.unwrap().group, added);
    assert_eq!(client.status().await.unwrap().groups[0].folder, added.folder);
    assert_eq!(client.chats().await.unwrap(), []);
    assert_eq!(client.explain("tg_family").await.unwrap().group, added);
    assert_eq!(client.remove_group("tg_family").await.unwrap(), added);
    let refused = client.group("tg_family").await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotFound);
    assert!(refused.help.is_some());
}

#[tokio::test]
async fn bad_input_is_answered_and_the_connection_goes_on() {
    let service = Service::on_store();
    let mut client = service.raw().await;
    let too_long = [vec![b'x'; MAX_REQUEST_BYTES + 1], b"\n".to_vec()].concat();
    for (line, id) in [
        (b"not json\n".as_slice(), Value::Null),
        (b"{\"id\":7,\"command\":\"fly\"}\n", json!(7)),
        (b"{\"id\":8}\n", json!(8)),
        (b"[]\n", Value::Null),
        (b"\xff\xfe\n", Value::Null),
        (b"{\"id\":9,\"command\":\"groups_show\"}\n", json!(9)),
        (b"{\"id\":10,\"command\":\"groups_add\",\"args\":{\"chat\":\"tg:1\",\"name\":\"x\",\"role\":\"main\",\"sudo\":1}}\n", json!(10)),
        (&too_long, Value::Null),
    ] {
        let answer = client.ask(line).await;
        assert_eq!(answer["id"], id, "{answer}");
        assert_eq!(answer["error"]["kind"], "bad_request", "{answer}");
    }
    assert_eq!(
        client.ask(b"\n\n{\"id\":11,\"command\":\"groups_list\"}\n").await,
        json!({"id": 11, "ok": {"groups": []}})
    );
}

#[tokio::test]
async fn a_torn_request_is_not_acted_on() {
    let service = Service::on_store();
    let mut torn = service.raw().await;
    let request = json!({"id": 1, "command": "groups_add", "args": {"chat": "tg:1", "name": "x", "role": "ordinary"}});
    torn.writer.write_all(request.to_string().as_bytes()).await.unwrap();
    torn.writer.shutdown().await.unwrap();
    assert_eq!(torn.lines.next_line().await.unwrap(), None);
    assert_eq!(Client::connect(&service.home).await.unwrap().groups().await.unwrap(), []);
}

#[tokio::test]
async fn a_request_that_does_not_end_is_answered_once_and_read_no_further() {
    let service = Service::on_store();
    let mut client = service.raw().await;
    let answer = client.ask(&vec![b'x'; 16 * MAX_REQUEST_BYTES + 1]).await;
    assert_eq!(answer["error"]["kind"], "bad_request", "{answer}");
    assert!(!matches!(client.lines.next_line().await, Ok(Some(_))));
}

#[tokio::test]
async fn f55_a_folder_that_leaves_the_groups_folder_is_refused_on_the_socket() {
    let service = Service::on_store();
    let mut client = service.raw().await;
    for folder in ["..", "../x", "a/b", "/etc", "", "global", "a\0b"] {
        let request = json!({"id": 1, "command": "groups_add",
            "args": {"chat": "tg:1", "name": "x", "role": "ordinary", "folder": folder}});
        let answer = client.ask(format!("{request}\n").as_bytes()).await;
        assert_eq!(answer["error"]["kind"], "bad_request", "{folder:?}: {answer}");
    }
    assert!(!service.home.groups().exists());
}

#[tokio::test]
async fn one_clients_silence_is_nobody_elses_trouble() {
    let service = Service::on_store();
    let mut half = service.raw().await;
    half.writer.write_all(b"{\"id\":1,").await.unwrap();
    let gone = service.raw().await;
    drop(gone);
    let mut other = service.raw().await;
    assert_eq!(other.ask(b"{\"id\":2,\"command\":\"groups_list\"}\n").await["id"], 2);
    assert_eq!(half.ask(b"\"command\":\"groups_list\"}\n").await["id"], 1);
}

#[tokio::test]
async fn a_client_too_many_is_told_so() {
    let service = Service::on_store();
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = service.raw().await;
        client.ask(b"{\"id\":1,\"command\":\"groups_list\"}\n").await;
        clients.push(client);
    }
    let refused = Client::connect(&service.home).await.err().unwrap();
    assert!(refused.to_string().contains("64 clients"), "{refused}");
    assert_eq!(clients[0].ask(b"{\"id\":2,\"command\":\"groups_list\"}\n").await["id"], 2);
}

#[tokio::test]
async fn shutdown_lets_go_of_idle_clients_and_of_the_socket() {
    let service = Service::on_store();
    let mut idle = service.raw().await;
    idle.ask(b"{\"id\":1,\"command\":\"groups_list\"}\n").await;
    service.shutdown.cancel();
    service.worker.await.unwrap();
    assert_eq!(idle.lines.next_line().await.unwrap(), None);
    let refused = unix_socket::connect(&service.home.admin_socket()).await.map_err(SocketError::into_io);
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[tokio::test]
async fn commands_ask_the_service_while_one_runs_and_the_store_otherwise() {
    let service = Service::on_store();
    let opened = connect_or_open(&service.home, || async { unreachable!("a service runs") });
    let opened: Result<OpenHome, OpenError> = opened.await;
    assert!(opened.unwrap().is_service());
    service.shutdown.cancel();
    service.worker.await.unwrap();

    let opened: Result<OpenHome, OpenError> =
        connect_or_open(&service.home, || async { Ok(Arc::new(on_store(&service.home)) as Arc<dyn AdminHandler>) })
            .await;
    let opened = opened.unwrap();
    assert!(!opened.is_service());
    assert_eq!(opened.groups().await.unwrap(), []);
    // The home is this command's own as long as it works on it.
    assert!(crate::home::HomeLock::acquire(&service.home).is_err());
    drop(opened);
    crate::home::HomeLock::acquire(&service.home).unwrap();
}

#[tokio::test]
async fn a_command_that_meets_an_ending_service_works_on_the_store_itself() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path()).unwrap();
    std::fs::create_dir(home.store()).unwrap();
    let open = || async {
        let opened: Result<OpenHome, OpenError> =
            connect_or_open(&home, || async { Ok(Arc::new(on_store(&home)) as Arc<dyn AdminHandler>) }).await;
        opened.unwrap().is_service()
    };

    // It ends before it looks at the connection: the kernel resets it.
    let listener = std::os::unix::net::UnixListener::bind(home.admin_socket()).unwrap();
    let end = tokio::task::spawn_blocking(move || {
        // Waits until a connection is there to be accepted, and never accepts it.
        let mut waiting = [PollFd::new(&listener, PollFlags::IN)];
        poll(&mut waiting, None).unwrap();
    });
    assert!(!tokio::join!(open(), end).0);

    // It ends after it looked at it: the stream just ends.
    let listener = Listener::bind(&home.admin_socket()).unwrap();
    let end = async {
        drop(listener.accept().await.unwrap());
        drop(listener);
    };
    assert!(!tokio::join!(open(), end).0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_is_named_and_not_gone_round() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path()).unwrap();
    std::fs::create_dir(home.store()).unwrap();
    let _deaf = Listener::bind(&home.admin_socket()).unwrap();
    let opened: Result<OpenHome, OpenError> =
        connect_or_open(&home, || async { unreachable!("something has the home") }).await;
    let Err(OpenError::Unreachable { path, source }) = opened else { panic!("it was gone round") };
    assert_eq!((path, source.kind()), (home.admin_socket(), std::io::ErrorKind::TimedOut));
}

#[tokio::test]
async fn f67_f68_adding_never_replaces_a_group_and_never_takes_its_role() {
    let folder = tempfile::tempdir().unwrap();
    let handler = on_store(&Home::at(folder.path()).unwrap());
    let main = NewGroup { role: GroupRole::Main, ..new_group("local:main", "Me") };
    let added = handler.add_group(main.clone()).await.unwrap();
    assert_eq!((added.folder.as_str(), &added.trigger), ("main", &TriggerPolicy::Always));

    let again = handler.add_group(new_group("local:main", "Me")).await.unwrap_err();
    assert_eq!(again.kind, ErrorKind::Conflict);
    assert!(again.help.unwrap().contains("groups remove main"));
    let second_main = NewGroup { chat: ChatId::new("tg:1").unwrap(), ..main };
    assert_eq!(handler.add_group(second_main).await.unwrap_err().kind, ErrorKind::Conflict);
    let same_folder = NewGroup { folder: Some(added.folder.clone()), ..new_group("tg:2", "Other") };
    assert_eq!(handler.add_group(same_folder).await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(handler.groups().await.unwrap(), [added]);
}

#[tokio::test]
async fn f78_a_new_group_gets_a_memory_file_and_a_former_groups_memory_is_not_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path()).unwrap();
    let handler = on_store(&home);
    let first = handler.add_group(new_group("tg:1", "Family")).await.unwrap();
    let memory = home.group(&first.folder).join("CLAUDE.md");
    assert!(std::fs::read_to_string(&memory).unwrap().starts_with("# Family\n"));
    std::fs::write(&memory, "what we know").unwrap();

    handler.remove_group("tg_family").await.unwrap();
    let other = handler.add_group(new_group("tg:2", "Family")).await.unwrap();
    assert_eq!(other.folder.as_str(), "tg_family-2");
    // Whoever names the folder gets it as it is.
    let named = NewGroup { folder: Some(first.folder.clone()), ..new_group("tg:1", "Family") };
    assert_eq!(handler.add_group(named).await.unwrap().folder, first.folder);
    assert_eq!(std::fs::read_to_string(&memory).unwrap(), "what we know");
}

#[tokio::test]
async fn what_no_group_can_be_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let handler = on_store(&Home::at(folder.path()).unwrap());
    let words = |words: &str| Some(TriggerPolicy::Words(words.to_owned()));
    for (new, reason) in [
        (new_group("family", "Family"), "no chat id"),
        (new_group("tg:1", ""), "name"),
        (new_group("tg:1", "a\u{1b}[31mb"), "name"),
        (new_group("tg:1", &"x".repeat(101)), "name"),
        (NewGroup { trigger: words(" "), ..new_group("tg:1", "x") }, "trigger"),
        (NewGroup { trigger: words("a\nb"), ..new_group("tg:1", "x") }, "trigger"),
    ] {
        let refused = handler.add_group(new).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::BadRequest);
        assert!(refused.message.contains(reason), "{refused}");
    }
}

/// A service that knows more than the store: what the wire carries.
#[derive(Clone, Default)]
struct Stub {
    /// How many wait until a pairing is over.
    waiting: watch::Sender<usize>,
}

impl Stub {
    async fn waiting(&self, many: usize) {
        self.waiting.subscribe().wait_for(|waiting| *waiting == many).await.unwrap();
    }
}

#[async_trait]
impl AdminHandler for Stub {
    async fn status(&self) -> Result<Status, AdminError> {
        let service = ServiceStatus {
            pid: 42,
            version: "1.2.3".into(),
            started_at_ms: Timestamp::from_ms(1000),
            runtime: "docker 28".into(),
            runtime_away: None,
            containers: 1,
            max_containers: 5,
            channels: vec![ChannelStatus::connected("local")],
            health: None,
        };
        let group = GroupStatus {
            folder: GroupFolder::new("family").unwrap(),
            name: "Family".into(),
            state: Some(GroupState::BackingOff),
            since_ms: None,
            trouble: None,
            next_try_at_ms: Some(Timestamp::from_ms(2000)),
            failures: 1,
            unanswered: 2,
            waits: true,
            connected: Some(true),
            last_run: None,
            memory_bytes: Some(1 << 20),
        };
        let outbox = OutboxStatus { waiting: 3, failed: 0, unknown: 1 };
        Ok(Status {
            service: Some(service),
            groups: vec![group],
            outbox,
            set_aside: 4,
            tasks: TasksStatus::default(),
            last_failures: Vec::new(),
        })
    }
    async fn groups(&self) -> Result<Vec<GroupView>, AdminError> {
        Ok(Vec::new())
    }
    async fn group(&self, _: &str) -> Result<GroupDetails, AdminError> {
        panic!("a handler with a fault")
    }
    async fn add_group(&self, _: NewGroup) -> Result<GroupView, AdminError> {
        Err(AdminError::new(ErrorKind::Failed, "disk full").with_help("make room"))
    }
    async fn remove_group(&self, _: &str) -> Result<GroupView, AdminError> {
        Err(AdminError::new(ErrorKind::Failed, "disk full"))
    }
    async fn chats(&self) -> Result<Vec<ChatView>, AdminError> {
        Ok(Vec::new())
    }
    async fn pair(&self, _: NewPairing) -> Result<PairingView, AdminError> {
        let ends_at_ms = Timestamp::from_ms(2000);
        Ok(PairingView { id: PairingId::new("7").unwrap(), code: "ABCDE-23456".into(), ends_at_ms, tries: 5 })
    }
    /// Some are over when that is asked, the one of this name never is.
    async fn pairing_over(&self, id: &PairingId) -> Result<PairingState, AdminError> {
        if id.as_str() != NEVER {
            return Ok(PairingState::TimeOver);
        }
        self.waiting.send_modify(|waiting| *waiting += 1);
        let _until_dropped = DropGuard(|| self.waiting.send_modify(|waiting| *waiting -= 1));
        std::future::pending().await
    }
    async fn withdraw_pairing(&self, _: &PairingId) -> Result<PairingState, AdminError> {
        Ok(PairingState::Withdrawn)
    }
    async fn connect_channel(&self, _: &ChannelName) -> Result<(), AdminError> {
        Ok(())
    }
    async fn explain(&self, _: &str) -> Result<Explanation, AdminError> {
        Err(AdminError::new(ErrorKind::Failed, "no"))
    }
    async fn outbox(&self, _: OutboxQuery) -> Result<Vec<DeliveryView>, AdminError> {
        unimplemented!()
    }
    async fn delivery(&self, _: &str) -> Result<DeliveryView, AdminError> {
        unimplemented!()
    }
    async fn resolve_delivery(&self, _: &str, _: Resolution) -> Result<DeliveryView, AdminError> {
        unimplemented!()
    }
    async fn turns(&self, _: Option<&str>, _: bool) -> Result<Vec<TurnView>, AdminError> {
        Ok(vec![turn()])
    }
    async fn turn(&self, _: &str) -> Result<TurnDetails, AdminError> {
        Ok(TurnDetails { turn: turn(), messages: Vec::new() })
    }
    async fn retry_turns(&self, id: Option<&str>) -> Result<Vec<TurnView>, AdminError> {
        Ok(if id.is_some() { vec![turn()] } else { Vec::new() })
    }
    async fn drop_turn(&self, _: &str) -> Result<TurnView, AdminError> {
        Ok(TurnView { state: TurnState::Dropped, ..turn() })
    }

    async fn tasks(&self, _: Option<&str>) -> Result<Vec<TaskView>, AdminError> {
        unimplemented!()
    }
    async fn task(&self, _: &str, _: u32) -> Result<TaskDetails, AdminError> {
        unimplemented!()
    }
    async fn add_task(&self, _: AddTask) -> Result<TaskView, AdminError> {
        unimplemented!()
    }
    async fn change_task(&self, _: &str, _: TaskWish) -> Result<TaskView, AdminError> {
        unimplemented!()
    }

    async fn sessions(&self, _: Option<&str>) -> Result<Vec<SessionView>, AdminError> {
        unimplemented!()
    }
    async fn change_session(&self, _: &str, _: SessionWish) -> Result<Vec<SessionView>, AdminError> {
        unimplemented!()
    }

    async fn stats(&self, _: Option<&str>, _: u32) -> Result<Stats, AdminError> {
        Ok(Stats { zone: Some("UTC".into()), groups: Vec::new() })
    }

    async fn credentials(&self) -> Result<CredentialsView, AdminError> {
        Ok(CredentialsView { model: None, named: Vec::new(), command: Some("pass".into()), problem: None })
    }

    async fn check_credentials(&self) -> Result<CredentialCheck, AdminError> {
        Ok(CredentialCheck { outcome: CheckOutcome::CannotTell, detail: "no network".into() })
    }

    async fn reload_credentials(&self) -> Result<CredentialsView, AdminError> {
        self.credentials().await
    }
}

/// A pairing that is never over for [`Stub`], and a request that waits for it.
const NEVER: &str = "never";
const WAIT: &str = "{\"id\":1,\"command\":\"pairing_over\",\"args\":{\"id\":\"never\"}}\n";

/// Does this when it is dropped.
struct DropGuard<F: Fn()>(F);

impl<F: Fn()> Drop for DropGuard<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn turn() -> TurnView {
    TurnView {
        id: "family/17".into(),
        group: GroupFolder::new("family").unwrap(),
        state: TurnState::Paused,
        first: Seq(16),
        last: Seq(17),
        run: Some(RunNumber(3)),
        tries: 2,
        trouble: Some(Trouble::Login),
        reason: Some("failed: no login".into()),
        next_try_at_ms: Some(Timestamp::from_ms(2000)),
        since_ms: None,
    }
}

#[tokio::test]
async fn turns_travel_by_the_socket() {
    let service = Service::start(|_| Arc::new(Stub::default()));
    let client = Client::connect(&service.home).await.unwrap();
    assert_eq!(client.turns(Some("family"), true).await.unwrap(), [turn()]);
    assert_eq!(client.turn("family/17").await.unwrap().turn, turn());
    assert_eq!(client.retry_turns(Some("family/17")).await.unwrap(), [turn()]);
    assert!(client.retry_turns(None).await.unwrap().is_empty());
    assert_eq!(client.drop_turn("family/17").await.unwrap().state, TurnState::Dropped);
}

#[tokio::test]
async fn tasks_travel_by_the_socket_and_are_refused_with_what_would_do() {
    let service = Service::start(|home| Arc::new(on_store(home)));
    let client = Client::connect(&service.home).await.unwrap();
    client.add_group(new_group("tg:1", "Family")).await.unwrap();
    let new = |when: &str| AddTask {
        group: "tg:1".to_owned(),
        prompt: "water the plants".to_owned(),
        when: when.to_owned(),
        zone: Some("Europe/Berlin".to_owned()),
        terms: TaskTerms { silent: true, ..TaskTerms::default() },
        script: Some(" ".to_owned()),
    };
    let task = client.add_task(new("0 9 * * 1-5")).await.unwrap();
    assert_eq!((task.zone.as_str(), task.terms.silent, &task.script), ("Europe/Berlin", true, &None));
    assert_eq!(task.next_times.len(), 3);
    assert!(task.next_times.iter().all(|time| time.contains(" 09:00 CE")), "{:?}", task.next_times);
    let id = task.id.as_str();
    assert_eq!(client.tasks(None).await.unwrap(), std::slice::from_ref(&task));
    assert_eq!(client.tasks(Some("tg:1")).await.unwrap().len(), 1);
    let paused = client.change_task(id, TaskWish::Pause).await.unwrap();
    assert_eq!((paused.status, paused.next_times.len()), (TaskStatus::Paused, 0));
    client.change_task(id, TaskWish::Run).await.unwrap();
    assert_eq!(client.task(id, 5).await.unwrap().firings[0].state, FiringState::Waiting);
    assert_eq!(client.change_task(id, TaskWish::Cancel).await.unwrap().status, TaskStatus::Cancelled);
    assert_eq!(client.tasks(None).await.unwrap(), []);
    assert_eq!(client.change_task(id, TaskWish::Resume).await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(client.task("task-9", 1).await.unwrap_err().kind, ErrorKind::NotFound);
    let wish = |zone: Option<&str>, terms| TaskWish::Update {
        prompt: None,
        when: None,
        zone: zone.map(str::to_owned),
        script: None,
        terms,
    };
    let other = client.add_task(new("0 9 * * *")).await.unwrap();
    let nothing = wish(None, TermsAsked::default());
    assert_eq!(client.change_task(other.id.as_str(), nothing).await.unwrap_err().kind, ErrorKind::BadRequest);
    let queue = TermsAsked { overlap: Some(Overlap::Queue), ..TermsAsked::default() };
    let moved = client.change_task(other.id.as_str(), wish(Some("Asia/Tokyo"), queue)).await.unwrap();
    assert!(moved.next_times.iter().all(|time| time.contains(" 09:00 JST")), "{:?}", moved.next_times);
    assert_eq!((moved.terms.overlap, moved.terms.silent), (Overlap::Queue, true), "what was not said stays");
    for (when, told) in [
        ("daily", "is no schedule"),
        ("every 0m", "is too short"),
        ("every 5 weeks", "is no interval"),
        ("0 0 31 2 *", "is never due"),
        ("2020-02-01 09:00", "has passed"),
        ("2026-02-31 09:00", "is no time that there is"),
        ("in the evening", "a span is such as"),
    ] {
        let refused = client.add_task(new(when)).await.unwrap_err();
        assert!(refused.message.contains(told), "{when}: {refused}");
    }
    let huge = AddTask { prompt: "x".repeat(1 << 20), ..new("every 5m") };
    assert!(client.add_task(huge).await.is_err());
    let nowhere = AddTask { zone: Some("Mars/Olympus".to_owned()), ..new("every 5m") };
    assert!(client.add_task(nowhere).await.unwrap_err().message.contains("there is no zone"));
}

#[tokio::test]
async fn pairings_travel_by_the_socket_and_their_code_is_in_no_debug_output() {
    let service = Service::start(|_| Arc::new(Stub::default()));
    let client = Client::connect(&service.home).await.unwrap();
    let folder = GroupFolder::new("main").unwrap();
    let pairing = client.pair(NewPairing { folder, name: "Main".into(), role: GroupRole::Main }).await.unwrap();
    assert_eq!((&*pairing.code, pairing.tries), ("ABCDE-23456", 5));
    assert_eq!(client.pairing_over(&pairing.id).await.unwrap(), PairingState::TimeOver);
    assert_eq!(client.withdraw_pairing(&pairing.id).await.unwrap(), PairingState::Withdrawn);
    assert!(!format!("{pairing:?}").contains("ABCDE"), "{pairing:?}");
}

#[tokio::test]
async fn a_code_is_for_a_group_that_can_be_and_for_a_service_that_runs() {
    let home = tempfile::tempdir().unwrap();
    let handler = on_store(&Home::at(home.path()).unwrap());
    let new = |folder: &str, name: &str, role| {
        let folder = GroupFolder::new(folder).unwrap();
        NewPairing { folder, name: name.to_owned(), role }
    };
    let (main, ordinary) = (GroupRole::Main, GroupRole::Ordinary);
    let registers = handler.registers(new("main", "Main", main)).await.unwrap();
    assert_eq!((registers.role, registers.trigger), (main, TriggerPolicy::Always));
    assert_eq!(handler.registers(new("main", "", main)).await.unwrap_err().kind, ErrorKind::BadRequest);
    handler.add_group(NewGroup { role: main, ..new_group("tg:1", "Me") }).await.unwrap();
    let refused = handler.registers(new("other", "Main", main)).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict);
    assert!(refused.help.unwrap().contains("nanoclaw groups remove main"));
    assert_eq!(handler.registers(new("main", "Ann", ordinary)).await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(handler.registers(new("ann", "Ann", ordinary)).await.unwrap().role, ordinary);

    let refused = handler.pair(new("ann", "Ann", ordinary)).await.unwrap_err();
    assert_eq!(refused.message, "no service runs, so nobody would hear the code");
    assert_eq!(handler.store.pairing().await.unwrap(), None);
    let unknown = PairingId::new("7").unwrap();
    assert_eq!(handler.pairing_over(&unknown).await.unwrap_err(), refused);
    assert_eq!(handler.withdraw_pairing(&unknown).await.unwrap(), PairingState::Replaced);
}

#[tokio::test]
async fn who_gives_up_waiting_can_ask_the_next_at_once() {
    let stub = Stub::default();
    let service = Service::start(|_| Arc::new(stub.clone()));
    let client = Client::connect(&service.home).await.unwrap();
    let never = PairingId::new(NEVER).unwrap();
    tokio::select! {
        over = client.pairing_over(&never) => panic!("{over:?}"),
        () = stub.waiting(1) => {}
    }
    assert_eq!(client.withdraw_pairing(&never).await.unwrap(), PairingState::Withdrawn);
    stub.waiting(0).await;
}

#[tokio::test]
async fn a_request_that_waits_is_answered_before_what_the_client_says_next() {
    let service = Service::start(|_| Arc::new(Stub::default()));
    let mut client = service.raw().await;
    let given_up = client.ask(format!("{WAIT}{{\"id\":2,\"command\":\"hello\"}}\n").as_bytes()).await;
    let given_up = (&given_up["id"], &given_up["error"]["message"]);
    assert_eq!(given_up, (&json!(1), &json!("nobody waits for it any more")));
    let next = client.ask(b"").await;
    assert_eq!((&next["id"], next["ok"]["hello"].is_object()), (&json!(2), true), "{next}");
}

#[tokio::test]
async fn nobody_waits_for_a_client_that_is_gone() {
    let stub = Stub::default();
    let service = Service::start(|_| Arc::new(stub.clone()));
    let mut client = service.raw().await;
    client.writer.write_all(WAIT.as_bytes()).await.unwrap();
    stub.waiting(1).await;
    drop(client);
    stub.waiting(0).await;
    drop(service);
}

#[tokio::test]
async fn a_service_that_ends_tells_who_waits_and_waits_for_nobody() {
    let stub = Stub::default();
    let service = Service::start(|_| Arc::new(stub.clone()));
    let client = Client::connect(&service.home).await.unwrap();
    let never = PairingId::new(NEVER).unwrap();
    let end = async {
        stub.waiting(1).await;
        service.shutdown.cancel();
    };
    let (told, ()) = tokio::join!(client.pairing_over(&never), end);
    assert_eq!(told.unwrap_err().message, "the service is ending");
    service.worker.await.unwrap();
}

/// A store with a group `tg_family` (chat `tg:1`) and this many messages in it that wake.
async fn with_messages(handler: &OnStore, count: i64) -> GroupFolder {
    let group = handler.add_group(new_group("tg:1", "Family")).await.unwrap().folder;
    for number in 1..=count {
        let message = InboundMessage {
            chat: ChatId::new("tg:1").unwrap(),
            channel: ChannelName::new("telegram").unwrap(),
            chat_kind: None,
            id: PlatformMessageId::new(format!("m-{number}")).unwrap(),
            sender: SenderId::new("7").unwrap(),
            sender_name: "Ann".into(),
            author: Author::Person,
            text: format!("message {number}"),
            sent_at: Timestamp::from_ms(1),
            quote: None,
            thread: None,
            attachments: Vec::new(),
        };
        handler.store.accept(&message, Wakes::Yes, Timestamp::from_ms(2)).await.unwrap();
    }
    group
}

#[tokio::test]
async fn what_waits_or_was_set_aside_is_listed_shown_retried_and_dropped_without_a_service() {
    let folder = tempfile::tempdir().unwrap();
    let handler = on_store(&Home::at(folder.path()).unwrap());
    let group = with_messages(&handler, 3).await;
    let given_up = GiveUp {
        through: Seq(1),
        reason: "ended with code 3".into(),
        run: Some(RunNumber(6)),
        state: SetAsideState::Kept,
        notice: None,
    };
    handler.store.give_up(&group, &given_up, Timestamp::from_ms(50)).await.unwrap();
    let states = async |all| -> Vec<(String, TurnState)> {
        let turns = handler.turns(None, all).await.unwrap();
        turns.into_iter().map(|turn| (turn.id, turn.state)).collect()
    };
    let name = |seq: u32| format!("tg_family/{seq}");
    assert_eq!(states(false).await, [(name(1), TurnState::SetAside), (name(3), TurnState::Waiting)]);
    let shown = handler.turn("tg_family/1").await.unwrap();
    assert_eq!(shown.turn.reason.as_deref(), Some("ended with code 3"));
    assert_eq!(shown.messages.iter().map(|message| &*message.text).collect::<Vec<_>>(), ["message 1"]);

    // What waited when the list was read is dropped, what came later is not.
    let dropped = handler.drop_turn("tg_family/2").await.unwrap();
    assert_eq!((dropped.state, dropped.last), (TurnState::Dropped, Seq(2)));
    assert_eq!(states(false).await, [(name(1), TurnState::SetAside), (name(3), TurnState::Waiting)]);

    let retried = handler.retry_turns(Some("tg_family/1")).await.unwrap();
    assert_eq!(retried[0].state, TurnState::Retried);
    let again = handler.retry_turns(Some("tg_family/1")).await.unwrap_err();
    assert_eq!(again.kind, ErrorKind::Conflict);
    assert_eq!(states(false).await, [(name(4), TurnState::Waiting)], "said again, it waits with the rest");
    let all = [(name(1), TurnState::Retried), (name(2), TurnState::Dropped), (name(4), TurnState::Waiting)];
    assert_eq!(states(true).await, all);
    assert_eq!(handler.drop_turn("tg_family/1").await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(handler.retry_turns(Some("tg_family/2")).await.unwrap()[0].state, TurnState::Retried);
}

#[tokio::test]
async fn what_an_agent_has_in_its_hands_is_neither_retried_nor_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let handler = on_store(&Home::at(folder.path()).unwrap());
    let group = with_messages(&handler, 2).await;
    let run = RunId { group, number: RunNumber(1) };
    let (kind, runtime) = (RunKind::Chat, RuntimeKind::Sandbox);
    handler
        .store
        .open_run(&NewRun { id: run.clone(), kind, runtime, handed: None, at: Timestamp::from_ms(3) })
        .await
        .unwrap();
    handler.store.hand_over(&run, Handed { first: Seq(1), last: Seq(1) }, Timestamp::from_ms(4)).await.unwrap();
    let turns = handler.turns(Some("tg:1"), false).await.unwrap();
    let states: Vec<_> = turns.iter().map(|turn| (&*turn.id, turn.state)).collect();
    assert_eq!(states, [("tg_family/1", TurnState::HandedOver), ("tg_family/2", TurnState::Waiting)]);
    for name in ["tg_family/1", "tg_family/2"] {
        assert_eq!(handler.drop_turn(name).await.unwrap_err().kind, ErrorKind::Conflict, "{name}");
    }
    assert_eq!(handler.retry_turns(Some("tg_family/1")).await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(handler.retry_turns(None).await.unwrap().len(), 1, "all that can be");
    assert_eq!(handler.store.unanswered(&run.group).await.unwrap(), 2);
}

#[tokio::test]
async fn what_was_handed_over_what_an_agent_has_taken_and_what_nobody_knows_of_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let handler = on_store(&Home::at(folder.path()).unwrap());
    let group = with_messages(&handler, 3).await;
    let run = RunId { group, number: RunNumber(1) };
    let (kind, runtime) = (RunKind::Chat, RuntimeKind::Docker);
    handler
        .store
        .open_run(&NewRun { id: run.clone(), kind, runtime, handed: None, at: Timestamp::from_ms(3) })
        .await
        .unwrap();
    for (seq, at) in [(Seq(1), 4), (Seq(2), 5)] {
        handler.store.hand_over(&run, Handed { first: seq, last: seq }, Timestamp::from_ms(at)).await.unwrap();
    }
    handler.store.turns_taken(&run, Seq(1), Timestamp::from_ms(6)).await.unwrap();
    let told = async |standings: &Standings| -> Vec<(TurnState, Option<String>)> {
        let turns = handler.turns_with(None, false, standings).await.unwrap();
        turns.into_iter().map(|turn| (turn.state, turn.reason)).collect()
    };
    let states = [TurnState::Answering, TurnState::HandedOver, TurnState::Waiting];
    assert_eq!(told(&Standings::new()).await, states.map(|state| (state, None)));
    assert_eq!(json!(handler.turn("tg_family/2").await.unwrap())["state"], "handed_over");

    let held = Standing { held: true, ..Standing::default() };
    let told = told(&Standings::from([(run.group.clone(), held)])).await;
    assert_eq!(told.iter().map(|(state, _)| *state).collect::<Vec<_>>(), states);
    for (state, reason) in told {
        let said = reason.is_some_and(|reason| reason.contains("docker does not answer"));
        assert_eq!(said, state.is_with_an_agent(), "of what is with the container: {state:?}");
    }
}

#[tokio::test]
async fn a_turn_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let handler = on_store(&Home::at(folder.path()).unwrap());
    with_messages(&handler, 1).await;
    for (name, kind) in [
        ("tg_family/9", ErrorKind::NotFound),
        ("nobody/1", ErrorKind::NotFound),
        ("tg_family", ErrorKind::BadRequest),
        ("../x/1", ErrorKind::BadRequest),
    ] {
        assert_eq!(handler.turn(name).await.unwrap_err().kind, kind, "{name}");
        assert_eq!(handler.retry_turns(Some(name)).await.unwrap_err().kind, kind, "{name}");
        assert_eq!(handler.drop_turn(name).await.unwrap_err().kind, kind, "{name}");
    }
}

/// While the result lives, snapshots have the names of objects in order: `serde_json` keeps them as they were written, or not, by
/// what else is built with it.
fn sorted() -> insta::internals::SettingsBindDropGuard {
    let mut settings = insta::Settings::clone_current();
    settings.set_sort_maps(true);
    settings.bind_to_scope()
}

#[tokio::test]
async fn the_wire_is_as_documented() {
    let service = Service::start(|_| Arc::new(Stub::default()));
    let mut client = service.raw().await;
    let status = client.ask(b"{\"id\":1,\"command\":\"status\"}\n").await;
    let _sorted = sorted();
    insta::assert_json_snapshot!(status, @r#"
    {
      "id": 1,
      "ok": {
        "status": {
          "groups": [
            {
              "connected": true,
              "failures": 1,
              "folder": "family",
              "last_run": null,
              "memory_bytes": 1048576,
              "name": "Family",
              "next_try_at_ms": 2000,
              "state": "backing_off",
              "unanswered": 2,
              "waits": true
            }
          ],
          "outbox": {
            "failed": 0,
            "unknown": 1,
            "waiting": 3
          },
          "service": {
            "channels": [
              {
                "connected": true,
                "name": "local"
              }
            ],
            "containers": 1,
            "max_containers": 5,
            "pid": 42,
            "runtime": "docker 28",
            "started_at_ms": 1000,
            "version": "1.2.3"
          },
          "set_aside": 4,
          "tasks": {
            "active": 0,
            "failing": 0,
            "next_due_ms": null,
            "paused": 0
          }
        }
      }
    }
    "#);
    let add = json!({"id": 2, "command": "groups_add", "args": {"chat": "tg:1", "name": "x", "role": "ordinary"}});
    let refused = client.ask(format!("{add}\n").as_bytes()).await;
    insta::assert_json_snapshot!(refused, @r#"
    {
      "error": {
        "help": "make room",
        "kind": "failed",
        "message": "disk full"
      },
      "id": 2
    }
    "#);
}

/// The outbox by the socket: what is listed, shown and decided, and what is refused.
#[tokio::test]
async fn messages_of_the_outbox_are_shown_and_decided_about() {
    let store = Arc::new(MemoryStore::new());
    let at = Timestamp::from_ms(1000);
    for (key, text) in [("reply/family/1/1", "line one\nline two"), ("reply/family/1/2", &*"x".repeat(100))] {
        let chat = ChatId::new("tg:1").unwrap();
        let new =
            NewDelivery { key: DeliveryKey::new(key).unwrap(), chat, text: text.to_owned(), file: None, answers: None };
        store.post(&new, at).await.unwrap();
    }
    store.delivery_failed(OutboxId(1), "a timeout", &AfterTry::Ask(None), at).await.unwrap();
    store.delivery_begun(OutboxId(2)).await.unwrap();
    let service = Service::start(|home| Arc::new(OnStore { store: store.clone(), ..on_store(home) }));
    let mut client = service.raw().await;
    let mut ask = async |command: Value| client.ask(format!("{command}\n").as_bytes()).await;

    let _sorted = sorted();
    let unknown = json!({"states": ["unknown"], "limit": 10});
    insta::assert_json_snapshot!(ask(json!({"id": 1, "command": "outbox_list", "args": unknown})).await, @r#"
    {
      "id": 1,
      "ok": {
        "outbox": [
          {
            "attempts": 1,
            "begins": "line one line two",
            "chat": "tg:1",
            "group": null,
            "id": 1,
            "key": "reply/family/1/1",
            "last_error": "a timeout",
            "next_try_at_ms": null,
            "platform_id": null,
            "posted_at_ms": 1000,
            "sent_at_ms": null,
            "state": "unknown"
          }
        ]
      }
    }
    "#);
    let all = ask(json!({"id": 2, "command": "outbox_list", "args": {"states": [], "limit": 10}})).await;
    let begins: Vec<_> = all["ok"]["outbox"].as_array().unwrap().iter().map(|row| row["begins"].clone()).collect();
    assert_eq!(begins, [json!(format!("{}…", "x".repeat(60))), json!("line one line two")], "latest first");

    let show = ask(json!({"id": 3, "command": "outbox_show", "args": {"message": "reply/family/1/1"}})).await;
    assert_eq!(show["ok"]["delivery"]["text"], "line one\nline two");

    let mut resolve = async |message: &str, resolution: &str| {
        ask(json!({"id": 4, "command": "outbox_resolve", "args": {"message": message, "resolution": resolution}})).await
    };
    assert_eq!(resolve("1", "send_again").await["ok"]["resolved"]["state"], "pending");
    let refused = resolve("2", "send_again").await;
    assert_eq!(refused["error"]["kind"], "conflict");
    assert!(refused["error"]["message"].as_str().unwrap().contains("is being sent"), "{refused}");
    assert_eq!(resolve("2", "drop").await["ok"]["resolved"]["state"], "dropped");
    store.delivery_sent(OutboxId(2), &Default::default(), at).await.unwrap();
    let refused = resolve("2", "drop").await;
    assert_eq!(refused["error"]["message"], "the message 2 was sent already, which cannot be taken back");
    for nothing in ["17", "-1", "no/such/key", "\u{1b}[31m"] {
        assert_eq!(resolve(nothing, "drop").await["error"]["kind"], "not_found", "{nothing}");
    }
    assert_eq!(store.delivery_at(OutboxId(1)).await.unwrap().unwrap().state, DeliveryState::Pending);

    let spool = SpoolName::new("5f0c").unwrap();
    let spooled = SpooledFile { spool, media_type: "application/pdf".to_owned(), bytes: 12_595 };
    let file = OutgoingFile::new("family".parse().unwrap(), "out/report.pdf", spooled);
    let key = DeliveryKey::new("request/family/1/3").unwrap();
    let chat = ChatId::new("tg:1").unwrap();
    store.post(&NewDelivery { key, chat, text: "here".to_owned(), file: Some(file), answers: None }, at).await.unwrap();
    let show = ask(json!({"id": 5, "command": "outbox_show", "args": {"message": "3"}})).await;
    assert_eq!(show["ok"]["delivery"]["begins"], "[file: report.pdf] here");
    assert_eq!(
        show["ok"]["delivery"]["file"],
        json!({
            "name": "report.pdf", "media_type": "application/pdf", "bytes": 12_595, "group": "family",
            "path": "out/report.pdf"
        })
    );
}

#[tokio::test]
async fn a_fault_in_a_handler_ends_one_conversation_and_not_the_service() {
    let service = Service::start(|_| Arc::new(Stub::default()));
    let client = Client::connect(&service.home).await.unwrap();
    let error = client.group("x").await.unwrap_err();
    assert!(error.message.contains("did not answer"), "{error}");
    assert_eq!(
        Client::connect(&service.home).await.unwrap().status().await.unwrap(),
        Stub::default().status().await.unwrap()
    );
}
