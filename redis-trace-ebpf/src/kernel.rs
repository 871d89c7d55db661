//! Reading kernel memory by declared members, and what is read most: tasks, sockets, flows.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::read_volatile;

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_user, bpf_skc_to_tcp_sock,
};
use redis_trace_common::hook::ARGUMENTS;
use redis_trace_common::member::{
    ABSENT, Bit, CGROUP_KN, CRED_UID, CSS_SET_CGROUP, I_INO, INET_SPORT, KN_ID, MEMBERS, Member, NET_INUM, NET_MIX,
    NSPROXY_NET, Place, SIGNAL_FLAGS, SIGNAL_GROUP_EXIT_CODE, SK_BOUND_DEV_IF, SK_DADDR, SK_DPORT, SK_FAMILY,
    SK_IPV6ONLY, SK_NET, SK_RCV_SADDR, SK_SOCKET, SK_V6_DADDR, SK_V6_RCV_SADDR, SOCKET_INODE, TASK_CGROUPS, TASK_COMM,
    TASK_CRED, TASK_EXIT_CODE, TASK_LEADER, TASK_NSPROXY, TASK_PID, TASK_SIGNAL, TASK_START, TASK_TGID,
};
use redis_trace_common::record::{FAMILY, Flow, Socket, Task};

use crate::dials::Dial;
use crate::maps::WATCHED;

/// The running kernel's offsets, in the order of [`MEMBERS`]; frozen at load, so the verifier sees constants.
#[unsafe(no_mangle)]
static OFFSETS: [u32; MEMBERS.len()] = [ABSENT; MEMBERS.len()];

/// How many arguments the running kernel's hooks have, in the order of [`ARGUMENTS`]; [`ABSENT`] where it has no such hook.
#[unsafe(no_mangle)]
static ARGUMENT_COUNTS: [u32; ARGUMENTS.len()] = [ABSENT; ARGUMENTS.len()];

/// `AF_INET`, include/linux/socket.h.
pub(crate) const AF_INET: u16 = 2;
/// `AF_INET6`.
pub(crate) const AF_INET6: u16 = 10;
/// `IPPROTO_TCP`, include/uapi/linux/in.h.
pub(crate) const IPPROTO_TCP: u16 = 6;
/// `PF_EXITING`, include/linux/sched.h.
pub(crate) const PF_EXITING: u32 = 0x4;
/// `SIGNAL_GROUP_EXIT`, include/linux/sched/signal.h.
const SIGNAL_GROUP_EXIT: u32 = 0x4;

/// A member's word; volatile, or it folds to its initial value.
#[inline(always)]
pub(crate) fn word<T>(member: Member<T>) -> u32 {
    unsafe { read_volatile((&raw const OFFSETS).cast::<u32>().add(member.index())) }
}

/// Whether the running kernel has the member.
#[inline(always)]
pub(crate) fn has<T>(member: Member<T>) -> bool {
    word(member) != ABSENT
}

/// How many arguments a hook has on the running kernel; `which` is a place in [`ARGUMENTS`].
#[inline(always)]
pub(crate) fn arguments(which: usize) -> u32 {
    unsafe { read_volatile((&raw const ARGUMENT_COUNTS).cast::<u32>().add(which)) }
}

/// Whose memory an address is in.
#[derive(Clone, Copy)]
pub(crate) enum Memory {
    /// The kernel's.
    Kernel,
    /// The caller's.
    User,
}

impl Memory {
    /// Copies so many bytes, and gives whether they could be read; on a fault the destination is zeroed.
    #[inline(always)]
    pub(crate) fn copy_bytes(self, into: *mut c_void, length: u32, from: u64) -> bool {
        let from = from as *const c_void;
        // Since Linux 5.5.
        let status = unsafe {
            match self {
                Self::Kernel => bpf_probe_read_kernel(into, length, from),
                Self::User => bpf_probe_read_user(into, length, from),
            }
        };
        status == 0
    }

    /// Copies as many bytes as there is room for; on a fault the destination is zeroed.
    #[inline(always)]
    pub(crate) fn copy<T>(self, into: *mut T, from: u64) {
        // bpf_probe_read_kernel_common() clears the destination when it fails, so the status needs no look.
        let _ = self.copy_bytes(into.cast::<c_void>(), size_of::<T>() as u32, from);
    }

    /// What lies at an address; zero when nothing does.
    #[inline(always)]
    pub(crate) fn peek<T: Default>(self, at: u64) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        self.copy(value.as_mut_ptr(), at);
        // Plain numbers, which the helper has written or cleared.
        unsafe { value.assume_init() }
    }
}

/// Copies kernel memory; on a fault the destination is zeroed.
#[inline(always)]
pub(crate) fn copy<T>(into: *mut T, from: u64) {
    Memory::Kernel.copy(into, from);
}

/// The length, or the limit if it is more. To be asked for right before the copy: the compiler must not move or merge the
/// comparison, or the verifier of some kernel no longer knows that it was made.
#[inline(always)]
pub(crate) fn at_most(limit: usize, length: u32) -> u32 {
    let length = core::hint::black_box(length);
    if length > limit as u32 { limit as u32 } else { length }
}

/// What lies at an address of the kernel's; zero when nothing does.
#[inline(always)]
pub(crate) fn peek<T: Default>(at: u64) -> T {
    Memory::Kernel.peek(at)
}

/// A member of the structure at `base`, which the verifier must know to be one: an argument of a typed hook, or a pointer
/// loaded from one. One instruction where [`read`] is a call; zero when the member is absent or cannot be read.
#[inline(always)]
pub(crate) unsafe fn load<T: Default>(base: u64, member: Member<T>) -> T {
    let word = word(member);
    if word == ABSENT {
        return T::default();
    }
    let at = base + u64::from(word);
    if align_of::<T>() > 1 || size_of::<T>() % size_of::<u32>() != 0 {
        return unsafe { read_volatile(at as *const T) };
    }
    // An address: by its words, for each load costs the kernel a check.
    let mut value = Aligned(MaybeUninit::<T>::uninit());
    for nth in 0..size_of::<T>() / size_of::<u32>() {
        unsafe { value.0.as_mut_ptr().cast::<u32>().add(nth).write(read_volatile((at as *const u32).add(nth))) };
    }
    unsafe { value.0.assume_init() }
}

/// Bytes at a place where words may be.
#[repr(align(8))]
struct Aligned<T>(T);

/// The `struct tcp_sock` of a sock that the verifier knows for one, 0 when it is not of TCP. Since Linux 5.9.
#[inline(always)]
pub(crate) fn tcp_sock(sk: u64) -> u64 {
    unsafe { bpf_skc_to_tcp_sock(sk as *mut c_void) as u64 }
}

/// A member of the structure at `base`; zero when it is absent or cannot be read.
#[inline(always)]
pub(crate) fn read<T: Default>(base: u64, member: Member<T>) -> T {
    let word = word(member);
    if word == ABSENT { T::default() } else { peek(base + u64::from(word)) }
}

/// Copies a member of the structure at `base` to where it is wanted, zero when it is absent or cannot be read.
#[inline(always)]
pub(crate) fn read_into<T: Default>(into: *mut T, base: u64, member: Member<T>) {
    let word = word(member);
    if word == ABSENT {
        unsafe { into.write(T::default()) };
    } else {
        copy(into, base + u64::from(word));
    }
}

/// A bit-field of the structure at `base`; 0 when it is absent.
#[inline(always)]
pub(crate) fn read_bit(base: u64, member: Member<Bit>) -> u32 {
    let bit = word(member);
    if bit == ABSENT {
        return 0;
    }
    u32::from(peek::<u8>(base + u64::from(bit / 8)) >> (bit % 8) & 1)
}

/// Where in the structure at `base` a member lies.
#[inline(always)]
pub(crate) fn place<T>(base: u64, member: Member<T>) -> u64 {
    base + u64::from(word(member))
}

/// The structure that has the member at `inner`.
#[inline(always)]
pub(crate) fn container(inner: u64, member: Member<Place>) -> u64 {
    inner - u64::from(word(member))
}

/// The task that runs now: the caller in a system call, anyone in a softirq.
#[inline(always)]
pub(crate) fn current() -> u64 {
    unsafe { bpf_get_current_task() }
}

/// Describes a task.
#[inline(always)]
pub(crate) fn fill_task(into: *mut Task, task: u64) {
    let leader = read(task, TASK_LEADER);
    let cgroup = read(read(read(task, TASK_CGROUPS), CSS_SET_CGROUP), CGROUP_KN);
    unsafe {
        read_into(&raw mut (*into).pid, task, TASK_TGID);
        read_into(&raw mut (*into).tid, task, TASK_PID);
        read_into(&raw mut (*into).uid, read(task, TASK_CRED), CRED_UID);
        // A task that exits has given its namespaces back: 0 then.
        let net = read(read(task, TASK_NSPROXY), NSPROXY_NET);
        read_into(&raw mut (*into).netns, net, NET_INUM);
        read_into(&raw mut (*into).netns_mix, net, NET_MIX);
        let watched = WATCHED.get(&read(task, TASK_TGID));
        (&raw mut (*into).family).write(u32::from(watched.is_some_and(|watched| *watched == FAMILY)));
        read_into(&raw mut (*into).start, leader, TASK_START);
        read_into(&raw mut (*into).cgroup, cgroup, KN_ID);
        read_into(&raw mut (*into).comm, leader, TASK_COMM);
    }
}

/// Who dialled, if it is still there, or address 0, where there is nothing and every member reads as zero.
#[inline(always)]
pub(crate) fn caller(dial: &Dial) -> u64 {
    let is_there = read(dial.task, TASK_TGID) == dial.pid && read(dial.task, TASK_PID) == dial.tid;
    if is_there { dial.task } else { 0 }
}

/// Describes who dialled, from the task as it is now; one that is gone has its ids and nothing else.
#[inline(always)]
pub(crate) fn fill_caller(into: *mut Task, dial: &Dial) {
    fill_task(into, caller(dial));
    unsafe {
        (&raw mut (*into).pid).write(dial.pid);
        (&raw mut (*into).tid).write(dial.tid);
    }
}

/// What wait(2) will say of a task's process: wait_task_zombie() in kernel/exit.c.
#[inline(always)]
pub(crate) fn exit_code(task: u64) -> u32 {
    let signal = read(task, TASK_SIGNAL);
    if read(signal, SIGNAL_FLAGS) & SIGNAL_GROUP_EXIT != 0 {
        read(signal, SIGNAL_GROUP_EXIT_CODE)
    } else {
        read(read(task, TASK_LEADER), TASK_EXIT_CODE)
    }
}

/// Writes an IPv4 address as IPv6 has it mapped, `::ffff:a.b.c.d`.
#[inline(always)]
pub(crate) fn mapped(into: *mut [u8; 16], address: [u8; 4]) {
    let words = into.cast::<u32>();
    unsafe {
        words.write(0);
        words.add(1).write(0);
        words.add(2).write(u32::from_be(0xffff));
        words.add(3).write(u32::from_ne_bytes(address));
    }
}

/// Whether an IPv6 address is an IPv4 one, mapped: ipv6_addr_v4mapped(), include/net/ipv6.h.
#[inline(always)]
pub(crate) fn is_mapped(address: *const [u8; 16]) -> bool {
    let words = address.cast::<u32>();
    unsafe { (words.read() | words.add(1).read() | (words.add(2).read() ^ u32::from_be(0xffff))) == 0 }
}

/// A sock's local port; `inet_sport` still has it when `tcp_set_state(sk, TCP_CLOSE)` gave the port back.
#[inline(always)]
pub(crate) fn local_port(sk: u64) -> u16 {
    u16::from_be(read(sk, INET_SPORT))
}

/// Describes the connection of a client's sock.
#[inline(always)]
pub(crate) fn fill_flow(into: *mut Flow, sk: u64) {
    unsafe {
        let net = read(sk, SK_NET);
        (&raw mut (*into).netns).write(read(net, NET_INUM));
        (&raw mut (*into).netns_mix).write(read(net, NET_MIX));
        (&raw mut (*into).reserved).write(0);
        (&raw mut (*into).protocol).write(IPPROTO_TCP);
        if read(sk, SK_FAMILY) == AF_INET6 {
            read_into(&raw mut (*into).client, sk, SK_V6_RCV_SADDR);
            read_into(&raw mut (*into).server, sk, SK_V6_DADDR);
            // A mapped address is dialled by IPv4, whatever the socket.
            let family = if is_mapped(&raw const (*into).server) { AF_INET } else { AF_INET6 };
            (&raw mut (*into).family).write(family);
        } else {
            mapped(&raw mut (*into).client, read(sk, SK_RCV_SADDR));
            mapped(&raw mut (*into).server, read(sk, SK_DADDR));
            (&raw mut (*into).family).write(AF_INET);
        }
        (&raw mut (*into).client_port).write(local_port(sk));
        (&raw mut (*into).server_port).write(u16::from_be(read(sk, SK_DPORT)));
        (&raw mut (*into).ifindex).write(read(sk, SK_BOUND_DEV_IF));
    }
}

/// Describes a sock but for its address and port.
#[inline(always)]
pub(crate) fn fill_socket(into: *mut Socket, sk: u64) {
    unsafe {
        (&raw mut (*into).cookie).write(sk);
        (&raw mut (*into).inode).write(inode(sk));
        let net = read(sk, SK_NET);
        (&raw mut (*into).netns).write(read(net, NET_INUM));
        (&raw mut (*into).netns_mix).write(read(net, NET_MIX));
        (&raw mut (*into).reserved).write(0);
        (&raw mut (*into).family).write(read(sk, SK_FAMILY));
        (&raw mut (*into).ifindex).write(read(sk, SK_BOUND_DEV_IF));
        (&raw mut (*into).v6only).write(read_bit(sk, SK_IPV6ONLY));
    }
}

/// Adds the address and port that a sock has.
#[inline(always)]
pub(crate) fn fill_local(into: *mut Socket, sk: u64) {
    unsafe {
        (&raw mut (*into).port).write(local_port(sk));
        if read(sk, SK_FAMILY) == AF_INET6 {
            read_into(&raw mut (*into).address, sk, SK_V6_RCV_SADDR);
        } else {
            mapped(&raw mut (*into).address, read(sk, SK_RCV_SADDR));
        }
    }
}

/// The inode of a sock's file, 0 when it has none: SOCK_INODE(), include/net/sock.h.
#[inline(always)]
fn inode(sk: u64) -> u64 {
    let socket = read(sk, SK_SOCKET);
    if socket == 0 { 0 } else { read(place(socket, SOCKET_INODE), I_INO) }
}
