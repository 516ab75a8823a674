//! Mounts whose sources the host holds: what was checked is what is mounted, whatever becomes of the path meanwhile.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, open, renameat_with};

use super::*;

/// What somebody holds who has opened and checked it, without being able to read it.
fn hold(path: &Path) -> Arc<OwnedFd> {
    Arc::new(open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap())
}

/// A folder with a text in it, or the file with the text.
fn make(bench: &Bench, path: &Path, folder: bool, text: &str) {
    let file = if folder { path.join("text") } else { path.to_owned() };
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    for made in [path, &file] {
        chown(made, Some(bench.user.uid), Some(bench.user.gid)).unwrap();
    }
}

/// A container that shows what is mounted and, in a folder, leaves a mark.
fn showing(bench: &Bench, source: &Path, folder: bool) -> ContainerSpec {
    let script = if folder { "cat /extra/it/text; echo x > /extra/it/mark" } else { "cat /extra/it" };
    let mut spec = bench.shell("held", script);
    let target = "/extra/it".to_owned();
    spec.held.insert(target.clone(), hold(source));
    let access = if folder { Access::ReadWrite } else { Access::ReadOnly };
    spec.mounts = vec![Mount { source: source.to_owned(), target, access }];
    spec
}

pub(super) async fn what_was_checked_is_mounted_whatever_became_of_its_path(bench: Bench) {
    for folder in [true, false] {
        for swap in
            ["nothing", "another in its place", "a link in its place", "a link in its parent's place", "nothing left"]
        {
            let top = bench.folder.path().join(format!("{folder} {swap}"));
            let (site, other, aside) = (top.join("projects/site"), top.join("other"), top.join("aside"));
            make(&bench, &site, folder, "the site\n");
            make(&bench, &other, folder, "a canary\n");
            let spec = showing(&bench, &site, folder);
            let now_at = match swap {
                "nothing" => site.clone(),
                "a link in its parent's place" => {
                    fs::rename(top.join("projects"), &aside).unwrap();
                    fs::create_dir(top.join("evil")).unwrap();
                    symlink(&other, top.join("evil/site")).unwrap();
                    symlink(top.join("evil"), top.join("projects")).unwrap();
                    aside.join("site")
                }
                _ => {
                    fs::rename(&site, &aside).unwrap();
                    match swap {
                        "another in its place" => fs::rename(&other, &site).unwrap(),
                        "a link in its place" => symlink(&other, &site).unwrap(),
                        _ => {}
                    }
                    aside
                }
            };
            let done = bench.run(&spec).await;
            assert_eq!((done.stdout.as_str(), done.exit), ("the site\n", Exit::Code(0)), "{folder} {swap}: {done:?}");
            assert!(!folder || now_at.join("mark").exists(), "{swap}: it wrote elsewhere");
        }
    }
}

pub(super) async fn what_was_removed_is_not_replaced_by_what_has_its_name(bench: Bench) {
    for folder in [true, false] {
        let site = bench.folder.path().join(format!("removed {folder}"));
        make(&bench, &site, folder, "the site\n");
        let spec = showing(&bench, &site, folder);
        if folder {
            fs::remove_dir_all(&site).unwrap()
        } else {
            fs::remove_file(&site).unwrap()
        }
        make(&bench, &site, folder, "a canary\n");
        match bench.runtime.start(&spec).await {
            Ok(container) => {
                container.stdin.close().await;
                let done = Done::of(container.output, container.exit).await;
                assert!(!done.stdout.contains("canary"), "{done:?}");
            }
            Err(error) => assert!(matches!(error, RuntimeError::BadMount { .. }), "{error}"),
        }
    }
}

pub(super) async fn a_race_for_the_path_is_lost(bench: Bench) {
    let (site, other) = (bench.folder.path().join("site"), bench.folder.path().join("other"));
    make(&bench, &site, true, "the site\n");
    make(&bench, &other, true, "a canary\n");
    let spec = showing(&bench, &site, true);
    /// Ends the swapping, also when the test fails.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = Arc::new(AtomicBool::new(false));
    let swapping = std::thread::spawn({
        let (site, other, done) = (site.clone(), other.clone(), done.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &site, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                std::thread::yield_now();
            }
        }
    });
    let ends = Ends(&done);
    for _ in 0..20 {
        match bench.runtime.start(&spec).await {
            Ok(container) => {
                container.stdin.close().await;
                let done = Done::of(container.output, container.exit).await;
                assert_eq!(done.stdout, "the site\n", "{done:?}");
            }
            // Bubblewrap mounts by path: by what was the right one a moment ago, and then we see that it is not.
            Err(error) => assert_eq!(bench.mode, SandboxMode::Bubblewrap, "{error}"),
        }
    }
    drop(ends);
    swapping.join().unwrap();
}

pub(super) async fn many_can_be_held_and_parts_of_them_covered(bench: Bench) {
    let mut spec = bench.shell(
        "many",
        "for i in $(seq 30); do cat /extra/$i/text; done; cat /extra/7/secret; grep extra /proc/self/mountinfo | wc -l",
    );
    for number in 1..=30 {
        let source = bench.folder.path().join(format!("many/{number}"));
        make(&bench, &source, true, &format!("{number} "));
        fs::write(source.join("secret"), "a canary").unwrap();
        let target = format!("/extra/{number}");
        // Every third is known by its path alone.
        if number % 3 != 0 {
            spec.held.insert(target.clone(), hold(&source));
        }
        spec.mounts.push(Mount { source, target, access: Access::ReadOnly });
    }
    let cover = Mount { source: "/dev/null".into(), target: "/extra/7/secret".to_owned(), access: Access::ReadOnly };
    spec.mounts.push(cover);
    let done = bench.run(&spec).await;
    let wanted: Vec<String> = (1..=30).map(|number| number.to_string()).collect();
    assert_eq!(done.stdout, format!("{} 31\n", wanted.join(" ")), "{done:?}");
    let ours = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!ours.contains("many/7"), "what is hung in there is seen on the host: {ours}");
    assert_eq!(fs::read_to_string(bench.folder.path().join("many/7/secret")).unwrap(), "a canary");
}

#[tokio::test]
async fn without_namespaces_a_swap_opens_nothing() {
    let Some(bench) = Bench::of(SandboxMode::LandlockOnly).await else { return };
    let (site, other) = (bench.folder.path().join("site"), bench.folder.path().join("other"));
    make(&bench, &site, true, "the site\n");
    make(&bench, &other, true, "a canary\n");
    let mut spec = showing(&bench, &site, true);
    let path = GuestValue::Path("/extra/it/text".to_owned());
    spec.command = vec!["cat".into(), path];
    let done = bench.run(&spec).await;
    assert_eq!(done.stdout, "the site\n", "{done:?}");
    renameat_with(CWD, &site, CWD, &other, RenameFlags::EXCHANGE).unwrap();
    let done = bench.run(&spec).await;
    assert!(done.stdout.is_empty() && done.stderr.contains("ermission denied"), "{done:?}");
}
