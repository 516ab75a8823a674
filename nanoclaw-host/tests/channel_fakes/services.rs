//! What stands around the client of a chat service in a test: a home with its credentials and spool, and stand-ins for the host.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use nanoclaw_core::{
    attachment::{OutgoingFile, SpoolName, SpooledFile},
    delivery::Delivery,
};
use nanoclaw_host::{
    config::{CredentialsConfig, environment_of},
    credentials::Credentials,
    files::{FileLimits, Spool},
};

use super::{FakeHost, FakeIntake};

/// All that a client is given but its service. Files have 1000 bytes at most, and a message two.
pub(crate) struct Surroundings {
    pub(crate) intake: Arc<FakeIntake>,
    pub(crate) host: Arc<FakeHost>,
    pub(crate) credentials: Credentials,
    pub(crate) spool: Arc<Spool>,
    pub(crate) home: tempfile::TempDir,
}

impl Surroundings {
    pub(crate) fn with(secrets: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        store_secrets(home.path(), secrets);
        Self::at(home)
    }

    /// What a host finds that starts where another one was.
    pub(crate) fn at(home: tempfile::TempDir) -> Self {
        let (intake, host) = (FakeIntake::new(), FakeHost::new());
        Self { intake, host, credentials: credentials_in(home.path()), spool: spool_in(home.path()), home }
    }
}

pub(crate) fn credentials_in(home: &Path) -> Credentials {
    let environment = environment_of([("XDG_CONFIG_HOME", home.to_str().unwrap())]);
    let (mut mistakes, mut remarks) = (Vec::new(), Vec::new());
    let credentials = Credentials::read(&environment, &CredentialsConfig::default(), &mut mistakes, &mut remarks);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    credentials
}

fn spool_in(home: &Path) -> Arc<Spool> {
    let limits = FileLimits { file_bytes: 1000, per_message: 2, spool_bytes: 1 << 20, out_bytes: 1 << 20 };
    Arc::new(Spool::open(&home.join("files"), limits).unwrap())
}

pub(crate) fn store_secrets(home: &Path, secrets: &[(&str, &str)]) {
    let folder = home.join("nanoclaw");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(home, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let file = folder.join("credentials");
    fs::write(&file, secrets.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A text that goes out in several pieces, of so many lines.
pub(crate) fn long_text(lines: usize) -> String {
    (0..lines).map(|number| format!("This is line {number} of a long answer.\n\n")).collect()
}

/// Every line of [`long_text`] is in `posted`, once.
pub(crate) fn is_whole(posted: &[String], lines: usize) {
    for number in 0..lines {
        let line = format!("This is line {number} of a long answer.");
        assert_eq!(posted.iter().filter(|piece| piece.contains(&line)).count(), 1, "{line}");
    }
}

/// `delivery` with the file `report.txt`, which is in the spool.
pub(crate) fn with_report(delivery: Delivery, spool: &Spool, content: &[u8]) -> Delivery {
    with_file(delivery, spool, ("report.txt", "text/plain"), content)
}

/// `delivery` with a file of this name and media type, which is in the spool.
pub(crate) fn with_file(delivery: Delivery, spool: &Spool, (name, kind): (&str, &str), content: &[u8]) -> Delivery {
    let (spool_name, bytes) = (SpoolName::new("00ff").unwrap(), content.len() as u64);
    let spooled = SpooledFile { spool: spool_name, media_type: kind.to_owned(), bytes };
    let file = OutgoingFile::new("family".parse().unwrap(), &format!("out/{name}"), spooled);
    let path = spool.path_of(&file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    Delivery { file: Some(file), ..delivery }
}
