//! Cgroups: one whose memory limit a server runs into, and one whose program says no.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::{CgroupAttachMode, CgroupSockAddr};

use super::bytecode::{PROGRAM, object};

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

/// A cgroup in which a program denies a call to everybody; removed, and the program with it, when this value is.
pub(crate) struct DenyingCgroup {
    directory: PathBuf,
    #[expect(dead_code, reason = "held for its Drop")]
    ebpf: Ebpf,
}

impl DenyingCgroup {
    /// Makes one in the unified hierarchy, with a program of this section: `cgroup/bind4`, `cgroup/connect4`.
    pub(crate) fn new(name: &str, section: &str) -> Result<Self> {
        let directory = unified()?.join(name);
        let mut ebpf = Ebpf::load(&object(section)).context("cannot read the cgroup program")?;
        fs::create_dir(&directory).with_context(|| format!("cannot make the cgroup {}", directory.display()))?;
        let attached = attach(&mut ebpf, &directory);
        let cgroup = Self { directory, ebpf };
        attached.map(|()| cgroup)
    }

    /// The file that takes a process in.
    pub(crate) fn door(&self) -> String {
        self.directory.join("cgroup.procs").display().to_string()
    }
}

fn attach(ebpf: &mut Ebpf, directory: &Path) -> Result<()> {
    let program: &mut CgroupSockAddr = ebpf.program_mut(PROGRAM).context("the program is missing")?.try_into()?;
    program.load().context("cannot load the cgroup program: CAP_BPF and CAP_NET_ADMIN are needed")?;
    program.attach(File::open(directory)?, CgroupAttachMode::Single).context("cannot attach the cgroup program")?;
    Ok(())
}

impl Drop for DenyingCgroup {
    /// Its processes have ended: they are killed before the cgroup is removed.
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.directory) {
            eprintln!("redis-trace: cannot remove the cgroup {}: {error}", self.directory.display());
        }
    }
}

/// The root of the unified hierarchy.
fn unified() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let root =
        fields.filter(|fields| fields.get(2) == Some(&"cgroup2")).find_map(|fields| fields.get(1).map(PathBuf::from));
    root.context("the unified hierarchy of cgroups is not mounted")
}
