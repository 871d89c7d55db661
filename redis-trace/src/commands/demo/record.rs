//! Recordings of scenarios: the facts, and beside them what a replay must tell.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::expect::{Judgement, Verdict, judge};
use super::stage::Stage;

/// Keeps the verdict beside the recording, unless it was not as expected or the recording does not replay to it.
pub(super) fn keep(recording: &Path, stage: &Stage, live: &Judgement) -> Result<()> {
    if !live.holds() {
        return std::fs::remove_file(recording).with_context(|| format!("cannot remove {}", recording.display()));
    }
    let replayed = replay(recording)?;
    let judgement = judge(&replayed, &stage.scope, &stage.expected);
    ensure!(judgement.holds(), "{} does not replay to the verdict: {judgement:?}", recording.display());
    let verdict = Verdict { expected: stage.expected.clone(), scope: stage.scope.clone() };
    let file = recording.with_extension("json");
    serde_json::to_writer_pretty(File::create(&file)?, &verdict)
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Replays a recording by this same program; every line that it tells.
fn replay(recording: &Path) -> Result<Vec<Value>> {
    let output = Command::new("/proc/self/exe").arg("replay").arg(recording).args(["-o", "json"]).output();
    let output = output.context("cannot start the replay")?;
    ensure!(output.status.success(), "the replay failed: {}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).context("the replay told no JSON")).collect()
}
