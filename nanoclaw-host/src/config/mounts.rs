//! `[mounts]`, and the `mounts` of a group: what containers may see of the machine besides their own folders. Only the shape
//! is checked here; whether a mount is allowed is judged when a run starts ([`crate::mounts`]).

use std::path::PathBuf;

use nanoclaw_core::{
    mounts::{MountRequest, name_of},
    runtime::Access,
};
use toml::de::{DeTable, DeValue};

use super::{
    mistake::nearest,
    reader::{Reader, Section},
    setting::Setting,
    value::{self, Raw, Right},
};
use crate::credentials::private_folder;

/// The most mounts that one group can have.
const MOST_MOUNTS: usize = 64;

/// What holds for the mounts of all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountsConfig {
    /// The project that the main group alone can read at `/workspace/project`; default none.
    pub project: Setting<Option<PathBuf>>,
    /// The allowlist of additional mounts; `None` when nobody knows where the user's configuration is.
    pub allowlist: Option<PathBuf>,
    /// What `~` stands for.
    pub user_home: Option<PathBuf>,
}

impl MountsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let allowlist = private_folder(reader.environment()).map(|folder| folder.join("mount-allowlist.json"));
        let mut section = reader.section("mounts");
        let (base, user_home) = section.path_bases();
        let project = value::path(base, user_home.clone());
        let project = section.read("project", None, None, move |raw: &Raw<'_>| project(raw).map(Some));
        section.finish();
        Self { project, allowlist, user_home }
    }
}

/// A group's additional mounts.
pub(super) fn of_group(section: &mut Section<'_, '_>) -> Option<Setting<Vec<MountRequest>>> {
    section.lookup("mounts", None, |raw: &Raw<'_>| {
        let Raw::Toml(DeValue::Array(items)) = raw else { return Err(RIGHT.into()) };
        if items.len() > MOST_MOUNTS {
            return Err(format!("a list of at most {MOST_MOUNTS} mounts").into());
        }
        let mut requests: Vec<MountRequest> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let wrong = |why: String| -> Right { format!("{RIGHT}; number {} {why}", index + 1).into() };
            let DeValue::Table(table) = item.get_ref() else { return Err(wrong("is no table".to_owned())) };
            let request = request(table).map_err(wrong)?;
            let name = name_of(&request).map_err(|refusal| wrong(format!("has a wrong name: {refusal}")))?;
            if requests.iter().any(|earlier| name_of(earlier).is_ok_and(|taken| taken == name)) {
                return Err(wrong(format!("has the name {name:?} of an earlier one; give one of them another")));
            }
            requests.push(request);
        }
        Ok(requests)
    })
}

const RIGHT: &str = r#"a list of mounts such as { host = "~/projects/site", name = "site", readonly = false }"#;

/// Reads one mount; the names that NanoClaw v1 has for the keys work too.
fn request(table: &DeTable<'_>) -> Result<MountRequest, String> {
    const KEYS: [&str; 4] = ["host", "name", "readonly", "hide_secrets"];
    let mut request = MountRequest { host: String::new(), name: None, access: Access::ReadOnly, hide_secrets: false };
    for (key, value) in table {
        let key = key.get_ref().as_ref();
        let text = || match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(format!("has a {key} that is no text")),
        };
        let flag = || match value.get_ref() {
            DeValue::Boolean(flag) => Ok(*flag),
            _ => Err(format!("has a {key} that is neither true nor false")),
        };
        match key {
            "host" | "hostPath" => request.host = text()?,
            "name" | "containerPath" => request.name = Some(text()?),
            "readonly" if flag()? => request.access = Access::ReadOnly,
            "readonly" => request.access = Access::ReadWrite,
            "hide_secrets" => request.hide_secrets = flag()?,
            _ => {
                let hint = nearest(key, KEYS).map_or_else(String::new, |near| format!("; did you mean {near}?"));
                return Err(format!("has a key {key}, which no mount has{hint}"));
            }
        }
    }
    match crate::mounts::expand(&request.host, None) {
        _ if request.host.is_empty() => Err("has no host, the path on this machine".to_owned()),
        Err(why) => Err(format!("has a host that cannot be a path: {why}")),
        Ok(_) => Ok(request),
    }
}
