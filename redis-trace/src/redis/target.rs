//! What a client is pointed at: an address as people and client libraries write it.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use url::Url;

use crate::trace::text::Text;

/// The port of a server when none is given.
const PORT: u16 = 6379;

/// Where a server is to be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By TCP.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// By TLS.
        tls: bool,
        /// The user to log in as.
        user: Option<String>,
    },
    /// By a unix socket.
    Unix(String),
}

impl Target {
    /// By TLS, if that can be.
    pub fn speak_tls(&mut self) {
        if let Self::Tcp { tls, .. } = self {
            *tls = true;
        }
    }

    /// What a variable of the environment names; its password is forgotten.
    pub fn of_variable(value: &str) -> Option<Self> {
        let Ok(mut url) = Url::parse(value) else { return value.parse().ok() };
        url.set_password(None).ok();
        url.as_str().parse().ok()
    }

    /// The same server, whoever dials it and however.
    pub fn is_where(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp { host, port, .. }, Self::Tcp { host: others, port: another, .. }) => {
                (host, port) == (others, another)
            }
            _ => self == other,
        }
    }

    /// Its host, when a shell takes it as it stands.
    pub fn host_for_a_shell(&self) -> Option<&str> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:_".contains(c);
        match self {
            Self::Tcp { host, .. } if host.chars().all(plain) && !host.starts_with('-') => Some(host),
            _ => None,
        }
    }
}

impl FromStr for Target {
    type Err = String;

    /// `HOST`, `HOST:PORT`, `[IPv6]:PORT`, `redis://`, `rediss://`, `unix:PATH`, `unix:@NAME` or a path; the error is a
    /// sentence.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err("unix: needs a path".to_owned())
            } else {
                Ok(Self::Unix(path.to_owned()))
            };
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(text.to_owned()));
        }
        if text.contains("://") { by_url(text) } else { by_host(text) }
    }
}

fn by_url(text: &str) -> Result<Target, String> {
    let url = Url::parse(text).map_err(|why| format!("it is no URL: {why}"))?;
    let tls = match url.scheme() {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        other => return Err(format!("{}:// is not spoken here: redis:// and rediss:// are", Text::from(other))),
    };
    // Everybody on this host can read the arguments of a program.
    if url.password().is_some_and(|password| !password.is_empty()) {
        return Err("it has a password, and arguments can be read by everybody on this host".to_owned());
    }
    let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or("127.0.0.1");
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let user = Some(url.username()).filter(|user| !user.is_empty()).map(str::to_owned);
    Ok(Target::Tcp { host, port: url.port().unwrap_or(PORT), tls, user })
}

fn by_host(text: &str) -> Result<Target, String> {
    let tcp = |host: &str, port| Target::Tcp { host: host.to_owned(), port, tls: false, user: None };
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(tcp(text, PORT));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| "the port is a number from 1 to 65535".to_owned())?),
        None => (text, PORT),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || port == 0 || host.contains(['/', ' ', '@']) {
        return Err("a target is HOST[:PORT], redis://HOST, rediss://HOST or unix:PATH".to_owned());
    }
    Ok(tcp(host, port))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", Text::from(path.as_str())),
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{}]:{port}", Text::from(host.as_str())),
            Self::Tcp { host, port, .. } => write!(f, "{}:{port}", Text::from(host.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Target>().expect("a target").to_string()
    }

    #[test]
    fn targets_are_read_as_clients_write_them() {
        assert_eq!(shown("db"), "db:6379");
        assert_eq!(shown("db:7000"), "db:7000");
        assert_eq!(shown("::1"), "[::1]:6379");
        assert_eq!(shown("[::1]:7000"), "[::1]:7000");
        assert_eq!(shown("redis://me@db/3"), "db:6379");
        assert_eq!(shown("rediss://[::1]:7000"), "[::1]:7000");
        assert_eq!(shown("unix:///run/redis.sock"), "/run/redis.sock");
        assert_eq!(shown("/run/redis.sock"), "/run/redis.sock");
    }

    #[test]
    fn what_is_no_target_is_refused_and_a_password_is_not_repeated() {
        for text in ["", ":6379", "db:0", "db:port", "unix:", "http://db", "a b"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        let refused = "redis://:hunter2@db".parse::<Target>().expect_err("it has a password");
        assert!(!refused.contains("hunter2"));
    }
}
