//! The words of builders, for people.

use super::BuildNetwork;

/// As much of an instruction is shown.
const SHOWN: usize = 60;

/// "step 4 of 6 (RUN apt-get update)", of what a builder says when it begins with one: `Step 4/6 : RUN apt-get update`, or
/// Podman's `STEP 4/6: …`.
#[must_use]
pub fn step_in_words(line: &str) -> Option<String> {
    let rest = line.strip_prefix("Step ").or_else(|| line.strip_prefix("STEP "))?;
    let (numbers, instruction) = rest.split_once(':')?;
    let (number, of) = numbers.trim().split_once('/')?;
    let instruction = instruction.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = match instruction.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", instruction[..end].trim_end()),
        None => instruction,
    };
    Some(format!("step {number} of {of} ({shown})"))
}

/// Why a build failed, of what the engine says and the step that it was at. The engine repeats the whole instruction, which may
/// be a page.
#[must_use]
pub fn reason_in_words(said: &str, step: Option<&str>) -> String {
    // Docker: The command '/bin/sh -c …' returned a non-zero code: 3
    // Podman: building at STEP "RUN …": while running runtime: exit status 3
    let code = said
        .rsplit_once("' returned a non-zero code: ")
        .or_else(|| said.rsplit_once("while running runtime: exit status "))
        .map(|(_, code)| code.trim())
        .filter(|code| !code.is_empty() && code.chars().all(|c| c.is_ascii_digit()));
    let step = step.and_then(step_in_words);
    match (step, code) {
        (Some(step), Some(code)) => format!("{step} ended with code {code}"),
        (None, Some(code)) => format!("one of its commands ended with code {code}"),
        (Some(step), None) => format!("{step}: {said}"),
        (None, None) => said.to_owned(),
    }
}

/// What to do about it, where the last lines of a build say it.
#[must_use]
pub fn advice(last_lines: &[String], network: BuildNetwork) -> Option<&'static str> {
    // apt, curl, git, apk, pip and npm, and the C library's own.
    const NO_NAMES: [&str; 6] = [
        "Temporary failure resolving",
        "Temporary failure in name resolution",
        "Could not resolve",
        "DNS lookup error",
        "DNS: transient error",
        "EAI_AGAIN",
    ];
    if !last_lines.iter().any(|line| NO_NAMES.iter().any(|words| line.contains(words))) {
        return None;
    }
    Some(match network {
        BuildNetwork::Default => {
            "names are not resolved in the build: where this machine resolves them, [images] build_network = \"host\" in \
             nanoclaw.toml helps"
        }
        BuildNetwork::Host => "names are not resolved: this machine seems to have no network",
        BuildNetwork::None => "the build has no network, since [images] build_network in nanoclaw.toml is \"none\"",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_said_in_few_words() {
        assert_eq!(step_in_words("Step 4/6 : RUN a    &&  b").as_deref(), Some("step 4 of 6 (RUN a && b)"));
        assert_eq!(step_in_words("STEP 4/6: RUN a").as_deref(), Some("step 4 of 6 (RUN a)"));
        let long = step_in_words(&format!("Step 1/1 : RUN {}", "é".repeat(100))).unwrap();
        assert!(long.ends_with("é…)") && long.chars().count() < 80, "{long}");
        assert_eq!(step_in_words("Stepping"), None);
    }

    #[test]
    fn a_reason_is_the_step_and_the_code_and_not_the_whole_command() {
        let step = Some("Step 2/2 : RUN exit 3");
        for said in [
            "The command '/bin/sh -c exit 3' returned a non-zero code: 3",
            "building at STEP \"RUN exit 3\": while running runtime: exit status 3",
        ] {
            assert_eq!(reason_in_words(said, step), "step 2 of 2 (RUN exit 3) ended with code 3");
            assert_eq!(reason_in_words(said, None), "one of its commands ended with code 3");
        }
        assert_eq!(reason_in_words("COPY failed", step), "step 2 of 2 (RUN exit 3): COPY failed");
        assert_eq!(reason_in_words("dockerfile parse error", None), "dockerfile parse error");
    }

    #[test]
    fn a_build_that_resolves_no_names_is_told_what_helps() {
        let apt = ["E: x  Temporary failure resolving 'deb.debian.org'".to_owned()];
        assert!(advice(&apt, BuildNetwork::Default).unwrap().contains("build_network = \"host\""));
        assert!(advice(&apt, BuildNetwork::Host).unwrap().contains("no network"));
        assert!(advice(&apt, BuildNetwork::None).unwrap().contains("\"none\""));
        assert_eq!(advice(&["E: no such package".to_owned()], BuildNetwork::Default), None);
    }
}
