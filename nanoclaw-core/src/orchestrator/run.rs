//! The worker of one run: owns a container from its first prompt to its removal.
//!
//! ```text
//!  open run ─▶ prepare ─▶ note the turn ─▶ start container ─▶ write prompt ─▶ serve ─▶ drain ─▶ close run ─▶ remove
//!                                                                             ▲   │
//!                            feed: note the turn, write the file ─────────────┘   └─ block: commit, then tell
//! ```
//!
//! A turn is noted before the agent can see it and a block is committed before anyone is told of it, so that whatever dies
//! in between, the store knows which messages are still owed an answer.

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{broadcast, mpsc},
    time::Instant,
};

use super::{
    Notice,
    batch::{Batch, next_batch},
    blocks::{BlockSource, Ledger, commit_of},
    channels::Channels,
    control::Input,
    deliverer::Nudges,
    event::{Event, RunWord, StopReason},
    requests,
};
use crate::{
    channel::Typing,
    group::{Group, GroupRole},
    launch::{Launch, Launcher},
    mailbox::{Claimed, Folder, FolderWatch, Limits, Mailbox, MailboxError, Watcher},
    message::Seq,
    protocol::{
        PROTOCOL_VERSION,
        input::{CLOSE_FILE, ContainerInput, FollowUp, follow_up_name},
        markers::{Decoder, Found, MAX_BLOCK_BYTES},
        output::{Block, FailureKind, JournalEntry, Status},
    },
    run::{BlockNumber, Retry, RunEnding, RunId, RunKind},
    runtime::{Container, ContainerId, ContainerRuntime, ContainerStdin, Exit, Output, RuntimeError, StopOutcome},
    store::{BlockOutcome, NewRun, SessionContext, Store, StoreError},
    time::Timestamp,
};

/// The numbers and names that runs go by.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// What the assistant is called.
    pub assistant_name: String,
    /// The zone in which the agent is told times.
    pub zone: jiff::tz::TimeZone,
    /// How long an agent that was asked to end may take before it is stopped.
    pub close_grace: Duration,
    /// How long a container that is stopped may take before it is killed.
    pub stop_grace: Duration,
    /// How long a container may take to read its prompt.
    pub stdin_limit: Duration,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            assistant_name: "Andy".to_owned(),
            zone: jiff::tz::TimeZone::UTC,
            close_grace: Duration::from_secs(30),
            stop_grace: Duration::from_secs(10),
            stdin_limit: Duration::from_secs(60),
        }
    }
}

/// What all runs share.
pub(super) struct RunContext {
    pub(super) store: Arc<dyn Store>,
    pub(super) runtime: Arc<dyn ContainerRuntime>,
    pub(super) launcher: Arc<dyn Launcher>,
    pub(super) channels: Channels,
    pub(super) nudges: Nudges,
    pub(super) notices: broadcast::Sender<Notice>,
    pub(super) watcher: Watcher,
    pub(super) settings: RunSettings,
}

/// What the dispatcher asks of a run's worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Feed,
    Close,
    Stop(StopReason),
}

/// How often a chat is shown again that the assistant is at work; services forget after five seconds.
const TYPING_INTERVAL: Duration = Duration::from_secs(4);
/// How long output may still come after the container has ended; the runtimes promise two seconds.
const OUTPUT_AFTER_EXIT: Duration = Duration::from_secs(5);
/// How much of standard error is kept to explain a crash.
const LAST_WORDS_BYTES: usize = 600;
/// A journal file holds a whole block and a little around it.
pub(super) const JOURNAL_LIMITS: Limits = Limits { file_bytes: MAX_BLOCK_BYTES + 4096, names: 256 };
/// How often in a row the journal is looked at for more.
const JOURNAL_ROUNDS: u32 = 64;
/// How many requests are answered at a time, and the pause after as many.
const REQUEST_LIMITS: Limits = Limits { file_bytes: 1024 * 1024, names: 50 };
const REQUEST_PAUSE: Duration = Duration::from_millis(250);
/// How often stopping a container is tried, and the pause before the next try.
const STOP_TRIES: u32 = 3;
const STOP_PAUSE: Duration = Duration::from_secs(5);
/// How often a commit is tried before the run is given up.
const COMMIT_TRIES: u32 = 8;

/// Runs one container for `group` and returns how it ended, after everything it said is committed and it is removed.
pub(super) async fn run(
    context: Arc<RunContext>,
    group: Arc<Group>,
    id: RunId,
    kind: RunKind,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Input>,
) -> RunEnding {
    let words = Words { run: id.clone(), events };
    if let RunKind::Task(task) = &kind {
        let reason = format!("there is no task {task}");
        return RunEnding::NotStarted { reason, retry: Retry::Never };
    }
    let batch = match next_batch(
        &*context.store,
        &group.folder,
        Seq::ZERO,
        context.launcher.tuning(&group.folder).prompt,
        &context.settings.zone,
    )
    .await
    {
        Ok(Some(batch)) => batch,
        Ok(None) => {
            // Everything that waked is answered or given up by now: the dispatcher's knowledge is old.
            return match context.store.cursor(&group.folder).await {
                Ok(cursor) => {
                    words.say(RunWord::Answered { through: cursor }).await;
                    RunEnding::Finished
                }
                Err(error) => not_started(&error, Retry::Later),
            };
        }
        Err(error) => return not_started(&error, Retry::Later),
    };
    let new_run = NewRun { id: id.clone(), kind, runtime: context.runtime.kind(), at: Timestamp::now() };
    if let Err(error) = context.store.open_run(&new_run).await {
        return not_started(&error, Retry::Later);
    }
    tracing::info!(run = %id, runtime = %new_run.runtime, "run opened");
    let ending = match Live::start(&context, &group, &id, &batch, &words).await {
        Ok((live, container)) => live.serve(container, commands).await,
        Err(ending) => ending,
    };
    close(&*context.store, &id, &ending).await;
    ending
}

async fn close(store: &dyn Store, id: &RunId, ending: &RunEnding) {
    if ending.is_failure() {
        tracing::warn!(run = %id, "the run {ending}");
    } else {
        tracing::info!(run = %id, "the run {ending}");
    }
    // A run that cannot be closed now is closed as lost when the group's next one is opened.
    if let Err(error) = store.close_run(id, ending, Timestamp::now()).await {
        tracing::error!(run = %id, %error, "cannot note that the run has ended");
    }
}

fn not_started(error: &dyn std::fmt::Display, retry: Retry) -> RunEnding {
    RunEnding::NotStarted { reason: error.to_string(), retry }
}

/// Whether a runtime's refusal can pass by itself.
fn retry_of(error: &RuntimeError) -> Retry {
    match error {
        RuntimeError::Unavailable { .. }
        | RuntimeError::TimedOut { .. }
        | RuntimeError::Gone { .. }
        | RuntimeError::Other { .. } => Retry::Later,
        RuntimeError::NoImage { .. }
        | RuntimeError::BadCommand { .. }
        | RuntimeError::BadMount { .. }
        | RuntimeError::NotEnforced { .. } => Retry::Never,
    }
}

/// The worker's voice.
struct Words {
    run: RunId,
    events: mpsc::Sender<Input>,
}

impl Words {
    async fn say(&self, word: RunWord) {
        // When the loop has ended nobody needs to know any more.
        let _ = self.events.send(Input::Event(Event::Run { run: self.run.clone(), word })).await;
    }
}

/// A run whose container is alive.
struct Live<'a> {
    context: &'a RunContext,
    group: &'a Group,
    id: &'a RunId,
    words: &'a Words,
    folders: Arc<Folders>,
    output_watch: FolderWatch,
    messages_watch: FolderWatch,
    tasks_watch: FolderWatch,
    log: Box<dyn std::io::Write + Send>,
    /// Holds the gateway's socket open.
    _guard: Box<dyn Send + Sync>,
    decoder: Decoder,
    last_words: VecDeque<u8>,
    blocks: BlockSource,
    ledger: Ledger,
    /// The agent's own report of its failure.
    failure: Option<(String, Retry)>,
    /// Why this run must not go on: another run took its place, or the store will not have its words.
    lost: Option<String>,
    asked_to_end: Option<StopReason>,
    closing: bool,
    /// When to look for more requests, after as many were answered as are answered at a time.
    more_requests_at: Option<Instant>,
    typing: TypingSign,
}

struct Folders {
    input: Folder,
    output: Folder,
    messages: Folder,
    tasks: Folder,
    answers: Folder,
}

impl Folders {
    fn open(mailbox: &Mailbox) -> Result<Self, MailboxError> {
        Ok(Self {
            input: mailbox.input()?,
            output: mailbox.output()?,
            messages: mailbox.messages()?,
            tasks: mailbox.tasks()?,
            answers: mailbox.answers()?,
        })
    }
}

impl<'a> Live<'a> {
    async fn start(
        context: &'a RunContext,
        group: &'a Group,
        id: &'a RunId,
        batch: &Batch,
        words: &'a Words,
    ) -> Result<(Self, Container), RunEnding> {
        let launch = context
            .launcher
            .prepare(group, id, &RunKind::Chat)
            .await
            .map_err(|error| RunEnding::NotStarted { reason: error.reason, retry: error.retry })?;
        let Launch { spec, mailbox, log, guard } = launch;
        let mailbox = Mailbox::new(mailbox);
        let folders = Folders::open(&mailbox).map_err(|error| not_started(&error, Retry::Later))?;
        // What an earlier run was handed as a file and did not take is pending in the store and part of this prompt
        // (fault F52).
        folders.input.clear().map_err(|error| not_started(&error, Retry::Later))?;
        let watch =
            |folder: &Folder| context.watcher.watch(folder.path()).map_err(|error| not_started(&error, Retry::Later));
        let output_watch = watch(&folders.output)?;
        let messages_watch = watch(&folders.messages)?;
        let tasks_watch = watch(&folders.tasks)?;
        let session = context.store.session(&group.folder, &SessionContext::Chat).await;
        let session = session.map_err(|error| not_started(&error, Retry::Later))?;
        context
            .store
            .hand_over(id, batch.handed, Timestamp::now())
            .await
            .map_err(|error| not_started(&error, Retry::Later))?;
        let mut container =
            context.runtime.start(&spec).await.map_err(|error| not_started(&error, retry_of(&error)))?;
        let input = ContainerInput {
            prompt: batch.text.clone(),
            session_id: session,
            group_folder: group.folder.clone(),
            chat_jid: group.chat.to_string(),
            is_main: group.role == GroupRole::Main,
            is_scheduled_task: None,
            assistant_name: Some(context.settings.assistant_name.clone()),
            script: None,
            protocol: Some(PROTOCOL_VERSION),
            run_number: Some(id.number),
            first_seq: Some(batch.handed.first),
            last_seq: Some(batch.handed.last),
        };
        let mut live = Self {
            context,
            group,
            id,
            words,
            folders: Arc::new(folders),
            output_watch,
            messages_watch,
            tasks_watch,
            log,
            _guard: guard,
            decoder: Decoder::new(),
            last_words: VecDeque::new(),
            blocks: BlockSource::default(),
            ledger: Ledger::new(batch.handed),
            failure: None,
            lost: None,
            asked_to_end: None,
            closing: false,
            more_requests_at: None,
            typing: TypingSign::new(context.channels.clone(), group),
        };
        live.words.say(RunWord::Handed { through: batch.handed.last }).await;
        live.typing.show(Typing::On);
        let stdin = std::mem::replace(&mut container.stdin, ContainerStdin::new(tokio::io::sink()));
        live.write_prompt(stdin, &input).await;
        live.words.say(RunWord::Started).await;
        Ok((live, container))
    }

    /// A container that does not take its prompt has ended, or will be stopped: how it ended tells more than the pipe does
    /// (fault F29).
    async fn write_prompt(&mut self, mut stdin: ContainerStdin, input: &ContainerInput) {
        let json = serde_json::to_vec(input).expect("a container input has text keys and plain values");
        match stdin.send(&json, self.context.settings.stdin_limit).await {
            Ok(()) => stdin.close().await,
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                let limit = self.context.settings.stdin_limit;
                self.lost = Some(format!("the agent did not read its prompt within {limit:?}"));
            }
            Err(error) => tracing::debug!(run = %self.id, %error, "the container did not take its prompt"),
        }
    }

    async fn serve(mut self, container: Container, mut commands: mpsc::Receiver<Command>) -> RunEnding {
        let Container { id: container, mut output, exit: exit_watch, .. } = container;
        let mut exit: Option<Exit> = None;
        let mut output_open = true;
        let mut stop = Stopping::default();
        let mut close_deadline: Option<Instant> = None;
        let mut output_deadline: Option<Instant> = None;
        while exit.is_none() || output_open {
            if exit.is_none()
                && (self.lost.is_some() || self.asked_to_end.is_some())
                && !stop.begin(self.context, &container)
            {
                self.lost.get_or_insert_with(|| "its container cannot be stopped".to_owned());
                break;
            }
            tokio::select! {
                chunk = output.recv(), if output_open => match chunk {
                    Some(Output::Stdout(bytes)) => {
                        let found = self.decoder.feed(&bytes);
                        self.take_found(found).await;
                    }
                    Some(Output::Stderr(bytes)) => self.take_stderr(&bytes),
                    None => output_open = false,
                },
                ended = exit_watch.clone(), if exit.is_none() => {
                    exit = Some(ended);
                    output_deadline = Some(Instant::now() + OUTPUT_AFTER_EXIT);
                }
                Some(command) = commands.recv() => match command {
                    Command::Feed => self.feed().await,
                    Command::Close => {
                        self.closing = true;
                        self.ask_to_end().await;
                        close_deadline = Some(Instant::now() + self.context.settings.close_grace);
                    }
                    Command::Stop(why) => self.asked_to_end = Some(why),
                },
                () = self.output_watch.changed() => self.drain_journal().await,
                () = self.messages_watch.changed() => self.answer_requests().await,
                () = self.tasks_watch.changed() => self.answer_requests().await,
                () = sleep_until(self.more_requests_at), if self.more_requests_at.is_some() => self.answer_requests().await,
                () = self.typing.keep_shown() => {}
                () = stop.done() => {}
                () = sleep_until(close_deadline), if close_deadline.is_some() => {
                    tracing::warn!(run = %self.id, "the agent did not end when asked to; its container is stopped");
                    close_deadline = None;
                    self.asked_to_end.get_or_insert(StopReason::Wanted);
                }
                () = sleep_until(output_deadline), if output_deadline.is_some() => {
                    tracing::warn!(run = %self.id, "output did not end with the container; what is left of it is dropped");
                    break;
                }
            }
        }
        let rest = self.decoder.finish();
        self.take_found(rest).await;
        self.drain_journal().await;
        self.answer_requests().await;
        let ending = self.ending(exit.unwrap_or(Exit::Unknown)).await;
        self.typing.hide().await;
        if let Err(error) = self.context.runtime.remove(&container).await {
            tracing::error!(run = %self.id, %error, "cannot make sure that the container is gone");
        }
        ending
    }

    // --- what the agent says ----------------------------------------------------------------------------------------

    async fn take_found(&mut self, found: Vec<Found>) {
        for item in found {
            match item {
                Found::Block(block) => {
                    let number = self.blocks.next_on_stream();
                    self.take_block(number, block).await;
                }
                Found::Line(line) if line.is_empty() => {}
                Found::Line(line) => self.write_log("stdout", line.as_bytes()),
                Found::Broken { reason } => {
                    tracing::warn!(run = %self.id, %reason, "the agent wrote something between markers that is no block");
                }
            }
        }
    }

    fn take_stderr(&mut self, bytes: &[u8]) {
        self.last_words.extend(bytes);
        let excess = self.last_words.len().saturating_sub(LAST_WORDS_BYTES);
        self.last_words.drain(..excess);
        self.write_log("stderr", bytes.strip_suffix(b"\n").unwrap_or(bytes));
    }

    fn write_log(&mut self, stream: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for line in text.split('\n') {
            // A log that cannot be written must not stop an answer.
            let _ = writeln!(self.log, "{stream}: {line}");
        }
    }

    /// Takes a block that came by the stream or by the journal, whichever was first.
    async fn take_block(&mut self, number: BlockNumber, block: Block) {
        if !self.blocks.is_new(number) || self.lost.is_some() {
            return;
        }
        self.ledger.note_taken(|name| self.folders.input.has(name).unwrap_or(true));
        if block.status == Status::Error {
            self.note_failure(&block).await;
        }
        let commit = commit_of(self.id, &self.group.chat, number, &block, &mut self.ledger);
        match self.commit(&commit).await {
            Ok(BlockOutcome::Committed(reply)) => {
                self.blocks.committed(number);
                if reply.is_some() {
                    self.context.nudges.chat(&self.group.chat);
                }
                let Some(through) = commit.answers else {
                    self.words.say(RunWord::Progress).await;
                    return;
                };
                self.ledger.answered(through);
                self.words.say(RunWord::Answered { through }).await;
                let notice = Notice::Answered {
                    group: self.group.folder.clone(),
                    chat: self.group.chat.clone(),
                    through,
                    reply,
                };
                let _ = self.context.notices.send(notice);
                if self.ledger.all_answered() {
                    self.typing.show(Typing::Off);
                }
            }
            Ok(BlockOutcome::Duplicate) => self.blocks.committed(number),
            Ok(BlockOutcome::Fenced) => self.lost = Some("a later run has taken its place".to_owned()),
            Err(error) => self.lost = Some(error.to_string()),
        }
    }

    async fn note_failure(&mut self, block: &Block) {
        let reason = block.error.clone().unwrap_or_else(|| "the agent did not say why".to_owned());
        let kind = block.failure.unwrap_or(FailureKind::Other);
        if kind == FailureKind::NoSession
            && let Err(error) = self.context.store.forget_session(&self.group.folder, &SessionContext::Chat).await
        {
            tracing::error!(run = %self.id, %error, "cannot forget a session that cannot be resumed");
        }
        let retry = match kind {
            FailureKind::Login | FailureKind::Refused => Retry::Never,
            FailureKind::Quota
            | FailureKind::Overload
            | FailureKind::NoSession
            | FailureKind::Other
            | FailureKind::Unknown => Retry::Later,
        };
        self.failure = Some((reason, retry));
    }

    /// A full disk passes, and so does a busy database: the block is tried again for a while, and the journal keeps it
    /// meanwhile.
    async fn commit(&mut self, commit: &crate::store::BlockCommit) -> Result<BlockOutcome, StoreError> {
        let mut tries = 0;
        loop {
            match self.context.store.commit_block(self.id, commit).await {
                Err(error) if tries + 1 < COMMIT_TRIES => {
                    tries += 1;
                    tracing::error!(run = %self.id, %error, "cannot commit what the agent said; trying again");
                    tokio::time::sleep(Duration::from_millis(100 << tries)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Commits what lies in the journal. What cannot be committed stays there.
    async fn drain_journal(&mut self) {
        for _ in 0..JOURNAL_ROUNDS {
            let claimed = self.claim(|folders| &folders.output, JOURNAL_LIMITS).await;
            if claimed.is_empty() {
                return;
            }
            for file in claimed {
                let entry = file.content.map_err(|refused| refused.to_string()).and_then(|bytes| {
                    serde_json::from_slice::<JournalEntry>(&bytes).map_err(|error| error.to_string())
                });
                match entry {
                    Ok(entry) if entry.run == self.id.number => {
                        self.take_block(entry.number, entry.block).await;
                        if self.lost.is_some() {
                            return;
                        }
                    }
                    Ok(_) => {} // An earlier run's: reconciliation had its chance; late words change nothing.
                    Err(reason) => {
                        tracing::warn!(run = %self.id, file = file.name, %reason, "a journal file is no block")
                    }
                }
                self.remove(|folders| &folders.output, &file.name).await;
            }
        }
    }

    // --- what the agent asks ----------------------------------------------------------------------------------------

    /// Answers some requests; a flood is answered bit by bit, so that it costs the store no more than a lively chat does.
    async fn answer_requests(&mut self) {
        let messages = self.claim(|folders| &folders.messages, REQUEST_LIMITS).await;
        let tasks = self.claim(|folders| &folders.tasks, REQUEST_LIMITS).await;
        let more = messages.len().max(tasks.len()) >= REQUEST_LIMITS.names;
        self.more_requests_at = more.then(|| Instant::now() + REQUEST_PAUSE);
        for claimed in messages {
            let answer = requests::message(self.context, self.group, self.id, &claimed).await;
            let Some(answer) = answer else { continue }; // The store failed; the file stays and is tried again.
            self.answer(&claimed.name, &answer).await;
            self.remove(|folders| &folders.messages, &claimed.name).await;
            self.words.say(RunWord::Progress).await;
        }
        for claimed in tasks {
            self.answer(&claimed.name, &requests::task(&claimed)).await;
            self.remove(|folders| &folders.tasks, &claimed.name).await;
        }
    }

    async fn answer(&mut self, name: &str, answer: &crate::protocol::requests::Answer) {
        let json = serde_json::to_vec(answer).expect("an answer has text keys and plain values");
        let name = name.to_owned();
        let written = self.with_folders(move |folders| folders.answers.write_fleeting(&name, &json)).await;
        if let Err(error) = written {
            tracing::warn!(run = %self.id, %error, "cannot answer the agent's request");
        }
    }

    // --- what the agent is handed -----------------------------------------------------------------------------------

    async fn feed(&mut self) {
        let (store, settings) = (&*self.context.store, &self.context.settings);
        let after = self.ledger.handed_through();
        let batch = match next_batch(
            store,
            &self.group.folder,
            after,
            self.context.launcher.tuning(&self.group.folder).prompt,
            &settings.zone,
        )
        .await
        {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                self.words.say(RunWord::Handed { through: after }).await;
                return;
            }
            Err(error) => return self.lost = Some(error.to_string()),
        };
        if let Err(error) = store.hand_over(self.id, batch.handed, Timestamp::now()).await {
            return self.lost = Some(error.to_string());
        }
        let follow_up = FollowUp::Message {
            text: batch.text,
            first_seq: Some(batch.handed.first),
            last_seq: Some(batch.handed.last),
        };
        let json = serde_json::to_vec(&follow_up).expect("a follow-up has text keys and plain values");
        let name = follow_up_name(batch.handed.last);
        self.ledger.handed(batch.handed, name.clone());
        if let Err(error) = self.with_folders(move |folders| folders.input.write_fleeting(&name, &json)).await {
            return self.lost = Some(error.to_string());
        }
        self.typing.show(Typing::On);
        self.words.say(RunWord::Handed { through: batch.handed.last }).await;
    }

    async fn ask_to_end(&mut self) {
        if let Err(error) = self.with_folders(|folders| folders.input.write_fleeting(CLOSE_FILE, b"")).await {
            tracing::warn!(run = %self.id, %error, "cannot ask the agent to end; its container is stopped");
            self.asked_to_end = Some(StopReason::Wanted);
        }
    }

    // --- files, off the loop ----------------------------------------------------------------------------------------

    async fn with_folders<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Folders) -> Result<T, MailboxError> + Send + 'static,
    ) -> Result<T, MailboxError> {
        let folders = self.folders.clone();
        match tokio::task::spawn_blocking(move || work(&folders)).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn claim(&mut self, which: fn(&Folders) -> &Folder, limits: Limits) -> Vec<Claimed> {
        match self.with_folders(move |folders| which(folders).claim(&limits)).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(run = %self.id, %error, "cannot look into the mailbox");
                Vec::new()
            }
        }
    }

    async fn remove(&mut self, which: fn(&Folders) -> &Folder, name: &str) {
        let name = name.to_owned();
        if let Err(error) = self.with_folders(move |folders| which(folders).remove(&name)).await {
            tracing::warn!(run = %self.id, %error, "cannot remove a file from the mailbox");
        }
    }

    // --- the end ----------------------------------------------------------------------------------------------------

    async fn ending(&mut self, exit: Exit) -> RunEnding {
        if let Some(reason) = self.lost.take() {
            return RunEnding::Lost { reason };
        }
        if let Some((reason, retry)) = self.failure.take() {
            return RunEnding::Failed { reason, retry };
        }
        match (self.asked_to_end, exit) {
            (Some(StopReason::TimedOut), _) => RunEnding::TimedOut,
            (Some(StopReason::Wanted), _) => RunEnding::Stopped,
            (None, Exit::Code(0)) => self.clean_ending().await,
            (None, Exit::Unknown) => {
                RunEnding::Lost { reason: "the runtime could not tell how the container ended".to_owned() }
            }
            (None, exit) => {
                let last_words: Vec<u8> = self.last_words.iter().copied().collect();
                RunEnding::Crashed { exit, last_words: String::from_utf8_lossy(&last_words).trim().to_owned() }
            }
        }
    }

    /// Code 0. An agent that names no messages in its blocks (v1) says by this that it is done with all it has taken.
    async fn clean_ending(&mut self) -> RunEnding {
        self.ledger.note_taken(|name| self.folders.input.has(name).unwrap_or(true));
        if let Some(through) = self.ledger.taken_by_silent_agent() {
            let number = self.blocks.next_on_stream();
            let commit = crate::store::BlockCommit {
                number,
                reply: None,
                answers: Some(through),
                session: None,
                at: Timestamp::now(),
            };
            match self.commit(&commit).await {
                Ok(BlockOutcome::Committed(_)) => {
                    self.ledger.answered(through);
                    self.words.say(RunWord::Answered { through }).await;
                }
                Ok(_) => {}
                Err(error) => return RunEnding::Lost { reason: error.to_string() },
            }
        }
        if self.ledger.all_answered() || self.closing {
            RunEnding::Finished
        } else {
            RunEnding::Failed { reason: "the agent ended without an answer".to_owned(), retry: Retry::Later }
        }
    }
}

/// The stopping of a container, tried again for as long as its end is not seen.
#[derive(Default)]
struct Stopping {
    tries: u32,
    now: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stopping {
    /// Begins a try unless one goes on; `false` when it was tried too often.
    fn begin(&mut self, context: &RunContext, container: &ContainerId) -> bool {
        if self.now.is_some() {
            return true;
        }
        if self.tries == STOP_TRIES {
            return false;
        }
        let pause = if self.tries == 0 { Duration::ZERO } else { STOP_PAUSE };
        self.tries += 1;
        let (runtime, container, grace) = (context.runtime.clone(), container.clone(), context.settings.stop_grace);
        self.now = Some(Box::pin(async move {
            tokio::time::sleep(pause).await;
            stop(&*runtime, &container, grace).await;
            // Its end is on its way; when it does not come, that was no success.
            tokio::time::sleep(STOP_PAUSE).await;
        }));
        true
    }

    /// Waits for the end of a try; for ever when there is none.
    async fn done(&mut self) {
        match &mut self.now {
            Some(stopping) => stopping.await,
            None => std::future::pending().await,
        }
        self.now = None;
    }
}

async fn stop(runtime: &dyn ContainerRuntime, container: &ContainerId, grace: Duration) {
    match runtime.stop(container, grace).await {
        Ok(StopOutcome::Killed) => {
            tracing::warn!(%container, ?grace, "the container did not end when stopped and was killed")
        }
        Ok(StopOutcome::Ended | StopOutcome::Gone) => {}
        Err(error) => {
            tracing::error!(%container, %error, "cannot stop the container; trying to remove it");
            if let Err(error) = runtime.remove(container).await {
                tracing::error!(%container, %error, "cannot remove the container");
            }
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Shows in the chat that the assistant is at work. Best effort: a slow channel delays only the sign.
struct TypingSign {
    channels: Channels,
    chat: crate::chat::ChatId,
    now: Typing,
    showing: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl TypingSign {
    fn new(channels: Channels, group: &Group) -> Self {
        Self { channels, chat: group.chat.clone(), now: Typing::Off, showing: Box::pin(std::future::pending()) }
    }

    fn show(&mut self, typing: Typing) {
        if self.now == typing {
            return;
        }
        self.now = typing;
        let (channels, chat) = (self.channels.clone(), self.chat.clone());
        self.showing = Box::pin(async move {
            loop {
                if let Some(channel) = channels.of(&chat) {
                    channel.set_typing(&chat, typing).await;
                }
                match typing {
                    Typing::On => tokio::time::sleep(TYPING_INTERVAL).await,
                    Typing::Off => std::future::pending().await,
                }
            }
        });
    }

    /// Never returns; to be polled while the run is served.
    async fn keep_shown(&mut self) {
        (&mut self.showing).await;
    }

    async fn hide(&mut self) {
        if self.now == Typing::On
            && let Some(channel) = self.channels.of(&self.chat)
        {
            let _ = tokio::time::timeout(TYPING_INTERVAL, channel.set_typing(&self.chat, Typing::Off)).await;
        }
    }
}
