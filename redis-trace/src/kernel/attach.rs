//! Loading the object and putting each probe on its hook, one by one: what one kernel refuses must not cost the rest.

use aya::maps::{HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::{FEntry, FExit, Program, ProgramError, RawTracePoint, TracePoint};
use aya::{Ebpf, EbpfLoader};
use redis_trace_common::hook::{ARGUMENTS, Called, HOOKS, Hook, Kind, Role, SERVERS, Tier};
use redis_trace_common::member::{ABSENT, MEMBERS};
use redis_trace_common::record::COMM_LEN;
use rustix::process::{Resource, Rlimit, setrlimit};

use super::btf::Btf;
use super::environment::Environment;
use super::error::{Error, deepest, errno};
use super::survey::lacks;
use super::{HookState, Options, Probes, Source, State, TierWish, tracefs};
use crate::trace::decode::Names;

/// The probes, as committed.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redis-trace.bpf.o"));

/// Loads and attaches everything that this kernel allows; fails only where nothing essential can be seen.
pub fn attach(options: &Options) -> Result<Probes, Error> {
    let environment = Environment::look();
    let btf = std::fs::read("/sys/kernel/btf/vmlinux").map_err(|e| environment.no_btf(&e.to_string()))?;
    let btf = Btf::parse(btf).map_err(|e| environment.no_btf(&e.to_string()))?;
    let mut object = load(&btf, *options).map_err(|e| environment.explain("load probes", errno(&e), &deepest(&e)))?;

    let mut servers: HashMap<_, [u8; COMM_LEN], u8> = map(&mut object, "SERVERS")?;
    for server in SERVERS {
        servers.insert(comm(server), 1, 0).map_err(|e| Error::map("SERVERS", &e))?;
    }
    let mut attacher = Attacher { object: &mut object, btf: &btf, functions: None, refused: None };
    let hooks = tracefs::within(|| attacher.all(*options));
    let refused = attacher.refused;
    if !hooks.iter().any(|hook| hook.essential() && hook.state == State::Up) {
        let (errno, detail) = refused.unwrap_or((None, "no hook could be attached".to_owned()));
        return Err(environment.explain("attach probes", errno, &detail));
    }
    Ok(Probes {
        hooks,
        names: names(&btf),
        source: Source::Unwatched(Some(map::<RingBuf<MapData>>(&mut object, "EVENTS")?)),
        lost: map::<PerCpuArray<MapData, u64>>(&mut object, "LOST")?,
        watched: map(&mut object, "WATCHED")?,
        _object: object,
    })
}

/// Creates the maps; no probe is loaded yet.
fn load(btf: &Btf, options: Options) -> Result<Ebpf, aya::EbpfError> {
    // Before Linux 5.11 maps count against it; where it may not be raised, the kernel may not need it.
    let unlimited = Rlimit { current: None, maximum: None };
    let _ = setrlimit(Resource::Memlock, unlimited);
    let offsets: Vec<u32> = MEMBERS.iter().map(|m| btf.member(m.paths, m.shape).unwrap_or(ABSENT)).collect();
    let counts: Vec<u32> = ARGUMENTS.iter().map(|called| arguments(btf, *called).unwrap_or(ABSENT)).collect();
    EbpfLoader::new()
        .override_global("OFFSETS", offsets.as_slice(), true)
        .override_global("ARGUMENT_COUNTS", counts.as_slice(), true)
        .map_max_entries("EVENTS", options.ring_bytes.max(4096).next_power_of_two())
        .load(OBJECT)
}

/// How many arguments the running kernel's function or tracepoint has.
fn arguments(btf: &Btf, called: Called) -> Option<u32> {
    match called {
        Called::Function(name) => btf.function_arguments(name),
        Called::Tracepoint(name) => btf.tracepoint_arguments(name),
    }
}

/// The running kernel's names of its numbers.
fn names(btf: &Btf) -> Names {
    let reasons = btf.enumerators("sk_rst_reason").into_iter();
    let short = |name: String| name.strip_prefix("SK_RST_REASON_").map_or(name.clone(), str::to_owned);
    Names { reset_reasons: reasons.map(|name| name.map(short)).collect() }
}

/// A name as the kernel keeps it: 15 bytes and a NUL.
fn comm(name: &str) -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    for (to, from) in comm.iter_mut().take(COMM_LEN - 1).zip(name.bytes()) {
        *to = from;
    }
    comm
}

/// Takes a map out of the object.
fn map<T: TryFrom<Map>>(object: &mut Ebpf, name: &str) -> Result<T, Error> {
    let map = object.take_map(name).ok_or_else(|| Error::bug(format!("the probes have no map {name}")))?;
    T::try_from(map).map_err(|_| Error::bug(format!("the probes' map {name} is of another type")))
}

/// Puts probes on hooks.
struct Attacher<'a> {
    object: &'a mut Ebpf,
    btf: &'a Btf,
    /// The kernel's types as aya wants them, read when the first function is to be hooked.
    functions: Option<aya::Btf>,
    /// What the kernel said last when it refused an essential hook.
    refused: Option<(Option<i32>, String)>,
}

impl Attacher<'_> {
    /// Tries every role, tier by tier.
    fn all(&mut self, options: Options) -> Vec<HookState> {
        let mut states: Vec<HookState> = Role::ALL.iter().flat_map(|role| self.role(*role, options)).collect();
        states.sort_by_key(|state| HOOKS.iter().position(|hook| hook.probe == state.hook.probe));
        states
    }

    /// Tries the first tier of a role, and where any of it is refused the second.
    fn role(&mut self, role: Role, options: Options) -> Vec<HookState> {
        let of = |tier| HOOKS.iter().filter(move |hook| hook.role == role && hook.kind.tier() == tier);
        let mut first: Vec<HookState> = of(Tier::T1).map(|hook| self.hook(hook, options)).collect();
        let whole = !first.is_empty() && first.iter().all(|hook| hook.state == State::Up);
        let second: Vec<HookState> = of(Tier::T2)
            .map(|hook| if whole { HookState { hook, state: State::Spare } } else { self.hook(hook, options) })
            .collect();
        if !second.is_empty() && second.iter().all(|hook| hook.state == State::Up) {
            // Two probes on one thing would tell it twice.
            first.iter_mut().filter(|hook| hook.state == State::Up).for_each(|hook| self.take_off(hook));
        }
        first.into_iter().chain(second).collect()
    }

    /// Tries one hook.
    fn hook(&mut self, hook: &'static Hook, options: Options) -> HookState {
        let state = match self.forbidden(hook, options) {
            Some(why) => State::Down(why),
            None => match self.put(hook) {
                Ok(()) => State::Up,
                Err(error) => {
                    let why = said(&error);
                    if hook.role.essential() {
                        self.refused = Some((errno(&error), why.clone()));
                    }
                    State::Down(why)
                }
            },
        };
        HookState { hook, state }
    }

    /// Why a hook is not even tried.
    fn forbidden(&self, hook: &Hook, options: Options) -> Option<String> {
        match hook.kind {
            Kind::Fentry | Kind::Fexit if options.tier == TierWish::NoTrampoline => {
                Some("trampolines are not wanted".to_owned())
            }
            Kind::Syscall if !options.syscall_hooks => Some("hooks on system calls are not wanted".to_owned()),
            Kind::RawTracepoint { .. } | Kind::Fentry | Kind::Fexit | Kind::Syscall => lacks(self.btf, hook),
        }
    }

    /// Loads a probe and attaches it; the object keeps the link.
    fn put(&mut self, hook: &Hook) -> Result<(), ProgramError> {
        if matches!(hook.kind, Kind::Fentry | Kind::Fexit) && self.functions.is_none() {
            self.functions = Some(aya::Btf::from_sys_fs()?);
        }
        let no_such = || ProgramError::InvalidName { name: hook.probe.to_owned() };
        let program = self.object.program_mut(hook.probe).ok_or_else(no_such)?;
        match (hook.kind, &self.functions) {
            (Kind::Fentry, Some(btf)) => {
                let program: &mut FEntry = program.try_into()?;
                program.load(hook.target, btf)?;
                program.attach().map(drop)
            }
            (Kind::Fexit, Some(btf)) => {
                let program: &mut FExit = program.try_into()?;
                program.load(hook.target, btf)?;
                program.attach().map(drop)
            }
            (Kind::Fentry | Kind::Fexit, None) => Err(no_such()),
            (Kind::RawTracepoint { .. }, _) => {
                let program: &mut RawTracePoint = program.try_into()?;
                program.load()?;
                program.attach(hook.target).map(drop)
            }
            (Kind::Syscall, _) => {
                let program: &mut TracePoint = program.try_into()?;
                program.load()?;
                program.attach("syscalls", hook.target).map(drop)
            }
        }
    }

    /// Takes a probe off its hook because the other tier does its work.
    fn take_off(&mut self, hook: &mut HookState) {
        let unloaded = match self.object.program_mut(hook.hook.probe) {
            Some(Program::FEntry(program)) => program.unload(),
            Some(Program::FExit(program)) => program.unload(),
            _ => return,
        };
        if unloaded.is_ok() {
            hook.state = State::Spare;
        }
    }
}

/// What the kernel said, in a phrase: the errno, and the verifier's last words when it was the verifier.
fn said(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return deepest(error);
    };
    let log = verifier_log.to_string();
    let statistics = ["processed ", "verification time ", "stack depth "];
    let is_said = |line: &&str| !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start));
    let words = log.lines().rev().find(is_said);
    words.map_or_else(|| io_error.to_string(), |words| format!("{io_error}: {}", words.trim()))
}
