//! The stage of one scenario: its namespace, its directory, its processes. All of it is gone when this value is.

mod clients;
mod denials;
mod servers;
mod states;
mod told;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::cgroup::{DenyingCgroup, FrozenCgroup, MemoryCgroup};
use super::confine::{Lenience, Profile};
use super::doorkeeper::Doorkeeper;
use super::expect::{Expected, Scope};
use super::netns::Netns;
use super::process::Process;
use super::server::Server;
use super::sk_lookup::Refuser;
use super::tomoyo::Policy;
use crate::host::clock::boottime;

pub(crate) use told::{endpoint, unix_refusal};

/// Where Redis listens.
pub(crate) const REDIS: u16 = 6379;

/// Everything that a scenario has made. Fields are dropped in this order: processes before what they live in.
pub(crate) struct Stage {
    /// Who plays the server.
    pub(crate) server: Server,
    /// By process id.
    processes: BTreeMap<u32, Process>,
    /// A connection that keeps a server in a command.
    client: Option<TcpStream>,
    refuser: Option<Refuser>,
    doorkeeper: Option<Doorkeeper>,
    cgroup: Option<MemoryCgroup>,
    denying: Option<DenyingCgroup>,
    frozen: Option<FrozenCgroup>,
    profile: Option<Profile>,
    lenience: Option<Lenience>,
    tomoyo: Option<Policy>,
    /// A second namespace, once one was asked for.
    other: Option<Netns>,
    netns: Netns,
    home: Home,
    /// Whether its clients are in that one.
    is_asked_from_elsewhere: bool,
    /// What they dial, where a rule sends them elsewhere.
    pub(crate) asked_at: Option<SocketAddr>,
    /// Whether they speak TLS.
    pub(crate) is_asked_by_tls: bool,
    /// What must be told.
    pub(crate) expected: Vec<Expected>,
    /// What belongs to this stage.
    pub(crate) scope: Scope,
    /// How many connections a healthy hour has.
    pub(crate) connections: u32,
    /// A server, and the queue in which connections wait for it or the limit that keeps it from accepting them.
    pub(crate) waiting: Option<(u32, Value)>,
}

/// One of a stage's two namespaces.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// The client's.
    Own,
    /// The other one.
    Far,
}

/// A temporary directory that everybody may enter.
struct Home(PathBuf);

impl Home {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("redis-trace-demo-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make the directory {}", path.display()))?;
        let home = Self(path);
        fs::set_permissions(&home.0, fs::Permissions::from_mode(0o755))?;
        Ok(home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("redis-trace: cannot remove the directory {}: {error}", self.0.display());
        }
    }
}

impl Stage {
    /// An empty stage in a namespace of its own.
    pub(crate) fn new(server: Server, connections: u32) -> Result<Self> {
        let home = Home::new()?;
        let netns = Netns::new()?;
        let mut scope = Scope { since: boottime(), directory: home.0.display().to_string(), ..Scope::default() };
        scope.netns.insert(netns.number);
        Ok(Self {
            server,
            processes: BTreeMap::new(),
            client: None,
            refuser: None,
            doorkeeper: None,
            cgroup: None,
            denying: None,
            frozen: None,
            profile: None,
            lenience: None,
            tomoyo: None,
            other: None,
            netns,
            home,
            is_asked_from_elsewhere: false,
            asked_at: None,
            is_asked_by_tls: false,
            expected: Vec::new(),
            scope,
            connections,
            waiting: None,
        })
    }

    /// The namespace's number.
    pub(crate) fn netns(&self) -> u32 {
        self.netns.number
    }

    /// The namespace itself.
    pub(crate) fn own(&self) -> &Netns {
        &self.netns
    }

    /// The other one.
    pub(crate) fn far(&self) -> Result<&Netns> {
        self.other.as_ref().context("the scenario has one namespace only")
    }

    /// The one that its clients are in.
    pub(crate) fn asked_from(&self) -> &Netns {
        self.other.as_ref().filter(|_| self.is_asked_from_elsewhere).unwrap_or(&self.netns)
    }

    /// One of the two.
    pub(crate) fn at(&self, end: End) -> Result<&Netns> {
        match end {
            End::Own => Ok(self.own()),
            End::Far => self.far(),
        }
    }

    /// A path in the scenario's directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.home.0.join(name).display().to_string()
    }

    /// This must be told.
    pub(crate) fn expect(&mut self, expected: Expected) {
        self.expected.push(expected);
    }

    /// Gives the namespace another address.
    pub(crate) fn add_address(&self, address: &str) -> Result<()> {
        self.netns.ip(&format!("addr add {address} dev lo"))
    }

    /// A second namespace, joined with the first by a wire: 10.77.0.1 here, `far` there.
    pub(crate) fn other_netns(&mut self, far: &str) -> Result<&mut Netns> {
        let other = Netns::new()?;
        self.netns.join("10.77.0.1/24", &other, far)?;
        self.scope.netns.insert(other.number);
        Ok(self.other.insert(other))
    }

    /// Sends what goes to this address over the wire, though nobody there owns it.
    pub(crate) fn know_neighbour(&self, address: &str, mac: &str) -> Result<()> {
        self.netns.ip(&format!("neighbour replace {address} lladdr {mac} dev wire nud permanent"))
    }

    /// Keeps a process on the stage.
    fn keep(&mut self, process: Process) -> u32 {
        let pid = process.pid();
        self.scope.pids.insert(pid);
        self.processes.insert(pid, process);
        pid
    }

    /// A process of this stage.
    pub(crate) fn process(&mut self, pid: u32) -> Result<&mut Process> {
        self.processes.get_mut(&pid).with_context(|| format!("process {pid} is not of this scenario"))
    }

    /// Writes a file into the scenario's directory; its path.
    pub(crate) fn write(&self, file: &str, content: &str) -> Result<String> {
        let path = self.path(file);
        fs::write(&path, content).with_context(|| format!("cannot write {path}"))?;
        Ok(path)
    }

    /// Starts an actor and waits until it has said that word.
    pub(crate) fn actor(&mut self, part: &str, word: &str) -> Result<u32> {
        let mut actor = Process::actor(&words(part)).spawn(Some(&self.netns))?;
        actor.wait_for(word)?;
        Ok(self.keep(actor))
    }

    /// Starts an actor in the other namespace.
    pub(crate) fn actor_elsewhere(&mut self, part: &str, word: &str) -> Result<u32> {
        let mut actor = Process::actor(&words(part)).spawn(self.other.as_ref())?;
        actor.wait_for(word)?;
        Ok(self.keep(actor))
    }

    /// Starts a program that is no Redis and waits until it has said that word; false when it is not installed.
    pub(crate) fn foreign(&mut self, line: &str, word: &str) -> Result<bool> {
        let words = words(line);
        match Process::program(&words[0], &words[1..]).spawn(Some(&self.netns)) {
            Err(error) if is_not_found(&error) => Ok(false),
            Err(error) => Err(error),
            Ok(mut program) => {
                program.wait_for(word)?;
                self.keep(program);
                Ok(true)
            }
        }
    }

    /// Runs a program to its end; a `+` stands for a blank within an argument.
    pub(crate) fn run(&mut self, line: &str) -> Result<()> {
        let mut program = Self::client_recipe(line).spawn(Some(&self.netns))?;
        let (said, status) = program.finish()?;
        ensure!(status.success(), "`{line}` ended with {status}: {}", said.join("\n"));
        Ok(())
    }

    /// Sets what the namespace has under `/proc/sys/net`.
    pub(crate) fn sysctl(&self, name: &str, value: impl Display + Copy + Sync) -> Result<()> {
        let path = format!("/proc/sys/net/{name}");
        self.netns.within(|| fs::write(&path, value.to_string()).with_context(|| format!("cannot write {path}")))
    }

    /// Runs `ip` in the namespace.
    pub(crate) fn ip(&self, arguments: &str) -> Result<()> {
        self.netns.ip(arguments)
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(Into::into).collect()
}

/// True when a program is not installed.
fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
