use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use super::*;
use crate::config::{Setting, environment_of};

/// A user with a folder of secrets, and what systemd hands over.
struct User {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
    settings: CredentialsConfig,
}

impl User {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        let variables = vec![("HOME".to_owned(), home), ("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        Self { folder, variables, settings: CredentialsConfig::default() }
    }

    fn private(&self) -> PathBuf {
        self.folder.path().join(".config/nanoclaw")
    }

    fn file(&self) -> PathBuf {
        self.private().join("credentials")
    }

    fn write(&self, text: &str) {
        private_file(&self.file(), text);
    }

    fn variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    fn systemd(&mut self, name: &str, text: &str) {
        let folder = self.folder.path().join("systemd");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
        if !self.variables.iter().any(|(name, _)| name == "CREDENTIALS_DIRECTORY") {
            self.variable("CREDENTIALS_DIRECTORY", &folder.to_string_lossy());
        }
    }

    fn command(&mut self, script: &str) {
        let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        self.settings.command = Setting::default_to(Some(words));
    }

    fn environment(&self) -> impl Environment + use<> {
        let pairs = self.variables.iter().map(|(name, value)| (name.clone(), value.into()));
        pairs.collect::<std::collections::BTreeMap<String, std::ffi::OsString>>()
    }

    fn read(&self) -> (Credentials, Vec<Mistake>, Vec<String>) {
        let (mut mistakes, mut remarks) = (Vec::new(), Vec::new());
        let credentials = Credentials::read(&self.environment(), &self.settings, &mut mistakes, &mut remarks);
        (credentials, mistakes, remarks)
    }

    fn good(&self) -> Credentials {
        let (credentials, mistakes, _) = self.read();
        assert_eq!(mistakes, []);
        credentials
    }

    /// The one mistake, which has no secret in it.
    fn refused(&self) -> String {
        let (credentials, mistakes, _) = self.read();
        assert_eq!(credentials.model(), None);
        let [mistake] = mistakes.as_slice() else { panic!("{mistakes:?}") };
        assert!(!format!("{mistake} {mistake:?}").contains("SECRET"), "{mistake}");
        mistake.to_string()
    }
}

fn private_file(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    mode(path, 0o600);
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn model(credentials: &Credentials) -> (String, String) {
    let credential = credentials.model().unwrap();
    (credential.secret.reveal().to_owned(), credential.source.to_string())
}

fn is(secret: &str, source: &str) -> (String, String) {
    (secret.to_owned(), source.to_owned())
}

#[tokio::test]
async fn the_first_source_that_has_a_model_credential_gives_it() {
    let mut user = User::new();
    user.command("echo ANTHROPIC_API_KEY=from-command; echo GITHUB_TOKEN=g");
    let credentials = user.good();
    let command = Origin::Command { program: "/bin/sh".to_owned() };
    assert_eq!(credentials.standing(), Standing::Expected(command), "it was not asked yet");
    credentials.reload(Ask::Everything).await.unwrap();
    assert_eq!(model(&credentials), is("from-command", "command /bin/sh"));

    user.write("CLAUDE_CODE_OAUTH_TOKEN=from-file\nSLACK_BOT_TOKEN=s\n");
    let credentials = user.good();
    credentials.reload(Ask::Everything).await.unwrap();
    assert_eq!(model(&credentials), is("from-file", "credentials:1"));
    assert_eq!(
        credentials.secret_named("GITHUB_TOKEN"),
        Some(Secret::new("g")),
        "other secrets are there all the same"
    );
    assert_eq!(credentials.secret_named("ANTHROPIC_API_KEY"), Some(Secret::new("from-command")));

    user.systemd("anthropic-auth-token", "from-systemd\n");
    assert_eq!(model(&user.good()), is("from-systemd", "systemd credential anthropic-auth-token"));

    user.variable("CLAUDE_CODE_OAUTH_TOKEN", "from-environment");
    assert_eq!(model(&user.good()), is("from-environment", "environment variable CLAUDE_CODE_OAUTH_TOKEN"));
}

#[test]
fn secrets_are_found_by_name_in_every_source_and_the_first_wins() {
    let mut user = User::new();
    user.write("ONE=file\nTWO=file\nTHREE=file\n");
    user.systemd("TWO", "systemd");
    user.systemd("three", "systemd");
    user.variable("THREE", "environment");
    user.variable("four", "environment");
    user.variable("FIVE", "two words");
    let credentials = user.good();
    let secret = |name| credentials.secret_named(name).map(|secret| secret.reveal().to_owned());
    assert_eq!(secret("ONE").as_deref(), Some("file"));
    assert_eq!(secret("TWO").as_deref(), Some("systemd"));
    assert_eq!(secret("THREE").as_deref(), Some("environment"));
    for name in ["four", "FOUR", "FIVE", "NONE", "", "A B"] {
        assert_eq!(secret(name), None, "{name}");
    }
    assert_eq!(credentials.model(), None);
    assert!(credentials.found("ONE").unwrap().since.is_some());
}

#[test]
fn nothing_is_shown_of_a_secret_by_any_way_of_printing() {
    let mut user = User::new();
    user.write("ANTHROPIC_API_KEY=TOPSECRET\nOTHER=TOPSECRET\n");
    user.command("echo KEY=TOPSECRET");
    let credentials = user.good();
    let view = crate::admin::types::CredentialsView::of(&credentials);
    let json = serde_json::to_string(&view).unwrap();
    for shown in [format!("{credentials:?}"), format!("{:#?}", credentials.all()), format!("{view:?}"), json] {
        assert!(!shown.contains("SECRET") && shown.contains("OTHER"), "{shown}");
    }
    let fingerprint = view.model.as_ref().unwrap().secret.fingerprint.clone().unwrap();
    assert_eq!((fingerprint.len(), &fingerprint), (8, &super::fingerprint(&Secret::new("TOPSECRET"))));
    let without = serde_json::to_string(&view.without_fingerprints()).unwrap();
    assert!(!without.contains(&fingerprint) && !without.contains("fingerprint"), "{without}");
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_command_that_helps() {
    let user = User::new();
    user.write("ANTHROPIC_API_KEY=TOPSECRET\n");
    for bits in [0o644, 0o640, 0o604, 0o660, 0o601] {
        mode(&user.file(), bits);
        let refused = user.refused();
        assert!(refused.contains(&format!("{bits:04o}")), "{refused}");
        assert!(refused.contains(&format!("chmod 600 {}", user.file().display())), "{refused}");
    }
    mode(&user.file(), 0o400);
    assert!(user.good().model().is_some());
}

#[test]
fn a_file_of_another_user_is_refused_with_the_command_that_helps() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let user = User::new();
    user.write("ANTHROPIC_API_KEY=TOPSECRET\n");
    std::os::unix::fs::chown(user.file(), Some(1234), Some(1234)).unwrap();
    let refused = user.refused();
    assert!(refused.contains("user 1234") && refused.contains("chown 0 "), "{refused}");
    std::os::unix::fs::chown(user.file(), Some(0), Some(0)).unwrap();
    std::os::unix::fs::chown(user.private(), Some(1234), Some(1234)).unwrap();
    let refused = user.refused();
    assert!(refused.contains("its folder belongs to user 1234") && refused.contains("chown 0 "), "{refused}");
}

#[test]
fn a_folder_that_others_can_write_to_is_refused_with_the_command_that_helps() {
    let user = User::new();
    user.write("ANTHROPIC_API_KEY=TOPSECRET\n");
    for bits in [0o777, 0o770, 0o1777] {
        mode(&user.private(), bits);
        let refused = user.refused();
        assert!(refused.contains(&format!("chmod 700 {}", user.private().display())), "{refused}");
    }
    mode(&user.private(), 0o755);
    assert!(user.good().model().is_some());
}

#[test]
fn a_link_in_place_of_the_file_is_refused() {
    let user = User::new();
    let elsewhere = user.folder.path().join("elsewhere");
    private_file(&elsewhere, "ANTHROPIC_API_KEY=TOPSECRET\n");
    std::fs::create_dir_all(user.private()).unwrap();
    symlink(&elsewhere, user.file()).unwrap();
    assert!(user.refused().contains("symbolic link"), "{}", user.refused());
}

#[test]
fn two_files_are_refused_unless_they_are_one() {
    let mut user = User::new();
    user.write("ANTHROPIC_API_KEY=TOPSECRET\n");
    let configured = user.folder.path().join("configured");
    private_file(&configured.join("nanoclaw/credentials"), "ANTHROPIC_API_KEY=TOPSECRET2\n");
    user.variable("XDG_CONFIG_HOME", configured.to_str().unwrap());
    let refused = user.refused();
    assert!(refused.contains(user.file().to_str().unwrap()) && refused.contains("remove one"), "{refused}");
    std::fs::remove_file(user.file()).unwrap();
    assert_eq!(model(&user.good()).0, "TOPSECRET2");

    let same = user.folder.path().join(".config");
    user.write("ANTHROPIC_API_KEY=a\n");
    user.variables.pop();
    user.variable("XDG_CONFIG_HOME", same.to_str().unwrap());
    assert_eq!(model(&user.good()).0, "a");
}

#[test]
fn a_credential_that_is_none_is_refused_in_every_source() {
    for (text, reason) in [("", "is empty"), ("SECRET one", "a space"), ("SECRET\u{e9}", "no credential has")] {
        let user = User::new();
        user.write(&format!("ANTHROPIC_API_KEY={text}\n"));
        assert!(user.refused().contains(reason), "{text}");
        let mut user = User::new();
        user.systemd("ANTHROPIC_API_KEY", text);
        assert!(user.refused().contains(reason), "{text}");
    }
    for text in ["SECRET\nSECRET", "SECRET\r\nx"] {
        let mut user = User::new();
        user.variable("ANTHROPIC_API_KEY", text);
        assert!(user.refused().contains("line break"), "{text:?}");
        let mut user = User::new();
        user.systemd("anthropic-api-key", text);
        assert!(user.refused().contains("line break"), "{text:?}");
    }
}

#[test]
fn a_near_miss_of_a_known_name_is_kept_and_asked_about() {
    let user = User::new();
    user.write("ANTHROPIC_APIKEY=TOPSECRET\nTELEGRAM_BOT_TOKEN=TOPSECRET\nGITHUB_TOKEN=TOPSECRET\n");
    let (credentials, mistakes, remarks) = user.read();
    assert_eq!(mistakes, []);
    let [remark] = remarks.as_slice() else { panic!("{remarks:?}") };
    assert!(remark.contains("did you mean ANTHROPIC_API_KEY?") && !remark.contains("SECRET"), "{remark}");
    assert!(credentials.secret_named("ANTHROPIC_APIKEY").is_some());
}

#[test]
fn what_systemd_hands_over_for_others_is_left_alone() {
    let mut user = User::new();
    user.systemd("tls.pem", "x");
    user.systemd("anthropic-api-key", "k");
    let (credentials, mistakes, remarks) = user.read();
    assert_eq!(mistakes, []);
    assert!(remarks[0].contains("tls.pem"), "{remarks:?}");
    assert_eq!(model(&credentials).0, "k");
    user.systemd("ANTHROPIC_API_KEY", "k");
    let (_, mistakes, _) = user.read();
    assert!(mistakes[0].message.contains("hand over one"), "{mistakes:?}");
}

#[tokio::test]
async fn a_wrong_new_file_keeps_the_old_credential_and_says_so() {
    let user = User::new();
    user.write("ANTHROPIC_API_KEY=old\n");
    let credentials = user.good();
    user.write("ANTHROPIC_API_KEY=TOP SECRET\n");
    let problem = credentials.reload(Ask::AllButTheCommand).await.unwrap_err();
    assert!(problem.contains("credentials:1") && !problem.contains("SECRET"), "{problem}");
    assert_eq!((model(&credentials).0.as_str(), credentials.problem()), ("old", Some(problem)));

    user.write("ANTHROPIC_API_KEY=new\n");
    let reloaded = credentials.reload(Ask::AllButTheCommand).await.unwrap();
    assert_eq!(reloaded, Reloaded { changed: true, model_changed: true });
    assert_eq!((model(&credentials).0.as_str(), credentials.problem()), ("new", None));
    user.write("# mine\nANTHROPIC_API_KEY=new\n");
    let reloaded = credentials.reload(Ask::AllButTheCommand).await.unwrap();
    assert!(!reloaded.model_changed);

    std::fs::remove_file(user.file()).unwrap();
    assert!(credentials.reload(Ask::AllButTheCommand).await.unwrap().model_changed);
    assert_eq!(credentials.standing(), Standing::Missing);
}

#[tokio::test]
async fn what_a_command_gave_stays_while_it_fails_or_is_not_asked() {
    let mut user = User::new();
    let gives = user.folder.path().join("gives");
    std::fs::write(&gives, "ANTHROPIC_API_KEY=first\n").unwrap();
    user.command(&format!("cat {}", gives.display()));
    let credentials = user.good();
    credentials.reload(Ask::Everything).await.unwrap();
    std::fs::write(&gives, "ANTHROPIC_API_KEY=second\n").unwrap();
    credentials.reload(Ask::AllButTheCommand).await.unwrap();
    assert_eq!(model(&credentials).0, "first");
    std::fs::remove_file(&gives).unwrap();
    let problem = credentials.reload(Ask::Everything).await.unwrap_err();
    assert!(problem.contains("exit status: 1"), "{problem}");
    assert_eq!(model(&credentials).0, "first");
    std::fs::write(&gives, "ANTHROPIC_API_KEY=second\n").unwrap();
    credentials.reload(Ask::Everything).await.unwrap();
    assert_eq!((model(&credentials).0.as_str(), credentials.problem()), ("second", None));
}

#[test]
fn an_environment_with_nothing_in_it_has_no_secrets() {
    let (mut mistakes, mut remarks) = (Vec::new(), Vec::new());
    let none = Credentials::read(&environment_of([]), &CredentialsConfig::default(), &mut mistakes, &mut remarks);
    assert_eq!((none.standing(), mistakes.len(), remarks.len()), (Standing::Missing, 0, 0));
    assert_eq!(none, Credentials::none());
}
