//! What a crowd showed, in figures.

use std::path::Path;

use crate::{
    crowd::{Outcome, Plan, run},
    figures::{Figure, Unit},
};

pub(crate) fn measure(program: &Path, plan: &Plan) -> Vec<Figure> {
    let Plan { groups, messages, cap, .. } = plan;
    eprintln!("six channels, {groups} groups each, {messages} messages a group, {cap} containers at once, with faults");
    let outcome = match run(program, plan) {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("skipped: needs the sandbox, and agent-runner and nanoclaw-whatsapp beside nanoclaw: {error}");
            return Vec::new();
        }
    };
    for (fault, times) in &outcome.faults {
        eprintln!("  {times} times {fault}");
    }
    for line in outcome.strange.iter().take(20) {
        eprintln!("  {line}");
    }
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let count = |name: &str, count: usize| Figure::new(format!("crowd: {name}"), Unit::Count, vec![count as f64]);
    let memory = |what: &str, mib| Figure::new(format!("crowd: {what}"), Unit::Mebibytes, vec![mib]);
    let Outcome { host, whatsapp, .. } = outcome;
    vec![
        count("messages said", outcome.said),
        count("lost", outcome.lost).under(1.0),
        count("doubled", outcome.doubled).under(1.0),
        count("displaced", outcome.displaced).under(1.0),
        count("things that went wrong on the way", outcome.faults.values().sum()),
        count("runs of containers", outcome.runs),
        count(
            "seconds from the first message to the last answer",
            usize::try_from(outcome.took.as_secs()).unwrap_or(0),
        ),
        memory("the most memory that the host had", host.peak_mib).under(60.0),
        memory("its memory in the end", host.resident_mib),
        memory("of that, memory of its own (not files)", host.own_mib),
        memory("the most memory that nanoclaw-whatsapp had", whatsapp.peak_mib).under(60.0),
        memory("its memory in the end", whatsapp.resident_mib),
        memory("of that, memory of its own (not files)", whatsapp.own_mib),
    ]
}
