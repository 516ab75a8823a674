//! The agent in a container: behaves as `agent-runner init -- agent-runner run` does, or as one of v1 does, alone or under
//! `agent-runner init`, and sometimes worse. It belongs to the world, not to a host, and goes on when a host dies.

use std::{sync::Arc, time::Duration};

use super::{
    chats::{numbers_in, text_of},
    hostile,
    plan::AgentKind,
    world::World,
};
use crate::{
    mailbox::{Folder, FolderWatch, Limits, Mailbox},
    message::Seq,
    protocol::{
        environment::guest,
        gateway::NO_GATEWAY_CODE,
        input::{CLOSE_FILE, ContainerInput, FollowUp},
        markers,
        output::{Block, FailureKind, JournalEntry, Status},
        requests::{Answer, MessageRequest},
    },
    run::{BlockNumber, RunId},
    runtime::Exit,
    testing::fake_runtime::FakeContainer,
};

/// How a container ends whose process 1 did not find the gateway.
const NO_GATEWAY: Exit = Exit::Code(NO_GATEWAY_CODE as i32);

/// The life of one container.
pub(super) async fn live(world: Arc<World>, container: FakeContainer) -> Exit {
    let run = container.spec.labels.run.clone();
    let death = world.fault(|rates| rates.death).then(|| {
        let at = Duration::from_millis(world.between(0, 20_000));
        (at, world.one_of(&[Exit::Code(1), Exit::Signal(9), Exit::OutOfMemory, Exit::Unknown, NO_GATEWAY]))
    });
    let exit = tokio::select! {
        biased;
        exit = dies(death) => exit,
        exit = work(&world, container) => exit,
    };
    world.note(|| format!("container {run} ends: {exit}"));
    exit
}

async fn dies(death: Option<(Duration, Exit)>) -> Exit {
    match death {
        Some((at, exit)) => {
            tokio::time::sleep(at).await;
            exit
        }
        None => std::future::pending().await,
    }
}

async fn work(world: &World, mut container: FakeContainer) -> Exit {
    let run = container.spec.labels.run.clone();
    world.note(|| format!("container {run} starts"));
    let stop = container.stop.clone();
    let bytes = tokio::select! {
        biased;
        () = stop.cancelled() => return Exit::Code(0),
        bytes = container.read_input() => bytes,
    };
    world.pause(0, 300).await;
    let Ok(input) = serde_json::from_slice::<ContainerInput>(&bytes) else {
        world.note(|| format!("container {run} has no prompt"));
        return Exit::Code(1);
    };
    let Some(mailbox) = container.spec.mounts.iter().find(|mount| mount.target == guest::IPC_DIR) else {
        return Exit::Code(1);
    };
    let Ok(inside) = Inside::open(world, &Mailbox::new(&mailbox.source)) else { return Exit::Code(1) };
    let kind = world.plan.groups.iter().find(|plan| plan.name == run.group.as_str());
    let agent = Agent {
        world,
        kind: kind.map_or(AgentKind::Ours, |plan| plan.agent),
        name: run.to_string(),
        run,
        chat: input.chat_jid,
        container,
        inside,
        handed: input.last_seq,
        answered: None,
        blocks: 0,
        requests: 0,
        broken: false,
    };
    world.check_files(&input.prompt, &input.files);
    if input.is_scheduled_task == Some(true) {
        return agent.do_task(&input.prompt).await;
    }
    agent.take_turns(input.prompt).await
}

/// The mailbox, seen from inside.
struct Inside {
    input: Folder,
    output: Folder,
    messages: Folder,
    answers: Folder,
    follow_ups: FolderWatch,
    answered: FolderWatch,
}

impl Inside {
    fn open(world: &World, mailbox: &Mailbox) -> Result<Self, crate::mailbox::MailboxError> {
        let (input, answers) = (mailbox.input()?, mailbox.answers()?);
        let (follow_ups, answered) = (world.watcher.watch(input.path())?, world.watcher.watch(answers.path())?);
        Ok(Self { input, output: mailbox.output()?, messages: mailbox.messages()?, answers, follow_ups, answered })
    }
}

struct Agent<'a> {
    world: &'a World,
    kind: AgentKind,
    /// Its run, for people.
    name: String,
    run: RunId,
    chat: String,
    container: FakeContainer,
    inside: Inside,
    handed: Option<Seq>,
    answered: Option<Seq>,
    blocks: u32,
    requests: u32,
    /// Its journal cannot be written. It ends soon: what it said from then on, no later host would ever hear.
    broken: bool,
}

impl Agent<'_> {
    async fn take_turns(mut self, first: String) -> Exit {
        let mut prompt = first;
        loop {
            if let Some(exit) = self.turn(&prompt).await {
                return exit;
            }
            match self.next_prompt().await {
                Ok(next) => prompt = next,
                Err(exit) => {
                    self.world.pause(0, 500).await;
                    return exit;
                }
            }
        }
    }

    /// Does a task and ends, when it is one of ours by itself. It takes nothing else.
    async fn do_task(mut self, task: &str) -> Exit {
        let world = self.world;
        world.note(|| format!("agent {} is to do {task}", self.name));
        if let Some(exit) = self.think().await {
            return exit;
        }
        if world.fault(|rates| rates.turn_left) {
            world.note(|| format!("agent {} leaves without a word", self.name));
            return Exit::Code(0);
        }
        if world.fault(|rates| rates.turn_fails) {
            self.fail_somehow().await;
            return Exit::Code(1);
        }
        if world.chance(|rates| rates.request) {
            self.request().await;
        }
        let text = (!world.chance(|rates| rates.turn_silent))
            .then(|| format!("did {task} by {} ({})", self.name, self.blocks + 1));
        self.say(Block { result: text, ..silent(None) }).await;
        if self.broken {
            return Exit::Code(1);
        }
        if self.kind == AgentKind::Ours {
            return Exit::Code(0);
        }
        match self.next_prompt().await {
            Ok(fed) => {
                world.broken(|| format!("mixed: {} does {task} and is fed {fed:?}", self.name));
                Exit::Code(1)
            }
            Err(exit) => exit,
        }
    }

    /// Takes its time; the exit when it was stopped meanwhile.
    async fn think(&self) -> Option<Exit> {
        let world = self.world;
        let stop = self.container.stop.clone();
        let thinking = async {
            world.pause(0, u64::try_from(world.plan.turn.as_millis()).unwrap_or(0)).await;
            if world.fault(|rates| rates.turn_hangs) {
                world.note(|| format!("agent {} hangs", self.name));
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Some(self.stopped()),
            () = thinking => None,
        }
    }

    /// Answers one prompt; the exit when it does not come to that.
    async fn turn(&mut self, prompt: &str) -> Option<Exit> {
        let world = self.world;
        let mut asked: Vec<u64> = numbers_in(prompt);
        world.note(|| format!("agent {} is asked {asked:?}", self.name));
        if let Some(exit) = self.think().await {
            return Some(exit);
        }
        if world.chance(|rates| rates.turn_takes_more) {
            let more = self.take_follow_ups();
            asked.extend(more.iter().flat_map(|text| numbers_in(text)));
            world.note(|| format!("agent {} answers {asked:?} together", self.name));
        }
        if world.fault(|rates| rates.turn_left) {
            world.note(|| format!("agent {} leaves without a word", self.name));
            if self.kind != AgentKind::Ours {
                // By ending well it says that it is done with all it has.
                self.keeps_silent_about(&asked);
            }
            return Some(Exit::Code(0));
        }
        if let Some(number) = asked.iter().find(|number| is_poisoned(**number)) {
            self.fail(FailureKind::Refused, format!("simulated poison in [{number}]")).await;
            return Some(Exit::Code(1));
        }
        if world.fault(|rates| rates.turn_fails) {
            self.fail_somehow().await;
            return Some(Exit::Code(1));
        }
        if world.chance(|rates| rates.request) {
            self.request().await;
        }
        // Words of v1 before its answer are taken for the answer: it names no messages.
        if world.chance(|rates| rates.remark) && self.kind == AgentKind::Ours {
            let text = format!("one moment ({} {})", self.name, self.blocks + 1);
            self.say(Block { result: Some(text), ..silent(self.answered.or(Some(Seq::ZERO))) }).await;
            world.pause(0, 500).await;
        }
        if self.broken {
            return Some(Exit::Code(1));
        }
        let silence = world.chance(|rates| rates.turn_silent);
        if silence {
            self.keeps_silent_about(&asked);
        }
        let numbers: Vec<String> = asked.into_iter().map(text_of).collect();
        let text = (!silence).then(|| format!("re {} by {} ({})", numbers.join(" "), self.name, self.blocks + 1));
        self.answered = self.handed;
        if self.kind == AgentKind::Ours {
            self.say(Block { result: text, ..silent(self.answered) }).await;
        } else {
            if text.is_some() {
                self.say(Block { result: text, ..silent(None) }).await;
                world.pause(0, 200).await;
            }
            // It waits for more.
            self.say(silent(None)).await;
        }
        self.broken.then_some(Exit::Code(1))
    }

    fn keeps_silent_about(&self, asked: &[u64]) {
        let mut chats = self.world.chats();
        chats.silenced.extend(asked.iter().map(|number| (*number, self.run.clone())));
    }

    /// What it ends with when it is told to stop.
    fn stopped(&self) -> Exit {
        // Ours ends well; v1 has no handler for the signal, which its shell tells of by this code.
        if self.kind == AgentKind::Ours { Exit::Code(0) } else { Exit::Code(143) }
    }

    async fn fail_somehow(&mut self) {
        let kinds =
            [FailureKind::Other, FailureKind::Quota, FailureKind::Overload, FailureKind::NoSession, FailureKind::Login];
        let failure = self.world.one_of(&kinds);
        self.fail(failure, format!("simulated {failure:?}")).await;
    }

    async fn fail(&mut self, failure: FailureKind, error: String) {
        let block =
            Block { status: Status::Error, error: Some(error), failure: Some(failure), ..silent(self.answered) };
        self.say(block).await;
    }

    /// What came as files, all of it, or its exit when it is to end. What lies there is taken before a request to end is
    /// honoured; v1 may overlook it.
    async fn next_prompt(&mut self) -> Result<String, Exit> {
        let stop = self.container.stop.clone();
        loop {
            if stop.is_cancelled() {
                return Err(self.stopped());
            }
            let close = self.inside.input.has(CLOSE_FILE).unwrap_or(false);
            let overlooks = close && self.kind != AgentKind::Ours && self.world.one_of(&[true, false]);
            let texts = if overlooks { Vec::new() } else { self.take_follow_ups() };
            if !texts.is_empty() {
                return Ok(texts.join("\n"));
            }
            if close {
                self.world.note(|| format!("agent {} ends as it was asked to", self.name));
                return Err(Exit::Code(0));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(self.stopped()),
                () = self.inside.follow_ups.changed() => {}
            }
        }
    }

    fn take_follow_ups(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        for file in self.inside.input.claim(&Limits::default()).unwrap_or_default() {
            let follow_up = file.content.ok().and_then(|bytes| serde_json::from_slice::<FollowUp>(&bytes).ok());
            if let Some(FollowUp::Message { text, last_seq, files, .. }) = follow_up
                && last_seq > self.handed
            {
                self.handed = last_seq;
                self.world.check_files(&text, &files);
                self.note_haste(&text);
                texts.push(text);
            }
            let _ = self.inside.input.remove(&file.name);
        }
        texts
    }

    /// An agent of v1 says that it is done with what it has, and not what that is. A host that reads this after the agent has
    /// taken more believes it done with that too.
    fn note_haste(&self, text: &str) {
        let mut chats = self.world.chats();
        let committed = chats.committed.get(&self.run).copied().unwrap_or_default();
        let is_heard = self.kind == AgentKind::WrappedV1 || self.container.output.is_heard();
        if self.kind != AgentKind::Ours && is_heard && committed < self.blocks {
            let numbers = numbers_in(text);
            chats.hasty.extend(numbers.into_iter().map(|number| (number, self.run.clone())));
        }
    }

    /// As init does: the journal first, if it can be written, then standard output.
    async fn say(&mut self, block: Block) {
        let world = self.world;
        if world.fault(|rates| rates.hostile) {
            hostile::litter(world, &self.inside.output, &self.run, self.blocks, self.kind);
        }
        self.blocks += 1;
        let block = match self.kind {
            AgentKind::Ours => block,
            AgentKind::WrappedV1 | AgentKind::BareV1 => Block { answered_seq: None, failure: None, ..block },
        };
        let journals = self.kind != AgentKind::BareV1;
        let entry = JournalEntry { run: self.run.number, number: BlockNumber(self.blocks), block };
        let json = serde_json::to_vec(&entry).expect("a journal entry has text keys and plain values");
        // The store is in memory, and so may the journal be.
        self.broken |= journals && world.fault(|rates| rates.journal_fails);
        let written = journals && !self.broken && self.inside.output.write_fleeting(&entry.file_name(), &json).is_ok();
        world.note(|| format!("agent {} says block {}: {:?} {written}", self.name, self.blocks, entry.block.result));
        if world.fault(|rates| rates.slow) {
            world.pause(0, 300).await;
        }
        let bytes = markers::encode(&entry.block);
        let cut = if world.fault(|rates| rates.slow) { bytes.len() / 2 } else { bytes.len() };
        self.container.output.stdout(bytes[..cut].to_vec()).await;
        if cut < bytes.len() {
            world.pause(0, 300).await;
            self.container.output.stdout(bytes[cut..].to_vec()).await;
        }
    }

    /// Asks for a message or a file to be sent, and sometimes waits to hear that it is.
    async fn request(&mut self) {
        let world = self.world;
        self.requests += 1;
        let text = format!("asked for ({} {})", self.name, self.requests);
        let request = match world.one_of(&[true, false, false]) {
            true => self.file_request(&text),
            false => MessageRequest::Message { chat_jid: self.chat.clone(), text: text.clone(), sender: None },
        };
        let json = serde_json::to_vec(&request).expect("a request has text keys and plain values");
        let name = format!("{:06}-{:06}.json", self.run.number.0, self.requests);
        if self.inside.messages.write_fleeting(&name, &json).is_err() {
            return;
        }
        world.note(|| format!("agent {} asks: {text:?}", self.name));
        world.chats().requested.insert(text.clone(), false);
        if world.one_of(&[true, false]) {
            return;
        }
        let wait = async {
            while !self.inside.answers.has(&name).unwrap_or(true) {
                self.inside.answered.changed().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), wait).await.is_err() {
            return;
        }
        let answer = std::fs::read(self.inside.answers.path().join(&name)).unwrap_or_default();
        if let Ok(Answer::Done { .. }) = serde_json::from_slice(&answer) {
            world.chats().requested.insert(text, true);
        }
    }
}

impl Agent<'_> {
    /// Writes a file that says `text`, to be sent with just that as its caption.
    fn file_request(&self, text: &str) -> MessageRequest {
        let name = format!("{}-{}.txt", self.run.number, self.requests);
        let folder = self.world.root.join("groups").join(self.run.group.as_str());
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join(&name), text));
        written.expect("a folder of the simulation's own can be written");
        MessageRequest::File { chat_jid: self.chat.clone(), path: name, caption: Some(text.to_owned()) }
    }
}

/// Whether a message is one that no agent can answer, however often it is asked.
fn is_poisoned(number: u64) -> bool {
    number % 29 == 4
}

/// A success without words.
pub(super) fn silent(answered: Option<Seq>) -> Block {
    Block { answered_seq: answered, ..Block::success(None) }
}
