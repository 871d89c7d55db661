//! Every member of a kernel structure that a probe reads, declared once: where it is found, and as what it is read.
//!
//! Rust has no CO-RE. At start the program looks each path up in the running kernel's BTF and hands the probes one read-only
//! table of words. A member this kernel lacks, has twice, or has with another size is [`ABSENT`], and a probe can tell.

use core::marker::PhantomData;

/// The word of a member that the running kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// A kernel address, read as a number: probes never follow one by themselves.
pub type Pointer = u64;

/// A member that is only gone through or stepped to, never read, so its size does not matter.
#[derive(Clone, Copy, Debug)]
pub struct Place;

/// A bit-field of one bit; its word counts bits, not bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bit;

/// A bit-field of any width, of which single bits are read; its word counts bits, not bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bits;

/// What the kernel's member has to be for a probe to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Exactly this many bytes.
    Bytes(u32),
    /// A bit-field of one bit.
    Bit,
    /// A bit-field of any width.
    Bits,
    /// Anything.
    Any,
}

/// A type that a member is read as.
pub trait Shaped {
    /// What the kernel's member has to be.
    const SHAPE: Shape;
}

macro_rules! plain {
    ($($ty:ty),*) => {$(
        impl Shaped for $ty {
            const SHAPE: Shape = Shape::Bytes(size_of::<$ty>() as u32);
        }
    )*};
}
#[expect(clippy::cast_possible_truncation, reason = "sizes of a few bytes")]
mod plain {
    use super::{Shape, Shaped};
    plain!(u8, u16, u32, u64, i32);
    impl<T, const N: usize> Shaped for [T; N] {
        const SHAPE: Shape = Shape::Bytes(size_of::<[T; N]>() as u32);
    }
}

impl Shaped for Place {
    const SHAPE: Shape = Shape::Any;
}

impl Shaped for Bit {
    const SHAPE: Shape = Shape::Bit;
}

impl Shaped for Bits {
    const SHAPE: Shape = Shape::Bits;
}

/// A member of a kernel structure: its place in the table of words, and the type it is read as.
pub struct Member<T> {
    index: usize,
    kind: PhantomData<T>,
}

impl<T> Member<T> {
    /// Its place in the table.
    pub const fn index(&self) -> usize {
        self.index
    }
}

impl<T> Clone for Member<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Member<T> {}

/// What the program has to find in BTF for one word of the table.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// `structure.member.member`, newest name first; anonymous structures in between are not named.
    pub paths: &'static [&'static str],
    /// What it has to be.
    pub shape: Shape,
}

macro_rules! members {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $($path:literal)|+;)*) => {
        #[expect(non_camel_case_types, reason = "each is named after its constant")]
        enum Index { $($name,)* }
        $($(#[$doc])* pub const $name: Member<$ty> = Member { index: Index::$name as usize, kind: PhantomData };)*
        /// What to find, in the order of the table.
        pub const MEMBERS: &[Wanted] = &[$(Wanted { paths: &[$($path),+], shape: <$ty as Shaped>::SHAPE }),*];
    };
}

members! {
    // A socket: include/net/sock.h, include/net/inet_sock.h, include/linux/tcp.h.
    /// Address family.
    SK_FAMILY: u16 = "sock.__sk_common.skc_family";
    /// Local port, host byte order; 0 again once the port was given back.
    SK_NUM: u16 = "sock.__sk_common.skc_num";
    /// Remote port, network byte order.
    SK_DPORT: u16 = "sock.__sk_common.skc_dport";
    /// Remote IPv4 address.
    SK_DADDR: [u8; 4] = "sock.__sk_common.skc_daddr";
    /// Local IPv4 address.
    SK_RCV_SADDR: [u8; 4] = "sock.__sk_common.skc_rcv_saddr";
    /// Remote IPv6 address.
    SK_V6_DADDR: [u8; 16] = "sock.__sk_common.skc_v6_daddr";
    /// Local IPv6 address.
    SK_V6_RCV_SADDR: [u8; 16] = "sock.__sk_common.skc_v6_rcv_saddr";
    /// State of the connection: include/net/tcp_states.h.
    SK_STATE: u8 = "sock.__sk_common.skc_state";
    /// `SO_BINDTODEVICE`.
    SK_BOUND_DEV_IF: u32 = "sock.__sk_common.skc_bound_dev_if";
    /// Its network namespace.
    SK_NET: Pointer = "sock.__sk_common.skc_net.net";
    /// `IPV6_V6ONLY`.
    SK_IPV6ONLY: Bit = "sock.__sk_common.skc_ipv6only";
    /// The error its user is to get.
    SK_ERR: u32 = "sock.sk_err";
    /// Its `struct socket`, which has the file.
    SK_SOCKET: Pointer = "sock.sk_socket";
    /// The filter that its user gave it.
    SK_FILTER: Pointer = "sock.sk_filter";
    /// The cgroup it was made in; since Linux 5.15.
    SK_CGROUP: Pointer = "sock.sk_cgrp_data.cgroup";
    /// `IPPROTO_TCP` or another.
    SK_PROTOCOL: u16 = "sock.sk_protocol";
    /// `SOCK_STREAM` or another.
    SK_TYPE: u16 = "sock.sk_type";
    /// Limit of the accept queue.
    SK_MAX_ACK_BACKLOG: u32 = "sock.sk_max_ack_backlog";
    /// Connections that wait to be accepted.
    SK_ACK_BACKLOG: u32 = "sock.sk_ack_backlog";
    /// Connections of a listener whose handshake is not over.
    CSK_HALF_OPEN: u32 = "inet_connection_sock.icsk_accept_queue.qlen";
    /// Local port, network byte order; outlives the port's return.
    INET_SPORT: u16 = "inet_sock.inet_sport";
    /// Sequence number that the next byte gets; 0 until a dial has chosen where to begin.
    TCP_WRITE_SEQ: u32 = "tcp_sock.write_seq";
    /// Segments sent again, the SYN's among them.
    TCP_TOTAL_RETRANS: u32 = "tcp_sock.total_retrans";
    /// First sequence number not yet acknowledged: the SYN's own while it waits for an answer.
    TCP_SND_UNA: u32 = "tcp_sock.snd_una";
    /// Sequence number of the next byte to be sent.
    TCP_SND_NXT: u32 = "tcp_sock.snd_nxt";
    /// Bytes of ours that the other end has, the SYN of one who dialled among them.
    TCP_BYTES_ACKED: u64 = "tcp_sock.bytes_acked";
    /// Bytes of data sent, those sent again among them.
    TCP_BYTES_SENT: u64 = "tcp_sock.bytes_sent";
    /// Bytes of data sent again.
    TCP_BYTES_RETRANS: u64 = "tcp_sock.bytes_retrans";
    /// Bytes that came, and the FIN.
    TCP_BYTES_RECEIVED: u64 = "tcp_sock.bytes_received";
    /// Sequence number of the next byte to come.
    TCP_RCV_NXT: u32 = "tcp_sock.rcv_nxt";
    /// Sequence number of the next byte to be read; a close with unread data leaves it alone.
    TCP_COPIED_SEQ: u32 = "tcp_sock.copied_seq";
    /// When data came last, or the connection was made, in ticks.
    CSK_LAST_DATA: u32 = "inet_connection_sock.icsk_ack.lrcvtime";
    /// When data was sent last, or the connection was made, in ticks.
    TCP_LAST_SENT: u32 = "tcp_sock.lsndtime";
    /// The first packet that waits to be read; the queue itself when there is none.
    SK_RECEIVE_QUEUE: Place = "sock.sk_receive_queue";
    /// The next in a queue of packets.
    QUEUE_NEXT: Pointer = "sk_buff_head.next";
    /// Where the parts are of what is to be sent: include/linux/socket.h, include/linux/uio.h; `__iov` since Linux 6.4. Read
    /// before Linux 5.16 alone.
    MSG_IOV: Pointer = "msghdr.msg_iter.__iov" | "msghdr.msg_iter.iov";
    /// Where one is in the sender's memory: include/uapi/linux/uio.h.
    IOV_BASE: Pointer = "iovec.iov_base";
    /// Its bytes.
    IOV_LEN: u64 = "iovec.iov_len";
    /// What a unix socket is bound to: include/net/af_unix.h.
    UNIX_ADDRESS: Pointer = "unix_sock.addr";
    /// Bytes of that address, family included.
    UNIX_LENGTH: u32 = "unix_address.len";
    /// The address.
    UNIX_NAME: Place = "unix_address.name";
    /// The sock behind a `struct socket`: include/linux/net.h.
    SOCKET_SK: Pointer = "socket.sk";
    /// Its file.
    SOCKET_FILE: Pointer = "socket.file";
    /// The inode that lies beside a `struct socket`.
    SOCKET_INODE: Place = "socket_alloc.vfs_inode";
    /// An inode's number: include/linux/fs.h.
    I_INO: u64 = "inode.i_ino";

    // A packet and where it came in: include/linux/skbuff.h, include/linux/netdevice.h.
    /// Start of the buffer.
    SKB_HEAD: Pointer = "sk_buff.head";
    /// Where the part of it begins that is being looked at.
    SKB_DATA: Pointer = "sk_buff.data";
    /// Bytes of it that lie elsewhere, in fragments.
    SKB_DATA_LEN: u32 = "sk_buff.data_len";
    /// Its bytes.
    SKB_LEN: u32 = "sk_buff.len";
    /// Distance of what is shared by its clones.
    SKB_END: u32 = "sk_buff.end";
    /// The fragments.
    SHARED_FRAGS: Place = "skb_shared_info.frags";
    /// The page of one; of its own type since Linux 6.9.
    FRAG_PAGE: Pointer = "skb_frag.netmem" | "bio_vec.bv_page";
    /// Where in it the fragment begins.
    FRAG_OFFSET: u32 = "skb_frag.offset" | "bio_vec.bv_offset";
    /// Distance of the IP header from it.
    SKB_NETWORK_HEADER: u16 = "sk_buff.network_header";
    /// Distance of the TCP header from it.
    SKB_TRANSPORT_HEADER: u16 = "sk_buff.transport_header";
    /// The device.
    SKB_DEV: Pointer = "sk_buff.dev";
    /// The socket it came from or is for.
    SKB_SK: Pointer = "sk_buff.sk";
    /// The interface it came in by.
    SKB_IIF: u32 = "sk_buff.skb_iif";
    /// Its mark.
    SKB_MARK: u32 = "sk_buff.mark";
    /// The number of the context that a rule gave it, with CONFIG_NETWORK_SECMARK.
    SKB_SECMARK: u32 = "sk_buff.secmark";
    /// Conntrack's entry, with `enum ip_conntrack_info` in the lowest three bits.
    SKB_NFCT: u64 = "sk_buff._nfct";
    /// Its route, with a flag in the lowest bit.
    SKB_DST: u64 = "sk_buff._skb_refdst";
    /// The interface a route leads to: include/net/dst.h.
    DST_DEV: Pointer = "dst_entry.dev";
    /// A device's network namespace.
    DEV_NET: Pointer = "net_device.nd_net.net";
    /// A device's number.
    DEV_IFINDEX: u32 = "net_device.ifindex";
    /// Inode of a network namespace: include/net/net_namespace.h.
    NET_INUM: u32 = "net.ns.inum";
    /// Random number that a network namespace is born with; inodes are given out again at once.
    NET_MIX: u32 = "net.hash_mix";
    /// Generation of its nftables rules.
    NET_NFT_GENERATION: u32 = "net.nft.base_seq";
    /// What modules keep of a network namespace, by a number that each was given: include/net/netns/generic.h.
    NET_GEN: Pointer = "net.gen";
    /// Generation of its nftables rules from Linux 5.13 to 6.16.
    NFT_PERNET_GENERATION: u32 = "nftables_pernet.base_seq";
    /// The chain whose rules end here: include/net/netfilter/nf_tables.h, since Linux 6.4.
    NFT_LAST_CHAIN: Pointer = "nft_rule_dp_last.chain";
    /// The table that a chain is in.
    NFT_CHAIN_TABLE: Pointer = "nft_chain.table";
    /// What nft knows it by.
    NFT_TABLE_HANDLE: u64 = "nft_table.handle";
    /// Whether a last ACK that finds the accept queue full is answered by a reset: include/net/netns/ipv4.h.
    NET_ABORT_ON_OVERFLOW: u8 = "net.ipv4.sysctl_tcp_abort_on_overflow";
    /// Whether SYN cookies may stand in for a full SYN queue.
    NET_SYNCOOKIES: u8 = "net.ipv4.sysctl_tcp_syncookies";
    /// BPF programs of a network namespace: flow dissector, `sk_lookup` (include/net/netns/bpf.h).
    NET_BPF: [Pointer; 2] = "net.bpf.run_array";

    // A task: include/linux/sched.h, include/linux/sched/signal.h, include/linux/cred.h, include/linux/nsproxy.h.
    /// Thread id.
    TASK_PID: u32 = "task_struct.pid";
    /// Process id.
    TASK_TGID: u32 = "task_struct.tgid";
    /// The process's first thread.
    TASK_LEADER: Pointer = "task_struct.group_leader";
    /// When it started, boottime nanoseconds.
    TASK_START: u64 = "task_struct.start_boottime";
    /// Its name.
    TASK_COMM: [u8; 16] = "task_struct.comm";
    /// `PF_EXITING` and others.
    TASK_FLAGS: u32 = "task_struct.flags";
    /// What it exits with.
    TASK_EXIT_CODE: u32 = "task_struct.exit_code";
    /// Its parent.
    TASK_PARENT: Pointer = "task_struct.real_parent";
    /// Its credentials.
    TASK_CRED: Pointer = "task_struct.real_cred";
    /// Its namespaces.
    TASK_NSPROXY: Pointer = "task_struct.nsproxy";
    /// What the data that it sends is copied to: a page, the place behind the last byte, and the page's size.
    TASK_FRAG: [u64; 2] = "task_struct.task_frag";
    /// Its cgroups.
    TASK_CGROUPS: Pointer = "task_struct.cgroups";
    /// What its process shares.
    TASK_SIGNAL: Pointer = "task_struct.signal";
    /// Its memory.
    TASK_MM: Pointer = "task_struct.mm";
    /// Its open files.
    TASK_FILES: Pointer = "task_struct.files";
    /// Real user id.
    CRED_UID: u32 = "cred.uid";
    /// Effective capabilities.
    CRED_CAPABILITIES: u64 = "cred.cap_effective";
    /// Network namespace.
    NSPROXY_NET: Pointer = "nsproxy.net_ns";
    /// Threads of a process that have not begun to exit.
    SIGNAL_LIVE: u32 = "signal_struct.live";
    /// `SIGNAL_GROUP_EXIT` and others.
    SIGNAL_FLAGS: u32 = "signal_struct.flags";
    /// Limits of its process: include/uapi/asm-generic/resource.h.
    SIGNAL_RLIM: Place = "signal_struct.rlim";
    /// What the whole process exits with.
    SIGNAL_GROUP_EXIT_CODE: u32 = "signal_struct.group_exit_code";
    /// Where a signal comes from: include/linux/signal_types.h.
    SIGINFO_CODE: i32 = "kernel_siginfo.si_code";

    // Cgroups: include/linux/cgroup-defs.h, include/linux/kernfs.h.
    /// The cgroup of the unified hierarchy.
    CSS_SET_CGROUP: Pointer = "css_set.dfl_cgrp";
    /// A cgroup's directory.
    CGROUP_KN: Pointer = "cgroup.kn";
    /// A directory's id.
    KN_ID: u64 = "kernfs_node.id";
    /// Its name.
    KN_NAME: Pointer = "kernfs_node.name";
    /// The directory it is in; `__parent` since Linux 6.15.
    KN_PARENT: Pointer = "kernfs_node.__parent" | "kernfs_node.parent";

    // Memory and files: include/linux/mm_types.h, include/linux/fdtable.h, include/linux/fs.h, fs/mount.h.
    /// Where the arguments begin.
    MM_ARG_START: u64 = "mm_struct.arg_start";
    /// Where they end.
    MM_ARG_END: u64 = "mm_struct.arg_end";
    /// The executable.
    MM_EXE_FILE: Pointer = "mm_struct.exe_file";
    /// The table of a process's files.
    FILES_FDT: Pointer = "files_struct.fdt";
    /// How many slots it has.
    FDT_MAX: u32 = "fdtable.max_fds";
    /// The slots.
    FDT_FD: Pointer = "fdtable.fd";
    /// A socket's file points to the socket here.
    FILE_PRIVATE: Pointer = "file.private_data";
    /// The mount a file was opened through.
    FILE_MNT: Pointer = "file.f_path.mnt";
    /// Its name in the directory tree.
    FILE_DENTRY: Pointer = "file.f_path.dentry";
    /// The top of a mount.
    MNT_ROOT: Pointer = "vfsmount.mnt_root";
    /// The public part of a mount.
    MOUNT_MNT: Place = "mount.mnt";
    /// The mount it is mounted on; the uppermost one's own.
    MOUNT_PARENT: Pointer = "mount.mnt_parent";
    /// The directory it is mounted on.
    MOUNT_POINT: Pointer = "mount.mnt_mountpoint";
    /// The directory a name is in; the uppermost one's own.
    DENTRY_PARENT: Pointer = "dentry.d_parent";
    /// The name.
    DENTRY_NAME: Pointer = "dentry.d_name.name";

    // Who may say no to a call: include/linux/cred.h, security/landlock/*.h, include/linux/bpf*.h, include/linux/seccomp*.h.
    /// What security modules keep beside a task's credentials.
    CRED_SECURITY: Pointer = "cred.security";
    /// A task's Landlock domain.
    LANDLOCK_DOMAIN: Pointer = "landlock_cred_security.domain";
    /// Where a domain stands among others; domains have a structure of their own since Linux 7.3.
    LANDLOCK_HIERARCHY: Pointer = "landlock_domain.hierarchy" | "landlock_ruleset.hierarchy";
    /// How many sandboxes a domain is made of, one in the other.
    LANDLOCK_LAYERS: u32 = "landlock_domain.num_layers" | "landlock_ruleset.num_layers";
    /// What each of them has a say in.
    LANDLOCK_MASKS: Place = "landlock_domain.handled_masks" | "landlock_ruleset.access_masks";
    /// What one has a say in of the network's.
    LANDLOCK_NET: Bits = "access_masks.net";
    /// Its number; since Linux 6.15.
    LANDLOCK_ID: u64 = "landlock_hierarchy.id";
    /// The name of an AppArmor label: security/apparmor/include/label.h.
    LABEL_NAME: Pointer = "aa_label.hname";
    /// What security modules keep beside a task itself.
    TASK_SECURITY: Pointer = "task_struct.security";
    /// A task's TOMOYO domain: security/tomoyo/common.h.
    TOMOYO_DOMAIN: Pointer = "tomoyo_task.domain_info";
    /// A domain's name, and what else is kept of that.
    DOMAIN_NAME: Pointer = "tomoyo_domain_info.domainname";
    /// The name itself.
    DOMAIN_PATH: Pointer = "tomoyo_path_info.name";
    /// A task's Smack label: security/smack/smack.h.
    SMACK_TASK: Pointer = "task_smack.smk_task";
    /// The label itself.
    SMACK_LABEL: Pointer = "smack_known.smk_known";
    /// The programs of a cgroup and of those above it, by what they have a say in.
    CGROUP_EFFECTIVE: Place = "cgroup.bpf.effective";
    /// The programs of one array, until an empty place.
    BPF_PROGRAMS: Place = "bpf_prog_array.items";
    /// What else is kept of a program.
    PROGRAM_AUX: Pointer = "bpf_prog.aux";
    /// Its number.
    PROGRAM_ID: u32 = "bpf_prog_aux.id";
    /// Its name.
    PROGRAM_NAME: [u8; 16] = "bpf_prog_aux.name";
    /// How seccomp treats a task.
    TASK_SECCOMP: u32 = "task_struct.seccomp.mode";
    /// The last of its filters.
    TASK_FILTER: Pointer = "task_struct.seccomp.filter";
    /// A bit for each system call that it and those before it let pass whatever is asked, since Linux 5.11.
    FILTER_ALLOWED: Place = "seccomp_filter.cache.allow_native";
    /// The first port that needs no capability: include/net/netns/ipv4.h.
    NET_UNPRIVILEGED: u32 = "net.ipv4.sysctl_ip_prot_sock";
    /// A task's registers when it entered the kernel: arch/x86/include/asm/ptrace.h.
    REGS_FIRST: u64 = "pt_regs.di";
    /// The second argument of a call.
    REGS_SECOND: u64 = "pt_regs.si";
    /// The third.
    REGS_THIRD: u64 = "pt_regs.dx";
    /// Where its result is put.
    REGS_RESULT: u64 = "pt_regs.ax";
    /// A task's kernel stack, which the registers are at the top of.
    TASK_STACK: Pointer = "task_struct.stack";
    /// `TS_COMPAT` and others: arch/x86/include/asm/thread_info.h.
    TASK_STATUS: u32 = "task_struct.thread_info.status";
    // Requests of io_uring: include/linux/io_uring_types.h, io_uring/net.c, io_uring/net.h.
    /// The file that a request is for.
    IO_FILE: Pointer = "io_kiocb.file";
    /// What it asks for.
    IO_OPCODE: u8 = "io_kiocb.opcode";
    /// What came of it; since Linux 5.19.
    IO_RESULT: i32 = "io_kiocb.cqe.res";
    /// The same as the program is to get it.
    CQE_RESULT: i32 = "io_uring_cqe.res";
    /// What is kept of it while it is under way.
    IO_ASYNC: Pointer = "io_kiocb.async_data";
    /// The kernel's copy of an address there.
    IO_ADDRESS: Place = "io_async_msghdr.addr";
    /// The caller's address of whom to connect to.
    IO_CONNECT_TO: u64 = "io_connect.addr";
    /// How long that is.
    IO_CONNECT_LENGTH: u32 = "io_connect.addr_len";
    /// Family of a socket to be made.
    IO_SOCKET_FAMILY: u32 = "io_socket.domain";
    /// Its type and flags.
    IO_SOCKET_TYPE: u32 = "io_socket.type";
    /// Its protocol.
    IO_SOCKET_PROTOCOL: u32 = "io_socket.protocol";

    // What SELinux was asked and answered: security/selinux/include/avc.h.
    /// SELinux's verdict, 0 when it lets it pass.
    AVC_RESULT: i32 = "selinux_audit_data.result";
    /// What was asked for, a bit each.
    AVC_REQUESTED: u32 = "selinux_audit_data.requested";
    /// The number of the context of what was wanted.
    AVC_TARGET: u32 = "selinux_audit_data.tsid";
}
