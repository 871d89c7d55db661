//! Rules that packets meet before any address is looked at, and rules that are others a moment later.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use rustix::thread::gettid;
use serde_json::Value;

use crate::stranger::Stranger;
use crate::support::Agent;

#[path = "support/stranger.rs"]
mod stranger;
#[expect(dead_code, reason = "its dials are of this host, and here another host is dialled")]
mod support;

/// The server.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 2);

/// So long a client waits that is not answered.
const PATIENCE: Duration = Duration::from_millis(300);

/// Runs a command here.
fn run(command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    let status = Command::new(words[0]).args(&words[1..]).status();
    assert!(status.unwrap_or_else(|error| panic!("{command}: {error}")).success(), "{command}");
}

/// Gives the namespace that this is called in these rules.
fn nft(rules: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft is installed");
    child.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success(), "nft takes the rules");
}

/// Joins two namespaces by a wire.
fn wire(here: &Stranger, name: &str, there: &Stranger, its: &str) {
    there.inside(|| {
        let thread = gettid().as_raw_nonzero();
        here.inside(|| run(&format!("ip link add {name} type veth peer name {its} netns {thread}")));
    });
}

/// Waits until the kernel has seen that this end of a wire has another: what is sent before that is lost.
fn is_up(netns: &Stranger, name: &str) {
    let show = || Command::new("ip").args(["-brief", "link", "show", name]).output().expect("ip is installed");
    netns.inside(|| while !String::from_utf8_lossy(&show().stdout).contains(" UP ") {});
}

/// Two namespaces joined by a wire: the client and the server.
fn joined() -> (Stranger, Stranger) {
    let (client, server) = (Stranger::new(), Stranger::new());
    wire(&client, "wire", &server, "wire");
    client.inside(|| {
        run("ip addr add 10.80.0.1/24 dev wire");
        run("ip link set wire up");
    });
    server.inside(|| {
        run("ip addr add 10.80.0.2/24 dev wire");
        run("ip link set wire up");
    });
    is_up(&client, "wire");
    is_up(&server, "wire");
    (client, server)
}

/// The errno that a dial of the server ends with; nothing when it is not answered.
fn dialled(client: &Stranger, port: u16) -> Option<i32> {
    let address = SocketAddr::from((SERVER, port));
    client.inside(|| TcpStream::connect_timeout(&address, PATIENCE).err().and_then(|error| error.raw_os_error()))
}

/// What is told of the dial of a port.
fn told(agent: &mut Agent, port: u16) -> Value {
    loop {
        let line = agent.next();
        if line["flow"]["server"]["port"] == port {
            return line;
        }
    }
}

/// Dials a port, and has the rule with that remark named at that hook.
fn named(agent: &mut Agent, client: &Stranger, (port, code, family, hook): (u16, &str, &str, &str)) {
    dialled(client, port);
    let line = told(agent, port);
    let rule = line["firewall"]["rule"].as_str().unwrap_or_default();
    let is = (&line["cause"]["code"], &line["firewall"]["family"], &line["firewall"]["hook"]);
    assert_eq!(is, (&code.into(), &family.into(), &hook.into()), "{line}");
    assert!(rule.contains(&format!("comment \"{port}\"")), "{line}");
}

#[test]
fn rules_of_an_interface_and_of_a_bridge_are_named() {
    let (client, server) = joined();
    server.inside(|| {
        nft("table netdev f {\nchain early {\ntype filter hook ingress device \"wire\" priority 0;\n\
             tcp dport 6521 reject with tcp reset comment \"6521\"\n\
             ip saddr 10.80.0.0/24 tcp dport 6522 reject comment \"6522\"\ntcp dport 6523 drop comment \"6523\"\n}\n}\n");
    });
    let ports = ["6521", "6522", "6523", "6524", "6525", "6526"].map(|port| ["--port", port]).concat();
    let mut agent = Agent::start(&ports);
    named(&mut agent, &client, (6521, "RT3001", "netdev", "ingress"));
    named(&mut agent, &client, (6522, "RT3002", "netdev", "ingress"));
    named(&mut agent, &client, (6523, "RT3003", "netdev", "ingress"));
    // The server moves behind a bridge that is neither its host's nor its client's.
    let (between, far) = (Stranger::new(), Stranger::new());
    wire(&between, "near", &client, "port");
    wire(&between, "away", &far, "port");
    between.inside(|| {
        run("ip link add bridge type bridge");
        run("ip link set near master bridge up");
        run("ip link set away master bridge up");
        run("ip link set bridge up");
        nft("table bridge f {\nchain first {\ntype filter hook prerouting priority 0;\n\
             tcp dport 6526 drop comment \"6526\"\n}\nchain pass {\ntype filter hook forward priority 0;\n\
             iifname \"near\" oifname \"away\" tcp dport 6524 drop comment \"6524\"\n\
             ip saddr 10.80.0.0/24 tcp dport 6525 drop comment \"6525\"\n}\n}\n");
    });
    client.inside(|| {
        run("ip link del wire");
        run("ip addr add 10.80.0.1/24 dev port");
        run("ip link set port up");
    });
    far.inside(|| {
        run("ip addr add 10.80.0.2/24 dev port");
        run("ip link set port up");
    });
    for (end, name) in [(&client, "port"), (&far, "port"), (&between, "near"), (&between, "away"), (&between, "bridge")]
    {
        is_up(end, name);
    }
    named(&mut agent, &client, (6524, "RT3003", "bridge", "forward"));
    named(&mut agent, &client, (6525, "RT3003", "bridge", "forward"));
    named(&mut agent, &client, (6526, "RT3003", "bridge", "prerouting"));
    agent.signal(Signal::INT);
    assert!(agent.end().1.success());
}

#[test]
fn rules_that_are_replaced_meanwhile_are_not_mistaken_for_each_other() {
    const DIALS: u16 = 40;
    let (client, server) = joined();
    let rules = |how: &str| {
        let chain = "type filter hook input priority 0;";
        format!("flush ruleset\ntable inet f {{\nchain in {{\n{chain}\ntcp dport 7000-7999 {how}\n}}\n}}\n")
    };
    let rulesets = [rules("reject with tcp reset comment \"refused\""), rules("drop comment \"dropped\"")];
    server.inside(|| nft(&rulesets[0]));
    let mut agent = Agent::start(&["--port", "7000-7999", "--no-aggregate"]);
    let (is_over, mut got) = (AtomicBool::new(false), Vec::new());
    let times = std::thread::scope(|scope| {
        let replacing = scope.spawn(|| {
            let in_turn = rulesets.iter().cycle().take_while(|_| !is_over.load(Ordering::Relaxed));
            in_turn.map(|rules| server.inside(|| nft(rules))).count()
        });
        // Each dial has a port of its own; whether it was answered tells which rules it met.
        got.extend((7000..7000 + DIALS).map(|port| {
            let was = dialled(&client, port).map_or("dropped", |_| "refused");
            (was, told(&mut agent, port))
        }));
        is_over.store(true, Ordering::Relaxed);
        replacing.join().expect("nft takes turns")
    });
    agent.signal(Signal::INT);
    assert!(agent.end().1.success());
    // Where the rules have changed since, that is said.
    let (unsure, sure): (Vec<_>, Vec<_>) = got.iter().partition(|(_, line)| line["cause"]["confidence"] == "possible");
    for (was, line) in &sure {
        let rule = line["firewall"]["rule"].as_str().expect("a rule");
        assert!(rule.contains(&format!("comment \"{was}\"")), "it was {was}: {line}");
    }
    eprintln!("replaced {times} times: {} are sure, {} possible", sure.len(), unsure.len());
    assert!(times > 1 && !sure.is_empty(), "{unsure:#?}");
}
