//! The skills of the agent's home, `~/.claude/skills/<name>/SKILL.md`: the model is told when to use which, and reads the rest
//! when it does.

use std::{fs, io::Read as _, path::Path};

/// How many are told.
const SKILLS: usize = 100;
/// How much of a file is looked at.
const HEAD_BYTES: u64 = 8 * 1024;
/// How much is told of when to use one.
const DESCRIPTION_CHARACTERS: usize = 500;

/// A line for each skill; empty when there are none. A file that has no front matter, or says nothing of when to use it, is
/// told by its name alone.
pub(super) fn list(home: &Path) -> String {
    let entries = fs::read_dir(home.join(".claude").join("skills")).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path().join("SKILL.md")).filter(|file| file.is_file()).collect();
    files.sort();
    files.iter().take(SKILLS).map(|file| line(file)).collect()
}

fn line(file: &Path) -> String {
    match description(file) {
        Some(description) => format!("\n- {}: {description}", file.display()),
        None => format!("\n- {}", file.display()),
    }
}

/// What stands after `description:` in the front matter, on that line and those that are indented below it.
fn description(file: &Path) -> Option<String> {
    let mut head = Vec::new();
    fs::File::open(file).ok()?.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines().map(str::trim_end);
    if lines.next()? != "---" {
        return None;
    }
    let mut lines = lines.take_while(|line| *line != "---").skip_while(|line| !line.starts_with("description:"));
    let mut words =
        vec![lines.next()?.trim_start_matches("description:").trim().trim_start_matches(['>', '|', '-']).trim()];
    words.extend(lines.take_while(|line| line.starts_with(' ')).map(str::trim));
    let text = words.join(" ");
    let text: String = text.trim().trim_matches(['"', '\'']).chars().take(DESCRIPTION_CHARACTERS).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skills_are_told_by_when_to_use_them_and_bad_ones_by_name_alone() {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a", "---\nname: a\ndescription: \"For greetings.\"\n---\nSay hello.\ndescription: not this\n"),
            ("b", "---\ndescription: >\n  For long\n  stories.\nname: b\n---\n"),
            ("c", "# No front matter\ndescription: no\n"),
            ("d", "---\nname: d\n---\ndescription: no\n"),
            ("e", ""),
        ] {
            let folder = home.path().join(".claude/skills").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("SKILL.md"), text).unwrap();
        }
        fs::create_dir_all(home.path().join(".claude/skills/empty")).unwrap();
        let list = list(home.path()).replace(&home.path().display().to_string(), "~").replace(".claude/skills", "S");
        assert_eq!(
            list,
            "\n- ~/S/a/SKILL.md: For greetings.\n- ~/S/b/SKILL.md: For long stories.\n- ~/S/c/SKILL.md\n- ~/S/d/SKILL.md\
             \n- ~/S/e/SKILL.md"
        );
    }
}
