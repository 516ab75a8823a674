//! Whether what thinks can: for all groups, and for those of which something else is said.

use super::Check;
use crate::{
    config::{Config, ProcessEnvironment, Provider, Thinking},
    credentials::{CredentialKind, Standing},
    programs::{self, Purpose},
};

/// What one or more groups have.
struct Case<'a> {
    /// `None`: all of which nothing else is said.
    group: Option<&'a str>,
    provider: Provider,
    why: String,
    thinking: Thinking,
    /// Whether another program takes the provider's place.
    replaced: bool,
}

/// What is wrong, and what mends it.
struct Wrong {
    what: String,
    help: String,
}

/// `purpose`: what programs are for on the runtime that was chosen; `None` where there is none.
pub(super) fn check(config: &Config, purpose: Option<Purpose>) -> Check {
    let mut details = Vec::new();
    let mut wrong: Option<Wrong> = None;
    for case in cases(config) {
        let (detail, problem) = judge(&case, config, purpose);
        let of = case.group.map_or_else(String::new, |group| format!("{group}: "));
        let problem = problem.map(|problem| (format!("; {}", problem.what), problem));
        details.push(format!("{of}{detail}{}", problem.as_ref().map_or("", |(what, _)| what)));
        wrong = wrong.or(problem.map(|(_, problem)| problem));
    }
    let detail = details.join("\n");
    match wrong {
        None => Check::ok("provider", detail),
        Some(Wrong { help, .. }) => Check::failed("provider", detail, help),
    }
}

/// All groups in general, and each that has something else.
fn cases(config: &Config) -> Vec<Case<'_>> {
    let general = config.general_provider();
    let mut cases = vec![Case {
        group: None,
        provider: general.value,
        why: general.source.to_string(),
        thinking: config.agent.thinking.clone(),
        replaced: config.agent.command.is_some(),
    }];
    for (folder, own) in &config.groups {
        let settings = config.for_group(folder);
        let other = *settings.provider != general.value
            || settings.thinking.api.as_deref() != config.agent.thinking.api.as_deref()
            || own.command.is_some();
        if other && settings.command.is_none() {
            cases.push(Case {
                group: Some(folder.as_str()),
                provider: settings.provider.value,
                why: settings.provider.source.to_string(),
                thinking: settings.thinking,
                replaced: false,
            });
        }
    }
    cases
}

fn judge(case: &Case<'_>, config: &Config, purpose: Option<Purpose>) -> (String, Option<Wrong>) {
    let Case { provider, why, .. } = case;
    match provider {
        Provider::Offline => (format!("offline: no model answers ({why})"), None),
        Provider::Native if !case.thinking.asks_model_api() => of_its_own(case, config),
        Provider::Claude | Provider::Native => {
            let none = Wrong {
                what: "but no credential is configured".to_owned(),
                help: "`nanoclaw auth set` stores an API key, `nanoclaw auth setup-token` a subscription's token"
                    .to_owned(),
            };
            match config.credentials.standing() {
                Standing::Has(credential) => {
                    let detail = format!("{provider} ({why}), with {}", credential.kind.variable());
                    let wrong = match provider {
                        Provider::Native => (credential.kind == CredentialKind::OAuthToken).then(for_claude_alone),
                        _ => program(case, config, purpose),
                    };
                    (detail, wrong)
                }
                Standing::Expected(source) => {
                    let wrong = if *provider == Provider::Claude { program(case, config, purpose) } else { None };
                    (format!("{provider} ({why}), with what {source} gives"), wrong)
                }
                Standing::Missing if *provider == Provider::Native => {
                    let help = "`nanoclaw auth set ANTHROPIC_API_KEY` stores one; or set api to a model of your own \
                                (docs/native-provider.md)";
                    let what = "but no API key is configured".to_owned();
                    (format!("{provider} ({why})"), Some(Wrong { what, help: help.to_owned() }))
                }
                Standing::Missing => (format!("{provider} ({why})"), Some(none)),
            }
        }
    }
}

/// A model of one's own.
fn of_its_own(case: &Case<'_>, config: &Config) -> (String, Option<Wrong>) {
    let model = case.thinking.model.as_ref().map_or("a model", |model| model.value.as_str());
    let Some(name) = case.thinking.upstream() else {
        return (format!("native ({}), with {model} inside the container", case.why), None);
    };
    let detail = format!("native ({}), with {model} of the upstream {name}", case.why);
    let upstream = config.gateway.upstreams.iter().find(|one| one.name.as_str() == name);
    let expected = config.credentials.command().is_some();
    let missing = upstream.filter(|one| !expected && config.credentials.secret_named(&one.secret).is_none());
    let wrong = missing.map(|one| Wrong {
        what: format!("there is no {}", one.secret),
        help: format!("`nanoclaw auth set {}` stores it; any word will do where the server wants none", one.secret),
    });
    (detail, wrong)
}

fn for_claude_alone() -> Wrong {
    Wrong {
        what: "a subscription's token, which is for Claude Code alone: native needs an API key".to_owned(),
        help:
            "`nanoclaw auth set ANTHROPIC_API_KEY` stores one; or set provider to claude, or api to a model of your own"
                .to_owned(),
    }
}

/// The program `claude`.
fn program(case: &Case<'_>, config: &Config, purpose: Option<Purpose>) -> Option<Wrong> {
    if case.replaced {
        return None;
    }
    let wrong = |what: String, help: &str| Some(Wrong { what, help: help.to_owned() });
    match programs::claude(&config.agent, purpose.unwrap_or(Purpose::ThisMachine), &ProcessEnvironment) {
        Some(path) if !programs::can_be_started(&path) => {
            wrong(format!("{} is no program", path.display()), "correct [agent] claude in nanoclaw.toml")
        }
        None if purpose == Some(Purpose::ThisMachine) => wrong(
            "the program claude is not on this machine".to_owned(),
            "`npm install -g @anthropic-ai/claude-code` installs it; [agent] claude in nanoclaw.toml names its place",
        ),
        _ => None,
    }
}
