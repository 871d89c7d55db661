//! The records themselves.

use super::{
    ARGV_LEN, COMM_LEN, CONTEXT_LEN, DecodeError, Flow, HANDLES, Numbered, PATH_LEN, REPLY_LEN, Socket, Task,
    UNIX_PATH_LEN,
};
use crate::layout::{Field, layout};

records! {
    /// The kernel sent a reset to a SYN for which it found no socket.
    Reset = 1 {
        /// Of the SYN.
        flow: Flow,
        /// Sequence number of the SYN: joins both ends, survives NAT.
        isn: u32,
        /// `enum sk_rst_reason`; `u32::MAX` where the kernel has none.
        reason: u32,
        /// 1 when an `sk_lookup` program is attached to the namespace.
        sk_lookup: u32,
        /// Time to live, or hop limit, of the SYN.
        ttl: u32,
    }
    /// A client's dial came to nothing, or has had no answer for seconds.
    ConnectFailed = 2 {
        /// From the socket.
        flow: Flow,
        /// Who dialled, caught when it dialled.
        task: Task,
        /// When it dialled, boottime nanoseconds.
        dialled: u64,
        /// The errno the client gets: `sk_err`, or what connect(2) returned; 0 while it waits or when it gave up.
        errno: u32,
        /// Sequence number of its SYN (`snd_una`), 0 when none was sent.
        isn: u32,
        /// How far it is, [`Phase`].
        phase: u32,
        /// SYNs sent again.
        retransmits: u32,
        /// Who sent the ICMP error that told the kernel; zero when none did.
        icmp_from: [u8; 16],
        /// Type of that ICMP error, `u32::MAX` when there was none.
        icmp_type: u32,
        /// Its code.
        icmp_code: u32,
        /// Time to live, or hop limit, of the reset that answered; 0 when not known.
        ttl: u32,
        /// The same of the peer's last answer to a SYN that was taken; 0 when not known.
        peer_ttl: u32,
    }
    /// A thread that was refused a moment ago dialled again and was connected.
    Connected = 3 {
        /// From the socket.
        flow: Flow,
        /// Who dialled.
        task: Task,
    }
    /// A TCP socket began to listen.
    ListenUp = 4 {
        /// The socket.
        socket: Socket,
        /// Who called listen.
        task: Task,
        /// `sk_max_ack_backlog`: the queue's limit as it stands.
        backlog: u32,
        /// Zero.
        reserved: u32,
    }
    /// A listening TCP socket stopped listening.
    ListenDown = 5 {
        /// The socket.
        socket: Socket,
        /// Who closed it or shut it down: the last to hold it.
        task: Task,
        /// 1 when that task was exiting, so that the close is the exit's.
        exiting: u32,
        /// The exiting process's code as `wait(2)` gives it: status << 8 | signal; 0 when not exiting.
        exit_code: u32,
        /// Connections that waited to be accepted: they are reset.
        queued: u32,
        /// `sk_max_ack_backlog`: the queue's limit.
        backlog: u32,
    }
    /// bind(2) or listen(2) on a TCP socket returned.
    Bind = 6 {
        /// The socket, with the address and port that were asked for.
        socket: Socket,
        /// Who called.
        task: Task,
        /// 0, or the errno as a positive number.
        errno: u32,
        /// 0 for bind, 1 for listen.
        listen: u32,
        /// The caller's effective capabilities, the low 32.
        capabilities: u32,
        /// The first port of the socket's namespace that needs no capability.
        unprivileged: u32,
    }
    /// connect(2) on a unix stream socket failed.
    UnixConnect = 7 {
        /// Who called.
        task: Task,
        /// The errno as a positive number.
        errno: u32,
        /// Bytes of `path` that count; an abstract name begins with a NUL.
        length: u32,
        /// `sun_path`.
        path: [u8; UNIX_PATH_LEN],
        /// Zero.
        reserved: u32,
    }
    /// A program whose name is on the list of servers was executed.
    Exec = 8 {
        /// The new program's task.
        task: Task,
        /// Parent's process id.
        parent: u32,
        /// Bytes of `argv` that count.
        length: u32,
        /// Arguments, each ended by a NUL, cut at the end.
        argv: [u8; ARGV_LEN],
    }
    /// A process that is watched (it listened, tried to, or is on the list of servers) ended.
    Exit = 9 {
        /// The process.
        task: Task,
        /// As `wait(2)` gives it: status << 8 | signal, 0x80 for a core dump.
        exit_code: u32,
        /// Zero.
        reserved: u32,
    }
    /// A signal was sent to a process that is watched.
    Signal = 10 {
        /// Who sent it, or happened to be running when the kernel did (`code` tells).
        sender: Task,
        /// Process id it was sent to.
        target: u32,
        /// Its number.
        signal: u32,
        /// `si_code`: 0 and below were sent by a process, above by the kernel.
        code: i32,
        /// Zero.
        reserved: u32,
    }
    /// The OOM killer chose a process.
    OomVictim = 11 {
        /// Process id it chose.
        pid: u32,
        /// Zero.
        reserved: u32,
    }
    /// What a process is, sent once when it first matters: at a refusal, a listen, a failed bind, an exec.
    Who = 12 {
        /// The process.
        task: Task,
        /// Parent's process id.
        parent: u32,
        /// Bytes of `exe` that count; more than it has where the path is longer.
        exe_length: u32,
        /// Bytes of `cgroup` that count, likewise.
        cgroup_length: u32,
        /// Zero.
        reserved: u32,
        /// Path of its executable, components last first, each ended by a NUL.
        exe: [u8; PATH_LEN],
        /// Path of its cgroup in the unified hierarchy, likewise.
        cgroup: [u8; PATH_LEN],
    }
    /// A unix stream socket began to listen.
    UnixListen = 13 {
        /// Who called listen.
        task: Task,
        /// Bytes of `path` that count; an abstract name begins with a NUL.
        length: u32,
        /// `sun_path`.
        path: [u8; UNIX_PATH_LEN],
    }
    /// The kernel dropped a SYN on its way, or the answer to one, for a reason that is worth telling; of a SYN that is sent
    /// again only the first. An answer's flow is that of its SYN.
    Dropped = 14 {
        /// Of the connection, as it was when it was dropped; the interface it was at, 0 for one that is only leaving its socket.
        flow: Flow,
        /// Who dialled, where that is known; else all zero.
        task: Task,
        /// When it dialled, boottime nanoseconds; 0 where that is not known.
        dialled: u64,
        /// The code that dropped it.
        location: u64,
        /// Handles that the rule of nf_tables can have that rejected it, as the kernel evaluated it; 0 where there is none.
        handles: [u64; HANDLES],
        /// The handle of the table that has this rule; 0 where that is not known.
        table: u64,
        /// Sequence number of the SYN: joins both ends, survives NAT.
        isn: u32,
        /// `enum skb_drop_reason`; `u32::MAX` where the kernel has none.
        reason: u32,
        /// Generation of the namespace's nftables rules (`net.nft.base_seq`); 0 where that is not told.
        generation: u32,
        /// The packet's mark.
        mark: u32,
        /// What conntrack made of it, `enum ip_conntrack_info`; `u32::MAX` when it has no entry.
        tracking: u32,
        /// Interface it came in by, 0 for one of this host's own.
        input: u32,
        /// Interface it was to go out by, 0 when it was not routed yet.
        output: u32,
        /// 1 when it came from a socket of this namespace.
        outgoing: u32,
        /// The flags of its TCP header.
        flags: u32,
        /// Time to live, or hop limit.
        ttl: u32,
        /// How many rules of its chain follow that rule, or how many entries of its ip_tables the one that rejected it, the
        /// table's end included; [`MANY`] where that is not known.
        followers: u32,
        /// 0 when the socket that it came for has no filter, 1 when it has one; `u32::MAX` when that socket is not known.
        filter: u32,
        /// Programs of that socket's cgroup, or of the one's that it left, which have a say in such packets.
        programs: u32,
        /// Number of the first of them.
        program: u32,
        /// Its name.
        program_name: [u8; 16],
        /// Which security module denied it, [`Said`](crate::denial::Said).
        said: u32,
        /// Bytes of `subject` that count.
        subject_length: u32,
        /// Bytes of `object` that count.
        object_length: u32,
        /// Zero.
        reserved: u32,
        /// The listener's context.
        subject: [u8; CONTEXT_LEN],
        /// The packet's context.
        object: [u8; CONTEXT_LEN],
    }
    /// What may have said no to a call on a socket: sent right before the record of the call itself, by the same thread.
    Denial = 15 {
        /// The thread that called.
        tid: u32,
        /// Who was seen to say no, [`Said`](crate::denial::Said).
        said: u32,
        /// What became of a question for `CAP_NET_BIND_SERVICE`, [`Asked`](crate::denial::Asked).
        capability: u32,
        /// 1 when a seccomp filter of the caller's may have kept the call out, or did.
        seccomp: u32,
        /// 0 when no Landlock domain of the caller's has a say in this call, 1 when one has, 2 when that cannot be told.
        landlock: u32,
        /// How many cgroup BPF programs have a say in this call in the caller's cgroup.
        programs: u32,
        /// The number of the first of them.
        program: u32,
        /// Bytes of `subject` that count.
        subject_length: u32,
        /// Bytes of `object` that count.
        object_length: u32,
        /// Zero.
        reserved: u32,
        /// The number of the Landlock domain, 0 before Linux 6.15.
        domain: u64,
        /// The name of the first program.
        program_name: [u8; COMM_LEN],
        /// The caller's context, or its AppArmor profile.
        subject: [u8; CONTEXT_LEN],
        /// The context of what it wanted.
        object: [u8; CONTEXT_LEN],
    }
    /// socket(2) for TCP failed.
    SocketDenied = 16 {
        /// Who called.
        task: Task,
        /// `AF_INET` or `AF_INET6`.
        family: u32,
        /// The errno as a positive number.
        errno: u32,
    }
    /// A SYN, or the last ACK of a handshake, found a listener's queue full.
    QueueFull = 17 {
        /// Of the packet.
        flow: Flow,
        /// The listener.
        socket: Socket,
        /// Sequence number of the SYN.
        isn: u32,
        /// 0 for the accept queue, 1 for the SYN queue.
        queue: u32,
        /// 1 for the last ACK, 0 for the SYN.
        ack: u32,
        /// 1 when the kernel answers it with a reset.
        reset: u32,
        /// How many were in the queue.
        length: u32,
        /// How many may be before it is full.
        limit: u32,
    }
    /// accept(2) on a TCP socket failed for want of a file.
    AcceptFailed = 18 {
        /// The listener.
        socket: Socket,
        /// Who called.
        task: Task,
        /// The errno as a positive number: `EMFILE` or `ENFILE`.
        errno: u32,
        /// Connections that wait to be accepted.
        queued: u32,
        /// How many may before the queue is full.
        backlog: u32,
        /// Zero.
        reserved: u32,
        /// How many files the process may open, `RLIM_INFINITY` for any.
        limit: u64,
        /// To what it may raise that itself, likewise.
        hard: u64,
    }
    /// A connection ended, and its server had said no, or next to nothing.
    EarlyEnd = 19 {
        /// Who dialled what.
        flow: Flow,
        /// The thread of the server that closed it; all zero where the client's end tells.
        task: Task,
        /// Bytes that the server sent.
        sent: u32,
        /// Bytes that the client sent.
        received: u32,
        /// Of them, those that the server read; `u32::MAX` where the client's end tells.
        read: u32,
        /// Sequence number behind the server's last byte: joins both ends, survives NAT.
        end: u32,
        /// For how long no data had come, milliseconds.
        idle: u32,
        /// Bytes that the server sent and the client had not acknowledged.
        waiting: u32,
        /// For how long no data had been sent by the end that tells, milliseconds.
        quiet: u32,
        /// How it ended, [`Parting`].
        parting: u32,
        /// Bytes that the server said last, at most as many as it sent; as many of them as fit are in `reply`.
        length: u32,
        /// The kind it was counted as: the upper half of the port of its [`Key`](crate::tally::Key).
        kind: u32,
        /// What the server said, as far as it begins with one of [`REFUSALS`](crate::reply::REFUSALS), or the TLS alert that
        /// either end said last.
        reply: [u8; REPLY_LEN],
    }
}
