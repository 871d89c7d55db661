//! Where TCP sockets change state: the client end of a dial, and listeners that come and go.

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use redis_trace_common::member::SK_PROTOCOL;

use super::{connect, ledger, listen};
use crate::dials;
use crate::kernel::{IPPROTO_TCP, load, peek};

/// `TCP_ESTABLISHED`, include/net/tcp_states.h.
pub(super) const ESTABLISHED: u32 = 1;
/// `TCP_SYN_SENT`.
const SYN_SENT: u32 = 2;
/// `TCP_FIN_WAIT1`.
pub(super) const FIN_WAIT1: u32 = 4;
/// `TCP_CLOSE`.
pub(super) const CLOSE: u32 = 7;
/// `TCP_CLOSE_WAIT`.
pub(super) const CLOSE_WAIT: u32 = 8;
/// `TCP_LAST_ACK`.
pub(super) const LAST_ACK: u32 = 9;
/// `TCP_LISTEN`.
const LISTEN: u32 = 10;

/// `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, include/trace/events/sock.h.
///
/// Not a function of its own in the object, for it runs ten times for each connection.
#[btf_tracepoint(function = "inet_sock_set_state")]
#[inline(always)]
pub(crate) fn state(ctx: BtfTracePointContext) -> i32 {
    let (sk, old, new) = (ctx.arg::<u64>(0), ctx.arg::<u32>(1), ctx.arg::<u32>(2));
    let ours =
        matches!((old, new), (SYN_SENT | ESTABLISHED | CLOSE_WAIT, _) | (CLOSE, SYN_SENT | LISTEN) | (LISTEN, CLOSE));
    // An MPTCP socket mirrors what its first TCP socket does.
    if !ours || unsafe { load(sk, SK_PROTOCOL) } != IPPROTO_TCP {
        return 0;
    }
    #[cfg(feature = "probe-log")]
    aya_log_ebpf::debug!(&ctx, "sock {:x} from state {} to {}", sk, old, new);
    match (old, new) {
        (ESTABLISHED | CLOSE_WAIT, _) => ledger::left(sk, || number(&ctx), old, new),
        (CLOSE, SYN_SENT) => dials::remember(sk),
        (SYN_SENT, _) => connect::over(sk, new == ESTABLISHED, dials::take(sk)),
        (CLOSE, _) => listen::up(sk),
        _ => listen::down(sk),
    }
    0
}

/// The sock, a hook's first argument, as a number: the verifier forbids to reckon with what it knows for a pointer.
#[inline(always)]
pub(super) fn number(ctx: &impl EbpfContext) -> u64 {
    peek(ctx.as_ptr() as u64)
}
