//! Has each thing made once at a time: whoever wants the same waits for the same. What failed is not tried again for some
//! time, so that a chat in which much is said does not become a storm of builds.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::{sync::watch, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::ImageError;

/// How long what failed counts as failed.
pub(super) const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// Makes things. Cheap to clone; all clones are one. What is being made when the last of them goes is broken off.
#[derive(Clone, Default)]
pub struct Workshop(Arc<Mutex<HashMap<String, Work>>>);

enum Work {
    Going { done: Shared<BoxFuture<'static, Result<(), ImageError>>>, step: watch::Receiver<String> },
    Done { new_until: Instant },
    Failed { at: Instant, error: ImageError },
}

/// Where what is being made says how far it is.
pub(super) type Steps = watch::Sender<String>;

impl Workshop {
    /// Has `key` made by `make`, unless it is being made, or was made lately: what is made is `new_for` so long. Waits for
    /// `patience` at most.
    ///
    /// # Errors
    /// What making it came to, the last time if that was lately; [`ImageError::InProgress`] when it takes longer.
    pub(super) async fn made(
        &self,
        key: &str,
        what: &str,
        new_for: Duration,
        patience: Duration,
        make: impl FnOnce(Steps) -> BoxFuture<'static, Result<(), ImageError>>,
    ) -> Result<(), ImageError> {
        let (done, step) = {
            let mut work = self.locked();
            work.retain(|_, work| match work {
                Work::Going { .. } => true,
                Work::Done { new_until } => Instant::now() < *new_until,
                Work::Failed { at, .. } => at.elapsed() < REMEMBERED,
            });
            match work.get(key) {
                Some(Work::Going { done, step }) => (done.clone(), step.clone()),
                Some(Work::Done { .. }) => return Ok(()),
                Some(Work::Failed { error, .. }) => return Err(error.clone()),
                None => {
                    let (steps, step) = watch::channel("it begins".to_owned());
                    let done = self.begin(key.to_owned(), new_for, make(steps));
                    work.insert(key.to_owned(), Work::Going { done: done.clone(), step: step.clone() });
                    (done, step)
                }
            }
        };
        match tokio::time::timeout(patience, done).await {
            Ok(result) => result,
            Err(_) => Err(ImageError::InProgress { what: what.to_owned(), step: step.borrow().clone() }),
        }
    }

    /// Forgets what failed: somebody says that it is worth another try.
    pub(super) fn forget_failures(&self) {
        self.locked().retain(|_, work| !matches!(work, Work::Failed { .. }));
    }

    /// In a worker of its own, which outlives whoever waits for it.
    fn begin(
        &self,
        key: String,
        new_for: Duration,
        make: BoxFuture<'static, Result<(), ImageError>>,
    ) -> Shared<BoxFuture<'static, Result<(), ImageError>>> {
        // It must not keep alive what it ends with.
        let all = Arc::downgrade(&self.0);
        let worker = tokio::spawn(async move {
            let result = make.await;
            if let Some(all) = all.upgrade() {
                let at = Instant::now();
                let outcome = match &result {
                    Ok(()) => Work::Done { new_until: at + new_for },
                    Err(error) => Work::Failed { at, error: error.clone() },
                };
                all.lock().unwrap_or_else(PoisonError::into_inner).insert(key, outcome);
            }
            result
        });
        let worker = AbortOnDropHandle::new(worker);
        let done = async move {
            worker.await.unwrap_or_else(|error| {
                let reason = format!("its worker ended without an answer: {error}");
                Err(nanoclaw_core::runtime::RuntimeError::Other { action: "make an image ready", reason }.into())
            })
        };
        done.boxed().shared()
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Work>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const NOT_NEW: Duration = Duration::ZERO;

    fn failure() -> ImageError {
        ImageError::BuildFailed {
            what: "x".to_owned(),
            reason: "no".to_owned(),
            last_lines: Vec::new(),
            advice: None,
            mend: String::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_wants_the_same_at_the_same_time_waits_for_one_work() {
        let (workshop, count) = (Workshop::default(), Arc::new(AtomicU32::new(0)));
        let want = || {
            let count = count.clone();
            workshop.made("a", "a", NOT_NEW, LONG, move |_| {
                async move {
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    Ok(())
                }
                .boxed()
            })
        };
        let (first, second, third) = tokio::join!(want(), want(), want());
        assert!(first.is_ok() && second.is_ok() && third.is_ok());
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_impatient_hears_how_far_it_is_and_the_work_goes_on() {
        let workshop = Workshop::default();
        let slow = |steps: Steps| {
            async move {
                steps.send_replace("step 1".to_owned());
                tokio::time::sleep(Duration::from_secs(30)).await;
                Ok(())
            }
            .boxed()
        };
        let error = workshop.made("a", "the image of a", NOT_NEW, Duration::from_secs(2), slow).await.unwrap_err();
        assert_eq!(error.to_string(), "the image of a is being made ready: step 1");
        workshop.made("a", "a", NOT_NEW, LONG, |_| panic!("it is being made")).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_tried_again_only_after_some_time() {
        let (workshop, count) = (Workshop::default(), Arc::new(AtomicU32::new(0)));
        let want = || {
            let count = count.clone();
            workshop.made("a", "a", NOT_NEW, LONG, move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                async { Err(failure()) }.boxed()
            })
        };
        for _ in 0..20 {
            assert!(want().await.is_err());
        }
        assert_eq!(count.load(Ordering::Relaxed), 1, "no storm");
        tokio::time::advance(REMEMBERED).await;
        assert!(want().await.is_err());
        assert_eq!(count.load(Ordering::Relaxed), 2);
        workshop.forget_failures();
        assert!(want().await.is_err());
        assert_eq!(count.load(Ordering::Relaxed), 3, "whoever asks for another try gets one");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_made_is_made_again_when_it_is_not_new_any_more() {
        let (workshop, count) = (Workshop::default(), Arc::new(AtomicU32::new(0)));
        let want = |new_for| {
            let count = count.clone();
            workshop.made("a", "a", new_for, LONG, move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                async { Ok(()) }.boxed()
            })
        };
        let minute = Duration::from_secs(60);
        want(minute).await.unwrap();
        want(minute).await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 1);
        tokio::time::advance(minute).await;
        want(NOT_NEW).await.unwrap();
        // It was taken away meanwhile.
        want(NOT_NEW).await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_being_made_ends_with_the_workshop() {
        let workshop = Workshop::default();
        let (held, mut gone) = tokio::sync::oneshot::channel::<()>();
        let forever = |_| {
            async move {
                let _held = held;
                std::future::pending().await
            }
            .boxed()
        };
        workshop.made("a", "a", NOT_NEW, Duration::from_secs(1), forever).await.unwrap_err();
        assert_eq!(gone.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty));
        drop(workshop);
        gone.await.unwrap_err();
    }
}
