//! What was said last: by a thread, in the page that it copies from, and to a socket, in what waits to be read.
//!
//! Another connection's bytes may lie there as well: nothing is a refusal but what begins and ends like one. Kernels without
//! that page have a probe that hears what is said: see `heard`.

use core::ptr::read_volatile;

use redis_trace_common::hook::SK_STREAM_ALLOC_SKB;
use redis_trace_common::member::{
    ABSENT, FRAG_OFFSET, FRAG_PAGE, QUEUE_NEXT, SHARED_FRAGS, SK_RECEIVE_QUEUE, SKB_DATA, SKB_DATA_LEN, SKB_END,
    SKB_HEAD, SKB_LEN, TASK_FRAG,
};
use redis_trace_common::reply::{ALERT, ALERT_LENGTH, REDIRECTS, TLS_HANDSHAKE};

use crate::heard;
use crate::kernel::{Memory, arguments, current, peek, place, read};
use crate::maps::REFUSALS;

/// Where the kernel keeps `page_offset_base` and `vmemmap_base`, from the program; zero where it has them as constants.
#[unsafe(no_mangle)]
static MEMORY_BASES: [u64; 2] = [0; 2];

/// `__PAGE_OFFSET_BASE_L4` and `__VMEMMAP_BASE_L4`: Documentation/arch/x86/x86_64/mm.rst.
const BASES: [u64; 2] = [0xffff_8880_0000_0000, 0xffff_ea00_0000_0000];
/// How a Sentinel's answer begins.
const SENTINELS: u64 = REDIRECTS[2].0;
/// Bytes of an answer with the longest address of IPv6 and the highest port.
const LONGEST_ANSWER: u32 = 64;
/// A page of 4,096 bytes is described by 64.
const PER_DESCRIBED: u64 = 64;

/// The place of the begin of a TLS handshake among what is heard: behind all others, and never told.
pub(crate) const HELLO: u32 = ALERT + 1;
/// No words that refuse a client are shorter, but for an alert.
pub(crate) const SHORTEST: u32 = 16;

/// Words that refuse a client.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    /// Where they are.
    pub(crate) at: u64,
    /// How many bytes.
    pub(crate) length: u32,
    /// Their place among [`REFUSALS`](redis_trace_common::reply::REFUSALS), plus one; [`ALERT`], [`HELLO`]; 0 for none.
    pub(crate) which: u32,
}

impl Said {
    /// No such words.
    pub(crate) const NOTHING: Self = Self { at: 0, length: 0, which: 0 };

    /// The same if they are what is wanted.
    #[inline(always)]
    fn only(self, is_wanted: impl Fn(u32) -> bool) -> Self {
        if is_wanted(self.which) { self } else { Self::NOTHING }
    }
}

/// What the end of a connection said last.
#[derive(Clone, Copy)]
pub(crate) struct Last {
    /// Where it is, and how many bytes; nothing when they are 0.
    words: (u64, u32),
    /// What was heard when it was said; nothing where it is read afterwards.
    heard: Said,
}

/// The last so many bytes that were said, by the current thread, on the sock with this number, up to this sequence number.
#[inline(always)]
pub(crate) fn last(sk: impl Fn() -> u64, length: u32, end: u32) -> Last {
    if is_heard() {
        return Last { words: (0, 0), heard: heard::last(sk(), end.wrapping_sub(length), end) };
    }
    Last { words: in_page(length), heard: Said::NOTHING }
}

impl Last {
    /// The refusal that it is.
    #[inline(always)]
    pub(crate) fn refusal(self) -> Said {
        if is_heard() { self.heard.only(|which| which < ALERT) } else { refusal(self.words, Memory::Kernel) }
    }

    /// The TLS alert with which it ends.
    #[inline(always)]
    pub(crate) fn alert(self) -> Said {
        if is_heard() { self.heard.only(|which| which == ALERT) } else { alert(self.words, Memory::Kernel) }
    }

    /// Whether it begins a TLS handshake.
    #[inline(always)]
    pub(crate) fn is_tls(self) -> bool {
        if is_heard() { self.heard.which == HELLO } else { is_tls(self.words, Memory::Kernel) }
    }
}

/// Whether the kernel keeps nowhere what was said, so that it is to be heard when it is.
#[inline(always)]
fn is_heard() -> bool {
    arguments(SK_STREAM_ALLOC_SKB) != ABSENT
}

/// Where the last so many bytes are that the current thread sent, and how many: sk_page_frag(), include/net/sock.h. Once all
/// that it had sent was acknowledged, a thread begins the page anew: then only what it has sent since is left.
#[inline(always)]
fn in_page(length: u32) -> (u64, u32) {
    let [page, rest] = read(current(), TASK_FRAG);
    let behind = rest as u32;
    let length = length.min(behind);
    if page == 0 { (0, 0) } else { (address(page) + u64::from(behind - length), length) }
}

/// Where the first bytes are that wait to be read from a sock; 0 when none do.
#[inline(always)]
pub(crate) fn unread(sk: u64) -> u64 {
    let queue = place(sk, SK_RECEIVE_QUEUE);
    let skb = read(queue, QUEUE_NEXT);
    if skb == queue || skb == 0 {
        return 0;
    }
    if read(skb, SKB_LEN) > read(skb, SKB_DATA_LEN) {
        return read(skb, SKB_DATA);
    }
    let shared = read(skb, SKB_HEAD) + u64::from(read(skb, SKB_END));
    let fragment = place(shared, SHARED_FRAGS);
    address(read(fragment, FRAG_PAGE)) + u64::from(read(fragment, FRAG_OFFSET))
}

/// Where in the kernel's map of all memory a page is.
#[inline(always)]
fn address(page: u64) -> u64 {
    let [memory, pages] = unsafe { read_volatile(&raw const MEMORY_BASES) };
    let [memory, pages] = if memory == 0 { BASES } else { [peek(memory), peek(pages)] };
    memory.wrapping_add(page.wrapping_sub(pages).wrapping_mul(PER_DESCRIBED))
}

/// The refusal that so many bytes at an address are.
#[inline(always)]
pub(crate) fn refusal((at, length): (u64, u32), memory: Memory) -> Said {
    if at == 0 || length < SHORTEST {
        return Said::NOTHING;
    }
    // What a map gives the verifier does not follow: it would go through all that comes after once for each of them.
    let mut first: u64 = memory.peek(at);
    for (words, common) in REDIRECTS {
        if first & common == words {
            first = words;
        }
    }
    if first == SENTINELS && !is_an_answer(at, length, memory) {
        return Said::NOTHING;
    }
    let Some(which) = (unsafe { REFUSALS.get(&first.to_ne_bytes()) }) else { return Said::NOTHING };
    if memory.peek::<[u8; 2]>(at + u64::from(length) - 2) != *b"\r\n" {
        return Said::NOTHING;
    }
    Said { at, length, which: *which }
}

/// A Sentinel's answer is short, and an address comes first: two values that somebody stored are not copied.
#[inline(always)]
fn is_an_answer(at: u64, length: u32, memory: Memory) -> bool {
    // Its length has one digit or two.
    let begin = if memory.peek::<u8>(at + 6) == b'\r' { 8 } else { 9 };
    length <= LONGEST_ANSWER && memory.peek::<u8>(at + begin).is_ascii_hexdigit()
}

/// The TLS alert with which so many bytes at an address end.
#[inline(always)]
pub(crate) fn alert((at, length): (u64, u32), memory: Memory) -> Said {
    let Some(before) = length.checked_sub(ALERT_LENGTH as u32) else { return Said::NOTHING };
    let at = at + u64::from(before);
    if at == 0 || redis_trace_common::reply::alert(&memory.peek::<[u8; ALERT_LENGTH]>(at)).is_none() {
        return Said::NOTHING;
    }
    Said { at, length: ALERT_LENGTH as u32, which: ALERT }
}

/// Whether a TLS handshake begins there.
#[inline(always)]
pub(crate) fn is_tls((at, length): (u64, u32), memory: Memory) -> bool {
    length >= 2 && memory.peek::<[u8; 2]>(at) == TLS_HANDSHAKE
}
