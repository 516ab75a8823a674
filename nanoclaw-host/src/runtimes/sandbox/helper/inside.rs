//! The inner half: the container's first process, from the fork to the command.

use std::{
    convert::Infallible,
    fs,
    os::{fd::OwnedFd, unix::net::UnixStream, unix::process::CommandExt},
    process::Command,
};

use rustix::{
    process::{Signal, set_parent_process_death_signal, setsid},
    thread::UnshareFlags,
};

use super::{
    At, bubblewrap, confine, filter,
    handover::{self, Taken},
    held::{self, Held},
    hung_up, image, report, root, say, sys,
};
use crate::runtimes::sandbox::plan::{Fault, Isolation, Plan, Refusal, Task, Word};

/// The end of a pipe or socket whose other end the outer process holds: it hangs up when that process ends.
pub(super) struct Lifeline(pub(super) OwnedFd);

impl Lifeline {
    /// Asks the kernel to kill this process with the outer one, and ends at once when that is gone already.
    fn arm(&self) -> Result<(), Refusal> {
        set_parent_process_death_signal(Some(Signal::KILL)).at("arm the death signal")?;
        if hung_up(&self.0) {
            std::process::exit(125);
        }
        Ok(())
    }
}

/// Becomes the container.
pub(super) fn run(control: &mut UnixStream, plan: &Plan, held: &Held, lifeline: &Lifeline) -> ! {
    let Err(refusal) = become_container(control, plan, held, lifeline);
    say(control, &Word::Refused(refusal));
    std::process::exit(125)
}

/// Becomes the container, of which bubblewrap has made the namespaces and the root.
pub(super) fn run_behind_bubblewrap(taken: Taken) -> ! {
    let Taken { mut control, plan, sources, socket } = taken;
    let lifeline = Lifeline(socket.into());
    // Where a test wants a fault, it wants it found by the look from outside.
    let checked = if plan.wants_faults() { Ok(()) } else { bubblewrap::check_mounts(&plan, &sources) };
    if let Err(refusal) = checked {
        say(&mut control, &Word::Refused(refusal));
        std::process::exit(125)
    }
    run(&mut control, &plan, &Held::new(), &lifeline)
}

fn become_container(
    control: &mut UnixStream,
    plan: &Plan,
    held: &Held,
    lifeline: &Lifeline,
) -> Result<Infallible, Refusal> {
    lifeline.arm()?;
    sys::default_signals();
    setsid().at("start a session")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let copies = match plan.isolation {
        // While this is still the host's mount namespace, and outside the container's limits.
        Isolation::Namespaces => held::copies(plan, held)?,
        _ => Held::new(),
    };
    if plan.isolation != Isolation::Bubblewrap {
        for procs in plan.cgroups.iter().filter(|_| !plan.has(Fault::NoGroups)) {
            // "0" is the writer itself. Before the cgroup namespace is made, so that its root is this cgroup.
            fs::write(procs, "0").at(format_args!("enter {}", procs.display()))?;
        }
    }
    if plan.isolation == Isolation::Namespaces {
        let rest = [
            (UnshareFlags::NEWNET, Fault::SharedNetwork),
            (UnshareFlags::NEWIPC, Fault::SharedIpc),
            (UnshareFlags::NEWUTS, Fault::SharedHostName),
            (UnshareFlags::NEWCGROUP, Fault::SharedCgroups),
        ];
        let rest = rest.into_iter().filter(|(_, fault)| !plan.has(*fault)).map(|(flag, _)| flag);
        sys::unshare(rest.fold(UnshareFlags::NEWNS, |all, flag| all | flag))
            .at("make mount, network, ipc, name and cgroup namespaces")?;
        if !plan.has(Fault::SharedNetwork) {
            sys::loopback_up().at("bring loopback up")?;
        }
        if !plan.has(Fault::SharedHostName) {
            rustix::system::sethostname(image::HOST_NAME.as_bytes()).at("set the host name")?;
        }
        confine::namespace_limits(plan);
        root::enter(plan, copies)?;
    }
    confine::resources(plan)?;
    confine::identity(plan)?;
    // A change of user or capabilities clears the death signal.
    lifeline.arm()?;
    let landlock = if plan.has(Fault::NoFilters) { String::new() } else { confine::landlock(plan, held)? };
    if plan.isolation != Isolation::Nothing {
        filter::apply(plan).at("install the system call filters")?;
        if matches!(plan.task, Task::Command(_)) {
            report::verify(plan)?;
        }
    }
    match &plan.task {
        Task::Report => {
            wait_for_the_look(control);
            say(control, &Word::Report(report::look(landlock)));
            std::process::exit(0)
        }
        Task::Command(words) => execute(control, plan, words),
    }
}

fn execute(control: &mut UnixStream, plan: &Plan, words: &[String]) -> Result<Infallible, Refusal> {
    let [program, arguments @ ..] = words else { return Err(Refusal::Command("the command is empty".to_owned())) };
    std::env::set_current_dir(&plan.workdir).map_err(|error| {
        Refusal::Command(format!("its working directory {} cannot be entered: {error}", plan.workdir))
    })?;
    wait_for_the_look(control);
    // The standard library looks the program up in the PATH of the new environment, and restores SIGPIPE.
    let error = Command::new(program).args(arguments).env_clear().envs(&plan.env).exec();
    Err(Refusal::Command(error.to_string()))
}

/// Says that all is in force and waits until the host has seen for itself. Ends where the host is gone or does not like it: then
/// nothing of the command was executed.
fn wait_for_the_look(control: &mut UnixStream) {
    if handover::ready(control).is_err() {
        std::process::exit(125);
    }
}
