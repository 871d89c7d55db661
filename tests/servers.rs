//! What servers say of themselves, as whoever scrapes a running agent gets it: real redis-servers that are well, full, locked,
//! stopped, started again. Needs root.

#[path = "support/scrape.rs"]
mod scraping;
#[expect(dead_code, reason = "no refusal is waited for")]
mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustix::process::{Pid, Signal, kill_process};

use crate::scraping::{Series, scrape};
use crate::support::Agent;

/// What the servers that have a password have for one.
const PASSWORD: &str = "canary-5e0d11";
/// Port of all the servers and agents: each has an address of its own.
const PORT: u16 = 16_479;
/// How long it may take until a change is told: a server is asked every 15 seconds.
const TOLD: Duration = Duration::from_secs(40);

/// A redis-server, ended with the test.
struct Redis(Child);

impl Redis {
    fn start(host: u8, options: &[&str]) -> Self {
        let (ip, port) = (address(host).ip().to_string(), PORT.to_string());
        let mut command = Command::new("redis-server");
        command.args(["--bind", &ip, "--port", &port, "--save", ""]).args(options);
        let mut server = command.stdout(Stdio::piped()).spawn().expect("redis-server is installed");
        let mut log = BufReader::new(server.stdout.take().expect("a pipe"));
        let mut said = String::new();
        while !said.contains("Ready to accept connections") {
            assert_ne!(log.read_line(&mut said).expect("its log is text"), 0, "redis-server ended: {said}");
        }
        // It is read to its end, or the server would wait for room.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self(server)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it lives");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn address(host: u8) -> SocketAddr {
    (Ipv4Addr::new(127, 94, 66, host), PORT).into()
}

/// An agent that asks these servers, with this password, and where it is scraped.
fn agent(host: u8, password: Option<&str>, servers: &[&str], flags: &[&str]) -> (Agent, SocketAddr) {
    let at = address(host);
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
    command.args(["watch", "-o", "json", "--port", &PORT.to_string(), "--metrics", &at.to_string()]).args(flags);
    command.args(servers.iter().flat_map(|server| ["--redis", *server]));
    match password {
        Some(password) => command.env("REDISCLI_AUTH", password),
        None => command.env_remove("REDISCLI_AUTH"),
    };
    (Agent::started(&mut command), at)
}

/// Scrapes until this is so; that scrape.
fn until(at: SocketAddr, what: &str, is_so: impl Fn(&Series) -> bool) -> Series {
    let began = Instant::now();
    loop {
        let series = scrape(at);
        if is_so(&series) {
            return series;
        }
        assert!(began.elapsed() < TOLD, "it never came to this: {what}: {series:#?}");
        // Prometheus does not scrape without a pause either.
        thread::sleep(Duration::from_millis(100));
    }
}

/// A fact of a server.
fn fact(series: &Series, name: &str, server: &str) -> Option<u64> {
    let value = series.get(&format!("redistrace_redis_{name}{{target=\"{server}\"}}"))?;
    // A moment in time has its milliseconds behind a point.
    let whole = value.split('.').next().and_then(|whole| whole.parse().ok());
    Some(whole.unwrap_or_else(|| panic!("{name} of {server} is {value}")))
}

/// How often a server did not answer for this reason.
fn unanswered(series: &Series, reason: &str, server: &str) -> u64 {
    let name = format!("redistrace_redis_unanswered_total{{target=\"{server}\",reason=\"{reason}\"}}");
    series.get(&name).map_or(0, |number| number.parse().expect("a number"))
}

/// A certificate that is its own authority, and its key, for an address.
fn certificate(directory: &tempfile::TempDir, host: u8) -> [String; 2] {
    let mut params = CertificateParams::new(vec![address(host).ip().to_string()]).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    [("own.pem", certificate.pem()), ("own.key", key.serialize_pem())].map(|(name, text)| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("text").to_owned()
    })
}

#[test]
fn each_server_is_told_as_it_is_and_as_it_becomes() {
    let directory = tempfile::tempdir().expect("a directory");
    let [cert, key] = certificate(&directory, 6);
    let socket = directory.path().join("redis.sock").to_str().expect("text").to_owned();
    let names: Vec<String> = (0..8).map(|host| address(host).to_string()).collect();
    let [_, well, full, other, stopped, restarted, by_tls, nobody] = &names[..] else { panic!("eight names") };
    let limits = ["--requirepass", PASSWORD, "--maxclients", "100", "--maxmemory", "64mb", "--unixsocket", &socket];
    // No user needs more to ask than this one has.
    let word = format!(">{PASSWORD}");
    let _well = Redis::start(1, &[&limits[..], &["--user", "watcher", "on", &word, "+info"]].concat());
    let _full = Redis::start(2, &["--maxclients", "2"]);
    let crowd = [(); 2].map(|()| TcpStream::connect(address(2)).expect("there is room"));
    let _other = Redis::start(3, &["--requirepass", "another"]);
    let is_stopped = Redis::start(4, &[]);
    is_stopped.signal(Signal::STOP);
    let old = Redis::start(5, &[]);
    let tls = ["--port", "0", "--tls-port", &PORT.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key];
    let _by_tls = Redis::start(6, &[&tls[..], &["--tls-ca-cert-file", &cert, "--tls-auth-clients", "no"]].concat());
    let (by_tls_url, by_socket) = (format!("rediss://{by_tls}"), format!("unix:{socket}"));
    let as_watcher = format!("redis://watcher@{well}");
    let all = [&as_watcher, full, other, stopped, restarted, &by_tls_url, nobody, &by_socket].map(String::as_str);
    let (agent, at) = agent(100, Some(PASSWORD), &all, &["--cacert", &cert, "--to", "127.94.66.0/29"]);

    let names = [well, full, other, stopped, restarted, by_tls, nobody, &socket];
    let first = until(at, "all were asked", |series| names.iter().all(|name| fact(series, "up", name).is_some()));
    assert_eq!(names.map(|name| fact(&first, "up", name)), [1, 0, 0, 0, 1, 1, 0, 1].map(Some));
    for (reason, server) in [("max-clients", full), ("wrong-password", other), ("silent", stopped), ("refused", nobody)]
    {
        assert_eq!(unanswered(&first, reason, server), 1, "{server}: {first:#?}");
        assert_eq!(fact(&first, "clients", server), None, "what is not known is not there");
    }
    assert_eq!(
        (fact(&first, "clients_limit", well), fact(&first, "memory_limit_bytes", well)),
        (Some(100), Some(64 << 20))
    );
    assert_eq!((fact(&first, "clients", by_tls), fact(&first, "memory_limit_bytes", by_tls)), (Some(1), None));
    assert_eq!(fact(&first, "rejected_connections_total", well), Some(0));
    assert!(fact(&first, "memory_bytes", well).is_some_and(|bytes| bytes > 100_000), "{first:#?}");

    // When it is asked next, it has been up for longer than the next one will be.
    let later = until(at, "it was asked again", |series| fact(series, "uptime_seconds", restarted) >= Some(15));
    drop(old);
    let _new = Redis::start(5, &[]);
    // Nothing was said and nothing accepted: the connection that there is has got no second beside it.
    let silent = until(at, "it was asked again", |series| unanswered(series, "silent", stopped) >= 2);
    let looked = |series: &Series| series["redistrace_listen_queues_read_timestamp_seconds"].parse::<f64>().ok();
    let silent = until(at, "queues were looked at", |series| looked(series) > looked(&silent));
    let is_queue = |name: &str| name.starts_with("redistrace_listen_queue_length") && name.contains(stopped.as_str());
    let queue = silent.iter().find(|(name, _)| is_queue(name));
    assert_eq!(queue.map(|(_, length)| length.as_str()), Some("1"), "{silent:#?}");
    is_stopped.signal(Signal::CONT);
    drop(crowd);
    let names = [full, stopped, restarted];
    let last = until(at, "all are well", |series| {
        let since = |series| fact(series, "asked_timestamp_seconds", restarted);
        names.iter().all(|name| fact(series, "up", name) == Some(1)) && since(series) > since(&later)
    });
    let uptime = |series| fact(series, "uptime_seconds", restarted);
    assert!(uptime(&last) < uptime(&later), "{later:#?} {last:#?}");
    assert!(fact(&last, "rejected_connections_total", full).is_some_and(|number| number >= 1), "ours are among them");

    agent.signal(Signal::TERM);
    let (lines, status) = agent.end();
    assert!(status.success());
    let summary = lines.last().expect("a summary");
    assert_eq!(summary["seen"], 0, "what we ourselves are refused is told: {lines:#?}");
    assert!(!format!("{lines:?}{last:?}").contains(PASSWORD));
}

#[test]
fn without_a_password_a_server_that_wants_one_says_so_and_nobody_is_asked_before_somebody_scrapes() {
    let _locked = Redis::start(11, &["--requirepass", PASSWORD]);
    let open = Redis::start(12, &[]);
    let [locked, free] = [11, 12].map(|host| address(host).to_string());
    let (agent, at) = agent(101, None, &[&locked, &free], &[]);
    let connections = || {
        let output =
            Command::new("redis-cli").args(["-h", "127.94.66.12", "-p", &PORT.to_string(), "INFO", "stats"]).output();
        let text = String::from_utf8(output.expect("redis-cli").stdout).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.and_then(|number| number.trim().parse::<u64>().ok()).expect("a number")
    };
    // Each time redis-cli counts itself.
    let before = connections();
    assert_eq!(connections(), before + 1);
    let series =
        until(at, "both were asked", |series| [&locked, &free].iter().all(|name| fact(series, "up", name).is_some()));
    assert_eq!((fact(&series, "up", &locked), fact(&series, "up", &free)), (Some(0), Some(1)));
    assert_eq!(unanswered(&series, "auth-required", &locked), 1);
    assert_eq!(connections(), before + 3, "one connection was made, however often it was scraped");
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
    drop(open);
}

#[test]
fn a_server_that_cannot_be_asked_as_named_ends_the_agent_before_it_watches() {
    let said = |arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
        let output = program.args(["watch", "--duration", "1ms"]).args(arguments).output().expect("it starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let hidden = format!("redis://:{PASSWORD}@127.0.0.1");
    let (code, words) = said(&["--metrics", "0", "--redis", &hidden]);
    assert!(code == Some(2) && words.contains("it has a password") && !words.contains(PASSWORD), "{words}");
    assert_eq!(said(&["--metrics", "0", "--redis", "http://db"]).0, Some(2));
    assert_eq!(said(&["--redis", "127.0.0.1"]).0, Some(2), "nobody could scrape it");
    let many: Vec<String> = (0..9).flat_map(|port| ["--redis".to_owned(), format!("127.0.0.1:{}", port + 1)]).collect();
    let arguments = [&["--metrics", "0"], &many.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
    let (code, words) = said(&arguments);
    assert!(code == Some(2) && words.contains("8 are asked at most"), "{words}");
    let (code, words) = said(&["--metrics", "0", "--insecure"]);
    assert!(code == Some(2) && words.contains("are for servers that --redis names"), "{words}");
    let (code, words) = said(&["--metrics", "0", "--redis", "rediss://127.0.0.1", "--cacert", "/nowhere"]);
    assert!(code == Some(2) && words.contains("--cacert"), "{words}");
}
