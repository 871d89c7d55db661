//! Who is let in: every combination of bind, protected mode, password and ACL is asked of a real redis-server from a dozen
//! addresses, and the answer is the one that `audit` reads from the file. Needs root.

#[path = "support/redis.rs"]
mod redis;
#[path = "support/stranger.rs"]
mod stranger;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use redis_trace::redis::audit::access::{Answer, admitted, answer};
use redis_trace::redis::audit::effective::{Effective, Kind};
use redis_trace::redis::audit::server::Server;
use redis_trace::redis::config::{Directive, acl_lines, lines};
use redis_trace::trace::text::Text;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use stranger::Stranger;

const PORT: u16 = 6379;
/// How long anything may take that is not to fail.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `ip` there.
fn ip(netns: &Stranger, arguments: &str) {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let done = netns.inside(|| Command::new("ip").args(arguments).status());
    assert!(done.expect("ip").success());
}

/// The server's namespace and the clients', joined by a wire.
fn stage() -> (Stranger, Stranger) {
    let (server, clients) = (Stranger::new(), Stranger::new());
    ip(&server, &format!("link add wire type veth peer name wire netns {}", clients.id()));
    for (netns, host) in [(&server, 1), (&clients, 2)] {
        ip(netns, &format!("address add 10.77.0.{host}/24 dev wire"));
        ip(netns, &format!("address add fd77::{host}/64 dev wire nodad"));
        ip(netns, "link set wire up");
    }
    ip(&clients, "address add 10.77.0.3/24 dev wire");
    (server, clients)
}

/// From where, to where, and whether that is another host.
const DIALS: [(&str, &str, bool); 12] = [
    ("127.0.0.1", "127.0.0.1", false),
    ("127.0.0.2", "127.0.0.1", false),
    ("127.0.0.1", "127.0.0.2", false),
    ("10.77.0.1", "127.0.0.1", false),
    ("::1", "::1", false),
    ("fd77::1", "::1", false),
    ("10.77.0.1", "10.77.0.1", false),
    ("127.0.0.1", "10.77.0.1", false),
    ("fd77::1", "fd77::1", false),
    ("10.77.0.2", "10.77.0.1", true),
    ("10.77.0.3", "10.77.0.1", true),
    ("fd77::2", "fd77::1", true),
];

/// Values of bind; nothing for no such line.
const BINDS: [Option<&str>; 11] = [
    None,
    Some("127.0.0.1"),
    Some("127.0.0.1 -::1"),
    Some("10.77.0.1"),
    Some("10.77.0.1 127.0.0.1"),
    Some("0.0.0.0"),
    Some("* -::*"),
    Some("::"),
    Some("-::1"),
    Some("fd77::1 10.77.0.1"),
    Some("127.0.0.2 -10.99.99.99"),
];

/// What decides on the default user: lines of the configuration, and the commands that do the same.
const USERS: [(&str, &[&str]); 9] = [
    ("", &["ACL SETUSER default reset on nopass ~* &* +@all"]),
    ("requirepass secret-of-the-test", &["CONFIG SET requirepass \"\"", "CONFIG SET requirepass secret-of-the-test"]),
    ("user default on nopass ~* &* +@all\nrequirepass x", &["ACL SETUSER default reset on nopass ~* &* +@all"]),
    ("user default on >secret-of-the-test ~* +@all", &["ACL SETUSER default reset on >secret-of-the-test ~* +@all"]),
    ("user default off", &["ACL SETUSER default reset off"]),
    ("user default off nopass ~* +@all", &["ACL SETUSER default reset off nopass ~* +@all"]),
    ("user default on", &["ACL SETUSER default reset on"]),
    ("user default on nopass", &["ACL SETUSER default reset on nopass"]),
    (
        "user alice on >secret-of-the-test ~* +@all",
        &["ACL SETUSER default reset on nopass ~* &* +@all", "ACL SETUSER alice reset on >secret-of-the-test ~* +@all"],
    ),
];

/// A configuration of the product of all these.
fn text(bind: Option<&str>, protected: bool, users: &str) -> String {
    let bind = bind.map_or_else(String::new, |bind| format!("bind {bind}\n"));
    format!("{bind}protected-mode {}\n{users}\n", if protected { "yes" } else { "no" })
}

/// What a client that dials is answered.
fn asked(from: &str, to: &str) -> Answer {
    let [from, to] = [from, to].map(|text| text.parse::<IpAddr>().expect("an address"));
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let dialled: OwnedFd = socket(family, SocketType::STREAM, None).expect("a socket");
    bind(&dialled, &SocketAddr::new(from, 0)).expect("the client's address");
    match connect(&dialled, &SocketAddr::new(to, PORT)) {
        Ok(()) => heard(TcpStream::from(dialled)),
        Err(rustix::io::Errno::CONNREFUSED) => Answer::NotListening,
        Err(error) => panic!("{from} to {to}: {error}"),
    }
}

/// What is answered to a PING.
fn heard(mut stream: impl std::io::Read + std::io::Write) -> Answer {
    // A server that turns away may have closed already.
    let _ = stream.write_all(b"PING\r\n");
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).expect("an answer");
    match &answer[..length] {
        [b'+', b'P', b'O', b'N', b'G', ..] => Answer::Open,
        [b'-', b'D', b'E', b'N', b'I', b'E', b'D', ..] => Answer::Denied,
        [b'-', b'N', b'O', b'A', b'U', b'T', b'H', ..] => Answer::Password,
        [b'-', b'N', b'O', b'P', b'E', b'R', b'M', ..] => Answer::Powerless,
        other => panic!("the server says {:?}", String::from_utf8_lossy(other)),
    }
}

/// A real server in a namespace, and a connection of its administrator.
struct Redis {
    _server: redis::Redis,
    admin: BufReader<UnixStream>,
}

impl Redis {
    fn start(netns: &Stranger, home: &Path, configuration: &str) -> Self {
        let (file, path) = (home.join("redis.conf"), home.join("redis.sock"));
        let _ = std::fs::remove_file(&path);
        let own = format!("{configuration}\nsave \"\"\ndir {}\nunixsocket {}\n", home.display(), path.display());
        std::fs::write(&file, own).expect("a file");
        let file = file.to_str().expect("text");
        let server = netns.inside(|| redis::Redis::start(&[file]));
        let admin = UnixStream::connect(&path).expect("it listens there too");
        admin.set_read_timeout(Some(PATIENCE)).expect("a limit");
        Self { _server: server, admin: BufReader::new(admin) }
    }

    fn told(&mut self, command: &str) {
        self.admin.get_mut().write_all(format!("{command}\r\n").as_bytes()).expect("it listens");
        let mut line = String::new();
        self.admin.read_line(&mut line).expect("it answers");
        assert_eq!(line, "+OK\r\n", "{command}");
    }
}

/// The server of this host, as the audit names it.
fn version() -> Server {
    let output = Command::new("redis-server").arg("--version").output().expect("redis-server");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v=")).expect("a version");
    version.parse().expect("a version")
}

/// What the audit says of each dial and of the unix socket.
fn judged(text: &str, acl: Option<&str>) -> Vec<Answer> {
    let name = Text::from("redis.conf");
    let directives: Vec<Directive> =
        lines(text.as_bytes()).into_iter().map(|line| Directive::of_line(&name, line)).collect();
    let acl: Option<Vec<Directive>> =
        acl.map(|acl| acl_lines(acl.as_bytes()).into_iter().map(|line| Directive::of_line(&name, line)).collect());
    let effective = Effective::new(&directives, acl.as_deref(), Kind::Data, version());
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let dials = DIALS.iter().map(|(from, to, _)| answer(&effective, address(from), address(to)));
    dials.chain([admitted(&effective, None)]).collect()
}

/// What the server says to each.
fn answered(netns: &(Stranger, Stranger), home: &Path) -> Vec<Answer> {
    let of = |elsewhere: bool| {
        move || {
            let dials = DIALS.iter().filter(move |(_, _, is_elsewhere)| *is_elsewhere == elsewhere);
            dials.map(|(from, to, _)| asked(from, to)).collect::<Vec<_>>()
        }
    };
    let mut answers = netns.0.inside(of(false));
    answers.extend(netns.1.inside(of(true)));
    answers.push(heard(UnixStream::connect(home.join("redis.sock")).expect("its unix socket")));
    answers
}

/// Where the two differ, in words.
fn differences(configuration: &str, judged: &[Answer], answered: &[Answer]) -> Vec<String> {
    let names = DIALS.iter().map(|(from, to, _)| format!("{from} to {to}")).chain(["the unix socket".to_owned()]);
    let both = names.zip(judged.iter().zip(answered)).filter(|(_, (judged, answered))| judged != answered);
    both.map(|(dial, (judged, answered))| {
        format!("{dial}: audit says {judged:?}, the server {answered:?}, by\n{configuration}")
    })
    .collect()
}

#[test]
fn every_combination_is_answered_as_the_audit_says() {
    let (netns, home) = (stage(), tempfile::tempdir().expect("a directory"));
    let mut redis = Redis::start(&netns.0, home.path(), "user tester on >secret-of-the-tester ~* &* +@all");
    redis.told("AUTH tester secret-of-the-tester");
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for bound in BINDS {
        redis.told(&format!("CONFIG SET bind \"{}\"", bound.unwrap_or("* -::*")));
        for (users, commands) in USERS {
            for command in commands {
                redis.told(command);
            }
            for protected in [true, false] {
                redis.told(&format!("CONFIG SET protected-mode {}", if protected { "yes" } else { "no" }));
                let configuration = text(bound, protected, users);
                let answers = answered(&netns, home.path());
                asked += answers.len();
                wrong.extend(differences(&configuration, &judged(&configuration, None), &answers));
            }
        }
    }
    assert!(asked >= 2_000, "only {asked} combinations");
    assert!(wrong.is_empty(), "{} of {asked} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_file_that_is_read_at_the_start_comes_to_the_same() {
    let (netns, home) = (stage(), tempfile::tempdir().expect("a directory"));
    let mut wrong = Vec::new();
    let some = BINDS.into_iter().enumerate().flat_map(|(nth, bound)| {
        USERS
            .iter()
            .enumerate()
            .filter(move |(other, _)| (nth + other) % 4 == 0)
            .map(move |(_, (users, _))| (bound, *users))
    });
    for (bound, users) in some {
        let configuration = text(bound, true, users);
        let _redis = Redis::start(&netns.0, home.path(), &configuration);
        wrong.extend(differences(&configuration, &judged(&configuration, None), &answered(&netns, home.path())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_acl_file_decides_whatever_the_configuration_says() {
    let (netns, home) = (stage(), tempfile::tempdir().expect("a directory"));
    let path = home.path().join("users.acl");
    for users in [
        "user alice on >secret-of-the-test ~* +@all\n",
        "user default on nopass ~* +@all\n",
        "user default on >secret-of-the-test ~* +@all\n",
        "user default off\nuser alice on nopass ~* +@all\n",
    ] {
        for password in ["", "requirepass secret-of-the-test\n"] {
            std::fs::write(&path, users).expect("a file");
            let configuration = format!("bind * -::*\n{password}aclfile {}\n", path.display());
            let _redis = Redis::start(&netns.0, home.path(), &configuration);
            let wrong = differences(
                &format!("{configuration}{users}"),
                &judged(&configuration, Some(users)),
                &answered(&netns, home.path()),
            );
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    }
}
