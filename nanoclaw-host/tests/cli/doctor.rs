//! `nanoclaw doctor`: each fault is made for real, is found, and is gone after the remedy as it is printed, or after `--fix`.

use std::{
    fs::{self, File, Permissions},
    io::{BufRead as _, BufReader},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use nanoclaw_host::home::HomeLock;
use serde_json::Value;

use super::{User, text};

/// Names that scripts and people rely upon. One is never changed or taken away; new ones come at the end of this list.
const NAMES: [&str; 37] = [
    "home",
    "folders",
    "permissions",
    "file-system",
    "disk",
    "database",
    "service",
    "sockets",
    "identity",
    "turns",
    "tasks",
    "channels",
    "docker-group",
    "linger",
    "config",
    "credentials",
    "zone",
    "clock",
    "runtime-docker",
    "runtime-podman",
    "runtime-sandbox",
    "runtime",
    "user-namespaces",
    "limits",
    "isolation",
    "orphans",
    "image",
    "group-images",
    "runner",
    "provider",
    "mount-allowlist",
    "mount-secrets",
    "senders",
    "skills",
    "attachments",
    "live-model",
    "live-channels",
];

/// What `doctor` says, with these words besides.
fn report(user: &User, words: &[&str]) -> Value {
    let output = user.run(["doctor", "--json"].iter().chain(words));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

fn of(report: &Value, name: &str) -> Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {report}")).clone()
}

fn check(user: &User, name: &str) -> Value {
    of(&report(user, &[]), name)
}

#[track_caller]
fn expect(user: &User, name: &str, outcome: &str) -> Value {
    let found = check(user, name);
    assert_eq!(found["outcome"], outcome, "{found}");
    found
}

/// The command that a check prints first: what stands between the first two backquotes.
fn command_of(check: &Value) -> String {
    let help = check["help"].as_str().unwrap_or_else(|| panic!("no remedy: {check}"));
    help.split('`').nth(1).unwrap_or_else(|| panic!("no command in {help}")).to_owned()
}

/// Pastes the remedy into a shell, as this user.
#[track_caller]
fn paste(user: &User, check: &Value) {
    let command = command_of(check);
    let programs = Path::new(env!("CARGO_BIN_EXE_nanoclaw")).parent().unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", user.folder.path().join("bin").display(), programs.display());
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).env_clear().env("HOME", user.folder.path()).env("PATH", path).env("TZ", "UTC");
    let done = shell.current_dir(user.folder.path()).stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{command}: {}", text(&done.stderr));
}

/// The same by `--fix`, which says what it did.
#[track_caller]
fn fix(user: &User, name: &str) -> Value {
    let report = report(user, &["--fix"]);
    let fixed = report["fixed"].as_array().unwrap_or_else(|| panic!("nothing was fixed: {report}"));
    let of_it: Vec<&Value> = fixed.iter().filter(|one| one["check"] == name).collect();
    assert!(!of_it.is_empty() && of_it.iter().all(|one| one["error"].is_null()), "{report}");
    assert_eq!(of(&report, name)["outcome"], "ok", "{report}");
    report
}

/// A user in whose home something was stored, and who looks at no other machine's runtimes.
fn used() -> User {
    let user = User::with_home();
    user.configure("[container]\nruntime = \"sandbox\"\n[agent]\nprovider = \"offline\"\n");
    user.succeed(["groups", "add", "local:main", "--name", "Me", "--main"]);
    user
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Changes the database by hand.
pub(crate) fn execute(user: &User, statements: &[&'static str]) {
    use sqlx::{Connection as _, sqlite::SqliteConnectOptions};
    let options = SqliteConnectOptions::new().filename(user.home().database());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        for statement in statements {
            sqlx::query(*statement).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    });
}

/// All that is stored is in the database's file, and nothing in its log: a connection that ends in order sees to that.
fn folded(user: &User) {
    execute(user, &["SELECT 1"]);
    assert!(!user.home().store().join("nanoclaw.db-wal").exists());
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn the_names_of_checks_stay_and_every_one_stands_in_the_documentation() {
    let report = report(&used(), &["--live"]);
    let names: Vec<&str> =
        report["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/doctor.md");
    let page = fs::read_to_string(page).unwrap();
    for name in &names {
        assert!(NAMES.contains(name), "{name} is new: add it to the list and to docs/doctor.md");
        assert!(page.contains(&format!("| `{name}` |")), "docs/doctor.md does not say what {name} looks at");
    }
    for name in NAMES {
        assert!(names.contains(&name), "{name} is gone");
    }
    // Where there is no home, or a configuration that cannot be read, the same are told as skipped.
    for user in [User::new(), {
        let user = User::with_home();
        user.configure("[limits]\nidle_timeout = 3\n");
        user
    }] {
        let report = self::report(&user, &[]);
        for name in NAMES {
            if !name.starts_with("runtime-") && !name.starts_with("live-") {
                of(&report, name);
            }
        }
    }
}

#[test]
fn modes_that_let_others_in_are_found_and_mended() {
    let user = used();
    let home = user.home();
    expect(&user, "permissions", "ok");
    set_mode(&home.database(), 0o644);
    set_mode(&home.store(), 0o755);
    let found = expect(&user, "permissions", "failed");
    assert!(found["detail"].as_str().unwrap().contains("nanoclaw.db (mode 0644)"), "{found}");
    paste(&user, &found);
    expect(&user, "permissions", "ok");
    set_mode(&home.config_file(), 0o666);
    fix(&user, "permissions");
    assert_eq!(fs::metadata(home.config_file()).unwrap().mode() & 0o777, 0o664, "no more than had to be");
}

#[test]
fn a_file_of_somebody_else_in_the_store_is_found_and_given_back() {
    if !is_root() {
        println!("skipped: needs root, to give a file away");
        return;
    }
    let user = used();
    for mend in [paste as fn(&User, &Value), |user, _| drop(fix(user, "permissions"))] {
        std::os::unix::fs::chown(user.home().database(), Some(1234), Some(1234)).unwrap();
        let found = expect(&user, "permissions", "failed");
        assert!(found["detail"].as_str().unwrap().contains("belongs to user 1234"), "{found}");
        mend(&user, &found);
        expect(&user, "permissions", "ok");
    }
}

#[test]
fn folders_that_are_missing_are_made_anew() {
    let user = used();
    fs::remove_dir_all(user.home().skills()).unwrap();
    let found = expect(&user, "folders", "failed");
    paste(&user, &found);
    expect(&user, "folders", "ok");
    fs::remove_dir_all(user.home().global()).unwrap();
    fix(&user, "folders");
}

#[test]
fn sockets_that_a_dead_process_left_are_found_and_removed() {
    let user = used();
    expect(&user, "sockets", "ok");
    for mend in [paste as fn(&User, &Value), |user, _| drop(fix(user, "sockets"))] {
        drop(UnixListener::bind(user.home().admin_socket()).unwrap());
        let found = expect(&user, "sockets", "warning");
        mend(&user, &found);
        expect(&user, "sockets", "ok");
    }
    fs::write(user.home().local_socket(), "mine").unwrap();
    let found = expect(&user, "sockets", "failed");
    paste(&user, &found);
    expect(&user, "sockets", "ok");
    assert_eq!(fs::read_to_string(user.home().store().join("local.sock.old")).unwrap(), "mine");
}

#[test]
fn a_home_that_another_process_holds_without_answering_is_told() {
    let user = used();
    let lock = HomeLock::acquire(&user.home()).unwrap();
    let found = expect(&user, "service", "failed");
    assert!(found["help"].as_str().unwrap().contains(&format!("stop process {}", std::process::id())), "{found}");
    drop(lock);
    expect(&user, "service", "ok");
}

#[test]
fn a_damaged_database_is_named_with_the_last_good_backup_by_every_command_and_restored_by_it() {
    let user = used();
    user.succeed(["backup", "create"]);
    // A newer one that is cut off is none.
    let backups = user.home().root().join("backups");
    let good = fs::read_dir(&backups).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&good).unwrap();
    fs::write(backups.join("nanoclaw-99990101-000000.tar.gz"), &whole[..whole.len() - 20]).unwrap();
    folded(&user);
    let database = user.home().database();
    let torn = fs::read(&database).unwrap();
    fs::write(&database, [&torn[..100], &[0xA5; 9000]].concat()).unwrap();
    let before = fs::read(&database).unwrap();

    let found = expect(&user, "database", "failed");
    assert!(found["detail"].as_str().unwrap().contains("nanoclaw.db"), "{found}");
    let command = command_of(&found);
    assert!(command.contains("backup restore") && command.contains(good.to_str().unwrap()), "{command}");
    for words in [vec!["groups", "list"], vec!["run"], vec!["chat", "-m", "hi"]] {
        let told = user.fail(1, &words);
        assert!(told.contains("nanoclaw.db") && told.contains(&command), "{words:?}: {told}");
    }
    assert!(fs::read(&database).unwrap() == before, "nothing is overwritten");
    paste(&user, &found);
    expect(&user, "database", "ok");
    assert!(user.succeed(["groups", "list"]).contains("local:main"));
}

#[test]
fn damage_inside_a_database_is_found_and_that_there_is_no_backup_is_said() {
    let user = used();
    folded(&user);
    expect(&user, "database", "ok");
    let database = user.home().database();
    let mut bytes = fs::read(&database).unwrap();
    // A whole page of nonsense, behind those that are read when it is opened.
    let middle = bytes.len() / 4096 / 2 * 4096;
    bytes[middle..middle + 4096].fill(0xA5);
    fs::write(&database, bytes).unwrap();
    let found = expect(&user, "database", "failed");
    let (detail, help) = (found["detail"].as_str().unwrap(), found["help"].as_str().unwrap());
    assert!(detail.contains("nanoclaw.db is damaged"), "{found}");
    assert!(help.contains("there is no good backup") && help.contains(".recover"), "{found}");
}

#[test]
fn a_database_of_a_newer_version_is_told() {
    let user = used();
    execute(
        &user,
        &["INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                      VALUES (9999, 'from the future', TRUE, x'00', 0)"],
    );
    let found = expect(&user, "database", "failed");
    assert!(found["detail"].as_str().unwrap().contains("newer"), "{found}");
    execute(&user, &["DELETE FROM _sqlx_migrations WHERE version = 9999"]);
    expect(&user, "database", "ok");
}

#[test]
fn a_clock_before_what_was_written_down_is_told() {
    let user = used();
    expect(&user, "clock", "ok");
    execute(&user, &["UPDATE groups SET added_at_ms = added_at_ms + 86400000"]);
    let found = expect(&user, "clock", "failed");
    assert!(found["help"].as_str().unwrap().contains("timedatectl"), "{found}");
    // As if the clock had been set.
    execute(&user, &["UPDATE groups SET added_at_ms = added_at_ms - 86400000"]);
    expect(&user, "clock", "ok");
}

/// Writes the file of credentials, last changed so many days ago.
fn credentials(user: &User, line: &str, days: u64) -> PathBuf {
    let folder = user.folder.path().join(".config/nanoclaw");
    fs::create_dir_all(&folder).unwrap();
    set_mode(&folder, 0o700);
    let path = folder.join("credentials");
    fs::write(&path, format!("{line}\n")).unwrap();
    set_mode(&path, 0o600);
    let at = SystemTime::now() - Duration::from_secs(days * 86_400);
    File::options().append(true).open(&path).unwrap().set_modified(at).unwrap();
    path
}

#[test]
fn credentials_that_others_can_read_are_their_own_check_and_are_mended() {
    let user = used();
    let path = credentials(&user, "ANTHROPIC_API_KEY=sk-ant-api03-TOPSECRET", 0);
    expect(&user, "credentials", "ok");
    set_mode(&path, 0o644);
    let found = report(&user, &[]);
    assert_eq!(of(&found, "config")["outcome"], "ok", "it is not the configuration's fault");
    let found = of(&found, "credentials");
    assert_eq!(found["outcome"], "failed", "{found}");
    paste(&user, &found);
    expect(&user, "credentials", "ok");
    set_mode(&path, 0o640);
    set_mode(path.parent().unwrap(), 0o777);
    fix(&user, "credentials");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn credentials_that_are_malformed_or_under_a_wrong_name_are_told_without_a_word_of_them() {
    let user = used();
    credentials(&user, "sk-ant-api03-TOPSECRET", 0);
    let found = expect(&user, "credentials", "failed");
    assert!(found["detail"].as_str().unwrap().contains("credentials:1: the line is not KEY=value"), "{found}");
    credentials(&user, "ANTHROPIC_API_KEY=sk-ant-oat01-TOPSECRET", 0);
    let wrong = expect(&user, "credentials", "failed");
    assert!(wrong["help"].as_str().unwrap().contains("nanoclaw auth set CLAUDE_CODE_OAUTH_TOKEN"), "{wrong}");
    assert!(!format!("{found}{wrong}").contains("TOPSECRET"));
    credentials(&user, "ANTHROPIC_API_KEY=sk-ant-api03-x", 0);
    expect(&user, "credentials", "ok");
}

#[test]
fn a_credential_that_grows_old_or_ends_is_told_in_time() {
    let user = used();
    for (line, days, outcome, told) in [
        ("CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-x", 300, "ok", "well formed"),
        ("CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-x", 340, "warning", "ends on"),
        ("CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-x", 370, "failed", "has ended on"),
        ("ANTHROPIC_API_KEY=sk-ant-api03-x", 370, "warning", "was stored on"),
    ] {
        credentials(&user, line, days);
        let found = expect(&user, "credentials", outcome);
        assert!(found["detail"].as_str().unwrap().contains(told), "{found}");
    }
    // The remedy wants the new one on standard input.
    let mut set = user.command(["auth", "set"]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut set.stdin.take().unwrap(), b"sk-ant-api03-new\n").unwrap();
    assert!(set.wait().unwrap().success());
    expect(&user, "credentials", "ok");
    user.configure("[container]\nruntime = \"sandbox\"\n[credentials]\nremind_after = \"1d\"\n");
    credentials(&user, "ANTHROPIC_API_KEY=sk-ant-api03-x", 2);
    expect(&user, "credentials", "warning");
}

#[test]
fn a_token_that_ends_soon_is_told_once_in_the_main_chat_and_degrades_health() {
    let user = used();
    credentials(&user, "CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-x", 340);
    let told = || {
        let outbox = user.json(["outbox", "list", "--all", "--json"]);
        let rows = outbox.as_array().unwrap().clone();
        rows.into_iter().filter(|row| row["key"].as_str().unwrap().starts_with("alert/credential/")).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        let service = Running::start(&user, user.home().root());
        // nextest's own limit ends it when nobody is told.
        while told().is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let status: Value = serde_json::from_slice(&user.run(["status", "--json"]).stdout).unwrap();
        let checks = status["service"]["health"]["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["name"] == "credentials").unwrap();
        assert_eq!(found["status"], "degraded", "{found}");
        assert!(found["reason"].as_str().unwrap().contains("ends on"), "{found}");
        drop(service);
    }
    let all = told();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["chat"], "local:main");
    assert!(!format!("{all:?}").contains("sk-ant"), "{all:?}");
}

#[test]
fn a_users_own_service_that_ends_with_the_login_is_told_and_allowed_to_linger() {
    let user = used();
    let units = user.folder.path().join(".config/systemd/user");
    fs::create_dir_all(&units).unwrap();
    let root = user.home().root().canonicalize().unwrap();
    let unit = format!("[Service]\nExecStart=\"/usr/bin/nanoclaw\" --home \"{}\" run\n", root.display());
    fs::write(units.join("mine.service"), unit).unwrap();
    // systemd's program, as far as it is asked here.
    let bin = user.folder.path().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let said = user.folder.path().join("lingers");
    let program = format!(
        "#!/bin/sh\nif [ \"$1\" = enable-linger ]; then : > {said}; elif [ -e {said} ]; then echo Linger=yes; else echo \
         Linger=no; fi\n",
        said = said.display()
    );
    fs::write(bin.join("loginctl"), program).unwrap();
    set_mode(&bin.join("loginctl"), 0o755);
    let looked = || {
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let output = user.command(["doctor", "--json"]).env("PATH", path).output().unwrap();
        of(&serde_json::from_slice(&output.stdout).unwrap(), "linger")
    };
    let found = looked();
    assert_eq!(found["outcome"], "warning", "{found}");
    assert!(found["detail"].as_str().unwrap().contains("mine.service"), "{found}");
    paste(&user, &found);
    assert_eq!(looked()["outcome"], "ok");
}

/// A service in a process of its own, killed when this is dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Starts it on `home` and waits until it is ready. Nothing isolates it, since it starts no container.
    pub(crate) fn start(user: &User, home: &Path) -> Self {
        let mut command = user.command(["--home", home.to_str().unwrap(), "run", "--unsafe-no-sandbox"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let running = Self(child);
        assert!(line.starts_with("nanoclaw is ready"), "{line}");
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_copy_of_the_home_that_another_host_works_on_is_found_and_ended() {
    let user = used();
    // A home has its id from the first start on.
    drop(Running::start(&user, user.home().root()));
    let copy = user.folder.path().join("copy");
    let copied = Command::new("cp").arg("-a").arg(user.home().root()).arg(&copy).status().unwrap();
    assert!(copied.success());
    expect(&user, "identity", "ok");
    let mut other = Running::start(&user, &copy);
    let found = expect(&user, "identity", "failed");
    assert!(found["detail"].as_str().unwrap().contains(&format!("process {}", other.0.id())), "{found}");
    paste(&user, &found);
    other.0.wait().unwrap();
    expect(&user, "identity", "ok");
}

#[test]
fn another_host_that_is_the_same_bot_is_found() {
    let user = used();
    credentials(&user, "DISCORD_BOT_TOKEN=the.same.one", 0);
    let other = user.folder.path().join("other");
    user.succeed(["init", other.to_str().unwrap()]);
    // Nobody listens there: it tries again and again.
    let settings = "[container]\nruntime = \"sandbox\"\n[agent]\nprovider = \"offline\"\n[channels.discord]\napi_url = \"http://127.0.0.1:9\"\n";
    fs::write(other.join("nanoclaw.toml"), settings).unwrap();
    let running = Running::start(&user, &other);
    let found = expect(&user, "identity", "failed");
    let detail = found["detail"].as_str().unwrap();
    assert!(detail.contains("discord") && !found.to_string().contains("the.same.one"), "{found}");
    user.configure("[container]\nruntime = \"sandbox\"\n[channels.discord]\nenabled = false\n");
    expect(&user, "identity", "ok");
    drop(running);
}

#[test]
fn tasks_that_rest_after_failures_or_have_no_group_are_told_with_their_commands() {
    let user = used();
    user.succeed(["groups", "add", "tg:1", "--name", "Gone", "--folder", "gone"]);
    user.succeed(["tasks", "add", "main", "--when", "every 1h", "Look"]);
    user.succeed(["tasks", "add", "gone", "--when", "every 1h", "Look"]);
    expect(&user, "tasks", "ok");
    execute(
        &user,
        &[
            "UPDATE tasks SET status = 'paused', paused_why = 'it failed 5 times in a row' WHERE id = 'task-1'",
            // As an earlier version left it.
            "DELETE FROM groups WHERE folder = 'gone'",
            "UPDATE tasks SET status = 'active' WHERE id = 'task-2'",
        ],
    );
    let found = expect(&user, "tasks", "warning");
    let detail = found["detail"].as_str().unwrap();
    assert!(
        detail.contains("task-1 (main) rests: it failed 5 times") && detail.contains("task-2 is of gone"),
        "{found}"
    );
    assert_eq!(command_of(&found), "nanoclaw tasks resume task-1 && nanoclaw tasks cancel task-2");
    paste(&user, &found);
    expect(&user, "tasks", "ok");
}

/// A file system of 48 MiB in memory; gone when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m,mode=755", "doctor"]).arg(at).output();
        match mounted {
            Ok(done) if done.status.success() => Some(Self(at.to_owned())),
            _ => None,
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_and_one_in_memory_are_told() {
    let user = User::new();
    let Some(_disk) = SmallDisk::mount(user.home().root()) else {
        println!("skipped: needs root, to mount a small disk");
        return;
    };
    user.succeed(["init"]);
    user.configure("[health]\nfree_space = \"1MiB\"\n");
    expect(&user, "disk", "ok");
    let passing = expect(&user, "file-system", "warning");
    assert!(passing["detail"].as_str().unwrap().contains("tmpfs"), "{passing}");
    let filler = user.home().root().join("filler");
    fs::write(&filler, vec![1; 64 << 20]).unwrap_err();
    let full = expect(&user, "disk", "failed");
    assert!(full["detail"].as_str().unwrap().contains("less than 1.0 MiB"), "{full}");
    fs::remove_file(&filler).unwrap();
    expect(&user, "disk", "ok");
}

#[test]
fn who_joined_the_group_of_docker_after_the_login_is_told() {
    if !is_root() {
        println!("skipped: needs root, to change the groups that a process sees");
        return;
    }
    let user = used();
    let (groups, passwd) = (user.folder.path().join("group"), user.folder.path().join("passwd"));
    fs::write(&groups, "root:x:0:\nann:x:1234:\ndocker:x:4321:ann\n").unwrap();
    fs::write(&passwd, "root:x:0:0::/root:/bin/sh\nann:x:1234:1234::/tmp:/bin/sh\n").unwrap();
    set_mode(user.folder.path(), 0o755);
    let as_ann = |supplementary: &str| {
        let script = format!(
            "mount --bind {} /etc/group && mount --bind {} /etc/passwd && exec setpriv --reuid=1234 --regid=1234 \
             --groups={supplementary} \"$0\" --home /nonexistent doctor --json",
            groups.display(),
            passwd.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_nanoclaw")]);
        command.env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.output().unwrap()
    };
    let outcome = |supplementary: &str| {
        let output = as_ann(supplementary);
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
        of(&report, "docker-group")
    };
    if as_ann("1234").stdout.is_empty() {
        println!("skipped: needs to mount in a namespace of its own: {}", text(&as_ann("1234").stderr));
        return;
    }
    let found = outcome("1234");
    assert_eq!(found["outcome"], "failed", "{found}");
    assert!(command_of(&found).contains("newgrp docker"), "{found}");
    // As after the next login.
    assert_eq!(outcome("1234,4321")["outcome"], "ok");
}

#[test]
fn a_configuration_with_ten_mistakes_has_all_ten_named() {
    let user = used();
    user.configure(
        "[assistant]\nname = 3\n[limits]\nidle_timeout = \"soon\"\nmax_concurent = 4\n[nonsense]\n[container]\npids = \"many\"\n\
         memory = 1\n[tasks]\ntries = 0\n[files]\nmax_size = \"huge\"\n[log]\nformat = \"prose\"\n[health]\nlisten = \"0.0.0.0:1\"\n",
    );
    let found = expect(&user, "config", "failed");
    let detail = found["detail"].as_str().unwrap();
    assert!(detail.contains("10 mistakes"), "{detail}");
    for line in [2, 4, 5, 6, 8, 9, 11, 13, 15, 17] {
        assert!(detail.contains(&format!("nanoclaw.toml:{line}: ")), "line {line} is missing: {detail}");
    }
}
