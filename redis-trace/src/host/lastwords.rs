//! Why a server did not start: what it wrote to its log or the journal or, when it wrote nowhere that lasts, the line of
//! its configuration that no server accepts.

use std::time::Duration;

use super::configuration::Configuration;
use super::patience::within;
use super::scene::{Scene, join};
use super::{clock, journal};
use crate::redis::config::CommandLine;
use crate::redis::fatal;
use crate::trace::container;
use crate::trace::fact::{Fault, ProcessKey, What};
use crate::trace::text::Text;

/// As much as is read of a log, from its end.
const LOG_BYTES: u64 = 64 << 10;

/// How long its files may take to answer: they are where it lived, perhaps on a file system that nobody serves.
const PATIENCE: Duration = Duration::from_secs(3);

/// The last words of a server, and where it meant to listen.
pub(super) fn of(process: ProcessKey, argv: &[Text], cgroup: Option<&Text>, parent: u32) -> What {
    let (argv, cgroup) = (argv.to_vec(), cgroup.cloned());
    let look = move || look(process, &argv, cgroup.as_ref(), parent);
    within(PATIENCE, look).unwrap_or_else(|| What::LastWords {
        pid: process.pid,
        start: process.start(),
        fault: None,
        ports: Vec::new(),
        addresses: Vec::new(),
    })
}

/// Looks at what it left behind.
fn look(process: ProcessKey, argv: &[Text], cgroup: Option<&Text>, parent: u32) -> What {
    let arguments: Vec<Vec<u8>> = argv.iter().map(Text::to_bytes).collect();
    let command_line = CommandLine::new(&arguments);
    let scene = Scene::of(process, cgroup, parent);
    let configuration = Configuration::read(scene.as_ref(), &command_line);
    let fault = scene.as_ref().and_then(|scene| logged(scene, &configuration, process));
    let fault = fault.or_else(|| journalled(cgroup, &configuration, process)).or_else(|| configuration.fault());
    let fault = fault.or_else(|| configuration.missing_path(scene.as_ref()?));
    let (ports, addresses) = (configuration.settings.ports(), configuration.settings.addresses());
    What::LastWords { pid: process.pid, start: process.start(), fault, ports, addresses }
}

/// What the server's own log says.
fn logged(scene: &Scene, configuration: &Configuration, process: ProcessKey) -> Option<Fault> {
    let log = configuration.settings.logfile.as_ref()?;
    let directory = match &configuration.settings.dir {
        Some(dir) => scene.absolute(dir),
        None => scene.cwd.clone(),
    };
    let path = join(directory.as_deref(), log)?;
    let text = scene.read_end(&path, LOG_BYTES, process.start()).ok()?;
    let text = String::from_utf8_lossy(&text);
    let words = fatal::fault(&fatal::of_process(&text, scene.inner_pid))?;
    Some(configuration.said(Text::new(&path), words))
}

/// What the journal of the server's unit says: standard error goes there, complaints about the configuration with it.
fn journalled(cgroup: Option<&Text>, configuration: &Configuration, process: ProcessKey) -> Option<Fault> {
    let (None, Some(unit)) = container::of(cgroup?) else { return None };
    if !unit.as_str().ends_with(".service") {
        return None; // what a session or a scope prints goes to its terminal
    }
    let age = clock::boottime().saturating_sub(process.start()) / 1_000_000_000;
    let since = clock::wall() / 1_000_000_000 - i64::try_from(age).ok()? - 1;
    let lines = journal::lines_of(process.pid, since);
    let messages: Vec<&str> = lines.iter().map(|line| fatal::log_line(line).message).collect();
    Some(configuration.said(Text::from(format!("journal of {unit}").as_str()), fatal::fault(&messages)?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead as _, BufReader};
    use std::net::IpAddr;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::time::Instant;

    use super::super::process;
    use super::*;

    /// A server that is gone, and the directory where its files are.
    struct Gone {
        key: ProcessKey,
        home: tempfile::TempDir,
    }

    impl Gone {
        fn new() -> Self {
            let mut child = Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
            let start = process::stat(child.id()).expect("it lives").start;
            drop(child.stdin.take());
            child.wait().expect("cat ends");
            Self { key: ProcessKey::new(child.id(), start), home: tempfile::tempdir().expect("a directory") }
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.home.path().join(name);
            fs::write(&path, text).expect("a file");
            path
        }

        /// What is found out, when it was started with this file and these options.
        fn words(&self, file: &Path, options: &str) -> (Option<Fault>, Vec<u16>, Vec<IpAddr>) {
            let mut argv = vec![Text::from("redis-server"), Text::from(file.to_str().expect("a path"))];
            argv.extend(options.split_ascii_whitespace().map(Text::from));
            match of(self.key, &argv, None, std::process::id()) {
                What::LastWords { fault, ports, addresses, .. } => (fault, ports, addresses),
                other => panic!("{other:?} is no answer"),
            }
        }
    }

    #[test]
    fn a_server_that_said_nothing_is_told_by_its_configuration() {
        let gone = Gone::new();
        let file = gone.write("redis.conf", "port 6399\nbogus-directive yes\nbind 127.0.0.1 -::1\n");
        let (fault, ports, addresses) = gone.words(&file, "");
        let fault = fault.expect("a fault");
        assert!(!fault.said);
        assert_eq!(fault.line.as_str(), "Bad directive or wrong number of arguments");
        let place = fault.config.expect("a line");
        assert_eq!((place.file.as_str(), place.line), (file.to_str().expect("a path"), 2));
        assert_eq!(place.text.as_str(), "bogus-directive yes");
        assert_eq!(ports, [6399]);
        assert_eq!(addresses.len(), 2);
        assert_eq!(gone.words(&file, "--port 7000 --tls-port 7001").1, [7000, 7001]);
    }

    #[test]
    fn a_secret_in_a_bad_line_is_not_shown() {
        let gone = Gone::new();
        let file = gone.write("redis.conf", "requirepass hunter2 # old: hunter1\n");
        let fault = gone.words(&file, "").0.expect("a fault");
        assert_eq!(fault.config.map(|place| place.text.as_str().to_owned()).as_deref(), Some("requirepass [redacted]"));
    }

    #[test]
    fn an_included_file_is_read_in_its_place() {
        let gone = Gone::new();
        let included = gone.write("more.conf", "# more\nport many\n");
        let file = gone.write("redis.conf", &format!("include {}\nbogus yes\n", included.display()));
        let place = gone.words(&file, "").0.and_then(|fault| fault.config).expect("a line");
        assert_eq!((place.file.as_str(), place.line), (included.to_str().expect("a path"), 2));
        let looped = gone.write("loop.conf", "");
        fs::write(&looped, format!("include {}\n", looped.display())).expect("a file");
        assert_eq!(gone.words(&looped, "").0, None);
    }

    #[test]
    fn its_own_log_speaks_first() {
        let gone = Gone::new();
        let line = "23 Nov 2026 12:03:41.209 # Failed listening on port 6399 (TCP), aborting.";
        gone.write("redis.log", &format!("{}:M {line}\n", gone.key.pid));
        let file = gone.write("redis.conf", &format!("dir {}\nlogfile redis.log\n", gone.home.path().display()));
        let fault = gone.words(&file, "").0.expect("a fault");
        assert!(fault.said && fault.source.as_str().ends_with("/redis.log"));
        assert_eq!(fault.line.as_str(), "Failed listening on port 6399 (TCP), aborting.");
        let other = gone.write("other.log", &format!("{}:M {line}\n", gone.key.pid + 1));
        assert_eq!(gone.words(&file, &format!("--logfile {}", other.display())).0, None);
    }

    #[test]
    fn a_log_that_is_a_pipe_or_a_link_is_left_alone() {
        let gone = Gone::new();
        let pipe = gone.home.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let target = gone.write("target.log", &format!("{}:M 23 Nov 2026 12:03:41.209 # Fatal: x\n", gone.key.pid));
        let link = gone.home.path().join("link");
        std::os::unix::fs::symlink(target, &link).expect("a link");
        for log in [pipe, link] {
            let file = gone.write("redis.conf", &format!("logfile {}\n", log.display()));
            assert_eq!(gone.words(&file, "").0, None);
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_a_fault() {
        let gone = Gone::new();
        let (fault, ports, _) = gone.words(&gone.home.path().join("nothing.conf"), "");
        assert!(fault.is_some_and(|fault| !fault.said && fault.line.as_str().contains("No such file")));
        assert_eq!(ports, [6379]);
        assert_eq!(gone.words(Path::new("relative.conf"), "").0, None, "a guess is no fault");
    }

    #[test]
    fn a_directory_or_file_that_a_directive_needs_is_missed() {
        let gone = Gone::new();
        let missed = |text: &str| {
            let fault = gone.words(&gone.write("redis.conf", text), "").0;
            fault.map(|fault| (fault.line.as_str().to_owned(), fault.config.map_or(0, |place| place.line)))
        };
        let missing = |path: &str, line| Some((format!("{path}: No such file or directory"), line));
        assert_eq!(missed("port 1\ndir /nope\n"), missing("/nope", 2));
        assert_eq!(missed("logfile /nope/redis.log\n"), missing("/nope", 1));
        assert_eq!(missed("unixsocket /nope/redis.sock\n"), missing("/nope", 1));
        assert_eq!(missed("loadmodule /nope.so option\n"), missing("/nope.so", 1));
        assert_eq!(missed("tls-cert-file /nope.crt\ntls-port 1\n"), missing("/nope.crt", 1));
        assert_eq!(missed("tls-cert-file /nope.crt\ndir /\nlogfile /redis.log\n"), None);
    }

    #[test]
    fn a_container_of_which_nobody_is_left_says_nothing() {
        let gone = Gone::new();
        let file = gone.write("redis.conf", "bogus yes\n");
        let argv = ["redis-server", file.to_str().expect("a path")].map(Text::from);
        let cgroup = Text::from(format!("/docker/{}", "ab".repeat(32)).as_str());
        let words = of(gone.key, &argv, Some(&cgroup), std::process::id());
        assert!(matches!(words, What::LastWords { fault: None, .. }), "the host's file of that name is another");
    }

    #[test]
    fn a_log_on_a_file_system_that_nobody_serves_is_left_alone_in_time() {
        let place = tempfile::tempdir().expect("a directory");
        let mounts = "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none \"$0\" && \
                      echo there && exec cat";
        let mut unserved = Command::new("unshare")
            .args(["--mount", "sh", "-c", mounts])
            .arg(place.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("unshare runs as root");
        let mut said = String::new();
        let out = unserved.stdout.as_mut().expect("a pipe");
        BufReader::new(out).read_line(&mut said).expect("it says so");
        assert_eq!(said, "there\n");
        let gone = Gone::new();
        let log = place.path().join("redis.log");
        let argv = ["redis-server", "--logfile", log.to_str().expect("a path")].map(Text::from);
        let began = Instant::now();
        let words = of(gone.key, &argv, None, unserved.id());
        assert!(matches!(words, What::LastWords { fault: None, .. }), "{words:?}");
        assert!(began.elapsed() < 2 * PATIENCE, "it took {:?}", began.elapsed());
        unserved.kill().expect("it lives");
        unserved.wait().expect("it ends");
    }

    #[test]
    fn what_is_no_regular_file_is_not_even_opened() {
        let gone = Gone::new();
        let device = gone.home.path().join("device");
        // A device that nobody drives: to open it would be another error than to look at it.
        assert!(Command::new("mknod").arg(&device).args(["c", "60", "7"]).status().expect("mknod").success());
        let scene = Scene::of(gone.key, None, std::process::id()).expect("our root");
        let refused = scene.read(device.to_str().expect("a path").as_bytes(), 10).expect_err("it is a device");
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    }
}
