//! The server that scenarios are staged with: which it is, and what it says where others say it differently.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

/// A server of Redis's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// The program.
    pub(crate) program: String,
    /// What it calls itself: `Redis`, `Valkey`.
    pub(crate) name: String,
    /// Its version: major and minor.
    version: (u32, u32),
}

impl Server {
    /// The server that a program says it is.
    pub(crate) fn of(program: &str) -> Result<Self> {
        let asked = Command::new(program).arg("--version").output();
        let said = asked.with_context(|| format!("cannot start {program}"))?.stdout;
        let said = String::from_utf8_lossy(&said);
        Self::read(program, &said)
            .with_context(|| format!("{program} --version says {said:?}, which names no server of Redis's kind"))
    }

    /// Reads what it says: `Redis server v=7.0.15 sha=…`.
    fn read(program: &str, said: &str) -> Option<Self> {
        let (name, rest) = said.split_once(" server v=")?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { program: program.to_owned(), name: name.to_owned(), version })
    }

    /// The name of its process: the kernel keeps fifteen bytes.
    pub(crate) fn comm(&self) -> String {
        let file = Path::new(&self.program).file_name().unwrap_or_default();
        file.to_string_lossy().chars().take(15).collect()
    }

    /// Whether its protected mode is over once `bind` names an address: src/networking.c until 7.0.
    pub(crate) fn is_open_once_bound(&self) -> bool {
        self.is_redis_before((7, 0))
    }

    /// How it begins to say that it is in protected mode, and how many bytes it says.
    pub(crate) fn denial(&self) -> (&'static str, u32) {
        match self.version {
            _ if self.name == "Valkey" => {
                ("-DENIED Running in protected mode because protected mode is enabled and no password", 1030)
            }
            (..7, _) => {
                ("-DENIED Redis is running in protected mode because protected mode is enabled, no bind address", 1101)
            }
            (7, 0) => (DENIED_SINCE_7, 1067),
            _ => (DENIED_SINCE_7, 1066),
        }
    }

    /// How many bytes it takes to say that a user or a password is wrong.
    pub(crate) fn wrong_password(&self) -> u32 {
        if self.is_redis_before((6, 2)) { 43 } else { 64 }
    }

    /// How it says that a user may not PING.
    pub(crate) fn no_permission(&self) -> &'static str {
        if self.is_redis_before((7, 2)) {
            "-NOPERM this user has no permissions to run the 'ping' command"
        } else {
            "-NOPERM User default has no permissions to run the 'ping' command"
        }
    }

    /// So many keys, each with this value, load slowly with these options: it looks for clients after each kilobyte, which is
    /// twice a second. Until 6.2 it looks for them only after each two megabytes.
    pub(crate) fn slow_load(&self) -> (u32, &'static str, &'static str) {
        if self.is_redis_before((6, 2)) {
            (2_000, "string.rep('x',10000)", "--key-load-delay 2000")
        } else {
            (12_000, "key", "--key-load-delay 5000 --loading-process-events-interval-bytes 1024")
        }
    }

    fn is_redis_before(&self, version: (u32, u32)) -> bool {
        self.name == "Redis" && self.version < version
    }
}

const DENIED_SINCE_7: &str =
    "-DENIED Redis is running in protected mode because protected mode is enabled and no password";

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn a_server_is_what_it_says_it_is() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=d55f4a5b0a7d8a4c\n";
        let redis = Server::read("/opt/redis-server", redis).expect("it says so");
        assert_eq!((redis.name.as_str(), redis.version, redis.comm().as_str()), ("Redis", (7, 0), "redis-server"));
        let valkey = Server::read("valkey-server", "Valkey server v=8.1.1 sha=1:0").expect("it says so");
        assert_eq!((valkey.name.as_str(), valkey.version), ("Valkey", (8, 1)));
        assert_eq!(Server::read("cat", "cat (GNU coreutils) 9.1\n"), None);
    }
}
