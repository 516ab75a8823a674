//! Whose things are that outlive a process: control groups and folders are named after the host process that made them, so
//! that what a killed host left behind is known as such.

use std::{fs, sync::OnceLock};

/// Names one of this process's things, unlike every other: `<process>-<its start>-<number>`. Process numbers come again, soon
/// in a process namespace, where the next host mostly has the last one's.
pub(super) fn name(number: u64) -> String {
    static OWN: OnceLock<String> = OnceLock::new();
    let own = OWN.get_or_init(|| {
        let process = std::process::id();
        format!("{process}-{}", start_of(&process.to_string()).unwrap_or_default())
    });
    format!("{own}-{number}")
}

/// Whether `name` is a [`name`] given by a process that has ended.
pub(super) fn is_gone(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    match parts[..] {
        [process, start, _] if is_number(process) && is_number(start) => start_of(process).as_deref() != Some(start),
        _ => false,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// When the process started, in ticks since the machine did; `None` when there is none of this number.
fn start_of(process: &str) -> Option<String> {
    let told = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may hold anything; this is the 22nd.
    told.rsplit_once(')')?.1.split_ascii_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_and_strangers_are_not_gone() {
        let process = std::process::id();
        assert!(!is_gone(&name(7)), "{}", name(7));
        assert!(!is_gone("system.slice") && !is_gone("a-b-c") && !is_gone(""));
        assert!(is_gone(&format!("{process}-1-7")), "an earlier process of our number");
        assert!(is_gone("4194305-77-0"), "no process has this number");
    }
}
