//! A run whose container is alive: started, served until it ends.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{Command, RunContext, Words, ending::Stopping, files::Folders, not_started, retry_of, typing::TypingSign};
use crate::{
    channel::Typing,
    group::{Group, GroupRole},
    launch::Launch,
    mailbox::{Folder, FolderWatch, Mailbox},
    orchestrator::{
        batch::Batch,
        blocks::{BlockSource, Ledger},
        event::{RunWord, StopReason},
    },
    protocol::{PROTOCOL_VERSION, input::ContainerInput, markers::Decoder},
    run::{Retry, RunEnding, RunId, RunKind},
    runtime::{Container, ContainerStdin, Exit, Output},
    store::SessionContext,
    time::Timestamp,
};

/// How long output may still come after the container has ended; the runtimes promise two seconds.
const OUTPUT_AFTER_EXIT: Duration = Duration::from_secs(5);

/// A run whose container is alive.
pub(super) struct Live<'a> {
    pub(super) context: &'a RunContext,
    pub(super) group: &'a Group,
    pub(super) id: &'a RunId,
    pub(super) words: &'a Words,
    pub(super) folders: Arc<Folders>,
    pub(super) output_watch: FolderWatch,
    pub(super) messages_watch: FolderWatch,
    pub(super) tasks_watch: FolderWatch,
    pub(super) log: Box<dyn std::io::Write + Send>,
    /// Holds the gateway's socket open.
    pub(super) _guard: Box<dyn Send + Sync>,
    pub(super) decoder: Decoder,
    pub(super) last_words: VecDeque<u8>,
    pub(super) blocks: BlockSource,
    pub(super) ledger: Ledger,
    /// The agent's own report of its failure.
    pub(super) failure: Option<(String, Retry)>,
    /// Why this run must not go on: another run took its place, or the store will not have its words.
    pub(super) lost: Option<String>,
    pub(super) asked_to_end: Option<StopReason>,
    pub(super) closing: bool,
    /// When to look for more requests, after as many were answered as are answered at a time.
    pub(super) more_requests_at: Option<Instant>,
    pub(super) typing: TypingSign,
}

impl<'a> Live<'a> {
    pub(super) async fn start(
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

    pub(super) async fn serve(mut self, container: Container, mut commands: mpsc::Receiver<Command>) -> RunEnding {
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
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
