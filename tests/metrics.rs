//! What a running agent serves to whoever scrapes it, and to whom it does not. Each listens at a loopback address of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket, socket_with};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::scraping::{Series, answer, scrape, scrape_in_time};
use crate::support::{Agent, refused};

#[path = "support/scrape.rs"]
mod scraping;
mod support;

/// Port of all the agents: each has its own address.
const PORT: u16 = 9464;

/// How long a scrape may take; a program without optimization, on a machine with other work, is given more.
const TO_SCRAPE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 50 } else { 10 });

/// How long all of a flood may take to be counted.
const TO_COUNT: Duration = Duration::from_mins(1);

/// An agent that serves at this address, and the address.
fn agent(host: u8, arguments: &[&str]) -> (Agent, SocketAddr) {
    let address = SocketAddr::from((Ipv4Addr::new(127, 94, 64, host), PORT));
    (Agent::start(&[&["--metrics", &address.to_string()], arguments].concat()), address)
}

/// The sum of the series whose names begin so and have these words, which are whole numbers.
fn sum(series: &Series, name: &str, words: &str) -> u64 {
    let ours = series.iter().filter(|(key, _)| key.starts_with(name) && key.contains(words));
    ours.map(|(key, value)| value.parse::<u64>().unwrap_or_else(|_| panic!("{key} is {value}"))).sum()
}

#[test]
fn two_scrapes_agree_with_the_refusals_and_with_the_summary() {
    let full = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&full, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    listen(&full, 5).expect("it listens");
    let place: SocketAddr = getsockname(&full).expect("a name").try_into().expect("an address");
    let waiting: Vec<TcpStream> = (0..6).map(|_| TcpStream::connect(place).expect("there is room")).collect();
    let (mut agent, address) = agent(1, &["--no-aggregate", "--port", "11"]);
    (0..3).for_each(|_| drop(agent.refusal_of(refused(11))));
    let first = scrape(address);
    let ours = "server=\"127.0.0.1:11\"";
    assert_eq!(
        sum(&first, "redistrace_refusals_total{cause=\"RT1001\",name=\"no-listener\",outcome=\"refused\"", ours),
        3
    );
    (0..2).for_each(|_| drop(agent.refusal_of(refused(11))));
    let second = scrape(address);
    assert_eq!(sum(&second, "redistrace_refusals_total", ours), 5);
    for (name, expected) in [("length", 6), ("limit", 5)] {
        let name = format!("redistrace_listen_queue_{name}{{listener=\"{place}\"");
        assert_eq!(sum(&second, &name, "process=\"metrics-"), expected, "{name}");
    }
    assert!(sum(&second, "redistrace_probe_up", "") > 5);
    assert_eq!(sum(&second, "redistrace_refusals_lost_total", ""), 0);
    assert!(sum(&second, "process_resident_memory_bytes", "") > 1_000_000);
    agent.signal(Signal::TERM);
    let (lines, status) = agent.end();
    assert!(status.success());
    let summary = lines.last().expect("a summary");
    for (cause, number) in summary["by_cause"].as_object().expect("causes") {
        let name = format!("redistrace_refusals_total{{cause=\"{cause}\"");
        assert_eq!(Some(sum(&second, &name, "")), number.as_u64(), "{cause}");
    }
    assert_eq!(Some(sum(&second, "redistrace_refusals_total", "")), summary["seen"].as_u64());
    drop(waiting);
}

#[test]
fn nothing_but_get_and_head_of_metrics_is_answered() {
    let (agent, address) = agent(2, &["--port", "12"]);
    let status = |request: &str| answer(address, request).lines().next().unwrap_or_default().to_owned();
    let head = answer(address, "HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("application/openmetrics-text") && !head.contains("Content-Length: 0\r"), "{head}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"] {
        let said = status(&format!("{method} /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"));
        assert_eq!(said, "HTTP/1.1 405 Method Not Allowed");
    }
    for path in ["/", "/metrics/", "/metrics?x", "/../etc/passwd", "/debug/pprof", "//metrics"] {
        assert_eq!(status(&format!("GET {path} HTTP/1.1\r\n\r\n")), "HTTP/1.1 404 Not Found", "{path}");
    }
    let endless = format!("GET /metrics{} HTTP/1.1", "a".repeat(10_000));
    for request in ["\r\n\r\n", "GET\r\n\r\n", "GET /metrics HTTP/2\r\n\r\n", "\0\0\0\0\r\n\r\n", &endless] {
        assert_eq!(status(request), "HTTP/1.1 400 Bad Request", "{request:?}");
    }
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
}

#[test]
fn who_is_slow_is_cut_off_and_keeps_nobody_out_for_long() {
    let (agent, address) = agent(3, &["--port", "13"]);
    let slow = |request: &str| {
        let mut client = TcpStream::connect(address).expect("it listens");
        client.write_all(request.as_bytes()).expect("sent");
        client
    };
    let began = Instant::now();
    // As many as are served at once, and one more; the last has its answer and does not go.
    let clients =
        ["", "GET", "GET /metrics HTTP/1.1\r\n", "GET /metrics HTTP/1.1\r\nHost: a", "HEAD /metrics HTTP/1.1\r\n\r\n"]
            .map(slow);
    assert!(!scrape(address).is_empty());
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    for (mut client, has_answer) in clients.into_iter().zip([false, false, false, false, true]) {
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("it is closed");
        assert_eq!(answer.starts_with("HTTP/1.1 200 OK"), has_answer, "{answer}");
    }
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
}

#[test]
fn ten_thousand_connections_keep_others_from_scraping_and_from_nothing_else() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }).expect("up to the maximum");
    let (mut agent, address) = agent(5, &["--port", "15"]);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", agent.child.id())).expect("it lives").count();
    let before = descriptors();
    let clients: Vec<OwnedFd> = (0..10_000)
        .map(|_| {
            let client =
                socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).expect("a socket");
            assert!(matches!(connect(&client, &address), Ok(()) | Err(Errno::INPROGRESS)));
            client
        })
        .collect();
    assert!(descriptors() <= before + 6, "as few are served at once as ever");
    let told = agent.refusal_of(refused(15));
    assert_eq!(told["cause"]["code"], "RT1001");
    drop(clients);
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
}

#[test]
fn a_thousand_listeners_and_ten_thousand_clients_are_scraped_in_ten_milliseconds() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }).expect("up to the maximum");
    let listeners: Vec<TcpListener> =
        (0..1_000).map(|_| TcpListener::bind((Ipv4Addr::new(127, 94, 64, 100), 0)).expect("a listener")).collect();
    let (agent, address) = agent(4, &["--port", "14", "--port", "20000-20699"]);
    for number in 0..10_000_u16 {
        let [high, low] = (number / 4).to_be_bytes();
        let client = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&client, &SocketAddr::from((Ipv4Addr::new(127, 95 + (number % 4) as u8, high, low), 0)))
            .expect("an address");
        let server = SocketAddr::from((Ipv4Addr::new(127, 94, 64, 101), 20_000 + number % 700));
        connect(&client, &server).expect_err("nobody listens there");
    }
    let mut series = Series::new();
    // Of a flood as wide as this not every kind is looked into.
    let seen = |series: &Series| {
        let families = ["refusals", "refusals_unattributed", "refusals_unfiltered"];
        families.iter().map(|family| sum(series, &format!("redistrace_{family}_total"), "")).sum::<u64>()
    };
    let began = Instant::now();
    while seen(&series) < 10_000 {
        assert!(began.elapsed() < TO_COUNT, "{} are counted of 10,000", seen(&series));
        series = scrape_in_time(address).unwrap_or(series);
    }
    let scraped = || {
        let began = Instant::now();
        series = scrape(address);
        began.elapsed()
    };
    let mut times: Vec<Duration> = std::iter::repeat_with(scraped).take(101).collect();
    times.sort_unstable();
    // Half of them take less, and most of the other half hardly more.
    let (median, ninetieth) = (times[50], times[90]);
    println!("a scrape takes {median:?}, nine of ten at most {ninetieth:?}");
    assert!(median <= TO_SCRAPE, "it took {median:?}, nine of ten at most {ninetieth:?}");
    assert!((400..=2_000).contains(&series.len()), "{} series", series.len());
    assert!(sum(&series, "redistrace_listeners", "") >= 1_000);
    drop(listeners);
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
}

#[test]
fn other_hosts_are_served_only_where_that_was_asked_for() {
    let said = |arguments: &[&str]| {
        let program = Command::new(env!("CARGO_BIN_EXE_redis-trace"))
            .args(["watch", "--duration", "1ms"])
            .args(arguments)
            .output();
        let output = program.expect("it starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    for address in ["0.0.0.0:9465", "[::]:9465", "192.0.2.1:9465"] {
        let (code, words) = said(&["--metrics", address]);
        assert_eq!(code, Some(2), "{words}");
        assert!(words.contains("--metrics-public") && words.contains("127.0.0.1:9465"), "{words}");
    }
    let (code, words) = said(&["--metrics", "0.0.0.0:0", "--metrics-public"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("warning: whoever can dial 0.0.0.0:0 can read the metrics"), "{words}");
    let (code, words) = said(&["--metrics", "0"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("metrics at http://127.0.0.1:"), "{words}");
    assert_eq!(said(&["--metrics", "here"]).0, Some(2));
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let (code, words) = said(&["--metrics", &taken.local_addr().expect("a name").to_string()]);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("Address already in use"), "{words}");
}
