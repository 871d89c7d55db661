//! Archives for the kernel's initial file system; the kernel unpacks several, one after the other.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Packs everything below `directory`, owned by root.
pub(crate) fn pack(directory: &Path, archive: &Path) -> Result<()> {
    let mut find = Command::new("find").arg(".").current_dir(directory).stdout(Stdio::piped()).spawn()?;
    let names = find.stdout.take().context("find has a standard output")?;
    let file = File::create(archive).with_context(|| format!("cannot create {}", archive.display()))?;
    let packed = Command::new("cpio")
        .args(["-o", "-H", "newc", "-R", "0:0", "--quiet"])
        .current_dir(directory)
        .stdin(names)
        .stdout(file)
        .status()
        .context("cannot start cpio")?;
    if !find.wait()?.success() || !packed.success() {
        bail!("{} could not be packed into {}", directory.display(), archive.display());
    }
    Ok(())
}

/// Writes archives one after the other into one file. Compressed they would boot no faster.
pub(crate) fn concatenate(archives: &[&Path], whole: &Path) -> Result<()> {
    let mut file = File::create(whole).with_context(|| format!("cannot create {}", whole.display()))?;
    for archive in archives {
        let mut part = File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
        io::copy(&mut part, &mut file)?;
    }
    Ok(())
}

/// Makes an empty directory, whatever was there.
pub(crate) fn fresh(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}
