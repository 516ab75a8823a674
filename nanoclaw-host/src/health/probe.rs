//! Asks the model whether it takes the credential, seldom: whoever asks for health often must not be a load on it, nor cost anything.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

use crate::admin::types::CredentialCheck;

/// How long an answer holds.
pub const HOLDS: Duration = Duration::from_secs(5 * 60);

/// The last answer, and for which credential it was.
#[derive(Debug, Default)]
pub struct CredentialProbe {
    last: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    credential: String,
    at: Instant,
    answer: CredentialCheck,
}

impl CredentialProbe {
    /// What the model says of the credential with this fingerprint: by `ask`, or what it said at most [`HOLDS`] ago. Who comes while
    /// it is being asked waits for that answer.
    pub async fn check<F: Future<Output = CredentialCheck>>(
        &self,
        credential: &str,
        ask: impl FnOnce() -> F,
    ) -> CredentialCheck {
        // Held while it is asked, so that one asks for all.
        let mut last = self.last.lock().await;
        if let Some(known) = &*last
            && known.credential == credential
            && known.at.elapsed() < HOLDS
        {
            return known.answer.clone();
        }
        let answer = ask().await;
        *last = Some(Known { credential: credential.to_owned(), at: Instant::now(), answer: answer.clone() });
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::admin::types::CheckOutcome;

    #[tokio::test(start_paused = true)]
    async fn the_model_is_asked_once_in_five_minutes_however_many_ask_and_again_for_another_credential() {
        let (probe, asked) = (CredentialProbe::default(), AtomicUsize::new(0));
        let check = |credential: &'static str| {
            probe.check(credential, || async {
                asked.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(1)).await;
                CredentialCheck { outcome: CheckOutcome::Taken, detail: credential.to_owned() }
            })
        };
        let (one, other) = tokio::join!(check("a"), check("a"));
        assert_eq!((one, asked.load(Ordering::SeqCst)), (other, 1));
        tokio::time::advance(HOLDS - Duration::from_secs(1)).await;
        check("a").await;
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        check("a").await;
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!(check("b").await.detail, "b");
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }
}
