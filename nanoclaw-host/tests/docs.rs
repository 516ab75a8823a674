//! What the documentation says of the code is true.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn every_test_that_the_table_of_faults_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let table = fs::read_to_string(root.join("docs/reliability.md")).unwrap();
    let named: Vec<&str> = table.split('`').skip(1).step_by(2).filter(|name| is_name_of_a_fault(name)).collect();
    assert!(named.len() > 60, "only {} names were found in the table", named.len());

    let mut code = String::new();
    for part in ["nanoclaw-core", "nanoclaw-host", "agent-runner"] {
        read_all(&root.join(part), &mut code);
    }
    let missing: Vec<&str> = named.into_iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "docs/reliability.md names tests that do not exist: {missing:#?}");
}

/// `f` and digits, then a sentence: the name of a test that guards a fault.
fn is_name_of_a_fault(name: &str) -> bool {
    let number = name.strip_prefix('f').and_then(|rest| rest.split_once('_'));
    number.is_some_and(|(digits, _)| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The text of all Rust files under `folder`.
fn read_all(folder: &Path, code: &mut String) {
    let entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in entries {
        if path.is_dir() {
            read_all(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
