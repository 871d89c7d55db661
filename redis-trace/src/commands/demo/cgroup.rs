//! Cgroups: one whose memory limit a server runs into, and one whose program says no.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, Lsm};

use super::bytecode::{NO, NO_ACCESS, PROGRAM, no_to_cgroup, object};
use crate::kernel;

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

/// Whether this kernel lets a cgroup's program choose the errno: since Linux 5.18.
pub(crate) fn has_chosen_errno() -> bool {
    let load =
        || -> Result<()> { program(&mut Ebpf::load(&object("cgroup/bind4", PROGRAM, NO_ACCESS))?, PROGRAM).map(drop) };
    load().is_ok()
}

/// Whether BPF programs may stand on the hooks of security modules.
pub(crate) fn has_bpf_lsm() -> bool {
    let is_at_work = kernel::judges().is_some_and(|modules| modules.iter().any(|module| module == "bpf"));
    let is_loaded = |hook| -> Result<()> { on_hook(&mut Ebpf::load(&of_hook(hook, NO))?, hook).map(drop) };
    is_at_work && is_loaded("socket_bind").is_ok()
}

/// An object with a program for a hook of security modules.
pub(super) fn of_hook(hook: &str, instructions: &[u8]) -> Vec<u8> {
    object(&format!("lsm/{hook}"), PROGRAM, instructions)
}

/// A cgroup whose processes do not run; removed when this value ends.
pub(crate) struct FrozenCgroup {
    directory: PathBuf,
}

impl FrozenCgroup {
    /// Makes one in the unified hierarchy, moves a process into it and freezes it.
    pub(crate) fn freeze(name: &str, pid: u32) -> Result<Self> {
        let cgroup = Self { directory: unified()?.join(name) };
        fs::create_dir(&cgroup.directory)
            .with_context(|| format!("cannot make the cgroup {}", cgroup.directory.display()))?;
        for (file, value) in [("cgroup.procs", pid.to_string()), ("cgroup.freeze", "1".to_owned())] {
            let path = cgroup.directory.join(file);
            fs::write(&path, &value).with_context(|| format!("cannot write {value} to {}", path.display()))?;
        }
        Ok(cgroup)
    }

    /// Whether its processes have stopped by now.
    pub(crate) fn is_frozen(&self) -> bool {
        fs::read_to_string(self.directory.join("cgroup.events")).is_ok_and(|events| events.contains("frozen 1"))
    }
}

impl Drop for FrozenCgroup {
    /// Its processes have ended: they are killed before the cgroup is removed.
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.directory) {
            eprintln!("redis-trace: cannot remove the cgroup {}: {error}", self.directory.display());
        }
    }
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
        Self::with(name, |directory| attach(section, PROGRAM, NO, directory))
    }

    /// The same, with EACCES instead of EPERM.
    pub(crate) fn with_chosen_errno(name: &str, section: &str) -> Result<Self> {
        Self::with(name, |directory| attach(section, PROGRAM, NO_ACCESS, directory))
    }

    /// Makes one as systemd makes a unit's with SocketBindDeny=: src/core/bpf/socket-bind.
    pub(crate) fn of_unit(unit: &str) -> Result<Self> {
        Self::with(unit, |directory| attach("cgroup/bind4", "sd_bind4", NO, directory))
    }

    /// Makes one as systemd makes a unit's with IPAddressDeny=any, for one way of its packets: src/core/bpf-firewall.c.
    pub(crate) fn of_unit_s_packets(unit: &str, way: CgroupSkbAttachType) -> Result<Self> {
        Self::with(unit, |directory| filter_packets(way, directory))
    }

    /// Makes one whose members a program on this hook of security modules denies a call: `socket_bind`, `socket_accept`.
    pub(crate) fn by_lsm(name: &str, hook: &str) -> Result<Self> {
        Self::with(name, |directory| {
            let id = fs::metadata(directory)?.ino();
            let mut ebpf = Ebpf::load(&of_hook(hook, &no_to_cgroup(id))).context("cannot read the BPF LSM program")?;
            on_hook(&mut ebpf, hook)?.attach().context("cannot attach the BPF LSM program")?;
            Ok(ebpf)
        })
    }

    fn with(name: &str, deny: impl FnOnce(&Path) -> Result<Ebpf>) -> Result<Self> {
        let directory = unified()?.join(name);
        fs::create_dir(&directory).with_context(|| format!("cannot make the cgroup {}", directory.display()))?;
        match deny(&directory) {
            Ok(ebpf) => Ok(Self { directory, ebpf }),
            Err(error) => {
                fs::remove_dir(&directory)?;
                Err(error)
            }
        }
    }

    /// Moves a process out of it.
    pub(crate) fn let_go(&self, pid: u32) -> Result<()> {
        let door = self.directory.with_file_name("cgroup.procs");
        fs::write(&door, pid.to_string()).with_context(|| format!("cannot write {}", door.display()))
    }

    /// The file that takes a process in.
    pub(crate) fn door(&self) -> String {
        self.directory.join("cgroup.procs").display().to_string()
    }
}

/// A program on a cgroup's addresses, loaded.
fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut CgroupSockAddr> {
    let program: &mut CgroupSockAddr = ebpf.program_mut(name).context("the program is missing")?.try_into()?;
    program.load().context("cannot load the cgroup program: CAP_BPF and CAP_NET_ADMIN are needed")?;
    Ok(program)
}

/// A program on a hook of security modules, loaded.
pub(super) fn on_hook<'a>(ebpf: &'a mut Ebpf, hook: &str) -> Result<&'a mut Lsm> {
    let program: &mut Lsm = ebpf.program_mut(PROGRAM).context("the program is missing")?.try_into()?;
    program.load(hook, &kernel::types(&[&format!("bpf_lsm_{hook}")])?).context("cannot load the BPF LSM program")?;
    Ok(program)
}

/// Denies a call to everybody in a cgroup.
fn attach(section: &str, name: &str, instructions: &[u8], directory: &Path) -> Result<Ebpf> {
    let mut ebpf = Ebpf::load(&object(section, name, instructions)).context("cannot read the cgroup program")?;
    let cgroup = File::open(directory)?;
    program(&mut ebpf, name)?.attach(cgroup, CgroupAttachMode::Single).context("cannot attach the cgroup program")?;
    Ok(ebpf)
}

/// Lets no packet pass, in or out.
fn filter_packets(way: CgroupSkbAttachType, directory: &Path) -> Result<Ebpf> {
    let (section, name) = match way {
        CgroupSkbAttachType::Ingress => ("cgroup_skb/ingress", "sd_fw_ingress"),
        CgroupSkbAttachType::Egress => ("cgroup_skb/egress", "sd_fw_egress"),
    };
    let mut ebpf = Ebpf::load(&object(section, name, NO)).context("cannot read the cgroup program")?;
    let program: &mut CgroupSkb = ebpf.program_mut(name).context("the program is missing")?.try_into()?;
    program.load().context("cannot load the cgroup program: CAP_BPF and CAP_NET_ADMIN are needed")?;
    let attached = program.attach(File::open(directory)?, way, CgroupAttachMode::Single);
    attached.context("cannot attach the cgroup program")?;
    Ok(ebpf)
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
