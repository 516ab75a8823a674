//! What stands around the client of a chat service in a test: a home with its credentials and spool, and stand-ins for the host.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use nanoclaw_core::{
    attachment::{OutgoingFile, SpoolName, SpooledFile},
    channel::{Channel, SendError},
    delivery::{Delivery, Sent},
    message::InboundMessage,
};
use nanoclaw_host::{
    channels::{
        ports::ServiceParts,
        status::{ChannelState, ChannelWatch},
    },
    config::{CredentialsConfig, environment_of},
    credentials::Credentials,
    files::{FileLimits, Spool},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{FakeHost, FakeIntake, soon};

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

    /// Has a client run in them: `start` is its channel's, `settings` how it is used.
    pub(crate) fn serve<S, F: Future<Output = ()> + Send + 'static>(
        self,
        settings: S,
        start: impl FnOnce(ServiceParts<S>, CancellationToken) -> (ChannelWatch, F),
    ) -> Served {
        let Self { intake, host, credentials, spool, home } = self;
        let parts = ServiceParts {
            settings,
            credentials: credentials.clone(),
            intake: intake.clone(),
            host: host.clone(),
            files: Some(spool.clone()),
        };
        let stop = CancellationToken::new();
        let (watch, keeping) = start(parts, stop.clone());
        Served { intake, host, credentials, watch, spool, stop, keeping: tokio::spawn(keeping), home }
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

/// A client that runs, and what it was given.
pub(crate) struct Served {
    pub(crate) intake: Arc<FakeIntake>,
    pub(crate) host: Arc<FakeHost>,
    pub(crate) credentials: Credentials,
    pub(crate) watch: ChannelWatch,
    pub(crate) spool: Arc<Spool>,
    pub(crate) stop: CancellationToken,
    pub(crate) keeping: JoinHandle<()>,
    pub(crate) home: tempfile::TempDir,
}

impl Served {
    pub(crate) async fn state(&self, what: &str, so: impl Fn(&ChannelState) -> bool) -> ChannelState {
        soon(what, self.watch.wait_for(so)).await.unwrap()
    }

    pub(crate) fn channel(&self) -> Arc<dyn Channel> {
        self.host.channel(self.watch.name.as_str())
    }

    pub(crate) async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        soon("the end of a send", self.channel().send(delivery)).await
    }

    /// The messages, when there are so many.
    pub(crate) async fn messages(&self, count: usize) -> Vec<InboundMessage> {
        self.intake.wait_for(count).await;
        self.intake.messages()
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        soon("the end", self.keeping).await.unwrap();
    }
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
