//! Additional mounts and the project, in real containers.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use nanoclaw_core::{
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    launch::Launcher as _,
    protocol::mounts::MOUNT_CHANGED_CODE,
    run::{RunId, RunKind, RunNumber},
    runtime::{Exit, Output, RuntimeError},
    time::Timestamp,
};
use nanoclaw_host::{
    config::{Config, environment_of},
    gateway::{Gateway, Upstream},
    images::Images,
    launcher::{HostLauncher, Machine, MissingLimits, Told},
};

use crate::{
    place::{On, Place, on_each_runtime, wait},
    support,
};

on_each_runtime! {
    an_agent_reads_and_writes_what_is_allowed_and_its_owner_is_told_once_of_the_rest,
    f65_the_main_group_reads_the_project_without_its_secrets,
    a_swap_between_the_check_and_the_start_gains_nothing,
}

/// A folder of the user's that the containers' user owns.
fn folder(place: &Place, name: &str) -> PathBuf {
    let path = place.folder().join(name);
    std::fs::create_dir_all(&path).unwrap();
    let user = support::user();
    std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).unwrap();
    path
}

fn allowlist(place: &Place, text: &str) {
    let private = place.folder().join(".config/nanoclaw");
    std::fs::create_dir_all(&private).unwrap();
    std::fs::set_permissions(&private, PermissionsExt::from_mode(0o700)).unwrap();
    let file = private.join("mount-allowlist.json");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
}

/// What an agent answers to one command, and whatever else is shown with it.
fn said(place: &Place, chat: &str, command: &str) -> String {
    place.run(["chat", "--chat", chat, "-m", command]).succeeded()
}

pub fn an_agent_reads_and_writes_what_is_allowed_and_its_owner_is_told_once_of_the_rest(place: &Place) {
    let site = folder(place, "projects/site");
    let docs = folder(place, "projects/docs");
    folder(place, "private");
    std::fs::write(site.join("page.txt"), "the page").unwrap();
    std::fs::write(site.join("key.pem"), "the key").unwrap();
    std::fs::write(docs.join("one.txt"), "one").unwrap();
    allowlist(
        place,
        r#"{"allowedRoots":[{"path":"~/projects","allowReadWrite":true}],"blockedPatterns":[],"nonMainReadOnly":true}"#,
    );
    let site_mount = r#"{ host = "~/projects/site", readonly = false, hide_secrets = true }"#;
    place.configure(&format!(
        "[groups.main]\nmounts = [{site_mount}, {{ host = \"~/projects/docs\" }}, {{ host = \"~/projects/docs/one.txt\" }}, \
         {{ host = \"~/private\" }}]\n[groups.family]\nmounts = [{site_mount}]\n"
    ));
    place.run(["groups", "add", "local:main", "--name", "Me", "--main"]).succeeded();
    place.run(["groups", "add", "local:family", "--name", "F", "--folder", "family", "--no-trigger"]).succeeded();
    let service = place.service();

    let told = said(place, "local:main", "!run cd /workspace/extra; ls; cat site/page.txt one.txt; cat site/key.pem");
    assert!(told.contains("docs\none.txt\nsite\nthe pageone"), "{told}");
    assert!(!told.contains("the key"), "what looks like a secret is covered: {told}");
    let notice = "~/private is not mounted, because";
    assert_eq!(place.rows("SELECT text FROM outbox WHERE text LIKE '%~/private is not mounted, because%'").len(), 1);
    let told = said(
        place,
        "local:main",
        "!run cd /workspace/extra; echo new > site/new.txt && echo written; echo x > docs/x || echo refused",
    );
    assert!(told.contains("written") && told.contains("refused"), "{told}");
    assert_eq!(std::fs::read_to_string(site.join("new.txt")).unwrap(), "new\n");
    assert!(!docs.join("x").exists());

    // Another run: the owner knows already.
    let explained = place.json(["explain", "main", "--json"]);
    let problems = explained["problems"].to_string();
    assert!(problems.contains(notice), "{explained}");
    let mounts = explained["mounts"].to_string();
    assert!(mounts.contains("/workspace/extra/site") && mounts.contains("allowed by the root ~/projects"), "{mounts}");

    let told =
        said(place, "local:family", "!run cd /workspace/extra; cat site/page.txt; echo x > site/y || echo refused");
    assert!(told.contains("the page") && told.contains("refused") && !site.join("y").exists(), "{told}");
    let shown = place.rows("SELECT chat || ': ' || text FROM outbox WHERE text LIKE '%read-only, not read-write%'");
    assert!(shown.len() == 1 && shown[0].starts_with("local:main: The agent of family"), "{shown:?}");
    service.signal(rustix::process::Signal::TERM);
    let log = service.ended().stderr;
    assert_eq!(log.matches(notice).count(), 1, "{log}");

    let service = place.service();
    said(place, "local:main", "hello");
    assert_eq!(place.rows("SELECT text FROM outbox WHERE text LIKE '%~/private is not mounted, because%'").len(), 1);
    service.signal(rustix::process::Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

pub fn f65_the_main_group_reads_the_project_without_its_secrets(place: &Place) {
    let app = folder(place, "app");
    for (path, text) in [("src/main.txt", "the source"), (".env", "KEY=canary"), ("deep/.ssh/id_rsa", "canary")] {
        let path = app.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    place.configure(&format!("[mounts]\nproject = {:?}\n", app.to_str().unwrap()));
    let command = "!run cd /workspace/project && cat src/main.txt; cat .env deep/.ssh/id_rsa; grep -r canary .; \
                   echo x > src/x || echo refused; echo x > .env || echo covered";
    let told = place.chat(&[command]).succeeded();
    let answer = told.split_once("|| echo covered: ").map_or(told.as_str(), |(_, answer)| answer);
    for part in ["the source", "refused", "covered"] {
        assert!(answer.contains(part), "{part} is missing: {told}");
    }
    assert!(!answer.contains("KEY") && !answer.contains(":canary"), "{told}");
    assert_eq!(std::fs::read_to_string(app.join(".env")).unwrap(), "KEY=canary", "nothing was changed on the host");
    assert!(!app.join("src/x").exists());

    place.run(["groups", "add", "local:family", "--name", "F", "--folder", "family", "--no-trigger"]).succeeded();
    let told = said(place, "local:family", "!run ls /workspace");
    assert!(!told.contains("project"), "it is the main group's alone: {told}");
}

/// Everything but the runtime's start is as in a real run: made ready by the host's launcher, and started by the runtime.
async fn made_ready_then(place: &Place, between: impl FnOnce()) -> Result<(Exit, String), RuntimeError> {
    let (runtime, image, runner) = place.parts();
    let text = format!(
        "[agent]\ncommand = [\"/bin/sh\", \"-c\", \"cat /workspace/extra/site/text\"]\n[container]\nimage = \"{image}\"\n\
         [groups.family]\nmounts = [{{ host = \"~/projects/site\" }}]\n"
    );
    let user_home = place.folder().to_str().unwrap().to_owned();
    let environment = environment_of([("HOME", user_home.as_str())]);
    let home = place.home();
    let config = Config::parse(&home.config_file(), &text, home.root(), &environment).unwrap();
    let machine = Machine {
        runtime: runtime.kind(),
        runtime_because: "it is a test".to_owned(),
        capabilities: runtime.probe().await.unwrap(),
        user: support::user(),
        runner: Some(runner),
        claude: None,
        missing_limits: MissingLimits::LeaveOutDefaults,
    };
    let launcher = HostLauncher {
        told: Told::default(),
        outgoing: None,
        images: Images::new(home.root(), &config.images),
        home,
        config: Arc::new(config),
        machine: tokio::sync::watch::channel(Ok(Arc::new(machine))).1,
        install: support::install(),
        gateway: Arc::new(Gateway::new(Upstream::new("http://127.0.0.1:9", None)).unwrap()),
    };
    let group = Group {
        folder: GroupFolder::new("family").unwrap(),
        chat: "local:family".parse().unwrap(),
        name: "Family".to_owned(),
        trigger: TriggerPolicy::Always,
        role: GroupRole::Ordinary,
        added_at: Timestamp::from_ms(1),
    };
    let run = RunId { group: group.folder.clone(), number: RunNumber(1) };
    let launch = launcher.prepare(&group, &run, &RunKind::Chat).await.unwrap();
    assert_eq!(launch.notices, [], "it is allowed");
    between();
    let mut container = runtime.start(&launch.spec).await?;
    container.stdin.close().await;
    let mut said = Vec::new();
    while let Some(Output::Stdout(bytes) | Output::Stderr(bytes)) = container.output.recv().await {
        said.extend_from_slice(&bytes);
    }
    let exit = container.exit.clone().await;
    runtime.remove(&container.id).await.unwrap();
    Ok((exit, String::from_utf8_lossy(&said).into_owned()))
}

pub fn a_swap_between_the_check_and_the_start_gains_nothing(place: &Place) {
    nanoclaw_host::gateway::tls::install_provider();
    place.run(["init"]).succeeded();
    allowlist(place, r#"{"allowedRoots":[{"path":"~/projects"}]}"#);
    let path = |name: &str| place.folder().join(name);
    let site = folder(place, "projects/site");
    std::fs::write(site.join("text"), "the site").unwrap();
    std::fs::write(folder(place, "private").join("text"), "a canary").unwrap();

    let untouched = wait(made_ready_then(place, || {})).unwrap();
    assert_eq!(untouched, (Exit::Code(0), "the site".to_owned()), "what was checked is what is there");

    let rename = |from: &Path, to: &Path| std::fs::rename(from, to).unwrap();
    let aside = path("aside");
    for swap in ["another folder in its place", "a link in its place", "a link in its parent's place"] {
        let ended = wait(made_ready_then(place, || match swap {
            "another folder in its place" => {
                rename(&site, &aside);
                rename(&path("private"), &site);
            }
            "a link in its place" => {
                rename(&site, &aside);
                symlink(path("private"), &site).unwrap();
            }
            _ => {
                rename(&path("projects"), &aside);
                std::fs::create_dir(path("other")).unwrap();
                symlink(path("private"), path("other/site")).unwrap();
                symlink(path("other"), path("projects")).unwrap();
            }
        }));
        match ended {
            // The sandbox mounts from what the host holds, wherever that is now.
            _ if place.on == Some(On::Sandbox) => assert_eq!(ended.unwrap(), untouched, "{swap}"),
            Ok((exit, said)) => {
                assert_eq!(exit, Exit::Code(MOUNT_CHANGED_CODE.into()), "{swap}: {said}");
                assert!(said.contains("/workspace/extra/site is another file or folder"), "{swap}: {said}");
                assert!(!said.contains("canary"), "{swap}: {said}");
            }
            // A runtime may refuse a link by itself.
            Err(error) => assert!(matches!(error, RuntimeError::BadMount { .. }), "{swap}: {error}"),
        }
        // As it was.
        match swap {
            "another folder in its place" => {
                rename(&site, &path("private"));
                rename(&aside, &site);
            }
            "a link in its place" => {
                std::fs::remove_file(&site).unwrap();
                rename(&aside, &site);
            }
            _ => {
                std::fs::remove_file(path("projects")).unwrap();
                rename(&aside, &path("projects"));
            }
        }
    }
}
