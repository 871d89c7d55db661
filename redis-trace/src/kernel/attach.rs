//! Loading the object and putting each probe on its hook, one by one: what one kernel refuses must not cost the rest.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io::Read as _;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

use aya::maps::{HashMap, Map, MapData, MapType, PerCpuArray, RingBuf};
use aya::programs::{BtfTracePoint, FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint, TracePoint};
use aya::sys::is_map_supported;
use aya::{Ebpf, EbpfLoader, Endianness};
use flate2::read::ZlibDecoder;
use redis_trace_common::hook::{ARGUMENTS, HOOKS, Hook, Kind, Role, SERVERS, SK_STREAM_ALLOC_SKB, Tier};
use redis_trace_common::member::{ABSENT, MEMBERS};
use redis_trace_common::record::COMM_LEN;
use redis_trace_common::reply::REFUSALS;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_getres};

use super::btf::Btf;
use super::environment::Environment;
use super::error::{Error, deepest, errno};
use super::modules::{self, modules, part_of};
use super::numbers::{MEMORY_BASES, NFT_NET_ID, arguments, attach_places, drops, invalid_syn, names, symbols};
use super::survey::{functions, is_needless, lacks};
use super::symbols::List;
use super::tallies::Tallies;
use super::{HookState, Loaded, Options, Probes, Source, State, TierWish, tracefs};

/// The probes, as committed, but packed: a fifth of their size.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/redis-trace.bpf.o.z"));

/// Loads and attaches everything that this kernel allows; fails only where nothing essential can be seen.
pub fn attach(options: &Options) -> Result<Probes, Error> {
    if !options.probes {
        return Ok(Probes::none());
    }
    let environment = Environment::look();
    let cannot = |why: &(dyn StdError + 'static)| environment.explain("load probes", errno(why), &deepest(why));
    // Asked before the kernel's types are read: who may not need not wait for that. A map of this kind needs CAP_BPF.
    is_map_supported(MapType::LruHash).map_err(|why| cannot(&why))?;
    // Either half takes a tenth of a second. A loader reads the kernel's types as soon as it is made, though none of them is wanted:
    // the object, which stays, is unpacked before, or the room that they take could not be given back.
    let (types, unpacked, loader, symbols) = thread::scope(|scope| {
        let symbols = scope.spawn(symbols);
        let types = read_btf(&environment).and_then(|btf| Ok((hooked(&btf)?, btf)));
        (types, unpacked(), EbpfLoader::new(), symbols.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let (types, btf) = types?;
    let mut object = load(loader, &unpacked?, &btf, &symbols, *options).map_err(|why| cannot(&why))?;

    let mut servers: HashMap<_, [u8; COMM_LEN], u8> = map(&mut object, "SERVERS")?;
    for server in SERVERS {
        servers.insert(comm(server), 1, 0).map_err(|e| Error::map("SERVERS", &e))?;
    }
    let mut refusals: HashMap<_, [u8; 8], u32> = map(&mut object, "REFUSALS")?;
    for (words, number) in REFUSALS.iter().zip(1..) {
        refusals.insert(**words, number, 0).map_err(|e| Error::map("REFUSALS", &e))?;
    }
    let attacher = Attacher {
        options: *options,
        btf: &btf,
        modules: modules().map(|listed| listed.into_iter().filter(|module| modules::may_deny(module)).collect()),
        functions: functions(&symbols),
        types: &types,
        refused: Mutex::new(None),
    };
    let hooks = tracefs::within(|| attacher.all(&mut object));
    let refused = attacher.refused.into_inner().ok().flatten();
    // A kernel that is locked down takes the probes that read nothing of its memory, and those alone see no refusal.
    let is_blind = environment.is_locked_down() && refused.is_some();
    if is_blind || !hooks.iter().any(|hook| hook.essential() && hook.state == State::Up) {
        let (errno, detail) = refused.unwrap_or((None, "no hook could be attached".to_owned()));
        return Err(environment.explain("attach probes", errno, &detail));
    }
    Ok(Probes {
        hooks,
        names: names(&btf),
        tallies: Tallies::of(&mut object, options.kinds)?,
        loaded: Some(Loaded {
            source: Source::Unwatched(Some(map::<RingBuf<MapData>>(&mut object, "EVENTS")?)),
            lost: map::<PerCpuArray<MapData, u64>>(&mut object, "LOST")?,
            watched: map(&mut object, "WATCHED")?,
            object,
        }),
    })
}

/// The probes' object.
fn unpacked() -> Result<Vec<u8>, Error> {
    let mut object = Vec::new();
    ZlibDecoder::new(PACKED)
        .read_to_end(&mut object)
        .map_err(|e| Error::bug(format!("cannot unpack the probes: {e}")))?;
    Ok(object)
}

/// Nanoseconds from one tick of the processors to the next: what the coarse clock goes by.
fn tick() -> u64 {
    u64::try_from(clock_getres(ClockId::MonotonicCoarse).tv_nsec).unwrap_or(1)
}

/// The running kernel's types, and those of the module that has the firewall's rules.
fn read_btf(environment: &Environment) -> Result<Btf, Error> {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").map_err(|e| environment.no_btf(&e.to_string()))?;
    // Where it is built in or was not loaded yet, it has no file of its own.
    let nf_tables = std::fs::read("/sys/kernel/btf/nf_tables").unwrap_or_default();
    Btf::with_module(bytes, &nf_tables).map_err(|e| environment.no_btf(&e.to_string()))
}

/// The running kernel's types of these names, as aya wants them.
pub fn types(names: &[&str]) -> Result<aya::Btf, Error> {
    as_aya_reads(&read_btf(&Environment::look())?, names.iter().map(ToString::to_string))
}

/// The types of what is to be hooked.
fn hooked(btf: &Btf) -> Result<aya::Btf, Error> {
    let name = |hook: &Hook| match hook.kind {
        Kind::Fentry | Kind::Fexit => Some(hook.target.to_owned()),
        // include/trace/bpf_probe.h
        Kind::TypedTracepoint { .. } => Some(format!("btf_trace_{}", hook.target)),
        Kind::RawTracepoint { .. } | Kind::Kprobe | Kind::Syscall => None,
    };
    as_aya_reads(btf, HOOKS.iter().filter_map(name))
}

fn as_aya_reads(btf: &Btf, names: impl Iterator<Item = String>) -> Result<aya::Btf, Error> {
    let bytes = btf.excerpt(names);
    aya::Btf::parse(&bytes, Endianness::default()).map_err(|e| Error::bug(format!("aya cannot read our BTF: {e}")))
}

/// Creates the maps; no probe is loaded yet.
fn load(
    loader: EbpfLoader<'static>,
    object: &[u8],
    btf: &Btf,
    symbols: &List,
    options: Options,
) -> Result<Ebpf, aya::EbpfError> {
    // Before Linux 5.11 maps count against it; where it may not be raised, the kernel may not need it.
    let unlimited = Rlimit { current: None, maximum: None };
    let _ = setrlimit(Resource::Memlock, unlimited);
    let offsets: Vec<u32> = MEMBERS.iter().map(|m| btf.member(m.paths, m.shape).unwrap_or(ABSENT)).collect();
    let (reasons, places, sockets) = drops(btf, symbols);
    let counts: Vec<u32> = ARGUMENTS.iter().map(|called| arguments(btf, *called).unwrap_or(ABSENT)).collect();
    let at_work = modules();
    let part = |module, parts| at_work.as_ref().map_or(ABSENT, |at_work| part_of(module, parts, at_work, btf));
    let [landlock, apparmor, smack] =
        ["landlock", "apparmor", "smack"].map(|module| part(module, modules::CREDENTIALS));
    let tomoyo = part("tomoyo", modules::TASK);
    let stride = btf.structure_size("bpf_prog_array_item").unwrap_or_default();
    // For no longer than what it borrows.
    let mut loader: EbpfLoader<'_> = loader;
    // Where nothing needs to be heard nothing is kept of it.
    if counts.get(SK_STREAM_ALLOC_SKB) == Some(&ABSENT) {
        loader.map_max_entries("SPOKEN", 1);
    }
    loader
        .override_global("OFFSETS", offsets.as_slice(), true)
        .override_global("ARGUMENT_COUNTS", counts.as_slice(), true)
        .override_global("SAMPLES", &options.samples, true)
        .override_global("TICK", &tick(), true)
        .override_global("DROP_REASONS_TOLD", reasons.as_slice(), true)
        .override_global("DROP_PLACES_TOLD", places.as_slice(), true)
        .override_global("SOCKET_PLACES_TOLD", sockets.as_slice(), true)
        .override_global("LANDLOCK_AT", &landlock, true)
        .override_global("APPARMOR_AT", &apparmor, true)
        .override_global("TOMOYO_AT", &tomoyo, true)
        .override_global("SMACK_AT", &smack, true)
        .override_global("PROGRAM_STRIDE", &stride, true)
        .override_global("ATTACH_PLACES", attach_places(btf).as_slice(), true)
        .override_global("MEMORY_BASES", symbols.variables(MEMORY_BASES).as_slice(), true)
        .override_global("NFT_NET_ID", &symbols.variables(NFT_NET_ID), true)
        .override_global("INVALID_SYN", &invalid_syn(btf), true)
        .map_max_entries("EVENTS", options.ring_bytes.max(4096).next_power_of_two())
        .map_max_entries("COUNTS", options.kinds)
        .load(object)
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
pub(super) fn map<T: TryFrom<Map>>(object: &mut Ebpf, name: &str) -> Result<T, Error> {
    let map = object.take_map(name).ok_or_else(|| Error::bug(format!("the probes have no map {name}")))?;
    T::try_from(map).map_err(|_| Error::bug(format!("the probes' map {name} is of another type")))
}

/// A hook and the probe for it, when the object has one.
type Pair<'a> = (&'static Hook, Option<&'a mut Program>);

/// Puts probes on hooks.
struct Attacher<'a> {
    options: Options,
    btf: &'a Btf,
    /// The security modules that are at work and may deny anything now, where that is known. Who can deny nothing when the agent
    /// starts is not heard: it would cost every dial, and is deduced if it comes to that later.
    modules: Option<Vec<String>>,
    /// The functions that probes are to be put on by their names, as far as they are there.
    functions: Vec<&'static str>,
    /// The types of what is hooked, as aya wants them.
    types: &'a aya::Btf,
    /// What the kernel said last when it refused an essential hook.
    refused: Mutex<Option<(Option<i32>, String)>>,
}

impl Attacher<'_> {
    /// Tries every role. The verifier takes most of the time and one processor a probe, so threads share the roles.
    fn all(&self, object: &mut Ebpf) -> Vec<HookState> {
        let mut programs: BTreeMap<&str, &mut Program> = object.programs_mut().collect();
        let of = |role| HOOKS.iter().filter(move |hook| hook.role == role);
        let mut pairs = |role| of(role).map(|hook| (hook, programs.remove(hook.probe))).collect::<Vec<Pair<'_>>>();
        let filters = pairs(Role::Filters);
        let others = Role::ALL.iter().filter(|role| **role != Role::Filters);
        let roles: Vec<_> = others.map(|role| pairs(*role)).collect();
        let queue = Mutex::new(roles.into_iter());
        let next = || queue.lock().ok().and_then(|mut roles| roles.next());
        let work = || std::iter::from_fn(next).flat_map(|pairs| self.role(pairs)).collect::<Vec<HookState>>();
        let mut states = thread::scope(|scope| {
            let other = scope.spawn(work);
            let mut states = work();
            states.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            states
        });
        // Where the tracepoints of the system calls that filters keep out are on, they tell what is not entered as well.
        let tells = |hook: &Hook| {
            let causes = hook.role.causes();
            hook.kind == Kind::Syscall && Role::Filters.causes().iter().all(|cause| causes.contains(cause))
        };
        let is_told = states.iter().any(|state| tells(state.hook) && state.state == State::Up);
        states.extend(if is_told {
            filters.iter().map(|(hook, _)| HookState { hook, state: State::Spare }).collect()
        } else {
            self.role(filters)
        });
        states.sort_by_key(|state| HOOKS.iter().position(|hook| hook.probe == state.hook.probe));
        states
    }

    /// Tries the first tier of a role, and where any of it is refused the second.
    fn role(&self, pairs: Vec<Pair<'_>>) -> Vec<HookState> {
        let (mut first, second): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(hook, _)| hook.kind.tier() == Tier::T1);
        let mut states: Vec<HookState> = first.iter_mut().map(|pair| self.hook(pair)).collect();
        let whole = !states.is_empty() && states.iter().all(|hook| !matches!(hook.state, State::Down(_)));
        let spare = |pair: &Pair<'_>| HookState { hook: pair.0, state: State::Spare };
        let second: Vec<HookState> =
            second.into_iter().map(|mut pair| if whole { spare(&pair) } else { self.hook(&mut pair) }).collect();
        if !second.is_empty() && second.iter().all(|hook| hook.state == State::Up) {
            // Two probes on one thing would tell it twice.
            let up = states.iter_mut().zip(first).filter(|(hook, _)| hook.state == State::Up);
            for (hook, (_, program)) in up {
                if let Some(program) = program {
                    take_off(hook, program);
                }
            }
        }
        states.into_iter().chain(second).collect()
    }

    /// Tries one hook.
    fn hook(&self, (hook, program): &mut Pair<'_>) -> HookState {
        if self.is_idle(hook) {
            return HookState { hook, state: State::Spare };
        }
        let state = match self.forbidden(hook) {
            Some(why) => State::Down(why),
            None => match self.put(hook, program.as_deref_mut()) {
                Ok(()) => State::Up,
                Err(error) => {
                    let why = said(&error);
                    if hook.role.essential()
                        && let Ok(mut refused) = self.refused.lock()
                    {
                        *refused = Some((errno(&error), why.clone()));
                    }
                    State::Down(why)
                }
            },
        };
        HookState { hook, state }
    }

    /// Whether it is on a function of a security module that is not at work, can deny nothing or has no say in this, or of a module
    /// that was not loaded; or is of no use on this kernel.
    fn is_idle(&self, hook: &Hook) -> bool {
        if is_needless(self.btf, hook) {
            return true;
        }
        if hook.kind == Kind::Kprobe {
            return lacks(self.btf, hook).is_none() && !self.functions.contains(&hook.target);
        }
        let Some(module) = hook.module() else { return false };
        let is_at_work = self.modules.as_ref().is_none_or(|modules| modules.iter().any(|listed| listed == module));
        !is_at_work || lacks(self.btf, hook).is_some()
    }

    /// Why a hook is not even tried.
    fn forbidden(&self, hook: &Hook) -> Option<String> {
        match hook.kind {
            Kind::Fentry | Kind::Fexit | Kind::Kprobe if self.options.tier == TierWish::NoTrampoline => {
                Some("trampolines are not wanted".to_owned())
            }
            _ if !self.options.syscall_hooks && slows_calls(hook) => {
                Some("hooks on system calls are not wanted".to_owned())
            }
            _ => lacks(self.btf, hook),
        }
    }

    /// Loads a probe and attaches it; the object keeps the link.
    fn put(&self, hook: &Hook, program: Option<&mut Program>) -> Result<(), ProgramError> {
        let no_such = || ProgramError::InvalidName { name: hook.probe.to_owned() };
        let program = program.ok_or_else(no_such)?;
        match hook.kind {
            Kind::Fentry => {
                let program: &mut FEntry = program.try_into()?;
                program.load(hook.target, self.types)?;
                program.attach().map(drop)
            }
            Kind::Fexit => {
                let program: &mut FExit = program.try_into()?;
                program.load(hook.target, self.types)?;
                program.attach().map(drop)
            }
            Kind::RawTracepoint { .. } => {
                let program: &mut RawTracePoint = program.try_into()?;
                program.load()?;
                program.attach(hook.target).map(drop)
            }
            Kind::TypedTracepoint { .. } => {
                let program: &mut BtfTracePoint = program.try_into()?;
                program.load(hook.target, self.types)?;
                program.attach().map(drop)
            }
            Kind::Kprobe => {
                let program: &mut KProbe = program.try_into()?;
                program.load()?;
                program.attach(hook.target, 0).map(drop)
            }
            Kind::Syscall => {
                let program: &mut TracePoint = program.try_into()?;
                program.load()?;
                program.attach("syscalls", hook.target).map(drop)
            }
        }
    }
}

/// Whether a hook is passed by calls that have nothing to do with connections.
fn slows_calls(hook: &Hook) -> bool {
    let is_of_rings = hook.role == Role::Rings && hook.kind.tier() == Tier::T2;
    hook.kind == Kind::Syscall || hook.role == Role::Filters || is_of_rings
}

/// Takes a probe off its hook because the other tier does its work.
fn take_off(hook: &mut HookState, program: &mut Program) {
    let unloaded = match program {
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        _ => return,
    };
    if unloaded.is_ok() {
        hook.state = State::Spare;
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
