//! Everything the probes share: with the program, and from one hook to the next.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, LruPerCpuHashMap, PerCpuArray, RingBuf};
use redis_trace_common::record::{COMM_LEN, NUMBERS};
use redis_trace_common::tally::{Count, End, KEYS, Key, NEAR_PLACES, Near, TOTALS, Watched};

use crate::claim::Place;
use crate::denial::Hint;
use crate::dials::{Dial, Dialled, PLACES_SHIFT};
use crate::heard::Spoken;
use crate::probes::ledger::Early;
use crate::probes::rejected::Rejected;

/// Records on their way to the program, which sets the size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Records that found no room, by number.
#[map]
pub(crate) static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(NUMBERS as u32, 0);

/// When a processor last woke the program.
#[map]
pub(crate) static WOKEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Refusals by what they have in common. Where there is no room the longest unused goes: the totals still have it.
#[map]
pub(crate) static COUNTS: LruPerCpuHashMap<Key, Count> = LruPerCpuHashMap::with_max_entries(KEYS, 0);

/// Samples of all keys, as [`Count::window`] and [`Count::used`] have them for one.
#[map]
pub(crate) static WHOLE: PerCpuArray<[u32; 2]> = PerCpuArray::with_max_entries(1, 0);

/// Refusals whatever they have in common, by [`redis_trace_common::tally::place`].
#[map]
pub(crate) static TOTAL: PerCpuArray<u64> = PerCpuArray::with_max_entries(End::ALL.len() as u32 * TOTALS, 0);

/// What was seen of late in the namespaces where something is seen: a reset cannot afford a hash map. See `tally::saw`.
#[map]
pub(crate) static AT_HAND: PerCpuArray<Near> = PerCpuArray::with_max_entries(NEAR_PLACES, 0);

/// What was seen before, and what found its place at hand taken, in each network namespace, by its inode and what tells it from
/// others that had the same.
#[map]
pub(crate) static SEEN: LruPerCpuHashMap<[u32; 2], Watched> = LruPerCpuHashMap::with_max_entries(4_096, 0);

/// How many resets can be on their way to a client of this host: a power of two, and so few that a storm finds each place in a
/// near cache, where it passes them in turn. Had it 16 times as many, it would wait for memory at each.
pub(crate) const UNDERWAY: u32 = 1 << 9;

/// Resets that were counted and whose client, if it is on this host, is still to see them; by the end of the SYN's sequence
/// number. See `tally::decide`.
#[map]
pub(crate) static DECIDED: Array<Place<u64>> = Array::with_max_entries(UNDERWAY, 0);

/// Those whose place there was taken, by the whole number.
#[map]
pub(crate) static DECIDED_TOO: LruHashMap<u32, u64> = LruHashMap::with_max_entries(4_096, 0);

/// A listener whose SYN queue looks full to a SYN that has come, and what is in that queue.
#[map]
pub(crate) static SYN_MEETS: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

/// SYNs that found a queue full: each is sent again, and counted once. By its sequence number, its ports, what tells its
/// network namespace from others, and the end of its client's address: floods may use the same number for each of their SYNs.
#[map]
pub(crate) static TURNED_AWAY: LruHashMap<[u32; 4], u8> = LruHashMap::with_max_entries(16_384, 0);

/// Dials under way, by a part of their sock's number. See `dials::remember`.
#[map]
pub(crate) static DIALS: Array<Place<Dialled>> = Array::with_max_entries(1 << PLACES_SHIFT, 0);

/// Those whose place there was taken, by the whole number.
#[map]
pub(crate) static DIALS_TOO: LruHashMap<u64, Dial> = LruHashMap::with_max_entries(16_384, 0);

/// The sock that dialled last on this processor, and its number.
#[map]
pub(crate) static LAST_DIAL: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

/// SYNs that were dropped, by their sequence number: the ports of the last that had it, and whether that was told. They are
/// sent again, and their client may fail minutes later.
#[map]
pub(crate) static DROPPED: LruHashMap<u32, [u32; 2]> = LruHashMap::with_max_entries(8_192, 0);

/// The last rejection on a processor.
#[map]
pub(crate) static REJECTED: PerCpuArray<Rejected> = PerCpuArray::with_max_entries(1, 0);

/// As a power of two, how many threads can be told apart at a time. See `dials::place_of`.
pub(crate) const THREADS_SHIFT: u32 = 12;

/// Which thread was refused last, where and when. See `connect::remember_refusal`.
#[map]
pub(crate) static REFUSED: Array<u64> = Array::with_max_entries(1 << THREADS_SHIFT, 0);

/// Dials that were told as waiting: when they began, times two, plus one when the record found room.
#[map]
pub(crate) static SILENT: LruHashMap<u64, u64> = LruHashMap::with_max_entries(8_192, 0);

/// An ICMP error that answered a SYN.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IcmpError {
    /// Who sent it.
    pub(crate) from: [u8; 16],
    /// Its type.
    pub(crate) kind: u32,
    /// Its code.
    pub(crate) code: u32,
}

/// ICMP errors by the sequence number of the segment that they quote.
#[map]
pub(crate) static ICMP_ERRORS: LruHashMap<u32, IcmpError> = LruHashMap::with_max_entries(4_096, 0);

/// The sock that a processor took a reset to last, and the reset's time to live.
#[map]
pub(crate) static RESET_TTL: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

/// A host in a network namespace.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: [u8; 16],
    /// Inode of the namespace.
    pub(crate) netns: u32,
    /// Random for each namespace.
    pub(crate) netns_mix: u32,
}

/// Time to live of the last answer by which a peer took a SYN.
#[map]
pub(crate) static PEER_TTL: LruHashMap<Peer, u32> = LruHashMap::with_max_entries(4_096, 0);

/// Processes whose end matters: they listened, tried to, or are on the list of servers. Left when they end.
#[map]
pub(crate) static WATCHED: LruHashMap<u32, u8> = LruHashMap::with_max_entries(16_384, 0);

/// Names of server programs, from the program.
#[map]
pub(crate) static SERVERS: HashMap<[u8; COMM_LEN], u8> = HashMap::with_max_entries(64, 0);

/// When a process started whose `Who` was sent.
#[map]
pub(crate) static INTRODUCED: LruHashMap<u32, u64> = LruHashMap::with_max_entries(16_384, 0);

/// What was seen of a thread's call under way.
#[map]
pub(crate) static HINTS: LruHashMap<u64, Hint> = LruHashMap::with_max_entries(1_024, 0);

/// Room to put one together.
#[map]
pub(crate) static HINT: PerCpuArray<Hint> = PerCpuArray::with_max_entries(1, 0);

/// What was seen of the packet that a processor has at hand.
#[map]
pub(crate) static PACKET: PerCpuArray<Hint> = PerCpuArray::with_max_entries(1, 0);

/// How replies begin that may refuse a client, from the program: their place in
/// [`REFUSALS`](redis_trace_common::reply::REFUSALS), plus one.
#[map]
pub(crate) static REFUSALS: HashMap<[u8; 8], u32> = HashMap::with_max_entries(64, 0);

/// A connection that ended early, on its way to be told.
#[map]
pub(crate) static EARLY: PerCpuArray<Early> = PerCpuArray::with_max_entries(1, 0);

/// What the ends of connections have said that may refuse somebody, by their sock's number; for the program to make small
/// where nothing is to be kept. See `heard`.
#[map]
pub(crate) static SPOKEN: LruHashMap<u64, Spoken> = LruHashMap::with_max_entries(2_048, 0);
