//! The small programs that play the clients and servers of a scenario: `redis-trace demo-actor PART …`, a hidden command.
//!
//! They are this same binary, because a virtual machine that tests it has no other. Each says what happened as a line on its
//! standard output, and each ends when its standard input does, so that none outlives the demo.

use std::ffi::CStr;
use std::io::{BufRead as _, Read as _, Write as _, stdin, stdout};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, bind, connect, getsockname, listen,
    socket_with, sockopt,
};
use rustix::process::{Gid, Uid};
use rustix::thread::{UnshareFlags, gettid, set_name};
use serde::{Deserialize, Serialize};

use super::confine::HOSTILE_PROFILE;
use super::{confine, crowd, healthy, tomoyo, visitor, wire};
use crate::commands::top;

/// One attempt to connect, as the one who tried saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dialled {
    /// Who tried.
    pub(crate) pid: u32,
    /// Its thread.
    pub(crate) tid: i32,
    /// Its user.
    pub(crate) uid: u32,
    /// Its own address, when it had one.
    pub(crate) from: Option<SocketAddr>,
    /// 0, or the errno.
    pub(crate) errno: i32,
}

/// Plays a part.
pub(crate) fn play(arguments: &[String]) -> Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["hold"] => hold(),
        ["dial", uid, times, addresses @ ..] => dial(uid.parse()?, times.parse()?, addresses),
        ["dial-briefly", address] => dial_briefly(address.parse()?),
        ["dial-unix", uid, path] => dial_unix(uid.parse()?, path),
        ["bind", address] => {
            let _socket = bound(address.parse()?, false)?;
            say("bound")?;
            until_end_of_input()
        }
        ["listen", address] => serve(address.parse()?, false),
        ["listen-too", address] => serve(address.parse()?, true),
        ["idle", address, backlog] => crowd::idle(address.parse()?, backlog.parse()?, false),
        ["idle-too", address, backlog] => crowd::idle(address.parse()?, backlog.parse()?, true),
        ["out-of-files", address, backlog] => crowd::out_of_files(address.parse()?, backlog.parse()?),
        ["out-of-the-host-s-files", address, backlog] => {
            crowd::out_of_the_host_s_files(address.parse()?, backlog.parse()?)
        }
        ["hoard-files"] => crowd::hoard_files(),
        ["fill", address, number] => crowd::fill(number.parse()?, address.parse()?),
        ["dial-until-silence", address, patience] => crowd::dial_until_silence(address.parse()?, patience.parse()?),
        ["acknowledge-late", address, number] => crowd::acknowledge_late(number.parse()?, address.parse()?),
        ["dial-unix-until-refused", path] => dial_unix_until_refused(path),
        ["healthy", address, connections] => healthy::play(address.parse()?, connections.parse()?),
        ["listen-deaf", address] => crowd::deaf(address.parse()?),
        ["fill-conntrack"] => wire::fill_conntrack(),
        ["flood", source, server, number] => wire::flood(source.parse()?, server.parse()?, number.parse()?),
        ["landlock", what, rest @ ..] => confine::landlock(what, rest),
        ["apparmor", profile, rest @ ..] => confine::apparmor(profile.as_bytes(), rest),
        ["apparmor-hostile", rest @ ..] => confine::apparmor(HOSTILE_PROFILE, rest),
        ["bind-under", profile, address] => bind_under(profile, address.parse()?),
        ["accept-under", profile, address] => accept_under(profile, address.parse()?),
        ["bind-hostile", address] => bind_hostile(address.parse()?),
        ["files-at-most", most, rest @ ..] => confine::files_at_most(most.parse()?, rest),
        ["files", most, taken, rest @ ..] => confine::files(most.parse()?, taken.parse()?, rest),
        ["selinux", domain, rest @ ..] => confine::selinux(domain, rest),
        ["tomoyo", rest @ ..] => tomoyo::enter(rest),
        ["seccomp", rest @ ..] => confine::seccomp(rest),
        ["cgroup", door, rest @ ..] => confine::cgroup(door, rest),
        ["post", server] => visitor::post(server.parse()?),
        ["hello", server] => visitor::hello(server.parse()?),
        ["alert", server, version] => visitor::alert(server.parse()?, version),
        ["wait", server, request @ ..] => visitor::wait(server.parse()?, &request.join(" ")),
        ["quit", server] => visitor::quit(server.parse()?),
        ["follow", server] => visitor::follow(server.parse()?),
        ["proxy", own, server] => visitor::proxy(own.parse()?, server.parse()?),
        ["exhaust", address] => exhaust(address.parse()?),
        ["give-up", milliseconds, address] => give_up(milliseconds.parse()?, address.parse()?),
        ["panic-on-screen"] => top::panic_on_screen(),
        ["answer", server, answers @ ..] => wire::answer(server.parse()?, answers),
        unknown => bail!("there is no part {unknown:?} to play"),
    }
}

/// Says a line at once.
pub(crate) fn say(line: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Blocks until whoever started us closes our standard input, or dies.
pub(crate) fn until_end_of_input() -> Result<()> {
    stdin().read_to_end(&mut Vec::new()).context("cannot read standard input")?;
    Ok(())
}

/// Keeps a new network namespace alive.
fn hold() -> Result<()> {
    set_name(c"init").context("cannot name the task")?;
    #[expect(
        deprecated,
        reason = "the newer name is unsafe for UnshareFlags::FILES alone, and the program has no unsafe code"
    )]
    rustix::thread::unshare(UnshareFlags::NEWNET)
        .context("cannot make a network namespace: CAP_SYS_ADMIN is needed")?;
    say("ready")?;
    until_end_of_input()
}

/// Becomes a user without rights.
pub(crate) fn become_user(uid: u32) -> Result<()> {
    if uid != 0 {
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_gid(Gid::from_raw(uid))?;
        rustix::thread::set_thread_uid(Uid::from_raw(uid)).context("cannot change the user")?;
    }
    set_name(c"client").context("cannot name the task")
}

/// Dials each address once, in order, on one thread, until one answers; `times` times.
fn dial(uid: u32, times: u32, addresses: &[&str]) -> Result<()> {
    become_user(uid)?;
    for _ in 0..times {
        for address in addresses {
            let address: SocketAddr = address.parse()?;
            let socket = stream_socket(address)?;
            let result = connect(&socket, &address);
            let from = getsockname(&socket).ok().and_then(|name| SocketAddr::try_from(name).ok());
            report(from, result)?;
            if result.is_ok() {
                break;
            }
        }
    }
    Ok(())
}

/// Dials an address once and waits a tenth of a second at most.
fn dial_briefly(address: SocketAddr) -> Result<()> {
    become_user(0)?;
    let socket = stream_socket(address)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(Duration::from_millis(100)))?;
    let result = connect(&socket, &address);
    report(getsockname(&socket).ok().and_then(|name| SocketAddr::try_from(name).ok()), result)
}

/// Dials an address until it is refused, and keeps every connection until then.
fn exhaust(address: SocketAddr) -> Result<()> {
    become_user(0)?;
    let mut connected = Vec::new();
    loop {
        let socket = stream_socket(address)?;
        let result = connect(&socket, &address);
        report(None, result)?;
        if result.is_err() {
            return Ok(());
        }
        connected.push(socket);
    }
}

/// Dials an address and gives up when it has not answered in time.
fn give_up(milliseconds: i64, address: SocketAddr) -> Result<()> {
    become_user(0)?;
    let socket = stream_socket(address)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    let dialled = connect(&socket, &address);
    let from = getsockname(&socket).ok().and_then(|name| SocketAddr::try_from(name).ok());
    let patience = Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
    let mut answered = [PollFd::new(&socket, PollFlags::OUT)];
    let answers = poll(&mut answered, Some(&patience))?;
    // A dial that was answered is none to give up.
    report(from, if answers == 0 { dialled } else { Ok(()) })
}

/// Dials a unix socket; a name that begins with `@` is abstract.
fn dial_unix(uid: u32, path: &str) -> Result<()> {
    become_user(uid)?;
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(path)?,
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let result = connect(&socket, &address);
    report(None, result)
}

/// Dials a unix socket without waiting until it is refused.
fn dial_unix_until_refused(path: &str) -> Result<()> {
    become_user(0)?;
    let address = SocketAddrUnix::new(path)?;
    let mut open = Vec::new();
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let result = connect(&socket, &address);
        if result.is_err() {
            return report(None, result);
        }
        open.push(socket);
    }
}

/// Says how an attempt went.
pub(crate) fn report(from: Option<SocketAddr>, result: Result<(), Errno>) -> Result<()> {
    let dialled = Dialled {
        pid: std::process::id(),
        tid: gettid().as_raw_nonzero().get(),
        uid: rustix::process::getuid().as_raw(),
        from,
        errno: result.map_or_else(Errno::raw_os_error, |()| 0),
    };
    say(&serde_json::to_string(&dialled)?)
}

/// Listens, accepts and keeps whoever comes; on the line `close` it closes the listening socket and lives on.
fn serve(address: SocketAddr, shared: bool) -> Result<()> {
    set_name(c"server").context("cannot name the task")?;
    let socket = bound(address, shared)?;
    listen(&socket, 16).with_context(|| format!("cannot listen on {address}"))?;
    say("listening")?;
    let mut accepted: Vec<OwnedFd> = Vec::new();
    loop {
        let input = stdin();
        let mut ready = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&input, PollFlags::IN)];
        poll(&mut ready, None)?;
        if ready[0].revents().contains(PollFlags::IN) {
            accepted.push(acceptfrom_with(&socket, SocketFlags::CLOEXEC)?.0);
        } else if input.lock().read_line(&mut String::new())? == 0 {
            return Ok(());
        } else {
            break;
        }
    }
    drop(socket);
    say("closed")?;
    until_end_of_input()
}

/// Makes a socket, comes under an AppArmor profile, and only then binds.
fn bind_under(profile: &str, address: SocketAddr) -> Result<()> {
    set_name(c"server").context("cannot name the task")?;
    let socket = stream_socket(address)?;
    confine::change_profile(profile)?;
    report(None, bind(&socket, &address))
}

/// Listens, comes under an AppArmor profile, and only then accepts, until it is told to end.
fn accept_under(profile: &str, address: SocketAddr) -> Result<()> {
    set_name(c"server").context("cannot name the task")?;
    let socket = bound(address, false)?;
    listen(&socket, 16)?;
    confine::change_profile(profile)?;
    say("listening")?;
    let ready = &mut [PollFd::new(&socket, PollFlags::IN)];
    poll(ready, None).context("cannot wait for a client")?;
    let accepted = acceptfrom_with(&socket, SocketFlags::CLOEXEC);
    ensure!(accepted.err() == Some(Errno::ACCESS), "accept was not denied");
    say("denied")?;
    until_end_of_input()
}

/// Binds under a name that would forge a line, a field or a sequence of a terminal's.
fn bind_hostile(address: SocketAddr) -> Result<()> {
    set_name(HOSTILE_COMM).context("cannot name the task")?;
    report(None, bind(&stream_socket(address)?, &address))
}

/// The longest name that a task may have, and what the tool makes of it.
const HOSTILE_COMM: &CStr = c"\x1b[2J\n\"},{\\\xff\xc2\x85";

/// A stream socket of the address's family.
pub(crate) fn stream_socket(address: SocketAddr) -> Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).context("cannot make a socket")
}

/// A stream socket bound to the address, which others may be too when `shared`; an IPv6 one takes IPv6 only.
pub(crate) fn bound(address: SocketAddr, shared: bool) -> Result<OwnedFd> {
    let socket = stream_socket(address)?;
    sockopt::set_socket_reuseport(&socket, shared)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address).with_context(|| format!("cannot bind {address}"))?;
    Ok(socket)
}
