//! States that processes and queues are brought into, and the waits until they are.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use super::{REDIS, Stage};
use crate::commands::demo::cgroup::FrozenCgroup;

/// How long a process may take to do what it was told to, on a slow emulated machine too.
const PATIENCE: Duration = Duration::from_mins(2);
/// How soon it is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Time of the processor by which a Redis that was idle is known to be in a command, in the ticks of `/proc`: a tenth of a
/// second.
const IN_A_COMMAND: u64 = 10;

impl Stage {
    /// Ends a process by a signal.
    pub(crate) fn kill(&mut self, pid: u32, signal: Signal) -> Result<()> {
        self.process(pid)?.kill(signal)
    }

    /// Stops a process, and waits until it is.
    pub(crate) fn stop(&mut self, pid: u32) -> Result<()> {
        self.process(pid)?.signal(Signal::STOP)?;
        until(|| state(pid) == Some('T'), "it was stopped")
    }

    /// Freezes a process by a cgroup of its own, as a container is paused, and waits until it is.
    pub(crate) fn freeze(&mut self, pid: u32) -> Result<()> {
        let cgroup = FrozenCgroup::freeze(&format!("redis-trace-demo-{}-frozen", std::process::id()), pid)?;
        let cgroup = self.frozen.insert(cgroup);
        until(|| cgroup.is_frozen(), "it was frozen")
    }

    /// Lets a stopped process go on.
    pub(crate) fn go_on(&mut self, pid: u32) -> Result<()> {
        self.process(pid)?.signal(Signal::CONT)
    }

    /// Gives a Redis a command that keeps it from everything else, and waits until it does.
    pub(crate) fn occupy(&mut self, pid: u32, command: &[u8]) -> Result<()> {
        let mut client = self.netns.within(|| Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, REDIS))?))?;
        let before = ticks_of(pid);
        client.write_all(command).context("cannot write to Redis")?;
        // A Redis that is idle waits in epoll, and what it does now and then takes it no time to speak of.
        until(|| sleeps_for_a_time(pid) || ticks_of(pid) >= before + IN_A_COMMAND, "Redis was in the command")?;
        self.client = Some(client);
        Ok(())
    }

    /// Lets a process open no more files, until it gets back the limit that it had.
    pub(crate) fn forbid_files(pid: u32) -> Result<(u64, Rlimit)> {
        let taken = |file: &u64| fs::exists(format!("/proc/{pid}/fd/{file}")).unwrap_or(false);
        let next = (0..u64::from(u16::MAX)).take_while(taken).count() as u64;
        let before = Self::limit_files(pid, Rlimit { current: Some(next), ..getrlimit(Resource::Nofile) })?;
        Ok((next, before))
    }

    /// Sets how many files a process may open; what it was.
    pub(crate) fn limit_files(pid: u32, limit: Rlimit) -> Result<Rlimit> {
        let id = Pid::from_raw(i32::try_from(pid)?);
        prlimit(id, Resource::Nofile, limit).with_context(|| format!("cannot limit the files of process {pid}"))
    }

    /// Starts a program and waits until somebody listens on this port.
    pub(crate) fn listener(&mut self, line: &str, port: u16) -> Result<u32> {
        let program = Self::client_recipe(line).spawn(Some(&self.netns))?;
        let pid = self.keep(program);
        let local = format!(":{port:04X} 00000000:0000 0A ");
        until(|| self.connections_table().is_ok_and(|table| table.contains(&local)), "somebody listens")?;
        Ok(pid)
    }

    /// The kernel's table of IPv4 TCP sockets in this namespace.
    fn connections_table(&self) -> Result<String> {
        self.netns.within(|| Ok(fs::read_to_string("/proc/thread-self/net/tcp")?))
    }

    /// Waits until nobody waits to be accepted in this namespace: such a connection would be reset with its listener.
    pub(crate) fn all_accepted(&self) -> Result<()> {
        const LISTEN: &str = "0A";
        let is_empty = || {
            let Ok(table) = self.connections_table() else { return false };
            // State, and bytes to send and to receive: of a listener the latter is how many wait.
            let listeners = table.lines().map(|line| line.split_ascii_whitespace().skip(3).take(2).collect::<Vec<_>>());
            let mut queues = listeners.filter(|fields| fields.first() == Some(&LISTEN));
            queues.all(|fields| fields.last().is_some_and(|queues| queues.ends_with(":00000000")))
        };
        until(is_empty, "every connection was accepted")
    }

    /// How many handshakes are not over.
    pub(crate) fn half_open(&self) -> Result<u64> {
        const SYN_RECV: &str = " 03 ";
        Ok(self.connections_table()?.lines().filter(|line| line.contains(SYN_RECV)).count() as u64)
    }

    /// A counter of the kernel's in this namespace, as it began with it: `TcpExt` of `/proc/net/netstat`.
    pub(crate) fn counter(&self, name: &str) -> Result<u64> {
        let table = self.netns.within(|| Ok(fs::read_to_string("/proc/thread-self/net/netstat")?))?;
        let mut lines = table.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
        let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let value = names.split(' ').zip(values.split(' ')).find(|(of, _)| *of == name).map(|(_, value)| value);
        Ok(value.with_context(|| format!("the kernel does not count {name}"))?.parse()?)
    }

    /// Waits until the kernel has counted the first of these in this namespace.
    pub(crate) fn counts(&self, name: &str) -> Result<()> {
        until(|| self.counter(name).is_ok_and(|number| number > 0), name)
    }
}

/// The state of a process, as `ps` shows it.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Time of the processor that a process has had, in those ticks.
fn ticks_of(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    // utime and stime, proc_pid_stat(5).
    fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Whether a process sleeps in a system call that sleeps for a time, not one that waits for events.
fn sleeps_for_a_time(pid: u32) -> bool {
    // nanosleep and clock_nanosleep, on x86-64 and on 64-bit ARM.
    const SLEEPS: [&str; 4] = ["35", "230", "101", "115"];
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let call = call.split(' ').next().unwrap_or_default();
    state(pid) == Some('S') && SLEEPS.contains(&call)
}

/// Looks until it is so: there is nothing of these that could be waited for.
fn until(mut is_so: impl FnMut() -> bool, what: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}
