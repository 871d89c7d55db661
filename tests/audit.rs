//! `audit` over a corpus of configurations, over hostile files made here, and beside a running server.

#[path = "support/redis.rs"]
mod redis;

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use redis_trace::redis::audit::access::rows;
use redis_trace::redis::audit::effective::{Effective, Kind};
use redis_trace::redis::audit::findings;
use redis_trace::redis::audit::rule::Rule;
use redis_trace::redis::audit::server::Server;
use redis_trace::redis::config::{self, Directive};
use redis_trace::trace::text::Text;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn audit(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
    command.arg("audit").args(arguments).current_dir(root()).stdin(Stdio::null()).env_remove("REDISCLI_AUTH");
    command.output().expect("audit starts")
}

fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = audit(&[&["-o", "json"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text} {errors}")))
}

/// The codes of what was found, each once.
fn codes(audit: &Value) -> Vec<String> {
    let findings = audit["findings"].as_array().expect("findings");
    let mut codes: Vec<String> =
        findings.iter().map(|finding| finding["code"].as_str().expect("a code").to_owned()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// The corpus, and the arguments that each file's first line names.
fn corpus() -> Vec<(PathBuf, Vec<String>)> {
    let directory = root().join("tests/configurations");
    let files = fs::read_dir(directory).expect("the corpus").map(|file| file.expect("a file").path());
    let mut files: Vec<PathBuf> = files.filter(|file| file.is_file()).collect();
    files.sort_unstable();
    let arguments = |file: &PathBuf| {
        let text = fs::read_to_string(file).expect("text");
        let first = text.lines().next().unwrap_or_default().strip_prefix("# audit: ").unwrap_or_default();
        first.split_ascii_whitespace().map(str::to_owned).collect()
    };
    files.into_iter().map(|file| (file.clone(), arguments(&file))).collect()
}

#[test]
fn every_configuration_of_the_corpus_is_judged_as_it_was_written_down() {
    let corpus = corpus();
    assert!(corpus.len() >= 40, "only {} configurations", corpus.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(root().join("tests/configurations/judged"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (file, arguments) in corpus {
        let name = file.strip_prefix(root()).expect("ours").to_str().expect("text");
        let arguments: Vec<&str> = std::iter::once(name).chain(arguments.iter().map(String::as_str)).collect();
        let output = audit(&arguments);
        let (text, patch) = (output.stdout, audit(&[&["--fix"], arguments.as_slice()].concat()).stdout);
        let (text, patch) = (String::from_utf8_lossy(&text), String::from_utf8_lossy(&patch));
        assert!(!text.contains("hunter2") && !patch.contains("hunter2"), "{name} shows a secret:\n{text}{patch}");
        assert!(!text.contains('\u{1b}') && !patch.contains('\u{1b}'), "{name} moves the cursor");
        let code = output.status.code().expect("it ends by itself");
        let judged = format!("exit code {code}\n\n{text}{}{patch}", if patch.is_empty() { "" } else { "\n" });
        let title = file.file_name().expect("a name").to_string_lossy().replace('.', "-");
        settings.bind(|| insta::assert_snapshot!(title, judged));
    }
}

#[test]
fn the_changes_are_a_patch_that_applies_and_leaves_nothing_to_change() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["misspelt", "comments-at-the-end-of-lines", "old-names", "few-clients-and-a-short-timeout"] {
        let file = directory.path().join(format!("{name}.conf"));
        fs::copy(root().join(format!("tests/configurations/{name}.conf")), &file).expect("a copy");
        let before = fs::read(&file).expect("text");
        let patch = audit(&[file.to_str().expect("text"), "--fix"]).stdout;
        assert_eq!(fs::read(&file).expect("text"), before, "nothing is written");
        let mut patching =
            Command::new("patch").args(["-s", "-p0"]).arg(&file).stdin(Stdio::piped()).spawn().expect("patch");
        patching.stdin.take().expect("its input").write_all(&patch).expect("it reads");
        assert!(patching.wait().expect("it ends").success(), "{name}: {}", String::from_utf8_lossy(&patch));
        let (_, after) = json(&[file.to_str().expect("text")]);
        let left: Vec<&Value> =
            after["findings"].as_array().expect("findings").iter().filter(|f| !f["edit"].is_null()).collect();
        assert!(left.is_empty(), "{name}: {left:#?}");
    }
}

#[test]
fn what_is_hostile_is_a_result_and_neither_hangs_nor_grows() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("text").to_owned();
    let write = |name: &str, text: &[u8]| {
        fs::write(path(name), text).expect("a file");
        path(name)
    };
    let began = Instant::now();
    let long = write("long.conf", &[b"port ".as_slice(), &vec![b'9'; 100 << 20]].concat());
    assert_eq!(codes(&json(&[&long]).1), ["RA102", "RA106", "RA201"]);
    let nul = write("nul.conf", b"bind 127.0.0.1\n\0port 1\n");
    assert_eq!(codes(&json(&[&nul]).1), ["RA106", "RA202"]);
    // Found by fuzzing: a name that looks like the beginning of an escape.
    let cut = write("cut.conf", b"bind 127.0.0.1\n.\\u{d\n");
    assert_eq!(codes(&json(&[&cut]).1), ["RA202"]);
    assert!(Command::new("mkfifo").arg(path("pipe.conf")).status().expect("mkfifo").success());
    assert_eq!(audit(&[&path("pipe.conf")]).status.code(), Some(2));
    let piped = write("piped.conf", format!("bind 127.0.0.1\ninclude {}\n", path("pipe.conf")).as_bytes());
    assert_eq!(codes(&json(&[&piped]).1), ["RA104", "RA202"]);
    std::os::unix::fs::symlink("/dev/zero", path("zero.conf")).expect("a link");
    assert_eq!(audit(&[&path("zero.conf")]).status.code(), Some(2));
    std::os::unix::fs::symlink(path("ring.conf"), path("ring.conf")).expect("a link");
    assert_eq!(audit(&[&path("ring.conf")]).status.code(), Some(2));
    // Twice as many with every file: 2^40 without a limit.
    for nth in 0..40 {
        let next = format!("include {}\n", path(&format!("twice{}.conf", nth + 1)));
        write(&format!("twice{nth}.conf"), next.repeat(2).as_bytes());
    }
    write("twice40.conf", b"port 1\n");
    assert!(codes(&json(&[&path("twice0.conf")]).1).contains(&"RA106".to_owned()));
    let many = write("many.conf", "include /nope/*/*\nbogus yes\n".repeat(20_000).as_bytes());
    let (_, found) = json(&[&many]);
    assert_eq!(found["left_out"], 19_950);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(audit(&[&path("none.conf")]).status.code(), Some(2));
    assert_eq!(audit(&["--server", "new", &nul]).status.code(), Some(2));
}

/// Time of the processor that this thread has had: what others do meanwhile does not count.
fn processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it is not negative")
}

#[test]
fn five_thousand_lines_are_judged_in_fifty_milliseconds() {
    let repeated = (0..4_999).map(|nth| format!("maxmemory-samples {nth}\n")).collect::<Vec<_>>().concat();
    assert_eq!(judged_in_time(&format!("bind 127.0.0.1\nmaxmemory-samples 1\n{repeated}")), 5_000);
    let misspelt = ["maxmemroy", "tcp-backlgo", "timeoutt", "requirepas", "maxclient", "appendonlyy", "databasess"];
    let misspelt =
        (0..4_999).map(|nth| format!("{} {nth}\n", misspelt[nth % misspelt.len()])).collect::<Vec<_>>().concat();
    assert_eq!(judged_in_time(&format!("bind 127.0.0.1\n{misspelt}")), 9_992);
}

/// How much is found in a text, in time.
fn judged_in_time(text: &str) -> usize {
    let began = processor();
    let name = Text::from("redis.conf");
    let directives: Vec<Directive> =
        config::lines(text.as_bytes()).into_iter().map(|line| Directive::of_line(&name, line)).collect();
    let effective = Effective::new(&directives, None, Kind::Data, Server::DEFAULT);
    let found = findings(&effective, &rows(&effective));
    let took = processor().saturating_sub(began);
    println!("{} lines took {took:?}", directives.len());
    // What is built for tests is many times slower than what is shipped.
    let limit = if cfg!(debug_assertions) { 500 } else { 50 };
    assert!(took < Duration::from_millis(limit), "{took:?}");
    found.len()
}

/// A real server on a port of its own, killed in the end.
struct Redis {
    _server: redis::Redis,
    port: u16,
}

impl Redis {
    fn start(port: u16, options: &[&str]) -> Self {
        let own = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""];
        Self { _server: redis::Redis::start(&[&own, options].concat()), port }
    }

    fn target(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

#[test]
fn a_running_server_is_compared_with_its_file() {
    let server = Redis::start(17_960, &["--maxclients", "500", "--maxmemory", "100mb"]);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("redis.conf");
    let text = "port 17960\nbind 127.0.0.1\nmaxclients 800\nmaxmemory 104857600\nsave \"\"\nrequirepass correct-horse-battery\n";
    fs::write(&file, text).expect("a file");
    let (code, audit) = json(&[file.to_str().expect("text"), "--live", &server.target()]);
    let differs = audit["live"]["differs"].as_array().expect("differences");
    let named: Vec<&str> = differs.iter().map(|one| one["directive"].as_str().expect("a name")).collect();
    assert_eq!((code, named), (Some(1), vec!["maxclients", "requirepass"]), "{audit:#}");
    assert_eq!(
        (&differs[0]["file"], &differs[0]["running"], &differs[0]["line"]),
        (&"800".into(), &"500".into(), &3.into())
    );
    assert_eq!(differs[1]["file"], "[redacted]");
    assert!(audit["server"].as_str().is_some_and(|server| server.starts_with("Redis ")), "{audit:#}");
    assert_eq!(audit["assumed"], false);
}

#[test]
fn a_server_that_does_not_let_in_is_named_and_the_file_is_judged_all_the_same() {
    let server = Redis::start(17_961, &["--requirepass", "correct-horse-battery"]);
    let file = root().join("tests/configurations/as-debian-ships-it.conf");
    let file = file.to_str().expect("text");
    for target in [server.target(), "127.85.0.2:17961".to_owned(), "no-such-host.invalid".to_owned()] {
        let (code, audit) = json(&[file, "--live", &target]);
        assert_eq!((code, codes(&audit)), (Some(0), vec!["RA202".to_owned()]), "{audit:#}");
        let not_asked = audit["live"]["not_asked"].as_array().expect("a list");
        assert_eq!(not_asked.len(), 1, "{audit:#}");
    }
}

#[test]
fn instances_are_held_against_the_first_and_what_each_must_have_for_itself_is_not_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let file = directory.path().join(name);
        fs::write(&file, text).expect("a file");
        file.to_str().expect("text").to_owned()
    };
    let first = write("a.conf", "port 6379\nbind 127.0.0.1\nmaxmemory 100mb\nmaxclients 800\nrequirepass hunter2a\n");
    let like =
        write("b.conf", "bind 127.0.0.2\nport 6380\nmaxclients 800\nrequirepass hunter2a\nmaxmemory 104857600\n");
    let other = write("c.conf", "port 6381\nbind 127.0.0.1\nmaxclients 500\nrequirepass hunter2c\ntimeout 5\n");
    let output = audit(&["-o", "json", &first, &like, &other]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(!text.contains("hunter2"), "{text}");
    let audits: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an audit")).collect();
    assert_eq!(audits[0]["unlike"], Value::Null);
    assert_eq!(audits[1]["unlike"], serde_json::json!({"first": first, "differs": []}));
    let differs = serde_json::json!([
        {"directive": "maxclients", "first": "800", "here": "500", "line": 3},
        {"directive": "maxmemory", "first": "100mb", "here": null, "line": null},
        {"directive": "requirepass", "first": "[redacted]", "here": "[redacted]", "line": 4},
        {"directive": "timeout", "first": null, "here": "5", "line": 5},
    ]);
    assert_eq!(audits[2]["unlike"]["differs"], differs);
    let text = String::from_utf8(audit(&[&first, &other]).stdout).expect("text");
    assert!(text.contains("c.conf against "), "{text}");
    assert!(text.contains("\n  maxclients               there 800, here 500 (line 3)\n"), "{text}");
}

#[test]
fn what_this_host_lacks_is_told_when_the_file_is_its_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("redis.conf");
    let text = "bind 203.0.113.77\nrequirepass d1b2a3c4e5f6a7b8c9d0\ndir /no/such/place\ntcp-backlog 100000000\n";
    fs::write(&file, text).expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("ours");
    let file = file.to_str().expect("text");
    let here = ["RA206", "RA218", "RA219", "RA308"];
    let found = codes(&json(&[file, "--host"]).1);
    assert!(here.iter().all(|code| found.contains(&(*code).to_owned())), "{found:?}");
    let found = codes(&json(&[file]).1);
    assert!(here.iter().all(|code| !found.contains(&(*code).to_owned())), "{found:?}");
}

#[test]
fn a_certificate_that_ended_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("redis.conf");
    let of = |ends: i32| {
        let mut params = rcgen::CertificateParams::new(vec!["cache.example".to_owned()]).expect("names");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(ends, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = directory.path().join("server.pem");
        fs::write(&certificate, params.self_signed(&key).expect("a certificate").pem()).expect("a file");
        fs::write(directory.path().join("server.key"), key.serialize_pem()).expect("a file");
        let (certificate, key) = (certificate.display(), directory.path().join("server.key").display().to_string());
        let text = format!("port 0\ntls-port 6379\ntls-cert-file {certificate}\ntls-key-file {key}\n");
        fs::write(&file, text).expect("a file");
        json(&[file.to_str().expect("text"), "--host"]).1
    };
    let audit = of(2021);
    let mut findings = audit["findings"].as_array().expect("findings").iter();
    let ended = findings.find(|finding| finding["code"] == "RA221").unwrap_or_else(|| panic!("{audit:#}"));
    assert!(ended.to_string().contains("it ended on 2021-01-01"), "{ended:#}");
    assert!(!codes(&of(9999)).contains(&"RA221".to_owned()));
}

#[test]
fn code_review_gets_every_finding_with_its_place() {
    let file = "tests/configurations/misspelt.conf";
    let output = audit(&[file, "-o", "sarif"]);
    let log: Value = serde_json::from_slice(&output.stdout).expect("SARIF is JSON");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let results = run["results"].as_array().expect("results");
    let (_, audit) = json(&[file]);
    assert_eq!(results.len(), audit["findings"].as_array().expect("findings").len());
    let first = &results[0];
    assert_eq!(first["ruleId"], "RA101");
    let index = usize::try_from(first["ruleIndex"].as_u64().expect("an index")).expect("small");
    assert_eq!(run["tool"]["driver"]["rules"][index]["id"], "RA101");
    let place = &first["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], file);
    assert_eq!((&place["region"]["startLine"], &place["region"]["startColumn"]), (&2.into(), &1.into()));
    assert_eq!(
        first["fixes"][0]["artifactChanges"][0]["replacements"][0]["insertedContent"]["text"],
        "bind 127.0.0.1\n"
    );
}

#[test]
fn the_page_of_rules_is_that_of_the_program() {
    let page = fs::read_to_string(root().join("docs/audit.md")).expect("the page");
    let rules = Rule::ALL.iter();
    let row = |rule: &Rule| {
        let severity = format!("{:?}", rule.severity()).to_lowercase();
        let cause = rule.cause().unwrap_or("–");
        format!("| {} | {} | {severity} | {cause} | {} |\n", rule.code(), rule.name(), rule.meaning())
    };
    let table: String = rules.map(row).collect();
    let expected = format!("| code | name | severity | cause | what it finds |\n|---|---|---|---|---|\n{table}");
    assert!(page.contains(&expected), "docs/audit.md should have:\n{expected}");
}

#[test]
fn standard_input_is_a_file_too() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
    command.args(["audit", "-", "-o", "json"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("audit starts");
    child.stdin.take().expect("its input").write_all(b"bind 0.0.0.0\nprotected-mode no\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let audit: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), codes(&audit)), (Some(1), vec!["RA301".to_owned()]));
}
