//! Setup without a machine: what is asked, what is not asked again, the way back, and answers that are wrong.

use std::path::Path;

use nanoclaw_core::secret::Secret;

use super::{
    decide::{FIRST_MESSAGE, TERMINAL, secrets_of},
    found::{Credential, UnitFound},
    question::SECRETS,
    *,
};
use crate::{config::environment_of, credentials::fingerprint};

const KEY: &str = "sk-ant-api03-REAL_0123456789";
const TOKEN: &str = "sk-ant-oat01-REAL_0123456789";

const ALONE: Way = Way { again: false, interactive: false, changed: false };
const ASKED: Way = Way { again: false, interactive: true, changed: false };

fn answers(words: &[(Key, &str)]) -> Answers {
    let mut mistakes = Vec::new();
    let answers = Answers::gather(words, &environment_of([]), None, &mut mistakes);
    assert_eq!(mistakes, []);
    answers
}

fn with_secret(mut answers: Answers, name: &'static str, secret: &str) -> Answers {
    answers.give(Key::Secret(name), Given::Hidden(Secret::new(secret)), Origin::Variable);
    answers
}

fn no_credential() -> Found {
    Found::Credential { has: None, refused: None, expected: None }
}

fn has(name: &str, secret: &str, only_here: bool) -> Found {
    let fingerprint = fingerprint(&Secret::new(secret));
    let (name, source) = (name.to_owned(), "credentials:1".to_owned());
    Found::Credential { has: Some(Credential { name, source, fingerprint, only_here }), refused: None, expected: None }
}

fn no_channel() -> Found {
    Found::Channel { used: Vec::new(), stored: Vec::new(), terminal: false }
}

fn sandbox(set: Option<&str>) -> Found {
    Found::Runtime {
        set: set.map(str::to_owned),
        works: Ok("the sandbox".to_owned()),
        candidates: vec![("docker", Err("no socket".to_owned())), ("sandbox", Ok("namespaces".to_owned()))],
    }
}

/// A machine on which nothing was set up yet.
fn fresh() -> Vec<(Step, Found)> {
    vec![
        (Step::Machine, Found::Machine { made: false, troubles: Vec::new() }),
        (Step::Runtime, sandbox(None)),
        (Step::Image, Found::Image { engine: Ok(None), image: "x".to_owned(), there: false }),
        (Step::Credential, no_credential()),
        (Step::Channel, no_channel()),
        (Step::Assistant, Found::Assistant { name: "Andy".to_owned(), set: false }),
        (Step::MainGroup, Found::MainGroup { group: None, reachable: false }),
        (Step::Service, Found::Service { systemd: true, unit: UnitFound::None, running: None }),
        (Step::Message, Found::Message { answered: false }),
    ]
}

/// The same after all of it.
fn done() -> Vec<(Step, Found)> {
    vec![
        (Step::Machine, Found::Machine { made: true, troubles: Vec::new() }),
        (Step::Runtime, sandbox(Some("auto"))),
        (Step::Image, Found::Image { engine: Ok(Some("docker".to_owned())), image: "x".to_owned(), there: true }),
        (Step::Credential, has("ANTHROPIC_API_KEY", KEY, false)),
        (Step::Channel, Found::Channel { used: Vec::new(), stored: Vec::new(), terminal: true }),
        (Step::Assistant, Found::Assistant { name: "Bea".to_owned(), set: true }),
        (Step::MainGroup, Found::MainGroup { group: Some(("main".to_owned(), TERMINAL.to_owned())), reachable: false }),
        (Step::Service, Found::Service { systemd: true, unit: UnitFound::Ours, running: Some("runs".to_owned()) }),
        (Step::Message, Found::Message { answered: true }),
    ]
}

fn question(next: Next) -> Question {
    match next {
        Next::Ask(question) => question,
        other => panic!("a question was expected: {other:?}"),
    }
}

fn words(question: &Question) -> Vec<&str> {
    question.choices.iter().map(|choice| choice.word).collect()
}

#[test]
fn on_a_fresh_machine_defaults_are_enough_and_every_step_does_something_safe() {
    let outline = Outline::of(&fresh(), &Answers::default(), |_| false);
    assert_eq!(outline.missing, []);
    let will = |action| Intent::Will(action);
    let intents: Vec<_> = outline.steps.iter().map(|(_, intent)| intent.clone()).collect();
    assert_eq!(intents[0], will(Action::MakeHome));
    assert_eq!(intents[1], will(Action::UseRuntime("auto".to_owned())));
    assert!(matches!(&intents[2], Intent::Done(_)), "the sandbox needs no image");
    assert!(matches!(&intents[3], Intent::Left(left) if left.commands.contains(&"nanoclaw auth set")));
    assert_eq!(intents[4], will(Action::Register { chat: TERMINAL.to_owned(), main: true }));
    assert_eq!(intents[5], will(Action::Name("Andy".to_owned())));
    assert!(matches!(&intents[6], Intent::Done(words) if words.contains(TERMINAL)), "that chat is the main group then");
    assert_eq!(intents[7], will(Action::InstallService));
    assert_eq!(intents[8], will(Action::Say(FIRST_MESSAGE.to_owned())));
}

#[test]
fn what_is_done_is_neither_asked_nor_done_again_unless_it_is_wanted() {
    let same = with_secret(answers(&[(Key::Name, "Bea"), (Key::Channel, "local")]), "ANTHROPIC_API_KEY", KEY);
    for given in [Answers::default(), same] {
        let outline = Outline::of(&done(), &given, |_| false);
        for (step, intent) in &outline.steps {
            assert!(matches!(intent, Intent::Done(_)), "{step}: {intent:?}");
        }
        for (step, found) in done() {
            assert!(matches!(decide(&found, &given, ASKED), Next::Done(_)), "{step}");
        }
    }
    let again = Outline::of(&done(), &answers(&[(Key::Name, "Cleo")]), |step| step == Step::Runtime);
    let will: Vec<_> = again.steps.iter().filter(|(_, intent)| matches!(intent, Intent::Will(_))).collect();
    let will: Vec<Step> = will.into_iter().map(|(step, _)| *step).collect();
    assert_eq!(will, [Step::Runtime, Step::Assistant, Step::Message], "what was changed is shown to work");
}

#[test]
fn where_another_chat_is_to_be_the_main_group_the_terminal_does_not_take_its_place() {
    let outline = Outline::of(&fresh(), &answers(&[(Key::MainChat, "tg:7")]), |_| false);
    let register = |chat: &str, main| Intent::Will(Action::Register { chat: chat.to_owned(), main });
    assert_eq!((&outline.steps[4].1, &outline.steps[6].1), (&register(TERMINAL, false), &register("tg:7", true)));
    for same in ["local", TERMINAL] {
        let outline = Outline::of(&fresh(), &answers(&[(Key::MainChat, same)]), |_| false);
        assert_eq!(outline.steps[4].1, register(TERMINAL, true));
    }
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let given = answers(&[(Key::Credential, "api-key"), (Key::Channel, "slack")]);
    let outline = Outline::of(&fresh(), &given, |_| false);
    let missing: Vec<Key> = outline.missing.iter().map(|question| question.key).collect();
    let secret = Key::Secret;
    assert_eq!(missing, [secret("ANTHROPIC_API_KEY"), secret("SLACK_APP_TOKEN"), secret("SLACK_BOT_TOKEN")]);
    let ways = missing[0].ways();
    assert!(ways.contains("NANOCLAW_SETUP_ANTHROPIC_API_KEY") && ways.contains("anthropic_api_key"), "{ways}");
    assert!(!ways.contains("--"), "a secret is no argument: {ways}");
    assert!(Key::MainChat.ways().starts_with("--main-chat, NANOCLAW_SETUP_MAIN_CHAT"));
}

#[test]
fn a_secret_that_is_given_says_which_kind_is_meant() {
    let key = with_secret(Answers::default(), "ANTHROPIC_API_KEY", KEY);
    assert_eq!(decide(&no_credential(), &key, ALONE), Next::Do(Action::StoreCredential("ANTHROPIC_API_KEY")));
    let discord = with_secret(Answers::default(), "DISCORD_BOT_TOKEN", "x");
    assert_eq!(decide(&no_channel(), &discord, ALONE), Next::Do(Action::StoreSecrets(vec!["DISCORD_BOT_TOKEN"])));
    // Another one than what is there takes its place; the same one does not.
    let stored = has("ANTHROPIC_API_KEY", KEY, false);
    assert!(matches!(decide(&stored, &key, ALONE), Next::Done(_)));
    let other = with_secret(Answers::default(), "ANTHROPIC_API_KEY", "another");
    assert_eq!(decide(&stored, &other, ALONE), Next::Do(Action::StoreCredential("ANTHROPIC_API_KEY")));
    // What only this command has, the service would miss.
    let here = has("ANTHROPIC_API_KEY", KEY, true);
    assert!(matches!(decide(&here, &key, ALONE), Next::Do(_)));
    assert!(matches!(decide(&here, &Answers::default(), ALONE), Next::Done(words) if words.contains("stored")));
}

#[test]
fn a_credential_that_the_model_refuses_is_as_good_as_none_and_is_named() {
    let refused = Found::Credential { has: None, refused: Some("ANTHROPIC_API_KEY".to_owned()), expected: None };
    let asked = question(decide(&refused, &Answers::default(), ASKED));
    assert!(asked.help.is_some_and(|help| help.contains("refuses the ANTHROPIC_API_KEY")));
    let later = answers(&[(Key::Credential, "later")]);
    assert!(matches!(decide(&refused, &later, ALONE), Next::Left(left) if left.why.contains("ANTHROPIC_API_KEY")));
}

#[test]
fn a_chat_service_is_asked_for_what_it_lacks_and_nothing_else() {
    let telegram = answers(&[(Key::Channel, "telegram")]);
    let [id, hash, bot] = [0, 1, 2].map(|at| secrets_of("telegram")[at]);
    let stored = vec![(id, fingerprint(&Secret::new("7")))];
    let found = Found::Channel { used: Vec::new(), stored, terminal: false };
    assert_eq!(question(decide(&found, &telegram, ASKED)).key, Key::Secret(hash));
    let telegram = with_secret(telegram, hash, "h");
    assert_eq!(question(decide(&found, &telegram, ASKED)).key, Key::Secret(bot));
    let telegram = with_secret(telegram, bot, "b");
    assert_eq!(decide(&found, &telegram, ASKED), Next::Do(Action::StoreSecrets(vec![hash, bot])));
    // A phone is linked by somebody who sees a code.
    let whatsapp = answers(&[(Key::Channel, "whatsapp")]);
    assert_eq!(decide(&no_channel(), &whatsapp, ASKED), Next::Do(Action::LinkWhatsApp));
    assert!(matches!(decide(&no_channel(), &whatsapp, ALONE), Next::Left(_)));
}

#[test]
fn who_sits_there_is_offered_a_login_and_a_code_and_a_script_is_not() {
    let asked = question(decide(&no_credential(), &Answers::default(), ASKED));
    assert!(words(&asked).contains(&"login") && asked.default.as_deref() == Some("api-key"));
    let alone = question(decide(&no_credential(), &Answers::default(), ALONE));
    assert!(!words(&alone).contains(&"login") && alone.default.as_deref() == Some("later"));
    let login = answers(&[(Key::Credential, "login")]);
    assert!(matches!(decide(&no_credential(), &login, ALONE), Next::Cannot(trouble) if trouble.help.contains("TOKEN")));
    assert_eq!(decide(&no_credential(), &login, ASKED), Next::Do(Action::LogIn));

    let chat = |reachable| Found::MainGroup { group: None, reachable };
    let default = |reachable, way| question(decide(&chat(reachable), &Answers::default(), way)).default.unwrap();
    assert_eq!([default(true, ASKED), default(true, ALONE), default(false, ASKED)], ["pair", "local", "local"]);
    assert!(!words(&question(decide(&chat(false), &Answers::default(), ASKED))).contains(&"pair"));
}

#[test]
fn there_is_one_main_group_and_another_units_place_is_not_taken() {
    let group = Some(("main".to_owned(), "tg:7".to_owned()));
    let found = Found::MainGroup { group, reachable: true };
    let wants = |word| decide(&found, &answers(&[(Key::MainChat, word)]), ALONE);
    assert!(matches!(wants("tg:7"), Next::Done(_)));
    assert!(matches!(wants("tg:8"), Next::Cannot(trouble) if trouble.help.contains("groups remove main")));

    let service = |systemd, unit| {
        decide(&Found::Service { systemd, unit, running: None }, &answers(&[(Key::Service, "install")]), ALONE)
    };
    assert_eq!(service(true, UnitFound::None), Next::Do(Action::InstallService));
    assert!(matches!(service(true, UnitFound::Another), Next::Left(left) if left.commands[0].contains("--name")));
    assert!(matches!(service(false, UnitFound::None), Next::Left(left) if left.commands == ["nanoclaw run"]));
}

#[test]
fn where_nothing_runs_containers_nobody_is_asked_which() {
    let trouble = Trouble { what: "nothing".to_owned(), help: "install docker".to_owned() };
    let candidates = vec![("docker", Err("no socket".to_owned()))];
    let found = Found::Runtime { set: None, works: Err(trouble.clone()), candidates };
    assert_eq!(decide(&found, &Answers::default(), ASKED), Next::Cannot(trouble));
    let question = question(decide(&sandbox(None), &Answers::default(), ASKED));
    assert_eq!(words(&question), ["auto", "sandbox"]);
    assert!(question.help.is_some_and(|help| help.contains("docker: no socket")));
}

#[test]
fn going_back_forgets_the_last_answer_and_asks_it_again_though_it_was_acted_on() {
    let mut given = Answers::default();
    let mut walk = Walk::new(vec![Step::Runtime, Step::Credential, Step::Channel], []);
    assert!(!walk.back(&mut given), "there is nothing before the first question");
    let answer = |walk: &mut Walk, given: &mut Answers, key: Key, word: &str| {
        given.give(key, key.understand(word).unwrap(), Origin::Person);
        walk.asked(key);
    };
    answer(&mut walk, &mut given, Key::Runtime, "sandbox");
    walk.finish(Outcome::Done("the sandbox".to_owned()));
    answer(&mut walk, &mut given, Key::Credential, "api-key");
    answer(&mut walk, &mut given, Key::Secret("ANTHROPIC_API_KEY"), KEY);
    walk.finish(Outcome::Done("stored".to_owned()));
    assert_eq!(walk.step(), Some(Step::Channel));

    assert!(walk.back(&mut given));
    assert_eq!((walk.step(), walk.is_again()), (Some(Step::Credential), true));
    assert_eq!((given.word(Key::Credential), given.secret("ANTHROPIC_API_KEY")), (Some("api-key"), None));
    assert!(walk.back(&mut given) && walk.step() == Some(Step::Credential));
    let way = Way { again: walk.is_again(), interactive: true, changed: walk.has_changed() };
    let asked = question(decide(&has("ANTHROPIC_API_KEY", KEY, false), &given, way));
    assert_eq!((asked.key, asked.default.as_deref()), (Key::Credential, Some("keep")));
    assert!(walk.back(&mut given));
    assert_eq!((walk.step(), given.word(Key::Runtime), walk.outcomes().len()), (Some(Step::Runtime), None, 0));
    assert!(!walk.back(&mut given));

    // What failed is asked anew, whoever answered it.
    given.give(Key::Runtime, Given::Word("docker".to_owned()), Origin::Flag);
    walk.retry(&mut given);
    assert_eq!((walk.step(), walk.is_again(), given.word(Key::Runtime)), (Some(Step::Runtime), true, None));

    // What was found done on the way is passed over again, and is not asked.
    walk.finish(Outcome::Found("the sandbox".to_owned()));
    assert!(!walk.is_again() || walk.step() != Some(Step::Runtime));
    assert!(!walk.has_changed());
}

#[test]
fn a_flag_counts_before_the_environment_and_that_before_a_file() {
    let environment = environment_of([("NANOCLAW_SETUP_NAME", "Env"), ("NANOCLAW_SETUP_CHANNEL", "slack")]);
    let file = "name = \"File\"\nchannel = \"local\"\nruntime = \"sandbox\"\ntelegram_api_id = 12345\n";
    let mut mistakes = Vec::new();
    let file = Some((Path::new("answers.toml"), file));
    let given = Answers::gather(&[(Key::Name, "Flag")], &environment, file, &mut mistakes);
    assert_eq!(mistakes, []);
    let words = [Key::Name, Key::Channel, Key::Runtime].map(|key| given.word(key).unwrap());
    assert_eq!(words, ["Flag", "slack", "sandbox"]);
    assert_eq!(given.secret("TELEGRAM_API_ID").unwrap().reveal(), "12345");
    assert!(given.has_secret_of_a_file());
    assert!(!format!("{given:?}").contains("12345"), "a secret is shown nowhere");
}

#[test]
fn every_mistake_of_a_file_is_named_with_its_line_and_no_secret() {
    let text = format!(
        "runtime = \"dokcer\"\nnmae = \"Bea\"\nservice = true\nmain_chat = \"nobody\"\nanthropic_api_key = \"{TOKEN}\"\n\
         slack_bot_token = \"two words REAL\"\nunheard_of = \"REAL\"\n"
    );
    let mut mistakes = Vec::new();
    let environment = environment_of([("NANOCLAW_SETUP_IMAGE", "tiny")]);
    let file = Some((Path::new("/a/answers.toml"), text.as_str()));
    let _ = Answers::gather(&[(Key::Name, "\u{7}")], &environment, file, &mut mistakes);
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 9, "{told:#?}");
    assert!(told.iter().all(|mistake| !mistake.contains("REAL")), "{told:#?}");
    assert_eq!(told[0], "/a/answers.toml:1: runtime must be one of auto, docker, podman, sandbox");
    assert_eq!(told[1], "/a/answers.toml:2: there is no answer nmae; did you mean name?");
    assert_eq!(told[2], "/a/answers.toml:3: service must be a text");
    assert!(told[3].contains("tg:12345") && told[4].contains("a subscription's token"), "{told:#?}");
    assert!(told[4].contains("claude_code_oauth_token") && told[5].contains("a space"), "{told:#?}");
    assert!(told[6].starts_with("/a/answers.toml:7: there is no answer unheard_of; there are runtime"), "{told:#?}");
    assert_eq!(told[7], "environment variable NANOCLAW_SETUP_IMAGE: image must be one of local, slim, full, later");
    assert!(told[8].starts_with("--name: name must be one line"), "{told:#?}");

    let mut mistakes = Vec::new();
    let file = Some((Path::new("-"), "name = \"REAL\nchannel ="));
    let _ = Answers::gather(&[], &environment_of([]), file, &mut mistakes);
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert!(told[0].starts_with("standard input:1: not TOML") && !told.concat().contains("REAL"), "{told:#?}");
}

#[test]
fn every_secret_of_a_chat_service_and_of_the_model_can_be_given() {
    for service in ["telegram", "slack", "discord"] {
        assert!(!secrets_of(service).is_empty());
        assert!(secrets_of(service).iter().all(|name| SECRETS.contains(name)), "{service}");
    }
    for kind in crate::credentials::CredentialKind::ALL {
        assert!(SECRETS.contains(&kind.variable()));
    }
    for key in Key::all() {
        assert!(key.is_secret() == key.flag().is_none(), "{key:?}");
    }
    for step in Step::ALL {
        assert_eq!(step.name().parse(), Ok(step));
    }
    assert!("main_group".parse::<Step>().unwrap_err().contains("main-group"));
}
