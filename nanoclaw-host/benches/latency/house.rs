//! A host as `app` puts it together, but with containers that start at once and are part of this program: their agent says
//! when it sees something, and so does the channel.

use std::{path::Path, sync::Arc, time::Instant};

use async_trait::async_trait;
use nanoclaw_core::{
    channel::{Channel, ChannelCapabilities, SendError},
    chat::{ChannelName, ChatId},
    delivery::{Delivery, Sent},
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    mailbox::{Folder, Limits, Mailbox, Watcher},
    message::{Author, InboundMessage, PlatformMessageId, SenderId, Seq},
    orchestrator::{AtShutdown, Orchestrator, Parts, Running, Scheduling, Settings},
    protocol::{
        environment::guest,
        input::{CLOSE_FILE, ContainerInput, FollowUp},
        markers,
        output::{Block, JournalEntry},
    },
    run::{BlockNumber, RunNumber},
    runtime::{ContainerRuntime, Exit, RunAs, RuntimeKind},
    store::Store,
    testing::{
        FakeRuntime,
        fake_runtime::{FakeContainer, FakeOutput},
    },
    time::Timestamp,
};
use nanoclaw_host::{
    config::{Config, environment_of},
    gateway::{Gateway, Upstream, tls},
    home::Home,
    images::Images,
    launcher::{HostLauncher, Machine, MissingLimits, Told},
    stores::sqlite::SqliteStore,
    wall_clock::SystemClock,
};
use tokio::sync::mpsc;

use crate::program::Installation;

/// Something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The runtime was asked to start a container.
    Asked,
    /// The agent has its whole prompt: standard input has ended.
    Prompted,
    /// The agent has a follow-up file in its hands.
    FollowedUp,
    /// The agent is about to write a block.
    Speaks,
    /// The channel was asked to send.
    Sent,
}

pub(crate) type Marks = mpsc::UnboundedSender<(Mark, Instant)>;

/// How an agent behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    /// Answers its prompt and ends.
    Once,
    /// Answers by the stream alone, stays, and answers follow-ups.
    Stays,
    /// The same, with a journal file before each block, as ours does.
    StaysWithJournal,
}

pub(crate) struct House {
    orchestrator: Orchestrator,
    running: Running,
    marks: mpsc::UnboundedReceiver<(Mark, Instant)>,
    marking: Marks,
    store: Arc<SqliteStore>,
    /// Removed last.
    installation: Installation,
}

/// The group that most is measured with.
const MAIN: usize = 0;

impl House {
    /// A running host with one group, and a channel that sends nothing. The store is real and on disk, and so are mailbox, folders and log.
    pub(crate) async fn new(config: &str, agent: Agent) -> Self {
        let house = Self::of(installation(config), config, agent, &chat(MAIN)).await;
        house.listen();
        house
    }

    /// Has a channel for the chat of the group, which sends nothing.
    pub(crate) fn listen(&self) {
        let marks = self.marking.clone();
        self.orchestrator.add_channel(Arc::new(Ear { name: "bench".parse().unwrap(), marks }));
    }

    /// The same in a home that is there, with this chat's group, and without a channel.
    pub(crate) async fn of(installation: Installation, config: &str, agent: Agent, chat: &ChatId) -> Self {
        tls::install_provider();
        let home = installation.home.clone();
        let store = Arc::new(SqliteStore::open(&home.database()).await.unwrap());
        let (marking, marks) = mpsc::unbounded_channel();
        let said = marking.clone();
        let runtime = Arc::new(FakeRuntime::new(move |container| {
            let _ = said.send((Mark::Asked, Instant::now()));
            act(container, agent, said.clone())
        }));
        store.add_group(&Group { chat: chat.clone(), ..group(MAIN) }).await.unwrap();
        let launcher = launcher(&home, config, &store, &runtime).await;
        let scheduling = Some(Scheduling { tasks: store.clone(), clock: Arc::new(SystemClock) });
        let parts = Parts { store: store.clone(), runtime, launcher: Arc::new(launcher), scheduling, senders: None };
        let (orchestrator, running) = Orchestrator::start(parts, Settings::default()).await.unwrap();
        Self { orchestrator, running, marks, marking, store, installation }
    }

    pub(crate) fn orchestrator(&self) -> &Orchestrator {
        &self.orchestrator
    }

    pub(crate) fn home(&self) -> &Home {
        &self.installation.home
    }

    /// Hands in a message as a channel does; when `accept` was called and when it returned.
    pub(crate) async fn accept(&self, id: &str) -> (Instant, Instant) {
        let message = message(&chat(MAIN), id);
        let before = Instant::now();
        self.orchestrator.inbox().accept(message).await.unwrap();
        (before, Instant::now())
    }

    /// When this was marked next.
    pub(crate) async fn marked(&mut self, wanted: Mark) -> Instant {
        loop {
            let (mark, at) = self.marks.recv().await.unwrap();
            if mark == wanted {
                return at;
            }
        }
    }

    /// Waits until the group stands so.
    pub(crate) async fn state(&self, state: &str) {
        while self.orchestrator.status().await[0].state != state {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn end(self) {
        self.running.shut_down(std::time::Duration::from_secs(10), AtShutdown::Stop).await;
        self.store.close().await;
    }
}

/// A home with this configuration, to build a house in.
pub(crate) fn installation(config: &str) -> Installation {
    Installation::new(Path::new(env!("CARGO_BIN_EXE_nanoclaw")), config)
}

/// A group; number 0 is the main group.
pub(crate) fn group(number: usize) -> Group {
    Group {
        folder: GroupFolder::new(format!("group{number}")).unwrap(),
        chat: chat(number),
        name: format!("Group {number}"),
        trigger: TriggerPolicy::Always,
        role: if number == MAIN { GroupRole::Main } else { GroupRole::Ordinary },
        added_at: Timestamp::now(),
    }
}

fn chat(number: usize) -> ChatId {
    ChatId::new(format!("bench:{number}")).unwrap()
}

/// A message that the agent answers with its id.
pub(crate) fn message(chat: &ChatId, id: &str) -> InboundMessage {
    InboundMessage {
        chat: chat.clone(),
        channel: ChannelName::new("bench").unwrap(),
        chat_kind: None,
        id: PlatformMessageId::new(id).unwrap(),
        sender: SenderId::new("ann").unwrap(),
        sender_name: "Ann".to_owned(),
        author: Author::Person,
        text: format!("What is on my list for today? #{id}#"),
        sent_at: Timestamp::now(),
        quote: None,
        thread: None,
        attachments: Vec::new(),
    }
}

pub(crate) async fn launcher(home: &Home, config: &str, store: &SqliteStore, runtime: &FakeRuntime) -> HostLauncher {
    let config = Config::parse(&home.config_file(), config, home.root(), &environment_of([])).unwrap();
    let own = RunAs { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() };
    let machine = Machine {
        runtime: RuntimeKind::Fake,
        runtime_because: "it is a benchmark".to_owned(),
        capabilities: runtime.probe().await.unwrap(),
        user: if own.uid == 0 { RunAs { uid: 1000, gid: 1000 } } else { own },
        runner: Some("/bin/true".into()),
        claude: None,
        missing_limits: MissingLimits::Refuse,
    };
    HostLauncher {
        told: Told::default(),
        outgoing: None,
        images: Images::new(home.root(), &config.images),
        home: home.clone(),
        config: Arc::new(config),
        machine: tokio::sync::watch::channel(Ok(Arc::new(machine))).1,
        install: store.install_id().await.unwrap(),
        gateway: Arc::new(Gateway::new(Upstream::new("http://127.0.0.1:9", None)).unwrap()),
    }
}

/// The inside of a container.
pub(crate) async fn act(mut container: FakeContainer, agent: Agent, marks: Marks) -> Exit {
    let input = container.read_input().await;
    let _ = marks.send((Mark::Prompted, Instant::now()));
    let input: ContainerInput = serde_json::from_slice(&input).unwrap();
    let ipc = container.spec.mounts.iter().find(|mount| mount.target == guest::IPC_DIR).unwrap();
    let mailbox = Mailbox::new(&ipc.source);
    let mut voice = Voice {
        output: container.output,
        journal: (agent == Agent::StaysWithJournal).then(|| mailbox.output().unwrap()),
        run: input.run_number.unwrap(),
        said: 0,
        marks: marks.clone(),
    };
    let inbox = mailbox.input().unwrap();
    let watcher = Watcher::new().unwrap();
    let mut watch = watcher.watch(inbox.path()).unwrap();
    voice.say(input.last_seq, &input.prompt).await;
    if agent == Agent::Once {
        return Exit::Code(0);
    }
    loop {
        tokio::select! {
            () = watch.changed() => {}
            () = container.stop.cancelled() => return Exit::Code(0),
        }
        let seen = Instant::now();
        for file in inbox.claim(&Limits::default()).unwrap() {
            let _ = marks.send((Mark::FollowedUp, seen));
            inbox.remove(&file.name).unwrap();
            let FollowUp::Message { last_seq, text, .. } = serde_json::from_slice(&file.content.unwrap()).unwrap();
            voice.say(last_seq, &text).await;
        }
        if inbox.has(CLOSE_FILE).unwrap() {
            return Exit::Code(0);
        }
    }
}

struct Voice {
    output: FakeOutput,
    journal: Option<Folder>,
    run: RunNumber,
    said: u32,
    marks: Marks,
}

impl Voice {
    /// Answers with the id of the last message in the prompt.
    async fn say(&mut self, answered: Option<Seq>, prompt: &str) {
        let block = Block {
            new_session_id: Some("session-1".parse().unwrap()),
            answered_seq: answered,
            ..Block::success(prompt.rsplit('#').nth(1).map(str::to_owned))
        };
        self.said += 1;
        let _ = self.marks.send((Mark::Speaks, Instant::now()));
        if let Some(journal) = &self.journal {
            let entry = JournalEntry { run: self.run, number: BlockNumber(self.said), block: block.clone() };
            // Not synced, because the agent's disk is not what is measured.
            journal.write_fleeting(&entry.file_name(), &serde_json::to_vec(&entry).unwrap()).unwrap();
        }
        self.output.stdout(markers::encode(&block)).await;
    }
}

/// A channel that sends nothing and says that it was asked to.
struct Ear {
    name: ChannelName,
    marks: Marks,
}

#[async_trait]
impl Channel for Ear {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn owns(&self, chat: &ChatId) -> bool {
        *chat == self::chat(MAIN)
    }

    fn capabilities(&self) -> ChannelCapabilities {
        ChannelCapabilities::default()
    }

    async fn send(&self, _delivery: &Delivery) -> Result<Sent, SendError> {
        let _ = self.marks.send((Mark::Sent, Instant::now()));
        Ok(Sent::default())
    }
}
