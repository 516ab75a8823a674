use std::{fs, sync::Weak};

use futures_util::FutureExt;

use super::*;

/// More than an event needs and less than [`RESCAN`].
const SOON: Duration = Duration::from_secs(4);

async fn told(watch: &mut FolderWatch) {
    tokio::time::timeout(SOON, watch.changed()).await.expect("an event is told long before the re-scan");
}

/// A watch whose first call is over.
async fn watch(watcher: &Watcher, folder: &Path) -> FolderWatch {
    let mut watch = watcher.watch(folder).unwrap();
    assert!(watch.changed().now_or_never().is_some(), "the first call returns at once");
    watch
}

#[tokio::test]
async fn a_file_that_is_renamed_or_created_in_the_folder_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let watcher = Watcher::new().unwrap();
    let mut watch = watch(&watcher, directory.path()).await;
    assert!(watch.changed().now_or_never().is_none(), "nothing happened yet");

    super::super::Folder::open(directory.path()).unwrap().write("a.json", b"").unwrap();
    told(&mut watch).await;
    fs::write(directory.path().join("_close"), "").unwrap();
    told(&mut watch).await;
}

#[tokio::test]
async fn what_happened_between_two_calls_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let watcher = Watcher::new().unwrap();
    let mut watched = watch(&watcher, directory.path()).await;
    let mut last = watch(&watcher, other.path()).await;
    for number in 0..100 {
        fs::create_dir(directory.path().join(number.to_string())).unwrap();
    }
    // Events come in order, so when this one is told, all of the others are.
    fs::create_dir(other.path().join("last")).unwrap();
    told(&mut last).await;
    assert!(watched.changed().now_or_never().is_some());
    assert!(watched.changed().now_or_never().is_none());
}

#[tokio::test]
async fn a_file_that_is_being_written_is_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let watcher = Watcher::new().unwrap();
    let mut watched = watch(&watcher, directory.path()).await;
    let mut last = watch(&watcher, other.path()).await;
    for name in [".a.json.tmp", "b.json.tmp"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    fs::create_dir(other.path().join("last")).unwrap();
    told(&mut last).await;
    assert!(watched.changed().now_or_never().is_none());
}

#[tokio::test]
async fn two_watches_of_one_folder_are_both_told_and_one_outlives_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let watcher = Watcher::new().unwrap();
    let mut one = watch(&watcher, directory.path()).await;
    let mut two = watch(&watcher, &directory.path().join(".")).await;
    fs::write(directory.path().join("a"), "").unwrap();
    told(&mut one).await;
    told(&mut two).await;
    drop(one);
    fs::write(directory.path().join("b"), "").unwrap();
    told(&mut two).await;
}

#[tokio::test]
async fn the_end_of_a_watch_is_the_end_of_the_kernels() {
    let directory = tempfile::tempdir().unwrap();
    let watcher = Watcher::new().unwrap();
    let one = watch(&watcher, directory.path()).await;
    let two = watch(&watcher, directory.path()).await;
    let (shared, descriptor) = one.kernel.clone().unwrap();
    drop(one);
    assert_eq!(lock(&shared.table).waiting.len(), 1);
    drop(two);
    assert_eq!(lock(&shared.table).waiting.len(), 0);
    assert!(shared.watches.clone().remove(descriptor).is_err(), "the kernel's watch is gone already");
}

#[tokio::test]
async fn a_folder_that_is_removed_ends_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let gone = directory.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let watcher = Watcher::new().unwrap();
    let mut one = watch(&watcher, &gone).await;
    let mut two = watch(&watcher, directory.path()).await;
    fs::remove_dir(&gone).unwrap();
    told(&mut one).await;
    drop(one);
    fs::create_dir(&gone).unwrap();
    told(&mut two).await;
}

#[tokio::test]
async fn a_link_or_a_file_is_not_watched() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(directory.path(), &link).unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let watcher = Watcher::new().unwrap();
    for name in ["link", "file", "missing"] {
        let error = watcher.watch(&directory.path().join(name)).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_events_the_folder_is_looked_at_again_after_a_while_however_often_the_wait_is_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let watcher = Watcher::new().unwrap();
    let mut watch = watch(&watcher, directory.path()).await;
    let started = Instant::now();
    let mut interruptions = 0;
    loop {
        tokio::select! {
            () = watch.changed() => break,
            () = tokio::time::sleep(Duration::from_millis(700)) => interruptions += 1,
        }
    }
    assert_eq!(interruptions, 7);
    assert!(started.elapsed() >= RESCAN && started.elapsed() < RESCAN + Duration::from_millis(10));
}

#[tokio::test]
async fn an_overflow_of_the_queue_is_told_to_all() {
    let Ok(most) = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events") else {
        eprintln!("skipped: needs /proc");
        return;
    };
    let most: usize = most.trim().parse().unwrap();
    if most > 100_000 {
        eprintln!("skipped: needs an event queue of usual length, not {most}");
        return;
    }
    let (busy, quiet) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let watcher = Watcher::new().unwrap();
    let mut told_of_all = watch(&watcher, quiet.path()).await;
    let _busy = watch(&watcher, busy.path()).await;
    // Nothing here awaits, so the worker of this one-threaded runtime reads nothing meanwhile. Two names take turns, since
    // equal events in a row count as one.
    for name in ["a", "b"] {
        fs::write(busy.path().join(name), "").unwrap();
    }
    for _ in 0..most {
        for name in ["a", "b"] {
            drop(fs::OpenOptions::new().append(true).open(busy.path().join(name)).unwrap());
        }
    }
    told(&mut told_of_all).await;
}

#[tokio::test]
async fn a_storm_in_a_folder_is_looked_at_now_and_then_and_others_are_told_at_once() {
    let (stormy, quiet) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let watcher = Watcher::new().unwrap();
    let mut in_storm = watch(&watcher, stormy.path()).await;
    let mut beside = watch(&watcher, quiet.path()).await;
    let rage = || {
        for _ in 0..STORM_EVENTS {
            for name in ["a.json", "b.json.tmp"] {
                drop(fs::OpenOptions::new().append(true).create(true).open(stormy.path().join(name)).unwrap());
            }
        }
    };
    for round in 0..3 {
        rage();
        fs::create_dir(quiet.path().join(round.to_string())).unwrap();
        told(&mut beside).await;
        assert!(in_storm.waiter.storm.load(Ordering::Relaxed), "round {round}");
        assert_eq!(
            lock(&watcher.shared.as_ref().unwrap().table).waiting.len(),
            1,
            "the kernel watches the other alone"
        );
        rage();
        let began = Instant::now();
        told(&mut in_storm).await;
        assert!(began.elapsed() >= STORM_PAUSE, "{:?}", began.elapsed());
        assert!(!in_storm.waiter.storm.load(Ordering::Relaxed));
    }
    fs::write(stormy.path().join("honest.json"), "").unwrap();
    told(&mut in_storm).await;
    drop(in_storm);
    assert_eq!(lock(&watcher.shared.as_ref().unwrap().table).waiting.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_paced_watch_tells_of_a_few_changes_at_once_and_then_twenty_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let watcher = Watcher::new().unwrap();
    let mut watch = watcher.watch(directory.path()).unwrap().paced();
    let began = Instant::now();
    for _ in 0..LOOKS_AT_ONCE {
        watch.look_again();
        assert!(watch.changed().now_or_never().is_some());
    }
    for _ in 0..100 {
        watch.look_again();
        watch.changed().await;
    }
    assert!(began.elapsed() >= LOOK_EVERY * 99, "{:?}", began.elapsed());
    watch.look_again();
    assert!(watch.changed().now_or_never().is_none());
    tokio::time::sleep(LOOK_EVERY).await;
    assert!(watch.changed().now_or_never().is_some(), "what was told is kept through calls that were cancelled");
}

#[tokio::test]
async fn the_worker_ends_with_the_last_handle() {
    let directory = tempfile::tempdir().unwrap();
    let watcher = Watcher::new().unwrap();
    let table: Weak<Mutex<Table>> = Arc::downgrade(&watcher.shared.as_ref().unwrap().table);
    let watch = watcher.clone().watch(directory.path()).unwrap();
    drop(watcher);
    tokio::task::yield_now().await;
    assert_eq!(table.strong_count(), 2, "a watch keeps the worker");
    drop(watch);
    tokio::time::timeout(SOON, async {
        while table.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the worker lets go of what it shared");
}

#[tokio::test(start_paused = true)]
async fn without_a_watch_the_folder_is_looked_at_several_times_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let watcher = Watcher { shared: None, rescan: RESCAN_WITHOUT_WATCH };
    let mut watch = watch(&watcher, folder.path()).await;
    let started = Instant::now();
    watch.changed().await;
    assert!(started.elapsed() >= RESCAN_WITHOUT_WATCH && started.elapsed() < Duration::from_millis(250));
}
