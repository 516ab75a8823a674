//! Telling a group what is wrong with its overlay: by a message to its chat, once for the same words.

use std::{fs, path::Path};

use crate::{
    chat_tools::{ChatTools, Outcome},
    log::say,
};

/// Says `troubles` in the log and, unless they were told before, in the group's chat. What was told is kept in the agent's `home`.
pub(crate) async fn tell(troubles: &[String], chat: &str, tools: &ChatTools, home: &Path) {
    for trouble in troubles {
        say!("overlay: {trouble}");
    }
    let told = home.join(".nanoclaw-overlay-told");
    let words = troubles.join("\n");
    if fs::read_to_string(&told).unwrap_or_default() == words {
        return;
    }
    if !troubles.is_empty() {
        let list: Vec<String> = troubles.iter().map(|trouble| format!("- {trouble}")).collect();
        let text = format!(
            "Something in this group's overlay (/app/src) cannot be used; I work without it:\n{}",
            list.join("\n")
        );
        match tools.send(chat, &text).await {
            Outcome::Done(_) | Outcome::NotKnown(_) => {}
            outcome => return say!("the group cannot be told: {}", outcome.text()),
        }
    }
    // Told again after it was mended and broke once more.
    let kept = if troubles.is_empty() { fs::remove_file(&told) } else { fs::write(&told, words) };
    if let Err(error) = kept {
        say!("cannot remember what the group was told: {error}");
    }
}
