//! What a server says instead of serving, and which cause that is. The texts are those of Redis 6.2 to 8 and Valkey,
//! src/networking.c and src/server.c.

use std::net::IpAddr;

use crate::trace::cause::Code;
use crate::trace::flow::Endpoint;

/// A cause that a server's answer tells, and what would end it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The cause.
    pub code: Code,
    /// What it means.
    pub meaning: &'static str,
    /// What would end it, and the command that does.
    pub fix: &'static [(&'static str, Option<&'static str>)],
}

/// What a server's first bytes say, when they are no answer of one that serves.
pub fn of_bytes(bytes: &[u8]) -> Option<Said> {
    match bytes {
        [] => Some(CLOSED),
        // A TLS alert: content type 21, version 3.x.
        [0x15, 0x03, ..] => Some(PLAINTEXT_TO_TLS),
        [b'-', rest @ ..] => of_error(String::from_utf8_lossy(rest).trim_end()),
        [b'+' | b':' | b'$' | b'*' | b'%' | b'_' | b'#', ..] => None,
        _ => Some(NOT_REDIS),
    }
}

/// What an error says, without its first `-`; `None` when it refuses one command and not the client.
pub fn of_error(error: &str) -> Option<Said> {
    let word = error.split(' ').next().unwrap_or_default();
    Some(match word {
        "DENIED" => PROTECTED,
        "NOAUTH" => NO_AUTH,
        "WRONGPASS" => WRONG_PASSWORD,
        "LOADING" => LOADING,
        "NOPERM" => NOT_PERMITTED,
        "MISCONF" => MISCONFIGURED,
        "OOM" => OUT_OF_MEMORY,
        "MASTERDOWN" => MASTER_DOWN,
        "READONLY" => READ_ONLY,
        "CLUSTERDOWN" => CLUSTER_DOWN,
        "NOREPLICAS" => NO_REPLICAS,
        "BUSY" => BUSY,
        "ERR" if error.contains("max number of clients") => MAX_CLIENTS,
        "ERR" if error.contains("invalid password") || error.contains("without any password") => WRONG_PASSWORD,
        _ => return None,
    })
}

/// What a server says by closing after so many bytes, without having read any: the lengths of what Redis 6.0 to 8, Valkey and
/// KeyDB say at the door.
pub fn of_length(sent: u32) -> Option<Code> {
    match sent {
        36 | 58 => Some(Code::RT6002),
        1030 | 1066 | 1067 | 1100 | 1101 => Some(Code::RT6001),
        _ => None,
    }
}

/// Where a server sends its client with what it says: a node of a Cluster by `-MOVED` and `-ASK`, a Sentinel by the address of
/// a master. A node that does not know the other's address names its port alone.
pub fn redirect(bytes: &[u8], server: Endpoint) -> Option<Endpoint> {
    let text = std::str::from_utf8(bytes).ok()?;
    let first: Vec<&str> = text.lines().next()?.split(' ').collect();
    let (host, port) = if let ["-MOVED" | "-ASK", slot, to] = first.as_slice() {
        let _: u16 = slot.parse().ok()?;
        to.rsplit_once(':')?
    } else {
        let mut parts = text.split("\r\n");
        let mut next = || parts.next();
        (next()? == "*2").then_some(())?;
        let host = next().filter(|length| length.starts_with('$')).and_then(|_| next())?;
        let port = next().filter(|length| length.starts_with('$')).and_then(|_| next())?;
        (host, port)
    };
    let ip = if host.is_empty() { server.ip } else { host.parse::<IpAddr>().ok()?.to_canonical() };
    Some(Endpoint { ip, port: port.parse().ok()? })
}

/// What a TLS alert complains of: RFC 8446, 6.2.
pub fn alert(what: u8) -> &'static str {
    match what {
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        48 => "unknown_ca",
        49 => "access_denied",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        109 => "missing_extension",
        112 => "unrecognized_name",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => "an alert without a name here",
    }
}

/// What an alert means for the client, or the server, that sent it.
pub fn complaint(what: u8, is_of_client: bool) -> &'static str {
    match (what, is_of_client) {
        (48, true) => ", and trusts no authority that has signed the server's certificate",
        (45, true) => ", for the server's certificate",
        (42 | 43 | 44 | 46, true) => ", of the server's certificate",
        (42..=46 | 48, false) => ", of the client's certificate",
        (116, false) => ", and wants a certificate of the client",
        (70, _) => ", and speaks no version of TLS that the other end offers",
        (40 | 71, _) => ", for want of a cipher or a certificate that both accept",
        _ => "",
    }
}

/// Bytes of what is said of a wrong password, with the line's end: `-WRONGPASS invalid username-password pair or user is
/// disabled.` by Valkey and Redis since 6.2, without the last four words by Redis 6.0, and `-ERR invalid password` before.
pub const WRONG_PASSWORD_LENGTHS: [u32; 3] = [64, 43, 23];

/// What each cause of a server that says no means, and what would end it.
pub fn of_code(code: Code) -> Option<Said> {
    let all = [
        PROTECTED,
        MAX_CLIENTS,
        NO_AUTH,
        WRONG_PASSWORD,
        LOADING,
        CLOSED,
        NOT_REDIS,
        PLAINTEXT_TO_TLS,
        TLS_TO_PLAINTEXT,
        HANDSHAKE_FAILED,
    ];
    all.into_iter().find(|said| said.code == code)
}

/// It speaks before it is spoken to: what Redis never does, unless it turns a client away.
pub fn speaks_first() -> Said {
    NOT_REDIS
}

/// It took the connection and says nothing.
pub fn silent() -> Said {
    SILENT
}

const SILENT: Said = Said {
    code: Code::RT0000,
    meaning: "the connection was taken and nothing is answered: the server is busy or stopped, or it waits for TLS",
    fix: &[("see what the server does", Some("redis-cli --latency, or top -H -p PID"))],
};
const PROTECTED: Said = Said {
    code: Code::RT6001,
    meaning: "protected mode: no password is set for the default user, and the client is not on loopback",
    fix: &[
        ("set a password on the server, and let clients give it", Some("redis-cli CONFIG SET requirepass …")),
        ("dial it from its own host", None),
    ],
};
const MAX_CLIENTS: Said = Said {
    code: Code::RT6002,
    meaning: "the server has as many clients as it takes (maxclients)",
    fix: &[
        ("find who holds the connections", Some("redis-cli CLIENT LIST")),
        ("or take more, as far as the limit of open files allows", Some("redis-cli CONFIG SET maxclients …")),
    ],
};
const NO_AUTH: Said = Said {
    code: Code::RT6003,
    meaning: "the server wants a password and was given none",
    fix: &[("give the password to the client", Some("REDISCLI_AUTH=… redis-cli ping"))],
};
const WRONG_PASSWORD: Said = Said {
    code: Code::RT6004,
    meaning: "the server does not know this user with this password",
    fix: &[
        (
            "compare the client's password with the server's",
            Some("grep -n '^requirepass\\|^user' /etc/redis/redis.conf"),
        ),
        ("see which users there are", Some("redis-cli ACL LIST")),
    ],
};
const LOADING: Said = Said {
    code: Code::RT6005,
    meaning: "the server reads its dataset from disk and serves nobody yet",
    fix: &[("wait; see how far it is", Some("redis-cli INFO persistence"))],
};
const NOT_PERMITTED: Said = Said {
    code: Code::RT6006,
    meaning: "its user may not run the command",
    fix: &[
        ("see what was denied to whom", Some("redis-cli ACL LOG")),
        ("give the user what it needs", Some("redis-cli ACL SETUSER …")),
    ],
};
const MISCONFIGURED: Said = Said {
    code: Code::RT6006,
    meaning: "the server could not save its data and refuses to write",
    fix: &[
        ("see when it last could, and its log for why not", Some("redis-cli INFO persistence")),
        ("give it room and the right to write there", Some("redis-cli CONFIG GET dir")),
    ],
};
const OUT_OF_MEMORY: Said = Said {
    code: Code::RT6006,
    meaning: "the server has as much data as it may have (maxmemory)",
    fix: &[
        ("see how much it has, and may have", Some("redis-cli INFO memory")),
        ("raise the limit, or choose what goes first", Some("redis-cli CONFIG SET maxmemory …")),
    ],
};
const MASTER_DOWN: Said = Said {
    code: Code::RT6006,
    meaning: "a replica has lost its master and may not serve old data",
    fix: &[("see why the link is down", Some("redis-cli INFO replication"))],
};
const READ_ONLY: Said = Said {
    code: Code::RT6006,
    meaning: "a replica does not write",
    fix: &[("find the master, and dial that", Some("redis-cli INFO replication"))],
};
const CLUSTER_DOWN: Said = Said {
    code: Code::RT6006,
    meaning: "the cluster does not serve: slots are not covered or too few masters are up",
    fix: &[("see what it lacks", Some("redis-cli CLUSTER INFO"))],
};
const NO_REPLICAS: Said = Said {
    code: Code::RT6006,
    meaning: "the master has too few replicas to write",
    fix: &[("see which replicas are up", Some("redis-cli INFO replication"))],
};
const BUSY: Said = Said {
    code: Code::RT6006,
    meaning: "the server runs a script that does not end",
    fix: &[("stop the script, if it has not written yet", Some("redis-cli SCRIPT KILL"))],
};
const CLOSED: Said = Said {
    code: Code::RT6008,
    meaning: "the connection was taken and closed without a word: by a proxy without a server behind it, or a TLS port at \
              its limit",
    fix: &[("see who accepts there, and what stands behind it", Some("ss -ltnp"))],
};
const NOT_REDIS: Said = Said {
    code: Code::RT6009,
    meaning: "what answers there does not speak Redis's protocol",
    fix: &[("see who listens there, and dial the port of the server", Some("ss -ltnp"))],
};
const PLAINTEXT_TO_TLS: Said = Said {
    code: Code::RT5001,
    meaning: "the port speaks TLS, and was spoken to without",
    fix: &[("let the client use TLS", Some("redis-cli --tls …  (rediss:// in a URL)"))],
};
const TLS_TO_PLAINTEXT: Said = Said {
    code: Code::RT5002,
    meaning: "the port does not speak TLS: it waits for the end of a line that never comes",
    fix: &[
        (
            "let the client do without TLS, or dial the server's TLS port",
            Some("redis:// instead of rediss:// in a URL"),
        ),
        ("or let the server listen with TLS too", Some("redis-cli CONFIG SET tls-port …")),
    ],
};
const HANDSHAKE_FAILED: Said = Said {
    code: Code::RT5003,
    meaning: "the two ends do not agree on TLS",
    fix: &[
        (
            "see the certificate and who signed it",
            Some(
                "openssl s_client -connect HOST:PORT -showcerts </dev/null | openssl x509 -noout -issuer -subject -dates",
            ),
        ),
        (
            "give the client the authority's certificate, or renew the server's",
            Some("redis-cli --tls --cacert ca.crt ping"),
        ),
        ("compare tls-protocols, tls-ciphers and tls-auth-clients with what the client speaks", None),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> Option<Code> {
        of_bytes(bytes).map(|said| said.code)
    }

    #[test]
    fn each_way_to_say_no_is_told_from_the_others() {
        assert_eq!(code(b"-DENIED Redis is running in protected mode because...\r\n"), Some(Code::RT6001));
        assert_eq!(code(b"-ERR max number of clients reached\r\n"), Some(Code::RT6002));
        assert_eq!(code(b"-ERR max number of clients + cluster connections reached\r\n"), Some(Code::RT6002));
        assert_eq!(code(b"-NOAUTH Authentication required.\r\n"), Some(Code::RT6003));
        assert_eq!(code(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"), Some(Code::RT6004));
        assert_eq!(code(b"-ERR invalid password\r\n"), Some(Code::RT6004));
        assert_eq!(code(b"-LOADING Redis is loading the dataset in memory\r\n"), Some(Code::RT6005));
        assert_eq!(code(b"-MISCONF Redis is configured to save RDB snapshots\r\n"), Some(Code::RT6006));
        assert_eq!(code(b""), Some(Code::RT6008));
        assert_eq!(code(b"HTTP/1.1 400 Bad Request\r\n"), Some(Code::RT6009));
        assert_eq!(code(b"\x15\x03\x01\x00\x02\x02\x46"), Some(Code::RT5001));
    }

    #[test]
    fn where_a_client_is_sent_is_read_from_a_cluster_s_words_and_a_sentinel_s() {
        let server = Endpoint { ip: IpAddr::from([10, 0, 0, 1]), port: 6379 };
        let to = |bytes: &[u8]| redirect(bytes, server).map(|to| to.to_string());
        assert_eq!(to(b"-MOVED 12539 127.0.0.1:6399\r\n").as_deref(), Some("127.0.0.1:6399"));
        assert_eq!(to(b"-ASK 1 fd00::7:6399\r\n").as_deref(), Some("[fd00::7]:6399"));
        assert_eq!(to(b"-MOVED 12539 :6399\r\n").as_deref(), Some("10.0.0.1:6399"));
        assert_eq!(to(b"*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6399\r\n").as_deref(), Some("127.0.0.1:6399"));
        for other in [
            &b"-MOVED 12539 redis.example:6399\r\n"[..],
            b"-MOVED x 127.0.0.1:6399\r\n",
            b"-MOVED 1\r\n",
            b"*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n",
            b"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n66000\r\n",
            b"*2\r\n:1\r\n:2\r\n",
            b"-NOAUTH Authentication required.\r\n",
            b"",
        ] {
            assert_eq!(to(other), None, "{other:?}");
        }
    }

    #[test]
    fn what_serves_and_what_refuses_one_command_is_no_cause() {
        for bytes in
            [&b"+PONG\r\n"[..], b"$5\r\nhello\r\n", b"-ERR unknown command 'PING'\r\n", b"-ERR syntax error\r\n"]
        {
            assert_eq!(code(bytes), None);
        }
    }
}
