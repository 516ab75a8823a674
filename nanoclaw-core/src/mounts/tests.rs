use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap()
}

fn root(path: &str, access: Access) -> AllowedRoot {
    AllowedRoot { written: path.to_owned(), path: Some(path.into()), access }
}

fn allowlist(roots: &[(&str, Access)]) -> Allowlist {
    let roots = roots.iter().map(|(path, access)| root(path, *access)).collect();
    Allowlist { roots, blocked: Vec::new(), non_main_read_only: false }
}

fn request(host: &str, access: Access) -> MountRequest {
    MountRequest { host: host.to_owned(), name: None, access, hide_secrets: false }
}

fn folder(path: &str) -> Found {
    Found { path: path.into(), kind: Kind::Folder, places: Vec::new() }
}

fn guarded() -> Vec<Guarded> {
    let at = |what, path: &str, device: &str, inner: &str| Guarded {
        what,
        path: path.into(),
        place: Some(Place { device: device.to_owned(), path: inner.into() }),
    };
    vec![
        at(Guard::Home, "/home/me/nanoclaw", "8:1", "/me/nanoclaw"),
        at(Guard::Engine, "/run/docker.sock", "0:9", "/docker.sock"),
        at(Guard::System, "/proc", "0:5", "/"),
    ]
}

/// The verdict on reading `path`, with `/home/me/projects` allowed.
fn verdict(path: &str) -> Result<Granted, Refusal> {
    let list = allowlist(&[("/home/me/projects", Access::ReadWrite)]);
    judge(&request(path, Access::ReadOnly), &folder(path), &list, &[], GroupRole::Ordinary)
}

#[test]
fn every_pattern_of_ours_is_one() {
    for text in BLOCKED.iter().chain(SECRETS) {
        assert!(Pattern::new(text).is_ok(), "{text}");
    }
}

#[test]
fn f69_names_are_blocked_as_a_whole_and_not_when_they_have_a_blocked_piece() {
    for path in ["credentials-ui", "my.environment", "x.sshow", ".envoy", "docs/id_rsa_howto", "keys", "monkey"] {
        let path = format!("/home/me/projects/{path}");
        assert!(verdict(&path).is_ok(), "{path}: {:?}", verdict(&path));
    }
    for (path, part) in [
        (".ssh", ".ssh"),
        ("x/.ssh/keys", ".ssh"),
        (".env", ".env"),
        (".env.local", ".env.local"),
        (".ENV", ".ENV"),
        ("server.pem", "server.pem"),
        ("deploy-service-account.json", "deploy-service-account.json"),
        ("id_ed25519", "id_ed25519"),
        ("credentials", "credentials"),
        (".config/gcloud", ".config/gcloud"),
        (".aws/x", ".aws"),
    ] {
        let path = format!("/home/me/projects/{path}");
        match verdict(&path) {
            Err(Refusal::Blocked { part: found, built_in: true, .. }) => assert_eq!(found, part),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn patterns_of_the_owner_may_have_wildcards() {
    let mut list = allowlist(&[("/srv", Access::ReadOnly)]);
    list.blocked = vec![pattern("*secret*"), pattern("data/priv?te")];
    let judged = |path: &str| judge(&request(path, Access::ReadOnly), &folder(path), &list, &[], GroupRole::Main);
    assert!(judged("/srv/data").is_ok() && judged("/srv/private").is_ok());
    for path in ["/srv/my-secret-plans/x", "/srv/data/private", "/srv/data/PRIVATE/x"] {
        assert!(matches!(judged(path), Err(Refusal::Blocked { built_in: false, .. })), "{path}");
    }
    for text in ["", "/", "*", "**", "?", "a//b", "..", "../x"] {
        assert!(Pattern::new(text).is_err(), "{text}");
    }
}

#[test]
fn writing_needs_the_wish_the_root_and_the_role() {
    for (asked, allowed, non_main_read_only, role, comes_out) in [
        (Access::ReadOnly, Access::ReadWrite, false, GroupRole::Main, Access::ReadOnly),
        (Access::ReadWrite, Access::ReadWrite, false, GroupRole::Main, Access::ReadWrite),
        (Access::ReadWrite, Access::ReadWrite, false, GroupRole::Ordinary, Access::ReadWrite),
        (Access::ReadWrite, Access::ReadOnly, false, GroupRole::Main, Access::ReadOnly),
        (Access::ReadWrite, Access::ReadWrite, true, GroupRole::Ordinary, Access::ReadOnly),
        (Access::ReadWrite, Access::ReadWrite, true, GroupRole::Main, Access::ReadWrite),
    ] {
        let list = Allowlist { non_main_read_only, ..allowlist(&[("/srv", allowed)]) };
        let granted = judge(&request("/srv/x", asked), &folder("/srv/x"), &list, &[], role).unwrap();
        assert_eq!(granted.access, comes_out);
        assert_eq!(granted.reduced.is_some(), asked != comes_out, "who gets less is told why");
    }
}

#[test]
fn the_deepest_root_decides_and_of_the_same_one_the_stricter() {
    let list = allowlist(&[("/srv", Access::ReadWrite), ("/srv/photos", Access::ReadOnly)]);
    let access = |list: &Allowlist, path: &str| {
        judge(&request(path, Access::ReadWrite), &folder(path), list, &[], GroupRole::Main).unwrap().access
    };
    assert_eq!(access(&list, "/srv/photos/2026"), Access::ReadOnly);
    assert_eq!(access(&list, "/srv/photosets"), Access::ReadWrite, "a root is a folder, not the beginning of a name");
    let twice = allowlist(&[("/srv", Access::ReadOnly), ("/srv", Access::ReadWrite)]);
    assert_eq!(access(&twice, "/srv/x"), Access::ReadOnly);
}

#[test]
fn f69_what_is_guarded_is_refused_by_every_path_whatever_is_allowed() {
    let list = allowlist(&[("/", Access::ReadWrite)]);
    let judged = |found: &Found| {
        let host = found.path.to_str().unwrap();
        let request = MountRequest { name: Some("x".to_owned()), ..request(host, Access::ReadOnly) };
        judge(&request, found, &list, &guarded(), GroupRole::Main)
    };
    for path in ["/", "/home", "/home/me", "/home/me/nanoclaw", "/home/me/nanoclaw/store/ipc", "/run", "/proc/1"] {
        assert!(matches!(judged(&folder(path)), Err(Refusal::Guarded { .. })), "{path}");
    }
    assert!(judged(&folder("/home/me/nanoclaw-site")).is_ok());
    let bound = |inner: &str| Found {
        places: vec![
            Place { device: "8:2".to_owned(), path: "/x".into() },
            Place { device: "8:1".to_owned(), path: inner.into() },
        ],
        ..folder("/mnt/elsewhere")
    };
    assert!(matches!(judged(&bound("/me")), Err(Refusal::Guarded { what: Guard::Home, .. })), "a bind of its parent");
    assert!(judged(&bound("/me/nanoclaw/groups")).is_err(), "a bind of a part of it");
    assert!(judged(&bound("/me/other")).is_ok());
}

#[test]
fn f69_where_our_own_program_lies_can_be_read_and_not_written() {
    let list = allowlist(&[("/home/me", Access::ReadWrite)]);
    let path = PathBuf::from("/home/me/.local/bin/nanoclaw");
    let guards = [Guarded { what: Guard::Program, path: path.clone(), place: None }];
    let granted =
        |host: &str| judge(&request(host, Access::ReadWrite), &folder(host), &list, &guards, GroupRole::Main).unwrap();
    for host in ["/home/me/.local/bin", "/home/me/.local", "/home/me/.local/bin/nanoclaw"] {
        assert_eq!(granted(host).reduced, Some(Reduced::Program { path: path.clone() }), "{host}");
        assert_eq!(granted(host).access, Access::ReadOnly);
    }
    assert_eq!(granted("/home/me/.local/share").access, Access::ReadWrite);
}

#[test]
fn f35_a_name_inside_is_one_plain_name() {
    for name in ["", ".", "..", "a/b", "/a", "../a", "a:ro", "a:/etc", "a\nb", "a\0b", "a,b", "a\"b"] {
        let request = MountRequest { name: Some(name.to_owned()), ..request("/srv/x", Access::ReadOnly) };
        assert!(matches!(name_of(&request), Err(Refusal::BadName { .. })), "{name:?}");
    }
    for host in ["/", "~", "/srv/..", "/srv/a:b"] {
        let name = name_of(&request(host, Access::ReadOnly));
        assert!(host == "~" || name.is_err(), "{host}: {name:?}");
    }
    assert_eq!(name_of(&request("/srv/site/", Access::ReadOnly)).unwrap(), "site");
    assert_eq!(name_of(&request("/srv/Grüße 2", Access::ReadOnly)).unwrap(), "Grüße 2");
}

#[test]
fn what_is_neither_folder_nor_file_is_refused() {
    let list = allowlist(&[("/srv", Access::ReadOnly)]);
    let found = Found { kind: Kind::Other, ..folder("/srv/x") };
    let judged = judge(&request("/srv/x", Access::ReadOnly), &found, &list, &[], GroupRole::Main);
    assert_eq!(judged, Err(Refusal::NeitherFolderNorFile));
}

#[test]
fn a_refusal_says_what_decided() {
    let told = verdict("/etc/passwd").unwrap_err().to_string();
    assert_eq!(told, "/etc/passwd is under no allowed root; there are /home/me/projects");
    let told = verdict("/home/me/projects/.ssh").unwrap_err().to_string();
    assert_eq!(told, "\".ssh\" in its path is always blocked (pattern \".ssh\")");
}

#[test]
fn samples_of_secrets_are_no_secrets() {
    let secret = secrets();
    for path in [".env", "a/.env.production", "key.pem", "a/.ssh", "a/.aws/credentials"] {
        assert!(secret(Path::new(path)), "{path}");
    }
    for path in [".env.example", "src/environment.rs", "keys.md", "a/.ssh/known_hosts"] {
        assert!(!secret(Path::new(path)), "{path}");
    }
}

proptest! {
    #[test]
    fn no_path_outside_the_roots_is_ever_accepted(path in r"(/|[a-c]|\.\.|\.|srv|x){1,12}") {
        let list = allowlist(&[("/srv/a", Access::ReadWrite), ("/b", Access::ReadOnly)]);
        let request = MountRequest { name: Some("x".to_owned()), ..request("/x", Access::ReadWrite) };
        if judge(&request, &folder(&path), &list, &guarded(), GroupRole::Main).is_ok() {
            // Judged again by text alone: absolute, not upwards anywhere, and below a root by whole parts.
            let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
            prop_assert!(path.starts_with('/') && !parts.contains(&".."), "{path}");
            prop_assert!(parts.starts_with(&["srv", "a"]) || parts.starts_with(&["b"]), "{path}");
        }
    }

    #[test]
    fn a_pattern_without_wildcards_fits_exactly_its_own_parts(parts in prop::collection::vec("[a-z.]{1,6}", 1..5), name in "[a-z.]{1,6}") {
        prop_assume!(name != "." && name != "..");
        let path = Path::new("/").join(parts.join("/"));
        let seen: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        prop_assert_eq!(pattern(&name).part_of(&path).is_some(), seen.contains(&name));
    }

    #[test]
    fn wildcards_mean_what_they_say(text in "[ab]{0,8}", before in "[ab]{0,3}", after in "[ab]{0,3}") {
        prop_assume!(!before.is_empty() || !after.is_empty());
        prop_assume!(!text.is_empty());
        let expected = text.len() >= before.len() + after.len() && text.starts_with(&before) && text.ends_with(&after);
        let fits = pattern(&format!("{before}*{after}")).part_of(Path::new(&text)).is_some();
        prop_assert_eq!(fits, expected);
    }
}
