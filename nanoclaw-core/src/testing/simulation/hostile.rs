//! What an agent can put into its journal besides blocks: rubbish, and lies about whose block it is.

use std::{fs::File, os::unix::fs::symlink};

use super::{agent::silent, plan::AgentKind, world::World};
use crate::{
    mailbox::Folder,
    message::Seq,
    protocol::output::{Block, JournalEntry},
    run::{BlockNumber, RunId, RunNumber},
};

/// What nobody may ever see, since no agent said it.
pub(super) const FORGED: &str = "forged";

/// What lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Litter {
    /// Half a block.
    Torn,
    Garbage,
    /// Larger than any block.
    Huge,
    /// A block of an earlier run.
    Earlier,
    /// A block of a run that is yet to come.
    Later,
    /// A block of this run that is far from its turn.
    FarAhead,
    /// A link to a block.
    Link,
    Folder,
}

/// Leaves something in the journal of `run`, whose agent has said `blocks` blocks. The agent's own journal tells the host
/// to look.
pub(super) fn litter(world: &World, output: &Folder, run: &RunId, blocks: u32, kind: AgentKind) {
    use Litter::{Earlier, FarAhead, Folder, Garbage, Huge, Later, Link, Torn};
    let litter = world.one_of(&[Torn, Garbage, Huge, Earlier, Later, FarAhead, Link, Folder]);
    world.note(|| format!("agent {run} leaves {litter:?} in its journal"));
    let forged = Block { result: Some(format!("{FORGED} by {run}")), ..silent(Some(Seq(i64::MAX))) };
    let entry = |number: u32, of: RunNumber, block: &Block| {
        let entry = JournalEntry { run: of, number: BlockNumber(number), block: block.clone() };
        (entry.file_name(), serde_json::to_vec(&entry).expect("a journal entry has text keys and plain values"))
    };
    let (name, whole) = entry(blocks + 1, run.number, &forged);
    // Before the block that is to come, which would replace a file of its name.
    let early = output.path().join(format!("{:010}-!.json", run.number.0));
    // In memory and in a folder of the world's own, this does not fail; and if it did, nothing would be there to be found.
    let _ = match litter {
        Torn => std::fs::write(early, &whole[..whole.len() / 2]),
        Garbage => std::fs::write(early, b"\0\xff{[\"run\":"),
        // It has holes, and takes no room.
        Huge => File::create(early).and_then(|file| file.set_len(3 << 20)),
        Earlier => {
            let (name, json) = entry(1, RunNumber(run.number.0.saturating_sub(1)), &forged);
            std::fs::write(output.path().join(name), json)
        }
        Later => {
            let (name, json) = entry(1, run.number.next(), &forged);
            std::fs::write(output.path().join(name), json)
        }
        // Of an agent of v1 it would be an answer like any other.
        FarAhead if kind != AgentKind::Ours => Ok(()),
        FarAhead => {
            let (name, json) = entry(blocks + 1000, run.number, &silent(Some(Seq::ZERO)));
            std::fs::write(output.path().join(name), json)
        }
        Link => {
            let target = world.root.join(format!("{run}-{name}"));
            std::fs::write(&target, &whole).and_then(|()| symlink(target, early))
        }
        Folder => std::fs::create_dir_all(early.join("within")),
    };
}
