//! `cargo xtask dist`: the program as one file that needs nothing of the host it is copied to but its kernel.

use anyhow::{Context as _, Result, bail};

use crate::bench;

/// What the file may weigh at most, bytes: it is to be copied onto a host that has a problem.
const LIMIT: u64 = 8 << 20;

/// Builds it, static and stripped, and says where it is and how large; an error when it is too large.
pub(crate) fn dist() -> Result<()> {
    let program = bench::build("redis-trace", true)?;
    let file = std::fs::metadata(&program).with_context(|| format!("cannot read {}", program.display()))?;
    println!("{}   {} bytes", program.display(), file.len());
    if file.len() > LIMIT {
        bail!("that is more than the {LIMIT} bytes it may have.\n  try   cargo tree, for what was added");
    }
    Ok(())
}
