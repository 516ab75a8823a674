//! What comes next in a step, by what was found and what was answered.

use super::{
    answers::Answers,
    found::{Credential, Found, UnitFound},
    question::{Choice, Key, Question},
};
use crate::credentials::fingerprint;

/// How the steps are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// The step is to be done although it may be done.
    pub again: bool,
    /// Somebody sits at a terminal.
    pub interactive: bool,
    /// A step before it did something.
    pub changed: bool,
}

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What.
    pub what: String,
    /// What to do.
    pub help: String,
}

/// What is left to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Why.
    pub why: String,
    /// The commands that do it.
    pub commands: Vec<&'static str>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A question.
    Ask(Question),
    /// An action, with which the step ends.
    Do(Action),
    /// Nothing: it is done.
    Done(String),
    /// Nothing: it is left.
    Left(Left),
    /// Nothing: it cannot be.
    Cannot(Trouble),
}

/// What is done. Secrets are in the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Makes the home, or what is missing of it.
    MakeHome,
    /// Shows that this runtime works, and writes it into the configuration.
    UseRuntime(String),
    /// Builds the image: `local`, `slim` or `full`.
    BuildImage(String),
    /// Has the model say whether it takes the secret of this name, and stores it.
    StoreCredential(&'static str),
    /// Logs in with a subscription, and stores its token.
    LogIn,
    /// Stores these secrets.
    StoreSecrets(Vec<&'static str>),
    /// Links a phone.
    LinkWhatsApp,
    /// Registers a chat.
    Register {
        /// Its id; the terminal's is `local:main`.
        chat: String,
        /// As the main group, if there is none.
        main: bool,
    },
    /// Has a code written in the owner's chat.
    Pair,
    /// Writes the assistant's name into the configuration.
    Name(String),
    /// Has systemd run the service.
    InstallService,
    /// Says this, and waits for the answer.
    Say(String),
}

/// What the assistant is told in the end.
pub const FIRST_MESSAGE: &str = "Hello! Please say in one short sentence that you are there.";

/// The terminal's chat.
pub const TERMINAL: &str = "local:main";

/// What each chat service needs of secrets, in the order of its guide.
const SERVICES: [(&str, &[&str]); 3] = [
    ("telegram", &["TELEGRAM_API_ID", "TELEGRAM_API_HASH", "TELEGRAM_BOT_TOKEN"]),
    ("slack", &["SLACK_APP_TOKEN", "SLACK_BOT_TOKEN"]),
    ("discord", &["DISCORD_BOT_TOKEN"]),
];

/// The words of credentials and the names of their secrets.
const CREDENTIALS: [(&str, &str); 3] =
    [("api-key", "ANTHROPIC_API_KEY"), ("token", "CLAUDE_CODE_OAUTH_TOKEN"), ("bearer", "ANTHROPIC_AUTH_TOKEN")];

/// The secrets that a chat service needs; none for one that needs none.
#[must_use]
pub fn secrets_of(service: &str) -> &'static [&'static str] {
    SERVICES.iter().find(|(name, _)| *name == service).map_or(&[], |(_, secrets)| secrets)
}

/// What comes next in the step that `found` is of.
#[must_use]
pub fn decide(found: &Found, answers: &Answers, way: Way) -> Next {
    match found {
        Found::Machine { made, troubles } => machine(*made, troubles),
        Found::Runtime { set, works, candidates } => runtime(set.as_deref(), works, candidates, answers, way),
        Found::Image { engine: Err(trouble), .. } => Next::Cannot(trouble.clone()),
        Found::Image { engine: Ok(engine), image, there } => {
            self::image(engine.as_deref(), image, *there, answers, way)
        }
        Found::Credential { has, refused, expected } => {
            credential(has.as_ref(), refused.as_deref(), expected.as_deref(), answers, way)
        }
        Found::Channel { used, stored, terminal } => channel(used, stored, *terminal, answers, way),
        Found::Assistant { name, set } => assistant(name, *set, answers, way),
        Found::MainGroup { group, reachable } => main_group(group.as_ref(), *reachable, answers, way),
        Found::Service { systemd, unit, running } => service(*systemd, *unit, running.as_deref(), answers, way),
        Found::Message { answered } => message(*answered, answers, way),
    }
}

fn machine(made: bool, troubles: &[Trouble]) -> Next {
    match (troubles, made) {
        ([], true) => Next::Done("fit, and the home is made".to_owned()),
        ([], false) => Next::Do(Action::MakeHome),
        (several, _) => {
            let join = |of: fn(&Trouble) -> &String| several.iter().map(of).cloned().collect::<Vec<_>>().join("\n");
            Next::Cannot(Trouble { what: join(|trouble| &trouble.what), help: join(|trouble| &trouble.help) })
        }
    }
}

fn runtime(
    set: Option<&str>,
    works: &Result<String, Trouble>,
    candidates: &[(&'static str, Result<String, String>)],
    answers: &Answers,
    way: Way,
) -> Next {
    let agrees = answers.meant(Key::Runtime).is_none_or(|meant| Some(meant) == set);
    if set.is_some() && agrees && !way.again {
        return match works {
            Ok(words) => Next::Done(words.clone()),
            Err(trouble) => Next::Cannot(trouble.clone()),
        };
    }
    if let Some(word) = answers.word(Key::Runtime) {
        return Next::Do(Action::UseRuntime(word.to_owned()));
    }
    // With nothing to choose among, asking helps nobody.
    if let Err(trouble) = works
        && candidates.iter().all(|(_, candidate)| candidate.is_err())
    {
        return Next::Cannot(trouble.clone());
    }
    let now = works.as_ref().map_or_else(|_| "none just now".to_owned(), |words| format!("now {words}"));
    let mut choices = vec![choice("auto", format!("the first that works, {now}"))];
    let mut lacking = Vec::new();
    for (word, candidate) in candidates {
        match candidate {
            Ok(what) => choices.push(choice(word, what)),
            Err(why) => lacking.push(format!("{word}: {}", why.lines().next().unwrap_or_default())),
        }
    }
    Next::Ask(Question {
        key: Key::Runtime,
        text: "What is to run the containers?".to_owned(),
        choices,
        default: Some("auto".to_owned()),
        help: (!lacking.is_empty()).then(|| format!("Not here: {}", lacking.join("; "))),
    })
}

fn image(engine: Option<&str>, image: &str, there: bool, answers: &Answers, way: Way) -> Next {
    let Some(engine) = engine else {
        return Next::Done("none is needed: the sandbox uses this machine's programs".to_owned());
    };
    if there && !way.again {
        return Next::Done(format!("{engine} has {image}"));
    }
    let later = Left { why: format!("{engine} has no {image}"), commands: vec!["nanoclaw image build"] };
    match answers.word(Key::Image) {
        Some("later") if there => Next::Done(format!("{engine} has {image}")),
        Some("later") => Next::Left(later),
        Some(kind) => Next::Do(Action::BuildImage(kind.to_owned())),
        None => Next::Ask(Question {
            key: Key::Image,
            text: format!("Which image is to be built for {engine}?"),
            choices: vec![
                choice("local", "on a Debian that it has; fetches nothing"),
                choice("slim", "a shell, git and curl, under 60 MB; fetches Debian packages"),
                choice("full", "Claude Code, Python, Node.js, build tools; fetches much"),
                choice("later", "none for now"),
            ],
            default: Some("local".to_owned()),
            help: Some("each is built on an image that the engine has, such as debian:bookworm-slim".to_owned()),
        }),
    }
}

fn credential(
    has: Option<&Credential>,
    refused: Option<&str>,
    expected: Option<&str>,
    answers: &Answers,
    way: Way,
) -> Next {
    // A secret that is there already has not to be stored again.
    let new = |name: &'static str| {
        answers.secret(name).is_some_and(|secret| {
            has.is_none_or(|has| has.name != name || has.fingerprint != fingerprint(secret) || has.only_here)
        })
    };
    let given = CREDENTIALS.into_iter().find(|(_, name)| new(name));
    let wanted = answers.meant(Key::Credential);
    if !way.again && given.is_none() {
        match (has, expected) {
            (Some(Credential { name, source, only_here: false, .. }), _) => {
                return Next::Done(format!("{name}, from {source}"));
            }
            (Some(Credential { name, source, .. }), _) if wanted.is_none() => {
                let what =
                    format!("{name}, from the {source}; the service does not have it unless it is stored as well");
                return Next::Done(what);
            }
            (None, Some(source)) => return Next::Done(format!("the {source} gives it")),
            _ => {}
        }
    }
    let word = answers.word(Key::Credential).or(given.map(|(word, _)| word));
    let later = Left {
        why: match refused {
            Some(name) => format!("the model refuses {name}: it expired or was withdrawn"),
            None => "there is no credential for the model, so an offline agent answers".to_owned(),
        },
        commands: vec!["nanoclaw auth set", "nanoclaw auth setup-token"],
    };
    match (word, has) {
        (Some("later" | "keep"), Some(has)) => Next::Done(format!("{}, from {}", has.name, has.source)),
        (Some("later" | "keep"), None) => Next::Left(later),
        (Some("login"), _) if !way.interactive => Next::Cannot(Trouble {
            what: "a login with a subscription asks its questions on a terminal".to_owned(),
            help: format!(
                "give the token that `claude setup-token` shows: {}",
                Key::Secret("CLAUDE_CODE_OAUTH_TOKEN").ways()
            ),
        }),
        (Some("login"), _) => Next::Do(Action::LogIn),
        (Some(word), _) => {
            let found = CREDENTIALS.into_iter().find(|(known, _)| *known == word);
            let (_, name) = found.unwrap_or(CREDENTIALS[0]);
            match answers.secret(name) {
                Some(_) => Next::Do(Action::StoreCredential(name)),
                None => Next::Ask(hidden(name, "kept in a file that only you can read; never shown to an agent")),
            }
        }
        (None, has) => {
            let mut choices = vec![
                choice("api-key", "an API key of Anthropic"),
                choice("login", "log in with a Claude subscription, in a container"),
                choice("token", "a subscription's token that you have already"),
                choice("bearer", "a bearer token for a gateway of your own"),
                choice("later", "none for now: an offline agent answers"),
            ];
            if has.is_some() {
                choices.insert(0, choice("keep", "the one that is there"));
            }
            if !way.interactive {
                choices.retain(|choice| choice.word != "login");
            }
            Next::Ask(Question {
                key: Key::Credential,
                text: "What opens the model?".to_owned(),
                choices,
                // Who is asked is asked for one; who is not has said nothing of one.
                default: Some(
                    if has.is_some() {
                        "keep"
                    } else if way.interactive {
                        "api-key"
                    } else {
                        "later"
                    }
                    .to_owned(),
                ),
                help: refused.map(|name| format!("the model refuses the {name} that is there")),
            })
        }
    }
}

fn channel(
    used: &[&'static str],
    stored: &[(&'static str, String)],
    terminal: bool,
    answers: &Answers,
    way: Way,
) -> Next {
    let is_stored = |name: &str| stored.iter().any(|(stored, _)| *stored == name);
    let is_new = |name: &&'static str| {
        answers
            .secret(name)
            .is_some_and(|secret| !stored.iter().any(|(stored, known)| stored == name && *known == fingerprint(secret)))
    };
    let mut services = SERVICES.into_iter();
    let given = services.find(|(_, secrets)| secrets.iter().any(is_new)).map(|(service, _)| service);
    let is_used = |word: &str| used.contains(&word) || (word == "local" && terminal);
    if !way.again
        && given.is_none()
        && (terminal || !used.is_empty())
        && answers.meant(Key::Channel).is_none_or(is_used)
    {
        let all: Vec<&str> = used.iter().copied().chain(terminal.then_some("the terminal")).collect();
        return Next::Done(all.join(", "));
    }
    match answers.word(Key::Channel).or(given) {
        Some("local") if terminal && !way.again => Next::Done("the terminal".to_owned()),
        Some("local") => {
            // Unless another chat is to be that.
            let main = answers.meant(Key::MainChat).is_none_or(|word| ["local", TERMINAL].contains(&word));
            Next::Do(register(TERMINAL, main))
        }
        Some("whatsapp") if way.interactive => Next::Do(Action::LinkWhatsApp),
        Some("whatsapp") => Next::Left(Left {
            why: "a phone has to be linked".to_owned(),
            commands: vec!["nanoclaw channels link whatsapp"],
        }),
        Some(service) => {
            let secrets = secrets_of(service);
            let wanted = |name: &&&'static str| {
                answers.secret(name).is_none() && (!is_stored(name) || (way.again && way.interactive))
            };
            if let Some(name) = secrets.iter().find(wanted) {
                return Next::Ask(hidden(name, &format!("docs/channels/{service}.md says where it is found")));
            }
            let new: Vec<&'static str> = secrets.iter().copied().filter(|name| is_new(name)).collect();
            if new.is_empty() { Next::Done(service.to_owned()) } else { Next::Do(Action::StoreSecrets(new)) }
        }
        None => Next::Ask(Question {
            key: Key::Channel,
            text: "Where do you want to write to your assistant?".to_owned(),
            choices: vec![
                choice("local", "here, in the terminal (`nanoclaw chat`)"),
                choice("telegram", "Telegram: a bot of yours"),
                choice("slack", "Slack: an app of yours"),
                choice("discord", "Discord: a bot of yours"),
                choice("whatsapp", "WhatsApp: a linked device of a phone"),
            ],
            default: Some("local".to_owned()),
            help: Some("more of them can be added at any time".to_owned()),
        }),
    }
}

fn assistant(name: &str, set: bool, answers: &Answers, way: Way) -> Next {
    if set && !way.again && answers.meant(Key::Name).is_none_or(|meant| meant == name) {
        return Next::Done(name.to_owned());
    }
    match answers.word(Key::Name) {
        Some(word) => Next::Do(Action::Name(word.to_owned())),
        None => Next::Ask(Question {
            key: Key::Name,
            text: "What is your assistant called?".to_owned(),
            choices: Vec::new(),
            default: Some(name.to_owned()),
            help: Some("in a group, @ and this name wake it".to_owned()),
        }),
    }
}

fn main_group(group: Option<&(String, String)>, reachable: bool, answers: &Answers, way: Way) -> Next {
    if let Some((folder, chat)) = group {
        let wanted = answers.meant(Key::MainChat).map(|word| if word == "local" { TERMINAL } else { word });
        return match wanted {
            Some(other) if other != chat && !["pair", "later"].contains(&other) => Next::Cannot(Trouble {
                what: format!("the main group is {folder} already, of the chat {chat}"),
                help: format!("`nanoclaw groups remove {folder}` frees its place and keeps its memory"),
            }),
            _ => Next::Done(format!("{folder}, of the chat {chat}")),
        };
    }
    match answers.word(Key::MainChat) {
        Some("local") => Next::Do(register(TERMINAL, true)),
        Some("pair") => Next::Do(Action::Pair),
        Some("later") => Next::Left(Left {
            why: "no chat is the main group's yet".to_owned(),
            commands: vec!["nanoclaw groups pair"],
        }),
        Some(chat) => Next::Do(register(chat, true)),
        None => {
            let pair = choice("pair", "my private chat with it: a code is shown, which I write there");
            let mut choices = vec![choice("local", "the terminal"), choice("later", "none for now")];
            if reachable {
                choices.insert(0, pair);
            }
            // A code that nobody waits for would be waited for in vain.
            let default = if reachable && way.interactive { "pair" } else { "local" };
            Next::Ask(Question {
                key: Key::MainChat,
                text: "Which chat is your own, with more rights than others?".to_owned(),
                choices,
                default: Some(default.to_owned()),
                help: None,
            })
        }
    }
}

fn service(systemd: bool, unit: UnitFound, running: Option<&str>, answers: &Answers, way: Way) -> Next {
    let left = |why: &str, command| Next::Left(Left { why: why.to_owned(), commands: vec![command] });
    match (unit, running) {
        (_, Some(words)) if !way.again => return Next::Done(words.to_owned()),
        (UnitFound::Another, _) => {
            let why = "there is a unit nanoclaw.service that is not of this home";
            return left(why, "nanoclaw service install --name NAME");
        }
        _ => {}
    }
    if !systemd {
        return left("systemd does not run this machine", "nanoclaw run");
    }
    match answers.word(Key::Service) {
        Some("install") => Next::Do(Action::InstallService),
        Some(_) => left("it is not wanted", "nanoclaw service install"),
        None => Next::Ask(Question {
            key: Key::Service,
            text: "Is systemd to run it, now and at every boot?".to_owned(),
            choices: vec![
                choice("install", "yes"),
                choice("no", "no: `nanoclaw run` runs it, and `nanoclaw chat` needs no service"),
            ],
            default: Some("install".to_owned()),
            help: None,
        }),
    }
}

fn message(answered: bool, answers: &Answers, way: Way) -> Next {
    if answered && !way.again && !way.changed {
        return Next::Done("one was answered before".to_owned());
    }
    Next::Do(Action::Say(answers.word(Key::Message).unwrap_or(FIRST_MESSAGE).to_owned()))
}

fn register(chat: &str, main: bool) -> Action {
    Action::Register { chat: chat.to_owned(), main }
}

fn choice(word: &'static str, meaning: impl Into<String>) -> Choice {
    Choice { word, meaning: meaning.into() }
}

/// The question for a secret, for which nothing can be taken.
fn hidden(name: &'static str, help: &str) -> Question {
    Question {
        key: Key::Secret(name),
        text: name.to_owned(),
        choices: Vec::new(),
        default: None,
        help: Some(help.to_owned()),
    }
}

impl Action {
    /// What it does, in few words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::MakeHome => "make the home".to_owned(),
            Self::UseRuntime(word) => format!("show that containers work, and set container.runtime to {word}"),
            Self::BuildImage(kind) => format!("build the image, {kind}"),
            Self::StoreCredential(name) => format!("ask the model whether it takes {name}, and store it"),
            Self::LogIn => "log in with a subscription, and store its token".to_owned(),
            Self::StoreSecrets(names) => format!("store {}", names.join(", ")),
            Self::LinkWhatsApp => "link a phone".to_owned(),
            Self::Register { chat, main: true } => format!("register the chat {chat}, as the main group"),
            Self::Register { chat, main: false } => format!("register the chat {chat}"),
            Self::Pair => "show a code and wait until it is written in a chat".to_owned(),
            Self::Name(name) => format!("set assistant.name to {name}"),
            Self::InstallService => "have systemd run the service".to_owned(),
            Self::Say(text) => format!("say {text:?} and wait for the answer"),
        }
    }
}
