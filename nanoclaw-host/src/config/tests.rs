use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use nanoclaw_core::tasks::TaskSettings;

use super::*;

fn load(text: &str, environment: &dyn Environment) -> Result<Config, ConfigErrors> {
    Config::parse(Path::new("/home/x/nanoclaw.toml"), text, Path::new("/home/x"), environment)
}

fn nothing() -> impl Environment {
    environment_of([])
}

fn errors(text: &str, environment: &dyn Environment) -> String {
    load(text, environment).unwrap_err().to_string()
}

fn group(folder: &str) -> GroupFolder {
    GroupFolder::new(folder).unwrap()
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = load("", &nothing()).unwrap();
    assert_eq!(*config.assistant.name, "Andy");
    assert_eq!(*config.container.image, nanoclaw_core::runtime::ImageRef::new("nanoclaw-agent:latest").unwrap());
    assert_eq!(*config.limits.max_concurrent_containers, 5);
    assert_eq!(*config.limits.idle_timeout, Duration::from_secs(1800));
    assert_eq!(*config.limits.run_timeout, Duration::from_secs(1800));
    assert_eq!(*config.limits.max_messages_per_prompt, 10);
    assert_eq!(*config.limits.turn_timeout, Duration::from_secs(4 * 3600));
    assert_eq!(*config.limits.max_prompt_size, 256 << 10);
    assert_eq!(*config.container.memory_bytes, Some(2 << 30));
    assert_eq!(config.model.base_url.as_str(), "https://api.anthropic.com/");
    assert!(!config.limits.idle_timeout.is_explicit());
    assert_eq!(config.credentials.model(), None);
    assert_eq!(*config.for_group(&group("family")).provider, Provider::Offline);
}

#[test]
fn the_sample_names_every_key_at_its_default() {
    // What is shown as an example stays a comment; the rest is taken as if somebody had removed every #.
    let examples = [
        "command",
        "command_kind",
        "claude",
        "runner",
        "project",
        "zone",
        "model",
        "effort",
        "max_tokens",
        "context_window",
        "mcp_servers",
        "prompt",
        "listen",
    ];
    let text: String = SAMPLE
        .lines()
        .take_while(|line| !line.starts_with("#[groups."))
        .map(|line| {
            let key = line.strip_prefix('#').and_then(|rest| rest.split_once(" = ")).map(|(key, _)| key);
            match key {
                Some(key) if !examples.contains(&key) && !key.contains(' ') => format!("{}\n", &line[1..]),
                _ => format!("{line}\n"),
            }
        })
        .collect();
    let (from_sample, default) = (load(&text, &nothing()).unwrap(), load("", &nothing()).unwrap());
    assert!(from_sample.limits.idle_timeout.is_explicit(), "the sample was not uncommented");
    assert_eq!(*from_sample.assistant.name, *default.assistant.name);
    assert_eq!(*from_sample.agent.provider, *default.agent.provider);
    let thinking = &from_sample.agent.thinking;
    assert!(thinking.tools.is_some() && thinking.api.is_some());
    assert_eq!(thinking.settings(), default.agent.thinking.settings());
    let (sample, own) = (&from_sample.container, &default.container);
    assert_eq!(
        (*sample.runtime, &*sample.image, *sample.memory_bytes, *sample.pids, *sample.milli_cpus, *sample.user),
        (*own.runtime, &*own.image, *own.memory_bytes, *own.pids, *own.milli_cpus, *own.user)
    );
    assert_eq!((*sample.tmp_bytes, *sample.selinux_relabel), (*own.tmp_bytes, *own.selinux_relabel));
    assert!(sample.max_memory_bytes.is_explicit() && sample.max_tmp_bytes.is_explicit());
    assert_eq!(
        (*sample.max_memory_bytes, *sample.max_pids, *sample.max_milli_cpus, *sample.max_tmp_bytes),
        (*own.max_memory_bytes, *own.max_pids, *own.max_milli_cpus, *own.max_tmp_bytes)
    );
    let (sample, own) = (&from_sample.limits, &default.limits);
    assert_eq!(
        (*sample.max_concurrent_containers, *sample.idle_timeout, *sample.run_timeout, *sample.max_messages_per_prompt),
        (*own.max_concurrent_containers, *own.idle_timeout, *own.run_timeout, *own.max_messages_per_prompt)
    );
    assert_eq!((*sample.turn_timeout, *sample.max_prompt_size), (*own.turn_timeout, *own.max_prompt_size));
    assert!(from_sample.images.pull.is_explicit() && from_sample.images.build_network.is_explicit());
    assert_eq!(
        (*from_sample.images.pull, *from_sample.images.build_network),
        (*default.images.pull, *default.images.build_network)
    );
    assert!(from_sample.standby.groups.is_explicit() && from_sample.standby.within.is_explicit());
    assert!(from_sample.standby.memory.is_explicit());
    assert_eq!(from_sample.standby.settings(), default.standby.settings());
    assert!(from_sample.tasks.shortest_interval.is_explicit() && from_sample.tasks.tries.is_explicit());
    assert!(from_sample.tasks.failures_before_rest.is_explicit());
    assert_eq!(from_sample.tasks.settings(), default.tasks.settings());
    assert!(from_sample.retention.run_logs.is_explicit() && from_sample.retention.attachments.is_explicit());
    assert_eq!(from_sample.retention.rules(), default.retention.rules());
    let health = &from_sample.health;
    assert!(health.channel_away.is_explicit() && health.outbox_age.is_explicit() && health.free_space.is_explicit());
    assert_eq!(health.thresholds(), default.health.thresholds());
    assert!(from_sample.delivery.when_unknown.is_explicit());
    assert_eq!(*from_sample.delivery.when_unknown, *default.delivery.when_unknown);
    assert!(from_sample.files.max_size.is_explicit() && from_sample.files.max_waiting.is_explicit());
    assert!(from_sample.files.max_to_send.is_explicit());
    assert_eq!(from_sample.files.limits(), default.files.limits());
    assert_eq!(*from_sample.model.base_url, *default.model.base_url);
    let (sample, own) = (&from_sample.gateway, &default.gateway);
    assert!(sample.allow.is_explicit() && sample.request_timeout.is_explicit());
    assert_eq!((&*sample.allow, &*sample.private), (&*own.allow, &*own.private));
    assert_eq!(
        (*sample.max_connections, *sample.max_tunnels, *sample.max_requests_per_minute, *sample.max_request_size),
        (*own.max_connections, *own.max_tunnels, *own.max_requests_per_minute, *own.max_request_size)
    );
    assert_eq!((*sample.idle_timeout, *sample.request_timeout), (*own.idle_timeout, *own.request_timeout));
    assert_eq!((&*from_sample.log.level, *from_sample.log.format), (&*default.log.level, *default.log.format));
    // As it is written, it says nothing; and every key of ours is in it.
    assert_eq!(load(SAMPLE, &nothing()).unwrap(), default);
    for example in examples {
        assert!(SAMPLE.contains(&format!("\n#{example} = ")), "{example}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_with_line_and_key() {
    let text = r#"
[assistant]
nane = "Bea"

[agent]
provider = "cluade"
command = "just a text"

[container]
runtime = "podmann"
memory = 2048
user = "0:0"
cpus = -1

[limits]
idle_timeout = "soon"
max_concurrent_containers = 0

[time]
zone = "Europe/Atlantis"

[log]
level = "inof"

[model]
base_url = "ftp://models"

[limit]
x = 1

[groups."../etc"]
memory = "1GiB"

[groups.family]
memory = "1GB of it"
timeout = "5m"
"#;
    let environment = environment_of([("MAX_CONCURRENT_CONTAINERS", "many"), ("NANOCLAW_LOG_FORMAT", "xml")]);
    insta::assert_snapshot!(errors(text, &environment), @r#"
    18 mistakes in the configuration:
      /home/x/nanoclaw.toml:3: there is no key assistant.nane; did you mean name?
      /home/x/nanoclaw.toml:6: agent.provider is "cluade"; it must be "auto" or "offline" or "claude" or "native"
      /home/x/nanoclaw.toml:7: agent.command is "just a text"; it must be a list of the program and its arguments, such as ["/usr/bin/python3", "agent.py"]
      /home/x/nanoclaw.toml:10: container.runtime is "podmann"; it must be "auto" or "docker" or "podman" or "sandbox"
      /home/x/nanoclaw.toml:11: container.memory is 2048; it must be a size with its unit such as "512MiB" or "2GiB", from 16MiB to 4TiB, or "none" for no bound
      /home/x/nanoclaw.toml:12: container.user is "0:0"; it must be "auto", or a user and group by number such as "1000:1000", neither of them 0
      /home/x/nanoclaw.toml:13: container.cpus is -1; it must be a number of processors from 0.01 to 1024, such as 2 or 0.5, or "none" for no bound
      /home/x/nanoclaw.toml:16: limits.idle_timeout is "soon"; it must be a length of time with its unit such as "90s", "30m" or "1h 30m", from 0s to 7d
      /home/x/nanoclaw.toml:17: limits.max_concurrent_containers is 0; it must be a whole number from 1 to 1000
      /home/x/nanoclaw.toml:20: time.zone is "Europe/Atlantis"; it must be the name of a zone such as "Europe/Berlin" or "UTC"
      /home/x/nanoclaw.toml:23: log.level is "inof"; it must be error, warn, info, debug, trace or off, or a list of them with modules such as "info,nanoclaw_core=debug"
      /home/x/nanoclaw.toml:26: model.base_url is "ftp://models"; it must be an address such as "https://api.anthropic.com": http or https, without user, query or fragment in it
      /home/x/nanoclaw.toml:28: there is no section limit; did you mean [limits]?
      /home/x/nanoclaw.toml:31: no group can have this table: group folder "../etc" must start with a letter or digit
      /home/x/nanoclaw.toml:35: groups.family.memory is "1GB of it"; it must be a size with its unit such as "512MiB" or "2GiB", from 16MiB to 4TiB, or "none" for no bound
      /home/x/nanoclaw.toml:36: there is no key groups.family.timeout; [groups.family] has provider, command, skills, overlay, api, model, effort, max_tokens, context_window, tools, mcp_servers, prompt, image, packages, dockerfile, memory, pids, cpus, tmp, idle_timeout, run_timeout, turn_timeout, max_messages_per_prompt, max_prompt_size, allow, mounts
      environment variable MAX_CONCURRENT_CONTAINERS: sets limits.max_concurrent_containers, but it is "many"; it must be a whole number from 1 to 1000
      environment variable NANOCLAW_LOG_FORMAT: sets log.format, but it is "xml"; it must be "text" or "json"
    "#);
}

#[test]
fn an_unknown_key_near_a_known_one_is_asked_about() {
    let error = load("[limits]\nidle_timout = \"5m\"\n", &nothing()).unwrap_err();
    let [mistake] = error.mistakes.as_slice() else { panic!("{error}") };
    assert_eq!(mistake.key.as_deref(), Some("limits.idle_timout"));
    assert_eq!(mistake.place, Place::Line { file: "/home/x/nanoclaw.toml".into(), line: 2 });
    assert!(mistake.message.contains("did you mean idle_timeout?"), "{mistake}");
}

#[test]
fn torn_files_are_refused_with_their_line() {
    for (text, line) in [("[assistant\nname = 1", 1), ("[a]\nb = \"", 2), ("[log]\nlevel = 'info'\nlevel = 'warn'", 3)]
    {
        let error = load(text, &nothing()).unwrap_err();
        let places: Vec<_> = error.mistakes.iter().map(|mistake| mistake.place.to_string()).collect();
        assert!(places.contains(&format!("/home/x/nanoclaw.toml:{line}")), "{error}");
    }
}

#[test]
fn no_mistake_repeats_what_may_be_a_secret() {
    const SECRET: &str = "sk-ant-api03-TOPSECRET";
    for text in [
        format!("[model]\napi_key = \"{SECRET}\""),
        format!("[model]\nbase_url = \"https://user:{SECRET}@host\""),
        format!("[agent]\nprovider = \"{SECRET}\""),
        format!("ANTHROPIC_API_KEY={SECRET}"),
        format!("ANTHROPIC_API_KEY=\"{SECRET}\""),
        format!("[model]\napi_key = \"{SECRET}"),
        format!("[agent]\ncommand = [\"x\", {SECRET}]"),
        format!("[limits]\nidle_timeout = \"0123456789{SECRET}\""),
    ] {
        let error = load(&text, &nothing()).unwrap_err();
        assert!(!error.to_string().contains("TOPSECRET") && !format!("{error:?}").contains("TOPSECRET"), "{error:?}");
    }
    let environment = environment_of([("IDLE_TIMEOUT", SECRET), ("ANTHROPIC_API_KEY", "sk-ant-TOPSECRET two")]);
    assert!(!errors("", &environment).contains("TOPSECRET"));
    let config = load("", &environment_of([("ANTHROPIC_API_KEY", SECRET)])).unwrap();
    assert!(!format!("{config:?}").contains("TOPSECRET"));
    for text in
        ["[model]\napi_key = \"x\"", "ANTHROPIC_API_KEY = \"x\"", "[agent]\ncommand = [\"x\", \"sk-ant-TOPSECRET\"]"]
    {
        let error = errors(text, &nothing());
        assert!(error.contains("nanoclaw auth set") && !error.contains("TOPSECRET"), "{error}");
    }
}

#[test]
fn the_environment_wins_over_the_file_and_our_names_over_those_of_v1() {
    let file = "[limits]\nidle_timeout = \"1m\"\n[assistant]\nname = \"Bea\"\n";
    let seconds = |config: &Config| config.limits.idle_timeout.as_secs();
    assert_eq!(seconds(&load(file, &nothing()).unwrap()), 60);
    let v1 = load(file, &environment_of([("IDLE_TIMEOUT", "120000")])).unwrap();
    assert_eq!(seconds(&v1), 120);
    assert_eq!(v1.limits.idle_timeout.source, Source::Variable("IDLE_TIMEOUT".into()));
    let ours = [("IDLE_TIMEOUT", "120000"), ("NANOCLAW_LIMITS_IDLE_TIMEOUT", "3m")];
    assert_eq!(seconds(&load(file, &environment_of(ours)).unwrap()), 180);
    let empty = load(file, &environment_of([("ASSISTANT_NAME", "")])).unwrap();
    assert_eq!(*empty.assistant.name, "Bea");
    assert_eq!(empty.assistant.name.source.to_string(), "nanoclaw.toml:4");
}

#[test]
fn the_names_of_v1_work() {
    let environment = environment_of([
        ("ASSISTANT_NAME", "Zoë"),
        ("CONTAINER_IMAGE", "my/agent:1"),
        ("CONTAINER_TIMEOUT", "60000"),
        ("IDLE_TIMEOUT", "30000"),
        ("MAX_CONCURRENT_CONTAINERS", "2"),
        ("MAX_MESSAGES_PER_PROMPT", "3"),
        ("TZ", "Europe/Berlin"),
        ("LOG_LEVEL", "FATAL"),
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9999"),
    ]);
    let config = load("", &environment).unwrap();
    assert_eq!(*config.assistant.name, "Zoë");
    assert_eq!(config.container.image.as_str(), "my/agent:1");
    assert_eq!(*config.limits.run_timeout, Duration::from_secs(60));
    assert_eq!(*config.limits.idle_timeout, Duration::from_secs(30));
    assert_eq!(*config.limits.max_concurrent_containers, 2);
    assert_eq!(*config.limits.max_messages_per_prompt, 3);
    assert_eq!(config.time.zone.iana_name(), Some("Europe/Berlin"));
    assert_eq!(*config.log.level, "error");
    assert_eq!(config.model.base_url.as_str(), "http://127.0.0.1:9999/");
}

#[test]
fn f58_a_posix_zone_or_nonsense_in_tz_does_not_keep_the_host_from_starting() {
    let posix = load("", &environment_of([("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")])).unwrap();
    let summer = jiff::Timestamp::from_second(1_750_000_000).unwrap();
    assert_eq!(posix.time.zone.to_offset(summer), jiff::tz::offset(2));
    assert!(load("", &environment_of([("TZ", ":UTC")])).unwrap().time.zone.is_explicit());
    let nonsense = load("", &environment_of([("TZ", "Mars/Olympus")])).unwrap();
    assert!(nonsense.remarks[0].contains("TZ"), "{:?}", nonsense.remarks);
    // In our own file it is a mistake.
    assert!(errors("[time]\nzone = \"Mars/Olympus\"", &nothing()).contains("time.zone"));
}

#[test]
fn labels_for_selinux_are_a_word_and_by_default_none() {
    let read = |text: &str| *load(text, &nothing()).unwrap().container.selinux_relabel;
    assert_eq!(read(""), SelinuxRelabel::None);
    assert_eq!(read("[container]\nselinux_relabel = \"private\""), SelinuxRelabel::Private);
    let told = errors("[container]\nselinux_relabel = \"Z\"", &nothing());
    assert!(told.contains(r#"it must be "none" or "shared" or "private""#), "{told}");
}

#[test]
fn a_groups_own_settings_win_and_the_rest_holds_for_it_too() {
    let text = r#"
[container]
memory = "1GiB"
pids = "none"
max_memory = "none"
[limits]
idle_timeout = "10m"
[groups.family]
provider = "claude"
command = ["/bin/agent", "--fast"]
memory = "none"
cpus = 0.5
idle_timeout = "5m"
run_timeout = "7m"
turn_timeout = "9m"
max_prompt_size = "64KiB"
"#;
    let config = load(text, &nothing()).unwrap();
    let (family, other) = (config.for_group(&group("family")), config.for_group(&group("other")));
    assert_eq!(*family.provider, Provider::Claude);
    assert_eq!(*other.provider, Provider::Offline);
    assert_eq!(family.command.as_deref(), Some(["/bin/agent".to_owned(), "--fast".to_owned()].as_slice()));
    let limits = nanoclaw_core::runtime::Limits { memory_bytes: None, pids: None, milli_cpus: Some(500) };
    assert_eq!(family.container_limits(), limits);
    let limits = nanoclaw_core::runtime::Limits { memory_bytes: Some(1 << 30), pids: None, milli_cpus: Some(1500) };
    assert_eq!(other.container_limits(), limits);
    assert_eq!(family.idle_timeout.as_secs(), 300);
    assert_eq!((family.run_timeout.as_secs(), family.turn_timeout.as_secs()), (420, 540));
    assert_eq!((other.run_timeout.as_secs(), other.turn_timeout.as_secs()), (1800, 14_400));
    assert_eq!((*family.max_prompt_size, *other.max_prompt_size), (64 << 10, 256 << 10));
    assert_eq!(other.idle_timeout.as_secs(), 600);
    assert_eq!(family.idle_timeout.source.to_string(), "nanoclaw.toml:13");
}

#[test]
fn paths_start_at_the_home_or_at_the_users_home() {
    let text = "[agent]\nrunner = \"bin/agent-runner\"\nclaude = \"~/bin/claude\"\n";
    let config = load(text, &environment_of([("HOME", "/nowhere/ann")])).unwrap();
    assert_eq!(config.agent.runner.as_deref(), Some(Path::new("/home/x/bin/agent-runner")));
    assert_eq!(config.agent.claude.as_deref(), Some(Path::new("/nowhere/ann/bin/claude")));
    assert!(errors(text, &nothing()).contains("HOME is not set"));
}

/// A user's home with a credentials file of this text and mode.
fn user_with_credentials(text: &str, mode: u32) -> (tempfile::TempDir, impl Environment + use<>) {
    let user = tempfile::tempdir().unwrap();
    let folder = user.path().join(".config/nanoclaw");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("credentials");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let environment = environment_of([("HOME", user.path().to_str().unwrap())]);
    (user, environment)
}

#[test]
fn a_credential_makes_claude_the_provider() {
    let (_user, environment) = user_with_credentials("# mine\nexport CLAUDE_CODE_OAUTH_TOKEN='tok'\n", 0o600);
    let config = load("", &environment).unwrap();
    let credential = config.credentials.model().unwrap();
    assert_eq!((credential.kind, credential.secret.reveal()), (CredentialKind::OAuthToken, "tok"));
    assert_eq!(credential.source.to_string(), "credentials:2");
    let provider = config.for_group(&group("family")).provider;
    assert_eq!(*provider, Provider::Claude);
    assert_eq!(provider.source.to_string(), "a credential is configured (credentials:2)");
    let offline = load("[agent]\nprovider = \"offline\"", &environment).unwrap();
    assert_eq!(*offline.for_group(&group("family")).provider, Provider::Offline);
}

#[test]
fn an_api_key_wins_over_a_token_and_the_environment_over_the_file() {
    let text = "ANTHROPIC_AUTH_TOKEN=c\nCLAUDE_CODE_OAUTH_TOKEN=b\nANTHROPIC_API_KEY=a\n";
    let (user, environment) = user_with_credentials(text, 0o600);
    assert_eq!(load("", &environment).unwrap().credentials.model().unwrap().secret.reveal(), "a");
    let both = environment_of([("HOME", user.path().to_str().unwrap()), ("ANTHROPIC_AUTH_TOKEN", "z")]);
    let credential = load("", &both).unwrap().credentials.model().unwrap();
    assert_eq!((credential.kind, credential.secret.reveal()), (CredentialKind::AuthToken, "z"));
}

#[test]
fn f72_values_of_one_character_are_values() {
    for (text, value) in [("x", "x"), ("\"", "\""), ("'", "'"), ("=", "="), ("\"y\"", "y"), ("#", "#")] {
        let (_user, environment) = user_with_credentials(&format!("ANTHROPIC_API_KEY={text}"), 0o600);
        assert_eq!(load("", &environment).unwrap().credentials.model().unwrap().secret.reveal(), value, "{text}");
    }
}

#[test]
fn a_credentials_file_that_others_can_read_is_refused_with_the_command_that_helps() {
    let (user, environment) = user_with_credentials("ANTHROPIC_API_KEY=TOPSECRET", 0o644);
    let error = errors("", &environment);
    let file = user.path().join(".config/nanoclaw/credentials");
    assert!(error.contains("0644") && error.contains(&format!("chmod 600 {}", file.display())), "{error}");
    assert!(!error.contains("TOPSECRET"));
}

#[test]
fn mistakes_in_the_credentials_file_are_reported_without_what_is_in_it() {
    let text = "TOPSECRET\nANTHROPIC_API_KEY=\nTOP SECRET=TOPSECRET\nlower=TOPSECRET\nA=TOPSECRET\nA=TOPSECRET";
    let (_user, environment) = user_with_credentials(text, 0o600);
    let error = load("", &environment).unwrap_err();
    assert_eq!(error.mistakes.len(), 5, "{error}");
    assert!(error.to_string().contains("A stands at credentials:5 already"), "{error}");
    assert!(!error.to_string().contains("SECRET"), "{error}");
}

#[test]
fn a_folder_or_fifo_in_the_place_of_the_credentials_is_refused_and_holds_nothing_up() {
    let (user, environment) = user_with_credentials("", 0o600);
    let file = user.path().join(".config/nanoclaw/credentials");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(errors("", &environment).contains("not a regular file"));
    std::fs::remove_dir(&file).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    assert!(errors("", &environment).contains("not a regular file"));
}

#[test]
fn a_file_that_is_not_text_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path()).unwrap();
    std::fs::write(home.config_file(), b"[assistant]\nname = \"\xff\"\n").unwrap();
    let error = Config::load(&home, &nothing()).unwrap_err().to_string();
    assert!(error.contains("nanoclaw.toml: it is not UTF-8; line 2"), "{error}");
    std::fs::remove_file(home.config_file()).unwrap();
    assert_eq!(Config::load(&home, &nothing()).unwrap(), load("", &nothing()).unwrap());
}

#[test]
fn a_groups_mounts_are_read_in_both_forms_and_with_the_names_of_v1() {
    let text = r#"
        [groups.family]
        mounts = [{ host = "~/site", readonly = false }, { hostPath = "/srv/x", containerPath = "y" }]
        [[groups.work.mounts]]
        host = "/srv/work"
        hide_secrets = true
    "#;
    let config = load(text, &nothing()).unwrap();
    let mounts = config.for_group(&group("family")).mounts.value;
    use nanoclaw_core::runtime::Access;
    assert_eq!((mounts[0].host.as_str(), mounts[0].access), ("~/site", Access::ReadWrite));
    assert_eq!((mounts[1].name.as_deref(), mounts[1].access), (Some("y"), Access::ReadOnly), "reading is the default");
    let mounts = config.for_group(&group("work")).mounts.value;
    assert!(mounts[0].hide_secrets && !config.for_group(&group("family")).mounts.value[0].hide_secrets);
    assert_eq!(config.for_group(&group("other")).mounts.value, []);
    assert_eq!(*config.mounts.project, None);
}

#[test]
fn f35_a_mount_of_a_wrong_shape_is_told_with_its_number() {
    for (mounts, part) in [
        ("3", "a list of mounts"),
        ("[3]", "number 1 is no table"),
        ("[{}]", "number 1 has no host"),
        (r#"[{ host = "x" }]"#, "must begin with /"),
        (r#"[{ host = "/x", name = "a:ro" }]"#, "must not have :"),
        (r#"[{ host = "/x", name = "../y" }]"#, "without /"),
        (r#"[{ host = "/x", name = "/etc" }]"#, "without /"),
        (r#"[{ host = "/x" }, { host = "/y/x" }]"#, "number 2 has the name \"x\""),
        (r#"[{ host = "/x", readony = true }]"#, "did you mean readonly?"),
        (r#"[{ host = "/x", readonly = "no" }]"#, "neither true nor false"),
    ] {
        let told = errors(&format!("[groups.family]\nmounts = {mounts}\n"), &nothing());
        assert!(told.contains("nanoclaw.toml:2") && told.contains(part), "{part} is missing: {told}");
    }
}

#[test]
fn a_group_may_tighten_its_bounds_freely_and_loosen_them_as_far_as_it_is_allowed() {
    let tighter = "[groups.family]\nmemory = \"64MiB\"\npids = 20\ncpus = 0.2\ntmp = \"1MiB\"";
    let own = load(tighter, &nothing()).unwrap().for_group(&group("family"));
    assert_eq!(
        (*own.memory_bytes, *own.pids, *own.milli_cpus, *own.tmp_bytes),
        (Some(64 << 20), Some(20), Some(200), 1 << 20)
    );

    let looser = "[groups.family]\nmemory = \"4GiB\"\npids = 300\ncpus = 2\ntmp = \"1GiB\"";
    let told = errors(looser, &nothing());
    for key in ["memory", "pids", "cpus", "tmp"] {
        assert!(told.contains(&format!("groups.family.{key} asks for ")), "{told}");
        assert!(told.contains(&format!("container.max_{key} allows ")), "{told}");
    }
    assert!(told.contains("nanoclaw.toml:2: ") && told.contains("4 mistakes"), "{told}");
    let allowed = "[container]\nmax_memory = \"4GiB\"\nmax_pids = 300\nmax_cpus = \"none\"\nmax_tmp = \"1GiB\"\n";
    let config = load(&format!("{allowed}{looser}"), &nothing()).unwrap();
    assert_eq!(*config.for_group(&group("family")).memory_bytes, Some(4 << 30));
    assert_eq!(*config.for_group(&group("other")).memory_bytes, Some(2 << 30), "everybody else's is what it was");
}

#[test]
fn no_bound_at_all_is_the_loosest_and_an_allowance_below_what_everybody_has_is_a_mistake() {
    let told = errors("[groups.family]\nmemory = \"none\"", &nothing());
    assert!(told.contains("groups.family.memory asks for no bound, and container.max_memory allows 2GiB"), "{told}");
    assert!(load("[container]\nmax_memory = \"none\"\n[groups.family]\nmemory = \"none\"", &nothing()).is_ok());
    assert!(load("[container]\nmemory = \"none\"\n[groups.family]\nmemory = \"none\"", &nothing()).is_ok());
    let told = errors("[container]\npids = 500\nmax_pids = 400", &nothing());
    assert!(
        told.contains("container.max_pids allows 400, which is less than the 500 that container.pids gives"),
        "{told}"
    );
    let variables = environment_of([("NANOCLAW_CONTAINER_MAX_MEMORY", "1GiB")]);
    let told = errors("", &variables);
    assert!(
        told.contains("environment variable NANOCLAW_CONTAINER_MAX_MEMORY: container.max_memory allows 1GiB"),
        "{told}"
    );
}

#[test]
fn a_group_may_reach_what_all_may_and_its_own_or_nothing_at_all() {
    let text = r#"
[gateway]
allow = ["example.com"]
max_tunnels = 3
[groups.family]
allow = ["*.example.org:8443"]
[groups.locked]
allow = []
"#;
    let config = load(text, &nothing()).unwrap();
    let allowed = |folder: &str| -> Vec<String> {
        config.gateway_policy(&group(folder)).allow.entries().iter().map(ToString::to_string).collect()
    };
    assert_eq!(allowed("other"), ["example.com:443"]);
    assert_eq!(allowed("family"), ["example.com:443", "*.example.org:8443"]);
    assert_eq!(allowed("locked"), Vec::<String>::new());
    assert_eq!(config.gateway_policy(&group("family")).limits.tunnels, 3);
}

#[test]
fn an_entry_that_cannot_be_meant_is_a_mistake_with_its_line() {
    let errors = errors(
        "[gateway]\nallow = [\"*.com\"]\nprivate = [\"*.corp.example\"]\n[groups.a]\nallow = [\"10.0.0.5:8443\"]\n[groups.b]\nallow = \"x\"",
        &nothing(),
    );
    for part in
        ["top-level domain", "more than one host", "groups.a.allow has the address 10.0.0.5:8443", "a list of hosts"]
    {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    let excepted = "[gateway]\nprivate = [\"10.0.0.5:8443\"]\n[groups.a]\nallow = [\"10.0.0.5:8443\"]";
    assert!(load(excepted, &nothing()).is_ok());
}

const GITHUB: &str = r#"
[[gateway.upstreams]]
name = "github"
base_url = "https://api.github.com"
inject = { header = "x-token" }
secret = "GITHUB_TOKEN"
methods = ["GET", "POST"]
groups = ["family"]
"#;

#[test]
fn an_upstream_has_its_secret_from_the_credentials_file_or_the_environment() {
    let (_user, environment) = user_with_credentials("GITHUB_TOKEN=ghp-real\n", 0o600);
    let config = load(GITHUB, &environment).unwrap();
    let upstream = &config.further_upstreams()[0];
    let secret = upstream.secret.as_ref().unwrap();
    assert_eq!((upstream.name.as_str(), secret.reveal()), ("github", "ghp-real"));
    assert_eq!(upstream.paths, ["/"]);
    assert_eq!(config.gateway_policy(&group("family")).upstreams, ["github"]);
    assert_eq!(config.gateway_policy(&group("other")).upstreams, Vec::<String>::new());
    assert!(config.remarks.is_empty(), "{:?}", config.remarks);
    assert!(!format!("{config:?}").contains("ghp-real"));

    let config = load(GITHUB, &environment_of([("GITHUB_TOKEN", "from-the-environment")])).unwrap();
    assert_eq!(config.credentials.secret_named("GITHUB_TOKEN").unwrap().reveal(), "from-the-environment");

    let config = load(GITHUB, &nothing()).unwrap();
    assert_eq!(config.further_upstreams()[0].secret, None);
    assert!(config.remarks[0].contains("GITHUB_TOKEN"), "{:?}", config.remarks);
}

#[test]
fn what_is_wrong_with_an_upstream_is_told_and_its_secret_is_a_name() {
    let errors = errors(
        "[[gateway.upstreams]]\nname = \"Git Hub\"\ninject = \"basic\"\nsecret = \"ghp-real-secret\"\nmethods = [\"CONNECT\"]\nscret = 1",
        &nothing(),
    );
    for part in ["lower-case letters", "has no base_url", "one of them", "never the secret itself", "methods", "scret"]
    {
        assert!(errors.contains(part), "{part}: {errors}");
    }
}

const LOCAL: &str = r#"
[[gateway.upstreams]]
name = "local"
base_url = "http://127.0.0.1:11434"
inject = "bearer"
secret = "LOCAL_MODEL_KEY"
methods = ["POST"]
groups = ["family"]
"#;

#[test]
fn how_an_agent_thinks_is_said_for_all_and_differently_for_one_group() {
    use nanoclaw_core::protocol::agent::{AgentSettings, Effort, ModelApi};
    let text = r#"
[agent]
provider = "native"
model = "claude-haiku-4-5"
effort = "low"
tools = ["Read", "mcp__*"]
prompt = """
Be brief.
Be kind."""
mcp_servers = { notes = { command = "notes-mcp", args = ["-q"], env = { MODE = "full", MAX_TOKENS = "90000" }, timeout = "90s" } }
[groups.family]
model = "qwen3"
max_tokens = 4096
context_window = 65536
api = { kind = "openai", upstream = "local" }
tools = { allow = "all", deny = ["WebFetch"] }
mcp_servers = {}
"#;
    let config = load(&format!("{text}{LOCAL}"), &nothing()).unwrap();
    let (family, other) = (config.for_group(&group("family")), config.for_group(&group("other")));
    assert_eq!((*family.provider, *other.provider), (Provider::Native, Provider::Native));
    let (family, other) = (family.thinking.settings(), other.thinking.settings());
    assert_eq!((family.model.as_deref(), other.model.as_deref()), (Some("qwen3"), Some("claude-haiku-4-5")));
    assert_eq!((family.effort, family.prompt.as_deref()), (Some(Effort::Low), Some("Be brief.\nBe kind.")));
    assert_eq!(family.api, ModelApi::Openai { upstream: Some("local".to_owned()), base_url: None });
    assert_eq!((family.max_tokens.unwrap().get(), family.context_window.unwrap().get()), (4096, 65536));
    assert!(family.tools.permit("Bash") && !family.tools.permit("WebFetch") && family.mcp_servers.is_empty());
    assert!(other.tools.permit("mcp__notes__add") && !other.tools.permit("Bash"));
    assert_eq!(other.mcp_servers["notes"].timeout_seconds.unwrap().get(), 90);
    // What is sent is what an agent takes.
    for settings in [family, other] {
        assert_eq!(AgentSettings::parse(&serde_json::to_string(&settings).unwrap()).unwrap(), settings);
    }
    assert_eq!(load("", &nothing()).unwrap().agent.thinking.settings(), AgentSettings::default());
    let config = load("", &environment_of([("NANOCLAW_AGENT_TOOLS", "Read,Grep"), ("NANOCLAW_AGENT_EFFORT", "max")]));
    let settings = config.unwrap().agent.thinking.settings();
    assert_eq!((settings.tools.allow.unwrap().len(), settings.effort), (2, Some(Effort::Max)));
}

#[test]
fn no_provider_but_native_asks_an_api_of_another_form_so_it_is_what_auto_comes_to() {
    let config = load(
        &format!("[groups.family]\nmodel = \"m\"\napi = {{ kind = \"openai\", upstream = \"local\" }}{LOCAL}"),
        &nothing(),
    );
    let config = config.unwrap();
    assert_eq!(*config.for_group(&group("family")).provider, Provider::Native);
    assert_eq!(*config.for_group(&group("other")).provider, Provider::Offline);
}

#[test]
fn what_is_wrong_with_how_an_agent_thinks_is_told_with_what_would_be_right() {
    for (line, part) in [
        ("effort = \"enormous\"", "\"low\" or \"medium\""),
        ("max_tokens = 0", "a whole number from 1"),
        ("context_window = 5", "a whole number from 1024"),
        ("model = \"\"", "a text of 1 to 200"),
        ("prompt = \" \"", "a text of 1 to 16384"),
        ("tools = \"Bash\"", "\"all\", a list of tools"),
        ("tools = [\"Bash(git *)\"]", "a name has letters, digits"),
        ("tools = { alow = [] }", "there is no alow"),
        ("mcp_servers = { notes = \"notes-mcp\" }", "\"notes\" is no table"),
        ("mcp_servers = { notes = {} }", "has no command"),
        ("mcp_servers = { notes = { comand = \"x\" } }", "did you mean command?"),
        ("mcp_servers = { notes = { command = \"x\", timeout = \"2h\" } }", "from 1s to 1h"),
        ("mcp_servers = { nanoclaw = { command = \"x\" } }", "is not `nanoclaw`"),
        ("api = \"openai\"", "{ kind = \"openai\", upstream = \"local\" }"),
        ("api = { kind = \"openai\", base_url = \"https://api.example.com/v1\" }", "inside the container"),
        ("api = { kind = \"openai\", upstream = \"local\" }", "needs the name of a model"),
        ("model = \"m\"\napi = { kind = \"openai\", upstream = \"locl\" }", "did you mean \"local\"?"),
        (
            "provider = \"claude\"\nmodel = \"m\"\napi = { kind = \"openai\", upstream = \"local\" }",
            "write provider = \"native\"",
        ),
    ] {
        let told = errors(&format!("[groups.family]\n{line}{LOCAL}"), &nothing());
        assert!(
            told.contains(part) && told.contains("nanoclaw.toml:") && told.contains("groups.family."),
            "{part}: {told}"
        );
    }
}

#[test]
fn an_upstream_that_a_group_may_not_use_or_that_takes_no_questions_is_no_model() {
    let asks = "model = \"m\"\napi = { kind = \"openai\", upstream = \"local\" }";
    let told = errors(&format!("[groups.work]\n{asks}{LOCAL}"), &nothing());
    assert!(told.contains("which this group may not use; add \"work\" to its groups"), "{told}");
    let told = errors(&format!("[agent]\n{asks}{LOCAL}"), &nothing());
    assert!(told.contains("agent.api asks the upstream \"local\", which not every group may use"), "{told}");
    let for_all = LOCAL.replace("\"family\"", "\"*\"");
    assert!(load(&format!("[agent]\n{asks}{for_all}"), &nothing()).is_ok());
    let told = errors(&format!("[agent]\n{asks}{}", for_all.replace("POST", "GET")), &nothing());
    assert!(told.contains("takes no POST"), "{told}");
    let told = errors(&format!("[agent]\n{asks}"), &nothing());
    assert!(told.contains("there are none; add it as [[gateway.upstreams]]"), "{told}");
    // What is wrong for all is told once, also where a group says something else.
    let told = errors(&format!("[agent]\n{asks}\n[groups.family]\neffort = \"low\""), &nothing());
    assert!(told.starts_with("a mistake"), "{told}");
}

#[test]
fn a_secret_for_a_server_of_tools_is_refused_and_not_repeated() {
    for server in [
        "env = { GITHUB_TOKEN = \"TOPSECRET-0123\" }",
        "env = { NOTES = \"ghp_TOPSECRET0123456789\" }",
        "args = [\"--auth=sk-TOPSECRET0123456789\"]",
    ] {
        let told = errors(&format!("[agent]\nmcp_servers = {{ notes = {{ command = \"x\", {server} }} }}"), &nothing());
        assert!(
            told.contains("agent.mcp_servers gives \"notes\" a secret in ") && told.contains("[[gateway.upstreams]]"),
            "{told}"
        );
        assert!(!told.contains("TOPSECRET"), "{told}");
    }
    let harmless = "env = { GITHUB_TOKEN = \"placeholder\", KEY = \"\", MODE = \"a-long-word-that-is-none\" }";
    let config = load(&format!("[agent]\nmcp_servers = {{ notes = {{ command = \"x\", {harmless} }} }}"), &nothing());
    assert!(config.is_ok(), "{config:?}");
}

#[test]
fn a_groups_image_has_packages_or_a_dockerfile_and_not_both() {
    use crate::images::{Pull, Source};
    let config = load(
        "[images]\npull = \"always\"\n[groups.a]\npackages = [\"jq\", \"libc6:amd64=2.36-9+deb12u4\"]\n[groups.b]\ndockerfile = \
         \"images/b\"\nimage = \"base:1\"\n",
        &nothing(),
    )
    .unwrap();
    assert_eq!(*config.images.pull, Pull::Always);
    let source = |folder| Source::of(&config.for_group(&group(folder)));
    let image = |name: &str| name.parse::<nanoclaw_core::runtime::ImageRef>().unwrap();
    let packages = vec!["jq".to_owned(), "libc6:amd64=2.36-9+deb12u4".to_owned()];
    assert_eq!(source("a"), Source::Packages { base: image("nanoclaw-agent:latest"), packages });
    assert_eq!(source("b"), Source::Dockerfile { base: image("base:1"), place: "/home/x/images/b".into() });
    assert_eq!(source("c"), Source::Named(image("nanoclaw-agent:latest")));

    let both = errors("[groups.a]\npackages = [\"jq\"]\ndockerfile = \"x\"\n", &nothing());
    assert!(both.contains("nanoclaw.toml:2") && both.contains("in the Dockerfile"), "{both}");
    for wrong in ["--allow-downgrades", "jq; reboot", "$(x)", "a b", "", "-y"] {
        let told = errors(&format!("[groups.a]\npackages = [{wrong:?}]\n"), &nothing());
        assert!(told.contains("groups.a.packages") && told.contains("a list of"), "{wrong}: {told}");
    }
    let told = errors("[images]\npull = \"sometimes\"\nbuild_network = \"bridge\"\n", &nothing());
    assert!(told.contains(r#""missing" or "always" or "never""#) && told.contains(r#""host""#), "{told}");
}

#[test]
fn how_often_tasks_may_be_due_and_when_they_are_given_up_is_read_and_checked() {
    let read = |text: &str| load(text, &nothing()).unwrap().tasks.settings();
    assert_eq!(read(""), TaskSettings::default());
    let settings = read("[tasks]\nshortest_interval = \"15m\"\ntries = 1\nfailures_before_rest = 20\n");
    assert_eq!((settings.shortest_interval.as_secs(), settings.tries, settings.failures_before_rest), (900, 1, 20));
    for wrong in ["shortest_interval = \"0s\"", "tries = 0", "failures_before_rest = 0", "zone = \"UTC\""] {
        let told = errors(&format!("[tasks]\n{wrong}\n"), &nothing());
        assert!(told.contains("tasks.") && told.contains(":2: "), "{wrong}: {told}");
    }
}

#[test]
fn how_many_containers_stand_by_and_for_how_long_is_read_and_checked() {
    let read = |text: &str| load(text, &nothing()).unwrap().standby.settings();
    assert_eq!(read("").groups, 0, "none unless somebody asks for them");
    let settings = read("[standby]\ngroups = 3\nmemory = \"64MiB\"\nwithin = \"2h\"\n");
    assert_eq!((settings.groups, settings.memory_bytes), (3, 64 << 20));
    assert_eq!(settings.within, Duration::from_secs(7200));
    for wrong in ["groups = -1", "groups = 1001", "memory = \"1KiB\"", "within = \"1s\"", "group = 1"] {
        let told = errors(&format!("[standby]\n{wrong}\n"), &nothing());
        assert!(told.contains("standby.") && told.contains(":2: "), "{wrong}: {told}");
    }
}
