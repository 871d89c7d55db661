//! The client end: who dialled, and what became of it.

use redis_trace_common::member::{NET_INUM, NET_MIX, SK_DPORT, SK_ERR, SK_NET, TCP_SND_UNA, TCP_TOTAL_RETRANS};
use redis_trace_common::record::{ConnectFailed, Connected, Flow, Phase};
use redis_trace_common::tally::{End, Key};

use super::{distance, silence, who};
use crate::dials::{self, Dial};
use crate::emit::{reserve, tick};
use crate::kernel::{caller, fill_caller, fill_flow, load, read, tcp_sock};
use crate::maps::{ICMP_ERRORS, IcmpError, REFUSED};
use crate::tally::{self, Sight};
use redis_trace_common::decision::STAMP_SHIFT;

/// Said of what no ICMP error answered.
const NO_ICMP: IcmpError = IcmpError { from: [0; 16], kind: u32::MAX, code: 0 };
/// How long after a refusal a success of the same thread at the same port is worth telling: `localhost` tried on `::1` and then
/// 127.0.0.1. In units of 2^20 nanoseconds, about a millisecond.
const SECOND_TRY: u16 = 2_000;

/// A dial is over. One that was answered is of interest if the same thread was refused at that port a moment ago, or if it had
/// waited for long. Of another `sk_err` is set first: tcp_reset() (tcp_done_with_error() since Linux 6.10), tcp_v4_err().
#[inline(always)]
pub(crate) fn over(sk: u64, is_answered: bool, dial: Option<Dial>) {
    let error = if is_answered { 0 } else { unsafe { load(sk, SK_ERR) } };
    // A dial that its own caller gave up has none.
    if error != 0 {
        let net = unsafe { load(sk, SK_NET) };
        tally::saw(unsafe { [load(net, NET_INUM), load(net, NET_MIX)] }, Sight::Failure);
    }
    let Some(dial) = dial else { return };
    let tcp = tcp_sock(sk);
    let (retransmits, isn) =
        if tcp == 0 { (0, 0) } else { unsafe { (load(tcp, TCP_TOTAL_RETRANS), load(tcp, TCP_SND_UNA)) } };
    let is_sent_again = retransmits != 0;
    let waited = if is_sent_again { silence::ended(sk, &dial) } else { None };
    if is_answered {
        if was_refused(dial.tid, || port(sk)) {
            tell_connected(sk, &dial);
        }
        if waited.is_none() {
            return;
        }
    } else {
        // Who gives up before the SYN had to be sent again has not been refused.
        if error == 0 && !is_sent_again {
            return;
        }
        remember_refusal(dial.tid, port(sk));
    }
    let decided = if is_answered { None } else { tally::decided(isn) };
    let phase = match (is_answered, decided, waited) {
        (true, ..) => Phase::Answered,
        (false, None, Some(_)) => Phase::OverAtLast,
        _ => Phase::Over,
    };
    tell_once(sk, error, phase, decided.or(waited), &dial);
}

/// Tells one that was counted before if it was told then; another is counted here. Whether it was told.
#[inline(always)]
pub(super) fn tell_once(sk: u64, error: u32, phase: Phase, counted: Option<bool>, dial: &Dial) -> bool {
    let is_sample = match counted {
        Some(is_told) => is_told,
        None => tally::is_sample(End::Client, &key(sk)),
    };
    let is_told = is_sample && tell(sk, error, phase, dial);
    if counted.is_none() && is_sample && !is_told {
        tally::lost(End::Client);
    }
    is_told
}

/// What refusals of which only this end is seen are counted by.
#[inline(always)]
fn key(sk: u64) -> Key {
    let mut flow = Flow {
        netns: 0,
        family: 0,
        protocol: 0,
        client: [0; 16],
        server: [0; 16],
        client_port: 0,
        server_port: 0,
        ifindex: 0,
        netns_mix: 0,
        reserved: 0,
    };
    fill_flow(&raw mut flow, sk);
    Key {
        end: End::Client as u32,
        netns: flow.netns,
        netns_mix: flow.netns_mix,
        port: u32::from(flow.server_port),
        client: flow.client,
        server: flow.server,
    }
}

/// The server's port of a sock that the verifier knows for one.
#[inline(always)]
fn port(sk: u64) -> u16 {
    u16::from_be(unsafe { load(sk, SK_DPORT) })
}

/// Where and when a thread was last refused: its id, the port, and the end of the time in units of 2^20 nanoseconds. A later one
/// may take its place.
#[inline(always)]
pub(super) fn remember_refusal(tid: u32, port: u16) {
    if let Some(refused) = REFUSED.get_ptr_mut(dials::place_of(tid)) {
        unsafe { refused.write_volatile(u64::from(tid) << 32 | u64::from(port) << 16 | u64::from(stamp())) };
    }
}

/// Whether a thread was refused at a port a moment ago, or for as long every minute after that.
#[inline(always)]
fn was_refused(tid: u32, port: impl Fn() -> u16) -> bool {
    let Some(refused) = REFUSED.get(dials::place_of(tid)).copied() else { return false };
    let is_recent = stamp().wrapping_sub(refused as u16) < SECOND_TRY;
    (refused >> 32) as u32 == tid && is_recent && (refused >> 16) as u16 == port()
}

/// The time, as far as it is kept with a refusal.
#[inline(always)]
fn stamp() -> u16 {
    (tick() >> STAMP_SHIFT) as u16
}

#[inline(always)]
fn tell_connected(sk: u64, dial: &Dial) {
    let Some(mut slot) = reserve::<Connected>() else { return };
    let record = slot.record();
    unsafe {
        fill_flow(&raw mut (*record).flow, sk);
        fill_caller(&raw mut (*record).task, dial);
    }
    slot.submit();
}

/// Whether there was room to tell it.
#[inline(always)]
fn tell(sk: u64, error: u32, phase: Phase, dial: &Dial) -> bool {
    who::introduce(caller(dial));
    let Some(mut slot) = reserve::<ConnectFailed>() else { return false };
    let record = slot.record();
    let isn = read(sk, TCP_SND_UNA);
    unsafe {
        fill_flow(&raw mut (*record).flow, sk);
        fill_caller(&raw mut (*record).task, dial);
        (&raw mut (*record).dialled).write(dial.time);
        (&raw mut (*record).errno).write(error);
        (&raw mut (*record).isn).write(isn);
        (&raw mut (*record).phase).write(phase as u32);
        (&raw mut (*record).retransmits).write(read(sk, TCP_TOTAL_RETRANS));
        let icmp = ICMP_ERRORS.get(&isn).copied().unwrap_or(NO_ICMP);
        (&raw mut (*record).icmp_from).write(icmp.from);
        (&raw mut (*record).icmp_type).write(icmp.kind);
        (&raw mut (*record).icmp_code).write(icmp.code);
        (&raw mut (*record).ttl).write(distance::of_reset(sk));
        (&raw mut (*record).peer_ttl).write(distance::of_peer(&raw const (*record).flow));
    }
    slot.submit();
    true
}
