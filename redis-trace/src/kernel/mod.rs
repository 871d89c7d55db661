//! The kernel's side of the line: probes put on hooks, their records read. The only place that knows aya.

mod attach;
mod btf;
mod environment;
mod error;
mod modules;
mod numbers;
mod ring;
mod survey;
mod symbols;
mod tallies;
mod tracefs;

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::Ebpf;
use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use redis_trace_common::hook::{HOOKS, Hook, Kind, Tier};
use redis_trace_common::record::{self, Number};
use redis_trace_common::tally;

pub use attach::{attach, types};
pub use error::{Error, Fault};
pub use modules::{has_company, judges, lsm_programs};
use ring::Ring;
pub use survey::{described, has_drop_reasons, has_drop_receivers, has_kprobes, place_of, survey};
pub use symbols::{Symbols, keeps_last_words};
pub use tallies::{News, Tallies};

use crate::trace::decode::Names;

/// What to attach.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Probes at all. Without them nothing is loaded into the kernel, and its counters are all that is known.
    pub probes: bool,
    /// Tracepoints of system calls too, where functions cannot be hooked: they slow every system call a little.
    pub syscall_hooks: bool,
    /// Room for records that wait to be read, a power of two of at least a page.
    pub ring_bytes: u32,
    /// Kinds of refusals that are counted apart.
    pub kinds: u32,
    /// Which tier.
    pub tier: TierWish,
    /// How many refusals of a kind each processor tells one by one in an eighth of a second; all are counted.
    pub samples: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            probes: true,
            syscall_hooks: true,
            ring_bytes: 2 << 20,
            kinds: tally::KEYS,
            tier: TierWish::Auto,
            samples: tally::BUDGET,
        }
    }
}

/// Which tier is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TierWish {
    /// For each role the best that this kernel allows.
    Auto,
    /// As on a kernel that has no trampolines.
    NoTrampoline,
}

/// A hook, and what became of it.
#[derive(Clone, Debug)]
pub struct HookState {
    /// Which.
    pub hook: &'static Hook,
    /// Attached, not needed, or why not.
    pub state: State,
}

/// What became of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is attached.
    Up,
    /// The other tier tells the same, nobody at work here could tell anything by it, or the kernel tells it by itself.
    Spare,
    /// It is not attached: a phrase that says why.
    Down(String),
}

impl HookState {
    /// The kernel's name of it.
    pub fn name(&self) -> &'static str {
        self.hook.target
    }

    /// Nobody at work on this host could tell anything by it, the module with it was not loaded, or the kernel needs none.
    pub fn is_idle(&self) -> bool {
        let is_of_some = self.hook.module().is_some() || self.hook.beside().is_some();
        (is_of_some || self.hook.kind == Kind::Kprobe) && self.state == State::Spare
    }

    /// The tier it belongs to.
    pub fn tier(&self) -> Tier {
        self.hook.kind.tier()
    }

    /// The codes of the causes that need what it tells.
    pub fn causes(&self) -> &'static [&'static str] {
        self.hook.role.causes()
    }

    /// Whether there is nothing to tell without hooks like this one.
    pub fn essential(&self) -> bool {
        self.hook.role.essential()
    }
}

/// Probes at work. Dropping it, or the end of the process in any way, takes them out of the kernel.
pub struct Probes {
    hooks: Vec<HookState>,
    names: Names,
    tallies: Tallies,
    /// Absent where none were wanted.
    loaded: Option<Loaded>,
}

/// What was loaded into the kernel.
struct Loaded {
    source: Source,
    /// Counts by number of record, for each processor.
    lost: PerCpuArray<MapData, u64>,
    watched: HashMap<MapData, u32, u8>,
    /// Owns the programs and through them their links.
    object: Ebpf,
}

/// What a probe has cost, as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Times that it was run; counted while the sysctl kernel.bpf_stats_enabled is 1.
    pub runs: u64,
    /// Nanoseconds that took; counted as the runs are.
    pub nanoseconds: u64,
    /// Times that it was not run because another was running on the same processor; counted since Linux 5.12.
    pub misses: Option<u64>,
}

impl Cost {
    /// From what the kernel says of the program's file: bpf_prog_show_fdinfo(), kernel/bpf/syscall.c.
    fn of(text: &str) -> Self {
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok());
        let counted = |name| field(name).unwrap_or_default();
        Self { runs: counted("run_cnt"), nanoseconds: counted("run_time_ns"), misses: field("recursion_misses") }
    }
}

/// The ring before and after the runtime watches it.
enum Source {
    Unwatched(Option<RingBuf<MapData>>),
    Watched(Ring),
}

impl Probes {
    /// None, and nothing is loaded.
    fn none() -> Self {
        let state = || State::Down("no probe is wanted (--no-bpf)".to_owned());
        let hooks = HOOKS.iter().map(|hook| HookState { hook, state: state() }).collect();
        Self { hooks, names: Names::default(), tallies: Tallies::default(), loaded: None }
    }

    /// Every hook and what became of it.
    pub fn hooks(&self) -> &[HookState] {
        &self.hooks
    }

    /// The running kernel's names of its numbers.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Waits until there are records and hands out those there are. To be called in a tokio runtime; may be dropped
    /// while it waits without losing any.
    pub async fn read(&mut self, each: impl FnMut(&[u8])) -> io::Result<()> {
        let Some(Loaded { source, .. }) = &mut self.loaded else { return std::future::pending().await };
        if let Source::Unwatched(ring) = source {
            let ring = ring.take().ok_or_else(|| io::Error::other("the ring could not be watched before"))?;
            *source = Source::Watched(Ring::new(ring)?);
        }
        match source {
            Source::Watched(ring) => ring.read(each).await,
            Source::Unwatched(_) => Ok(()),
        }
    }

    /// Refusals that were counted and not told one by one.
    pub fn tallies(&mut self) -> &mut Tallies {
        &mut self.tallies
    }

    /// Refusals that were told one by one and found room.
    pub fn sent(&self) -> Result<u64, Error> {
        self.tallies.sent()
    }

    /// Records that found no room in the ring, by kind; kinds of which none was lost are left out.
    pub fn lost(&self) -> Result<Vec<(Number, u64)>, Error> {
        let mut lost = Vec::new();
        let Some(loaded) = &self.loaded else { return Ok(lost) };
        for number in Number::ALL {
            let counts = loaded.lost.get(&(*number as u32), 0).map_err(|e| Error::map("LOST", &e))?;
            let count = counts.iter().sum();
            if count > 0 {
                lost.push((*number, count));
            }
        }
        Ok(lost)
    }

    /// What each probe that is loaded has cost, by its name.
    pub fn costs(&self) -> impl Iterator<Item = (&str, Cost)> {
        self.loaded.iter().flat_map(|loaded| loaded.object.programs()).filter_map(|(name, program)| {
            let file = program.fd().ok()?.as_fd().as_raw_fd();
            Some((name, Cost::of(&std::fs::read_to_string(format!("/proc/self/fdinfo/{file}")).ok()?)))
        })
    }

    /// Times that a probe was not run because another was running on the same processor.
    pub fn missed(&self) -> u64 {
        self.costs().filter_map(|(_, cost)| cost.misses).sum()
    }

    /// Has a process's end and the signals sent to it told: one that already listened when the probes came.
    pub fn watch_process(&mut self, pid: u32) -> Result<(), Error> {
        let Some(Loaded { watched, .. }) = &mut self.loaded else { return Ok(()) };
        watched.insert(pid, record::WATCHED, 0).map_err(|e| Error::map("WATCHED", &e))
    }

    /// From now on, or no more, what this program starts is told apart, with all that descends from it.
    pub fn adopt_children(&mut self, adopts: bool) -> Result<(), Error> {
        let Some(Loaded { watched, .. }) = &mut self.loaded else { return Ok(()) };
        let own = std::process::id();
        let done = if adopts { watched.insert(own, record::FAMILY, 0) } else { watched.remove(&own) };
        done.map_err(|e| Error::map("WATCHED", &e))
    }
}
