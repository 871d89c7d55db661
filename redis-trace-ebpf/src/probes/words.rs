//! What is said on TCP as it is said, where the kernel keeps it nowhere: everything that is sent comes by here.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use redis_trace_common::member::{IOV_BASE, IOV_LEN, MSG_IOV, TCP_BYTES_SENT};
use redis_trace_common::reply::ALERT_LENGTH;

use super::ledger::{Books, MOST};
use super::state::number;
use crate::heard;
use crate::kernel::{Memory, load, tcp_sock};
use crate::said::{self, HELLO, Said};

/// `tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)`, net/ipv4/tcp.c. What is long, or sent when much has been
/// sent, refuses nobody, and is let by first of all.
#[fentry(function = "tcp_sendmsg")]
pub(crate) fn spoken(ctx: FEntryContext) -> u32 {
    let size = ctx.arg::<u64>(2);
    if !(ALERT_LENGTH as u64..=u64::from(MOST)).contains(&size) {
        return 0;
    }
    let tp = tcp_sock(ctx.arg(0));
    if tp == 0 {
        return 0;
    }
    let sent = unsafe { load(tp, TCP_BYTES_SENT) };
    if sent > u64::from(MOST) {
        return 0;
    }
    let iov = unsafe { load(ctx.arg(1), MSG_IOV) };
    let (at, length) = unsafe { (load(iov, IOV_BASE), load(iov, IOV_LEN)) };
    // Words that refuse are sent in one part.
    if length != size {
        return 0;
    }
    let books = Books::of(tp);
    let said = what_is(at, size as u32, books, sent == 0);
    if said.which != 0 {
        heard::keep(number(&ctx), books.write_seq, said);
    }
    0
}

/// What so many bytes of the caller's are. A TLS alert is as long as no other; of what clients say no more is looked at than
/// whether it begins a handshake, for a command may look like a server's answer.
#[inline(always)]
fn what_is(at: u64, length: u32, books: Books, is_first: bool) -> Said {
    let words = (at, length);
    if length == ALERT_LENGTH as u32 {
        said::alert(words, Memory::User)
    } else if books.is_of_server() {
        said::refusal(words, Memory::User)
    } else if is_first && books.is_of_client() && said::is_tls(words, Memory::User) {
        Said { at, length: 0, which: HELLO }
    } else {
        Said::NOTHING
    }
}
