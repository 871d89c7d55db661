//! Connections that end early, or that a server ends: how many bytes went each way, who closed, and what was said last.
//!
//! Nothing is kept of a connection while it lives: all of this still stands in its sock when it is closed. Only what looks like
//! a refusal is told.

use core::ffi::c_void;

use redis_trace_common::member::{
    CSK_LAST_DATA, SK_ERR, SK_SOCKET, TASK_FLAGS, TCP_BYTES_ACKED, TCP_BYTES_RECEIVED, TCP_BYTES_RETRANS,
    TCP_BYTES_SENT, TCP_COPIED_SEQ, TCP_LAST_SENT, TCP_RCV_NXT, TCP_SND_NXT, TCP_SND_UNA, TCP_WRITE_SEQ,
};
use redis_trace_common::record::{EarlyEnd, Flow, Parting, REPLY_LEN};
use redis_trace_common::reply::ALERT_LENGTH;
use redis_trace_common::tally::{End, Key};

use super::process::name;
use super::state::{CLOSE, CLOSE_WAIT, ESTABLISHED, FIN_WAIT1, LAST_ACK};
use crate::emit::{reserve, tick_length, ticks};
use crate::kernel::{Memory, PF_EXITING, at_most, current, fill_flow, fill_task, load, read, tcp_sock};
use crate::maps::{EARLY, SERVERS};
use crate::said::{self, SHORTEST, Said};
use crate::tally;

/// A server that has said more than this has served: the longest refusal has about 1,100 bytes.
pub(super) const MOST: u32 = 2_048;
/// The shortest answer that begins TLS: a record of a handshake of version, random, an empty session, cipher and compression, RFC
/// 5246.
const SERVER_HELLO: u32 = 5 + 4 + 38;
/// A server that closes without a word does so soon, or the connection was merely idle: nanoseconds.
const SOON: u64 = 5_000_000_000;
/// A client that has asked nothing and was answered nothing for so long was not closed for what it asked, nanoseconds.
const PAUSE: u64 = 100_000_000;
/// The same of one that never got an answer: a busy server may read what it closes for late.
const LONG_PAUSE: u64 = 1_000_000_000;
/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;
/// `ECONNRESET`, include/uapi/asm-generic/errno.h.
const ECONNRESET: u32 = 104;
/// As long as no bytes were counted.
const UNKNOWN: u32 = u32::MAX;

/// A connection that ended early.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Early {
    /// Where what its server said is.
    at: u64,
    /// How many bytes of it there are; 0 when it is not known.
    length: u32,
    /// Its place among the refusals, plus one.
    which: u32,
    /// How it ended: [`Parting`].
    parting: u32,
    sent: u32,
    received: u32,
    read: u32,
    /// Sequence number behind the server's last byte.
    end: u32,
    /// Bytes that were sent and not acknowledged.
    waiting: u32,
    /// For how long no data had come, nanoseconds.
    idle: u64,
    /// For how long no data had been sent, nanoseconds.
    quiet: u64,
}

/// A connection leaves ESTABLISHED or CLOSE_WAIT. `sk` is the tracepoint's, `number` gives its address.
#[inline(always)]
pub(super) fn left(sk: u64, number: impl Fn() -> u64, old: u32, new: u32) {
    // What the verifier knows the type of is read without a call.
    let tp = tcp_sock(sk);
    if tp == 0 {
        return;
    }
    let error = unsafe { load(sk, SK_ERR) };
    let is_ours = new == FIN_WAIT1 || new == LAST_ACK || (new == CLOSE && error == 0);
    let early = if is_ours {
        // One that was never accepted has no socket: inet_csk_listen_stop().
        if unsafe { load(sk, SK_SOCKET) } == 0 { None } else { closed_here(tp, &number, old, new) }
    } else if old == ESTABLISHED && (new == CLOSE_WAIT || (new == CLOSE && error == ECONNRESET)) {
        closed_there(tp, &number, new)
    } else {
        None
    };
    // Told from one place and from memory, so that the verifier goes through it once.
    if let (Some(early), Some(place)) = (early, EARLY.get_ptr_mut(0)) {
        unsafe { place.write(early) };
        tell(number(), place);
    }
}

/// What an end of a connection has said, by its own books.
#[derive(Clone, Copy)]
pub(super) struct Books {
    /// Bytes, the SYN of who dialled among them.
    all: u64,
    /// Bytes of data.
    written: u32,
    /// Sequence number behind the last.
    pub(super) write_seq: u32,
    /// Bytes that were not acknowledged.
    waiting: u32,
    /// Bytes that were not even sent.
    unsent: u32,
}

impl Books {
    /// Those of a sock of TCP.
    #[inline(always)]
    pub(super) fn of(tp: u64) -> Self {
        let [acked, total, again] =
            unsafe { [TCP_BYTES_ACKED, TCP_BYTES_SENT, TCP_BYTES_RETRANS].map(|it| load(tp, it)) };
        let [write_seq, acknowledged, next] =
            unsafe { [TCP_WRITE_SEQ, TCP_SND_UNA, TCP_SND_NXT].map(|it| load(tp, it)) };
        let (waiting, unsent) = (write_seq.wrapping_sub(acknowledged), write_seq.wrapping_sub(next));
        let written = (total as u32).wrapping_sub(again as u32).wrapping_add(unsent);
        Self { all: acked + u64::from(waiting), written, write_seq, waiting, unsent }
    }

    /// Whether it was dialled.
    #[inline(always)]
    pub(super) fn is_of_server(self) -> bool {
        self.all as u32 == self.written
    }

    /// Whether it dialled: its SYN is among the bytes that were acknowledged, and not among those of data.
    #[inline(always)]
    pub(super) fn is_of_client(self) -> bool {
        self.all as u32 == self.written + 1
    }
}

/// close(2) or shutdown(2) by this end, in its own context.
#[inline(always)]
fn closed_here(tp: u64, number: impl Fn() -> u64, old: u32, new: u32) -> Option<Early> {
    let books = Books::of(tp);
    let Books { all, written, write_seq, waiting, unsent } = books;
    let is_little = all <= u64::from(MOST);
    let idle = nanoseconds_since(unsafe { load(tp, CSK_LAST_DATA) });
    if !is_little && (old != ESTABLISHED || idle < PAUSE) {
        return None;
    }
    let fin = u32::from(old == CLOSE_WAIT);
    let received = (unsafe { load(tp, TCP_BYTES_RECEIVED) } as u32).wrapping_sub(fin);
    let unread = unsafe { load(tp, TCP_RCV_NXT).wrapping_sub(load(tp, TCP_COPIED_SEQ)) };
    // Whoever has read to the end has read the FIN too.
    let read = (received + fin).wrapping_sub(unread).min(received);
    let quiet = nanoseconds_since(unsafe { load(tp, TCP_LAST_SENT) });
    let Said { at, length, which } = Said::NOTHING;
    let early = Early {
        at,
        length,
        which,
        parting: of_server(new) as u32,
        sent: all.min(u64::from(UNKNOWN)) as u32,
        received,
        read,
        end: write_seq,
        idle,
        waiting,
        quiet,
    };
    if books.is_of_server() {
        let pause = if written == 0 { LONG_PAUSE } else { PAUSE };
        let has_waited = old == ESTABLISHED && idle >= pause && (quiet >= pause || unsent > 0);
        server_closed(early, number, new, has_waited)
    } else if is_little && books.is_of_client() && written != 0 {
        client_closed(early, number, written, new)
    } else {
        None
    }
}

/// The client's end was closed by the client, which said TLS last.
#[inline(always)]
fn client_closed(early: Early, number: impl Fn() -> u64, written: u32, new: u32) -> Option<Early> {
    // Who complains of TLS has heard it spoken.
    if early.received != 0 && early.received < SERVER_HELLO {
        return None;
    }
    let spoken = said::last(number, written, early.end);
    let (parting, Said { at, length, which }) = if early.received != 0 {
        (Parting::Alerted, spoken.alert())
    } else if new != LAST_ACK && spoken.is_tls() {
        (Parting::HelloUnanswered, Said::NOTHING)
    } else {
        return None;
    };
    let is_told = early.received == 0 || which != 0;
    let (sent, parting) = (early.received, parting as u32);
    is_told.then_some(Early { at, length, which, parting, sent, received: written, read: UNKNOWN, end: 0, ..early })
}

/// How a server closed, by the state that its socket takes.
#[inline(always)]
fn of_server(new: u32) -> Parting {
    match new {
        LAST_ACK => Parting::Left,
        FIN_WAIT1 => Parting::Closed,
        _ => Parting::Reset,
    }
}

/// The server's end of a connection was closed by the server, first or after the client.
#[inline(always)]
fn server_closed(mut early: Early, number: impl Fn() -> u64, new: u32, has_waited: bool) -> Option<Early> {
    // An alert comes alone, or behind much else of TLS: to look for either costs every connection.
    if early.sent == ALERT_LENGTH as u32 || (SHORTEST..=MOST).contains(&early.sent) {
        let spoken = said::last(number, early.sent, early.end);
        let mut said = spoken.refusal();
        if said.which == 0 {
            said = spoken.alert();
        }
        Said { at: early.at, length: early.length, which: early.which } = said;
    }
    let is_first = new != LAST_ACK;
    let is_at_the_door = early.read == 0 && (SHORTEST..=MOST).contains(&early.sent);
    let is_wordless = early.sent == 0 && early.idle < SOON;
    let is_early = early.which != 0 || (is_first && (is_at_the_door || is_wordless));
    if early.which == 0 && has_waited && unsafe { SERVERS.get(&name(current())) }.is_some() {
        early.parting = Parting::Waited as u32;
    } else if !is_early {
        return None;
    }
    // Who ends closes what is open, and turns nobody away by that.
    (read(current(), TASK_FLAGS) & PF_EXITING == 0).then_some(early)
}

/// The other end closed or reset it, and what it said may still wait to be read: then the client of a server elsewhere that
/// said no may never learn what it said.
#[inline(always)]
fn closed_there(tp: u64, number: impl Fn() -> u64, new: u32) -> Option<Early> {
    let fin = u32::from(new == CLOSE_WAIT);
    let sent = (unsafe { load(tp, TCP_BYTES_RECEIVED) }).wrapping_sub(u64::from(fin));
    if sent < u64::from(SHORTEST) || sent > u64::from(MOST) {
        return None;
    }
    let sent = sent as u32;
    let end = unsafe { load(tp, TCP_RCV_NXT) }.wrapping_sub(fin);
    // Once something was read the first packet that waits is not where it began, and may be an empty one: what its memory
    // points to is another's.
    if end.wrapping_sub(unsafe { load(tp, TCP_COPIED_SEQ) }) != sent {
        return None;
    }
    let Said { at, length, which } = said::refusal((said::unread(number()), sent), Memory::Kernel);
    if which == 0 {
        return None;
    }
    // The SYN is among them.
    let received = (unsafe { load(tp, TCP_BYTES_ACKED) } as u32)
        .wrapping_add(unsafe { load(tp, TCP_WRITE_SEQ).wrapping_sub(load(tp, TCP_SND_UNA)) })
        .wrapping_sub(1);
    let idle = nanoseconds_since(unsafe { load(tp, CSK_LAST_DATA) });
    let parting = Parting::LeftByServer as u32;
    Some(Early { at, length, which, parting, sent, received, read: UNKNOWN, end, idle, waiting: 0, quiet: 0 })
}

/// Nanoseconds from a tick to now.
#[inline(always)]
fn nanoseconds_since(then: u32) -> u64 {
    u64::from((ticks() as u32).wrapping_sub(then)) * tick_length()
}

/// Counts it, and tells it if it is a sample. A client of this host whose server was counted is not counted again, and told
/// with it or not at all.
#[inline(always)]
fn tell(sk: u64, early: *const Early) {
    let mut flow = NOWHERE;
    fill_flow(&raw mut flow, sk);
    let (parting, end) = unsafe { ((*early).parting, (*early).end) };
    let is_of_client = parting >= Parting::LeftByServer as u32;
    if !is_of_client {
        // The sock has its own end first.
        (flow.client, flow.server) = (flow.server, flow.client);
        (flow.client_port, flow.server_port) = (flow.server_port, flow.client_port);
    }
    let counted = if is_of_client && end != 0 { tally::decided(end) } else { None };
    let kind = parting | unsafe { (*early).which } << 4;
    let key = Key {
        end: End::Early as u32,
        netns: flow.netns,
        netns_mix: flow.netns_mix,
        port: u32::from(flow.server_port) | kind << 16,
        client: flow.client,
        server: flow.server,
    };
    let is_sample = counted.unwrap_or_else(|| tally::is_sample(End::Early, &key));
    let is_told = is_sample && send(&flow, early, is_of_client, kind);
    if is_sample && !is_told && counted.is_none() {
        tally::lost(End::Early);
    }
    if !is_of_client {
        tally::decide(end, is_told);
    }
}

/// A flow that is still to be filled.
const NOWHERE: Flow = Flow {
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

/// Whether there was room to tell it.
#[inline(always)]
fn send(flow: &Flow, early: *const Early, is_of_client: bool, kind: u32) -> bool {
    let Some(mut slot) = reserve::<EarlyEnd>() else { return false };
    let record = slot.record();
    unsafe {
        (&raw mut (*record).flow).write(*flow);
        // A softirq runs on anybody's back: at address 0 there is nobody.
        fill_task(&raw mut (*record).task, if is_of_client { 0 } else { current() });
        (&raw mut (*record).sent).write((*early).sent);
        (&raw mut (*record).received).write((*early).received);
        (&raw mut (*record).read).write((*early).read);
        (&raw mut (*record).end).write((*early).end);
        (&raw mut (*record).idle).write(((*early).idle / MILLISECOND) as u32);
        (&raw mut (*record).waiting).write((*early).waiting);
        (&raw mut (*record).quiet).write(((*early).quiet / MILLISECOND) as u32);
        (&raw mut (*record).parting).write((*early).parting);
        (&raw mut (*record).kind).write(kind);
        (&raw mut (*record).reply).cast::<[u64; REPLY_LEN / 8]>().write([0; REPLY_LEN / 8]);
        let (to, from, length) = ((&raw mut (*record).reply).cast::<c_void>(), (*early).at, (*early).length);
        let copied = Memory::Kernel.copy_bytes(to, at_most(REPLY_LEN, length), from);
        (&raw mut (*record).length).write(if copied { length } else { 0 });
    }
    slot.submit();
    true
}
