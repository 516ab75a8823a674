//! The programs that the tests need beside `nanoclaw`: agent-runner and WhatsApp's client, built when they are missing, and perhaps
//! `claude`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

/// The program under test.
pub const NANOCLAW: &str = env!("CARGO_BIN_EXE_nanoclaw");

/// Our agent-runner beside it, where `nanoclaw` itself looks first. It belongs to another package, so cargo does not
/// build it for these tests alone.
pub fn runner() -> &'static Path {
    static RUNNER: OnceLock<PathBuf> = OnceLock::new();
    RUNNER.get_or_init(|| beside("agent-runner", &AGENT_RUNNER))
}

/// WhatsApp's client, where `nanoclaw` looks for it too.
pub fn whatsapp() -> &'static Path {
    static WHATSAPP: OnceLock<PathBuf> = OnceLock::new();
    WHATSAPP.get_or_init(|| beside("nanoclaw-whatsapp", &["nanoclaw-host/whatsapp/src", "nanoclaw-host/text/src"]))
}

/// Where the sources of agent-runner are.
const AGENT_RUNNER: [&str; 2] = ["agent-runner/src", "nanoclaw-core/src"];

/// The program of a package of the same name, beside the one under test.
fn beside(package: &str, sources: &[&str]) -> PathBuf {
    let path = Path::new(NANOCLAW).with_file_name(package);
    let profile = if path.parent().unwrap().ends_with("release") { "release" } else { "dev" };
    if !is_current(&path, sources) {
        cargo(&["build", "--package", package, "--profile", profile]);
    }
    assert!(path.is_file(), "cargo built no {}", path.display());
    path
}

/// The static one, which runs in any image, where `nanoclaw` looks for it.
pub fn static_runner() -> &'static Path {
    static RUNNER: OnceLock<PathBuf> = OnceLock::new();
    RUNNER.get_or_init(|| {
        let target = Path::new(NANOCLAW).parent().unwrap().parent().unwrap();
        let path = target.join("x86_64-unknown-linux-gnu/release/agent-runner");
        if !is_current(&path, &AGENT_RUNNER) {
            cargo(&["static-runner"]);
        }
        assert!(path.is_file(), "cargo built no {}", path.display());
        path
    })
}

/// Whether a program is there and newer than what it is made of. Where these tests are run without cargo, nobody wants
/// anything built, and what is there is taken.
fn is_current(program: &Path, sources: &[&str]) -> bool {
    let Ok(built) = program.metadata().and_then(|metadata| metadata.modified()) else { return false };
    if std::env::var_os("CARGO").is_none() {
        return true;
    }
    let workspace = workspace();
    sources.iter().all(|folder| newest(&workspace.join(folder)) <= built)
}

fn newest(folder: &Path) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let time = if entry.file_type().unwrap().is_dir() {
            self::newest(&entry.path())
        } else {
            entry.metadata().unwrap().modified().unwrap()
        };
        newest = newest.max(time);
    }
    newest
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Runs cargo with the folder of this build; cargo itself lets one build wait for another.
fn cargo(arguments: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = Path::new(NANOCLAW).parent().unwrap().parent().unwrap();
    let mut command = Command::new(cargo);
    // What this test's own package is called is no affair of that build: some crates (ring) are built anew whenever it changes,
    // and all that needs them, here and then again in the next build of the tests.
    let of_this_package = |name: &String| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(of_this_package) {
        command.env_remove(name);
    }
    let built = command.args(arguments).current_dir(workspace()).env("CARGO_TARGET_DIR", target).output().unwrap();
    assert!(built.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&built.stderr));
}

/// The real Claude Code program of this machine: what `NANOCLAW_TEST_CLAUDE` names, else `claude` on the `PATH`, else
/// npm's global one; the program itself, not the script that starts it.
pub fn claude() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("NANOCLAW_TEST_CLAUDE").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return if is_elf(&path) { Ok(path) } else { Err(format!("{} is no program", path.display())) };
    }
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&on_path).map(|folder| folder.join("claude")).collect();
    if let Ok(output) = Command::new("npm").args(["root", "--global"]).output() {
        let root = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let platform = "@anthropic-ai/claude-code-linux-x64/claude";
        candidates.push(root.join(platform));
        candidates.push(root.join("@anthropic-ai/claude-code/node_modules").join(platform));
    }
    let found = candidates.into_iter().filter_map(|path| path.canonicalize().ok()).find(|path| is_elf(path));
    found.ok_or_else(|| "there is no claude here; NANOCLAW_TEST_CLAUDE can name one".to_owned())
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic));
    read.is_ok() && magic == *b"\x7fELF"
}

/// The libraries that a program of this machine needs, loader included, at the paths where it looks for them.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("ldd").arg(program).output().map_err(|error| format!("ldd: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}
