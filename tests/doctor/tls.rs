//! TLS: real redis-servers with certificates of every kind, and what is said of each.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::support::{PORT, Ran, Server, command, ran};

/// An authority, and the files that it made.
struct Authority {
    home: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Test Authority");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(home.path().join("ca.pem"), certificate.pem()).expect("a file");
        Self { home, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().expect("text").to_owned()
    }

    /// A certificate for these names, and its key, in `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str, hosts: &[&str], ends: (i32, u8, u8)) {
        let mut params =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).expect("names");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(ends.0, ends.1, ends.2);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("a file");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("a file");
    }

    /// A server with a certificate of this authority.
    fn server(&self, hosts: &[&str], ends: (i32, u8, u8), options: &[&str]) -> Server {
        self.sign("server", hosts, ends);
        let (cert, key, ca) = (self.path("server.pem"), self.path("server.key"), self.path("ca.pem"));
        let port = PORT.to_string();
        let tls = ["--port", "0", "--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key];
        let trusts = ["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"];
        Server::start(&[&tls[..], &trusts[..], options].concat())
    }

    /// `doctor` with flags, trusting this authority.
    fn doctor(&self, server: &Server, flags: &[&str]) -> Ran {
        let ca = self.path("ca.pem");
        by_tls(server, &[&["--cacert", &ca], flags].concat())
    }
}

fn by_tls(server: &Server, flags: &[&str]) -> Ran {
    let mut command = command(&format!("rediss://{}", server.target()));
    command.args(flags);
    ran(command)
}

/// A day that tests will not see.
const LONG: (i32, u8, u8) = (2999, 1, 1);
/// Every server's address begins with these; a certificate is for all that a test could be given.
fn any_address() -> Vec<String> {
    (1..100).map(|last| format!("127.84.0.{last}")).collect()
}

fn for_any_address(authority: &Authority, ends: (i32, u8, u8), options: &[&str]) -> Server {
    let hosts = any_address();
    authority.server(&hosts.iter().map(String::as_str).collect::<Vec<_>>(), ends, options)
}

#[test]
fn a_trusted_server_is_talked_to_by_tls() {
    let authority = Authority::new();
    let server = for_any_address(&authority, LONG, &[]);
    let ran = authority.doctor(&server, &[]);
    assert_eq!((ran.code, ran.verdict().1), (Some(0), "nothing-wrong"), "{}", ran.out);
    let (state, text) = ran.step("tls");
    assert!(state == "good" && text.starts_with("TLSv1.3 with TLS13_AES"), "{text}");
    let (state, text) = ran.step("cert");
    assert!(state == "good" && text.contains("CN=server for 127.84.0.1, 127.84.0.2"), "{text}");
    assert!(text.contains("signed by CN=Test Authority, valid until 2999-01-01"), "{text}");
    assert_eq!(ran.step("trust").0, "good");
    assert_eq!(ran.step("identity"), ("good", "it does not ask for a client certificate"));
    assert_eq!((ran.step("reply").0, ran.step("listener").0), ("good", "good"));
}

#[test]
fn who_is_not_trusted_is_told_nothing_unless_that_is_wanted() {
    let authority = Authority::new();
    let server = for_any_address(&authority, LONG, &["--requirepass", "correct-horse"]);
    let stranger = by_tls(&server, &[]);
    assert_eq!((stranger.code, stranger.verdict()), (Some(1), ("RT5003", "tls-handshake-failed")), "{}", stranger.out);
    let verdict = &stranger.found["verdict"];
    assert_eq!(verdict["confidence"], "likely", "another client may trust it");
    assert!(verdict["summary"].as_str().is_some_and(|text| text.contains("CN=Test Authority did")), "{verdict}");
    assert_eq!(stranger.step("reply").0, "skipped");
    let mut command = command(&format!("rediss://{}", server.target()));
    command.arg("--insecure").env("REDISCLI_AUTH", "correct-horse");
    let insecure = ran(command);
    assert_eq!((insecure.code, insecure.verdict().1), (Some(0), "nothing-wrong"), "{}", insecure.out);
    assert_eq!((insecure.step("trust").0, insecure.step("auth").0), ("warn", "good"));
}

#[test]
fn a_certificate_that_ended_or_soon_will_is_told_with_its_day() {
    let authority = Authority::new();
    let server = for_any_address(&authority, (2021, 2, 3), &[]);
    let ended = authority.doctor(&server, &[]);
    assert_eq!((ended.code, ended.verdict().0), (Some(1), "RT5003"), "{}", ended.out);
    assert_eq!(ended.found["verdict"]["summary"], "the server's certificate ended on 2021-02-03");
    assert_eq!(ended.found["verdict"]["confidence"], "certain");
    drop(server);
    let soon = TimeZone::UTC.to_datetime(Timestamp::now()).checked_add(4.days()).expect("a day").date();
    let day = |number: i8| u8::try_from(number).expect("positive");
    let server = for_any_address(&authority, (soon.year().into(), day(soon.month()), day(soon.day())), &[]);
    let ends = authority.doctor(&server, &[]);
    assert_eq!(ends.code, Some(0), "{}", ends.out);
    let (state, text) = ends.step("cert");
    assert!(state == "warn" && text.ends_with("it ends in 3 days"), "{text}");
}

#[test]
fn a_certificate_for_another_name_is_told_with_its_names() {
    let authority = Authority::new();
    let server = authority.server(&["cache.example"], LONG, &[]);
    let other = authority.doctor(&server, &[]);
    assert_eq!((other.code, other.verdict().0), (Some(1), "RT5003"), "{}", other.out);
    let summary = other.found["verdict"]["summary"].as_str().expect("a summary");
    assert!(summary.contains(&format!("is for cache.example and not for {}", server.ip)), "{summary}");
    let asked_for = authority.doctor(&server, &["--sni", "cache.example"]);
    assert_eq!(asked_for.code, Some(0), "{}", asked_for.out);
}

#[test]
fn a_server_that_wants_to_know_its_clients_says_so() {
    let authority = Authority::new();
    let server = for_any_address(&authority, LONG, &["--tls-auth-clients", "yes"]);
    let unknown = authority.doctor(&server, &[]);
    assert_eq!((unknown.code, unknown.verdict().0), (Some(1), "RT5003"), "{}", unknown.out);
    let summary = unknown.found["verdict"]["summary"].as_str().expect("a summary");
    assert!(summary.contains("wants a client certificate"), "{summary}");
    assert_eq!(unknown.step("identity").0, "warn");
    authority.sign("client", &["client.example"], LONG);
    let (cert, key) = (authority.path("client.pem"), authority.path("client.key"));
    let known = authority.doctor(&server, &["--cert", &cert, "--key", &key]);
    assert_eq!((known.code, known.step("identity").0), (Some(0), "good"), "{}", known.out);
    let stranger = Authority::new();
    stranger.sign("client", &["client.example"], LONG);
    let (cert, key) = (stranger.path("client.pem"), stranger.path("client.key"));
    let strange = authority.doctor(&server, &["--cert", &cert, "--key", &key]);
    assert_eq!((strange.code, strange.verdict().0), (Some(1), "RT5003"), "{}", strange.out);
    let summary = strange.found["verdict"]["summary"].as_str().expect("a summary");
    assert!(summary.contains("does not accept the client's certificate"), "{summary}");
}

#[test]
fn who_speaks_the_other_protocol_is_told_so_by_the_second_connection() {
    let authority = Authority::new();
    let with = for_any_address(&authority, LONG, &[]);
    let plain = crate::support::doctor(&with.target());
    assert_eq!((plain.code, plain.verdict()), (Some(1), ("RT5001", "plaintext-to-tls-port")), "{}", plain.out);
    assert_eq!(plain.found["verdict"]["confidence"], "certain");
    let without = Server::start(&[]);
    let tls = by_tls(&without, &[]);
    assert_eq!((tls.code, tls.verdict()), (Some(1), ("RT5002", "tls-to-plaintext-port")), "{}", tls.out);
    assert_eq!(tls.found["verdict"]["confidence"], "certain");
}

#[test]
fn a_server_of_older_versions_alone_is_told_so() {
    let authority = Authority::new();
    let options = ["--tls-protocols", "TLSv1.1", "--tls-ciphers", "ALL:@SECLEVEL=0"];
    let server = for_any_address(&authority, LONG, &options);
    let ran = authority.doctor(&server, &[]);
    assert_eq!((ran.code, ran.verdict().0), (Some(1), "RT5003"), "{}", ran.out);
    let summary = ran.found["verdict"]["summary"].as_str().expect("a summary");
    assert!(summary.contains("neither TLS 1.2 nor 1.3"), "{summary}");
}

#[test]
fn a_certificate_that_signed_itself_is_trusted_when_it_is_given() {
    let authority = Authority::new();
    let (cert, key) = (authority.path("own.pem"), authority.path("own.key"));
    let own = rcgen::generate_simple_self_signed(any_address()).expect("a certificate");
    fs::write(&cert, own.cert.pem()).expect("a file");
    fs::write(&key, own.signing_key.serialize_pem()).expect("a file");
    let server = for_any_address(&authority, LONG, &["--tls-cert-file", &cert, "--tls-key-file", &key]);
    let given = by_tls(&server, &["--cacert", &cert]);
    assert_eq!((given.code, given.step("trust").0), (Some(0), "good"), "{}", given.out);
    assert!(given.step("cert").1.contains("signed by itself"), "{}", given.out);
}

#[test]
fn files_that_cannot_be_used_are_told_before_anything_is_dialled() {
    let (one, other) = (Authority::new(), Authority::new());
    one.sign("client", &["client.example"], LONG);
    other.sign("client", &["client.example"], LONG);
    let usage = |flags: &[String]| {
        let output = command("rediss://127.0.0.1").args(flags).output().expect("doctor starts");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let nowhere = PathBuf::from("/nonexistent/ca.pem").display().to_string();
    assert!(usage(&["--cacert".into(), nowhere]).contains("cannot use --cacert /nonexistent/ca.pem"));
    let mixed = usage(&["--cert".into(), one.path("client.pem"), "--key".into(), other.path("client.key")]);
    assert!(mixed.contains("it is not the key of that certificate"), "{mixed}");
}

#[test]
fn audit_asks_a_running_server_by_tls_and_one_that_is_not_trusted_nothing() {
    let authority = Authority::new();
    let server = for_any_address(&authority, LONG, &["--maxclients", "500"]);
    let file = authority.path("redis.conf");
    fs::write(&file, format!("maxclients 800\nport 0\ntls-port {PORT}\n")).expect("a file");
    let live = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
        command.args(["audit", "-o", "json", &file, "--live", &format!("rediss://{}", server.target())]).args(flags);
        ran(command).found["live"].take()
    };
    let asked = live(&["--cacert", &authority.path("ca.pem")]);
    let differs = serde_json::json!([{"directive": "maxclients", "file": "800", "line": 1, "running": "500"}]);
    assert_eq!((&asked["differs"], &asked["not_asked"]), (&differs, &serde_json::json!([])));
    let stranger = live(&[]);
    let why = stranger["not_asked"][0].as_str().expect("a reason");
    assert!(why.starts_with("everything: its certificate is not trusted: "), "{why}");
    assert_eq!(stranger["compared"], 0);
}
