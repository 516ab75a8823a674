//! Images with a real engine: groups' images built and shared, flavours of the Dockerfile's form, and what is fetched from a
//! registry, which is one of the tests' own on loopback.

#![allow(clippy::unwrap_used, reason = "all of this program is tests, in which it is fine")]

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use nanoclaw_core::{
    group::GroupFolder,
    runtime::{ContainerRuntime as _, ImageRef, RuntimeKind},
};
use nanoclaw_host::{
    images::{ImageEngine, ImageError, Images, Pull, Source},
    runtimes::engine_api::{
        EngineRuntime,
        image::{self, Base, Build},
    },
};

#[path = "images/registry.rs"]
mod registry;
mod support;

use registry::{FakeRegistry, digest_of};

const PATIENT: Duration = Duration::from_secs(300);

/// A real engine with a small image of the test's own, and a home.
struct House {
    engine: EngineRuntime,
    kind: RuntimeKind,
    base: ImageRef,
    folder: tempfile::TempDir,
    made: Mutex<Vec<ImageRef>>,
    _podman: Option<support::podman::PodmanService>,
}

/// Gives the engine of the test, wherever it listens.
struct One(EngineRuntime);

#[async_trait::async_trait]
impl nanoclaw_host::images::Engines for One {
    async fn of(&self, _runtime: RuntimeKind) -> Result<Arc<dyn ImageEngine>, nanoclaw_core::runtime::RuntimeError> {
        Ok(Arc::new(self.0.clone()))
    }
}

impl House {
    /// `None`, and a line that says so, without the engine or busybox.
    async fn on(kind: RuntimeKind) -> Option<Self> {
        support::wanted(&kind.to_string()).or_skip(&kind.to_string(), Self::open(kind).await)
    }

    async fn open(kind: RuntimeKind) -> Result<Self, String> {
        let podman = match kind {
            RuntimeKind::Podman => Some(support::podman::PodmanService::start()?),
            _ => None,
        };
        let socket = podman.as_ref().map_or_else(|| EngineRuntime::default_socket(kind), |podman| podman.socket());
        let engine = EngineRuntime::connect(kind, &socket).await.map_err(|error| error.to_string())?;
        let folder = support::scratch();
        let root = folder.path().join("root");
        support::busybox_root(&root)?;
        let base = ImageRef::new(format!("nanoclaw-{}", support::install())).unwrap();
        let build = Build { name: base.clone(), base: Base::Folder(root), claude: None };
        image::build(&engine, &build, &|_| ()).await.map_err(|error| error.to_string())?;
        let made = Mutex::new(vec![base.clone()]);
        Ok(Self { engine, kind, base, folder, made, _podman: podman })
    }

    fn images(&self, pull: Pull) -> Images {
        Images::with(self.folder.path(), pull, Arc::new(One(self.engine.clone())))
    }

    /// A folder with a Dockerfile and a file beside it.
    fn dockerfile(&self, name: &str, text: &str, beside: &str) -> Source {
        let place = self.folder.path().join(name);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("Dockerfile"), text).unwrap();
        fs::write(place.join("beside.txt"), beside).unwrap();
        Source::Dockerfile { base: self.base.clone(), place }
    }

    async fn get(&self, images: &Images, source: &Source) -> Result<ImageRef, ImageError> {
        let group = GroupFolder::new("family").unwrap();
        let image = images.for_group(&group, source, self.kind, PATIENT).await?.image;
        self.made.lock().unwrap().push(image.clone());
        Ok(image)
    }

    /// What a shell in the image prints.
    async fn printed_in(&self, image: &ImageRef, script: &str) -> String {
        let context = nanoclaw_core::testing::runtime_suite::SuiteContext::new(
            Arc::new(self.engine.clone()),
            image.clone(),
            self.folder.path().join("scratch"),
            support::user(),
            support::install(),
        );
        let mut spec = context.await.unwrap().spec(script);
        if !self.engine.probe().await.unwrap().memory_limit {
            spec.limits = nanoclaw_core::runtime::Limits { memory_bytes: None, pids: None, milli_cpus: None };
        }
        let mut container = self.engine.start(&spec).await.unwrap();
        let mut all = Vec::new();
        while let Some(piece) = tokio::time::timeout(PATIENT, container.output.recv()).await.expect("the output ends") {
            let (nanoclaw_core::runtime::Output::Stdout(bytes) | nanoclaw_core::runtime::Output::Stderr(bytes)) = piece;
            all.extend_from_slice(&bytes);
        }
        container.exit.await;
        String::from_utf8_lossy(&all).into_owned()
    }

    /// A container that has ended may still be on its way out, and holds its image until then.
    async fn remove(self) {
        let mut made = self.made.lock().unwrap().clone();
        made.reverse();
        made.dedup();
        let removed = async {
            for image in made {
                while image::remove(&self.engine, &image).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        tokio::time::timeout(PATIENT, removed).await.expect("the images are let go");
    }
}

const COPIES: &str =
    "ARG NANOCLAW_BASE\nFROM ${NANOCLAW_BASE}\nCOPY beside.txt /beside.txt\nRUN echo built >> /beside.txt\n";

async fn a_group_has_the_image_of_its_dockerfile(kind: RuntimeKind) {
    let Some(house) = House::on(kind).await else { return };
    let images = house.images(Pull::Missing);
    let source = house.dockerfile("family", COPIES, "first\n");
    let (one, other) = tokio::join!(house.get(&images, &source), house.get(&images, &source));
    let first = one.unwrap();
    assert_eq!(other.unwrap(), first);
    assert_eq!(house.printed_in(&first, "cat /beside.txt").await, "first\nbuilt\n");
    let built_at = created(&house, &first).await;

    // Another host finds it, however it came to be.
    assert_eq!(house.get(&house.images(Pull::Missing), &source).await.unwrap(), first);
    assert_eq!(created(&house, &first).await, built_at, "nothing was built again");
    let changed = house.dockerfile("family", COPIES, "second\n");
    let second = house.get(&images, &changed).await.unwrap();
    assert_ne!(second, first);
    assert_eq!(house.printed_in(&second, "cat /beside.txt").await, "second\nbuilt\n");
    let listed = image::list_of_groups(&house.engine).await.unwrap();
    let listed = listed.iter().find(|image| image.name == second).unwrap();
    assert_eq!(listed.group.as_ref().map(|(group, _)| group.as_str()), Some("family"));
    house.remove().await;
}

async fn created(house: &House, image: &ImageRef) -> i64 {
    let all = image::list_of_groups(&house.engine).await.unwrap();
    all.iter().find(|known| known.name == *image).unwrap().created_at.as_ms()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_the_image_of_its_dockerfile_in_docker() {
    a_group_has_the_image_of_its_dockerfile(RuntimeKind::Docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_has_the_image_of_its_dockerfile_in_podman() {
    a_group_has_the_image_of_its_dockerfile(RuntimeKind::Podman).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f38_a_build_that_fails_says_its_last_words_and_leaves_no_image_in_docker() {
    a_build_that_fails_says_its_last_words_and_leaves_no_image(RuntimeKind::Docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f38_a_build_that_fails_says_its_last_words_and_leaves_no_image_in_podman() {
    a_build_that_fails_says_its_last_words_and_leaves_no_image(RuntimeKind::Podman).await;
}

async fn a_build_that_fails_says_its_last_words_and_leaves_no_image(kind: RuntimeKind) {
    let Some(house) = House::on(kind).await else { return };
    let images = house.images(Pull::Missing);
    let broken = "ARG NANOCLAW_BASE\nFROM ${NANOCLAW_BASE}\nRUN echo there is no such thing >&2; exit 3\n";
    let source = house.dockerfile("family", broken, "x");
    let error = house.get(&images, &source).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("there is no such thing") && text.contains("`nanoclaw image build --group family`"),
        "{text}"
    );
    assert!(text.contains("(RUN echo there") && text.contains("ended with code 3"), "{text}");
    let name = images.name_for(&source, &house.engine).await.unwrap().unwrap();
    assert_eq!(house.engine.find(&name).await.unwrap(), None, "nothing has the name");
    let not_one = house.dockerfile("family", "FRUM x\n", "x");
    assert!(matches!(house.get(&images, &not_one).await, Err(ImageError::BuildFailed { .. })));
    house.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_on_a_base_without_a_package_manager_are_refused_with_what_to_take() {
    let Some(house) = House::on(RuntimeKind::Docker).await else { return };
    let source = Source::Packages { base: house.base.clone(), packages: vec!["jq".to_owned()] };
    let error = house.get(&house.images(Pull::Missing), &source).await.unwrap_err().to_string();
    // In the build's own words, and not in those of the command, which has them too.
    assert!(error.contains("(“this image has no apt-get, apk or dnf"), "{error}");
    house.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_are_installed_by_the_package_manager_of_the_base() {
    let Some(house) = House::on(RuntimeKind::Docker).await else { return };
    // A package manager that only writes down what it was asked.
    let apt = "ARG NANOCLAW_BASE\nFROM ${NANOCLAW_BASE}\nRUN echo '#!/bin/sh' > /bin/apt-get; \
               echo 'echo \"$@\" >> /asked' >> /bin/apt-get; chmod 755 /bin/apt-get\n";
    let images = house.images(Pull::Missing);
    let base = house.get(&images, &house.dockerfile("base", apt, "x")).await.unwrap();
    let source = Source::Packages { base, packages: vec!["jq".to_owned(), "python3-yaml".to_owned()] };
    let image = house.get(&images, &source).await.unwrap();
    let asked = house.printed_in(&image, "cat /asked").await;
    assert_eq!(
        asked,
        "update --option APT::Update::Error-Mode=any\ninstall --yes --no-install-recommends jq python3-yaml\n"
    );
    house.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_is_fetched_from_where_its_name_says_and_progress_is_told() {
    let Some(house) = House::on(RuntimeKind::Docker).await else { return };
    let registry = FakeRegistry::start().await;
    let name = registry.image("agent", "1");
    registry.serve("agent", "1", &[("etc/which", "the first")]);
    let images = house.images(Pull::Missing);
    let source = Source::Named(name.clone());
    house.get(&images, &source).await.unwrap();
    let manifests = registry.manifests_asked();
    house.get(&images, &source).await.unwrap();
    assert_eq!(registry.manifests_asked(), manifests, "what is here is not asked for");

    let lines = Mutex::new(Vec::new());
    image::remove(&house.engine, &name).await.unwrap();
    house.engine.pull(&name, &|line| lines.lock().unwrap().push(line.to_owned())).await.unwrap();
    let lines = lines.into_inner().unwrap();
    assert!(lines.iter().any(|line| line.contains("Pull complete") || line.contains("Downloaded")), "{lines:?}");
    house.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn always_takes_what_the_registry_has_now_and_what_is_here_when_it_is_away() {
    let Some(house) = House::on(RuntimeKind::Docker).await else { return };
    let registry = FakeRegistry::start().await;
    let name = registry.image("agent", "1");
    let source = Source::Named(name.clone());
    let first_digest = registry.serve("agent", "1", &[("etc/which", "the first")]);
    // It loses its name to the second, and would stay.
    house.made.lock().unwrap().push(format!("{}@{first_digest}", registry.repository("agent")).parse().unwrap());
    house.get(&house.images(Pull::Always), &source).await.unwrap();
    let first = house.engine.find(&name).await.unwrap().unwrap().id;
    registry.serve("agent", "1", &[("etc/which", "the second")]);
    house.get(&house.images(Pull::Missing), &source).await.unwrap();
    assert_eq!(house.engine.find(&name).await.unwrap().unwrap().id, first);
    house.get(&house.images(Pull::Always), &source).await.unwrap();
    let second = house.engine.find(&name).await.unwrap().unwrap().id;
    assert_ne!(second, first);

    registry.go_away();
    let group = GroupFolder::new("family").unwrap();
    let images = house.images(Pull::Always);
    let old = images.for_group(&group, &source, RuntimeKind::Docker, PATIENT).await.unwrap();
    assert!(old.remarks[0].contains("could not be fetched"), "{old:?}");
    assert_eq!(house.engine.find(&name).await.unwrap().unwrap().id, second);
    image::remove(&house.engine, &name).await.unwrap();
    let error = house.get(&house.images(Pull::Missing), &source).await.unwrap_err().to_string();
    assert!(error.contains(&format!("`docker pull {name}`")), "{error}");
    house.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_is_right_is_taken_and_one_that_is_wrong_is_refused() {
    let Some(house) = House::on(RuntimeKind::Docker).await else { return };
    let registry = FakeRegistry::start().await;
    let digest = registry.serve("agent", "1", &[("etc/which", "the pinned")]);
    let images = house.images(Pull::Missing);
    let pinned: ImageRef = format!("{}@{digest}", registry.repository("agent")).parse().unwrap();
    house.get(&images, &Source::Named(pinned.clone())).await.unwrap();
    let found = house.engine.find(&pinned).await.unwrap().unwrap();
    assert!(found.digests.iter().any(|known| known.ends_with(&digest)), "{found:?}");

    let nobody_has: ImageRef = format!("{}@{}", registry.repository("agent"), digest_of(b"other")).parse().unwrap();
    let error = house.get(&images, &Source::Named(nobody_has)).await.unwrap_err();
    assert!(matches!(error, ImageError::PullFailed { .. }), "{error}");
    // A registry that gives something else under the digest.
    let lie = digest_of(b"a lie");
    registry.lie("agent", &lie, &digest);
    let lied: ImageRef = format!("{}@{lie}", registry.repository("agent")).parse().unwrap();
    let error = house.get(&images, &Source::Named(lied.clone())).await.unwrap_err();
    assert!(matches!(error, ImageError::PullFailed { .. } | ImageError::WrongDigest { .. }), "{error}");
    assert_eq!(house.engine.find(&lied).await.unwrap(), None);
    house.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f38_a_bare_name_that_is_missing_is_told_with_the_command_that_builds_it() {
    let Some(house) = House::on(RuntimeKind::Docker).await else { return };
    let missing: ImageRef = "nanoclaw-test-no-such:none".parse().unwrap();
    let source = Source::Packages { base: missing, packages: vec!["jq".to_owned()] };
    let error = house.get(&house.images(Pull::Always), &source).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no image nanoclaw-test-no-such:none; build it with `nanoclaw image build`, or name another in nanoclaw.toml"
    );
    house.remove().await;
}

#[test]
fn both_flavours_are_stages_of_the_dockerfile() {
    let text = nanoclaw_host::images::Flavour::DOCKERFILE;
    for stage in ["FROM scratch AS slim", "FROM ${BASE} AS full"] {
        assert!(text.lines().any(|line| line == stage), "{stage}");
    }
    assert!(!text.contains("--mount") && !text.contains("<<"), "the classic builder understands it");
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent-runner/image/Dockerfile").is_file());
}
