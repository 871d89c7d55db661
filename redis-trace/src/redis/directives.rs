//! The directives of redis.conf, and which lines no server accepts.
//!
//! Names are those of Redis 6.0 to 8.x, Valkey 7.2 to 9 and KeyDB 6.3 together, so a line is only called wrong when every
//! one of them refuses it. A directive that is merely too new for the server at hand is not noticed.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Directives that take `yes` or `no`.
const SWITCHES: &str = "\
    activedefrag activerehashing always-show-logo aof-disable-auto-gc aof-load-truncated \
    aof-rewrite-incremental-fsync aof-timestamp-enabled aof-use-rdb-preamble appendonly \
    cluster-allow-pubsubshard-when-down cluster-allow-reads-when-down cluster-allow-replica-migration \
    cluster-enabled cluster-replica-no-failover cluster-require-full-coverage cluster-slave-no-failover \
    cluster-slot-stats-enabled crash-log-enabled crash-memcheck-enabled daemonize disable-thp \
    dual-channel-replication-enabled dynamic-hz enable-debug-assert extended-redis-compatibility \
    hide-user-data-from-log io-threads-do-reads jemalloc-bg-thread latency-tracking lazyfree-lazy-eviction \
    lazyfree-lazy-expire lazyfree-lazy-server-del lazyfree-lazy-user-del lazyfree-lazy-user-flush \
    no-appendfsync-on-rewrite protected-mode rdb-del-sync-files rdb-save-incremental-fsync rdbchecksum \
    rdbcompression repl-disable-tcp-nodelay repl-diskless-sync replica-announced \
    replica-ignore-disk-write-errors replica-ignore-maxmemory replica-lazy-flush replica-read-only \
    replica-serve-stale-data set-proc-title slave-ignore-maxmemory slave-lazy-flush slave-read-only \
    slave-serve-stale-data stop-writes-on-bgsave-error syslog-enabled tls-cluster tls-prefer-server-ciphers \
    tls-replication tls-session-caching use-exit-on-panic";

/// Directives that take a whole number. Their limits differ between versions and are not judged.
const NUMBERS: &str = "\
    acllog-max-len active-defrag-cycle-max active-defrag-cycle-min active-defrag-max-scan-fields \
    active-defrag-threshold-lower active-defrag-threshold-upper active-expire-effort \
    auto-aof-rewrite-percentage busy-reply-threshold client-default-resp cluster-announce-bus-port \
    cluster-announce-port cluster-announce-tls-port cluster-blacklist-ttl cluster-migration-barrier \
    cluster-node-timeout cluster-ping-interval cluster-replica-validity-factor cluster-slave-validity-factor \
    databases events-per-io-thread hash-max-listpack-entries hash-max-ziplist-entries hz io-threads \
    key-load-delay latency-monitor-threshold lfu-decay-time lfu-log-factor list-compress-depth \
    list-max-listpack-size list-max-ziplist-size loading-process-events-interval-bytes lua-time-limit \
    max-new-connections-per-cycle max-new-tls-connections-per-cycle maxclients maxmemory-eviction-tenacity \
    maxmemory-samples min-replicas-max-lag min-replicas-to-write min-slaves-max-lag min-slaves-to-write \
    prefetch-batch-max-size rdb-key-save-delay repl-backlog-ttl repl-diskless-sync-delay \
    repl-diskless-sync-max-replicas repl-ping-replica-period repl-ping-slave-period repl-timeout \
    replica-announce-port replica-priority set-max-intset-entries set-max-listpack-entries \
    set-max-listpack-value shutdown-timeout slave-announce-port slave-priority slowlog-log-slower-than \
    slowlog-max-len socket-mark-id stream-node-max-entries tcp-backlog tcp-keepalive timeout \
    tls-session-cache-size tls-session-cache-timeout tracking-table-max-keys watchdog-period \
    zset-max-listpack-entries zset-max-ziplist-entries";

/// Directives that take an amount of memory.
const SIZES: &str = "\
    active-defrag-ignore-bytes auto-aof-rewrite-min-size client-query-buffer-limit \
    cluster-link-sendbuf-limit hash-max-listpack-value hash-max-ziplist-value hll-sparse-max-bytes maxmemory \
    proto-max-bulk-len repl-backlog-size stream-node-max-bytes zset-max-listpack-value \
    zset-max-ziplist-value";

/// Directives that take one value, whatever it is.
const TEXTS: &str = "\
    acl-pubsub-default aclfile aof-rewrite-cpulist aof_rewrite_cpulist appenddirname appendfilename \
    availability-zone bgsave-cpulist bgsave_cpulist bind-source-addr bio-cpulist bio_cpulist \
    cluster-announce-client-ipv4 cluster-announce-client-ipv6 cluster-announce-hostname \
    cluster-announce-human-nodename cluster-announce-ip cluster-config-file cluster-preferred-endpoint-type \
    dbfilename debug-context dir enable-debug-command enable-module-command enable-protected-configs \
    ignore-warnings locale-collate log-format log-timestamp-format logfile masterauth masteruser \
    maxmemory-clients notify-keyspace-events oom-score-adj pidfile primaryauth primaryuser \
    proc-title-template propagation-error-behavior replica-announce-ip req-res-logfile requirepass \
    sanitize-dump-payload server-cpulist server_cpulist slave-announce-ip syslog-ident tls-ca-cert-dir \
    tls-ca-cert-file tls-cert-file tls-ciphers tls-ciphersuites tls-client-cert-file tls-client-key-file \
    tls-client-key-file-pass tls-dh-params-file tls-key-file tls-key-file-pass tls-protocols unixsocket \
    unixsocketgroup";

/// Directives that take several values.
const MANY: &str = "\
    bind client-output-buffer-limit include latency-tracking-info-percentiles loadmodule \
    oom-score-adj-values rename-command replicaof sentinel shutdown-on-sigint shutdown-on-sigterm \
    slaveof user";

/// Directives of newer servers, of KeyDB, and such as only old servers take: how many values is not judged.
const OTHERS: &str = "\
    active-replica allow-rdb-resize-op allow-sharded-pubsub allow-write-during-load \
    auto-failover-on-shutdown cluster-config-save-behavior cluster-databases cluster-manual-failover-timeout \
    cluster-message-gossip-perc cluster-slot-migration-handoff-max-lag-bytes \
    cluster-slot-migration-log-max-len cluster-slot-migration-max-archived-tasks \
    cluster-slot-migration-sync-buffer-drain-timeout cluster-slot-migration-write-pause-timeout \
    commandlog-execution-slower-than commandlog-large-reply-max-len commandlog-large-request-max-len \
    commandlog-reply-larger-than commandlog-request-larger-than commandlog-slow-execution-max-len \
    db-s3-object delete-on-evict enable-async-commands enable-async-rehash force-backlog-disk-reserve \
    gopher-enabled hash-seed import-mode io-threads-always-active key-memory-histograms \
    lazyexpire-nested-arbitrary-keys list-max-ziplist-entries list-max-ziplist-value lookahead \
    lua-enable-deprecated-api lua-enable-insecure-api lua-replicate-commands maxclients-reserved \
    min-clients-per-thread min-io-threads-avoid-copy-reply min-string-size-avoid-copy-reply module-blacklist \
    mptcp multi-master multi-master-no-forward overload-protect-percent overload-protect-tenacity \
    prefetch-enabled rdb-version-check rdma-bind rdma-completion-vector rdma-port rdma-rx-size repl-mptcp \
    repl-rdb-channel repl-rdb-channel-max-buffer replica-full-sync-buffer-limit replica-weighting-factor \
    scratch-file-path semi-ordered-set-bucket-size server-thread-affinity server-threads slave-announced \
    slot-migration-max-failover-repl-bytes soft-shutdown storage-cache-mode storage-provider testmode \
    thread-load-factor time-thread-priority tls-allowlist tls-auditlog-blocklist tls-auth-clients-user \
    tls-auto-reload-interval use-fork version-override vset-force-single-threaded-execution";

/// Directives with a fixed choice.
const CHOICES: &[(&str, &[&str])] = &[
    ("loglevel", &["debug", "verbose", "notice", "warning", "nothing"]),
    ("appendfsync", &["everysec", "always", "no"]),
    ("supervised", &["upstart", "systemd", "auto", "no"]),
    ("tls-auth-clients", &["no", "yes", "optional"]),
    ("syslog-facility", &["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]),
    ("repl-diskless-load", &["disabled", "on-empty-db", "swapdb", "flush-before-load", "flushdb"]),
    (
        "maxmemory-policy",
        &[
            "volatile-lru",
            "volatile-lfu",
            "volatile-random",
            "volatile-ttl",
            "volatile-lrm",
            "allkeys-lru",
            "allkeys-lfu",
            "allkeys-random",
            "allkeys-lrm",
            "noeviction",
        ],
    ),
];

/// The least that some numbers may be, the same everywhere.
const LEAST: &[(&str, i128)] =
    &[("maxclients", 1), ("databases", 1), ("tcp-backlog", 0), ("timeout", 0), ("tcp-keepalive", 0)];

/// Directives that newer servers have, and since which Redis.
const SINCE: &[(&str, (u32, u32))] = &[
    ("bind-source-addr", (7, 0)),
    ("enable-debug-command", (7, 0)),
    ("enable-module-command", (7, 0)),
    ("enable-protected-configs", (7, 0)),
    ("latency-tracking", (7, 0)),
    ("latency-tracking-info-percentiles", (7, 0)),
    ("shutdown-timeout", (7, 0)),
    ("shutdown-on-sigint", (7, 0)),
    ("shutdown-on-sigterm", (7, 0)),
    ("maxmemory-clients", (7, 0)),
    ("aof-timestamp-enabled", (7, 0)),
    ("appenddirname", (7, 0)),
    ("cluster-announce-hostname", (7, 0)),
    ("busy-reply-threshold", (7, 0)),
    ("locale-collate", (7, 2)),
    ("cluster-announce-human-nodename", (7, 2)),
    ("max-new-connections-per-cycle", (7, 4)),
    ("max-new-tls-connections-per-cycle", (7, 4)),
];

/// Directives that were taken out, and in which Redis.
const GONE: &[(&str, (u32, u32))] = &[("gopher-enabled", (7, 0))];

/// Directives that are read and do nothing since Redis 7.0.
const IDLE: &[&str] = &["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];

/// Ports, the only numbers whose limits are the same everywhere.
const PORTS: &str = "port tls-port cluster-port";

/// Beginnings of names that modules built into Redis 8 bring along.
const MODULES: &[&str] = &["search-", "ts-", "bf-", "cf-", "json-"];

/// What a directive takes.
#[derive(Clone, Copy, Debug)]
enum Takes {
    Switch,
    Number,
    Port,
    Size,
    Text,
    Mode,
    Saves,
    Choice(&'static [&'static str]),
    Anything,
}

/// Every name, to be found at once: a file may have thousands of lines.
static KNOWN: LazyLock<HashMap<&str, Takes>> = LazyLock::new(|| names().collect());

/// Why no server would accept these words of a line; absent when one would. Words are absent when quotes do not close.
pub fn fault(words: Option<&[Vec<u8>]>) -> Option<String> {
    let Some(words) = words else { return Some("Unbalanced quotes in configuration line".to_owned()) };
    let [name, values @ ..] = words else { return None };
    let name = String::from_utf8_lossy(name);
    let name = name.as_ref();
    match KNOWN.get(name).copied() {
        Some(Takes::Choice(choice)) => {
            one(values, |value| is_one_of(value, choice), || format!("argument must be one of: {}", choice.join(", ")))
        }
        Some(Takes::Port) => {
            let problem = || "argument must be between 0 and 65535 inclusive".to_owned();
            one(values, |value| number(value).is_some_and(|port| (0..=65535).contains(&port)), problem)
        }
        Some(Takes::Switch) => {
            one(values, |value| is_one_of(value, &["yes", "no"]), || "argument must be 'yes' or 'no'".to_owned())
        }
        Some(Takes::Number) => whole_number(name, values),
        Some(Takes::Size) => one(values, is_size, || "argument must be a memory value".to_owned()),
        Some(Takes::Mode) => one(values, is_mode, || "argument couldn't be parsed as an octal number".to_owned()),
        Some(Takes::Text) => one(values, |_| true, String::new),
        Some(Takes::Saves) => saves(values),
        Some(Takes::Anything) => None,
        None => (!is_of_module(name)).then(|| "Bad directive or wrong number of arguments".to_owned()),
    }
}

/// Whether some server knows a directive of this name, or it may be a module's.
pub fn is_known(name: &str) -> bool {
    is_of_module(name) || KNOWN.contains_key(name)
}

/// Whether a module may have brought a directive of this name.
fn is_of_module(name: &str) -> bool {
    name.contains('.') || MODULES.iter().any(|prefix| name.starts_with(prefix))
}

/// Every name, and what its directive takes.
fn names() -> impl Iterator<Item = (&'static str, Takes)> {
    let lists = [
        (SWITCHES, Takes::Switch),
        (NUMBERS, Takes::Number),
        (PORTS, Takes::Port),
        (SIZES, Takes::Size),
        (TEXTS, Takes::Text),
        ("unixsocketperm", Takes::Mode),
        ("save", Takes::Saves),
        (MANY, Takes::Anything),
        (OTHERS, Takes::Anything),
    ];
    let lists =
        lists.into_iter().flat_map(|(names, takes)| names.split_ascii_whitespace().map(move |name| (name, takes)));
    lists.chain(CHOICES.iter().map(|(name, choice)| (*name, Takes::Choice(choice))))
}

/// The name that was meant, when one is near enough that nobody would call it a guess.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.replace('_', "-");
    let most = (name.len() / 4).clamp(1, 3);
    let alike = KNOWN.keys().filter(|known| known.len().abs_diff(name.len()) <= most);
    let near = alike.map(|known| (strsim::damerau_levenshtein(known, &name), *known));
    near.min().filter(|(distance, _)| *distance <= most).map(|(_, known)| known)
}

/// Why this Redis does not know a directive that others know: it came later, or was taken out.
pub fn is_of_another_version(name: &str, redis: (u32, u32)) -> Option<String> {
    let version = |(major, minor): (u32, u32)| format!("{major}.{minor}");
    let find = |list: &[(&str, (u32, u32))]| list.iter().find(|(known, _)| *known == name).map(|(_, version)| *version);
    match (find(SINCE), find(GONE)) {
        (Some(since), _) if redis < since => Some(format!("it came with Redis {}", version(since))),
        (_, Some(gone)) if redis >= gone => Some(format!("it was taken out in Redis {}", version(gone))),
        _ => None,
    }
}

/// Whether this Redis reads a directive and does nothing with it.
pub fn is_idle(name: &str, redis: (u32, u32)) -> bool {
    redis >= (7, 0) && IDLE.contains(&name)
}

/// A directive that takes one whole number.
fn whole_number(name: &str, values: &[Vec<u8>]) -> Option<String> {
    let least = LEAST.iter().find(|(known, _)| *known == name).map_or(i128::MIN, |(_, least)| *least);
    let problem = "argument couldn't be parsed into an integer";
    one(values, |value| number(value).is_some(), || problem.to_owned())
        .or_else(|| one(values, |value| number(value) >= Some(least), || format!("argument must be at least {least}")))
}

/// `save SECONDS CHANGES` in pairs, since 7.0 several, or nothing between quotes.
fn saves(values: &[Vec<u8>]) -> Option<String> {
    let is_off = matches!(values, [value] if value.is_empty());
    let are_pairs =
        !values.is_empty() && values.len().is_multiple_of(2) && values.iter().all(|value| number(value).is_some());
    (!is_off && !are_pairs).then(|| "Invalid save parameters".to_owned())
}

/// A directive that takes one value of a certain kind.
fn one(values: &[Vec<u8>], fits: impl Fn(&[u8]) -> bool, problem: impl Fn() -> String) -> Option<String> {
    match values {
        [value] => (!fits(value)).then(problem),
        _ => Some("wrong number of arguments".to_owned()),
    }
}

/// Words that mean something are the same in upper and lower case.
fn is_one_of(value: &[u8], choice: &[&str]) -> bool {
    choice.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
}

/// A whole number, written plainly.
fn number(value: &[u8]) -> Option<i128> {
    std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'))?.parse().ok()
}

/// A file's mode in octal.
fn is_mode(value: &[u8]) -> bool {
    let mode = std::str::from_utf8(value).ok().and_then(|text| u32::from_str_radix(text, 8).ok());
    mode.is_some_and(|mode| mode <= 0o777)
}

/// Digits and a unit: `1k` is 1000, `1kb` is 1024.
fn is_size(value: &[u8]) -> bool {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    is_one_of(&value[digits..], &["", "b", "k", "kb", "m", "mb", "g", "gb"])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::config;
    use super::*;

    /// Why a line is refused.
    fn judged(line: &str) -> Option<String> {
        config::lines(line.as_bytes()).iter().find_map(|line| fault(line.words.as_deref()))
    }

    #[test]
    fn lines_that_every_server_refuses_are_found() {
        let because =
            |line: &str, why: &str| assert!(judged(line).is_some_and(|reason| reason.contains(why)), "{line}");
        because("bogus-directive yes", "Bad directive");
        because("port 6379 # the usual one", "wrong number");
        because("port", "wrong number");
        because("port 65536", "between 0 and 65535");
        because("port +1", "between 0 and 65535");
        because("daemonize maybe", "'yes' or 'no'");
        because("maxmemory 1tb", "memory value");
        because("maxmemory -1", "memory value");
        because("databases many", "integer");
        because("loglevel loud", "one of: debug");
        because("requirepass \"open", "Unbalanced");
        because("maxclients 0", "at least 1");
        because("save 900", "Invalid save parameters");
        because("unixsocketperm 888", "octal");
    }

    #[test]
    fn lines_that_some_server_accepts_are_left_alone() {
        for line in [
            "PORT 0",
            "bind 127.0.0.1 -::1",
            "save 900 1 300 10",
            "save \"\"",
            "MaxMemory 1GB",
            "maxmemory-clients 10%",
            "loglevel NOTICE",
            "user al on >pw ~* +@all",
            "rename-command CONFIG \"\"",
            "include /etc/redis/*.conf",
            "loadmodule /x.so a b",
            "sentinel monitor mymaster 127.0.0.1 6379 2",
            "search-timeout 100",
            "mymodule.option a b c",
            "slaveof no one",
            "server-threads 4",
            "unixsocketperm 700",
            "client-output-buffer-limit normal 0 0 0",
        ] {
            assert_eq!(judged(line), None, "{line}");
        }
    }

    #[test]
    fn what_was_meant_is_guessed_only_when_it_is_near() {
        assert_eq!(nearest("requirepas"), Some("requirepass"));
        assert_eq!(nearest("protected_mode"), Some("protected-mode"));
        assert_eq!(nearest("maxclient"), Some("maxclients"));
        assert_eq!(nearest("bnid"), Some("bind"));
        assert_eq!(nearest("bogus-directive"), None);
    }

    #[test]
    fn every_name_with_a_version_is_a_directive() {
        for (name, _) in SINCE.iter().chain(GONE) {
            assert!(is_known(name), "{name}");
        }
        assert!(
            is_of_another_version("locale-collate", (7, 0)).is_some()
                && is_of_another_version("port", (6, 0)).is_none()
        );
    }

    #[test]
    fn no_directive_is_of_two_kinds() {
        assert_eq!(names().count(), KNOWN.len());
    }

    proptest! {
        #[test]
        fn any_words_can_be_judged(words: Vec<Vec<u8>>) {
            let _ = fault(Some(&words));
        }
    }
}
