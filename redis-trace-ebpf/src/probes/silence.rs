//! Dials that have no answer: told once they have waited for seconds, and again when they end.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use redis_trace_common::member::{SK_STATE, TCP_SND_UNA, TCP_TOTAL_RETRANS};
use redis_trace_common::record::Phase;

use super::connect;
use crate::dials::{self, Dial};
use crate::emit::now;
use crate::kernel::{load, read};
use crate::maps::SILENT;
use crate::tally;

/// `TCP_SYN_SENT`, include/net/tcp_states.h.
const SYN_SENT: u8 = 2;
/// How long a dial waits before it is told: SYNs are sent again after 1 and 3 seconds, or after 1, 2 and 3.
const PATIENCE: u64 = 2_900_000_000;

/// `tcp_retransmit_skb(const struct sock *sk, const struct sk_buff *skb[, int err])`, include/trace/events/tcp.h; `err` since
/// Linux 6.18.
#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub(crate) fn retransmitted(ctx: BtfTracePointContext) -> i32 {
    let sk = ctx.arg::<u64>(0);
    if unsafe { load(sk, SK_STATE) } == SYN_SENT {
        if let Some(dial) = dials::of(sk) {
            waits(sk, &dial);
        }
    }
    0
}

/// A SYN is sent again. One that could not be, for the first still waits for its neighbour, says nothing of the far end.
#[inline(always)]
fn waits(sk: u64, dial: &Dial) {
    if now() - dial.time < PATIENCE || read(sk, TCP_TOTAL_RETRANS) == 0 || told_as_waiting(sk, dial).is_some() {
        return;
    }
    let is_told = connect::tell_once(sk, 0, Phase::Waiting, tally::decided(read(sk, TCP_SND_UNA)), dial);
    let _ = SILENT.insert(&sk, &(dial.time << 1 | u64::from(is_told)), 0);
}

/// Whether a dial was counted while it waited, and then, whether it was told.
#[inline(always)]
fn told_as_waiting(sk: u64, dial: &Dial) -> Option<bool> {
    let silent = unsafe { SILENT.get(&sk) }.copied()?;
    // A sock's memory is used again.
    if silent >> 1 == dial.time & (u64::MAX >> 1) { Some(silent & 1 != 0) } else { None }
}

/// Ends what was counted while it waited: whether it was told then; nothing for a dial that never was counted.
#[inline(always)]
pub(super) fn ended(sk: u64, dial: &Dial) -> Option<bool> {
    let was_told = told_as_waiting(sk, dial)?;
    let _ = SILENT.remove(&sk);
    Some(was_told)
}
