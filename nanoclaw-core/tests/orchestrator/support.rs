//! A house for the orchestrator: a folder, a store in memory, scripted containers, a channel that remembers.

use std::{
    collections::VecDeque,
    future::Future,
    io::Read as _,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use nanoclaw_core::{
    attachment::{ATTACHMENTS_DIR, NewFile, OutgoingFile, SpoolName, SpooledFile},
    channel::{Channel, ChannelCapabilities, Repeat, SendError, Typing},
    chat::{ChannelName, ChatId},
    clock::{SteadyClock, WallClock},
    delivery::{Delivery, Sent},
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    launch::{KeptFile, Launch, LaunchError, LaunchNotice, Launcher, Rejoined, Tuning},
    mailbox::{GroupFile, Limits, Mailbox, Watcher},
    message::{Author, InboundMessage, PlatformMessageId, SenderId, Seq},
    orchestrator::{
        AtShutdown, DispatchSettings, Orchestrator, Parts, Receipt, Running, Scheduling, Settings, StandbySettings,
        StartError,
    },
    protocol::{
        alive::BEAT_FILE,
        input::{CLOSE_FILE, ContainerInput, FileInPrompt, FollowUp},
        markers,
        output::{Block, FailureKind, JournalEntry, Status},
    },
    run::{BlockNumber, RunId, RunKind},
    runtime::{ContainerSpec, Exit, HeldSources, InstallId, Labels, RunAs},
    senders::{BadSenders, SenderPolicy, Senders, UnknownPrivate},
    session::SessionId,
    store::Store,
    testing::{
        FakeRuntime, MemoryStore,
        fake_runtime::{FakeContainer, FakeOutput},
    },
    time::{Timestamp, test_clock},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) fn folder(name: &str) -> GroupFolder {
    GroupFolder::new(name).unwrap()
}

pub(crate) fn main_group() -> Group {
    Group {
        folder: folder("main"),
        chat: "test:main".parse().unwrap(),
        name: "Main".to_owned(),
        trigger: TriggerPolicy::Always,
        role: GroupRole::Main,
        added_at: Timestamp::now(),
    }
}

/// Waits until `condition` holds; a day of virtual time at most.
pub(crate) async fn waiting(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(24 * 3600);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

// --- the clock --------------------------------------------------------------------------------------------------------

thread_local! {
    static CLOCK_IS_SET: Arc<Notify> = Arc::default();
}

/// Sets the clock of this test, of which houses are told as the kernel tells hosts.
pub(crate) fn set_clock(at: Timestamp) {
    test_clock::set(Some(at));
    CLOCK_IS_SET.with(|set| set.notify_waiters());
}

/// The clock of this test.
struct TestClock;

#[async_trait]
impl WallClock for TestClock {
    async fn until(&self, at: Option<Timestamp>) {
        let set = CLOCK_IS_SET.with(Arc::clone);
        tokio::select! {
            () = set.notified() => {}
            () = SteadyClock.until(at) => {}
        }
    }
}

// --- the agent inside -------------------------------------------------------------------------------------------------

/// A container's inside, as an agent sees it.
pub(crate) struct Agent {
    pub(crate) input: ContainerInput,
    pub(crate) output: FakeOutput,
    pub(crate) mailbox: Mailbox,
    pub(crate) stop: CancellationToken,
    prompt: String,
    /// Those that the prompt at hand names.
    pub(crate) files: Vec<FileInPrompt>,
    last: Option<Seq>,
    watcher: Watcher,
}

/// A block to be completed.
pub(crate) struct BlockToWrite(pub(crate) Block);

pub(crate) fn block(result: Option<&str>) -> BlockToWrite {
    BlockToWrite(Block::success(result.map(str::to_owned)))
}

impl BlockToWrite {
    pub(crate) fn answered(mut self, through: Option<Seq>) -> Self {
        self.0.answered_seq = through;
        self
    }

    pub(crate) fn session(mut self, id: &str) -> Self {
        self.0.new_session_id = Some(SessionId::new(id).unwrap());
        self
    }

    pub(crate) fn error(mut self, text: &str, kind: FailureKind) -> Self {
        self.0.status = Status::Error;
        self.0.error = Some(text.to_owned());
        self.0.failure = Some(kind);
        self
    }
}

/// Says nothing, but says that it has nothing to say.
pub(crate) async fn silent(mut agent: Agent) -> Exit {
    agent.answer(|_| None).await;
    while agent.follow_up().await {
        agent.answer(|_| None).await;
    }
    Exit::Code(0)
}

impl Agent {
    pub(crate) fn of(container: FakeContainer, input: ContainerInput) -> Self {
        let ipc = container.spec.mounts.iter().find(|mount| mount.target == "/workspace/ipc").unwrap();
        Self {
            prompt: input.prompt.clone(),
            files: input.files.clone(),
            last: input.last_seq,
            mailbox: Mailbox::new(&ipc.source),
            output: container.output,
            stop: container.stop,
            input,
            watcher: Watcher::new().unwrap(),
        }
    }

    /// The texts of the messages in the prompt at hand.
    pub(crate) fn texts(&self) -> Vec<String> {
        let parts = self.prompt.split("</message>");
        parts
            .filter_map(|part| Some(part.rsplit_once('>')?.1.to_owned()))
            .filter(|text| !text.trim().is_empty())
            .collect()
    }

    /// How many bytes the prompt at hand has.
    pub(crate) fn prompt_bytes(&self) -> usize {
        self.prompt.len()
    }

    pub(crate) fn prompt(&self) -> &str {
        &self.prompt
    }

    /// Gives a sign of life.
    pub(crate) fn beat(&self) {
        self.mailbox.alive().unwrap().write_fleeting(BEAT_FILE, b"").unwrap();
    }

    pub(crate) async fn write(&mut self, block: &BlockToWrite) {
        self.output.stdout(markers::encode(&block.0)).await;
    }

    pub(crate) fn journal(&mut self, number: u32, block: &BlockToWrite) {
        let run = self.input.run_number.unwrap();
        let entry = JournalEntry { run, number: BlockNumber(number), block: block.0.clone() };
        self.mailbox.output().unwrap().write(&entry.file_name(), &serde_json::to_vec(&entry).unwrap()).unwrap();
    }

    /// Writes a block as init does: into the journal, then out. Nobody may be there to read it.
    pub(crate) async fn say(&mut self, number: u32, block: &BlockToWrite) {
        self.journal(number, block);
        self.write(block).await;
    }

    /// What would be said of the prompt at hand.
    pub(crate) fn heard(&self) -> BlockToWrite {
        block(Some(&format!("heard {}", self.texts().join(" + ")))).answered(self.last)
    }

    /// Answers the prompt at hand; `say` is given its texts, joined by ` + `.
    pub(crate) async fn answer(&mut self, say: impl FnOnce(&str) -> Option<String>) {
        let text = self.texts().join(" + ");
        let said = block(say(&text).as_deref()).answered(self.last);
        self.write(&said).await;
    }

    /// Thinks this long about each prompt, then answers as our init does, journal first, until it is asked to end.
    pub(crate) async fn thinks_for(mut self, pause: Duration) -> Exit {
        for number in 1.. {
            tokio::time::sleep(pause).await;
            let heard = self.heard();
            self.say(number, &heard).await;
            if !self.follow_up().await {
                break;
            }
        }
        Exit::Code(0)
    }

    /// Takes the next follow-up as the prompt at hand; `false` when asked to end.
    pub(crate) async fn follow_up(&mut self) -> bool {
        let input = self.mailbox.input().unwrap();
        let mut watch = self.watcher.watch(input.path()).unwrap();
        loop {
            if let Some(file) = input.claim(&Limits::default()).unwrap().into_iter().next() {
                input.remove(&file.name).unwrap();
                let FollowUp::Message { text, last_seq, files, .. } =
                    serde_json::from_slice(&file.content.unwrap()).unwrap();
                self.prompt = text;
                self.files = files;
                self.last = last_seq;
                return true;
            }
            if input.has(CLOSE_FILE).unwrap() || self.stop.is_cancelled() {
                return false;
            }
            tokio::select! {
                () = watch.changed() => {}
                () = self.stop.clone().cancelled_owned() => {}
            }
        }
    }

    pub(crate) async fn closed(&mut self) {
        let input = self.mailbox.input().unwrap();
        let mut watch = self.watcher.watch(input.path()).unwrap();
        while !input.has(CLOSE_FILE).unwrap() {
            watch.changed().await;
        }
    }

    pub(crate) async fn until_closed(&mut self) -> Exit {
        let stop = self.stop.clone();
        tokio::select! {
            () = self.closed() => {}
            () = stop.cancelled_owned() => {}
        }
        Exit::Code(0)
    }

    /// Makes a request and returns the answer's text.
    pub(crate) async fn request(&mut self, name: String, content: String) -> String {
        self.mailbox.messages().unwrap().write(&name, content.as_bytes()).unwrap();
        self.answered(name).await
    }

    /// Makes a request by a file in `tasks/` and returns the answer's text.
    pub(crate) async fn ask(&mut self, name: &str, content: &str) -> String {
        self.mailbox.tasks().unwrap().write(name, content.as_bytes()).unwrap();
        self.answered(name.to_owned()).await
    }

    /// The group's own folder.
    pub(crate) fn group_folder(&self) -> PathBuf {
        let root = self.mailbox.root();
        root.parent().unwrap().join("groups").join(root.file_name().unwrap())
    }

    /// What lies in the mailbox beside its folders, a file of JSON.
    pub(crate) fn lying(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.mailbox.root().join(name)).unwrap()).unwrap()
    }

    pub(crate) async fn answered(&mut self, name: String) -> String {
        let answers = self.mailbox.answers().unwrap();
        let mut watch = self.watcher.watch(answers.path()).unwrap();
        while !answers.has(&name).unwrap() {
            watch.changed().await;
        }
        std::fs::read_to_string(answers.path().join(name)).unwrap()
    }
}

// --- the channel ------------------------------------------------------------------------------------------------------

/// Remembers what it was asked to send.
pub(crate) struct FakeChannel {
    name: ChannelName,
    state: Mutex<ChannelState>,
}

#[derive(Default)]
struct ChannelState {
    sent: Vec<Delivery>,
    tried: Vec<String>,
    failures: VecDeque<SendError>,
    blocked: Vec<ChatId>,
    /// Where, and whether it is shown.
    typing: Vec<(Option<String>, bool)>,
    takes: Duration,
    takes_files: bool,
    on_typing: Option<Box<dyn FnOnce() + Send>>,
}

impl FakeChannel {
    fn new() -> Self {
        Self { name: "test".parse().unwrap(), state: Mutex::default() }
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.state.lock().unwrap().sent.iter().map(|delivery| delivery.text.clone()).collect()
    }

    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.state.lock().unwrap().sent.clone()
    }

    /// Chats and texts.
    pub(crate) fn sent(&self) -> Vec<(String, String)> {
        let state = self.state.lock().unwrap();
        state.sent.iter().map(|delivery| (delivery.chat.to_string(), delivery.text.clone())).collect()
    }

    /// Captions, names of files and contents of copies.
    pub(crate) fn files(&self) -> Vec<(String, String, String)> {
        let state = self.state.lock().unwrap();
        let files = state.sent.iter().filter_map(|delivery| Some((delivery, delivery.file.as_ref()?)));
        // The test's launcher names a copy by what is in it.
        let file = |(delivery, file): (&Delivery, &OutgoingFile)| {
            (delivery.text.clone(), file.name.clone(), file.spooled.spool.to_string())
        };
        files.map(file).collect()
    }

    /// From now on it takes files.
    pub(crate) fn take_files(&self) {
        self.state.lock().unwrap().takes_files = true;
    }

    pub(crate) fn keys_tried(&self) -> Vec<String> {
        self.state.lock().unwrap().tried.clone()
    }

    /// In which thread, and whether it is shown.
    pub(crate) fn typing_signs(&self) -> Vec<(Option<String>, bool)> {
        self.state.lock().unwrap().typing.clone()
    }

    pub(crate) fn fail_next(&self, error: SendError) {
        self.state.lock().unwrap().failures.push_back(error);
    }

    /// From now on each send takes this long.
    pub(crate) fn take_for_each(&self, takes: Duration) {
        self.state.lock().unwrap().takes = takes;
    }

    /// Sends to this chat never return.
    pub(crate) fn block_chat(&self, chat: &str) {
        self.state.lock().unwrap().blocked.push(chat.parse().unwrap());
    }

    /// Does this at the next sign of typing.
    pub(crate) fn on_typing(&self, act: impl FnOnce() + Send + 'static) {
        self.state.lock().unwrap().on_typing = Some(Box::new(act));
    }
}

#[async_trait]
impl Channel for FakeChannel {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn owns(&self, chat: &ChatId) -> bool {
        chat.as_str().starts_with("test:")
    }

    fn capabilities(&self) -> ChannelCapabilities {
        ChannelCapabilities {
            repeat: Repeat::Deduplicated,
            typing: true,
            files: self.state.lock().unwrap().takes_files,
        }
    }

    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let (blocked, failure) = {
            let mut state = self.state.lock().unwrap();
            state.tried.push(delivery.key.to_string());
            let blocked = state.blocked.contains(&delivery.chat);
            (blocked, if blocked { None } else { state.failures.pop_front() })
        };
        if blocked {
            std::future::pending::<()>().await;
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let takes = self.state.lock().unwrap().takes;
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        self.state.lock().unwrap().sent.push(delivery.clone());
        Ok(Sent::default())
    }

    async fn set_typing(&self, _chat: &ChatId, thread: Option<&PlatformMessageId>, typing: Typing) {
        let act = {
            let mut state = self.state.lock().unwrap();
            state.typing.push((thread.map(ToString::to_string), typing == Typing::On));
            state.on_typing.take()
        };
        if let Some(act) = act {
            act();
        }
    }
}

// --- the house --------------------------------------------------------------------------------------------------------

/// A list of senders that a test writes.
pub(crate) struct FakeSenders(Mutex<Result<SenderPolicy, BadSenders>>);

impl FakeSenders {
    pub(crate) fn set(&self, policy: Result<SenderPolicy, BadSenders>) {
        *self.0.lock().unwrap() = policy;
    }
}

#[async_trait]
impl Senders for FakeSenders {
    async fn policy(&self) -> Result<SenderPolicy, BadSenders> {
        self.0.lock().unwrap().clone()
    }
}

struct TestLauncher {
    made_of: Arc<Mutex<String>>,
    panics: Arc<AtomicBool>,
    notices: Arc<Mutex<Vec<LaunchNotice>>>,
    root: PathBuf,
    install: InstallId,
}

#[async_trait]
impl Launcher for TestLauncher {
    fn mailbox(&self, group: &GroupFolder) -> PathBuf {
        self.root.join(group.as_str())
    }

    fn group_folder(&self, group: &GroupFolder) -> PathBuf {
        self.root.join("groups").join(group.as_str())
    }

    fn tuning(&self, _group: &GroupFolder) -> Tuning {
        Tuning::default()
    }

    async fn fingerprint(&self, _group: &Group, _run: &RunId, _kind: &RunKind) -> Result<String, LaunchError> {
        Ok(self.made_of.lock().unwrap().clone())
    }

    async fn prepare(&self, group: &Group, run: &RunId, _kind: &RunKind) -> Result<Launch, LaunchError> {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "as the test asked for");
        let mailbox = self.mailbox(&group.folder);
        Mailbox::new(&mailbox).create().unwrap();
        let spec = ContainerSpec {
            name: format!("nanoclaw-{}-{}", run.group, run.number),
            image: "fake".parse().unwrap(),
            command: vec!["agent".into()],
            env: Default::default(),
            mounts: vec![nanoclaw_core::runtime::Mount {
                source: mailbox.clone(),
                target: "/workspace/ipc".to_owned(),
                access: nanoclaw_core::runtime::Access::ReadWrite,
            }],
            held: HeldSources::default(),
            workdir: "/workspace/group".into(),
            user: RunAs { uid: 1000, gid: 1000 },
            limits: nanoclaw_core::runtime::Limits { memory_bytes: None, pids: None, milli_cpus: None },
            tmp_bytes: 1 << 20,
            labels: Labels { install: self.install.clone(), run: run.clone() },
        };
        Ok(Launch {
            spec,
            mailbox,
            log: self.log(run),
            guard: Box::new(()),
            notices: self.notices.lock().unwrap().clone(),
        })
    }

    async fn rejoin(&self, group: &Group, run: &RunId) -> Result<Rejoined, LaunchError> {
        let mailbox = self.mailbox(&group.folder);
        Ok(Rejoined { mailbox, log: self.log(run), guard: Box::new(()) })
    }

    async fn bring_files(&self, group: &GroupFolder, files: &[NewFile]) -> Vec<Option<String>> {
        // As a real one needs it: the folder is there once a run was made ready.
        assert!(self.mailbox(group).is_dir(), "files are brought before there is a place for them");
        let folder = self.group_folder(group);
        let bring = |new: &NewFile| match new.file.spool.as_str() {
            "gone" => Some("it is gone".to_owned()),
            content => {
                std::fs::create_dir_all(folder.join(ATTACHMENTS_DIR)).unwrap();
                std::fs::write(folder.join(&new.path), content).unwrap();
                None
            }
        };
        files.iter().map(bring).collect()
    }

    async fn keep_file(&self, group: &GroupFolder, file: GroupFile) -> Result<KeptFile, String> {
        assert!(self.group_folder(group).is_dir());
        let mut content = String::new();
        let GroupFile { mut file, media_type, bytes, .. } = file;
        file.read_to_string(&mut content).map_err(|error| error.to_string())?;
        if content == "full" {
            return Err("there is no room for it".to_owned());
        }
        // Named by what is in it, so that tests see that.
        let spool = SpoolName::new(content).map_err(|error| error.to_string())?;
        let file = SpooledFile { spool, media_type: media_type.to_owned(), bytes };
        Ok(KeptFile { file, guard: Box::new(()) })
    }
}

impl TestLauncher {
    fn log(&self, run: &RunId) -> Box<dyn std::io::Write + Send> {
        let path = self.root.join(format!("{}-{}.log", run.group, run.number));
        Box::new(std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap())
    }
}

/// A house whose orchestrator is not running yet.
pub(crate) struct EmptyHouse {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) runtime: Arc<FakeRuntime>,
    pub(crate) channel: Arc<FakeChannel>,
    panics: Arc<AtomicBool>,
    made_of: Arc<Mutex<String>>,
    standby: StandbySettings,
    notices: Arc<Mutex<Vec<LaunchNotice>>>,
    folder: Arc<tempfile::TempDir>,
    slots: usize,
    schedules: bool,
    senders: Option<Arc<FakeSenders>>,
    unknown_private: UnknownPrivate,
}

pub(crate) struct House {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) runtime: Arc<FakeRuntime>,
    pub(crate) channel: Arc<FakeChannel>,
    pub(crate) orchestrator: Orchestrator,
    running: Mutex<Option<Running>>,
    panics: Arc<AtomicBool>,
    made_of: Arc<Mutex<String>>,
    standby: StandbySettings,
    notices: Arc<Mutex<Vec<LaunchNotice>>>,
    folder: Arc<tempfile::TempDir>,
    slots: usize,
    schedules: bool,
    senders: Option<Arc<FakeSenders>>,
    unknown_private: UnknownPrivate,
}

static MESSAGES: AtomicU64 = AtomicU64::new(1);

fn message(chat: &str, text: &str) -> InboundMessage {
    let number = MESSAGES.fetch_add(1, Ordering::Relaxed);
    InboundMessage {
        chat: chat.parse().unwrap(),
        channel: "test".parse().unwrap(),
        chat_kind: None,
        id: PlatformMessageId::new(number.to_string()).unwrap(),
        sender: SenderId::new("ann").unwrap(),
        sender_name: "Ann".to_owned(),
        author: Author::Person,
        text: text.to_owned(),
        sent_at: Timestamp::from_ms(1_772_600_000_000),
        quote: None,
        thread: None,
        attachments: Vec::new(),
    }
}

impl EmptyHouse {
    /// The same with its runtime changed, which nobody has used yet.
    pub(crate) fn map_runtime(self, change: impl FnOnce(FakeRuntime) -> FakeRuntime) -> Self {
        let runtime = Arc::into_inner(self.runtime).unwrap();
        Self { runtime: Arc::new(change(runtime)), ..self }
    }

    /// The same, whose host starts containers ahead for so many groups, and so many at all at a time.
    pub(crate) fn with_standby(self, groups: usize, slots: usize) -> Self {
        Self { standby: StandbySettings { groups, ..StandbySettings::default() }, slots, ..self }
    }

    /// The same, where this list says who may speak.
    pub(crate) fn with_senders(self, policy: Result<SenderPolicy, BadSenders>) -> (Self, Arc<FakeSenders>) {
        let senders = Arc::new(FakeSenders(Mutex::new(policy)));
        (Self { senders: Some(senders.clone()), ..self }, senders)
    }

    /// The same, where strangers are told this.
    pub(crate) fn with_strangers(self, unknown_private: UnknownPrivate) -> Self {
        Self { unknown_private, ..self }
    }

    /// The same, whose host keeps tasks.
    pub(crate) fn with_tasks(self) -> Self {
        Self { schedules: true, ..self }
    }

    pub(crate) fn message(&self, chat: &str, text: &str) -> InboundMessage {
        message(chat, text)
    }

    pub(crate) fn mailbox(&self, group: &str) -> Mailbox {
        Mailbox::new(self.folder.path().join(group))
    }

    pub(crate) async fn start(self) -> House {
        let house = self.start_without_channel().await;
        house.connect_channel();
        house
    }

    pub(crate) async fn start_without_channel(self) -> House {
        let (orchestrator, running) = self.try_start().await.unwrap();
        House {
            store: self.store,
            runtime: self.runtime,
            channel: self.channel,
            panics: self.panics,
            made_of: self.made_of,
            standby: self.standby,
            notices: self.notices,
            orchestrator,
            running: Mutex::new(Some(running)),
            folder: self.folder,
            slots: self.slots,
            schedules: self.schedules,
            senders: self.senders,
            unknown_private: self.unknown_private,
        }
    }

    /// Tries to start an orchestrator, for tests in which that comes to nothing.
    pub(crate) async fn try_start(&self) -> Result<(Orchestrator, Running), StartError> {
        let launcher = TestLauncher {
            panics: self.panics.clone(),
            made_of: self.made_of.clone(),
            notices: self.notices.clone(),
            root: self.folder.path().to_owned(),
            install: self.store.install_id().await.unwrap(),
        };
        let parts = Parts {
            store: self.store.clone(),
            runtime: self.runtime.clone(),
            launcher: Arc::new(launcher),
            scheduling: self.schedules.then(|| Scheduling { tasks: self.store.clone(), clock: Arc::new(TestClock) }),
            senders: self.senders.clone().map(|senders| senders as Arc<dyn Senders>),
        };
        let dispatch = DispatchSettings {
            max_containers: self.slots.try_into().unwrap(),
            standby: self.standby,
            ..DispatchSettings::default()
        };
        Orchestrator::start(parts, Settings { dispatch, unknown_private: self.unknown_private, ..Settings::default() })
            .await
    }
}

impl House {
    /// A running house with the main group, whose containers all do what `agent` does.
    pub(crate) async fn new<F: Future<Output = Exit> + Send + 'static>(
        agent: impl Fn(Agent) -> F + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::with_slots(5, agent).await
    }

    pub(crate) async fn with_slots<F: Future<Output = Exit> + Send + 'static>(
        slots: usize,
        agent: impl Fn(Agent) -> F + Clone + Send + Sync + 'static,
    ) -> Self {
        let mut house = Self::empty(agent).await;
        house.slots = slots;
        house.store.add_group(&main_group()).await.unwrap();
        house.start().await
    }

    pub(crate) async fn empty<F: Future<Output = Exit> + Send + 'static>(
        agent: impl Fn(Agent) -> F + Clone + Send + Sync + 'static,
    ) -> EmptyHouse {
        let runtime = FakeRuntime::new(move |container| {
            let agent = agent.clone();
            async move {
                let mut container = container;
                // One that was started ahead and is not used reads no prompt.
                match serde_json::from_slice(&container.read_input().await) {
                    Ok(input) => agent(Agent::of(container, input)).await,
                    Err(_) => Exit::Code(1),
                }
            }
        });
        EmptyHouse {
            store: Arc::new(MemoryStore::new()),
            runtime: Arc::new(runtime),
            channel: Arc::new(FakeChannel::new()),
            panics: Arc::default(),
            made_of: Arc::default(),
            standby: StandbySettings::default(),
            notices: Arc::default(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
            slots: 5,
            schedules: false,
            senders: None,
            unknown_private: UnknownPrivate::Ignore,
        }
    }

    pub(crate) fn message(&self, chat: &str, text: &str) -> InboundMessage {
        message(chat, text)
    }

    pub(crate) fn mailbox(&self, group: &str) -> Mailbox {
        Mailbox::new(self.folder.path().join(group))
    }

    /// What is in a file of a group's folder.
    pub(crate) fn group_file(&self, group: &str, path: &str) -> String {
        std::fs::read_to_string(self.folder.path().join("groups").join(group).join(path)).unwrap()
    }

    /// The log of a run.
    pub(crate) fn log(&self, run: &RunId) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("{}-{}.log", run.group, run.number))).unwrap()
    }

    pub(crate) fn connect_channel(&self) {
        self.orchestrator.add_channel(self.channel.clone());
    }

    pub(crate) async fn add_group(&self, name: &str, chat: &str) {
        let group = Group {
            folder: folder(name),
            chat: chat.parse().unwrap(),
            name: name.to_owned(),
            trigger: TriggerPolicy::AssistantName,
            role: GroupRole::Ordinary,
            added_at: Timestamp::now(),
        };
        self.orchestrator.add_group(group).await.unwrap();
    }

    pub(crate) async fn write(&self, text: &str) -> Receipt {
        self.write_to("test:main", text).await
    }

    pub(crate) async fn write_to(&self, chat: &str, text: &str) -> Receipt {
        self.orchestrator.inbox().accept(message(chat, text)).await.unwrap()
    }

    /// Waits until exactly these texts were shown, in this order.
    pub(crate) async fn shown(&self, texts: &[&str]) {
        waiting(&format!("{texts:?} shown"), async || {
            let shown = self.channel.texts();
            assert!(shown.len() <= texts.len(), "more than expected: {shown:?}");
            shown == texts
        })
        .await;
    }

    /// Waits until this many sends were tried.
    pub(crate) async fn tried(&self, count: usize) {
        waiting(&format!("{count} sends tried"), async || self.channel.keys_tried().len() >= count).await;
    }

    pub(crate) async fn shown_last(&self, text: &str) {
        waiting(&format!("{text:?} shown"), async || self.channel.texts().last().is_some_and(|last| last == text))
            .await;
    }

    pub(crate) async fn shown_last_containing(&self, part: &str) {
        let what = format!("something with {part:?} shown");
        waiting(&what, async || self.channel.texts().last().is_some_and(|last| last.contains(part))).await;
    }

    /// Every run from now on is made ready with these words about it.
    pub(crate) fn notices(&self, notices: Vec<LaunchNotice>) {
        *self.notices.lock().unwrap() = notices;
    }

    /// What containers are made of from now on is something else.
    pub(crate) fn change_configuration(&self, made_of: &str) {
        made_of.clone_into(&mut self.made_of.lock().unwrap());
    }

    /// The next run's worker panics.
    pub(crate) fn panic_at_next_launch(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    /// Waits until the main group is in this state.
    pub(crate) async fn state(&self, state: &str) {
        self.state_of("main", state).await;
    }

    /// Waits until a group is in this state.
    pub(crate) async fn state_of(&self, group: &str, state: &str) {
        waiting(&format!("{group} is {state}"), async || {
            let status = self.orchestrator.status().await;
            status.iter().any(|status| status.group == folder(group) && status.state == state)
        })
        .await;
    }

    pub(crate) async fn idle(&self) {
        self.state("idle").await;
    }

    pub(crate) async fn idle_or(&self, state: &str) {
        self.state(state).await;
    }

    pub(crate) async fn shut_down(&self) {
        let running = self.running.lock().unwrap().take().unwrap();
        running.shut_down(Duration::from_secs(60), AtShutdown::Stop).await;
    }

    /// Ends the host and leaves its containers alone.
    pub(crate) async fn let_go(&self) {
        let running = self.running.lock().unwrap().take().unwrap();
        running.shut_down(Duration::from_secs(60), AtShutdown::Leave).await;
    }

    /// Kills the host.
    pub(crate) async fn kill(&self) {
        let running = self.running.lock().unwrap().take().unwrap();
        for worker in running.abort_handles() {
            worker.abort();
        }
        // Its workers are gone at their next turn.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// The house without a host.
    pub(crate) fn without_host(self) -> EmptyHouse {
        EmptyHouse {
            store: self.store,
            runtime: self.runtime,
            channel: self.channel,
            panics: self.panics,
            made_of: self.made_of,
            standby: self.standby,
            notices: self.notices,
            folder: self.folder,
            slots: self.slots,
            schedules: self.schedules,
            senders: self.senders,
            unknown_private: self.unknown_private,
        }
    }

    /// A new orchestrator in the same house, after this one was shut down.
    pub(crate) async fn restart(self) -> Self {
        self.without_host().start().await
    }
}
