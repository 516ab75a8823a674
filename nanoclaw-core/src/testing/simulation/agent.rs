//! The agent in a container: behaves as `agent-runner init -- agent-runner run` does, and sometimes worse. It belongs to
//! the world, not to a host, and goes on when a host dies.

use std::{sync::Arc, time::Duration};

use super::{
    chats::{numbers_in, text_of},
    world::World,
};
use crate::{
    mailbox::{Folder, FolderWatch, Limits, Mailbox},
    message::Seq,
    protocol::{
        environment::guest,
        input::{CLOSE_FILE, ContainerInput, FollowUp},
        markers,
        output::{Block, FailureKind, JournalEntry, Status},
        requests::{Answer, MessageRequest},
    },
    run::{BlockNumber, RunNumber},
    runtime::Exit,
    testing::fake_runtime::FakeContainer,
};

/// The life of one container.
pub(super) async fn live(world: Arc<World>, container: FakeContainer) -> Exit {
    let run = container.spec.labels.run.clone();
    let death = world.fault(|rates| rates.death).then(|| {
        let at = Duration::from_millis(world.between(0, 20_000));
        (at, world.one_of(&[Exit::Code(1), Exit::Signal(9), Exit::OutOfMemory, Exit::Unknown]))
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
    let name = run.to_string();
    let agent = Agent {
        world,
        name,
        run: run.number,
        chat: input.chat_jid,
        container,
        inside,
        handed: input.last_seq,
        answered: None,
        blocks: 0,
        requests: 0,
        broken: false,
    };
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
    /// Its run, for people.
    name: String,
    run: RunNumber,
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
                Some(next) => prompt = next,
                None => {
                    self.world.pause(0, 500).await;
                    return Exit::Code(0);
                }
            }
        }
    }

    /// Answers one prompt; the exit when it does not come to that.
    async fn turn(&mut self, prompt: &str) -> Option<Exit> {
        let world = self.world;
        let stop = self.container.stop.clone();
        let asked: Vec<u64> = numbers_in(prompt);
        world.note(|| format!("agent {} is asked {asked:?}", self.name));
        let thinking = async {
            world.pause(0, u64::try_from(world.plan.turn.as_millis()).unwrap_or(0)).await;
            if world.fault(|rates| rates.turn_hangs) {
                world.note(|| format!("agent {} hangs", self.name));
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return Some(Exit::Code(0)),
            () = thinking => {}
        }
        if world.fault(|rates| rates.turn_left) {
            world.note(|| format!("agent {} leaves without a word", self.name));
            return Some(Exit::Code(0));
        }
        if let Some(number) = asked.iter().find(|number| is_poisoned(**number)) {
            self.fail(FailureKind::Refused, format!("simulated poison in [{number}]")).await;
            return Some(Exit::Code(1));
        }
        if world.fault(|rates| rates.turn_fails) {
            let kinds = [
                FailureKind::Other,
                FailureKind::Quota,
                FailureKind::Overload,
                FailureKind::NoSession,
                FailureKind::Login,
            ];
            let failure = world.one_of(&kinds);
            self.fail(failure, format!("simulated {failure:?}")).await;
            return Some(Exit::Code(1));
        }
        if world.chance(|rates| rates.request) {
            self.request().await;
        }
        if world.chance(|rates| rates.remark) {
            let text = format!("one moment ({} {})", self.name, self.blocks + 1);
            self.say(Block { result: Some(text), ..silent(self.answered.or(Some(Seq::ZERO))) }).await;
            world.pause(0, 500).await;
        }
        if self.broken {
            return Some(Exit::Code(1));
        }
        self.answered = self.handed;
        let numbers: Vec<String> = asked.into_iter().map(text_of).collect();
        let text = format!("re {} by {}", numbers.join(" "), self.name);
        self.say(Block { result: Some(text), ..silent(self.answered) }).await;
        self.broken.then_some(Exit::Code(1))
    }

    async fn fail(&mut self, failure: FailureKind, error: String) {
        let block =
            Block { status: Status::Error, error: Some(error), failure: Some(failure), ..silent(self.answered) };
        self.say(block).await;
    }

    /// What came as files, all of it, or `None` when the agent is to end. What lies there is taken before a request to end
    /// is honoured.
    async fn next_prompt(&mut self) -> Option<String> {
        let stop = self.container.stop.clone();
        loop {
            if stop.is_cancelled() {
                return None;
            }
            let close = self.inside.input.has(CLOSE_FILE).unwrap_or(false);
            let mut texts = Vec::new();
            for file in self.inside.input.claim(&Limits::default()).unwrap_or_default() {
                let follow_up = file.content.ok().and_then(|bytes| serde_json::from_slice::<FollowUp>(&bytes).ok());
                if let Some(FollowUp::Message { text, last_seq, .. }) = follow_up
                    && last_seq > self.handed
                {
                    self.handed = last_seq;
                    texts.push(text);
                }
                let _ = self.inside.input.remove(&file.name);
            }
            if !texts.is_empty() {
                return Some(texts.join("\n"));
            }
            if close {
                self.world.note(|| format!("agent {} ends as it was asked to", self.name));
                return None;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                () = self.inside.follow_ups.changed() => {}
            }
        }
    }

    /// As init does: the journal first, if it can be written, then standard output.
    async fn say(&mut self, block: Block) {
        let world = self.world;
        self.blocks += 1;
        let entry = JournalEntry { run: self.run, number: BlockNumber(self.blocks), block };
        let json = serde_json::to_vec(&entry).expect("a journal entry has text keys and plain values");
        // The store is in memory, and so may the journal be.
        self.broken |= world.fault(|rates| rates.journal_fails);
        let written = !self.broken && self.inside.output.write_fleeting(&entry.file_name(), &json).is_ok();
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

    /// Asks for a message to be sent, and sometimes waits to hear that it is.
    async fn request(&mut self) {
        let world = self.world;
        self.requests += 1;
        let text = format!("asked for ({} {})", self.name, self.requests);
        let request = MessageRequest::Message { chat_jid: self.chat.clone(), text: text.clone(), sender: None };
        let json = serde_json::to_vec(&request).expect("a request has text keys and plain values");
        let name = format!("{:06}-{:06}.json", self.run.0, self.requests);
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

/// Whether a message is one that no agent can answer, however often it is asked.
fn is_poisoned(number: u64) -> bool {
    number % 29 == 4
}

/// A success without words.
fn silent(answered: Option<Seq>) -> Block {
    Block {
        status: Status::Success,
        result: None,
        new_session_id: None,
        error: None,
        failure: None,
        retry_at: None,
        answered_seq: answered,
    }
}
