//! A run whose container is alive: started, served until it ends.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{
    Command, HOST, RunContext, Words,
    beats::Beats,
    bring_files,
    complaints::Complaints,
    effort::Effort,
    errand::Errand,
    files::Folders,
    hand::Feeding,
    leftover::{Fate, Leftover, Stopping, sleep_until},
    limits_of,
    lists::KeptLists,
    not_started,
    requests::{Unanswered, request_pace},
    retry_of,
    typing::TypingSign,
    wanted,
    words::block_pace,
};
use crate::{
    group::{Group, GroupRole},
    launch::Launch,
    mailbox::{Folder, FolderWatch, Mailbox, MailboxError},
    message::Seq,
    orchestrator::{
        batch::Batch,
        blocks::{BlockSource, Ledger},
        event::{PromptSize, RunWord, StopReason},
    },
    pace::Pace,
    protocol::{
        PROTOCOL_VERSION,
        input::{Ahead, ContainerInput},
        markers::Decoder,
    },
    run::{Retry, RunEnding, RunId},
    runtime::{Container, ContainerId, ContainerSpec, ContainerStdin, Exit, ExitWatch, Output},
    session::SessionId,
    steps::STEPS,
    store::SessionContext,
    time::Timestamp,
};

/// How long output may still come after the container has ended; the runtimes promise two seconds.
const OUTPUT_AFTER_EXIT: Duration = Duration::from_secs(5);

/// How many of a group's runs are looked at for one whose agent spoke. Some may have been started ahead and never used.
const RUNS_LOOKED_AT: u32 = 32;

/// A run whose container is alive.
pub(super) struct Live<'a> {
    pub(super) context: &'a RunContext,
    pub(super) group: &'a Group,
    pub(super) id: &'a RunId,
    /// How much it is handed at a time.
    pub(super) prompt: PromptSize,
    pub(super) words: &'a Words,
    pub(super) folders: Arc<Folders>,
    pub(super) output_watch: FolderWatch,
    pub(super) messages_watch: FolderWatch,
    pub(super) tasks_watch: FolderWatch,
    pub(super) beats: Beats,
    pub(super) log: Box<dyn std::io::Write + Send>,
    /// Holds the gateway's socket open.
    pub(super) _guard: Box<dyn Send + Sync>,
    pub(super) decoder: Decoder,
    pub(super) last_words: VecDeque<u8>,
    pub(super) blocks: BlockSource,
    pub(super) ledger: Ledger,
    /// What it does when that is not the chat's.
    pub(super) errand: Option<Errand>,
    /// When an agent that has done its errand is asked to end.
    pub(super) errand_done_at: Option<Instant>,
    /// The agent's own report of its failure.
    pub(super) failure: Option<(String, Retry)>,
    /// Why this run must not go on: another run took its place, or the store will not have its words.
    pub(super) lost: Option<String>,
    pub(super) asked_to_end: Option<StopReason>,
    pub(super) closing: bool,
    /// A follow-up of which a step failed.
    pub(super) feeding: Option<Feeding>,
    /// When to look for more requests, after as many were answered as are answered at a time.
    pub(super) more_requests_at: Option<Instant>,
    /// How much the agent may ask for, and how much it may say.
    pub(super) request_pace: Pace,
    pub(super) block_pace: Pace,
    /// How much of the host's time its files have taken.
    pub(super) effort: Effort,
    pub(super) complaints: Complaints,
    /// The request whose answer could not be written at last.
    pub(super) unanswered: Option<Unanswered>,
    /// An earlier host may have died while it wrote the prompt.
    pub(super) prompt_in_doubt: bool,
    pub(super) typing: TypingSign,
    /// What agents of v1 look up in the mailbox.
    pub(super) lists: KeptLists,
}

/// What a worker holds of a container.
pub(in crate::orchestrator) struct Held {
    pub(in crate::orchestrator) id: ContainerId,
    /// What it writes, and nothing of standard output when an earlier host started it; `None` when it cannot be heard.
    pub(in crate::orchestrator) output: Option<mpsc::Receiver<Output>>,
    pub(in crate::orchestrator) exit: ExitWatch,
}

/// Whether a container took its prompt, as far as its pipe tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    No,
}

/// How a worker leaves its container.
pub(super) enum Left {
    Ended(RunEnding),
    /// It goes on; the run stays open.
    Running,
}

impl<'a> Live<'a> {
    pub(super) async fn start(
        mut self,
        spec: &ContainerSpec,
        prompt: PromptSize,
        batch: Batch,
        named_before: Option<bool>,
    ) -> Result<(Self, Held), RunEnding> {
        let (context, group, id) = (self.context, self.group, self.id);
        // Before anything is noted: the batch may have to be made anew, and the folder is there only now.
        let noted = batch.files.is_empty();
        let wanted = wanted(context, group, Seq::ZERO, limits_of(context, group, prompt));
        let batch = match bring_files(context, wanted, batch).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Err(not_started(&"what was to be answered waits no longer", Retry::Later)),
            Err(error) => return Err(not_started(&error, HOST)),
        };
        // After the run was opened: who ends the session from now on marks the run.
        let session = context.store.session(&group.folder, &SessionContext::Chat).await;
        let session = session.map_err(|error| not_started(&error, HOST))?;
        if !noted {
            let handed = context.store.hand_over(id, batch.handed, Timestamp::now()).await;
            handed.map_err(|error| not_started(&error, HOST))?;
        }
        self.ledger = Ledger::new(batch.handed, named_before);
        self.prompt = prompt;
        let mut container = start_container(context, spec).await?;
        let stdin = std::mem::replace(&mut container.stdin, ContainerStdin::new(tokio::io::sink()));
        let _ = self.hand_prompt(stdin, batch, session).await;
        let Container { id, output, exit, .. } = container;
        Ok((self, Held { id, output: Some(output), exit }))
    }

    /// The same for what a task asks.
    pub(super) async fn start_errand(
        mut self,
        spec: &ContainerSpec,
        errand: Errand,
    ) -> Result<(Self, Held), RunEnding> {
        let (context, group, id) = (self.context, self.group, self.id);
        let session = match errand.session_context() {
            Some(conversation) => context.store.session(&group.folder, &conversation).await,
            None => Ok(None),
        };
        let session = session.map_err(|error| not_started(&error, HOST))?;
        let Ahead { session_id, group_folder, chat_jid, is_main, assistant_name, protocol } =
            known_ahead(context, group, session);
        let input = ContainerInput {
            prompt: errand.task.prompt.clone(),
            session_id,
            group_folder,
            chat_jid,
            is_main,
            is_scheduled_task: Some(true),
            assistant_name,
            script: errand.task.script.clone(),
            protocol,
            run_number: Some(id.number),
            first_seq: None,
            last_seq: None,
            files: Vec::new(),
        };
        self.errand = Some(errand);
        let mut container = start_container(context, spec).await?;
        let stdin = std::mem::replace(&mut container.stdin, ContainerStdin::new(tokio::io::sink()));
        self.write_lists().await;
        let _ = self.write_prompt(stdin, &input).await;
        self.words.say(RunWord::Started).await;
        let Container { id, output, exit, .. } = container;
        Ok((self, Held { id, output: Some(output), exit }))
    }

    /// All that can be made ready before anybody knows what the agent will be asked.
    pub(super) async fn prepare(
        context: &'a RunContext,
        group: &'a Group,
        id: &'a RunId,
        launch: Launch,
        words: &'a Words,
    ) -> Result<(Self, ContainerSpec), RunEnding> {
        let Launch { spec, mailbox, log, guard, notices } = launch;
        context.tell(group, notices).await;
        let in_house = |error: MailboxError| not_started(&error, HOST);
        let mailbox = Mailbox::new(mailbox);
        let mut live = Self::new(context, group, id, words, &mailbox, log, guard).map_err(in_house)?;
        // A container that nobody can reach shares the mailbox; from here on it takes nothing that is meant for this run.
        mailbox.fence(id.number).map_err(in_house)?;
        context.settle_doubts(&group.folder).await?;
        // What an earlier run was handed as a file and did not take is pending in the store and part of this prompt
        // (fault F52).
        let input = &live.folders.input;
        input.clear().map_err(in_house)?;
        for name in input.staged().map_err(in_house)? {
            input.unstage(&name).map_err(in_house)?;
        }
        // What an earlier run said was committed when it ended. Whatever lies there now calls itself a block of a run that has said
        // nothing yet.
        if let Err(error) = live.folders.output.clear() {
            tracing::warn!(run = %id, %error, "cannot clear away what an earlier run has left in its output");
        }
        // Who waited for these is gone, and the names of requests are not reused.
        if let Err(error) = live.folders.answers.clear() {
            tracing::warn!(run = %id, %error, "cannot clear away the answers to an earlier run");
        }
        live.beats = live.beats.after_earlier_run(&live.folders.alive);
        Ok((live, spec))
    }

    /// Writes the first prompt, a turn that is noted. Whether the container took it.
    pub(super) async fn hand_prompt(
        &mut self,
        stdin: ContainerStdin,
        batch: Batch,
        session: Option<SessionId>,
    ) -> Taken {
        let Ahead { session_id, group_folder, chat_jid, is_main, assistant_name, protocol } =
            known_ahead(self.context, self.group, session);
        let input = ContainerInput {
            prompt: batch.text,
            session_id,
            group_folder,
            chat_jid,
            is_main,
            is_scheduled_task: None,
            assistant_name,
            script: None,
            protocol,
            run_number: Some(self.id.number),
            first_seq: Some(batch.handed.first),
            last_seq: Some(batch.handed.last),
            files: batch.files.into_iter().map(Into::into).collect(),
        };
        // It may have waited for long since they were written.
        self.write_lists().await;
        self.words.say(RunWord::Handed { through: batch.handed.last }).await;
        self.typing.show(batch.thread);
        let taken = self.write_prompt(stdin, &input).await;
        self.words.say(RunWord::Started).await;
        taken
    }

    /// A run of which nothing was handed over yet.
    pub(super) fn new(
        context: &'a RunContext,
        group: &'a Group,
        id: &'a RunId,
        words: &'a Words,
        mailbox: &Mailbox,
        log: Box<dyn std::io::Write + Send>,
        guard: Box<dyn Send + Sync>,
    ) -> Result<Self, MailboxError> {
        let folders = Folders::open(mailbox)?;
        let watch = |folder: &Folder| context.watcher.watch(folder.path());
        Ok(Self {
            context,
            group,
            id,
            words,
            output_watch: watch(&folders.output)?.paced(),
            messages_watch: watch(&folders.messages)?.paced(),
            tasks_watch: watch(&folders.tasks)?.paced(),
            beats: Beats::new(watch(&folders.alive)?, context.settings.beat_limit),
            folders: Arc::new(folders),
            log,
            _guard: guard,
            decoder: Decoder::new(),
            last_words: VecDeque::new(),
            blocks: BlockSource::default(),
            ledger: Ledger::resume(&[], None, |_| false),
            errand: None,
            errand_done_at: None,
            failure: None,
            lost: None,
            asked_to_end: None,
            closing: false,
            feeding: None,
            more_requests_at: None,
            request_pace: request_pace(),
            block_pace: block_pace(),
            effort: Effort::new(),
            complaints: Complaints::new(),
            unanswered: None,
            prompt_in_doubt: false,
            typing: TypingSign::new(context.channels.clone(), group),
            lists: KeptLists::new(&context.lists),
            prompt: PromptSize::Full,
        })
    }

    /// A container that does not take its prompt has ended, or will be stopped: how it ended tells more than the pipe does
    /// (fault F29).
    async fn write_prompt(&mut self, mut stdin: ContainerStdin, input: &ContainerInput) -> Taken {
        let json = serde_json::to_vec(input).expect("a container input has text keys and plain values");
        match stdin.send(&json, self.context.settings.stdin_limit).await {
            Ok(()) => {
                stdin.close().await;
                let through = input.last_seq.map(|seq| seq.0);
                tracing::debug!(target: STEPS, run = %self.id, through, "prompt written");
                Taken::Yes
            }
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                let limit = self.context.settings.stdin_limit;
                self.lost = Some(format!("the agent did not read its prompt within {limit:?}"));
                Taken::No
            }
            Err(error) => {
                tracing::debug!(run = %self.id, %error, "the container did not take its prompt");
                Taken::No
            }
        }
    }

    pub(super) async fn serve(mut self, held: Held, commands: &mut mpsc::Receiver<Command>) -> Left {
        let Held { id: container, mut output, exit: exit_watch } = held;
        let mut exit: Option<Exit> = None;
        let mut output_open = output.is_some();
        let mut stop = Stopping::new(self.id, self.context.runtime.kind());
        let mut leaving = false;
        let mut close_deadline: Option<Instant> = None;
        let mut output_deadline: Option<Instant> = None;
        while exit.is_none() || output_open {
            if exit.is_none() {
                let to_end = self.lost.is_some() || self.asked_to_end.is_some();
                // One that is being ended is seen to its end, if it takes its end.
                if leaving && (!to_end || stop.has_failed()) {
                    self.note_taken().await;
                    return Left::Running;
                }
                if to_end {
                    stop.begin(self.context, &container);
                }
            }
            let feed_again_at = self.feed_again_at();
            // An agent that says more than anybody could read waits for its pipe, and a container for its output.
            let hear_again_at = self.block_pace.wait();
            // What is bounded comes first; what the agent can flood comes last, so that a flood holds up nothing but the
            // agent's own requests, and those no longer than it lasts.
            tokio::select! {
                biased;
                () = sleep_until(output_deadline), if output_deadline.is_some() => {
                    tracing::warn!(run = %self.id, "output did not end with the container; what is left of it is dropped");
                    break;
                }
                () = sleep_until(close_deadline), if close_deadline.is_some() => {
                    tracing::warn!(run = %self.id, "the agent did not end when asked to; its container is stopped");
                    close_deadline = None;
                    self.asked_to_end.get_or_insert(StopReason::Wanted);
                }
                ended = stop.done(&container) => if ended {
                    exit = Some(Exit::Unknown);
                    output_deadline = Some(Instant::now() + OUTPUT_AFTER_EXIT);
                },
                () = sleep_until(self.errand_done_at), if self.errand_done_at.is_some() => {
                    self.errand_done_at = None;
                    if !self.closing {
                        self.closing = true;
                        self.ask_to_end().await;
                        close_deadline = Some(Instant::now() + self.context.settings.close_grace);
                    }
                }
                () = self.typing.keep_shown() => {}
                () = self.lists.outdated(self.group), if exit.is_none() && !stop.begun() => self.write_lists().await,
                Some(command) = commands.recv() => match command {
                    // It was used, which it is once.
                    Command::Begin(_) => {}
                    Command::Feed => self.feed().await,
                    Command::Close => {
                        self.closing = true;
                        self.ask_to_end().await;
                        close_deadline = Some(Instant::now() + self.context.settings.close_grace);
                    }
                    Command::Stop(why) => self.asked_to_end = Some(why),
                    Command::Detach => leaving = true,
                },
                () = sleep_until(feed_again_at), if exit.is_none() && feed_again_at.is_some() => self.feed().await,
                ended = exit_watch.clone(), if exit.is_none() => {
                    exit = Some(ended);
                    output_deadline = Some(Instant::now() + OUTPUT_AFTER_EXIT);
                }
                () = sleep_until(hear_again_at), if output_open && hear_again_at.is_some() => {}
                chunk = receive(&mut output), if output_open && hear_again_at.is_none() => match chunk {
                    Some(Output::Stdout(bytes)) => {
                        let found = self.decoder.feed(&bytes);
                        self.take_found(found).await;
                    }
                    Some(Output::Stderr(bytes)) => self.take_stderr(&bytes),
                    None => output_open = false,
                },
                heard = self.beats.heard(&self.folders.alive), if exit.is_none() && !stop.begun() => {
                    self.note_beat(heard).await;
                }
                () = self.output_watch.changed() => self.drain_journal().await,
                () = self.messages_watch.changed() => self.answer_requests().await,
                () = self.tasks_watch.changed() => self.answer_requests().await,
                () = sleep_until(self.more_requests_at), if self.more_requests_at.is_some() => self.answer_requests().await,
            }
        }
        let rest = self.decoder.finish();
        self.take_found(rest).await;
        self.drain_rest_of_journal().await;
        self.answer_last_requests().await;
        self.typing.hide().await;
        let exit = exit.unwrap_or(Exit::Unknown);
        let leftover = Leftover::new(self.context, self.words, &container, exit);
        if leftover.see_gone(commands, leaving).await == Fate::LetGo {
            self.note_taken().await;
            return Left::Running;
        }
        if exit == Exit::Unknown {
            // It may have gone on until now.
            self.drain_rest_of_journal().await;
            self.answer_last_requests().await;
        }
        let ending = self.ending(exit).await;
        self.note_taken().await;
        Left::Ended(ending)
    }
}

pub(super) async fn start_container(context: &RunContext, spec: &ContainerSpec) -> Result<Container, RunEnding> {
    context.runtime.start(spec).await.map_err(|error| {
        let retry = retry_of(&error);
        if retry == HOST {
            // It may have got further than the runtime could tell, or clear away.
            context.doubts.note(&spec.labels.run.group);
        }
        not_started(&error, retry)
    })
}

/// Whether the last of the group's agents that spoke named messages.
pub(super) async fn named_before(context: &RunContext, group: &Group) -> Result<Option<bool>, RunEnding> {
    let runs = context.store.runs(Some(&group.folder), RUNS_LOOKED_AT).await;
    let runs = runs.map_err(|error| not_started(&error, HOST))?;
    Ok(runs.into_iter().find_map(|run| run.names_messages))
}

/// What is known of what a run's agent will read on standard input before it is known what it is asked.
pub(super) fn known_ahead(context: &RunContext, group: &Group, session: Option<SessionId>) -> Ahead {
    Ahead {
        session_id: session,
        group_folder: group.folder.clone(),
        chat_jid: group.chat.to_string(),
        is_main: group.role == GroupRole::Main,
        assistant_name: Some(context.settings.assistant_name.clone()),
        protocol: Some(PROTOCOL_VERSION),
    }
}

async fn receive(output: &mut Option<mpsc::Receiver<Output>>) -> Option<Output> {
    output.as_mut()?.recv().await
}
