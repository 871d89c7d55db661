//! Running other programs: say what is run, and fail with a sentence.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The root of the workspace; cargo tells it to `cargo xtask` at run time, so that a moved clone stays right.
pub(crate) fn workspace() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .context("start this as `cargo xtask`: cargo says where the workspace is")?;
    let mut root = PathBuf::from(manifest);
    root.pop();
    Ok(root)
}

/// A cargo command in the workspace, free of what the outer cargo set for this process.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new("cargo");
    command.current_dir(workspace()?).env_remove("LD_LIBRARY_PATH").env_remove("CARGO_TARGET_DIR");
    Ok(command)
}

/// Says the command line and runs it to its end; an error unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    println!("    $ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// What a command prints, trimmed; an error, with what it said, unless it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where a program is found, if it is installed: in `PATH`, or in the administrator's directories that PATH may lack.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    directories.into_iter().map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// A command line as a person would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
