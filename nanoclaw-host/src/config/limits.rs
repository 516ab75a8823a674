//! `[limits]`: how many, how much, how long.

use std::time::Duration;

use super::{
    reader::{Reader, Section, Variable},
    setting::Setting,
    value,
};

/// How many, how much, how long; all but the first can be changed for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Containers at once. `MAX_CONCURRENT_CONTAINERS` in v1.
    pub max_concurrent_containers: Setting<u32>,
    /// How long a container rests before it is asked to end. `IDLE_TIMEOUT` (ms) in v1.
    pub idle_timeout: Setting<Duration>,
    /// How long a busy container whose agent gives no signs of life may go without progress. `CONTAINER_TIMEOUT` (ms) in v1.
    pub run_timeout: Setting<Duration>,
    /// How long an agent may take for one answer, whatever signs it gives.
    pub turn_timeout: Setting<Duration>,
    /// Messages in one prompt. `MAX_MESSAGES_PER_PROMPT` in v1.
    pub max_messages_per_prompt: Setting<u32>,
    /// Bytes of one prompt.
    pub max_prompt_size: Setting<u64>,
}

impl LimitsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let half_an_hour = Duration::from_secs(30 * 60);
        let mut section = reader.section("limits");
        let config = Self {
            max_concurrent_containers: section.read(
                "max_concurrent_containers",
                Some(Variable::Same("MAX_CONCURRENT_CONTAINERS")),
                5,
                value::count(1..=1000),
            ),
            idle_timeout: idle_timeout(&mut section, Some(Variable::Milliseconds("IDLE_TIMEOUT")))
                .unwrap_or_else(|| Setting::default_to(half_an_hour)),
            run_timeout: run_timeout(&mut section, Some(Variable::Milliseconds("CONTAINER_TIMEOUT")))
                .unwrap_or_else(|| Setting::default_to(half_an_hour)),
            turn_timeout: turn_timeout(&mut section).unwrap_or_else(|| Setting::default_to(8 * half_an_hour)),
            max_messages_per_prompt: max_messages(&mut section, Some(Variable::Same("MAX_MESSAGES_PER_PROMPT")))
                .unwrap_or_else(|| Setting::default_to(10)),
            max_prompt_size: max_prompt_size(&mut section).unwrap_or_else(|| Setting::default_to(256 << 10)),
        };
        section.finish();
        config
    }
}

pub(super) fn idle_timeout(section: &mut Section<'_, '_>, v1: Option<Variable>) -> Option<Setting<Duration>> {
    section.lookup("idle_timeout", v1, value::duration(Duration::ZERO..=Duration::from_secs(7 * 86_400)))
}

pub(super) fn run_timeout(section: &mut Section<'_, '_>, v1: Option<Variable>) -> Option<Setting<Duration>> {
    section.lookup("run_timeout", v1, value::duration(Duration::from_secs(1)..=Duration::from_secs(7 * 86_400)))
}

pub(super) fn max_messages(section: &mut Section<'_, '_>, v1: Option<Variable>) -> Option<Setting<u32>> {
    section.lookup("max_messages_per_prompt", v1, value::count(1..=1000))
}

pub(super) fn turn_timeout(section: &mut Section<'_, '_>) -> Option<Setting<Duration>> {
    section.lookup("turn_timeout", None, value::duration(Duration::from_secs(1)..=Duration::from_secs(7 * 86_400)))
}

pub(super) fn max_prompt_size(section: &mut Section<'_, '_>) -> Option<Setting<u64>> {
    // A container reads 64 MiB at most, and JSON makes a text up to six times as long.
    section.lookup("max_prompt_size", None, value::size(4 << 10..=8 << 20))
}
