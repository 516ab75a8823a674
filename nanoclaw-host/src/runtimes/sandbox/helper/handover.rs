//! What goes through the sockets of a helper: the plan from the host, and how the outer process hands a container over to its
//! first process, where bubblewrap stands between the two.
//!
//! Bubblewrap's standard input, which it passes on unread, is a socket. Down it go the container's real streams and the
//! control socket beside the first byte, and a line with the plan; up comes a descriptor of the first process, the one thing
//! by which the outer process can reach it without a race; down goes a last byte when everything outside is done.

use std::{
    io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    process::{PidfdFlags, getpid, pidfd_open},
};

use super::{bubblewrap::Identity, held::Held, say, sys};
use crate::runtimes::sandbox::plan::{Plan, Word};

/// Most descriptors that travel at once.
pub(in crate::runtimes::sandbox) const MOST: usize = 8;

/// What came through the control socket.
pub(super) struct Received {
    /// The container's standard input.
    pub(super) input: OwnedFd,
    pub(super) plan: Plan,
    /// What the host holds of the plan's mounts.
    pub(super) held: Held,
}

/// Takes everything that the host sends before it waits for an answer. `None` when this is no control socket, or the host died
/// before it had sent everything.
pub(super) fn take_plan(control: &UnixStream) -> Option<Received> {
    let (more, mut first) = receive_beside(control).ok()?;
    let input = first.pop()?;
    let mut handles = Vec::new();
    for _ in 0..more {
        handles.extend(receive(control).ok()?);
    }
    // Nothing comes after the line before we have answered, so nothing is lost with the reader.
    let mut line = Vec::new();
    BufReader::new(control).read_until(b'\n', &mut line).ok()?;
    let plan: Plan = serde_json::from_slice(&line).ok()?;
    let all_there = line.ends_with(b"\n") && plan.held.len() == handles.len();
    let known = plan.held.iter().all(|&number| number < plan.mounts.len());
    (all_there && known).then(|| Received { input, held: plan.held.iter().copied().zip(handles).collect(), plan })
}

/// Tells the host that this process is ready, whatever its number is there, and waits until it may go on.
///
/// # Errors
/// When the host is gone, or does not want it to.
pub(super) fn ready(control: &mut UnixStream) -> io::Result<()> {
    send(&*control, &[pidfd_open(getpid(), PidfdFlags::empty())?.as_fd()])?;
    say(control, &Word::Ready);
    control.read_exact(&mut [0])
}

/// Gives the streams of this process, `control` and the plan to whoever answers at the other end; returns its descriptor.
///
/// # Errors
/// When nobody took them.
pub(super) fn give(
    socket: &mut UnixStream,
    control: &UnixStream,
    plan: &Plan,
    sources: &[Identity],
) -> io::Result<OwnedFd> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr(), control.as_fd()];
    send(&*socket, &streams)?;
    let mut line = serde_json::to_vec(&(plan, sources))?;
    line.push(b'\n');
    socket.write_all(&line)?;
    let first = receive(&*socket)?.pop();
    first.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before the container began"))
}

/// Lets the first process go on.
pub(super) fn release(socket: &mut UnixStream) {
    // Who does not hear it is gone, which its end tells.
    let _ = socket.write_all(b"\n");
}

/// What the first process was given.
pub(super) struct Taken {
    /// To the host.
    pub(super) control: UnixStream,
    pub(super) plan: Plan,
    /// Of the plan's mounts, in their order.
    pub(super) sources: Vec<Identity>,
    /// The socket that it came through: hangs up when the outer process ends.
    pub(super) socket: UnixStream,
}

/// The other end of [`give`]: takes everything, takes over the streams, and waits to be released.
///
/// # Errors
/// When this is not such a socket, or the outer process is gone.
pub(super) fn take(socket: OwnedFd) -> io::Result<Taken> {
    let mut given = receive(&socket)?.into_iter();
    let (Some(input), Some(output), Some(errors), Some(control)) =
        (given.next(), given.next(), given.next(), given.next())
    else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let socket = UnixStream::from(socket);
    let mut reader = BufReader::new(&socket);
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    let (plan, sources) = serde_json::from_slice(&line)?;
    send(&socket, &[pidfd_open(getpid(), PidfdFlags::empty())?.as_fd()])?;
    reader.read_exact(&mut [0])?;
    rustix::stdio::dup2_stdin(&input)?;
    rustix::stdio::dup2_stdout(&output)?;
    rustix::stdio::dup2_stderr(&errors)?;
    sys::close_the_rest_on_exec()?;
    Ok(Taken { control: control.into(), plan, sources, socket })
}

/// Sends one byte, a line's end, and `descriptors` beside it.
pub(super) fn send(socket: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    beside.push(SendAncillaryMessage::ScmRights(descriptors));
    rustix::net::sendmsg(socket, &[IoSlice::new(b"\n")], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one byte and the descriptors beside it; none at the end of the stream.
pub(super) fn receive(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    receive_beside(socket).map(|(_, descriptors)| descriptors)
}

/// The same with the byte; 0 at the end of the stream.
fn receive_beside(socket: impl AsFd) -> io::Result<(u8, Vec<OwnedFd>)> {
    let mut first = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut first)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = descriptors.flatten().collect();
    Ok((first[0], descriptors))
}
