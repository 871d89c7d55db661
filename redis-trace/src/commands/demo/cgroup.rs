//! A memory cgroup whose limit a server runs into.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A cgroup with a limit, removed when this value ends.
pub(crate) struct MemoryCgroup {
    directory: PathBuf,
}

impl MemoryCgroup {
    /// Makes one below the root of whichever hierarchy has the memory controller.
    pub(crate) fn new(name: &str, bytes: u64) -> Result<Self> {
        let (root, limit) = hierarchy()?;
        let directory = root.join(name);
        fs::create_dir(&directory).with_context(|| format!("cannot make the cgroup {}", directory.display()))?;
        let cgroup = Self { directory };
        cgroup.write(limit, &bytes.to_string())?;
        Ok(cgroup)
    }

    /// Moves a process into it: what it allocates from now on counts.
    pub(crate) fn take(&self, pid: u32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.directory.join(file);
        fs::write(&path, value).with_context(|| format!("cannot write {value} to {}", path.display()))
    }
}

impl Drop for MemoryCgroup {
    /// Its processes have ended: they are killed before the cgroup is removed.
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.directory) {
            eprintln!("redis-trace: cannot remove the cgroup {}: {error}", self.directory.display());
        }
    }
}

/// The root of the hierarchy that has the memory controller, and the name of its limit.
fn hierarchy() -> Result<(PathBuf, &'static str)> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, target, kind, options, ..] = fields.as_slice() else { continue };
        let root = Path::new(target);
        if *kind == "cgroup" && options.split(',').any(|option| option == "memory") {
            return Ok((root.to_owned(), "memory.limit_in_bytes"));
        }
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        if *kind == "cgroup2" && controllers.split_whitespace().any(|controller| controller == "memory") {
            let switch = root.join("cgroup.subtree_control");
            fs::write(&switch, "+memory").with_context(|| format!("cannot write +memory to {}", switch.display()))?;
            return Ok((root.to_owned(), "memory.max"));
        }
    }
    anyhow::bail!("no cgroup hierarchy with the memory controller is mounted")
}
