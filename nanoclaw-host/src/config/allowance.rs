//! What groups may have: bounds of their own may be tighter as they like, and looser than everybody's only as far as
//! `[container] max_…` goes.

use std::fmt::Display;

use nanoclaw_core::group::GroupFolder;

use super::{
    ContainerConfig, GroupOverrides,
    mistake::{Mistake, Place},
    setting::{Setting, Source},
    value::show_size,
};

/// Every override that goes beyond what is allowed, and every allowance that is below what everybody has.
pub(super) fn check<'a>(
    container: &ContainerConfig,
    groups: impl IntoIterator<Item = (&'a GroupFolder, &'a GroupOverrides)>,
) -> Vec<Mistake> {
    let tmp = |setting: &Setting<u64>| Setting { value: Some(setting.value), source: setting.source.clone() };
    let number = |number: u32| number.to_string();
    let processors = |milli: u32| (f64::from(milli) / 1000.0).to_string();
    let (general_tmp, max_tmp) = (tmp(&container.tmp_bytes), tmp(&container.max_tmp_bytes));
    let mut mistakes = Vec::new();
    mistakes.extend(below("memory", &container.memory_bytes, &container.max_memory_bytes, show_size));
    mistakes.extend(below("pids", &container.pids, &container.max_pids, number));
    mistakes.extend(below("cpus", &container.milli_cpus, &container.max_milli_cpus, processors));
    mistakes.extend(below("tmp", &general_tmp, &max_tmp, show_size));
    for (folder, own) in groups {
        let own_tmp = own.tmp_bytes.as_ref().map(tmp);
        mistakes.extend(beyond(folder, "memory", own.memory_bytes.as_ref(), &container.max_memory_bytes, show_size));
        mistakes.extend(beyond(folder, "pids", own.pids.as_ref(), &container.max_pids, number));
        mistakes.extend(beyond(folder, "cpus", own.milli_cpus.as_ref(), &container.max_milli_cpus, processors));
        mistakes.extend(beyond(folder, "tmp", own_tmp.as_ref(), &max_tmp, show_size));
    }
    mistakes
}

/// A group's own bound that is looser than what is allowed.
fn beyond<T: Ord + Copy, S: Display>(
    folder: &GroupFolder,
    key: &str,
    own: Option<&Setting<Option<T>>>,
    most: &Setting<Option<T>>,
    show: impl Fn(T) -> S,
) -> Option<Mistake> {
    let own = own.filter(|own| is_looser(own.value, most.value))?;
    let (asked, allowed) = (shown(own.value, &show), shown(most.value, &show));
    let because = if most.is_explicit() { "" } else { ", by default what everybody has" };
    mistake(
        own,
        format!("groups.{folder}.{key}"),
        format!(
            "groups.{folder}.{key} asks for {asked}, and container.max_{key} allows {allowed}{because}: lower the one or raise \
             the other"
        ),
    )
}

/// What everybody has, where it is looser than what is allowed.
fn below<T: Ord + Copy, S: Display>(
    key: &str,
    general: &Setting<Option<T>>,
    most: &Setting<Option<T>>,
    show: impl Fn(T) -> S,
) -> Option<Mistake> {
    if !is_looser(general.value, most.value) {
        return None;
    }
    let (has, allowed) = (shown(general.value, &show), shown(most.value, &show));
    let message = format!(
        "container.max_{key} allows {allowed}, which is less than the {has} that container.{key} gives everybody: raise the one \
         or lower the other"
    );
    mistake(most, format!("container.max_{key}"), message)
}

/// No bound is looser than any.
fn is_looser<T: Ord>(one: Option<T>, other: Option<T>) -> bool {
    match (one, other) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(one), Some(other)) => one > other,
    }
}

fn shown<T, S: Display>(bound: Option<T>, show: impl Fn(T) -> S) -> String {
    bound.map_or_else(|| "no bound".to_owned(), |bound| show(bound).to_string())
}

fn mistake<T>(of: &Setting<T>, key: String, message: String) -> Option<Mistake> {
    let place = match &of.source {
        Source::File { file, line } => Place::Line { file: file.clone(), line: *line },
        Source::Variable(name) => Place::Variable(name.clone()),
        // Nobody said it, so nobody can be wrong about it.
        Source::Default | Source::Because(_) => return None,
    };
    Some(Mistake { place, key: Some(key), message })
}
