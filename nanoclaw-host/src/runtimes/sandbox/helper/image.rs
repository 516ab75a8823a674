//! What a container's root is made of, piece by piece, whoever puts it together.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::At;
use crate::runtimes::sandbox::plan::{Plan, Refusal, Root};

/// What a container is called by itself.
pub(super) const HOST_NAME: &str = "nanoclaw";

/// The host's programs, and the settings they need to work. No other part of `/etc` is shown: it may hold secrets.
pub(in crate::runtimes::sandbox) const HOST_FOLDERS: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/magic",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/terminfo",
    "/etc/timezone",
];

/// The device nodes of a container.
pub(in crate::runtimes::sandbox) const DEVICES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];

/// A piece of the root. Paths are as they will be seen inside.
#[derive(Debug)]
pub(super) enum Piece {
    /// A folder of the container's own.
    Folder(String),
    /// A symbolic link.
    Link {
        /// Where it is.
        at: String,
        /// What it says.
        to: PathBuf,
    },
    /// A file or a whole folder of the host, shown read-only.
    Tree {
        /// Where it is seen.
        at: String,
        /// Where it is on the host.
        source: PathBuf,
        /// Which of the two it is.
        is_folder: bool,
    },
    /// A file that only the container has.
    File {
        /// Where it is.
        at: String,
        /// What is in it.
        content: String,
    },
}

impl Piece {
    /// Where it is seen.
    pub(super) fn at(&self) -> &str {
        match self {
            Self::Folder(at) | Self::Link { at, .. } | Self::Tree { at, .. } | Self::File { at, .. } => at,
        }
    }
}

/// All pieces, parents before what is in them, leaving room for the plan's mounts.
///
/// # Errors
/// When the image or the host's folders cannot be read.
pub(super) fn pieces(plan: &Plan) -> Result<Vec<Piece>, Refusal> {
    let mut pieces = Vec::new();
    let mut places: Vec<String> = plan.mounts.iter().map(|mount| tidy(&mount.target)).collect();
    let names = format!("127.0.0.1 localhost {HOST_NAME}\n::1 localhost\n");
    match &plan.root {
        Root::Host => {
            for path in HOST_FOLDERS {
                graft(&mut pieces, Path::new(path), path, &places).at(format_args!("show {path}"))?;
            }
            // Programs ask who they are; the host's own table of users is nobody's business.
            let home = plan.env.get("HOME").map_or("/tmp", String::as_str);
            let (uid, gid) = (plan.user.uid, plan.user.gid);
            let users = format!("root:x:0:0::/:/usr/sbin/nologin\nagent:x:{uid}:{gid}::{home}:/bin/sh\n");
            let groups = format!("root:x:0:\nagent:x:{gid}:\n");
            for (at, content) in [("/etc/passwd", users), ("/etc/group", groups), ("/etc/hosts", names)] {
                pieces.push(Piece::File { at: at.to_owned(), content });
            }
        }
        Root::Folder(folder) => {
            // Images leave this file to the runtime; without it nothing knows `localhost`.
            let needs_names = fs::read_to_string(folder.join("etc/hosts")).map_or(true, |text| text.trim().is_empty());
            if needs_names {
                places.push("/etc/hosts".to_owned());
            }
            // The root itself is always ours: these folders are made anew.
            places.extend(["/dev", "/proc", "/sys", "/tmp"].map(str::to_owned));
            graft(&mut pieces, folder, "/", &places).at(format_args!("show {}", folder.display()))?;
            if needs_names {
                pieces.push(Piece::File { at: "/etc/hosts".to_owned(), content: names });
            }
        }
    }
    Ok(pieces)
}

/// Shows `source` at `at`, whole where it can be; a folder in which one of `places` lies is made anew, and what is in it
/// shown piece by piece, because a place cannot be made in a tree of the host.
fn graft(pieces: &mut Vec<Piece>, source: &Path, at: &str, places: &[String]) -> io::Result<()> {
    let kind = match fs::symlink_metadata(source) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if kind.is_symlink() {
        pieces.push(Piece::Link { at: at.to_owned(), to: fs::read_link(source)? });
    } else if kind.is_dir() && places.iter().any(|place| is_below(place, at)) {
        pieces.push(Piece::Folder(at.to_owned()));
        let prefix = if at == "/" { "" } else { at };
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            // A name that is not UTF-8 cannot be asked for by anybody who speaks JSON.
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let at = format!("{prefix}/{name}");
            // What is hung in exactly here covers it anyway.
            if !places.contains(&at) {
                graft(pieces, &entry.path(), &at, places)?;
            }
        }
    } else if kind.is_dir() || kind.is_file() {
        pieces.push(Piece::Tree { at: at.to_owned(), source: source.to_owned(), is_folder: kind.is_dir() });
    }
    Ok(())
}

/// Whether `place` lies below the folder `at`.
pub(in crate::runtimes::sandbox) fn is_below(place: &str, at: &str) -> bool {
    if at == "/" { place != "/" } else { place.strip_prefix(at).is_some_and(|rest| rest.starts_with('/')) }
}

/// The path without doubled or trailing slashes.
pub(in crate::runtimes::sandbox) fn tidy(path: &str) -> String {
    let mut tidy = String::new();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        tidy.push('/');
        tidy.push_str(name);
    }
    tidy
}
