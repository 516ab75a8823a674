//! What `doctor` says of the database: whether it can be read, is whole, and is of a schema that this program knows; and of the
//! machine's clock, by what the database has from before.

use std::time::Duration;

use jiff::tz::TimeZone;
use nanoclaw_core::{store::StoreError, time::Timestamp};

use super::{Check, quoted};
use crate::{
    backup::{folder_of, last_good},
    cli::output,
    home::Home,
    stores::sqlite::{Inspected, inspect, is_damaged, newest_schema},
};

/// How long the structure of the database may take to be checked.
const LONGEST_LOOK: Duration = Duration::from_secs(20);

/// What is in the home's database.
pub(super) type Database = Result<Option<Inspected>, StoreError>;

pub(super) async fn look(home: &Home) -> Database {
    inspect(&home.database(), Some(LONGEST_LOOK)).await
}

/// Whether it can be worked with.
pub(super) async fn check(home: &Home, found: &Database) -> Check {
    let damaged = match found {
        Ok(Some(Inspected { wrong: Some(wrong), .. })) => !wrong.is_empty(),
        Ok(_) => false,
        Err(error) => is_damaged(error),
    };
    let remedy = if damaged { remedy(home).await } else { String::new() };
    judge(home, found, remedy)
}

/// `remedy`: for a database that is damaged.
fn judge(home: &Home, found: &Database, remedy: String) -> Check {
    const NAME: &str = "database";
    let path = home.database();
    let shown = path.display();
    match found {
        Ok(None) => Check::ok(NAME, "nothing was said yet"),
        Ok(Some(Inspected { wrong: Some(wrong), .. })) if !wrong.is_empty() => {
            Check::failed(NAME, format!("{shown} is damaged: {}", wrong.join("; ")), remedy)
        }
        Ok(Some(Inspected { schema, wrong, .. })) => {
            let newest = newest_schema();
            let whole = if wrong.is_some() { "whole" } else { "too large to be checked in a short time" };
            let age = match schema < &newest {
                true => format!("schema {schema}; the next start brings it to {newest} and keeps a copy"),
                false => format!("schema {schema}"),
            };
            Check::ok(NAME, format!("{whole}, {age}"))
        }
        Err(error) if is_damaged(error) => Check::failed(NAME, error.to_string(), remedy),
        Err(error @ StoreError::Newer { .. }) => Check::failed(
            NAME,
            error.to_string(),
            "put the newer program back, or go back as docs/service.md says (\"A newer version, and the way back\")",
        ),
        Err(error) => Check::failed(
            NAME,
            error.to_string(),
            "`nanoclaw doctor --fix` mends modes and owners; look at the disk too",
        ),
    }
}

/// What to do about a damaged database of `home`: the last good backup, or what else there is. Reads backups.
pub(in crate::cli) async fn remedy(home: &Home) -> String {
    let folder = folder_of(home);
    let found = tokio::task::spawn_blocking(move || last_good(&folder)).await.ok().flatten();
    let (root, database) = (quoted(home.root()), quoted(&home.database()));
    match found {
        Some((path, label)) => format!(
            "`nanoclaw --home {root} backup restore {} --force` goes back to the last good backup, of {}; what is there now is \
             moved aside and nothing is deleted",
            quoted(&path),
            output::time(label.made_at_ms, &TimeZone::system()),
        ),
        None => format!(
            "there is no good backup in {}: restore one from elsewhere (`nanoclaw --home {root} backup restore FILE --force`), or \
             save what can be read with `sqlite3 {database} .recover`; nothing was changed",
            folder_of(home).display()
        ),
    }
}

/// By how much the clock may be behind what was written down before: clocks are set, and other machines' run ahead.
const BEHIND: Duration = Duration::from_secs(2 * 60);
/// No machine that this program runs on is before 2025.
const NO_EARLIER: Timestamp = Timestamp::from_ms(1_735_689_600_000);

/// Whether the clock can be right.
pub(super) fn clock(found: &Database, now: Timestamp, zone: &TimeZone) -> Check {
    const NAME: &str = "clock";
    const HELP: &str =
        "`sudo timedatectl set-ntp true` has the machine's clock set; tasks come at wrong times until it is right";
    let latest = found.as_ref().ok().and_then(Option::as_ref).and_then(|found| found.latest);
    let shown = output::time(now, zone);
    match latest {
        Some(latest) if now.plus(BEHIND) < latest => Check::failed(
            NAME,
            format!("it shows {shown}, and something was written down at {} already", output::time(latest, zone)),
            HELP,
        ),
        _ if now < NO_EARLIER => Check::failed(NAME, format!("it shows {shown}, which cannot be"), HELP),
        Some(_) => Check::ok(NAME, format!("it shows {shown}, and nothing was written down after that")),
        None => Check::ok(NAME, format!("it shows {shown}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Outcome;

    fn found(schema: i64, wrong: Option<&[&str]>, latest_ms: Option<i64>) -> Database {
        Ok(Some(Inspected {
            schema,
            wrong: wrong.map(|wrong| wrong.iter().map(|&line| line.to_owned()).collect()),
            install: None,
            latest: latest_ms.map(Timestamp::from_ms),
            groups: Vec::new(),
            open_runs: Vec::new(),
        }))
    }

    #[test]
    fn a_database_is_damaged_newer_older_or_well() {
        let home = Home::at("/h".as_ref()).unwrap();
        let judged = |found: &Database| judge(&home, found, "the backup".to_owned());
        let newest = newest_schema();
        assert_eq!(judged(&found(newest, Some(&[]), None)).outcome, Outcome::Ok);
        assert_eq!(judged(&found(newest, None, None)).outcome, Outcome::Ok, "it is merely large");
        assert!(judged(&found(newest - 1, Some(&[]), None)).detail.contains("keeps a copy"));
        let damaged = judged(&found(newest, Some(&["page 7 is never used"]), None));
        assert_eq!((damaged.outcome, damaged.help.as_deref()), (Outcome::Failed, Some("the backup")));
        assert!(damaged.detail.contains("/h/store/nanoclaw.db is damaged: page 7"), "{damaged:?}");
        let newer = StoreError::Newer { path: "/h".to_owned(), found: 99, known: newest };
        assert_eq!(judged(&Err(newer)).outcome, Outcome::Failed);
    }

    #[test]
    fn a_clock_before_what_was_written_down_is_wrong_and_a_little_is_nothing() {
        let now = Timestamp::from_ms(1_790_000_000_000);
        let outcome = |latest| clock(&found(11, None, latest), now, &TimeZone::UTC).outcome;
        assert_eq!(outcome(Some(now.as_ms() + 119_000)), Outcome::Ok);
        assert_eq!(outcome(Some(now.as_ms() + 121_000)), Outcome::Failed);
        assert_eq!([outcome(None), outcome(Some(0))], [Outcome::Ok; 2]);
        assert_eq!(clock(&Ok(None), Timestamp::from_ms(0), &TimeZone::UTC).outcome, Outcome::Failed);
    }
}
