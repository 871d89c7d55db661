//! Every recording replays to the verdict that was told when it was made, without root.

#[path = "support/executable.rs"]
mod executable;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use redis_trace::commands::demo;
use redis_trace::commands::demo::expect::{Verdict, judge};
use serde_json::Value;

/// The user without rights.
const NOBODY: u32 = 65534;

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("tests").join("recordings")
}

/// The recordings, without their endings.
fn names() -> BTreeSet<String> {
    let files = fs::read_dir(recordings()).expect("recordings").map(|file| file.expect("a file").path());
    let names = files.filter(|file| file.extension().is_some_and(|ending| ending == "rec"));
    names.map(|file| file.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

/// The program and the recordings where a user without rights can reach them.
struct Elsewhere(tempfile::TempDir);

impl Elsewhere {
    fn new() -> Self {
        let place = tempfile::tempdir().expect("a directory");
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        executable::copy(env!("CARGO_BIN_EXE_redis-trace"), &place.path().join("redis-trace"));
        Self(place)
    }

    fn replay(&self, name: &str) -> Vec<Value> {
        let file = self.0.path().join("recording");
        fs::copy(recordings().join(name).with_extension("rec"), &file).expect("a copy");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("the file is ours");
        let mut replay = Command::new(self.0.path().join("redis-trace"));
        replay.arg("replay").arg(&file).args(["-o", "json"]);
        if rustix::process::geteuid().is_root() {
            replay.uid(NOBODY).gid(NOBODY);
        }
        let output = replay.output().expect("the replay starts");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).expect("JSON is text");
        lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }
}

#[test]
fn every_recording_replays_to_its_verdict_without_root() {
    let elsewhere = Elsewhere::new();
    for name in names() {
        let file = recordings().join(&name).with_extension("json");
        let verdict = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let verdict: Verdict = serde_json::from_slice(&verdict).expect("a verdict");
        let judgement = judge(&elsewhere.replay(&name), &verdict.scope, &verdict.expected);
        assert!(judgement.holds(), "{name}: {judgement:#?}");
    }
}

#[test]
fn every_situation_has_a_recording() {
    assert_eq!(names(), demo::slugs().into_iter().collect());
}

#[test]
fn no_recording_names_where_the_program_was_built() {
    for name in names() {
        let file = recordings().join(&name).with_extension("rec");
        let facts = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let programs = facts.split("\"exe\":\"").skip(1).filter_map(|rest| rest.split('"').next());
        let elsewhere: Vec<&str> = programs.filter(|path| !path.starts_with("/usr/")).collect();
        assert!(elsewhere.is_empty(), "{name}: record with a program that is installed: {elsewhere:#?}");
    }
}
