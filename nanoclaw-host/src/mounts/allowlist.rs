//! The owner's list of what may be mounted: `~/.config/nanoclaw/mount-allowlist.json`, in the form of NanoClaw v1. Read anew
//! for each judgement, so that a change holds at once; a list that is missing or has a mistake allows nothing.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use nanoclaw_core::{
    mounts::{AllowedRoot, Allowlist, Pattern, Refusal},
    runtime::Access,
};
use serde_json::{Value, json};

use super::open::expand;
use crate::{
    config::MountsConfig,
    operator_file::{flag, object, replace, text},
};

/// Reads the list.
///
/// # Errors
/// [`Refusal::NoAllowlist`] and [`Refusal::BadAllowlist`].
pub fn read(config: &MountsConfig) -> Result<Allowlist, Refusal> {
    let Some(file) = &config.allowlist else { return Err(Refusal::NoAllowlist { file: None }) };
    let bad = |reason: String| Refusal::BadAllowlist { reason: format!("{}: {reason}", file.display()) };
    match text(file).map_err(bad)? {
        Some(text) => parse(&text, config.user_home.as_deref()).map_err(bad),
        None => Err(Refusal::NoAllowlist { file: Some(file.clone()) }),
    }
}

fn parse(text: &str, user_home: Option<&Path>) -> Result<Allowlist, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let list = object(&value, "it", &["allowedRoots", "blockedPatterns", "nonMainReadOnly"])?;
    let Some(Value::Array(roots)) = list.get("allowedRoots") else {
        return Err("\"allowedRoots\" must be a list".to_owned());
    };
    let roots = roots.iter().map(|root| allowed_root(root, user_home)).collect::<Result<_, _>>()?;
    let blocked = match list.get("blockedPatterns") {
        None => Vec::new(),
        Some(Value::Array(patterns)) => patterns.iter().map(pattern).collect::<Result<_, _>>()?,
        Some(_) => return Err("\"blockedPatterns\" must be a list of texts".to_owned()),
    };
    // Who says nothing gets the stricter of the two.
    let non_main_read_only = flag(list, "nonMainReadOnly", true)?;
    Ok(Allowlist { roots, blocked, non_main_read_only })
}

fn allowed_root(value: &Value, user_home: Option<&Path>) -> Result<AllowedRoot, String> {
    let root = object(value, "an allowed root", &["path", "allowReadWrite", "description"])?;
    let Some(Value::String(written)) = root.get("path") else {
        return Err("an allowed root has no \"path\"".to_owned());
    };
    let path = expand(written, user_home).map_err(|why| format!("the allowed root {written:?}: {why}"))?;
    let access = if flag(root, "allowReadWrite", false)? { Access::ReadWrite } else { Access::ReadOnly };
    if root.get("description").is_some_and(|text| !text.is_string()) {
        return Err(format!("the description of {written:?} is no text"));
    }
    Ok(AllowedRoot { written: written.clone(), path: path.canonicalize().ok(), access })
}

fn pattern(value: &Value) -> Result<Pattern, String> {
    let Value::String(text) = value else { return Err("\"blockedPatterns\" must be a list of texts".to_owned()) };
    Pattern::new(text).map_err(|error| error.to_string())
}

/// What [`allow`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// A root was added.
    Added,
    /// A root that was there allows another access now.
    Changed,
    /// It was so already.
    Unchanged,
}

/// Adds `path`, which exists, to the list's roots, or changes what it allows; makes the list if there is none. Everything
/// else in it stays.
///
/// # Errors
/// When the list has a mistake, or cannot be written.
pub fn allow(config: &MountsConfig, path: &Path, access: Access) -> anyhow::Result<(PathBuf, Allowed)> {
    let file =
        config.allowlist.clone().context("neither HOME nor XDG_CONFIG_HOME is set, so there is no place for it")?;
    let name = path.to_str().context("the path is not UTF-8")?;
    let shown = file.display();
    let found = text(&file).map_err(anyhow::Error::msg).with_context(|| format!("cannot use {shown}"))?;
    let mut list = match found {
        Some(found) => {
            parse(&found, config.user_home.as_deref())
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("{shown} has a mistake"))?;
            serde_json::from_str(&found)?
        }
        None => json!({ "allowedRoots": [], "blockedPatterns": [], "nonMainReadOnly": true }),
    };
    let writes = access == Access::ReadWrite;
    let is_it = |root: &Value| {
        let written = root["path"].as_str().and_then(|text| expand(text, config.user_home.as_deref()).ok());
        written.and_then(|written| written.canonicalize().ok()).is_some_and(|real| real == path)
    };
    let roots = list["allowedRoots"].as_array_mut().context("it has no list of allowed roots")?;
    let done = match roots.iter_mut().find(|root| is_it(root)) {
        Some(root) if root["allowReadWrite"].as_bool().unwrap_or(false) == writes => {
            return Ok((file, Allowed::Unchanged));
        }
        Some(root) => {
            root["allowReadWrite"] = writes.into();
            Allowed::Changed
        }
        None => {
            roots.push(json!({ "path": name, "allowReadWrite": writes }));
            Allowed::Added
        }
    };
    write(&file, &list).with_context(|| format!("cannot write {shown}"))?;
    Ok((file, done))
}

fn write(file: &Path, list: &Value) -> anyhow::Result<()> {
    // What a link stands for is written, not the link.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().context("it lies nowhere")?;
    if !folder.exists() {
        std::fs::create_dir_all(folder)?;
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700))?;
    }
    Ok(replace(&file, format!("{list:#}\n").as_bytes(), 0o600)?)
}
