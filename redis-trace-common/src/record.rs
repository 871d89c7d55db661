//! Every record a probe sends, declared once: layout, constants, and a decoder that cannot misread.
//!
//! A record is a fixed-size run of words in the kernel's byte order. IPv4 travels as IPv4-mapped IPv6, ports travel in host
//! byte order, times are `CLOCK_BOOTTIME` nanoseconds, kernel numbers (errno, reset reason, signal) stay numbers.

use crate::layout::{Field, layout};

/// Bytes of a task's name, NUL padded (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;
/// Bytes of a unix socket path or abstract name (`sun_path`).
pub const UNIX_PATH_LEN: usize = 108;
/// Bytes kept of a command line.
pub const ARGV_LEN: usize = 512;
/// Bytes kept of a security module's context or profile.
pub const CONTEXT_LEN: usize = 128;
/// Bytes kept of a path that a probe walked, its components last first, each ended by a NUL.
///
/// A whole path ends with the root's empty name, so `sh\0bin\0usr\0\0` is `/usr/bin/sh`; one that had no room lacks it, and
/// its last component may be cut.
pub const PATH_LEN: usize = 256;

/// Bytes kept of what a server said last.
pub const REPLY_LEN: usize = 128;

/// Words that a probe keeps which may be the header of the rule that rejected a packet: a power of two.
pub const HANDLES: usize = 4;
/// Said of a number that is too large to be counted, or not known.
pub const MANY: u32 = u32::MAX;

/// A processor that woke the program does not wake it again for so long, nanoseconds: the program must look again by itself
/// once this has passed since it was woken.
pub const WAKE_EVERY: u64 = 1_000_000;

/// In the map of watched processes: one whose end and signals matter.
pub const WATCHED: u8 = 1;
/// In the map of watched processes: one that descends from the command that the program runs.
pub const FAMILY: u8 = 2;

/// How far a dial was when it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// connect(2) itself failed: no SYN was sent.
    AtOnce = 0,
    /// It is over.
    Over = 1,
    /// It has had no answer for seconds, and still waits.
    Waiting = 2,
    /// It is over, after it was told as waiting.
    OverAtLast = 3,
    /// It was answered after all, after it was told as waiting.
    Answered = 4,
}

/// How a connection ended early, and which end tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Parting {
    /// The server closed it.
    Closed = 0,
    /// The server closed it with data unread, and so reset it.
    Reset = 1,
    /// The client closed it first.
    Left = 2,
    /// The server closed it though the client had asked nothing for a while.
    Waited = 3,
    /// The client's end: the server closed or reset it.
    LeftByServer = 4,
    /// The client's end: it sent a TLS ClientHello, had no answer, and closed.
    HelloUnanswered = 5,
    /// The client's end: it sent a TLS alert, and closed.
    Alerted = 6,
}

layout! {
    /// The two ends of a connection in one network namespace.
    Flow {
        /// Inode of the network namespace.
        netns: u32,
        /// `AF_INET` or `AF_INET6`.
        family: u16,
        /// `IPPROTO_TCP` or `IPPROTO_MPTCP`.
        protocol: u16,
        /// Address of the end that dialled.
        client: [u8; 16],
        /// Address that was dialled.
        server: [u8; 16],
        /// Port of the end that dialled, host byte order.
        client_port: u16,
        /// Port that was dialled, host byte order.
        server_port: u16,
        /// Interface the packet came in by, or the socket is bound to; 0 when neither.
        ifindex: u32,
        /// Random for each namespace: tells one from the next that gets the same inode.
        netns_mix: u32,
        /// Zero.
        reserved: u32,
    }
}

layout! {
    /// The task that made a system call, caught in its own context, never in a softirq.
    Task {
        /// Process id in the initial pid namespace.
        pid: u32,
        /// Thread id in the initial pid namespace.
        tid: u32,
        /// Real user id in the initial user namespace.
        uid: u32,
        /// Inode of the task's network namespace.
        netns: u32,
        /// When the process started, boottime nanoseconds: tells a recycled pid.
        start: u64,
        /// Id of its cgroup in the unified hierarchy.
        cgroup: u64,
        /// The process's name (its first thread's, which `ps` shows), NUL padded.
        comm: [u8; COMM_LEN],
        /// Random for each namespace: tells one from the next that gets the same inode.
        netns_mix: u32,
        /// 1 when it descends from the command that the program runs.
        family: u32,
    }
}

layout! {
    /// A TCP socket that listens, listened, or is to listen.
    Socket {
        /// Kernel address of the socket: an identity while it lives, never printed.
        cookie: u64,
        /// Inode of its file, 0 when it has none.
        inode: u64,
        /// Inode of its network namespace.
        netns: u32,
        /// `AF_INET` or `AF_INET6`.
        family: u16,
        /// Local port, host byte order.
        port: u16,
        /// Local address.
        address: [u8; 16],
        /// Interface or VRF it is bound to, 0 for any.
        ifindex: u32,
        /// 1 when `IPV6_V6ONLY` is set.
        v6only: u32,
        /// Random for each namespace: tells one from the next that gets the same inode.
        netns_mix: u32,
        /// Zero.
        reserved: u32,
    }
}

/// A record that knows its number, so that a probe can only send it under that one.
pub trait Numbered {
    /// The first word of the record.
    const NUMBER: Number;
}

/// Declares the records: the structures, their numbers, and [`Record`] with its decoder.
macro_rules! records {
    ($($(#[$doc:meta])* $name:ident = $number:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* })*) => {
        $(layout! { $(#[$doc])* $name {
            /// Number of this record, [`Number`].
            number: u32,
            /// Processor it was made on.
            cpu: u32,
            /// When it was made, boottime nanoseconds.
            time: u64,
            $($(#[$fdoc])* $field: $ty,)*
        } })*

        $(impl Numbered for $name {
            const NUMBER: Number = Number::$name;
        })*

        /// The first word of each record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Number { $($(#[$doc])* $name = $number,)* }

        impl Number {
            /// Every kind of record.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What it is called in the source.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }

        /// Any record, decoded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Record { $($(#[$doc])* $name($name),)* }

        impl Record {
            /// Reads the record that starts at the first byte; the ring pads records, so longer is fine.
            pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                let number = u32::read(bytes).ok_or(DecodeError::Short)?;
                match number {
                    $($number => <$name as Field>::read(bytes).map(Self::$name).ok_or(DecodeError::Short),)*
                    unknown => Err(DecodeError::Unknown(unknown)),
                }
            }
        }

        /// How many kinds of record there are, plus one for the number 0 that is never sent.
        pub const NUMBERS: usize = 1 + Number::ALL.len();
    };
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the record has.
    Short,
    /// No record has this number.
    Unknown(u32),
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short => f.write_str("record is cut short"),
            Self::Unknown(number) => write!(f, "no record has number {number}"),
        }
    }
}

impl core::error::Error for DecodeError {}

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
        /// Bytes of `exe` that count.
        exe_length: u32,
        /// Bytes of `cgroup` that count.
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
    /// The kernel dropped a SYN on its way, for a reason that is worth telling; of one that is sent again only the first.
    Dropped = 14 {
        /// Of the SYN, as it was when it was dropped; the interface it was at, 0 for one that is only leaving its socket.
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
    }
    /// What may have said no to a call on a socket: sent right before the record of the call itself, by the same thread.
    Denial = 15 {
        /// The thread that called.
        tid: u32,
        /// Who was seen to say no, [`Said`](crate::denial::Said).
        said: u32,
        /// What became of a question for `CAP_NET_BIND_SERVICE`, [`Asked`](crate::denial::Asked).
        capability: u32,
        /// 1 when the call was left and never entered, by a thread that has a seccomp filter.
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

impl Record {
    /// The network namespace that it is about: the inode, 0 when it has none any more, and what tells it from others that
    /// have had the same.
    pub fn netns(&self) -> Option<(u32, u32)> {
        let of_flow = |flow: &Flow| (flow.netns, flow.netns_mix);
        let of_socket = |socket: &Socket| (socket.netns, socket.netns_mix);
        let of_task = |task: &Task| (task.netns, task.netns_mix);
        match self {
            Self::Reset(it) => Some(of_flow(&it.flow)),
            Self::ConnectFailed(it) => Some(of_flow(&it.flow)),
            Self::Connected(it) => Some(of_flow(&it.flow)),
            Self::ListenUp(it) => Some(of_socket(&it.socket)),
            Self::ListenDown(it) => Some(of_socket(&it.socket)),
            Self::Bind(it) => Some(of_socket(&it.socket)),
            Self::QueueFull(it) => Some(of_flow(&it.flow)),
            Self::AcceptFailed(it) => Some(of_socket(&it.socket)),
            Self::EarlyEnd(it) => Some(of_flow(&it.flow)),
            Self::UnixConnect(it) => Some(of_task(&it.task)),
            Self::UnixListen(it) => Some(of_task(&it.task)),
            Self::Dropped(it) => Some(of_flow(&it.flow)),
            Self::SocketDenied(it) => Some(of_task(&it.task)),
            Self::Exec(it) => Some(of_task(&it.task)),
            Self::Exit(it) => Some(of_task(&it.task)),
            Self::Signal(_) | Self::OomVictim(_) | Self::Who(_) | Self::Denial(_) => None,
        }
    }
}
