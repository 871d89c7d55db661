//! Copies of programs that are safe to start while other tests start processes.

use std::path::Path;
use std::process::Command;

/// Copies a program with its mode, by a process of its own. Were the copy written by this process, a child that another
/// test forks at that moment would hold it open for writing until its own exec, and starting the copy would fail with
/// ETXTBSY.
pub(crate) fn copy(from: impl AsRef<Path>, to: &Path) {
    let copied = Command::new("cp").arg("--").arg(from.as_ref()).arg(to).status().expect("cp starts");
    assert!(copied.success(), "cannot copy {} to {}", from.as_ref().display(), to.display());
}
