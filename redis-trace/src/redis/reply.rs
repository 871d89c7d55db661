//! What a server says instead of serving, and which cause that is. The texts are those of Redis 6.2 to 8 and Valkey,
//! src/networking.c and src/server.c.

/// A cause that a server's answer tells, and what would end it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The cause's code.
    pub code: &'static str,
    /// Its name.
    pub name: &'static str,
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
        "NOPERM" | "MISCONF" | "OOM" | "MASTERDOWN" | "READONLY" | "CLUSTERDOWN" | "NOREPLICAS" | "BUSY" => REFUSES,
        "ERR" if error.contains("max number of clients") => MAX_CLIENTS,
        "ERR" if error.contains("invalid password") || error.contains("without any password") => WRONG_PASSWORD,
        _ => return None,
    })
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
    code: "RT0000",
    name: "unknown",
    meaning: "the connection was taken and nothing is answered: the server is busy or stopped, or it waits for TLS",
    fix: &[("see what the server does", Some("redis-cli --latency, or top -H -p PID"))],
};
const PROTECTED: Said = Said {
    code: "RT6001",
    name: "protected-mode",
    meaning: "protected mode: no password is set for the default user, and the client is not on loopback",
    fix: &[
        ("set a password on the server, and let clients give it", Some("redis-cli CONFIG SET requirepass …")),
        ("or dial it from its own host", None),
    ],
};
const MAX_CLIENTS: Said = Said {
    code: "RT6002",
    name: "max-clients",
    meaning: "the server has as many clients as it takes (maxclients)",
    fix: &[
        ("find who holds the connections", Some("redis-cli CLIENT LIST")),
        ("or take more, as far as the limit of open files allows", Some("redis-cli CONFIG SET maxclients …")),
    ],
};
const NO_AUTH: Said = Said {
    code: "RT6003",
    name: "auth-required",
    meaning: "the server wants a password and was given none",
    fix: &[("give the password to the client; to this command as", Some("REDISCLI_AUTH=… redis-trace doctor TARGET"))],
};
const WRONG_PASSWORD: Said = Said {
    code: "RT6004",
    name: "wrong-password",
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
    code: "RT6005",
    name: "loading",
    meaning: "the server reads its dataset from disk and serves nobody yet",
    fix: &[("wait; see how far it is", Some("redis-cli INFO persistence"))],
};
const REFUSES: Said = Said {
    code: "RT6006",
    name: "server-refuses-commands",
    meaning: "the server takes connections and refuses commands",
    fix: &[("see what the server says of itself", Some("redis-cli INFO"))],
};
const CLOSED: Said = Said {
    code: "RT6008",
    name: "closed-after-accept",
    meaning: "the connection was taken and closed without a word: by a proxy without a server behind it, or a TLS port at \
              its limit",
    fix: &[("see who accepts there, and what stands behind it", Some("ss -ltnp"))],
};
const NOT_REDIS: Said = Said {
    code: "RT6009",
    name: "protocol-mismatch",
    meaning: "what answers there does not speak Redis's protocol",
    fix: &[("see who listens there, and dial the port of the server", Some("ss -ltnp"))],
};
const PLAINTEXT_TO_TLS: Said = Said {
    code: "RT5001",
    name: "plaintext-to-tls-port",
    meaning: "the port speaks TLS, and was spoken to without",
    fix: &[("let the client use TLS", Some("redis-cli --tls …  (rediss:// in a URL)"))],
};

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> Option<&'static str> {
        of_bytes(bytes).map(|said| said.code)
    }

    #[test]
    fn each_way_to_say_no_is_told_from_the_others() {
        assert_eq!(code(b"-DENIED Redis is running in protected mode because...\r\n"), Some("RT6001"));
        assert_eq!(code(b"-ERR max number of clients reached\r\n"), Some("RT6002"));
        assert_eq!(code(b"-ERR max number of clients + cluster connections reached\r\n"), Some("RT6002"));
        assert_eq!(code(b"-NOAUTH Authentication required.\r\n"), Some("RT6003"));
        assert_eq!(code(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"), Some("RT6004"));
        assert_eq!(code(b"-ERR invalid password\r\n"), Some("RT6004"));
        assert_eq!(code(b"-LOADING Redis is loading the dataset in memory\r\n"), Some("RT6005"));
        assert_eq!(code(b"-MISCONF Redis is configured to save RDB snapshots\r\n"), Some("RT6006"));
        assert_eq!(code(b""), Some("RT6008"));
        assert_eq!(code(b"HTTP/1.1 400 Bad Request\r\n"), Some("RT6009"));
        assert_eq!(code(b"\x15\x03\x01\x00\x02\x02\x46"), Some("RT5001"));
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
