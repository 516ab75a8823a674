//! `[container]`: what the agents run in.

use nanoclaw_core::runtime::{ImageRef, RunAs, RuntimeKind};

use super::{
    reader::{Reader, Section, Variable},
    setting::Setting,
    value::{self, Raw, Right},
};

/// Which runtime was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// The first that really works: docker, podman, sandbox.
    Auto,
    /// This one and no other; a service waits for it.
    Fixed(RuntimeKind),
}

/// Which user was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserChoice {
    /// The user of the host process, or 1000:1000 when that is root.
    Auto,
    /// This one; never root.
    Fixed(RunAs),
}

/// Whether the folders of the home are labelled for SELinux when an engine mounts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelinuxRelabel {
    /// They keep the labels they have.
    None,
    /// For all containers.
    Shared,
    /// For the one container that uses them, where it is one.
    Private,
}

/// What the agents run in, for all groups that do not say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Which runtime; default `auto`.
    pub runtime: Setting<RuntimeChoice>,
    /// The image. `CONTAINER_IMAGE` in v1. A runtime without images (the sandbox) takes its own default when this is one.
    pub image: Setting<ImageRef>,
    /// Bytes of memory, swap included; `None` for no bound. Default 2 GiB.
    pub memory_bytes: Setting<Option<u64>>,
    /// Processes and threads; `None` for no bound. Default 256.
    pub pids: Setting<Option<u32>>,
    /// Thousandths of a processor; `None` for no bound. Default 1500.
    pub milli_cpus: Setting<Option<u32>>,
    /// The user inside; default `auto`.
    pub user: Setting<UserChoice>,
    /// Bytes of the private `/tmp`. Default 256 MiB.
    pub tmp_bytes: Setting<u64>,
    /// The most memory that a group may be given; default what everybody has. So are the three that follow.
    pub max_memory_bytes: Setting<Option<u64>>,
    /// The most processes and threads.
    pub max_pids: Setting<Option<u32>>,
    /// The most thousandths of a processor.
    pub max_milli_cpus: Setting<Option<u32>>,
    /// The largest `/tmp`.
    pub max_tmp_bytes: Setting<u64>,
    /// What is done about SELinux; default nothing.
    pub selinux_relabel: Setting<SelinuxRelabel>,
}

const DEFAULT_IMAGE: &str = "nanoclaw-agent:latest";

impl ContainerConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("container");
        let memory_bytes = memory(&mut section, "memory").unwrap_or_else(|| Setting::default_to(Some(2 << 30)));
        let pids = processes(&mut section, "pids").unwrap_or_else(|| Setting::default_to(Some(256)));
        let milli_cpus = cpus(&mut section, "cpus").unwrap_or_else(|| Setting::default_to(Some(1500)));
        let tmp_bytes = tmp(&mut section, "tmp").unwrap_or_else(|| Setting::default_to(256 << 20));
        let config = Self {
            runtime: section.read("runtime", None, RuntimeChoice::Auto, runtime),
            image: image(&mut section, Some(Variable::Same("CONTAINER_IMAGE"))).unwrap_or_else(|| {
                Setting::default_to(ImageRef::new(DEFAULT_IMAGE).expect("the default image's name is well formed"))
            }),
            user: section.read("user", None, UserChoice::Auto, user),
            selinux_relabel: section.read("selinux_relabel", None, SelinuxRelabel::None, selinux_relabel),
            max_memory_bytes: memory(&mut section, "max_memory").unwrap_or_else(|| Setting::default_to(*memory_bytes)),
            max_pids: processes(&mut section, "max_pids").unwrap_or_else(|| Setting::default_to(*pids)),
            max_milli_cpus: cpus(&mut section, "max_cpus").unwrap_or_else(|| Setting::default_to(*milli_cpus)),
            max_tmp_bytes: tmp(&mut section, "max_tmp").unwrap_or_else(|| Setting::default_to(*tmp_bytes)),
            memory_bytes,
            pids,
            milli_cpus,
            tmp_bytes,
        };
        section.finish();
        config
    }
}

pub(super) fn image(section: &mut Section<'_, '_>, v1: Option<Variable>) -> Option<Setting<ImageRef>> {
    let line = value::line(1024);
    section.lookup("image", v1, move |raw: &Raw<'_>| {
        line(raw).and_then(|text| ImageRef::new(text).map_err(|problem| Right::from(problem.reason)))
    })
}

pub(super) fn memory(section: &mut Section<'_, '_>, key: &'static str) -> Option<Setting<Option<u64>>> {
    // Less than 16 MiB starts nothing that could be an agent, and engines refuse less than 6 MiB.
    section.lookup(key, None, value::or_none(value::size(16 << 20..=1 << 42)))
}

pub(super) fn processes(section: &mut Section<'_, '_>, key: &'static str) -> Option<Setting<Option<u32>>> {
    section.lookup(key, None, value::or_none(value::count(8..=1_000_000)))
}

pub(super) fn cpus(section: &mut Section<'_, '_>, key: &'static str) -> Option<Setting<Option<u32>>> {
    section.lookup(key, None, value::or_none(value::processors()))
}

pub(super) fn tmp(section: &mut Section<'_, '_>, key: &'static str) -> Option<Setting<u64>> {
    section.lookup(key, None, value::size(1 << 20..=1 << 40))
}

fn runtime(raw: &Raw<'_>) -> Result<RuntimeChoice, Right> {
    let rule = value::word(&[
        ("auto", RuntimeChoice::Auto),
        ("docker", RuntimeChoice::Fixed(RuntimeKind::Docker)),
        ("podman", RuntimeChoice::Fixed(RuntimeKind::Podman)),
        ("sandbox", RuntimeChoice::Fixed(RuntimeKind::Sandbox)),
    ]);
    rule(raw).map_err(|_| r#""auto" or "docker" or "podman" or "sandbox""#.into())
}

fn selinux_relabel(raw: &Raw<'_>) -> Result<SelinuxRelabel, Right> {
    let rule = value::word(&[
        ("none", SelinuxRelabel::None),
        ("shared", SelinuxRelabel::Shared),
        ("private", SelinuxRelabel::Private),
    ]);
    rule(raw).map_err(|_| r#""none" or "shared" or "private""#.into())
}

fn user(raw: &Raw<'_>) -> Result<UserChoice, Right> {
    const RIGHT: &str = r#""auto", or a user and group by number such as "1000:1000", neither of them 0"#;
    let text = value::line(32)(raw).map_err(|_| RIGHT)?;
    if text == "auto" {
        return Ok(UserChoice::Auto);
    }
    let (uid, gid) = text.split_once(':').ok_or(RIGHT)?;
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| (1..u32::MAX).contains(id)).ok_or(RIGHT);
    Ok(UserChoice::Fixed(RunAs { uid: number(uid)?, gid: number(gid)? }))
}
