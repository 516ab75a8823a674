//! Does what a step comes to, each by what the command of its own uses.

use std::{ffi::OsString, io, sync::Mutex, time::Duration};

use nanoclaw_core::{
    chat::ChatId,
    group::{GroupRole, TriggerPolicy},
    orchestrator::AtShutdown,
    secret::Secret,
};
use tokio_util::sync::CancellationToken;

use super::{Stopped, look::none_works, tell::Teller, trouble};
use crate::{
    admin::{
        AdminHandler as _, Client,
        types::{CheckOutcome, NewGroup},
    },
    app::{self, Isolation},
    cli::{
        Place,
        auth::setup_token,
        channels,
        chat::{self, ChatArgs, Display, Ending},
        doctor,
        failure::with_help,
        groups::pair::{self, PairArgs},
        image, logging, parts, service,
    },
    config::{Config, Environment, IfSet, Line, ProcessEnvironment, put_lines},
    credentials::{self, CredentialKind},
    home::{Home, initialise},
    programs::Purpose,
    setup::{Action, Answers, Key, Trouble, decide::TERMINAL},
};

/// What came of an action.
pub(super) enum Acted {
    Done(String),
    /// The assistant answered.
    Answered {
        words: String,
        answer: String,
    },
    Failed(Trouble),
}

/// Acts.
pub(super) struct Actor<'a> {
    pub(super) place: &'a Place,
    pub(super) home: Home,
    pub(super) teller: Teller,
    /// The program was asked to end.
    pub(super) stop: CancellationToken,
}

/// How long the first answer may take.
const ANSWER_WITHIN_SECONDS: u32 = 300;

/// How long chat services may take to connect before a code is shown.
const SERVICES_SETTLE_WITHIN: Duration = Duration::from_secs(20);

impl Actor<'_> {
    /// Takes `action`. What fails is told as a trouble.
    ///
    /// # Errors
    /// When the program was asked to end.
    pub(super) async fn act(&self, action: &Action, answers: &Answers) -> anyhow::Result<Acted> {
        let acted = match action {
            // A host of its own is ended in order.
            Action::Say(text) => self.say(text).await,
            Action::Pair => self.pair().await,
            other => tokio::select! {
                acted = self.take(other, answers) => acted,
                () = self.stop.cancelled() => Err(Stopped.into()),
            },
        };
        match acted {
            Err(error) if error.is::<Stopped>() || self.stop.is_cancelled() => Err(Stopped.into()),
            Err(error) => Ok(Acted::Failed(trouble(&error))),
            Ok(acted) => Ok(acted),
        }
    }

    async fn take(&self, action: &Action, answers: &Answers) -> anyhow::Result<Acted> {
        let done = |words: String| Ok(Acted::Done(words));
        match action {
            Action::MakeHome => {
                initialise(&self.home)?;
                done(format!("made the home {}", self.home.root().display()))
            }
            Action::UseRuntime(word) => self.use_runtime(word).await,
            Action::BuildImage(kind) => {
                let config = self.config()?;
                done(image::build_for_setup(&config, kind, answers.word(Key::Base)).await?)
            }
            Action::StoreCredential(name) => match answers.secret(name) {
                Some(secret) => self.credential(name, secret).await,
                None => Err(anyhow::anyhow!("nobody gave {name}")),
            },
            Action::LogIn => match setup_token::run(&self.config()?).await? {
                Some(token) => self.credential(CredentialKind::OAuthToken.variable(), &token).await,
                None => Err(with_help("no token was made", "try again, or store an API key")),
            },
            Action::StoreSecrets(names) => {
                for name in names {
                    if let Some(secret) = answers.secret(name) {
                        credentials::set(&ProcessEnvironment, name, secret)?;
                    }
                }
                self.tell_service().await?;
                done(format!("stored {}", names.join(", ")))
            }
            Action::LinkWhatsApp => {
                channels::link_whatsapp(None, self.place).await?;
                done("whatsapp: a phone is linked".to_owned())
            }
            Action::Register { chat, main } => self.register(chat, *main).await,
            Action::Name(name) => {
                self.configure(Line::of_text("assistant", "name", name))?;
                done(format!("{name}{}", self.when_it_is_used().await))
            }
            Action::InstallService => {
                let mut lines = Vec::new();
                let mut say = |line: String| {
                    lines.push(anstream::adapter::strip_str(&line).to_string());
                    Ok(())
                };
                service::install(&service::InstallArgs::default(), self.place, &mut say)?;
                done(lines.join("\n"))
            }
            // Not taken here.
            Action::Pair | Action::Say(_) => Err(Stopped.into()),
        }
    }

    fn config(&self) -> anyhow::Result<Config> {
        self.place.config(&self.home)
    }

    fn configure(&self, line: Line) -> anyhow::Result<()> {
        Ok(put_lines(&self.home.config_file(), &[line], IfSet::Changes)?)
    }

    async fn when_it_is_used(&self) -> &'static str {
        match Client::connect(&self.home).await {
            Ok(_) => "; the service that runs has it from its next start on",
            Err(_) => "",
        }
    }

    async fn use_runtime(&self, word: &str) -> anyhow::Result<Acted> {
        // Nothing is written that does not work.
        let tried = Trying(word.into());
        let chosen = match app::choose(&self.home, &Config::load(&self.home, &tried)?, Isolation::Required).await {
            // Why it is this one, is worth a word only where nobody said which.
            Ok(chosen) if word == "auto" => chosen.description(),
            Ok(chosen) => chosen.capabilities.description,
            Err(none) => return Ok(Acted::Failed(none_works(&none))),
        };
        self.configure(Line::of_text("container", "runtime", word))?;
        Ok(Acted::Done(format!("{chosen}{}", self.when_it_is_used().await)))
    }

    /// Has the model say whether it takes it, and stores it unless it refuses.
    async fn credential(&self, name: &'static str, secret: &Secret) -> anyhow::Result<Acted> {
        let kind = CredentialKind::of_variable(name).ok_or_else(|| anyhow::anyhow!("{name} is for no model"))?;
        let checked = app::credentials::check_unstored(&self.config()?, kind, secret).await;
        let said = match checked.outcome {
            CheckOutcome::Refused => {
                return Ok(Acted::Failed(Trouble {
                    what: format!("{}; it was not stored", checked.detail),
                    help: format!("look at {name} again, or make a new one; `--credential later` goes on without"),
                }));
            }
            CheckOutcome::Taken => "the model takes it".to_owned(),
            CheckOutcome::CannotTell => format!(
                "whether the model takes it cannot be told ({}); `nanoclaw auth status --check` asks again",
                checked.detail
            ),
        };
        credentials::set(&ProcessEnvironment, name, secret)?;
        self.tell_service().await?;
        let mut words = format!("stored {name}; {said}");
        if let Some(more) = self.see_that_it_can_be_used(kind).await? {
            words.push_str(&format!("\n{more}"));
        }
        Ok(Acted::Done(words))
    }

    /// Where the program that thinks is missing: what was done about it, or is to be done.
    async fn see_that_it_can_be_used(&self, kind: CredentialKind) -> anyhow::Result<Option<String>> {
        let config = self.config()?;
        let chosen = app::choose(&self.home, &config, Isolation::Required).await;
        let purpose = chosen.ok().map(|chosen| Purpose::of(chosen.runtime.kind()));
        let Some((what, help)) = doctor::trouble_of_provider(&config, purpose) else { return Ok(None) };
        // An agent of ours does without Claude Code, with a key. What somebody chose stays.
        if kind == CredentialKind::ApiKey && !config.agent.provider.is_explicit() {
            self.configure(Line::of_text("agent", "provider", "native"))?;
            let restart = self.when_it_is_used().await;
            return Ok(Some(format!(
                "the program claude is not on this machine, so agent.provider is set to native, which needs none{restart}"
            )));
        }
        Ok(Some(format!("{what}; {help}")))
    }

    /// Has a service that runs read its credentials again.
    async fn tell_service(&self) -> anyhow::Result<()> {
        if let Ok(client) = Client::connect(&self.home).await {
            client.reload_credentials().await?;
        }
        Ok(())
    }

    async fn register(&self, chat: &str, main: bool) -> anyhow::Result<Acted> {
        let (home, _) = self.place.open().await?;
        let main = main && !home.groups().await?.iter().any(|group| group.role == GroupRole::Main);
        let terminal = chat == TERMINAL;
        let added = home
            .add_group(NewGroup {
                chat: chat.parse::<ChatId>()?,
                name: if terminal { "Terminal" } else { "Main" }.to_owned(),
                folder: None,
                trigger: terminal.then_some(TriggerPolicy::Always),
                role: if main { GroupRole::Main } else { GroupRole::Ordinary },
            })
            .await?;
        let role = if main { "the main group" } else { "a group" };
        Ok(Acted::Done(format!("{chat} is {role}; its memory is in groups/{}/", added.folder)))
    }

    /// A host to talk to: the one that runs, or one of its own, which is ended when `talk` is over.
    async fn with_host<T>(
        &self,
        talk: impl AsyncFnOnce(Option<&app::Host>, tokio::net::UnixStream) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let config = self.config()?;
        logging::to_file(&self.home.log_file(), &config.log)?;
        let reached = tokio::select! {
            reached = parts::reach(&self.home, config, parts::ServeOptions::default()) => reached,
            () = self.stop.cancelled() => return Err(Stopped.into()),
        };
        let (host, stream) = reached?;
        let talked = match stream {
            Ok(stream) => talk(host.as_ref(), stream).await,
            Err(error) => Err(error.into()),
        };
        if let Some(host) = host {
            host.end(AtShutdown::Stop).await;
        }
        talked
    }

    async fn pair(&self) -> anyhow::Result<Acted> {
        let zone = self.config()?.time.zone.value.clone();
        self.with_host(async |host, terminal| {
            drop(terminal);
            if let Some(host) = host {
                self.teller.aside("connecting");
                self.teller.aside(&host.services_settled(SERVICES_SETTLE_WITHIN).await);
            }
            let client = Client::connect(&self.home).await?;
            pair::run(PairArgs::main(), &client, &zone).await
        })
        .await?;
        Ok(Acted::Done("your chat is the main group".to_owned()))
    }

    async fn say(&self, text: &str) -> anyhow::Result<Acted> {
        self.teller.line(&format!("  You: {text}"))?;
        let args =
            ChatArgs { messages: vec![text.to_owned()], chat: TERMINAL.parse()?, timeout: Some(ANSWER_WITHIN_SECONDS) };
        let heard = Heard { teller: self.teller, replies: Mutex::default(), notes: Mutex::default() };
        let mut display = &heard;
        let ending = self
            .with_host(async |_, stream| {
                let interrupt = self.stop.cancelled();
                chat::say_and_wait(&args, stream, &mut display, interrupt).await
            })
            .await?;
        let replies = heard.replies.into_inner().unwrap_or_default();
        match (ending, replies.is_empty()) {
            (Ending::Interrupted, _) => Err(Stopped.into()),
            (Ending::Finished, false) => {
                Ok(Acted::Answered { words: "it was answered".to_owned(), answer: replies.join("\n") })
            }
            _ => {
                let notes = heard.notes.into_inner().unwrap_or_default();
                let why = notes.last().cloned().unwrap_or_else(|| "nothing came back".to_owned());
                let help = "`nanoclaw doctor` says what is wrong, `nanoclaw turns list` what waits";
                Err(with_help(format!("the message was not answered: {why}"), help))
            }
        }
    }
}

/// Shows a conversation, and keeps what was answered.
struct Heard {
    teller: Teller,
    replies: Mutex<Vec<String>>,
    notes: Mutex<Vec<String>>,
}

impl Display for &Heard {
    fn greet(&mut self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn reply(&mut self, assistant: &str, text: &str) -> io::Result<()> {
        let shown = crate::cli::output::clean(&format!("  {assistant}: {text}"));
        self.teller.line(&shown).map_err(io::Error::other)?;
        if let Ok(mut replies) = self.replies.lock() {
            replies.push(text.to_owned());
        }
        Ok(())
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        self.teller.aside(text);
        if let Ok(mut notes) = self.notes.lock() {
            notes.push(text.to_owned());
        }
        Ok(())
    }

    fn typing(&mut self, _: &str, _: bool) -> io::Result<()> {
        Ok(())
    }
}

/// The environment of this process, and in it a runtime that is tried.
#[derive(Clone)]
pub(super) struct Trying(pub(super) OsString);

impl Environment for Trying {
    fn get(&self, name: &str) -> Option<OsString> {
        if name == "NANOCLAW_CONTAINER_RUNTIME" { Some(self.0.clone()) } else { ProcessEnvironment.get(name) }
    }

    fn owned(&self) -> Box<dyn Environment> {
        Box::new(self.clone())
    }
}
