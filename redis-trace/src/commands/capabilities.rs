//! Which capability serves which cause: what a process that has fewer of them does not tell, or tells with less.

use caps::{CapSet, Capability};
use serde::Serialize;

use crate::trace::cause::Code;

/// A capability, and what it is for.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Use {
    /// Its name.
    pub name: &'static str,
    #[serde(skip)]
    capability: Capability,
    /// What it lets us see.
    pub shows: &'static str,
    /// The causes that are hidden, or told with less, without it; all where none is named.
    pub causes: &'static [Code],
}

impl Use {
    /// Whether this process has it.
    pub fn is_had(&self) -> bool {
        caps::has_cap(None, CapSet::Effective, self.capability).unwrap_or(false)
    }
}

/// All that are used; no other is, and none is needed but the first two.
pub const USES: &[Use] = &[
    Use { name: "CAP_BPF", capability: Capability::CAP_BPF, shows: "anything: probes are loaded", causes: &[] },
    Use {
        name: "CAP_PERFMON",
        capability: Capability::CAP_PERFMON,
        shows: "anything: probes read the kernel's memory",
        causes: &[],
    },
    Use {
        name: "CAP_SYS_PTRACE",
        capability: Capability::CAP_SYS_PTRACE,
        shows: "which process of another user has a socket",
        causes: &[Code::RT1002, Code::RT1003, Code::RT1006, Code::RT1008, Code::RT1010, Code::RT2001, Code::RT2005],
    },
    Use {
        name: "CAP_SYS_ADMIN",
        capability: Capability::CAP_SYS_ADMIN,
        shows: "other network namespaces; BPF programs of others; tracefs where it is not mounted",
        causes: &[Code::RT1010, Code::RT1019, Code::RT3010, Code::RT3020],
    },
    Use {
        name: "CAP_DAC_READ_SEARCH",
        capability: Capability::CAP_DAC_READ_SEARCH,
        shows: "system call tracepoints; configuration and logs of servers",
        causes: &[
            Code::RT1011,
            Code::RT1012,
            Code::RT1013,
            Code::RT1015,
            Code::RT1016,
            Code::RT1017,
            Code::RT1020,
            Code::RT1021,
        ],
    },
    Use {
        name: "CAP_NET_ADMIN",
        capability: Capability::CAP_NET_ADMIN,
        shows: "rules of nftables and policies of IPsec",
        causes: &[Code::RT3001, Code::RT3002, Code::RT3003, Code::RT3004, Code::RT3005, Code::RT3031],
    },
    Use {
        name: "CAP_NET_RAW",
        capability: Capability::CAP_NET_RAW,
        shows: "rules of the legacy iptables",
        causes: &[Code::RT3001, Code::RT3002, Code::RT3003],
    },
    Use {
        name: "CAP_SYSLOG",
        capability: Capability::CAP_SYSLOG,
        shows: "what the kernel's log says of OOM kills; where the kernel drops packets, before Linux 5.17",
        causes: &[Code::RT1004, Code::RT3003],
    },
];
