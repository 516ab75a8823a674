//! SELinux: the folders of the home are labelled so that a container may use them, where the operator asks for that.
//!
//! A label stays on the files, so nothing is labelled but what is NanoClaw's own: not what somebody mounts besides, and not the
//! programs. The engines label what they mount when a bind says `z` or `Z`, and only the old form of a bind, one text with
//! colons, can say it.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use bollard::models::{ContainerCreateBody, Mount as EngineMount};
use nanoclaw_core::runtime::RuntimeError;

/// What is labelled, and for whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relabelling {
    /// Folders whose content one container at a time uses: labelled for it alone.
    pub private: Vec<PathBuf>,
    /// Folders whose content several containers use: labelled for all. They come first where one lies in another.
    pub shared: Vec<PathBuf>,
}

impl Relabelling {
    pub(super) fn is_empty(&self) -> bool {
        self.private.is_empty() && self.shared.is_empty()
    }

    /// The engines' word for what happens to `source`, if anything does.
    fn word(&self, source: &Path) -> Option<&'static str> {
        let below = |folders: &[PathBuf]| folders.iter().any(|folder| source.starts_with(folder));
        match () {
            () if source.components().any(|part| part == std::path::Component::ParentDir) => None,
            () if below(&self.shared) => Some("z"),
            () if below(&self.private) => Some("Z"),
            () => None,
        }
    }

    /// Makes binds that say so of the mounts in a create request.
    ///
    /// # Errors
    /// [`RuntimeError::BadMount`] for what cannot be said so.
    pub(super) fn apply(&self, body: &mut ContainerCreateBody) -> Result<(), RuntimeError> {
        let Some(host_config) = &mut body.host_config else { return Ok(()) };
        let (mut binds, mut rest) = (host_config.binds.take().unwrap_or_default(), Vec::new());
        for mount in host_config.mounts.take().unwrap_or_default() {
            let word = mount.source.as_deref().and_then(|source| self.word(Path::new(source)));
            match word {
                Some(word) => binds.push(bind(&mount, word)?),
                None => rest.push(mount),
            }
        }
        host_config.mounts = Some(rest);
        host_config.binds = (!binds.is_empty()).then_some(binds);
        Ok(())
    }
}

fn bind(mount: &EngineMount, word: &str) -> Result<String, RuntimeError> {
    let (source, target) = (mount.source.as_deref().unwrap_or_default(), mount.target.as_deref().unwrap_or_default());
    let bad = |reason: String| Err(RuntimeError::BadMount { path: source.into(), reason });
    if source.contains(':') || target.contains(':') {
        return bad(
            "a path with a colon cannot be labelled for SELinux; rename it, or set container.selinux_relabel to \"none\""
                .to_owned(),
        );
    }
    // A bind takes along what is mounted below, and cannot say that it is not to.
    let top_only = mount.bind_options.as_ref().is_some_and(|options| options.non_recursive == Some(true));
    if top_only
        && let Some(below) = mounted_below(Path::new(source), &fs::read("/proc/self/mountinfo").unwrap_or_default())
    {
        return bad(format!("{} is mounted in it, which a container could write to", below.display()));
    }
    let access = if mount.read_only == Some(true) { "ro" } else { "rw" };
    Ok(format!("{source}:{target}:{access},{word}"))
}

/// The first mount point below `folder`, by our mountinfo.
fn mounted_below(folder: &Path, mounts: &[u8]) -> Option<PathBuf> {
    let points = mounts.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.map(unescaped).find(|point| point.starts_with(folder) && point != folder)
}

/// Blanks and the like are octal numbers behind a backslash there.
fn unescaped(field: &[u8]) -> PathBuf {
    let (mut path, mut rest) = (Vec::new(), field);
    while let [first, tail @ ..] = rest {
        let number = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let byte = number.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        path.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bollard::models::{HostConfig, MountBindOptions, MountType};

    use super::*;

    fn mount(source: &str, target: &str, read_only: bool) -> EngineMount {
        EngineMount {
            typ: Some(MountType::BIND),
            source: Some(source.to_owned()),
            target: Some(target.to_owned()),
            read_only: Some(read_only),
            ..EngineMount::default()
        }
    }

    fn relabelling() -> Relabelling {
        Relabelling {
            private: vec!["/home/groups".into(), "/home/store/ipc".into()],
            shared: vec!["/home/groups/global".into()],
        }
    }

    fn applied(mounts: Vec<EngineMount>) -> Result<HostConfig, RuntimeError> {
        let host_config = HostConfig { mounts: Some(mounts), ..HostConfig::default() };
        let mut body = ContainerCreateBody { host_config: Some(host_config), ..ContainerCreateBody::default() };
        relabelling().apply(&mut body)?;
        Ok(body.host_config.unwrap())
    }

    #[test]
    fn only_folders_of_the_home_are_labelled_and_what_is_shared_is_for_all() {
        let others = [
            mount("/usr/local/bin/agent-runner", "/nanoclaw/bin/agent-runner", true),
            mount("/home/groupsx", "/workspace/extra/x", true),
            mount("/home/groups/../ann", "/workspace/extra/ann", false),
        ];
        let mut mounts = vec![
            mount("/home/groups/family", "/workspace/group", false),
            mount("/home/groups/global", "/workspace/global", true),
            mount("/home/store/ipc/family", "/workspace/ipc", false),
        ];
        mounts.extend(others.clone());
        let host_config = applied(mounts).unwrap();
        let binds = [
            "/home/groups/family:/workspace/group:rw,Z",
            "/home/groups/global:/workspace/global:ro,z",
            "/home/store/ipc/family:/workspace/ipc:rw,Z",
        ];
        assert_eq!(host_config.binds.unwrap(), binds);
        assert_eq!(host_config.mounts.unwrap(), others);
    }

    #[test]
    fn without_folders_to_label_the_request_stays_as_it_is() {
        let mounts = vec![mount("/home/groups/a:b", "/workspace/group", false)];
        let host_config = HostConfig { mounts: Some(mounts), ..HostConfig::default() };
        let before = ContainerCreateBody { host_config: Some(host_config), ..ContainerCreateBody::default() };
        let mut after = before.clone();
        Relabelling::default().apply(&mut after).unwrap();
        assert_eq!(after, before);
        assert!(Relabelling::default().is_empty() && !relabelling().is_empty());
    }

    #[test]
    fn a_path_that_a_bind_cannot_say_is_refused() {
        for (source, target) in [("/home/groups/a:ro", "/workspace/group"), ("/home/groups/a", "/workspace/a:b")] {
            let error = applied(vec![mount(source, target, false)]).unwrap_err();
            assert!(error.to_string().contains("selinux_relabel"), "{error}");
            assert!(matches!(error, RuntimeError::BadMount { path, .. } if path == Path::new(source)));
        }
    }

    #[test]
    fn what_is_mounted_below_a_folder_is_found() {
        let mounts = b"36 25 0:31 / /home/groups/a\\040b/disk rw - tmpfs none rw\n37 25 0:32 / /home/groups/ab rw - tmpfs none rw\n";
        assert_eq!(mounted_below(Path::new("/home/groups/a b"), mounts), Some("/home/groups/a b/disk".into()));
        assert_eq!(mounted_below(Path::new("/home/groups/ab"), mounts), None, "it is one itself");
        assert_eq!(mounted_below(Path::new("/home/groups/a"), mounts), None);
        let top_only = EngineMount {
            bind_options: Some(MountBindOptions { non_recursive: Some(true), ..MountBindOptions::default() }),
            ..mount("/home/groups/a", "/workspace/group", true)
        };
        assert_eq!(applied(vec![top_only]).unwrap().binds.unwrap(), ["/home/groups/a:/workspace/group:ro,Z"]);
    }
}
