//! Clients that come in numbers, and the server that lets them wait.

use std::fs::{File, read_to_string};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use aya::programs::SocketFilter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, dup};
use rustix::net::{SocketFlags, acceptfrom_with, connect, getsockname, listen, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::set_name;

use super::actor::{become_user, bound, report, say, stream_socket, until_end_of_input};
use super::bytecode::{NO, PROGRAM, object};
use super::process::NOBODY;

/// More dials than any queue of a scenario takes.
const MOST: u32 = 5_000;
/// Files that a server may open which then can accept no more: `ulimit -n 40`.
const MOST_FILES: u64 = 40;

/// Listens and never accepts. With `shared` the port may be listened on by others too.
pub(super) fn idle(address: SocketAddr, backlog: i32, shared: bool) -> Result<()> {
    set_name(c"server").context("cannot name the task")?;
    let socket = bound(address, shared)?;
    listen(&socket, backlog).with_context(|| format!("cannot listen on {address}"))?;
    say("listening")?;
    until_end_of_input()
}

/// Listens behind a filter that lets nothing in.
pub(super) fn deaf(address: SocketAddr) -> Result<()> {
    set_name(c"server").context("cannot name the task")?;
    let socket = bound(address, false)?;
    let mut ebpf = Ebpf::load(&object("socket", PROGRAM, NO)).context("cannot read the filter")?;
    let filter: &mut SocketFilter = ebpf.program_mut(PROGRAM).context("the filter is missing")?.try_into()?;
    filter.load().context("cannot load the filter: CAP_BPF is needed")?;
    filter.attach(&socket).context("cannot attach the filter")?;
    listen(&socket, 128).with_context(|| format!("cannot listen on {address}"))?;
    say("listening")?;
    until_end_of_input()
}

/// Listens and may open no more files: its accept fails, and is not tried again.
pub(super) fn out_of_files(address: SocketAddr, backlog: i32) -> Result<()> {
    set_name(c"server").context("cannot name the task")?;
    let socket = bound(address, false)?;
    listen(&socket, backlog).with_context(|| format!("cannot listen on {address}"))?;
    let limit = Rlimit { current: Some(MOST_FILES), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).context("cannot limit the open files")?;
    let _all: Vec<OwnedFd> = std::iter::from_fn(|| dup(&socket).ok()).collect();
    say("listening")?;
    accept_in_vain(&socket, Errno::MFILE)
}

/// Listens as a user for whom the host's limit counts: its accept fails, and is not tried again.
pub(super) fn out_of_the_host_s_files(address: SocketAddr, backlog: i32) -> Result<()> {
    become_user(NOBODY)?;
    set_name(c"server").context("cannot name the task")?;
    let socket = bound(address, false)?;
    listen(&socket, backlog).with_context(|| format!("cannot listen on {address}"))?;
    say("listening")?;
    accept_in_vain(&socket, Errno::NFILE)
}

/// Waits for a connection that cannot be accepted for this reason.
fn accept_in_vain(socket: &OwnedFd, why: Errno) -> Result<()> {
    poll(&mut [PollFd::new(socket, PollFlags::IN)], None)?;
    match acceptfrom_with(socket, SocketFlags::CLOEXEC) {
        Err(error) if error == why => until_end_of_input(),
        Err(error) => Err(error).context("cannot accept"),
        Ok(_) => bail!("a connection was accepted that was to fail with {why}"),
    }
}

/// The most files that may be open on this host, and how many are, as far as the kernel has summed its processors' counts.
pub(super) fn files_of_host() -> Result<(u64, u64)> {
    let text = read_to_string("/proc/sys/fs/file-nr").context("cannot read /proc/sys/fs/file-nr")?;
    let numbers = text.split_ascii_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let [open, _, most] = numbers[..] else { bail!("/proc/sys/fs/file-nr says {text:?}") };
    Ok((most, open))
}

/// Opens all the files that this host may have open, and some more: each processor may count that many by itself.
pub(super) fn hoard_files() -> Result<()> {
    const UNSUMMED: u64 = 256;
    let (most, _) = files_of_host()?;
    let limit = Some(most + 2 * UNSUMMED);
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).context("cannot allow that many files")?;
    let mut hoard = Vec::new();
    while files_of_host()?.1 < most + UNSUMMED {
        hoard.push(File::open("/dev/null").context("cannot open /dev/null")?);
    }
    say("hoarded")?;
    until_end_of_input()
}

/// Dials until a dial is not answered in time, and tells of that one.
pub(super) fn dial_until_silence(address: SocketAddr, patience: i64) -> Result<()> {
    set_name(c"client").context("cannot name the task")?;
    let mut open: Vec<OwnedFd> = Vec::new();
    for _ in 0..MOST {
        let socket = begin(address)?;
        if !is_answered(&socket, patience)? {
            let from = getsockname(&socket).ok().and_then(|name| SocketAddr::try_from(name).ok());
            return report(from, Err(Errno::TIMEDOUT));
        }
        open.push(socket);
    }
    bail!("{MOST} dials of {address} were all answered")
}

/// Dials so many times, and stays connected.
pub(super) fn fill(number: u32, address: SocketAddr) -> Result<()> {
    set_name(c"client").context("cannot name the task")?;
    let sockets = (0..number).map(|_| stream_socket(address)).collect::<Result<Vec<_>>>()?;
    for socket in &sockets {
        connect(socket, &address).with_context(|| format!("cannot connect to {address}"))?;
    }
    say("filled")?;
    until_end_of_input()
}

/// Dials so many times; once more, without the handshake's last ACK; and once more before that comes.
pub(super) fn acknowledge_late(number: u32, address: SocketAddr) -> Result<()> {
    set_name(c"client").context("cannot name the task")?;
    let sockets = (0..number + 2).map(|_| stream_socket(address)).collect::<Result<Vec<_>>>()?;
    let late = &sockets[sockets.len() - 2];
    sockopt::set_tcp_quickack(late, false)?;
    for socket in &sockets {
        connect(socket, &address).with_context(|| format!("cannot connect to {address}"))?;
    }
    say("connected")?;
    poll(&mut [PollFd::new(late, PollFlags::empty())], None)?;
    say("reset")?;
    until_end_of_input()
}

/// Begins a dial.
fn begin(address: SocketAddr) -> Result<OwnedFd> {
    let socket = stream_socket(address)?;
    fcntl_setfl(&socket, OFlags::NONBLOCK)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error).with_context(|| format!("cannot dial {address}")),
    }
}

/// Whether a dial was answered in so many milliseconds.
fn is_answered(socket: &OwnedFd, patience: i64) -> Result<bool> {
    let mut ready = [PollFd::new(socket, PollFlags::OUT)];
    Ok(poll(&mut ready, Some(&milliseconds(patience)))? > 0)
}

fn milliseconds(number: i64) -> Timespec {
    Timespec { tv_sec: number / 1000, tv_nsec: number % 1000 * 1_000_000 }
}
