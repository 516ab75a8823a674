//! The home under attack: its configuration, what is planted, the service as a child process, and what is left of it all.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use nanoclaw_core::{
    group::{GroupFolder, GroupRole, TriggerPolicy},
    protocol::hostile::{Bounds, ORDERS_FILE, Orders, Other, Reach, canary},
    runtime::{Capabilities, ContainerRuntime, InstallId, Limits},
    store::Store as _,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::{
    ATTACKS, Settings, TUNNEL, Weakness,
    configuration::{configuration, environment},
    internet::Internet,
    report::Case,
    strange_canaries,
    witness::Witness,
};
use crate::{
    admin::{AdminRequest, Client, types::NewGroup},
    home::Home,
    random::random,
    stores::sqlite::SqliteStore,
};

/// The other groups but the main one, each with the pause after a reply. The second is ended between its messages, so that
/// each finds a new container.
pub(super) const VICTIMS: [(&str, Duration); 2] =
    [("alice", Duration::from_millis(250)), ("bob", Duration::from_millis(2_500))];
/// The owner's chat.
pub(super) const MAIN_CHAT: &str = "local:main";
/// The size of `/tmp`.
pub(super) const TMP_BYTES: u64 = 64 << 20;
/// How long the service may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long what is left of containers may take to go once the service has ended.
const GOING: Duration = Duration::from_secs(60);
/// The kind of the canary that is the credential in use.
pub(super) const CREDENTIAL: &str = "environment";
/// The further upstream that one attacker may ask, and the kind of the canary that is its credential.
pub(super) const DESK: &str = "desk";
/// The one that none may ask.
pub(super) const VAULT: &str = "vault";

/// What each attacker's container is promised, as far as the runtime can keep it.
pub(super) fn limits(capabilities: &Capabilities) -> Limits {
    Limits {
        memory_bytes: capabilities.memory_limit.then_some(256 << 20),
        pids: capabilities.pids_limit.then_some(128),
        milli_cpus: capabilities.cpu_limit.then_some(500),
    }
}

/// The group that makes this attack.
pub(super) fn attacker(attack: &str) -> String {
    format!("rogue-{attack}")
}

/// The chat of the group that makes this attack.
pub(super) fn attacker_chat(attack: &str) -> String {
    format!("local:{}", attacker(attack))
}

/// The home under attack. Removed when dropped.
pub(super) struct Place {
    folder: Folder,
    home: Home,
    service: Option<Child>,
    orders: Orders,
    runner: Option<PathBuf>,
    program: PathBuf,
    environment: BTreeMap<String, OsString>,
    weaknesses: Vec<Weakness>,
    /// What one attacker's gateway leads to.
    reach: Reach,
    /// Where the internet is played.
    internet: SocketAddr,
    _sockets: Vec<std::os::unix::net::UnixListener>,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Place {
    /// Makes the home and plants what lies outside the groups' folders.
    pub(super) fn make(
        settings: &Settings,
        capabilities: &Capabilities,
        witness: &Witness,
        internet: &Internet,
    ) -> anyhow::Result<Self> {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let folder = Folder(std::env::temp_dir().join(format!("nanoclaw-hostile-{}-{nanos:x}", std::process::id())));
        // What protects the secrets must be the walls and not their modes: everything here can be read by everybody.
        open_folder(&folder.0)?;
        let home = Home::at(&folder.0.join("home"))?;
        let (user, outside) = (folder.0.join("user"), folder.0.join("outside"));
        for made in
            [home.root(), &user, &outside, &user.join(".ssh"), &user.join(".config/nanoclaw"), &user.join(".aws")]
        {
            open_folder(made)?;
        }
        let mut files = Vec::new();
        let mut plant = |path: PathBuf, text: String, mode: u32| -> io::Result<()> {
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            files.push(path);
            Ok(())
        };
        plant(user.join(".ssh/id_ed25519"), canary("sshkey", random()?), 0o644)?;
        plant(user.join(".aws/credentials"), canary("awskey", random()?), 0o644)?;
        plant(outside.join("secret.txt"), canary("userfile", random()?), 0o644)?;
        let credentials = format!("CLAUDE_CODE_OAUTH_TOKEN={}\n", canary("credentialfile", random()?));
        plant(user.join(".config/nanoclaw/credentials"), credentials, 0o600)?;
        let text = configuration(settings, witness, &limits(capabilities));
        plant(home.config_file(), format!("# {}\n{text}", canary("configuration", random()?)), 0o644)?;

        let socket = outside.join("agent.sock");
        let mut sockets = vec![std::os::unix::net::UnixListener::bind(&socket)?];
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
        if settings.weaknesses.contains(&Weakness::SocketInMount) {
            let group = home.groups().join(attacker("exfiltrate"));
            open_folder(&group)?;
            let inside = group.join("host.sock");
            sockets.push(std::os::unix::net::UnixListener::bind(&inside)?);
            fs::set_permissions(&inside, fs::Permissions::from_mode(0o666))?;
        }
        let store = home.store();
        let gateways = VICTIMS.iter().map(|(group, _)| store.join(format!("gateway/{group}/gateway.sock")));
        let sockets_known = [home.admin_socket(), home.local_socket(), home.bridge_socket(), socket];
        let mailboxes = VICTIMS.iter().map(|(group, _)| store.join("ipc").join(group));
        let others =
            VICTIMS.iter().map(|(group, _)| Other { folder: (*group).to_owned(), chat: format!("local:{group}") });
        let orders = Orders {
            addresses: witness.addresses().to_vec(),
            abstract_sockets: vec![witness.abstract_name().to_owned()],
            sockets: sockets_known.into_iter().chain(gateways).collect(),
            files,
            folders: [outside, user.join(".ssh"), store.clone(), home.groups(), "/root".into()]
                .into_iter()
                .chain(mailboxes)
                .collect(),
            others: others.chain([Other { folder: "main".to_owned(), chat: MAIN_CHAT.to_owned() }]).collect(),
            mailbox: PathBuf::new(),
            host_pid: 0,
            bounds: Bounds::default(),
            reach: None,
            planted_at: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs().cast_signed(),
        };
        Ok(Self {
            environment: environment(settings, &user)?,
            reach: internet.reach(DESK, VAULT, vec![witness.desk.address(), witness.vault.address()]),
            internet: internet.address(),
            program: settings.program.clone(),
            runner: settings.runner.clone(),
            weaknesses: settings.weaknesses.clone(),
            service: None,
            folder,
            home,
            orders,
            _sockets: sockets,
        })
    }

    /// Where everything is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder.0
    }

    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    /// What the service logs.
    fn log(&self) -> PathBuf {
        self.folder().join("service.log")
    }

    /// A folder of the host's user that nobody mounts.
    pub(super) fn outside(&self) -> PathBuf {
        self.folder.0.join("outside")
    }

    /// Starts the service, waits until it is ready, and registers the groups.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("--home").arg(self.home.root()).args(["selftest", "hostile-service"]);
        command.arg("--internet").arg(self.internet.to_string());
        command.env_clear().envs(&self.environment).current_dir(self.folder());
        let log = fs::File::create(self.log())?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut service = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        let stdout = service.stdout.take().context("the service has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        if !matches!(&ready, Ok(Ok(Some(line)))  if line.contains("is ready")) {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            anyhow::bail!("the service did not start: {ready:?}; {log}");
        }
        // Its output is read to the end, so that it never waits for us.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.orders.host_pid = service.id().unwrap_or_default();
        self.service = Some(service);

        let client = Client::connect(&self.home).await.context("the service does not answer")?;
        let others = VICTIMS.iter().map(|(group, _)| (*group).to_owned());
        let groups = others.chain(ATTACKS.iter().map(|attack| attacker(attack)));
        for (name, role) in
            [("main".to_owned(), GroupRole::Main)].into_iter().chain(groups.map(|name| (name, GroupRole::Ordinary)))
        {
            let new = NewGroup {
                chat: format!("local:{name}").parse()?,
                name: name.clone(),
                folder: Some(GroupFolder::new(&name)?),
                trigger: Some(TriggerPolicy::Always),
                role,
            };
            let added = client.call(&AdminRequest::GroupsAdd(new)).await;
            // The owner's chat registers itself.
            if let Err(error) = added
                && role == GroupRole::Ordinary
            {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Plants what lies in the other groups' folders, mailboxes and sessions.
    pub(super) fn plant_in_groups(&mut self) -> anyhow::Result<()> {
        for (group, _) in VICTIMS.into_iter().chain([("main", Duration::ZERO)]) {
            let folder = GroupFolder::new(group)?;
            for (kind, path) in [
                ("groupfolder", self.home.group(&folder).join("diary.txt")),
                ("mailbox", self.home.mailbox(&folder).join("note.txt")),
                ("session", self.home.sessions(&folder).join(".claude/history.jsonl")),
            ] {
                fs::write(&path, canary(kind, random()?))?;
                // As if the group's agent had written it: what is root's is given to it with the next container anyway.
                let owner = path.parent().unwrap_or(&path).metadata()?;
                std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid()))?;
                self.orders.files.push(path);
            }
        }
        Ok(())
    }

    /// Furnishes the group of one attack; returns its folder.
    pub(super) fn prepare_attacker(&self, attack: &str, bounds: Bounds) -> anyhow::Result<PathBuf> {
        let name = attacker(attack);
        let folder = self.home.groups().join(&name);
        fs::create_dir_all(&folder)?;
        let mailbox = self.home.store().join("ipc").join(&name);
        let reach = (attack == TUNNEL).then(|| self.reach.clone());
        let orders = Orders { bounds, mailbox, reach, ..self.orders.clone() };
        fs::write(folder.join(ORDERS_FILE), serde_json::to_vec(&orders)?)?;
        if self.weaknesses.contains(&Weakness::SecretInMount) {
            fs::write(folder.join("left-behind.txt"), canary("leftbehind", random()?))?;
        }
        Ok(folder)
    }

    /// Whether the service that was started still runs.
    pub(super) fn is_alive(&self) -> bool {
        let pid = self.service.as_ref().and_then(Child::id).and_then(|id| Pid::from_raw(id.cast_signed()));
        pid.is_some_and(|pid| {
            // One that has ended and was not waited for can be signalled, too.
            let state = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        })
    }

    /// Groups beyond those that were registered, by their folders.
    pub(super) fn strange_groups(&self) -> anyhow::Result<Vec<String>> {
        let mut known: Vec<String> = VICTIMS.iter().map(|(group, _)| (*group).to_owned()).collect();
        known.extend(ATTACKS.iter().map(|attack| attacker(attack)));
        known.extend(["main", "global"].map(str::to_owned));
        let mut strange = Vec::new();
        for parent in [self.home.groups(), self.home.store().join("ipc"), self.home.store().join("sessions")] {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !known.contains(&name) {
                    strange.push(entry.path().display().to_string());
                }
            }
        }
        Ok(strange)
    }

    /// Canaries in what the service wrote: database and logs.
    pub(super) fn secrets_in_the_store(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![self.home.store().join("logs")];
        let mut files = vec![self.log()];
        for entry in fs::read_dir(self.home.store())?.flatten() {
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        for path in files {
            let kinds = strange_canaries(&fs::read(&path).unwrap_or_default(), &[]);
            found.extend(kinds.into_iter().map(|kind| format!("{kind} in {}", path.display())));
        }
        Ok(found)
    }

    /// How much the service logged.
    pub(super) fn log_bytes(&self) -> io::Result<u64> {
        Ok(fs::metadata(self.log())?.len())
    }

    /// The last lines that the service logged, for who wonders why it does not work.
    pub(super) fn end_of_log(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("the service's log ends with: {}", lines[lines.len().saturating_sub(10)..].join("\n"))
    }

    /// The marks of hooks that ran where they should not.
    pub(super) fn ran_outside(&self) -> Vec<String> {
        let path = self.outside().join("ran-outside");
        if path.exists() { vec![path.display().to_string()] } else { Vec::new() }
    }

    /// Ends the service; says which installation it was.
    pub(super) async fn end(&mut self) -> Option<InstallId> {
        let mut service = self.service.take()?;
        if let Some(pid) = service.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(PATIENCE, service.wait()).await.is_err() {
            let _ = service.kill().await;
        }
        SqliteStore::open(&self.home.database()).await.ok()?.install_id().await.ok()
    }

    /// What of containers and processes is left once the service has ended.
    pub(super) async fn what_is_left(&self, runtime: &dyn ContainerRuntime, install: Option<InstallId>) -> Vec<Case> {
        let Some(install) = install else {
            return vec![Case::of_findings("containers left", &["the store cannot be read".to_owned()], "none")];
        };
        // A container that has ended may still be on its way out.
        let deadline = Instant::now() + GOING;
        let left = loop {
            let mut left = runtime.list(&install).await.map_or_else(
                |error| vec![error.to_string()],
                |found| found.into_iter().map(|container| container.id.to_string()).collect(),
            );
            left.extend(self.processes());
            if left.is_empty() || Instant::now() > deadline {
                break left;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        vec![Case::of_findings("containers and processes left once the service has ended", &left, "none")]
    }

    /// Processes that see the home in their mounts, but for this one.
    fn processes(&self) -> Vec<String> {
        let folder = self.folder().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.bytes().all(|byte| byte.is_ascii_digit()) && name != std::process::id().to_string() {
                let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
                let (mounts, line) = (read("mountinfo"), read("cmdline"));
                if String::from_utf8_lossy(&mounts).contains(&folder)
                    || String::from_utf8_lossy(&line).contains(&folder)
                {
                    found.push(format!("process {name}: {}", String::from_utf8_lossy(&line).replace('\0', " ")));
                }
            }
        }
        found
    }
}

/// Owners, modes, sizes and contents of everything that the attacker must not change.
pub(super) struct Snapshot(BTreeMap<PathBuf, String>);

impl Snapshot {
    pub(super) fn of(place: &Place) -> anyhow::Result<Self> {
        let mut found = BTreeMap::new();
        let mut folders = vec![place.folder().join("user"), place.outside(), place.home.global(), place.home.skills()];
        for (group, _) in VICTIMS.into_iter().chain([("main", Duration::ZERO)]) {
            folders.push(place.home.groups().join(group));
        }
        // What is in the machine's own tables of users is for others to change at any time; whose they are is not.
        for shared in ["/etc", "/etc/passwd", "/etc/shadow"] {
            let about = fs::symlink_metadata(shared)?;
            found.insert(shared.into(), format!("{} {:o}", about.uid(), about.mode()));
        }
        let mut files: Vec<PathBuf> = vec![place.home.config_file()];
        files.extend(place.runner.clone());
        files.push(place.program.clone());
        // The mailboxes and sessions live; what was planted in them does not.
        files.extend(place.orders.files.iter().cloned());
        while let Some(folder) = folders.pop() {
            found.insert(folder.clone(), about(&folder)?);
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        for file in files.into_iter().filter(|file| file.symlink_metadata().is_ok()) {
            let content = if file.is_file() { fs::read(&file).unwrap_or_default() } else { Vec::new() };
            let sum = content
                .iter()
                .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
            let told = format!("{} {sum:x}", about(&file)?);
            found.insert(file, told);
        }
        Ok(Self(found))
    }

    /// What is different now, a line each.
    pub(super) fn differences(&self, place: &Place) -> anyhow::Result<Vec<String>> {
        let now = Self::of(place)?;
        let mut found = Vec::new();
        for (path, about) in &self.0 {
            match now.0.get(path) {
                None => found.push(format!("{} is gone", path.display())),
                Some(other) if other != about => found.push(format!("{} was {about} and is {other}", path.display())),
                Some(_) => {}
            }
        }
        found.extend(
            now.0.keys().filter(|path| !self.0.contains_key(*path)).map(|path| format!("{} is new", path.display())),
        );
        Ok(found)
    }
}

fn about(path: &Path) -> io::Result<String> {
    let about = path.symlink_metadata()?;
    let size = if about.is_dir() { 0 } else { about.len() };
    Ok(format!("{}:{} {:o} {size}", about.uid(), about.gid(), about.mode()))
}

fn open_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
