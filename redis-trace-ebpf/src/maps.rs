//! Everything the probes share: with the program, and from one hook to the next.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap, PerCpuArray, RingBuf};
use redis_trace_common::record::{COMM_LEN, NUMBERS, Task};

/// Records on their way to the program, which sets the size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Records that found no room, by number.
#[map]
pub(crate) static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(NUMBERS as u32, 0);

/// A connect(2) under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Dial {
    /// Who dialled.
    pub(crate) task: Task,
    /// When.
    pub(crate) time: u64,
    /// Its `struct task_struct`, good only while the ids and the start time in it are still those of `task`.
    pub(crate) pointer: u64,
}

/// Dials by their sock. An answer comes in a softirq, where the task on the processor is anyone.
#[map]
pub(crate) static DIALS: LruHashMap<u64, Dial> = LruHashMap::with_max_entries(16_384, 0);

/// When a thread was last refused.
#[map]
pub(crate) static REFUSED: LruHashMap<u32, u64> = LruHashMap::with_max_entries(4_096, 0);

/// Processes whose end matters: they listened, tried to, or are on the list of servers. Left when they end.
#[map]
pub(crate) static WATCHED: LruHashMap<u32, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Names of server programs, from the program.
#[map]
pub(crate) static SERVERS: HashMap<[u8; COMM_LEN], u8> = HashMap::with_max_entries(64, 0);

/// When a process started whose `Who` was sent.
#[map]
pub(crate) static INTRODUCED: LruHashMap<u32, u64> = LruHashMap::with_max_entries(16_384, 0);

/// A system call that a thread has entered.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// The socket.
    pub(crate) fd: u64,
    /// Where in the caller's memory the address is.
    pub(crate) address: u64,
    /// How long it is.
    pub(crate) length: u64,
}

/// Calls by thread, between `sys_enter` and `sys_exit`.
#[map]
pub(crate) static CALLS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(8_192, 0);
