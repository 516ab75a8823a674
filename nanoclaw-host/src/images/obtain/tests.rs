//! The decisions, with an engine that only remembers what it was asked.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use async_trait::async_trait;

use super::*;

#[derive(Default)]
struct FakeEngine {
    /// What is here.
    here: Mutex<HashMap<String, Found>>,
    /// What its registries have; an image that is fetched has this id and these digests.
    registry: Mutex<HashMap<String, Found>>,
    registry_is_away: AtomicBool,
    builds_fail: AtomicBool,
    slow: AtomicBool,
    pulls: AtomicU32,
    builds: Mutex<Vec<BuildRequest>>,
}

struct One(Arc<FakeEngine>);

#[async_trait]
impl Engines for One {
    async fn of(&self, _runtime: RuntimeKind) -> Result<Arc<dyn ImageEngine>, RuntimeError> {
        Ok(self.0.clone())
    }
}

#[async_trait]
impl ImageEngine for FakeEngine {
    fn program(&self) -> &'static str {
        "docker"
    }

    async fn find(&self, image: &ImageRef) -> Result<Option<Found>, RuntimeError> {
        Ok(self.here.lock().unwrap().get(image.as_str()).cloned())
    }

    async fn pull(&self, image: &ImageRef, _tell: &Tell<'_>) -> Result<(), ImageError> {
        self.pulls.fetch_add(1, Ordering::Relaxed);
        let found = self.registry.lock().unwrap().get(image.as_str()).cloned();
        match found.filter(|_| !self.registry_is_away.load(Ordering::Relaxed)) {
            Some(found) => {
                self.here.lock().unwrap().insert(image.to_string(), found);
                Ok(())
            }
            None => {
                let reason = "manifest unknown".to_owned();
                Err(ImageError::PullFailed { image: image.clone(), reason, engine: "docker" })
            }
        }
    }

    async fn build(&self, request: &BuildRequest, tell: &Tell<'_>) -> Result<(), ImageError> {
        tell("Step 1/2 : FROM base");
        self.builds.lock().unwrap().push(request.clone());
        if self.slow.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        if self.builds_fail.load(Ordering::Relaxed) {
            return Err(ImageError::BuildFailed {
                what: request.what.clone(),
                reason: "code 1".to_owned(),
                last_lines: vec!["E: no such package".to_owned()],
                advice: None,
                mend: request.mend.clone(),
            });
        }
        self.here.lock().unwrap().insert(request.name.to_string(), found("sha256:built"));
        Ok(())
    }
}

fn found(id: &str) -> Found {
    Found { id: id.to_owned(), digests: Vec::new() }
}

fn image(name: &str) -> ImageRef {
    name.parse().unwrap()
}

struct House {
    engine: Arc<FakeEngine>,
    images: Images,
    _home: tempfile::TempDir,
}

impl House {
    fn new(pull: Pull) -> Self {
        let (engine, home) = (Arc::new(FakeEngine::default()), tempfile::tempdir().unwrap());
        let images = Images::with(home.path(), pull, Arc::new(One(engine.clone())));
        Self { engine, images, _home: home }
    }

    fn has(&self, name: &str, id: &str) {
        self.engine.here.lock().unwrap().insert(name.to_owned(), found(id));
    }

    async fn get(&self, source: &Source) -> Result<Obtained, ImageError> {
        let group = GroupFolder::new("family").unwrap();
        self.images.for_group(&group, source, RuntimeKind::Docker, Duration::from_secs(2)).await
    }

    fn builds(&self) -> usize {
        self.engine.builds.lock().unwrap().len()
    }

    fn pulls(&self) -> u32 {
        self.engine.pulls.load(Ordering::Relaxed)
    }
}

fn packages(names: &[&str]) -> Source {
    let packages = names.iter().map(|name| (*name).to_owned()).collect();
    Source::Packages { base: image("nanoclaw-agent:latest"), packages }
}

#[tokio::test(start_paused = true)]
async fn a_groups_image_is_built_once_and_again_when_something_of_it_changes() {
    let house = House::new(Pull::Missing);
    house.has("nanoclaw-agent:latest", "sha256:1");
    let first = house.get(&packages(&["jq"])).await.unwrap().image;
    assert_eq!(house.get(&packages(&["jq"])).await.unwrap().image, first);
    assert_eq!(house.builds(), 1);
    let request = house.engine.builds.lock().unwrap()[0].clone();
    assert_eq!(request.arguments[BASE_ARGUMENT], "sha256:1", "on the very image that its name is made of");
    assert_ne!(house.get(&packages(&["jq", "bc"])).await.unwrap().image, first);
    house.has("nanoclaw-agent:latest", "sha256:2");
    assert_ne!(house.get(&packages(&["jq"])).await.unwrap().image, first, "on another base it is another image");
    assert_eq!(house.builds(), 3);
}

#[tokio::test(start_paused = true)]
async fn groups_that_want_the_same_image_at_once_share_one_build() {
    let house = House::new(Pull::Missing);
    house.has("nanoclaw-agent:latest", "sha256:1");
    house.engine.slow.store(true, Ordering::Relaxed);
    let source = packages(&["jq"]);
    let (one, other) = tokio::join!(house.get(&source), house.get(&source));
    for error in [one.unwrap_err(), other.unwrap_err()] {
        let text = error.to_string();
        assert!(matches!(error, ImageError::InProgress { .. }) && text.contains("step 1 of 2 (FROM base)"), "{text}");
    }
    tokio::time::sleep(Duration::from_secs(90)).await;
    house.get(&source).await.unwrap();
    assert_eq!(house.builds(), 1);
}

#[tokio::test(start_paused = true)]
async fn f38_a_failed_build_is_told_with_its_last_words_and_not_tried_again_at_once() {
    let house = House::new(Pull::Missing);
    house.has("nanoclaw-agent:latest", "sha256:1");
    house.engine.builds_fail.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        let error = house.get(&packages(&["nosuch"])).await.unwrap_err().to_string();
        assert!(error.contains("E: no such package"), "{error}");
        assert!(error.contains("`nanoclaw image build --group family`"), "{error}");
    }
    assert_eq!(house.builds(), 1);
    house.engine.builds_fail.store(false, Ordering::Relaxed);
    house.get(&packages(&["such"])).await.unwrap();
    assert_eq!(house.builds(), 2, "what was corrected is built at once");
    // The network was away, say, and somebody has seen to it.
    house.images.forget_failures();
    house.get(&packages(&["nosuch"])).await.unwrap();
    assert_eq!(house.builds(), 3, "and so is what a person wants to be tried again");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_taken_away_is_built_again() {
    let house = House::new(Pull::Missing);
    house.has("nanoclaw-agent:latest", "sha256:1");
    let image = house.get(&packages(&["jq"])).await.unwrap().image;
    house.engine.here.lock().unwrap().remove(image.as_str());
    assert_eq!(house.get(&packages(&["jq"])).await.unwrap().image, image);
    assert_eq!(house.builds(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_bare_name_is_never_fetched_and_its_lack_says_how_to_build_it() {
    for pull in [Pull::Missing, Pull::Always] {
        let house = House::new(pull);
        let named = house.get(&Source::Named(image("nanoclaw-agent:latest"))).await.unwrap();
        assert_eq!(named.image, image("nanoclaw-agent:latest"), "the engine says that it is not there");
        let error = house.get(&packages(&["jq"])).await.unwrap_err().to_string();
        assert!(error.contains("`nanoclaw image build`"), "{error}");
        assert_eq!((house.pulls(), house.builds()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_fetched_once_and_never_means_never() {
    let name = "reg.example/agent:1";
    let source = Source::Named(image(name));
    let house = House::new(Pull::Missing);
    house.engine.registry.lock().unwrap().insert(name.to_owned(), found("sha256:9"));
    house.get(&source).await.unwrap();
    house.get(&source).await.unwrap();
    assert_eq!(house.pulls(), 1);

    let house = House::new(Pull::Never);
    let on_it = Source::Packages { base: image(name), packages: vec!["jq".to_owned()] };
    let error = house.get(&on_it).await.unwrap_err().to_string();
    assert!(error.contains("\"never\"") && error.contains(&format!("`docker pull {name}`")), "{error}");
    assert_eq!(house.pulls(), 0);
}

#[tokio::test(start_paused = true)]
async fn always_asks_the_registry_once_a_minute_and_uses_what_is_here_when_it_is_away() {
    let name = "reg.example/agent:1";
    let source = Source::Named(image(name));
    let house = House::new(Pull::Always);
    house.engine.registry.lock().unwrap().insert(name.to_owned(), found("sha256:9"));
    for _ in 0..5 {
        house.get(&source).await.unwrap();
    }
    assert_eq!(house.pulls(), 1);
    tokio::time::advance(Duration::from_secs(61)).await;
    house.engine.registry_is_away.store(true, Ordering::Relaxed);
    for _ in 0..5 {
        let old = house.get(&source).await.unwrap();
        assert!(old.remarks[0].contains("The one that is here is used"), "{old:?}");
    }
    assert_eq!(house.pulls(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_pinned_and_here_is_not_asked_for_and_another_digest_is_refused() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let name = format!("reg.example/agent@{digest}");
    let source = Source::Named(image(&name));
    let house = House::new(Pull::Always);
    let of = |digest: &str| Found { id: "sha256:9".to_owned(), digests: vec![format!("reg.example/agent@{digest}")] };
    house.engine.registry.lock().unwrap().insert(name.clone(), of("sha256:bb"));
    let error = house.get(&source).await.unwrap_err();
    assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");

    let house = House::new(Pull::Always);
    house.engine.here.lock().unwrap().insert(name.clone(), of(&digest));
    house.get(&source).await.unwrap();
    assert_eq!(house.pulls(), 0);
}
