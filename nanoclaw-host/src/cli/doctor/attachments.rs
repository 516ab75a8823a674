//! What `doctor` says of the files that came with messages: how much they take in groups' folders, where nothing removes them.

use std::{fs, path::Path};

use super::Check;
use crate::{cli::output, home::Home};

const NAME: &str = "attachments";

/// From how many bytes on somebody should look, in one group.
const MUCH: u64 = 5 << 30;

/// The most files of a group that are counted.
const MOST_COUNTED: usize = 100_000;

/// How much the files take that came with messages.
pub(super) fn check(home: &Home) -> Check {
    match groups(&home.groups()) {
        Err(error) => Check::skipped(NAME, error.to_string()),
        Ok(groups) if groups.is_empty() => Check::ok(NAME, "no group was sent a file"),
        Ok(groups) => {
            let each: Vec<_> = groups.iter().map(|(group, size)| format!("{group} {}", output::size(*size))).collect();
            let detail = each.join(", ");
            match groups.iter().find(|(_, size)| *size >= MUCH) {
                None => Check::ok(NAME, detail),
                Some((group, _)) => Check::warning(
                    NAME,
                    detail,
                    format!("they stay until the agent or you remove them: look into groups/{group}/attachments"),
                ),
            }
        }
    }
}

/// The groups' folders with files that came, and how many bytes those have; largest first.
fn groups(folder: &Path) -> std::io::Result<Vec<(String, u64)>> {
    let mut groups = Vec::new();
    for group in fs::read_dir(folder)? {
        let group = group?;
        // An agent may have put a link there, which leads to what is not its own.
        let attachments = group.path().join(nanoclaw_core::attachment::ATTACHMENTS_DIR);
        if !fs::symlink_metadata(&attachments).is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        let files = fs::read_dir(&attachments)?.take(MOST_COUNTED).flatten();
        let size = files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum();
        if size > 0 {
            groups.push((group.file_name().to_string_lossy().into_owned(), size));
        }
    }
    groups.sort_by(|one, other| (other.1, &one.0).cmp(&(one.1, &other.0)));
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_with_messages_is_counted_for_each_group_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        for (group, bytes) in [("family", 10), ("work", 30)] {
            let attachments = folder.path().join("groups").join(group).join("attachments");
            fs::create_dir_all(&attachments).unwrap();
            fs::write(attachments.join("1-1-a.jpg"), vec![0; bytes]).unwrap();
        }
        fs::create_dir_all(folder.path().join("groups/empty/attachments")).unwrap();
        fs::create_dir_all(folder.path().join("groups/sly")).unwrap();
        let elsewhere = folder.path().join("groups/work/attachments");
        std::os::unix::fs::symlink(elsewhere, folder.path().join("groups/sly/attachments")).unwrap();
        let found = groups(&folder.path().join("groups")).unwrap();
        assert_eq!(found, [("work".to_owned(), 30), ("family".to_owned(), 10)]);
        let home = Home::at(folder.path()).unwrap();
        let check = format!("{:?}", check(&home));
        assert!(check.contains("work 30 B, family 10 B"), "{check}");
    }
}
