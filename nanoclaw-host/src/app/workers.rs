//! The workers beside the orchestrator: sockets, services, watches. Each has a name, so that one that does not end can be told of.

use std::{collections::HashMap, time::Duration};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::timeout,
};

/// How long those that do not end by themselves have to let go of what they hold.
const LETTING_GO: Duration = Duration::from_secs(1);

/// Workers by their names. Those that are at work when this is dropped are left in the middle.
#[derive(Debug, Default)]
pub(super) struct Workers {
    running: JoinSet<()>,
    names: HashMap<Id, String>,
}

impl Workers {
    /// Has `work` done by a worker of this name, which people read.
    pub(super) fn spawn(&mut self, name: impl Into<String>, work: impl Future<Output = ()> + Send + 'static) {
        let worker = self.running.spawn(work);
        self.names.insert(worker.id(), name.into());
    }

    /// Waits until all have ended, who have been told to, and for no longer than `limit`. Returns the names of those that are at work then;
    /// they are left in the middle.
    pub(super) async fn end(mut self, limit: Duration) -> Vec<String> {
        let all = async {
            while let Some(ended) = self.running.join_next_with_id().await {
                let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
                let name = self.names.remove(&id);
                if ended.is_err_and(|error| error.is_panic()) {
                    tracing::error!(worker = name, "a worker ended by a fault of ours");
                }
            }
        };
        if timeout(limit, all).await.is_ok() {
            return Vec::new();
        }
        // One that waits for no one, but holds up its thread, cannot be made to.
        let _ = timeout(LETTING_GO, self.running.shutdown()).await;
        let mut late: Vec<String> = self.names.into_values().collect();
        late.sort_unstable();
        late
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Arc};

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_is_waited_for_and_whoever_does_not_come_to_it_is_named_and_left() {
        let (mut workers, held, began) = (Workers::default(), Arc::new(()), Instant::now());
        workers.spawn("soon", sleep(Duration::from_secs(3)));
        workers.spawn("broken", async { panic!("a fault") });
        workers.spawn("just in time", sleep(Duration::from_secs(19)));
        for name in ["stuck", "hung"] {
            let held = held.clone();
            workers.spawn(name, async move {
                pending::<()>().await;
                drop(held);
            });
        }
        assert_eq!(workers.end(Duration::from_secs(20)).await, ["hung", "stuck"]);
        assert_eq!(began.elapsed().as_secs(), 20);
        assert_eq!(Arc::strong_count(&held), 1, "they hold nothing any more");

        let (mut workers, began) = (Workers::default(), Instant::now());
        workers.spawn("soon", sleep(Duration::from_secs(3)));
        assert_eq!(workers.end(Duration::from_secs(20)).await, [""; 0]);
        assert_eq!(began.elapsed().as_secs(), 3);
    }
}
