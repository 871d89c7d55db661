//! Unix stream sockets: connects that failed, and those that begin to listen.

use core::ffi::c_void;

use aya_ebpf::macros::{fexit, tracepoint};
use aya_ebpf::programs::{FExitContext, TracePointContext};
use redis_trace_common::member::{
    NET_INUM, NET_MIX, SK_FAMILY, SK_NET, SK_TYPE, SOCKET_SK, TASK_TGID, UNIX_ADDRESS, UNIX_LENGTH, UNIX_NAME,
};
use redis_trace_common::record::{UNIX_PATH_LEN, UnixConnect, UnixListen};
use redis_trace_common::tally::{End, Key};

use super::syscall::{self, Call, NR_CONNECT};
use super::{denied, who};
use crate::denial;
use crate::emit::reserve;
use crate::kernel::{Memory, at_most, current, fill_task, place, read};
use crate::tally;

/// `AF_UNIX`, include/linux/socket.h.
const AF_UNIX: u16 = 1;
/// `SOCK_STREAM`, include/linux/net.h.
const SOCK_STREAM: u16 = 1;
/// Where `sun_path` begins in `struct sockaddr_un`, include/uapi/linux/un.h.
const SUN_PATH: u64 = 2;

/// Bytes from the end of a path that are part of what is counted together.
const TAIL: usize = 16;

/// `int unix_stream_connect(struct socket *sock, struct sockaddr *uaddr, int addr_len, int flags)`, net/unix/af_unix.c.
#[fexit(function = "unix_stream_connect")]
pub(crate) fn unix_connected(ctx: FExitContext) -> u32 {
    // The return value stands behind the arguments; bpf_get_func_ret() is only there since Linux 5.17.
    tell(read(ctx.arg(0), SOCKET_SK), ctx.arg(1), ctx.arg(2), ctx.arg(4), Memory::Kernel);
    0
}

/// `int unix_listen(struct socket *sock, int backlog)`, net/unix/af_unix.c.
#[fexit(function = "unix_listen")]
pub(crate) fn unix_listened(ctx: FExitContext) -> u32 {
    tell_listen(read(ctx.arg(0), SOCKET_SK), ctx.arg(2));
    0
}

/// Leaves connect(2).
#[tracepoint(category = "syscalls", name = "sys_exit_connect")]
pub(crate) fn exit_connect(ctx: TracePointContext) -> u32 {
    let errno = syscall::errno(&ctx);
    if turned_away(errno) || denied::matters(errno) || syscall::is_of_filter(errno) {
        let (call, mut family) = (syscall::asked(), 0_u16);
        Memory::User.copy(&raw mut family, call.address);
        let is_entered = syscall::is_entered(errno, NR_CONNECT);
        // Most that fail were refused by the other end of TCP: they cost no more than this.
        if family == AF_UNIX || !is_entered || denied::matters(errno) {
            left(&call, syscall::result(&ctx), is_entered);
        }
    }
    0
}

/// Tells what came of connect(2) if it is worth it.
#[inline(always)]
fn left(call: &Call, result: i32, is_entered: bool) {
    let sk = syscall::sock(call.fd);
    if sk == 0 {
        denial::forget();
    } else {
        dialled(sk, call, result, is_entered);
    }
}

/// Tells of a connect of this sock that failed, by whatever way it was asked for.
#[inline(always)]
pub(super) fn dialled(sk: u64, call: &Call, result: i32, is_entered: bool) {
    tell(sk, call.address, call.length, result, Memory::User);
    denied::dialled(sk, call, result.unsigned_abs(), is_entered);
    denial::forget();
}

/// Whether a server or the way to it turned the caller away: not for EINPROGRESS, EINTR, EISCONN and the like.
#[inline(always)]
fn turned_away(errno: u32) -> bool {
    // EPERM, ENOENT, EAGAIN, EACCES, ENOTDIR, ELOOP, EPROTOTYPE, ECONNREFUSED: include/uapi/asm-generic/errno*.h.
    matches!(errno, 1 | 2 | 11 | 13 | 20 | 40 | 91 | 111)
}

/// What those who are turned away are counted by: which process, what it got, and how the path it dialled ends.
#[inline(always)]
fn key(sk: u64, task: u64, errno: u32, path: u64, length: u32, memory: Memory) -> Key {
    let net = read(sk, SK_NET);
    let mut key = Key {
        end: End::Unix as u32,
        netns: read(net, NET_INUM),
        netns_mix: read(net, NET_MIX),
        port: length,
        client: [0; 16],
        server: [0; 16],
    };
    let words = (&raw mut key.client).cast::<u32>();
    unsafe {
        words.write(read(task, TASK_TGID));
        words.add(1).write(errno);
    }
    let from = path + u64::from(length.saturating_sub(TAIL as u32));
    let into = (&raw mut key.server).cast::<c_void>();
    memory.copy_bytes(into, at_most(TAIL, length), from);
    key
}

/// Tells of a unix stream socket that was turned away.
#[inline(always)]
fn tell(sk: u64, address: u64, length: u64, result: i32, memory: Memory) {
    let errno = result.unsigned_abs();
    if result >= 0 || !turned_away(errno) || read(sk, SK_FAMILY) != AF_UNIX || read(sk, SK_TYPE) != SOCK_STREAM {
        return;
    }
    let task = current();
    // A length that is too short or too long the kernel has refused with EINVAL: unix_validate_addr().
    let length = (length as u32).wrapping_sub(SUN_PATH as u32);
    let key = key(sk, task, errno, address + SUN_PATH, length, memory);
    if !tally::is_sample(End::Unix, &key) {
        return;
    }
    who::introduce(task);
    let Some(mut slot) = reserve::<UnixConnect>() else { return tally::lost(End::Unix) };
    let record = slot.record();
    unsafe {
        fill_task(&raw mut (*record).task, task);
        (&raw mut (*record).errno).write(errno);
        (&raw mut (*record).reserved).write(0);
        let length = at_most(UNIX_PATH_LEN, length);
        (&raw mut (*record).length).write(length);
        memory.copy_bytes((&raw mut (*record).path).cast::<c_void>(), length, address + SUN_PATH);
    }
    slot.submit();
}

/// Tells of a unix stream socket that listens.
#[inline(always)]
pub(crate) fn tell_listen(sk: u64, result: i32) {
    if result != 0 || read(sk, SK_FAMILY) != AF_UNIX || read(sk, SK_TYPE) != SOCK_STREAM {
        return;
    }
    let task = current();
    who::watch(task);
    let address = read(sk, UNIX_ADDRESS);
    let name = place(address, UNIX_NAME) + SUN_PATH;
    let Some(mut slot) = reserve::<UnixListen>() else { return };
    let record = slot.record();
    unsafe {
        fill_task(&raw mut (*record).task, task);
        let length = at_most(UNIX_PATH_LEN, read(address, UNIX_LENGTH).wrapping_sub(SUN_PATH as u32));
        (&raw mut (*record).length).write(length);
        Memory::Kernel.copy_bytes((&raw mut (*record).path).cast::<c_void>(), length, name);
    }
    slot.submit();
}
