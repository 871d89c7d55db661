//! Redis and its kin, told by the program that runs and never by a port.

/// Programs that speak the Redis protocol, by the name of their process or executable.
const PROGRAMS: &[&str] = &[
    "redis-server",
    "redis-sentinel",
    "valkey-server",
    "valkey-sentinel",
    "keydb-server",
    "keydb-sentinel",
    "redict-server",
    "dragonfly",
    "kvrocks",
    "garnet-server",
];

/// Other names under which the server's executable is found: on Debian `redis-server` is a link to `redis-check-rdb`.
const EXECUTABLES: &[&str] =
    &["redis-check-rdb", "redis-check-aof", "valkey-check-rdb", "valkey-check-aof", "GarnetServer"];

/// Whether a process is a Redis-like server, by its name and its executable's path.
///
/// A name is cut at 15 bytes by the kernel, and a program that a shell or a wrapper started as something else is still
/// known by its executable. The checking tools share the server's executable: the name tells them apart.
pub fn is_server(comm: &str, exe: Option<&str>) -> bool {
    let program = exe.and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    if EXECUTABLES.contains(&comm) || comm.starts_with("redis-check-") || comm.starts_with("valkey-check-") {
        return false;
    }
    PROGRAMS.iter().any(|name| comm == &name[..name.len().min(15)] || program == *name)
        || EXECUTABLES.contains(&program)
}

/// Programs that pass connections on to servers.
const PROXIES: &[&str] = &[
    "docker-proxy",
    "rootlessport",
    "slirp4netns",
    "haproxy",
    "envoy",
    "nginx",
    "traefik",
    "stunnel",
    "stunnel4",
    "twemproxy",
    "nutcracker",
    "socat",
];

/// Whether a process passes connections on, by its name.
pub fn is_proxy(comm: &str) -> bool {
    PROXIES.contains(&comm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_known_by_name_or_executable_and_nothing_else_is() {
        assert!(is_server("redis-server", Some("/usr/bin/redis-check-rdb")));
        assert!(is_server("my-cache", Some("/usr/bin/redis-check-rdb")));
        assert!(is_server("valkey-sentinel", None));
        assert!(is_server("main", Some("/opt/dragonfly")));
        assert!(!is_server("redis-check-rdb", Some("/usr/bin/redis-check-rdb")));
        assert!(!is_server("redis-check-aof", Some("/usr/bin/redis-check-rdb")));
        assert!(!is_server("redis-cli", Some("/usr/bin/redis-cli")));
        assert!(!is_server("python3", Some("/usr/bin/python3.12")));
        assert!(!is_server("", None));
    }
}
