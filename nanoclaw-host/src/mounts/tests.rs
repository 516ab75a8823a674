use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    time::Duration,
};

use nanoclaw_core::{
    mounts::{Guard, Kind},
    runtime::Access,
};
use proptest::prelude::*;

use super::*;
use crate::config::Setting;

/// A user's home with `projects/site`, an allowlist, and an installation at `nanoclaw`.
struct House {
    folder: tempfile::TempDir,
    config: MountsConfig,
    home: Home,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let me = folder.path().canonicalize().unwrap();
        let config = MountsConfig {
            project: Setting::default_to(None),
            allowlist: Some(me.join(".config/nanoclaw/mount-allowlist.json")),
            user_home: Some(me.clone()),
        };
        let home = Home::at(&me.join("nanoclaw")).unwrap();
        let house = Self { folder, config, home };
        for folder in ["projects/site", "private", ".config/nanoclaw", "nanoclaw/store/ipc"] {
            fs::create_dir_all(house.path(folder)).unwrap();
        }
        fs::write(house.path("projects/note.md"), "hello").unwrap();
        house.allowlist(r#"{"allowedRoots":[{"path":"~/projects","allowReadWrite":true}],"nonMainReadOnly":false}"#);
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.config.user_home.as_ref().unwrap().join(name)
    }

    fn allowlist(&self, text: &str) {
        let file = self.config.allowlist.as_ref().unwrap();
        fs::write(file, text).unwrap();
        fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
    }

    fn judge(&self) -> Judge<'_> {
        Judge { config: &self.config, home: &self.home, runtime: None, own_mounts: true }
    }

    fn verdict(&self, host: &str) -> Result<Accepted, Refusal> {
        self.judge().all(&[request(host)], GroupRole::Ordinary).pop().unwrap().verdict
    }

    fn refused(&self, host: &str) -> Refusal {
        self.verdict(host).map(|accepted| accepted.granted).unwrap_err()
    }
}

fn request(host: &str) -> MountRequest {
    MountRequest { host: host.to_owned(), name: Some("x".to_owned()), access: Access::ReadOnly, hide_secrets: false }
}

fn names(found: &[Hidden]) -> Vec<String> {
    found.iter().map(|hidden| format!("{}{}", hidden.path.display(), if hidden.folder { "/" } else { "" })).collect()
}

#[test]
fn what_is_allowed_is_held_by_its_real_path_and_the_kernels_numbers() {
    let house = House::new();
    let accepted = house.verdict("~/projects//site/../site").unwrap();
    assert_eq!(accepted.opened.found.path, house.path("projects/site"));
    assert_eq!((accepted.granted.root.as_str(), accepted.opened.found.kind), ("~/projects", Kind::Folder));
    let found = fs::metadata(house.path("projects/site")).unwrap();
    assert_eq!(accepted.opened.id.inode, std::os::unix::fs::MetadataExt::ino(&found));
    assert_eq!(house.verdict("~/projects/note.md").unwrap().opened.found.kind, Kind::File, "files can be mounted too");
}

#[test]
fn a_link_is_judged_by_what_it_leads_to() {
    let house = House::new();
    symlink(house.path("private"), house.path("projects/out")).unwrap();
    symlink(house.path("projects/site"), house.path("private/in")).unwrap();
    symlink("/proc/self/root", house.path("projects/magic")).unwrap();
    for host in ["~/projects/out", "~/projects/site/../../private", "~/projects/.."] {
        assert!(matches!(house.refused(host), Refusal::NotUnderAllowedRoot { .. } | Refusal::Guarded { .. }), "{host}");
    }
    assert_eq!(house.verdict("~/private/in").unwrap().opened.found.path, house.path("projects/site"));
    assert!(matches!(house.refused("~/projects/magic/etc"), Refusal::NotThere { .. }), "a door of the kernel's");
}

#[test]
fn what_is_not_there_or_no_path_is_told_as_that() {
    let house = House::new();
    assert!(matches!(house.refused("~/projects/nope"), Refusal::NotThere { .. }));
    for host in ["projects/site", "~root/x", "", "/srv/a\nb"] {
        assert!(matches!(house.refused(host), Refusal::BadPath { .. }), "{host:?}");
    }
}

#[test]
fn a_fifo_or_a_socket_is_refused_and_holds_nobody_up() {
    let house = House::new();
    let fifo = house.path("projects/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(house.path("projects/socket")).unwrap();
    for host in ["~/projects/pipe", "~/projects/socket"] {
        assert_eq!(house.refused(host), Refusal::NeitherFolderNorFile, "{host}");
    }
}

#[test]
fn f69_nanoclaws_own_folders_the_system_and_engines_are_refused_whatever_is_allowed() {
    let house = House::new();
    house.allowlist(r#"{"allowedRoots":[{"path":"/"}]}"#);
    symlink(house.path("nanoclaw/store"), house.path("projects/store")).unwrap();
    for host in ["~", "~/nanoclaw", "~/nanoclaw/store/ipc", "~/projects/store", "/", "~/nanoclaw/../nanoclaw/store"] {
        assert!(matches!(house.refused(host), Refusal::Guarded { what: Guard::Home, .. }), "{host}");
    }
    assert!(matches!(house.refused("~/.config"), Refusal::Guarded { what: Guard::Private, .. }));
    assert!(matches!(
        house.refused("/proc/self"),
        Refusal::Guarded { what: Guard::System, .. } | Refusal::NotThere { .. }
    ));
    for run in ["/run", "/var/run"] {
        assert!(matches!(house.refused(run), Refusal::Guarded { what: Guard::Engine, .. }), "{run}");
    }
}

#[test]
fn f69_without_a_well_formed_allowlist_of_the_owners_nothing_is_allowed() {
    let house = House::new();
    let file = house.config.allowlist.clone().unwrap();
    for (text, part) in [
        ("", "not JSON"),
        ("[]", "must be an object"),
        ("{}", "allowedRoots"),
        (r#"{"allowedRoots":[],"allowdRoots":[]}"#, "did you mean \"allowedRoots\"?"),
        (r#"{"allowedRoots":[{"path":"~/projects","allowReadWrit":true}]}"#, "did you mean \"allowReadWrite\"?"),
        (r#"{"allowedRoots":[{"path":"projects"}]}"#, "must begin with /"),
        (r#"{"allowedRoots":[{}]}"#, "no \"path\""),
        (r#"{"allowedRoots":[],"blockedPatterns":["*"]}"#, "no pattern"),
        (r#"{"allowedRoots":[],"nonMainReadOnly":"yes"}"#, "true or false"),
    ] {
        house.allowlist(text);
        let refusal = house.refused("~/projects/site");
        assert!(matches!(refusal, Refusal::BadAllowlist { .. }) && refusal.to_string().contains(part), "{refusal}");
    }
    house.allowlist(r#"{"allowedRoots":[{"path":"~/projects"}]}"#);
    assert!(house.verdict("~/projects/site").is_ok(), "a change holds at once");
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        assert!(house.refused("~/projects/site").to_string().contains("chmod go-w"), "{mode:o}");
    }
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(house.verdict("~/projects/site").is_ok(), "v1 wrote it so, and others may read it");
    fs::set_permissions(file.parent().unwrap(), PermissionsExt::from_mode(0o777)).unwrap();
    assert!(house.refused("~/projects/site").to_string().contains("chmod go-w"), "others could replace it");
    fs::set_permissions(file.parent().unwrap(), PermissionsExt::from_mode(0o700)).unwrap();
    fs::remove_file(&file).unwrap();
    assert!(matches!(house.refused("~/projects/site"), Refusal::NoAllowlist { .. }), "and so does its removal");
}

#[test]
fn the_list_is_made_added_to_and_changed_without_losing_what_is_in_it() {
    let house = House::new();
    let file = house.config.allowlist.clone().unwrap();
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
    let site = house.path("projects/site");
    assert_eq!(allow(&house.config, &site, Access::ReadOnly).unwrap().1, Allowed::Added);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(house.verdict("~/projects/site").is_ok());

    house.allowlist(r#"{"allowedRoots":[{"path":"~/projects/site","description":"mine"}],"blockedPatterns":["x-*"]}"#);
    assert_eq!(allow(&house.config, &site, Access::ReadOnly).unwrap().1, Allowed::Unchanged);
    assert_eq!(allow(&house.config, &site, Access::ReadWrite).unwrap().1, Allowed::Changed);
    let text = fs::read_to_string(&file).unwrap();
    for part in ["mine", "x-*", "~/projects/site", "\"allowReadWrite\": true"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    house.allowlist("{");
    assert!(allow(&house.config, &site, Access::ReadOnly).is_err(), "a list with a mistake is not overwritten");
    assert_eq!(fs::read_to_string(&file).unwrap(), "{");
}

#[test]
fn two_mounts_of_one_name_are_not_both_mounted() {
    let house = House::new();
    let judged = house.judge().all(&[request("~/projects/site"), request("~/projects/note.md")], GroupRole::Main);
    assert!(judged[0].verdict.is_ok());
    assert!(matches!(judged[1].verdict, Err(Refusal::NameTaken { .. })));
}

#[test]
fn secrets_are_found_by_their_names_and_no_link_is_followed_out() {
    let house = House::new();
    let site = house.path("projects/site");
    for folder in ["deep/er", ".ssh", "dir.pem"] {
        fs::create_dir_all(site.join(folder)).unwrap();
    }
    for file in [".env", ".env.example", "deep/er/tls.key", ".ssh/id_rsa", "real", "index.html", "private/x.pem"] {
        if let Some(parent) = site.join(file).parent() {
            fs::create_dir_all(parent).unwrap();
        }
        fs::write(site.join(file), "s").unwrap();
    }
    fs::write(house.path("private/out.pem"), "s").unwrap();
    symlink("../../private", site.join("elsewhere")).unwrap();
    symlink("real", site.join(".npmrc")).unwrap();
    symlink("../../private/out.pem", site.join("deep/link.pem")).unwrap();
    symlink(".", site.join("round")).unwrap();

    let accepted = house.verdict("~/projects/site").unwrap();
    let found = search(&accepted.opened, Bounds::OF_A_CHECK, |_| false);
    assert_eq!(names(&found.found), [".env", ".ssh/", "deep/er/tls.key", "dir.pem/", "private/x.pem", "real"]);
    assert_eq!(found.gave_up, None);
    let bounds = Bounds { entries: 3, ..Bounds::OF_A_CHECK };
    assert!(search(&accepted.opened, bounds, |_| false).gave_up.is_some(), "it says when it did not see everything");
    let bounds = Bounds { found: 2, ..Bounds::OF_A_CHECK };
    assert!(search(&accepted.opened, bounds, |_| false).gave_up.is_some());

    let hiding = MountRequest { hide_secrets: true, ..request("~/projects/site") };
    let judged = house.judge().all(std::slice::from_ref(&hiding), GroupRole::Main).pop().unwrap();
    assert_eq!(judged.verdict.unwrap().hidden, found.found);
    for number in 0..=Bounds::OF_A_START.found {
        fs::write(site.join(format!("{number}.pem")), "").unwrap();
    }
    let judged = house.judge().all(&[hiding], GroupRole::Main).pop().unwrap();
    assert!(matches!(judged.verdict, Err(Refusal::CannotHide { .. })), "rather not at all than half of it");
}

#[test]
fn a_search_of_a_large_folder_ends_in_time() {
    let house = House::new();
    for number in 0..2000 {
        fs::write(house.path("projects/site").join(number.to_string()), "").unwrap();
    }
    let accepted = house.verdict("~/projects/site").unwrap();
    let bounds = Bounds { time: Duration::ZERO, ..Bounds::OF_A_CHECK };
    assert!(search(&accepted.opened, bounds, |_| false).gave_up.is_some());
}

#[test]
fn f65_the_project_is_for_the_main_group_alone_with_secrets_and_our_own_state_covered() {
    let mut house = House::new();
    assert!(house.judge().project(GroupRole::Main).is_none(), "nobody asked for one");
    house.config.project.value = Some(house.path(""));
    assert!(
        matches!(house.judge().project(GroupRole::Main), Some(Err(Refusal::Guarded { what: Guard::Private, .. }))),
        "the security configuration lies in it"
    );

    fs::create_dir_all(house.path("work/nanoclaw/store/ipc")).unwrap();
    fs::create_dir_all(house.path("work/app")).unwrap();
    fs::write(house.path("work/app/.env"), "s").unwrap();
    fs::write(house.path("work/nanoclaw/.env"), "s").unwrap();
    house.config.project.value = Some(house.path("work"));
    assert!(house.judge().project(GroupRole::Ordinary).is_none());
    // A home in the project is covered as a whole; one that is the project, in what is private of it.
    house.home = Home::at(&house.path("work/nanoclaw")).unwrap();
    let project = house.judge().project(GroupRole::Main).unwrap().unwrap();
    assert_eq!(names(&project.hidden), ["app/.env", "nanoclaw/"]);
    house.config.project.value = Some(house.path("work/nanoclaw"));
    let project = house.judge().project(GroupRole::Main).unwrap().unwrap();
    assert_eq!(names(&project.hidden), [".env", "store/"]);
    house.config.project.value = Some(house.path("work/nanoclaw/store/ipc"));
    assert!(matches!(house.judge().project(GroupRole::Main), Some(Err(Refusal::Guarded { what: Guard::Home, .. }))));
}

#[test]
fn a_bind_mount_of_our_own_folders_is_known_for_what_it_is() {
    let house = House::new();
    let bound = house.path("projects/bound");
    fs::create_dir_all(bound.join("inner")).unwrap();
    if rustix::mount::mount_bind(house.path("nanoclaw/store"), bound.join("inner")).is_err() {
        println!("skipped: needs to be allowed to mount");
        return;
    }
    let (inner, outer) = (house.verdict("~/projects/bound/inner"), house.verdict("~/projects/bound"));
    let within = house.verdict("~/projects/bound/inner/ipc");
    rustix::mount::unmount(bound.join("inner"), rustix::mount::UnmountFlags::DETACH).unwrap();
    for verdict in [inner, outer, within] {
        assert!(matches!(verdict, Err(Refusal::Guarded { what: Guard::Home, .. })), "{verdict:?}");
    }
    assert!(house.verdict("~/projects/bound").is_ok(), "without the mount it is a folder like any other");
    assert!(house.folder.path().exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_outside_the_roots_is_accepted_whatever_the_path_and_its_links(
        parts in prop::collection::vec(prop::sample::select(vec!["..", ".", "", "projects", "site", "out", "up", "private"]), 0..8)
    ) {
        let house = House::new();
        symlink(house.path("private"), house.path("projects/out")).unwrap();
        symlink("..", house.path("projects/site/up")).unwrap();
        symlink("../..", house.path("projects/up")).unwrap();
        let host = format!("~/{}", parts.join("/"));
        if let Ok(accepted) = house.verdict(&host) {
            let real = house.path(parts.join("/").trim_start_matches('/')).canonicalize().unwrap();
            prop_assert_eq!(&accepted.opened.found.path, &real);
            prop_assert!(real.starts_with(house.path("projects")), "{}", host);
        }
    }
}
