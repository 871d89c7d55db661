//! The alert rules of `deploy/`, judged by Prometheus' own tool. Its package brings a service too, which a test host does not
//! want: the tool is unpacked beside the build.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::{run, which, workspace};
use crate::setup;

/// Runs the rules' own tests.
pub(crate) fn check() -> Result<()> {
    let root = workspace()?;
    let promtool = promtool(&root.join("target/promtool"))?;
    let rules = root.join("deploy");
    run(Command::new(&promtool).args(["check", "rules", "alerts.yaml"]).current_dir(&rules))?;
    run(Command::new(&promtool).args(["test", "rules", "alerts.test.yaml"]).current_dir(&rules))
}

/// The tool: the host's, or one unpacked there.
fn promtool(aside: &Path) -> Result<PathBuf> {
    let unpacked = aside.join("usr/bin/promtool");
    if let Some(installed) = which("promtool") {
        return Ok(installed);
    }
    if !unpacked.exists() {
        std::fs::create_dir_all(aside).with_context(|| format!("cannot make {}", aside.display()))?;
        run(setup::apt().arg("update"))?;
        run(setup::apt().args(["download", "prometheus"]).current_dir(aside))?;
        run(Command::new("sh")
            .args(["-ec", "dpkg-deb --extract prometheus_*.deb . && rm prometheus_*.deb"])
            .current_dir(aside))?;
    }
    Ok(unpacked)
}
