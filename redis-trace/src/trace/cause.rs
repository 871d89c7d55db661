//! Causes: the codes that stand for ever, and what each is called.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The family a cause belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Nobody listens there.
    NoListener,
    /// A queue or a resource is exhausted.
    BacklogFull,
    /// A security module said no.
    LsmDenial,
    /// Netfilter said no.
    FirewallReject,
    /// Another policy said no: cgroup BPF, seccomp, routes, capability.
    Policy,
    /// Only the far end knows more.
    Remote,
    /// The two ends do not agree on TLS.
    Tls,
    /// The server accepted, then said no.
    Application,
    /// The client's own doing.
    Client,
    /// Not known.
    Unknown,
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// One fact speaks for it; the summary says what would confirm it.
    Possible,
    /// Two independent facts.
    Likely,
    /// The kernel or the server said so.
    Certain,
}

impl Confidence {
    /// As written in JSON and text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal, $class:ident;)*) => {
        /// A cause's code: never reused, never renumbered.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Code { $($(#[$doc])* $code,)* }

        impl Code {
            /// Every code that exists, in order.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// `RT1001`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => stringify!($code),)* }
            }

            /// `no-listener`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// The family.
            pub fn class(self) -> Class {
                match self { $(Self::$code => Class::$class,)* }
            }
        }
    };
}

codes! {
    /// Nothing that was seen explains it.
    RT0000 = "unknown", Unknown;
    /// Nothing listens there, nothing nearby explains it, and nothing is known to have listened.
    RT1001 = "no-listener", NoListener;
    /// The last listener there exited by itself.
    RT1002 = "listener-exited", NoListener;
    /// The last listener there was killed by a signal.
    RT1003 = "listener-killed", NoListener;
    /// The last listener there was killed by the OOM killer.
    RT1004 = "listener-oom-killed", NoListener;
    /// The last listener there crashed.
    RT1005 = "listener-crashed", NoListener;
    /// The last listener's process lives but closed its socket.
    RT1006 = "listener-closed", NoListener;
    /// A listener on that port is bound to another address, device or VRF.
    RT1007 = "bound-to-other-address", NoListener;
    /// A Redis-like server listens on other ports only.
    RT1008 = "bound-to-other-port", NoListener;
    /// The listener is on the other address family.
    RT1009 = "other-address-family", NoListener;
    /// The listener on that port lives in another network namespace.
    RT1010 = "listener-in-other-netns", NoListener;
    /// bind failed: the address is in use.
    RT1011 = "address-in-use", NoListener;
    /// bind failed: the address is on no interface.
    RT1012 = "address-not-available", NoListener;
    /// bind failed: the port is privileged and the capability is missing.
    RT1013 = "privileged-port", NoListener;
    /// A socket is bound there and does not listen.
    RT1014 = "bound-not-listening", NoListener;
    /// The unix socket's path or name has nobody behind it.
    RT1015 = "unix-socket-stale", NoListener;
    /// The unix socket's path does not exist.
    RT1016 = "unix-socket-missing", NoListener;
    /// The unix socket's path may not be used by this user.
    RT1017 = "unix-socket-permission", NoListener;
    /// The listener appeared after the refusal.
    RT1018 = "listener-not-yet", NoListener;
    /// An `sk_lookup` BPF program refused it.
    RT1019 = "sk-lookup-refused", NoListener;
    /// A server was started and ended before it listened.
    RT1020 = "start-failed", NoListener;
    /// The server runs but lacks this address or family.
    RT1021 = "partial-listen", NoListener;
    /// A listener's accept queue is full.
    RT2001 = "accept-queue-full", BacklogFull;
    /// A listener's SYN queue is full.
    RT2002 = "syn-queue-full", BacklogFull;
    /// accept failed for want of a file.
    RT2003 = "fd-limit", BacklogFull;
    /// The listener closed while connections waited to be accepted.
    RT2004 = "listener-closed-with-queue", BacklogFull;
    /// The unix socket's queue is full.
    RT2005 = "unix-backlog-full", BacklogFull;
    /// Conntrack's table is full.
    RT2006 = "conntrack-full", BacklogFull;
    /// The client has no port left to dial from.
    RT2007 = "ephemeral-ports-exhausted", Client;
    /// The firewall sent a reset.
    RT3001 = "firewall-reject-reset", FirewallReject;
    /// The firewall sent an ICMP error.
    RT3002 = "firewall-reject-icmp", FirewallReject;
    /// The firewall dropped it silently.
    RT3003 = "firewall-drop", FirewallReject;
    /// The service has no endpoints, and kube-proxy's rule or IPVS rejects what is meant for it.
    RT3004 = "service-without-endpoints", FirewallReject;
    /// Address translation led it to where nobody listens.
    RT3005 = "nat-to-nowhere", FirewallReject;
    /// A security module denied bind.
    RT3010 = "lsm-denied-bind", LsmDenial;
    /// A security module denied socket creation or listen.
    RT3011 = "lsm-denied-listen", LsmDenial;
    /// A security module denied connect in the client.
    RT3012 = "lsm-denied-connect", LsmDenial;
    /// A security module denied accept.
    RT3013 = "lsm-denied-inbound", LsmDenial;
    /// A security module denied the capability that a privileged port needs.
    RT3014 = "lsm-denied-capability", LsmDenial;
    /// A cgroup's BPF program denied it.
    RT3020 = "cgroup-bpf-denied", Policy;
    /// A seccomp filter denied it.
    RT3021 = "seccomp-denied", Policy;
    /// A route, a rule or the lack of one refused it, or the next hop did not answer.
    RT3030 = "route-refused", Policy;
    /// A policy of IPsec blocked it.
    RT3031 = "ipsec-refused", Policy;
    /// A filter that is no firewall's rule dropped it: the kernel's own reason says which.
    RT3032 = "packet-filtered", Policy;
    /// A reset to our SYN came from another host.
    RT4001 = "remote-refused", Remote;
    /// An ICMP error came from elsewhere.
    RT4002 = "remote-icmp", Remote;
    /// SYNs went out and nothing came back.
    RT4003 = "no-answer", Remote;
    /// The reset came from another place than the peer's answers do.
    RT4004 = "middlebox-reset", Remote;
    /// The client does not speak TLS, and the port does.
    RT5001 = "plaintext-to-tls-port", Tls;
    /// The client speaks TLS, and the port does not.
    RT5002 = "tls-to-plaintext-port", Tls;
    /// The client and the server do not agree on TLS: a certificate, a version, a cipher.
    RT5003 = "tls-handshake-failed", Tls;
    /// The server turned the client away by its protected mode.
    RT6001 = "protected-mode", Application;
    /// The server has as many clients as it takes.
    RT6002 = "max-clients", Application;
    /// The server wants a password and was given none.
    RT6003 = "auth-required", Application;
    /// The server does not know this user with this password.
    RT6004 = "wrong-password", Application;
    /// The server reads its dataset and serves nobody yet.
    RT6005 = "loading", Application;
    /// The server takes connections and refuses commands.
    RT6006 = "server-refuses-commands", Application;
    /// A server sent the client to an address that refuses it.
    RT6007 = "redirected-to-unreachable", Application;
    /// The connection was accepted and closed without a word.
    RT6008 = "closed-after-accept", Application;
    /// The client does not speak what the port speaks.
    RT6009 = "protocol-mismatch", Application;
    /// The server closed an established connection on purpose.
    RT6010 = "server-closed", Application;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Code {
    type Err = String;

    /// Accepts `RT1001`, `rt1001`, `1001` and the name.
    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.trim().to_ascii_lowercase();
        let digits = wanted.strip_prefix("rt").unwrap_or(&wanted);
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str()[2..] == *digits || code.name() == wanted)
            .ok_or_else(|| format!("there is no cause {text:?}: `redis-trace explain` lists them"))
    }
}
