//! Has decided what goes, and removes it: in small pieces, so that nobody who works with the home waits for it.

use std::{collections::BTreeMap, fs, io, sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use nanoclaw_core::{
    causes::with_causes,
    clock::WallClock as _,
    group::GroupFolder,
    store::{Store, StoreError},
    time::Timestamp,
};

use super::{Going, Kind, Rules, Target, is_disposable, look, plan};
use crate::{
    home::Home,
    remove_tree::remove_tree,
    stores::{Ledger, OldRows},
    wall_clock::SystemClock,
};

/// How many runs, and how many due times, go in one transaction.
const AT_ONCE: u32 = 100;
/// How long the service runs before it tidies up for the first time.
const FIRST_AFTER: Duration = Duration::from_secs(10 * 60);
/// At which hour of the night it does, in the configured zone.
const HOUR: i8 = 3;

/// Whoever tidies up.
#[derive(Clone)]
pub struct Tidier {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// What the store can tell and forget beside that.
    pub ledger: Arc<dyn Ledger>,
    /// The home.
    pub home: Home,
    /// How long things are kept.
    pub rules: Rules,
    /// Folders that the configuration has a table for.
    pub configured: Vec<GroupFolder>,
}

/// What went, or would go: all of a kind that is one group's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tidied {
    /// Of which kind.
    pub kind: Kind,
    /// Whose; `None`: of all groups.
    pub group: Option<GroupFolder>,
    /// How many things.
    pub count: u64,
    /// How much they take, or took; of records about as much as their texts.
    pub bytes: u64,
    /// Why, a sentence fragment.
    pub why: String,
    /// Why some of it is there still; `None`: none of it is.
    pub failed: Option<String>,
}

impl Tidier {
    /// Removes what goes by the rules; with `dry_run` only says what would. The same as before comes out until somebody changes something.
    ///
    /// # Errors
    /// The store's; what could not be removed of files is told with what was to go.
    pub async fn tidy(&self, dry_run: bool) -> Result<Vec<Tidied>, StoreError> {
        let now = Timestamp::now();
        let with_attachments = self.rules.attachments.is_some();
        let facts =
            look::look(&self.home, &*self.store, &*self.ledger, self.configured.clone(), with_attachments, now).await?;
        let mut tidied = BTreeMap::<(Kind, Option<GroupFolder>), Tidied>::new();
        for going in plan(&facts, &self.rules) {
            let failed = if dry_run { None } else { self.remove(&going).await.err() };
            let Going { kind, group, bytes, why, .. } = going;
            let new = Tidied { kind, group: Some(group.clone()), count: 0, bytes: 0, why, failed: None };
            let sum = tidied.entry((kind, Some(group))).or_insert(new);
            sum.count += 1;
            sum.bytes += bytes;
            sum.failed = sum.failed.take().or(failed);
        }
        let mut all: Vec<Tidied> = tidied.into_values().collect();
        all.extend(self.rows(now, dry_run).await?);
        all.sort_by_key(|one| one.kind);
        Ok(all)
    }

    async fn rows(&self, now: Timestamp, dry_run: bool) -> Result<Vec<Tidied>, StoreError> {
        let before = |limit: Option<Duration>| limit.map(|limit| now.minus(limit));
        let (runs, firings) = (before(self.rules.runs), before(self.rules.firings));
        let found = self.ledger.old_rows(runs, firings).await?;
        if !dry_run {
            // Whoever waits to write comes in between.
            while self.ledger.forget_old_rows(runs, firings, AT_ONCE).await? > 0 {}
        }
        let OldRows { runs, runs_bytes, firings, firings_bytes } = found;
        let of = |kind, count, bytes, what: &str, limit: Option<Duration>| Tidied {
            kind,
            group: None,
            count,
            bytes,
            why: format!("{what} more than {} ago", crate::config::show_duration(limit.unwrap_or_default())),
            failed: None,
        };
        let all = [
            of(Kind::Runs, runs, runs_bytes, "over", self.rules.runs),
            of(Kind::Firings, firings, firings_bytes, "done", self.rules.firings),
        ];
        Ok(all.into_iter().filter(|one| one.count > 0).collect())
    }

    async fn remove(&self, going: &Going) -> Result<(), String> {
        let path = match &going.target {
            Target::Attachment(name) => {
                let (home, group, name) = (self.home.clone(), going.group.clone(), name.clone());
                return off_the_loop(move || look::remove_attachment(&home, &group, &name)).await;
            }
            Target::File(path) | Target::Folder(path) => path.clone(),
        };
        let place = path.strip_prefix(self.home.root()).map_err(|error| error.to_string())?;
        if !is_disposable(place) {
            return Err(format!("{} is protected", path.display()));
        }
        if let Target::File(_) = going.target {
            return off_the_loop(move || match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            })
            .await;
        }
        // It may have been added again since it was looked.
        let groups = self.store.groups().await.map_err(|error| with_causes(&error))?;
        if groups.iter().any(|group| group.folder == going.group) {
            return Err("it is a group again".to_owned());
        }
        off_the_loop(move || remove_tree(&path)).await
    }
}

async fn off_the_loop(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}

/// Tidies up for ever: a while after the start, and then each night.
pub async fn keep(tidier: Tidier, zone: TimeZone) {
    let mut next = Timestamp::now().plus(FIRST_AFTER);
    loop {
        while Timestamp::now() < next {
            // It returns early when somebody sets the clock.
            SystemClock.until(Some(next)).await;
        }
        match tidier.tidy(false).await {
            Ok(tidied) => tell(&tidied),
            Err(error) => tracing::warn!(error = with_causes(&error), "cannot tidy up; trying again next night"),
        }
        next = next_night(Timestamp::now(), &zone);
    }
}

fn tell(tidied: &[Tidied]) {
    for Tidied { kind, group, count, bytes, why, failed } in tidied {
        let group = group.as_ref().map(ToString::to_string);
        match failed {
            None => tracing::info!(kind = kind.word(), group, count, bytes, why, "removed what nobody needs any more"),
            Some(error) => tracing::warn!(kind = kind.word(), group, error, "not all could be removed that was to go"),
        }
    }
}

/// The next time that it is night; a day later where the zone cannot tell.
fn next_night(now: Timestamp, zone: &TimeZone) -> Timestamp {
    let tonight = || {
        let here = jiff::Timestamp::from_millisecond(now.as_ms()).ok()?.to_zoned(zone.clone());
        let tomorrow = if here.hour() < HOUR { here.date() } else { here.date().tomorrow().ok()? };
        let night = tomorrow.at(HOUR, 30, 0, 0).to_zoned(zone.clone()).ok()?;
        Some(Timestamp::from_ms(night.timestamp().as_millisecond()))
    };
    tonight().filter(|night| *night > now).unwrap_or_else(|| now.plus(Duration::from_secs(86_400)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_night_once_a_day_also_when_the_clock_is_changed_for_summer() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let at = |text: &str| Timestamp::from_ms(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        assert_eq!(next_night(at("2026-11-23T01:00:00Z"), &zone), at("2026-11-23T02:30:00Z"));
        assert_eq!(next_night(at("2026-11-23T02:30:00Z"), &zone), at("2026-11-24T02:30:00Z"));
        // On the 29th of March 2026 there is no time between two and three.
        assert_eq!(next_night(at("2026-03-28T12:00:00Z"), &zone), at("2026-03-29T01:30:00Z"));
    }
}
