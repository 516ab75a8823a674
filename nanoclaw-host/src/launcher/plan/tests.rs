use std::path::Path;

use nanoclaw_core::{
    chat::ChatId,
    group::{GroupFolder, TriggerPolicy},
    run::{RunId, RunNumber},
    runtime::InstallId,
    time::Timestamp,
};

use super::*;
use crate::config::environment_of;

const API_KEY: (&str, &str) = ("ANTHROPIC_API_KEY", "sk-the-real-key");

pub(in crate::launcher) fn group(role: GroupRole) -> Group {
    let folder = match role {
        GroupRole::Main => "main",
        GroupRole::Ordinary => "family",
    };
    Group {
        folder: GroupFolder::new(folder).unwrap(),
        chat: ChatId::new("tg:1").unwrap(),
        name: "A group".to_owned(),
        trigger: TriggerPolicy::Always,
        role,
        added_at: Timestamp::from_ms(0),
    }
}

fn home() -> Home {
    Home::at(Path::new("/home/me/nanoclaw")).unwrap()
}

fn config<const COUNT: usize>(text: &str, environment: [(&str, &str); COUNT]) -> Config {
    Config::parse(&home().config_file(), text, home().root(), &environment_of(environment)).unwrap()
}

/// A machine with the sandbox, which can do everything, our runner and Claude Code.
pub(in crate::launcher) fn machine() -> Machine {
    Machine {
        runtime: RuntimeKind::Sandbox,
        runtime_because: "the test says so".to_owned(),
        capabilities: Capabilities {
            description: "a sandbox".to_owned(),
            own_mounts: true,
            own_network: true,
            memory_limit: true,
            tells_out_of_memory: true,
            pids_limit: true,
            cpu_limit: true,
            images: true,
            outlive_host: false,
            remarks: Vec::new(),
        },
        user: RunAs { uid: 1000, gid: 1000 },
        runner: Some("/opt/agent-runner".into()),
        claude: Some("/opt/claude".into()),
        missing_limits: MissingLimits::LeaveOutDefaults,
    }
}

/// The container of an ordinary group's seventh run.
fn spec(plan: &Plan) -> ContainerSpec {
    let run = RunId { group: GroupFolder::new("family").unwrap(), number: RunNumber(7) };
    plan.spec(Labels { install: InstallId::new("0123456789abcdef").unwrap(), run })
}

fn planned(role: GroupRole, config: &Config) -> Plan {
    plan(&group(role), &home(), config, &machine())
}

/// Each mount as `source:target:ro` or `rw`, the source below the home.
fn mounts(plan: &Plan) -> Vec<String> {
    let shown = |mount: &Mount| {
        let source = mount.source.strip_prefix(home().root()).unwrap_or(&mount.source);
        let access = match mount.access {
            Access::ReadOnly => "ro",
            Access::ReadWrite => "rw",
        };
        format!("{}:{}:{access}", source.display(), mount.target)
    };
    spec(plan).mounts.iter().map(shown).collect()
}

fn words(plan: &Plan) -> Vec<String> {
    spec(plan).command.iter().map(|word| word.as_str().to_owned()).collect()
}

fn variable(plan: &Plan, name: &str) -> Option<String> {
    spec(plan).env.get(name).map(|value| value.as_str().to_owned())
}

#[test]
fn an_ordinary_group_reads_what_all_share_and_writes_its_own() {
    let plan = planned(GroupRole::Ordinary, &config("", []));
    assert_eq!(
        mounts(&plan),
        [
            "groups/family:/workspace/group:rw",
            "groups/global:/workspace/global:ro",
            "store/sessions/family:/home/node:rw",
            "store/ipc/family:/workspace/ipc:rw",
            "store/overlays/family:/app/src:rw",
            "/opt/agent-runner:/nanoclaw/bin/agent-runner:ro",
        ]
    );
    assert_eq!(variable(&plan, names::GLOBAL_DIR).as_deref(), Some("/workspace/global"));
}

#[test]
fn the_main_group_has_no_mount_of_what_all_share() {
    let plan = planned(GroupRole::Main, &config("", []));
    assert_eq!(
        mounts(&plan),
        [
            "groups/main:/workspace/group:rw",
            "store/sessions/main:/home/node:rw",
            "store/ipc/main:/workspace/ipc:rw",
            "store/overlays/main:/app/src:rw",
            "/opt/agent-runner:/nanoclaw/bin/agent-runner:ro",
        ]
    );
    assert_eq!(variable(&plan, names::GLOBAL_DIR), None);
}

#[test]
fn only_an_agent_that_may_call_a_model_has_a_way_to_one() {
    let gateway = "store/gateway/family:/run/nanoclaw:ro".to_owned();
    let own_command = "[agent]\ncommand = [\"/bin/agent\"]";
    for (text, environment, has_one) in [
        ("", &[][..], false),
        ("[agent]\nprovider = \"offline\"", &[API_KEY][..], false),
        ("", &[API_KEY][..], true),
        ("[agent]\nprovider = \"claude\"", &[][..], true),
        ("[agent]\nprovider = \"native\"", &[][..], true),
        // Nobody knows what it calls.
        (own_command, &[][..], true),
    ] {
        let config = match environment {
            [] => config(text, []),
            _ => config(text, [API_KEY]),
        };
        let plan = planned(GroupRole::Ordinary, &config);
        assert_eq!(plan.gateway, has_one, "{text}");
        assert_eq!(mounts(&plan).contains(&gateway), has_one, "{text}");
        assert_eq!(variable(&plan, names::GATEWAY_SOCKET).is_some(), has_one, "{text}");
        assert_eq!(variable(&plan, names::MODEL_AUTH).is_some(), has_one, "{text}");
    }
}

#[test]
fn a_group_that_may_reach_anything_has_a_gateway_and_is_told_of_its_ways() {
    let text = "[groups.family]\nallow = [\"example.com\"]\n[[gateway.upstreams]]\nname = \"github\"\n\
                base_url = \"https://api.github.com\"\ninject = \"bearer\"\nsecret = \"GITHUB_TOKEN\"\ngroups = [\"main\"]";
    let config = config(text, [("GITHUB_TOKEN", "ghp-real")]);
    let family = planned(GroupRole::Ordinary, &config);
    assert!(family.gateway && !family.policy.model_api);
    assert_eq!(variable(&family, names::EGRESS).as_deref(), Some("1"));
    assert_eq!((variable(&family, names::UPSTREAMS), variable(&family, names::MODEL_AUTH)), (None, None));
    let main = planned(GroupRole::Main, &config);
    assert!(main.gateway);
    assert_eq!((variable(&main, names::EGRESS), variable(&main, names::UPSTREAMS)), (None, Some("github".to_owned())));
    assert!(!format!("{:?}", spec(&main)).contains("ghp-real"));
    let explained = format!("{:?}", family.explanation(&group(GroupRole::Ordinary), &config));
    assert!(explained.contains("example.com:443"), "{explained}");
}

#[test]
fn the_agent_is_told_what_kind_of_credential_the_host_has() {
    for (name, auth) in
        [("ANTHROPIC_API_KEY", "api_key"), ("ANTHROPIC_AUTH_TOKEN", "api_key"), ("CLAUDE_CODE_OAUTH_TOKEN", "oauth")]
    {
        let plan = planned(GroupRole::Ordinary, &config("", [(name, "sk-the-real-key")]));
        assert_eq!(variable(&plan, names::MODEL_AUTH).as_deref(), Some(auth), "{name}");
    }
}

#[test]
fn no_word_of_a_credential_is_in_what_is_planned() {
    for name in ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"] {
        for text in ["", "[agent]\ncommand = [\"/bin/agent\"]"] {
            let config = config(text, [(name, "sk-the-real-key")]);
            let plan = planned(GroupRole::Ordinary, &config);
            let explanation = plan.explanation(&group(GroupRole::Ordinary), &config);
            assert!(!format!("{:?} {explanation:?}", spec(&plan)).contains("real-key"), "{name} {text}");
            assert_eq!(variable(&plan, name), None);
        }
    }
}

#[test]
fn the_claude_of_this_machine_is_mounted_for_the_provider_that_uses_it() {
    let mounted = "/opt/claude:/nanoclaw/bin/claude:ro".to_owned();
    let with_key = config("", [API_KEY]);
    let plan_of = |config: &Config, claude: Option<PathBuf>| {
        plan(&group(GroupRole::Ordinary), &home(), config, &Machine { claude, ..machine() })
    };
    let there = plan_of(&with_key, Some("/opt/claude".into()));
    assert!(mounts(&there).contains(&mounted));
    assert_eq!(variable(&there, names::CLAUDE).as_deref(), Some("/nanoclaw/bin/claude"));

    let own_command = config("[agent]\ncommand = [\"/bin/agent\"]", [API_KEY]);
    for other in [plan_of(&with_key, None), plan_of(&own_command, Some("/opt/claude".into()))] {
        assert!(!mounts(&other).contains(&mounted));
        assert_eq!(variable(&other, names::CLAUDE), None);
    }
}

#[test]
fn our_program_is_init_over_its_own_agent_and_over_any_other() {
    let runner = "/nanoclaw/bin/agent-runner";
    let ours = planned(GroupRole::Ordinary, &config("", []));
    assert_eq!(words(&ours), [runner, "init", "--", runner, "run"]);

    let text = "[agent]\ncommand = [\"/bin/all\"]\n[groups.family]\ncommand = [\"/bin/agent\", \"--flag\", \"/data\"]";
    let theirs = planned(GroupRole::Ordinary, &config(text, []));
    assert_eq!(words(&theirs), [runner, "init", "--", "/bin/agent", "--flag", "/data"]);
    // Its words are its own: only our program's place may be put into the terms of a runtime without mounts.
    assert!(matches!(&spec(&theirs).command[5], GuestValue::Text(word) if word == "/data"));
    assert_eq!(words(&planned(GroupRole::Main, &config(text, []))), [runner, "init", "--", "/bin/all"]);
}

#[test]
fn without_a_runner_nothing_starts_and_the_remedy_is_told() {
    let machine = Machine { runner: None, ..machine() };
    let config = config("", []);
    let plan = plan(&group(GroupRole::Ordinary), &home(), &config, &machine);
    assert_eq!(plan.problems.len(), 1);
    assert!(plan.problems[0].contains("agent.runner in nanoclaw.toml"), "{}", plan.problems[0]);
    assert_eq!(plan.explanation(&group(GroupRole::Ordinary), &config).problems, plan.problems);
}

#[test]
fn a_limit_is_left_out_only_where_it_is_a_default_and_cannot_be_in_force() {
    let default = config("", []).for_group(&group(GroupRole::Ordinary).folder).container_limits();
    assert!(default.memory_bytes.is_some() && default.pids.is_some(), "the test needs defaults: {default:?}");
    let none = Capabilities { memory_limit: false, pids_limit: false, cpu_limit: false, ..machine().capabilities };
    let limits = |text: &str, capabilities: &Capabilities, missing_limits| {
        let machine = Machine { capabilities: capabilities.clone(), missing_limits, ..machine() };
        spec(&plan(&group(GroupRole::Ordinary), &home(), &config(text, []), &machine)).limits
    };
    use MissingLimits::{LeaveOutDefaults, Refuse};

    assert_eq!(limits("", &machine().capabilities, LeaveOutDefaults), default);
    assert_eq!(limits("", &none, Refuse), default);
    let nothing = Limits { memory_bytes: None, pids: None, milli_cpus: None };
    assert_eq!(limits("", &none, LeaveOutDefaults), nothing);

    let configured = "[container]\nmemory = \"1GiB\"\npids = 99\ncpus = 1.5";
    let asked_for = Limits { memory_bytes: Some(1 << 30), pids: Some(99), milli_cpus: Some(1500) };
    assert_eq!(limits(configured, &none, LeaveOutDefaults), asked_for);
    let of_the_group = "[groups.family]\nmemory = \"1GiB\"\npids = 99\ncpus = 1.5";
    assert_eq!(limits(of_the_group, &none, LeaveOutDefaults), asked_for);

    let only_pids = Capabilities { pids_limit: true, ..none.clone() };
    assert_eq!(limits("", &only_pids, LeaveOutDefaults), Limits { pids: default.pids, ..nothing });
}

#[test]
fn the_sandbox_takes_this_machines_programs_unless_a_root_folder_was_asked_for() {
    let image = |text: &str, runtime| {
        let machine = Machine { runtime, ..machine() };
        spec(&plan(&group(GroupRole::Ordinary), &home(), &config(text, []), &machine)).image.to_string()
    };
    let (named, folder) = ("[container]\nimage = \"agent:2\"", "[container]\nimage = \"/srv/root\"");
    assert_eq!(image("", RuntimeKind::Sandbox), "host");
    assert_eq!(image(named, RuntimeKind::Sandbox), "host");
    assert_eq!(image(folder, RuntimeKind::Sandbox), "/srv/root");
    assert_eq!(image(named, RuntimeKind::Docker), "agent:2");
}

#[test]
fn a_run_is_named_and_numbered() {
    let spec = spec(&planned(GroupRole::Ordinary, &config("", [])));
    assert_eq!(spec.name, "nanoclaw-01234567-family-7");
    assert_eq!(spec.env[names::RUN].as_str(), "7");
    assert_eq!(spec.user, RunAs { uid: 1000, gid: 1000 });
    assert_eq!(spec.workdir.as_str(), "/workspace/group");
}

#[test]
fn what_is_explained_is_what_is_done() {
    let none = Capabilities { memory_limit: false, pids_limit: false, cpu_limit: false, ..machine().capabilities };
    for text in ["", "[agent]\nprovider = \"claude\"", "[agent]\ncommand = [\"/bin/agent\"]\n[container]\npids = 99"] {
        for role in [GroupRole::Main, GroupRole::Ordinary] {
            for capabilities in [machine().capabilities, none.clone()] {
                let (config, machine) = (config(text, []), Machine { capabilities, ..machine() });
                let plan = plan(&group(role), &home(), &config, &machine);
                let (spec, explanation) = (spec(&plan), plan.explanation(&group(role), &config));
                let mounts: Vec<Mount> = explanation
                    .mounts
                    .iter()
                    .map(|explained| Mount {
                        source: explained.source.clone(),
                        target: explained.target.clone(),
                        access: explained.access,
                    })
                    .collect();
                assert_eq!(mounts, spec.mounts);
                assert!(explanation.mounts.iter().all(|mount| !mount.why.is_empty()));

                let setting = |name: &str| {
                    let mut found = explanation.settings.iter().filter(|setting| setting.name == name);
                    let value = found.next().unwrap_or_else(|| panic!("{name} is not explained")).value.clone();
                    assert!(found.next().is_none(), "{name} is explained twice");
                    value
                };
                assert_eq!(setting("runtime"), "sandbox");
                assert_eq!(setting("image"), spec.image.as_str());
                assert_eq!(setting("user"), "1000:1000");
                assert_eq!(setting("command"), words(&plan).join(" "));
                assert_eq!(
                    setting("network").contains("gateway"),
                    plan.gateway && config.credentials.model().is_some()
                );
                let bound = |set: bool, name: &str| assert_eq!(setting(name) != "no bound", set, "{name}");
                bound(spec.limits.memory_bytes.is_some(), "memory");
                bound(spec.limits.pids.is_some(), "pids");
                bound(spec.limits.milli_cpus.is_some(), "cpus");
            }
        }
    }
}

#[test]
fn no_credential_is_anywhere_in_a_container_and_its_environment_is_a_closed_list() {
    let known = [
        "HOME",
        "TZ",
        names::GROUP_DIR,
        names::IPC_DIR,
        names::EXTRA_DIR,
        names::GLOBAL_DIR,
        names::PROVIDER,
        names::GATEWAY_SOCKET,
        names::MODEL_AUTH,
        names::CLAUDE,
        names::AGENT,
        names::RUN,
    ];
    for variable in ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN"] {
        let config = config("", [(variable, API_KEY.1)]);
        assert!(config.credentials.model().is_some(), "{variable} was not taken for a credential");
        for role in [GroupRole::Main, GroupRole::Ordinary] {
            let spec = spec(&planned(role, &config));
            assert!(!format!("{spec:?}").contains(API_KEY.1), "{variable} is in the container");
            let odd: Vec<&String> = spec.env.keys().filter(|name| !known.contains(&name.as_str())).collect();
            assert!(odd.is_empty(), "a variable that nobody thought about: {odd:?}");
        }
    }
}

#[test]
fn a_group_sees_its_overlay_as_its_operator_says() {
    let command = "[groups.family]\ncommand = [\"/bin/other\"]\n";
    let frozen = "[groups.family]\noverlay = \"frozen\"\n";
    for (text, access) in [
        ("", Some("rw")),
        (frozen, Some("ro")),
        ("[agent]\noverlay = \"none\"\n", None),
        ("[agent]\noverlay = \"none\"\n[groups.family]\noverlay = \"open\"\n", Some("rw")),
        (command, None),
        (&format!("{command}overlay = \"open\"\n"), Some("rw")),
    ] {
        let plan = planned(GroupRole::Ordinary, &config(text, [API_KEY]));
        let expected = access.map(|access| format!("store/overlays/family:/app/src:{access}"));
        let seen = mounts(&plan).into_iter().find(|mount| mount.contains("/app/src"));
        assert_eq!((seen, plan.overlay), (expected, access.is_some()), "{text}");
    }
    // What is frozen cannot be reached in another way.
    let plan = planned(GroupRole::Ordinary, &config(frozen, [API_KEY]));
    let overlay = home().overlay(&group(GroupRole::Ordinary).folder);
    let above = spec(&plan).mounts.into_iter().filter(|mount| mount.access == Access::ReadWrite);
    assert_eq!(above.filter(|mount| overlay.starts_with(&mount.source)).count(), 0);
}

const LOCAL: &str = "[groups.family]\nmodel = \"qwen3\"\napi = { kind = \"openai\", upstream = \"local\" }\n\
    [[gateway.upstreams]]\nname = \"local\"\nbase_url = \"http://127.0.0.1:1\"\ninject = \"bearer\"\nsecret = \"LOCAL_KEY\"\n\
    methods = [\"POST\"]\ngroups = [\"family\"]";

#[test]
fn an_agent_is_told_how_to_think_and_nothing_where_nothing_is_said() {
    let told = config("[groups.family]\nmodel = \"m\"\ntools = []", [API_KEY]);
    let settings = variable(&planned(GroupRole::Ordinary, &told), names::AGENT).unwrap();
    assert_eq!(settings, r#"{"api":{"kind":"anthropic"},"model":"m","tools":{"allow":[]}}"#);
    assert_eq!(variable(&planned(GroupRole::Main, &told), names::AGENT), None);
    let explained =
        format!("{:?}", planned(GroupRole::Ordinary, &told).explanation(&group(GroupRole::Ordinary), &told));
    assert!(explained.contains("\"model\", value: \"m\"") && explained.contains("nanoclaw.toml:3"), "{explained}");
}

#[test]
fn a_model_of_ones_own_is_asked_by_its_upstream_alone() {
    let config = config(LOCAL, [API_KEY, ("LOCAL_KEY", "sk-the-local-key")]);
    let plan = planned(GroupRole::Ordinary, &config);
    assert!(plan.gateway && !plan.policy.model_api);
    assert_eq!(variable(&plan, names::PROVIDER).as_deref(), Some("native"));
    assert_eq!(
        (variable(&plan, names::UPSTREAMS).as_deref(), variable(&plan, names::MODEL_AUTH)),
        (Some("local"), None)
    );
    assert_eq!(variable(&plan, names::CLAUDE), None);
    assert!(!format!("{:?}", spec(&plan)).contains("local-key"));
    let explained = plan.explanation(&group(GroupRole::Ordinary), &config);
    let network = explained.settings.iter().find(|setting| setting.name == "network").unwrap();
    assert!(network.value.contains("upstream local"), "{network:?}");
}
