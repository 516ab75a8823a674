//! Everything that a container is made of is in its fingerprint, and nothing that changes by itself.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use nanoclaw_core::{
    group::GroupRole,
    launch::Launcher as _,
    run::{RunKind, RunNumber},
    runtime::{ImageRef, InstallId, RunAs, RuntimeError, RuntimeKind},
};
use tokio::sync::watch;

use super::*;
use crate::{
    config::{Config, environment_of},
    gateway::{Gateway, Upstream, tls},
    home::Home,
    images::{BuildRequest, Engines, Found, ImageEngine, ImageError, Images, Pull, Tell},
    launcher::{Machine, Told, plan},
};

/// An engine with one image, of this id.
struct OneImage(Mutex<String>);

#[async_trait]
impl ImageEngine for OneImage {
    fn program(&self) -> &'static str {
        "docker"
    }

    async fn find(&self, _image: &ImageRef) -> Result<Option<Found>, RuntimeError> {
        Ok(Some(Found { id: self.0.lock().unwrap().clone(), digests: Vec::new() }))
    }

    async fn pull(&self, _image: &ImageRef, _tell: &Tell<'_>) -> Result<(), ImageError> {
        unreachable!("nothing is fetched for a fingerprint")
    }

    async fn build(&self, _request: &BuildRequest, _tell: &Tell<'_>) -> Result<(), ImageError> {
        unreachable!("nothing is built for a fingerprint")
    }
}

struct Always(Arc<OneImage>);

#[async_trait]
impl Engines for Always {
    async fn of(&self, _runtime: RuntimeKind) -> Result<Arc<dyn ImageEngine>, RuntimeError> {
        Ok(self.0.clone())
    }
}

/// A home with a group whose container has been started before, and all that can be changed of it.
struct House {
    folder: tempfile::TempDir,
    home: Home,
    machine: Machine,
    engine: Arc<OneImage>,
    config: String,
    environment: BTreeMap<&'static str, String>,
}

/// A group with everything.
const CONFIG: &str = "[agent]\nprovider = \"native\"\n[groups.family]\nmounts = [{ host = \"~/site\" }]\n";

impl House {
    fn new(config: &str) -> Self {
        tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let home = Home::at(&root.join("home")).unwrap();
        let machine = Machine {
            runtime: RuntimeKind::Docker,
            runner: Some(root.join("agent-runner")),
            claude: None,
            ..plan::tests::machine()
        };
        let private = root.join("private");
        let environment = BTreeMap::from([
            ("HOME", root.to_str().unwrap().to_owned()),
            ("XDG_CONFIG_HOME", private.to_str().unwrap().to_owned()),
        ]);
        let engine = Arc::new(OneImage(Mutex::new("sha256:1".to_owned())));
        let house = Self { folder, home, machine, engine, config: config.to_owned(), environment };
        for made in house.mounted().into_iter().chain([house.home.skills().join("one"), private.join("nanoclaw")]) {
            fs::create_dir_all(made).unwrap();
        }
        fs::set_permissions(private.join("nanoclaw"), fs::Permissions::from_mode(0o700)).unwrap();
        let allowlist = private.join("nanoclaw/mount-allowlist.json");
        let roots =
            format!(r#"{{"allowedRoots":[{{"path":"{}","allowReadWrite":true}}]}}"#, house.path("site").display());
        fs::write(&allowlist, roots).unwrap();
        fs::set_permissions(allowlist, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(house.path("agent-runner"), "program").unwrap();
        house.skill("one", "Says one.");
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn skill(&self, name: &str, description: &str) {
        let folder = self.home.skills().join(name);
        fs::create_dir_all(&folder).unwrap();
        let text = format!("---\nname: {name}\ndescription: {description}\n---\nHello.\n");
        fs::write(folder.join("SKILL.md"), text).unwrap();
    }

    /// The folders that the group's container is given.
    fn mounted(&self) -> [PathBuf; 7] {
        let (home, group) = (&self.home, self.group().folder);
        [
            home.group(&group),
            home.global(),
            home.sessions(&group),
            home.mailbox(&group),
            home.overlay(&group),
            home.gateway(&group),
            self.path("site"),
        ]
    }

    fn group(&self) -> Group {
        plan::tests::group(GroupRole::Ordinary)
    }

    async fn fingerprint(&self) -> String {
        let variables: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let environment = match variables[..] {
            [one, two] => environment_of([one, two]),
            [one, two, three] => environment_of([one, two, three]),
            _ => unreachable!("there are two variables, and perhaps a credential"),
        };
        let config = Config::parse(&self.home.config_file(), &self.config, self.home.root(), &environment).unwrap();
        let launcher = HostLauncher {
            home: self.home.clone(),
            images: Images::with(self.home.root(), Pull::Missing, Arc::new(Always(self.engine.clone()))),
            config: Arc::new(config),
            machine: watch::channel(Ok(Arc::new(self.machine.clone()))).1,
            install: InstallId::new("0123456789").unwrap(),
            gateway: Arc::new(Gateway::new(Upstream::new("http://127.0.0.1:9", None)).unwrap()),
            outgoing: None,
            told: Told::default(),
        };
        let run = RunId { group: self.group().folder, number: RunNumber(7) };
        launcher.fingerprint(&self.group(), &run, &RunKind::Chat).await.map_err(|error| error.reason).unwrap()
    }

    /// Puts another folder, or file of the same content, in a path's place.
    fn replace(&self, path: &Path) {
        fs::rename(path, self.path("aside")).unwrap();
        if self.path("aside").is_dir() {
            fs::create_dir(path).unwrap();
        } else {
            fs::copy(self.path("aside"), path).unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_not_changed_is_the_same() {
    let house = House::new(CONFIG);
    let first = house.fingerprint().await;
    assert!(first.contains("/workspace/extra/site"), "the additional mount is among what is compared: {first}");
    // What an agent writes to its own folders is no other container.
    let group = house.group().folder;
    for folder in
        [house.home.group(&group), house.home.sessions(&group), house.home.mailbox(&group), house.path("site")]
    {
        fs::write(folder.join("written"), "by the agent").unwrap();
    }
    // Our own agent reads this with its prompt.
    fs::write(house.home.overlay(&group).join("agent.toml"), "model = \"other\"\n").unwrap();
    assert_eq!(house.fingerprint().await, first);
}

#[tokio::test]
async fn every_setting_that_a_container_is_made_of_makes_another() {
    let house = House::new(CONFIG);
    let mut seen = vec![house.fingerprint().await];
    let of_the_group = [
        "image = \"other\"",
        "memory = \"64MiB\"",
        "pids = 9",
        "cpus = 0.5",
        "tmp = \"9MiB\"",
        "model = \"other\"",
        "effort = \"low\"",
        "max_tokens = 77",
        "context_window = 77777",
        "tools = { deny = [\"Bash\"] }",
        "mcp_servers = { notes = { command = \"notes-mcp\" } }",
        "prompt = \"Rhyme.\"",
        "overlay = \"frozen\"",
        "overlay = \"none\"",
        "skills = []",
        "provider = \"offline\"",
        "provider = \"claude\"",
        "command = [\"/bin/agent\"]",
        "command = [\"/bin/agent\", \"--more\"]",
        "allow = [\"example.com\"]",
        "packages = [\"jq\"]",
        "packages = [\"jq\", \"bc\"]",
    ];
    let of_all = [
        "[time]\nzone = \"Europe/Zurich\"",
        "[gateway]\nallow = [\"example.org\"]",
        "[[gateway.upstreams]]\nname = \"notes\"\nbase_url = \"https://example.com\"\ninject = \"bearer\"\n\
         secret = \"NOTES\"\ngroups = [\"*\"]",
    ];
    let configs = of_the_group.iter().map(|line| format!("{CONFIG}{line}\n"));
    for config in configs.chain(of_all.iter().map(|section| format!("{CONFIG}{section}\n"))) {
        let changed = House { config: config.clone(), ..House::new(CONFIG) };
        // In the same folders, so that nothing but the configuration differs.
        let changed = House { folder: tempfile::tempdir().unwrap(), home: house.home.clone(), ..changed };
        let changed = House {
            machine: house.machine.clone(),
            environment: house.environment.clone(),
            engine: house.engine.clone(),
            ..changed
        };
        let fingerprint = changed.fingerprint().await;
        assert!(!seen.contains(&fingerprint), "{config}");
        seen.push(fingerprint);
    }
}

#[tokio::test]
async fn the_kind_of_credential_that_process_1_is_told_of_makes_another() {
    let mut house = House::new(CONFIG);
    house.environment.insert("ANTHROPIC_API_KEY", "sk-ant-one".to_owned());
    let first = house.fingerprint().await;
    house.environment.insert("ANTHROPIC_API_KEY", "sk-ant-two".to_owned());
    assert_eq!(house.fingerprint().await, first, "the gateway adds the credential of the moment");
    house.environment.remove("ANTHROPIC_API_KEY");
    house.environment.insert("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat-three".to_owned());
    assert_ne!(house.fingerprint().await, first);
}

#[tokio::test]
async fn what_the_machine_gives_makes_another() {
    let mut house = House::new(CONFIG);
    let mut seen = vec![house.fingerprint().await];
    let changes: [fn(&mut Machine); 3] = [
        |machine| machine.user = RunAs { uid: 1001, gid: 1000 },
        |machine| machine.capabilities.memory_limit = false,
        |machine| machine.runtime = RuntimeKind::Podman,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        change(&mut house.machine);
        let fingerprint = house.fingerprint().await;
        // Which engine it is makes no other container of one that is the same in all.
        assert!(number == 2 || !seen.contains(&fingerprint), "change {number}");
        seen.push(fingerprint);
    }
}

#[tokio::test]
async fn every_folder_and_program_that_is_replaced_makes_another() {
    let house = House::new(CONFIG);
    let mut last = house.fingerprint().await;
    for path in house.mounted().into_iter().chain([house.path("agent-runner")]) {
        house.replace(&path);
        let now = house.fingerprint().await;
        assert_ne!(now, last, "{}", path.display());
        last = now;
        let aside = house.path("aside");
        if aside.is_dir() { fs::remove_dir_all(aside).unwrap() } else { fs::remove_file(aside).unwrap() }
    }
    // Written over in its place.
    fs::write(house.path("agent-runner"), "a longer program").unwrap();
    assert_ne!(house.fingerprint().await, last);
}

#[tokio::test]
async fn skills_that_come_change_and_go_make_another() {
    let house = House::new(CONFIG);
    let first = house.fingerprint().await;
    house.skill("one", "Says two.");
    let changed = house.fingerprint().await;
    house.skill("two", "Says three.");
    let added = house.fingerprint().await;
    fs::remove_dir_all(house.home.skills().join("two")).unwrap();
    assert!(first != changed && added != changed);
    assert_eq!(house.fingerprint().await, changed, "what is laid out is named by what is in it");
    // Laid out meanwhile, as the container's own preparation does, it is the same.
    let library = crate::skills::Library::read(&house.home.skills());
    let config = Config::parse(&house.home.config_file(), CONFIG, house.home.root(), &environment_of([])).unwrap();
    let chosen = library.choose(&config.for_group(&house.group().folder).skills);
    let laid_out = crate::skills::Shelf::new(house.home.skill_shelf()).lay_out(&chosen.skills).unwrap();
    assert!(changed.contains(laid_out.to_str().unwrap()));
    assert_eq!(house.fingerprint().await, changed);
}

#[tokio::test]
async fn a_mount_that_is_not_allowed_any_more_makes_another() {
    let house = House::new(CONFIG);
    let first = house.fingerprint().await;
    fs::write(house.path("private/nanoclaw/mount-allowlist.json"), r#"{"allowedRoots":[]}"#).unwrap();
    let refused = house.fingerprint().await;
    assert!(refused != first && !refused.contains("/workspace/extra/site"));
}

#[tokio::test]
async fn a_secret_that_appears_below_a_mount_makes_another() {
    let config = CONFIG.replace("~/site\"", "~/site\", hide_secrets = true");
    let house = House::new(&config);
    let first = house.fingerprint().await;
    fs::write(house.path("site/id_rsa"), "a key").unwrap();
    assert_ne!(house.fingerprint().await, first, "it is to be covered");
}

#[tokio::test]
async fn an_overlay_that_another_agent_may_have_read_makes_another_when_it_changes() {
    let house = House::new(&format!("{CONFIG}command = [\"/bin/agent\"]\noverlay = \"open\"\n"));
    let mut last = house.fingerprint().await;
    let source = house.home.overlay(&house.group().folder).join("deep/index.ts");
    let changes: [&dyn Fn(); 4] = [
        &|| {
            fs::create_dir_all(source.parent().unwrap()).unwrap();
            fs::write(&source, "one").unwrap();
        },
        &|| fs::write(&source, "other").unwrap(),
        &|| fs::set_permissions(&source, fs::Permissions::from_mode(0o700)).unwrap(),
        &|| {
            fs::remove_file(&source).unwrap();
            symlink("/etc/passwd", &source).unwrap();
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        change();
        let now = house.fingerprint().await;
        assert_ne!(now, last, "change {number}");
        last = now;
    }
}

#[tokio::test]
async fn an_image_that_is_built_of_something_else_makes_another() {
    let house = House::new(&format!("{CONFIG}dockerfile = \"images/family\"\n"));
    let folder = house.home.root().join("images/family");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("Dockerfile"), "ARG NANOCLAW_BASE\nFROM ${NANOCLAW_BASE}\n").unwrap();
    let first = house.fingerprint().await;
    assert_eq!(house.fingerprint().await, first);
    fs::write(folder.join("Dockerfile"), "ARG NANOCLAW_BASE\nFROM ${NANOCLAW_BASE}\nRUN true\n").unwrap();
    let changed = house.fingerprint().await;
    assert_ne!(changed, first);
    "sha256:2".clone_into(&mut house.engine.0.lock().unwrap());
    assert_ne!(house.fingerprint().await, changed, "on another base");
}
