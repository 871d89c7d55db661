//! What an audit looks for: each rule's code is for ever, as a cause's is.

use schemars::JsonSchema;
use serde::Serialize;

use crate::redis::audit::Severity;

macro_rules! rules {
    ($($code:ident = $name:literal, $severity:ident, exposes $exposes:literal, refuses $refuses:literal, $cause:expr, $meaning:literal;)*) => {
        /// A rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        pub enum Rule { $(#[doc = $meaning] $code,)* }

        impl Rule {
            /// Every rule, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// `RA301`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$code => stringify!($code),)* }
            }

            /// `open-to-everybody`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Self::$code => Severity::$severity,)* }
            }

            /// Tenths that it adds to the exposure.
            pub fn exposes(self) -> u32 {
                match self { $(Self::$code => $exposes,)* }
            }

            /// Tenths that it adds to the risk that somebody is refused.
            pub fn refuses(self) -> u32 {
                match self { $(Self::$code => $refuses,)* }
            }

            /// The cause that a client of such a server meets.
            pub fn cause(self) -> Option<&'static str> {
                match self { $(Self::$code => $cause,)* }
            }

            /// What it finds, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$code => $meaning,)* }
            }
        }
    };
}

rules! {
    RA101 = "unknown-directive", Error, exposes 0, refuses 100, Some("RT1020"),
        "No server knows this directive: none starts with it.";
    RA102 = "bad-value", Error, exposes 0, refuses 100, Some("RT1020"),
        "No server accepts this directive's value: none starts with it.";
    RA103 = "unbalanced-quotes", Error, exposes 0, refuses 100, Some("RT1020"),
        "Quotes are not closed, or close in the middle of a word: no server starts with it.";
    RA104 = "unreadable-file", Error, exposes 0, refuses 100, Some("RT1020"),
        "A file that is included cannot be read: the server does not start.";
    RA105 = "include-loop", Error, exposes 0, refuses 100, Some("RT1020"),
        "A file includes itself: the server recurses until it crashes.";
    RA106 = "not-read-to-its-end", Warning, exposes 0, refuses 20, None,
        "The file was not read to its end, so this audit is not complete.";
    RA107 = "wrong-version", Error, exposes 0, refuses 100, Some("RT1020"),
        "The directive is newer than this server, or was taken out before it: the server does not start.";
    RA108 = "two-sources-of-users", Error, exposes 0, refuses 100, Some("RT1020"),
        "Users stand in the configuration and in an ACL file: the server does not start.";
    RA109 = "bad-acl-rule", Error, exposes 0, refuses 100, Some("RT1020"),
        "A rule of a user is none: the server does not start.";
    RA110 = "socket-path-too-long", Error, exposes 0, refuses 60, Some("RT1016"),
        "The unix socket's path is longer than the kernel takes.";
    RA111 = "listens-nowhere", Error, exposes 0, refuses 100, Some("RT1020"),
        "No TCP port, no TLS port and no unix socket: the server has nothing to listen on and exits.";
    RA112 = "cluster-port-too-high", Error, exposes 0, refuses 100, Some("RT1020"),
        "The cluster's bus port would be above 65535: the server does not start.";
    RA113 = "tls-without-certificate", Error, exposes 0, refuses 100, Some("RT1020"),
        "A TLS port needs a certificate and its key: the server does not start.";
    RA114 = "sentinel-mode", Error, exposes 0, refuses 100, Some("RT1020"),
        "A sentinel's directive outside a sentinel's configuration: the server does not start.";
    RA201 = "protected-mode-refuses", Warning, exposes 0, refuses 50, Some("RT6001"),
        "Protected mode is on and no password is set: every client from elsewhere is accepted, told -DENIED and closed.";
    RA202 = "loopback-only", Note, exposes 0, refuses 10, Some("RT1007"),
        "The server listens on loopback alone: every dial of another address of this host is refused.";
    RA203 = "no-tcp-port", Note, exposes 0, refuses 20, Some("RT1021"),
        "TCP is off: clients by TCP are refused.";
    RA204 = "tls-only", Note, exposes 0, refuses 5, Some("RT5001"),
        "Only a TLS port is open: clients without TLS are cut off without a word.";
    RA205 = "few-clients", Warning, exposes 0, refuses 40, Some("RT6002"),
        "So few clients are taken that a small pool fills it.";
    RA206 = "somaxconn-cuts-backlog", Warning, exposes 0, refuses 20, Some("RT2001"),
        "The system cuts the accept queue that tcp-backlog asks for.";
    RA207 = "password-without-effect", Error, exposes 30, refuses 60, Some("RT6001"),
        "requirepass has no effect: the default user's own rules, or an ACL file, decide.";
    RA208 = "nobody-gets-in", Error, exposes 0, refuses 90, Some("RT6004"),
        "No user that is on has a password or does without: nobody gets in.";
    RA209 = "bind-needs-address", Note, exposes 0, refuses 10, Some("RT1012"),
        "The server ends when this address is on no interface yet: at boot, before the network is up.";
    RA210 = "privileged-port", Warning, exposes 0, refuses 30, Some("RT1013"),
        "A port below 1024 needs the capability CAP_NET_BIND_SERVICE.";
    RA211 = "health-check-renamed", Warning, exposes 0, refuses 20, Some("RT6006"),
        "A command that health checks and this program use is renamed or taken away.";
    RA212 = "short-timeout", Warning, exposes 0, refuses 30, Some("RT6010"),
        "Idle clients are closed sooner than most connection pools expect.";
    RA213 = "client-certificate-wanted", Note, exposes 0, refuses 10, Some("RT5003"),
        "TLS clients must bring a certificate of their own.";
    RA214 = "announces-unreachable", Warning, exposes 0, refuses 50, Some("RT6007"),
        "Clients are sent to an address that means something else, or nothing, where they are.";
    RA215 = "bind-replaced", Warning, exposes 10, refuses 20, Some("RT1007"),
        "Another bind line follows: this one has no effect.";
    RA216 = "later-line-wins", Note, exposes 0, refuses 0, None,
        "The same directive follows with another value: this one has no effect.";
    RA217 = "default-user-off", Note, exposes 0, refuses 10, Some("RT6004"),
        "The default user is off: clients must name a user.";
    RA218 = "address-not-here", Warning, exposes 0, refuses 60, Some("RT1012"),
        "No interface of this host has this address: bind fails.";
    RA219 = "path-missing", Error, exposes 0, refuses 90, Some("RT1020"),
        "A file or directory that the server needs is not there.";
    RA220 = "protection-depends-on-version", Note, exposes 10, refuses 10, Some("RT6001"),
        "Redis before 7.0 and KeyDB answer such a client otherwise than later servers.";
    RA221 = "certificate-dates", Error, exposes 0, refuses 80, Some("RT5003"),
        "The certificate has expired, or is not valid yet.";
    RA301 = "open-to-everybody", Error, exposes 90, refuses 0, None,
        "Whoever reaches the port gets in without a password.";
    RA302 = "password-in-plain-text", Note, exposes 20, refuses 0, None,
        "Passwords and data cross the network unencrypted.";
    RA303 = "weak-password", Warning, exposes 40, refuses 0, None,
        "A password is short or well known, and a server takes very many guesses a second.";
    RA304 = "user-without-password", Error, exposes 60, refuses 0, None,
        "A user gets in with any password.";
    RA305 = "dangerous-commands", Warning, exposes 30, refuses 0, None,
        "Commands that run code or rewrite the configuration's files are on for everybody who is let in.";
    RA306 = "protection-off", Note, exposes 10, refuses 0, None,
        "Protected mode is off: only a password stands between the network and the data.";
    RA307 = "socket-for-everybody", Warning, exposes 30, refuses 0, None,
        "Every user of this host may use the unix socket.";
    RA308 = "readable-secrets", Warning, exposes 30, refuses 0, None,
        "The file holds secrets and every user of this host may read it.";
    RA309 = "old-tls", Warning, exposes 20, refuses 0, None,
        "TLS 1.0 and 1.1 are allowed: both are broken.";
    RA310 = "sentinel-without-password", Warning, exposes 60, refuses 0, None,
        "A sentinel has no protected mode: whoever reaches it can name another master.";
    RA401 = "old-name", Note, exposes 0, refuses 0, None,
        "The directive has a newer name.";
    RA402 = "without-effect", Note, exposes 0, refuses 0, None,
        "The directive is read and does nothing in this server.";
}
