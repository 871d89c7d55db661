//! The stage of one scenario: its namespace, its directory, its processes. All of it is gone when this value is.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::CgroupSkbAttachType;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value, json};

use super::actor::Dialled;
use super::cgroup::{DenyingCgroup, FrozenCgroup, MemoryCgroup};
use super::confine::{HOSTILE_PROFILE, Lenience, Profile, REDIS_DOMAIN};
use super::expect::{Expected, SENTINEL_PORT, Scope};
use super::netns::Netns;
use super::process::{NOBODY, Process, Recipe};
use super::sk_lookup::Refuser;
use crate::host::clock::boottime;
use crate::trace::cause::Code;

/// Where Redis listens.
pub(crate) const REDIS: u16 = 6379;
/// What Redis says when it listens and has loaded its data; with a capital on TCP, without one on a unix socket.
const READY: &str = "eady to accept connections";
/// How long a process may take to do what it was told to, on a slow emulated machine too.
const PATIENCE: Duration = Duration::from_mins(2);
/// `ECONNREFUSED`.
const REFUSED: i32 = 111;

/// Everything that a scenario has made. Fields are dropped in this order: processes before what they live in.
pub(crate) struct Stage {
    /// By process id.
    processes: BTreeMap<u32, Process>,
    /// A connection that keeps a server in a command.
    client: Option<TcpStream>,
    refuser: Option<Refuser>,
    cgroup: Option<MemoryCgroup>,
    denying: Option<DenyingCgroup>,
    frozen: Option<FrozenCgroup>,
    profile: Option<Profile>,
    lenience: Option<Lenience>,
    /// A second namespace, once one was asked for.
    other: Option<Netns>,
    netns: Netns,
    home: Home,
    /// What must be told.
    pub(crate) expected: Vec<Expected>,
    /// What belongs to this stage.
    pub(crate) scope: Scope,
    /// How many connections a healthy hour has.
    pub(crate) connections: u32,
    /// A server, and the queue in which connections wait for it.
    pub(crate) waiting: Option<(u32, Value)>,
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
    pub(crate) fn new(connections: u32) -> Result<Self> {
        let home = Home::new()?;
        let netns = Netns::new()?;
        let mut scope = Scope { since: boottime(), directory: home.0.display().to_string(), ..Scope::default() };
        scope.netns.insert(netns.number);
        Ok(Self {
            processes: BTreeMap::new(),
            client: None,
            refuser: None,
            cgroup: None,
            denying: None,
            frozen: None,
            profile: None,
            lenience: None,
            other: None,
            netns,
            home,
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

    /// How to start a real redis-server: nothing is saved, the log goes to its standard output.
    fn redis_recipe(&self, options: &str) -> Recipe {
        Process::program("redis-server", &self.redis_arguments(options))
    }

    fn redis_arguments(&self, options: &str) -> Vec<String> {
        let mut arguments: Vec<String> = ["--save", "", "--dir"].map(Into::into).to_vec();
        arguments.push(self.path(""));
        arguments.extend(options.split(' ').map(|word| word.replace('+', " ")));
        arguments
    }

    /// A redis-server that is ready; a `+` in an option stands for a blank within an argument.
    pub(crate) fn redis(&mut self, options: &str) -> Result<u32> {
        let mut server = self.redis_recipe(options).spawn(Some(&self.netns))?;
        server.wait_for(READY)?;
        Ok(self.keep(server))
    }

    /// A redis-server that has said this and goes on.
    pub(crate) fn redis_that_says(&mut self, options: &str, words: &str) -> Result<u32> {
        let mut server = self.redis_recipe(options).spawn(Some(&self.netns))?;
        server.wait_for(words)?;
        Ok(self.keep(server))
    }

    /// The same in the other namespace.
    pub(crate) fn redis_elsewhere(&mut self, options: &str) -> Result<u32> {
        let mut server = self.redis_recipe(options).spawn(self.other.as_ref())?;
        server.wait_for(READY)?;
        Ok(self.keep(server))
    }

    /// A redis-server that ends before it is ready, and with which exit code it must.
    pub(crate) fn failing_redis(&mut self, options: &str, code: i32, nobody: bool) -> Result<u32> {
        let recipe = self.redis_recipe(options);
        let recipe = if nobody { recipe.with_nobodys_rights() } else { recipe };
        let server = recipe.spawn(Some(&self.netns))?;
        self.failing(server, code)
    }

    /// A redis-server that confines itself as this part does, and ends before it is ready.
    pub(crate) fn confined_redis(&mut self, how: &str, options: &str) -> Result<u32> {
        let mut arguments = words(&format!("{how} exec redis-server"));
        arguments.extend(self.redis_arguments(options));
        let server = Process::actor(&arguments).spawn(Some(&self.netns))?;
        self.failing(server, 1)
    }

    /// A client that confines itself as this part does, and must then get this errno.
    pub(crate) fn confined_dial(&mut self, how: &str, address: SocketAddr, errno: i32) -> Result<Dialled> {
        let dialled = self.client(&format!("{how} part dial 0 1 {address}"))?.remove(0);
        ensure!(dialled.errno == errno, "a dial of {address} ended with errno {}, not {errno}", dialled.errno);
        Ok(dialled)
    }

    /// A cgroup in which nobody may make a call, and the part that enters it: `cgroup/bind4`, `cgroup/connect4`.
    pub(crate) fn deny_by_cgroup(&mut self, section: &str) -> Result<String> {
        let cgroup = DenyingCgroup::new(&format!("redis-trace-demo-{}", std::process::id()), section)?;
        Ok(format!("cgroup {}", self.denying.insert(cgroup).door()))
    }

    /// The same, and the errno is EACCES.
    pub(crate) fn deny_access_by_cgroup(&mut self, section: &str) -> Result<String> {
        let cgroup = DenyingCgroup::with_chosen_errno(&format!("redis-trace-demo-{}", std::process::id()), section)?;
        Ok(format!("cgroup {}", self.denying.insert(cgroup).door()))
    }

    /// A unit's cgroup in which systemd's program denies bind: the unit, and the part that enters its cgroup.
    pub(crate) fn deny_by_unit(&mut self) -> Result<(String, String)> {
        let unit = format!("redis-trace-demo-{}.service", std::process::id());
        let cgroup = DenyingCgroup::of_unit(&unit)?;
        Ok((unit, format!("cgroup {}", self.denying.insert(cgroup).door())))
    }

    /// A unit's cgroup in which systemd's program lets no packet pass in this way: the unit, and the part that enters it.
    pub(crate) fn deny_packets(&mut self, way: CgroupSkbAttachType) -> Result<(String, String)> {
        let unit = format!("redis-trace-demo-{}.service", std::process::id());
        let cgroup = DenyingCgroup::of_unit_s_packets(&unit, way)?;
        Ok((unit, format!("cgroup {}", self.denying.insert(cgroup).door())))
    }

    /// A cgroup to whose members a BPF program on the hook of security modules denies bind, and the part that enters it.
    pub(crate) fn deny_by_lsm(&mut self) -> Result<String> {
        let cgroup = DenyingCgroup::by_lsm(&format!("redis-trace-demo-{}", std::process::id()))?;
        Ok(format!("cgroup {}", self.denying.insert(cgroup).door()))
    }

    /// Loads an AppArmor profile with these flags and rules; its name.
    pub(crate) fn profile(&mut self, flags: &str, rules: &str) -> Result<String> {
        let name = format!("redis-trace-demo-{}", std::process::id());
        self.profile = Some(Profile::load(name.as_bytes(), flags, rules)?);
        Ok(name)
    }

    /// The part that becomes a program in Redis's domain of SELinux.
    pub(crate) fn redis_domain() -> String {
        format!("selinux {REDIS_DOMAIN}")
    }

    /// From now on SELinux denies nothing.
    pub(crate) fn be_lenient(&mut self) -> Result<()> {
        self.lenience = Some(Lenience::begin()?);
        Ok(())
    }

    /// Loads one with a hostile name.
    pub(crate) fn hostile_profile(&mut self, rules: &str) -> Result<()> {
        self.profile = Some(Profile::load(HOSTILE_PROFILE, "", rules)?);
        Ok(())
    }

    /// A redis-server that confines itself as this part does, and is ready nevertheless.
    pub(crate) fn unharmed_redis(&mut self, how: &str, options: &str) -> Result<u32> {
        let mut arguments = words(&format!("{how} exec redis-server"));
        arguments.extend(self.redis_arguments(options));
        let mut server = Process::actor(&arguments).spawn(Some(&self.netns))?;
        server.wait_for(READY)?;
        Ok(self.keep(server))
    }

    /// Writes a file into the scenario's directory; its path.
    pub(crate) fn write(&self, file: &str, content: &str) -> Result<String> {
        let path = self.path(file);
        fs::write(&path, content).with_context(|| format!("cannot write {path}"))?;
        Ok(path)
    }

    /// A Sentinel with this configuration that is ready.
    pub(crate) fn redis_sentinel(&mut self, configuration: &str) -> Result<u32> {
        let path = self.write("sentinel.conf", configuration)?;
        let words = [path, "--sentinel".to_owned()];
        let mut sentinel = Process::program("redis-server", &words).spawn(Some(&self.netns))?;
        sentinel.wait_for("+monitor master")?;
        Ok(self.keep(sentinel))
    }

    /// A redis-server that ends over this configuration file.
    pub(crate) fn failing_redis_with_file(&mut self, file: &str, content: &str) -> Result<u32> {
        let path = self.write(file, content)?;
        let server = Process::program("redis-server", &[path]).spawn(Some(&self.netns))?;
        self.failing(server, 1)
    }

    fn failing(&mut self, mut server: Process, code: i32) -> Result<u32> {
        let (said, status) = server.finish()?;
        ensure!(
            status.code() == Some(code),
            "redis-server was to end with {code}, not with {status}: {}",
            said.join("\n")
        );
        Ok(self.keep(server))
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

    /// Runs a program to its end.
    pub(crate) fn run(&mut self, line: &str) -> Result<()> {
        let words = words(line);
        let mut program = Process::program(&words[0], &words[1..]).spawn(Some(&self.netns))?;
        let (said, status) = program.finish()?;
        ensure!(status.success(), "`{line}` ended with {status}: {}", said.join("\n"));
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

    /// Runs a client that may be turned away, to its end; a `+` stands for a blank within an argument.
    pub(crate) fn ask(&mut self, line: &str) -> Result<()> {
        let client = Self::client_recipe(line).spawn(Some(&self.netns))?;
        self.turned_away(client)
    }

    /// The same in the other namespace.
    pub(crate) fn ask_from_elsewhere(&mut self, line: &str) -> Result<()> {
        let client = Self::client_recipe(line).spawn(self.other.as_ref())?;
        self.turned_away(client)
    }

    fn client_recipe(line: &str) -> Recipe {
        let words: Vec<String> = line.split(' ').map(|word| word.replace('+', " ")).collect();
        Process::program(&words[0], &words[1..])
    }

    fn turned_away(&mut self, mut client: Process) -> Result<()> {
        client.finish()?;
        self.keep(client);
        Ok(())
    }

    /// Plays the part of a client that says nothing.
    pub(crate) fn visit(&mut self, part: &str) -> Result<()> {
        self.client(part).map(drop)
    }

    /// Waits until Redis could not save.
    pub(crate) fn saved_in_vain(&mut self, pid: u32) -> Result<()> {
        self.process(pid)?.wait_for("Background saving error").map(drop)
    }

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

    /// Waits until nobody waits to be accepted in this namespace: such a connection would be reset with its listener.
    pub(crate) fn all_accepted(&self) -> Result<()> {
        const LISTEN: &str = "0A";
        let is_empty = || {
            let read = self.netns.within(|| Ok(fs::read_to_string("/proc/thread-self/net/tcp")?));
            let Ok(table) = read else { return false };
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
        let table = self.netns.within(|| Ok(fs::read_to_string("/proc/thread-self/net/tcp")?))?;
        Ok(table.lines().filter(|line| line.contains(SYN_RECV)).count() as u64)
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

    /// Sets what the namespace has under `/proc/sys/net`.
    pub(crate) fn sysctl(&self, name: &str, value: impl Display + Copy + Sync) -> Result<()> {
        let path = format!("/proc/sys/net/{name}");
        self.netns.within(|| fs::write(&path, value.to_string()).with_context(|| format!("cannot write {path}")))
    }

    /// Gives a server little memory and makes it need more, until the kernel kills it.
    pub(crate) fn starve(&mut self, pid: u32) -> Result<()> {
        let cgroup = MemoryCgroup::new(&format!("redis-trace-demo-{}", std::process::id()), 32 << 20)?;
        cgroup.take(pid)?;
        self.cgroup = Some(cgroup);
        self.netns.within(|| {
            let mut redis = TcpStream::connect((Ipv4Addr::LOCALHOST, REDIS)).context("cannot connect to Redis")?;
            redis.write_all(b"SETRANGE key 200000000 x\r\n")?;
            // The kernel kills the server and resets the connection: however this ends, it ends without an answer.
            let answer = redis.read(&mut [0; 64]).unwrap_or(0);
            ensure!(answer == 0, "Redis outlived 200 MB in a cgroup of 32 MB");
            Ok(())
        })?;
        let (_, status) = self.process(pid)?.finish()?;
        ensure!(
            std::os::unix::process::ExitStatusExt::signal(&status) == Some(9),
            "Redis ended with {status}, not by SIGKILL"
        );
        Ok(())
    }

    /// Turns every connection away by an `sk_lookup` program.
    pub(crate) fn refuse_by_sk_lookup(&mut self) -> Result<()> {
        self.refuser = Some(Refuser::attach(self.netns.file())?);
        Ok(())
    }

    /// Dials each address in order until one answers, `times` times, on one thread of a process of its own.
    pub(crate) fn dial(&mut self, times: u32, addresses: &str) -> Result<Vec<Dialled>> {
        self.client(&format!("dial 0 {times} {addresses}"))
    }

    /// Dials an address and gives up soon, whatever comes of it.
    pub(crate) fn dial_briefly(&mut self, address: SocketAddr) -> Result<Dialled> {
        Ok(self.client(&format!("dial-briefly {address}"))?.remove(0))
    }

    /// Dials an address that must refuse.
    pub(crate) fn refused(&mut self, address: SocketAddr) -> Result<Dialled> {
        let dialled = self.dial(1, &address.to_string())?.remove(0);
        ensure!(
            dialled.errno == REFUSED,
            "a dial of {address} ended with errno {}, not with ECONNREFUSED",
            dialled.errno
        );
        Ok(dialled)
    }

    /// Dials an address, which must end with this errno.
    pub(crate) fn fails(&mut self, address: SocketAddr, errno: i32) -> Result<Dialled> {
        let dialled = self.dial(1, &address.to_string())?.remove(0);
        ensure!(dialled.errno == errno, "a dial of {address} ended with errno {}, not {errno}", dialled.errno);
        Ok(dialled)
    }

    /// Plays a part of which nothing but its dials is wanted.
    pub(crate) fn dials(&mut self, part: &str) -> Result<Vec<Dialled>> {
        self.client(part)
    }

    /// Runs `ip` in the namespace.
    pub(crate) fn ip(&self, arguments: &str) -> Result<()> {
        self.netns.ip(arguments)
    }

    /// Dials a unix socket, which must end with this errno.
    pub(crate) fn unix_denied(&mut self, path: &str, errno: i32, nobody: bool) -> Result<Dialled> {
        let uid = if nobody { NOBODY } else { 0 };
        let dialled = self.client(&format!("dial-unix {uid} {path}"))?.remove(0);
        ensure!(dialled.errno == errno, "a dial of {path} ended with errno {}, not {errno}", dialled.errno);
        Ok(dialled)
    }

    /// Runs a client to its end and reads what it says of its attempts.
    pub(crate) fn client(&mut self, part: &str) -> Result<Vec<Dialled>> {
        let mut client = Process::actor(&words(part)).spawn(Some(&self.netns))?;
        let (said, status) = client.finish()?;
        ensure!(status.success(), "actor {part} ended with {status}: {}", said.join("\n"));
        self.keep(client);
        said.iter()
            .map(|line| serde_json::from_str(line).with_context(|| format!("actor {part} said {line}")))
            .collect()
    }

    /// The last refusal of a scenario, on a port of its own.
    pub(crate) fn sentinel(&mut self) -> Result<()> {
        self.refused((Ipv4Addr::LOCALHOST, SENTINEL_PORT).into()).map(drop)
    }

    /// A refusal of this dial: both ends seen, the right client, the right address.
    pub(crate) fn refusal(&self, code: Code, dialled: &Dialled, server: SocketAddr) -> Expected {
        let mut flow = json!({"protocol": "tcp", "netns": self.netns(), "server": endpoint(server)});
        if let Some(from) = dialled.from.filter(|from| from.port() != 0) {
            flow["client"] = json!({"port": from.port()});
        }
        Expected::refusal(code).with(json!({"outcome": "refused", "side": "both", "flow": flow,
            "client_process": {"pid": dialled.pid, "comm": "client", "uid": dialled.uid}}))
    }

    /// What a dial came to of which no other end was seen.
    pub(crate) fn failure(&self, code: Code, dialled: &Dialled, server: SocketAddr, outcome: &str) -> Expected {
        self.refusal(code, dialled, server).with(json!({"outcome": outcome, "side": "client"}))
    }

    /// A server's failure to listen there.
    pub(crate) fn listen_failure(&self, code: Code, pid: u32, asked: Option<SocketAddr>) -> Expected {
        let flow = json!({"client": null, "server": asked.map(endpoint), "netns": self.netns()});
        Expected::refusal(code)
            .with(json!({"outcome": "listen_failed", "side": "server", "flow": flow, "client_process": null, "server_process": {"pid": pid, "comm": "redis-server"}}))
    }
}

/// A refusal of a dial of a unix socket.
pub(crate) fn unix_refusal(code: Code, dialled: &Dialled, path: &str, outcome: &str) -> Expected {
    Expected::refusal(code).with(json!({"outcome": outcome, "unix": {"path": path},
        "client_process": {"pid": dialled.pid, "comm": "client", "uid": dialled.uid}}))
}

/// An address as the output has it.
pub(crate) fn endpoint(address: SocketAddr) -> Value {
    json!({"ip": address.ip(), "port": address.port()})
}

/// The state of a process, as `ps` shows it.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Time of the processor by which a Redis that was idle is known to be in a command, in the ticks of `/proc`: a tenth of a second.
const IN_A_COMMAND: u64 = 10;

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

/// Looks until it is so.
fn until(mut is_so: impl FnMut() -> bool, what: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
    Ok(())
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(Into::into).collect()
}

/// True when a program is not installed.
fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
