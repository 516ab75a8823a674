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

use super::{At, bubblewrap, confine, filter, handover::Taken, hung_up, image, report, root, say, sys};
use crate::runtimes::sandbox::plan::{Isolation, Plan, Refusal, Task, Word};

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
pub(super) fn run(control: &mut UnixStream, plan: &Plan, lifeline: &Lifeline) -> ! {
    let Err(refusal) = become_container(control, plan, lifeline);
    say(control, &Word::Refused(refusal));
    std::process::exit(125)
}

/// Becomes the container, of which bubblewrap has made the namespaces and the root.
pub(super) fn run_behind_bubblewrap(taken: Taken) -> ! {
    let Taken { mut control, plan, sources, socket } = taken;
    let lifeline = Lifeline(socket.into());
    if let Err(refusal) = bubblewrap::check_mounts(&plan, &sources) {
        say(&mut control, &Word::Refused(refusal));
        std::process::exit(125)
    }
    run(&mut control, &plan, &lifeline)
}

fn become_container(control: &mut UnixStream, plan: &Plan, lifeline: &Lifeline) -> Result<Infallible, Refusal> {
    lifeline.arm()?;
    sys::default_signals();
    setsid().at("start a session")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if plan.isolation != Isolation::Bubblewrap {
        for procs in &plan.cgroups {
            // "0" is the writer itself. Before the cgroup namespace is made, so that its root is this cgroup.
            fs::write(procs, "0").at(format_args!("enter {}", procs.display()))?;
        }
    }
    if plan.isolation == Isolation::Namespaces {
        let rest = UnshareFlags::NEWNS
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWCGROUP;
        sys::unshare(rest).at("make mount, network, ipc, name and cgroup namespaces")?;
        sys::loopback_up().at("bring loopback up")?;
        rustix::system::sethostname(image::HOST_NAME.as_bytes()).at("set the host name")?;
        confine::namespace_limits(plan);
        root::enter(plan)?;
    }
    confine::resources(plan)?;
    confine::identity(plan)?;
    // A change of user or capabilities clears the death signal.
    lifeline.arm()?;
    let landlock = confine::landlock(plan)?;
    if plan.isolation != Isolation::Nothing {
        filter::apply(plan.isolation).at("install the system call filters")?;
        if matches!(plan.task, Task::Command(_)) {
            report::verify(plan)?;
        }
    }
    match &plan.task {
        Task::Report => {
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
    say(control, &Word::Launching);
    // The standard library looks the program up in the PATH of the new environment, and restores SIGPIPE.
    let error = Command::new(program).args(arguments).env_clear().envs(&plan.env).exec();
    Err(Refusal::Command(error.to_string()))
}
