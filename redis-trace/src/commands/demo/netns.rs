//! A private network namespace with a process in it that keeps it alive, like the first process of a container.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::Process;

/// How long the kernel may take to see a wire, on a slow emulated machine too.
const PATIENCE: Duration = Duration::from_secs(30);

/// A network namespace that ends when this value does.
pub(crate) struct Netns {
    /// The process that keeps it.
    holder: Process,
    /// The way into it.
    file: File,
    /// Its inode, as the verdicts name it.
    pub(crate) number: u32,
    /// Its name below `/run/netns`, once it was given one.
    name: Option<String>,
}

impl Netns {
    /// Makes one whose loopback interface is up.
    pub(crate) fn new() -> Result<Self> {
        let mut holder = Process::actor(&["hold".into()]).spawn(None)?;
        holder.wait_for("ready")?;
        let path = format!("/proc/{}/ns/net", holder.pid());
        let file = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        let number = u32::try_from(file.metadata()?.ino()).context("the namespace's inode does not fit 32 bits")?;
        let netns = Self { holder, file, number, name: None };
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// The process that keeps it alive.
    pub(crate) fn holder(&self) -> u32 {
        self.holder.pid()
    }

    /// The way into it.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Does something inside it, on a thread of its own; processes started there stay there.
    pub(crate) fn within<T: Send>(&self, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let (file, number) = (&self.file, self.number);
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("cannot enter network namespace {number}: CAP_SYS_ADMIN is needed"))?;
                what()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The processes that live in it, the holder left aside.
    fn inhabitants(&self) -> impl Iterator<Item = Pid> {
        let (number, holder) = (self.number, self.holder());
        let processes = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
        let lives_here = move |pid: &u32| {
            let netns = std::fs::metadata(format!("/proc/{pid}/ns/net"));
            *pid != holder && netns.is_ok_and(|netns| netns.ino() == u64::from(number))
        };
        pids.filter(lives_here).filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
    }

    /// Runs `ip` inside it.
    pub(crate) fn ip(&self, arguments: &str) -> Result<()> {
        self.within(|| ip(arguments))
    }

    /// Gives it a name, as `ip netns add` would have.
    pub(crate) fn name(&mut self, name: &str) -> Result<()> {
        ip(&format!("netns attach {name} {}", self.holder()))?;
        self.name = Some(name.to_owned());
        Ok(())
    }

    /// Gives an interface an address of IPv6, and waits until it is answered for: the kernel joins its group in a work of its
    /// own, addrconf_dad_work(), and what asks for the address before that is lost for a second.
    pub(crate) fn add_address6(&self, address: &str, interface: &str) -> Result<()> {
        self.ip(&format!("addr add {address} dev {interface} nodad"))?;
        let deadline = Instant::now() + PATIENCE;
        let show = ["-6", "addr", "show", "dev", interface, "tentative"];
        while self.run("ip", &show)?.contains(&format!(" {address} ")) {
            ensure!(Instant::now() < deadline, "waited in vain until {address} was answered for");
        }
        Ok(())
    }

    /// The hardware address of its end of the wire.
    pub(crate) fn mac(&self) -> Result<String> {
        // `/sys` shows the namespace it was mounted in; `/proc/PID/net` shows every one, but no hardware address.
        let show = self.within(|| Ok(Command::new("ip").args(["-oneline", "link", "show", "wire"]).output()?))?;
        let show = String::from_utf8_lossy(&show.stdout).into_owned();
        let mac = show.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
        mac.map(ToOwned::to_owned).with_context(|| format!("`ip link show wire` names no hardware address: {show}"))
    }

    /// Joins it with another one by a pair of interfaces `wire`, with these addresses.
    pub(crate) fn join(&self, mine: &str, other: &Self, its: &str) -> Result<()> {
        self.ip(&format!("link add wire type veth peer name wire netns {}", other.holder()))?;
        for (netns, address) in [(self, mine), (other, its)] {
            netns.ip(&format!("addr add {address} dev wire"))?;
            netns.ip("link set wire up")?;
        }
        [self, other].into_iter().try_for_each(|netns| netns.is_up("wire"))
    }

    /// Waits until the kernel has seen that an interface has another at its other end: what is sent before that is lost.
    pub(crate) fn is_up(&self, name: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.run("ip", &["-brief", "link", "show", name])?.contains(" UP ") {
            ensure!(Instant::now() < deadline, "waited in vain until {name} was up");
        }
        Ok(())
    }
}

impl Drop for Netns {
    /// The holder ends with this value, and with it the namespace; only daemons and a name would outlive it.
    fn drop(&mut self) {
        for daemon in self.inhabitants() {
            // One that has just ended by itself is as good.
            let _ = kill_process(daemon, Signal::KILL);
        }
        if let Some(name) = self.name.take()
            && let Err(error) = ip(&format!("netns delete {name}"))
        {
            eprintln!("redis-trace: {error:#}");
        }
    }
}

/// Runs `ip` in the calling thread's namespace.
fn ip(arguments: &str) -> Result<()> {
    let output =
        Command::new("ip").args(arguments.split_whitespace()).output().context("cannot run ip: install iproute2")?;
    if !output.status.success() {
        bail!("`ip {arguments}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
