//! Queues that are full, and why nobody empties them.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Agent, Needs, Scenario};
use crate::commands::demo::crowd::files_of_host;
use crate::commands::demo::expect::Expected;
use crate::commands::demo::stage::{REDIS, Stage, endpoint, unix_refusal};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("redis-server is stopped and its accept queue is full", Code::RT2001, &[stopped, killed_in_the_end]),
    Scenario::new("redis-server is frozen and its accept queue is full", Code::RT2001, &[frozen, killed_in_the_end]),
    Scenario::new(
        "redis-server sleeps in DEBUG SLEEP and its accept queue is full",
        Code::RT2001,
        &[asleep, killed_in_the_end],
    ),
    Scenario::new(
        "redis-server runs a long script and its accept queue is full",
        Code::RT2001,
        &[busy, killed_in_the_end],
    ),
    Scenario::new(
        "redis-server asks for 511 and net.core.somaxconn allows 128",
        Code::RT2001,
        &[somaxconn, killed_in_the_end],
    ),
    Scenario::new("a program listens and never accepts", Code::RT2001, &[never_accepts, killed_in_the_end]),
    Scenario::new(
        "a server may open no more files and its accept queue is full",
        Code::RT2001,
        &[out_of_files, killed_in_the_end],
    ),
    Scenario::new(
        "no more files may be opened on this host and a server's accept queue is full",
        Code::RT2003,
        &[host_out_of_files, killed_in_the_end],
    )
    .needing(Needs::FewFiles),
    Scenario::new("of two listeners on one port one never accepts", Code::RT2001, &[one_of_two, killed_in_the_end]),
    Scenario::new("a full accept queue resets who acknowledges late", Code::RT2001, &[aborts, killed_in_the_end]),
    Scenario::new("a full accept queue ignores who acknowledges late", Code::RT2001, &[ignores, killed_in_the_end]),
    Scenario {
        agent: Agent::Counting,
        ..Scenario::new("a flood of 5,000 SYNs meets a full SYN queue", Code::RT2002, &[flooded])
    },
    Scenario { code: None, ..Scenario::new("SYN cookies stand in for a full SYN queue", Code::RT2002, &[cookies]) },
    Scenario { code: None, ..Scenario::new("SYN cookies are given to all", Code::RT2002, &[cookies_always]) },
    Scenario {
        agent: Agent::Counting,
        ..Scenario::new("redis-server may open no more files, and then it may", Code::RT2003, &[no_file, each_failure])
    },
    Scenario {
        agent: Agent::Counting,
        ..Scenario::new(
            "redis-server has all the files that its maxclients asked for",
            Code::RT2003,
            &[maxclients, each_failure],
        )
    },
    Scenario::new("redis-server is killed while five wait to be accepted", Code::RT2004, &[killed_with_five]),
    Scenario::new("the unix socket's queue is full", Code::RT2005, &[unix_full]),
    Scenario { code: None, ..Scenario::new("a queue at its limit is emptied in time", Code::RT2001, &[emptied]) },
];

/// What Redis says when it cannot accept for want of a file.
const NO_FILE: &str = "Too many open files";
/// How long a client waits for an answer, milliseconds: less than until it would send its SYN again.
const PATIENCE: u32 = 200;

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, REDIS).into()
}

/// Dials until the queue is full and one more was not answered; what must be told of that one.
fn one_too_many(stage: &mut Stage, server: u32, queue: &Value) -> Result<()> {
    let dialled = stage.client(&format!("dial-until-silence {} {PATIENCE}", loopback()))?;
    ensure!(dialled.len() == 1, "dials until one was not answered ended as {dialled:?}");
    stage.expect(of_queue(stage, server, "timeout", queue));
    stage.waiting = Some((server, queue.clone()));
    Ok(())
}

fn of_queue(stage: &Stage, server: u32, outcome: &str, queue: &Value) -> Expected {
    Expected::refusal(Code::RT2001).with(json!({
        "outcome": outcome,
        "flow": {"protocol": "tcp", "netns": stage.netns(), "server": endpoint(loopback())},
        "server_process": {"pid": server},
        "queue": queue,
    }))
}

/// Who waited is reset when the server ends, which is told too.
pub(super) fn killed_in_the_end(stage: &mut Stage) -> Result<()> {
    let Some((server, mut queue)) = stage.waiting.take() else { return Ok(()) };
    stage.kill(server, Signal::KILL)?;
    // Why nobody emptied it went with the process.
    queue.as_object_mut().context("a queue is an object")?.remove("why");
    stage.expect(reset_in_queue(stage, server, &queue));
    Ok(())
}

fn reset_in_queue(stage: &Stage, server: u32, queue: &Value) -> Expected {
    Expected::refusal(Code::RT2004).says("SIGKILL").with(json!({
        "outcome": "reset", "side": "server", "errno": "ECONNRESET", "count": queue["length"],
        "flow": {"client": null, "netns": stage.netns(), "server": endpoint(loopback())},
        "server_process": {"pid": server},
        "queue": queue,
    }))
}

fn stopped(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1 --tcp-backlog 5")?;
    stage.stop(redis)?;
    let queue = json!({"kind": "accept", "length": 6, "limit": 5, "limited_by": "tcp-backlog", "why": "stopped"});
    one_too_many(stage, redis, &queue)
}

fn frozen(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1 --tcp-backlog 5")?;
    stage.freeze(redis)?;
    let queue = json!({"kind": "accept", "length": 6, "limit": 5, "limited_by": "tcp-backlog", "why": "frozen"});
    one_too_many(stage, redis, &queue)
}

fn asleep(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1 --tcp-backlog 5 --enable-debug-command yes")?;
    stage.occupy(redis, b"DEBUG SLEEP 30\r\n")?;
    let why = "in clock_nanosleep";
    let queue = json!({"kind": "accept", "length": 6, "limit": 5, "limited_by": "tcp-backlog", "why": why});
    one_too_many(stage, redis, &queue)
}

fn busy(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1 --tcp-backlog 5 --lua-time-limit 60000")?;
    stage.occupy(redis, b"EVAL \"while true do end\" 0\r\n")?;
    let queue = json!({"kind": "accept", "length": 6, "limit": 5, "limited_by": "tcp-backlog", "why": "busy"});
    one_too_many(stage, redis, &queue)
}

fn somaxconn(stage: &mut Stage) -> Result<()> {
    stage.sysctl("core/somaxconn", 128)?;
    let redis = stage.redis("--bind 127.0.0.1 --tcp-backlog 511")?;
    stage.stop(redis)?;
    let by = "net.core.somaxconn";
    let queue = json!({"kind": "accept", "length": 129, "limit": 128, "limited_by": by, "why": "stopped"});
    one_too_many(stage, redis, &queue)
}

fn never_accepts(stage: &mut Stage) -> Result<()> {
    let neighbour = stage.actor("listen 127.0.0.1:6380", "listening")?;
    let idle = stage.actor("idle 127.0.0.1:6379 3", "listening")?;
    let queue = json!({"kind": "accept", "length": 4, "limit": 3, "limited_by": "backlog", "why": "not-accepting"});
    one_too_many(stage, idle, &queue)?;
    stage.kill(neighbour, Signal::KILL)
}

fn out_of_files(stage: &mut Stage) -> Result<()> {
    let server = stage.actor("out-of-files 127.0.0.1:6379 3", "listening")?;
    let queue = json!({"kind": "accept", "length": 4, "limit": 3, "limited_by": "backlog", "why": "out-of-files"});
    one_too_many(stage, server, &queue)?;
    let files = json!({"limit": 40, "limited_by": "ulimit -n"});
    stage.expect(no_more_files(stage, server, "EMFILE").with(json!({"files": files})));
    Ok(())
}

fn host_out_of_files(stage: &mut Stage) -> Result<()> {
    let server = stage.actor("out-of-the-host-s-files 127.0.0.1:6379 3", "listening")?;
    stage.actor("hoard-files", "hoarded")?;
    let queue = json!({"kind": "accept", "length": 4, "limit": 3, "limited_by": "backlog", "why": "out-of-files"});
    one_too_many(stage, server, &queue)?;
    let files = json!({"limit": files_of_host()?.0, "limited_by": "fs.file-max"});
    stage.expect(no_more_files(stage, server, "ENFILE").with(json!({"files": files})));
    Ok(())
}

/// So few files a machine has that a scenario may open all of them.
const FEW_FILES: u64 = 8_192;

/// Whether this one has. The limit is the whole host's and not a scenario's to change.
pub(super) fn has_few_files() -> bool {
    files_of_host().is_ok_and(|(most, _)| most <= FEW_FILES)
}

fn no_more_files(stage: &Stage, server: u32, errno: &str) -> Expected {
    Expected::refusal(Code::RT2003).says(errno).with(json!({
        "outcome": "listen_failed", "side": "server", "errno": errno, "cause": {"confidence": "certain"},
        "flow": {"client": null, "netns": stage.netns(), "server": endpoint(loopback())},
        "server_process": {"pid": server}, "client_process": null,
    }))
}

/// Redis tries again at once, and says each time that it could not: the client waits, and is served in the end.
fn no_file(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1")?;
    let (limit, before) = Stage::forbid_files(redis)?;
    stage.served_in_the_end(redis, NO_FILE, |_| Stage::limit_files(redis, before).map(drop))?;
    stage.waiting = Some((redis, json!({"limit": limit, "limited_by": "ulimit -n"})));
    Ok(())
}

/// Each failure that Redis has logged must be told. It lives until the first was: what limits it is in its configuration.
fn each_failure(stage: &mut Stage) -> Result<()> {
    let (redis, files) = stage.waiting.take().context("a Redis had no more files")?;
    let failures = stage.said_in_its_life(redis, NO_FILE)?;
    stage.expect(no_more_files(stage, redis, "EMFILE").with(json!({"count": failures, "files": files})));
    Ok(())
}

/// Redis asks for what its clients need and 32 files more; 28 are taken before it opens its own.
fn maxclients(stage: &mut Stage) -> Result<()> {
    let redis = stage.unharmed_redis("files 40 28", "--bind 127.0.0.1 --maxclients 10")?;
    let clients = stage.actor("fill 127.0.0.1:6379 10", "filled")?;
    stage.process(redis)?.wait_for(NO_FILE)?;
    stage.kill(clients, Signal::KILL)?;
    // Its connections come before this one in the queue.
    stage.run("redis-cli ping")?;
    stage.waiting = Some((redis, json!({"limit": 42, "limited_by": "maxclients 10 + 32"})));
    Ok(())
}

fn one_of_two(stage: &mut Stage) -> Result<()> {
    stage.actor("listen-too 127.0.0.1:6379", "listening")?;
    let idle = stage.actor("idle-too 127.0.0.1:6379 1", "listening")?;
    let queue = json!({"kind": "accept", "length": 2, "limit": 1, "limited_by": "backlog", "why": "not-accepting"});
    one_too_many(stage, idle, &queue)
}

/// One has begun when there was room for one more, and acknowledges when that room is taken.
fn aborts(stage: &mut Stage) -> Result<()> {
    stage.sysctl("ipv4/tcp_abort_on_overflow", 1)?;
    let idle = stage.actor("idle 127.0.0.1:6379 5", "listening")?;
    let client = stage.actor("acknowledge-late 127.0.0.1:6379 5", "reset")?;
    let queue = json!({"kind": "accept", "length": 6, "limit": 5, "limited_by": "backlog", "why": "not-accepting"});
    let expected = of_queue(stage, idle, "reset", &queue);
    stage.expect(expected.with(json!({"errno": "ECONNRESET", "cause": {"confidence": "certain"}})));
    stage.waiting = Some((idle, queue));
    stage.kill(client, Signal::KILL)
}

/// The same client, which believes that it is connected and is not; it is not asked again, or each answer would count.
fn ignores(stage: &mut Stage) -> Result<()> {
    stage.sysctl("ipv4/tcp_synack_retries", 0)?;
    let idle = stage.actor("idle 127.0.0.1:6379 5", "listening")?;
    stage.actor("acknowledge-late 127.0.0.1:6379 5", "connected")?;
    stage.counts("ListenOverflows")?;
    let queue = json!({"kind": "accept", "length": 6, "limit": 5, "limited_by": "backlog", "why": "not-accepting"});
    stage.expect(of_queue(stage, idle, "timeout", &queue));
    stage.waiting = Some((idle, queue));
    Ok(())
}

fn killed_with_five(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1")?;
    stage.stop(redis)?;
    stage.actor("fill 127.0.0.1:6379 5", "filled")?;
    stage.kill(redis, Signal::KILL)?;
    let queue = json!({"kind": "accept", "length": 5, "limit": 511, "limited_by": "tcp-backlog"});
    stage.expect(reset_in_queue(stage, redis, &queue));
    Ok(())
}

fn unix_full(stage: &mut Stage) -> Result<()> {
    let path = stage.path("redis.sock");
    let redis = stage.redis(&format!("--port 0 --tcp-backlog 2 --unixsocket {path}"))?;
    stage.stop(redis)?;
    let dialled = stage.client(&format!("dial-unix-until-refused {path}"))?.remove(0);
    let queue = json!({"kind": "unix", "length": 3, "limit": 2, "limited_by": "tcp-backlog", "why": "stopped"});
    let expected = unix_refusal(Code::RT2005, &dialled, &path, "denied");
    let more = json!({"errno": "EAGAIN", "cause": {"confidence": "certain"}, "server_process": {"pid": redis}, "queue": queue});
    stage.expect(expected.with(more));
    Ok(())
}

fn emptied(stage: &mut Stage) -> Result<()> {
    let door = stage.path("door");
    let redis = stage.redis(&format!("--bind 127.0.0.1 --tcp-backlog 5 --unixsocket {door}"))?;
    stage.stop(redis)?;
    stage.actor("fill 127.0.0.1:6379 6", "filled")?;
    stage.go_on(redis)?;
    // It takes whoever waits at any of its doors before it answers one of them: then the queue is empty.
    stage.run(&format!("redis-cli -s {door} ping"))?;
    stage.run("redis-cli ping")
}

/// SYNs of a flood.
const FLOOD: u64 = 5_000;

/// Floods a listener that takes 16 of them and one more; its process.
fn flood(stage: &mut Stage, cookies: u32) -> Result<u32> {
    let other = stage.other_netns("10.77.0.2/24")?;
    let mac = other.mac()?;
    stage.know_neighbour("10.77.0.99", &mac)?;
    stage.sysctl("ipv4/tcp_syncookies", cookies)?;
    let idle = stage.actor("idle 10.77.0.1:6379 16", "listening")?;
    let flood = stage.actor_elsewhere(&format!("flood 10.77.0.99 10.77.0.1:6379 {FLOOD}"), "done")?;
    stage.process(flood)?.finish()?;
    Ok(idle)
}

fn flooded(stage: &mut Stage) -> Result<()> {
    let idle = flood(stage, 0)?;
    let server: SocketAddr = (Ipv4Addr::new(10, 77, 0, 1), REDIS).into();
    // Kernels of some series take no more than the limit itself.
    let fit = stage.half_open()?;
    ensure!(fit == 16 || fit == 17, "a SYN queue with limit 16 has taken {fit}");
    // A flood that takes seconds sees the first of them give up, and others take their places.
    let turned_away = stage.counter("TCPReqQFullDrop")?;
    ensure!((FLOOD / 2..=FLOOD - fit).contains(&turned_away), "{turned_away} of {FLOOD} SYNs were turned away");
    stage.expect(Expected::refusal(Code::RT2002).with(json!({
        "outcome": "timeout", "side": "server", "count": turned_away,
        "flow": {"protocol": "tcp", "netns": stage.netns(), "server": endpoint(server)},
        "server_process": {"pid": idle},
        "queue": {"kind": "syn", "length": fit, "limit": 16, "limited_by": "backlog"},
    })));
    Ok(())
}

fn cookies(stage: &mut Stage) -> Result<()> {
    flood(stage, 1).map(drop)
}

fn cookies_always(stage: &mut Stage) -> Result<()> {
    flood(stage, 2).map(drop)
}
