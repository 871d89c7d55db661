//! What a test machine's file system holds: this host's own programs, redis-trace, and the command to run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::archive;
use crate::run::{output, run, which};
use crate::servers;

/// The programs of this host that come along, with the libraries they need.
const PROGRAMS: &[&str] = &[
    "dash",
    "busybox",
    "redis-server",
    "redis-cli",
    "haproxy",
    "ip",
    "ss",
    "nft",
    "xtables-nft-multi",
    "xtables-legacy-multi",
    "ipvsadm",
    "strace",
    "setpriv",
    "unshare",
    "nsenter",
    "bpftool",
    "apparmor_parser",
];

/// The names under which the two iptables programs are called.
const IPTABLES: &[(&str, &str)] = &[
    ("iptables", "xtables-nft-multi"),
    ("ip6tables", "xtables-nft-multi"),
    ("iptables-nft", "xtables-nft-multi"),
    ("ip6tables-nft", "xtables-nft-multi"),
    ("iptables-save", "xtables-nft-multi"),
    ("ip6tables-save", "xtables-nft-multi"),
    ("iptables-nft-save", "xtables-nft-multi"),
    ("iptables-legacy", "xtables-legacy-multi"),
    ("ip6tables-legacy", "xtables-legacy-multi"),
    ("iptables-legacy-save", "xtables-legacy-multi"),
    ("ip6tables-nft-save", "xtables-nft-multi"),
    ("ip6tables-legacy-save", "xtables-legacy-multi"),
];

/// Small files that programs expect.
const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nredis:x:110:110::/var/lib/redis:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nredis:x:110:\nnogroup:x:65534:\n"),
    ("etc/apparmor/parser.conf", ""),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 guest\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("etc/protocols", "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n"),
];

/// The features that AppArmor's profiles are written for.
const ABI: &str = "etc/apparmor.d/abi/3.0";

/// Packs everything that is the same for each kernel.
pub(crate) fn pack_base(work: &Path) -> Result<PathBuf> {
    let root = work.join("base");
    archive::fresh(&root)?;
    for directory in [
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "etc",
        "dev",
        "proc",
        "sys",
        "tmp",
        "run",
        "root",
        "t",
        "var/lib/redis",
        "etc/apparmor",
        "etc/apparmor.d/abi",
    ] {
        fs::create_dir_all(root.join(directory))?;
    }
    for (link, target) in
        [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("var/run", "/run")]
    {
        symlink(target, root.join(link))?;
    }
    for (path, text) in FILES {
        fs::write(root.join(path), text)?;
    }
    copy_programs(&root)?;
    // What a profile may count on: without it the parser takes the kernel to know nothing of networks.
    fs::copy(Path::new("/").join(ABI), root.join(ABI))
        .with_context(|| format!("/{ABI} is missing: run `cargo xtask setup`"))?;
    link_busybox(&root)?;
    for (name, program) in IPTABLES {
        symlink(program, root.join("usr/sbin").join(name))?;
    }
    install(&root.join("init"), include_bytes!("init.sh"))?;
    install(&root.join("t/tomoyo"), include_bytes!("tomoyo.sh"))?;
    compile("exit.c", include_bytes!("exit.c"), &root.join("t/exit"), work)?;
    compile("ring.c", include_bytes!("../../../tests/support/ring.c"), &root.join("usr/bin/ring"), work)?;
    let packed = work.join("base.cpio");
    archive::pack(&root, &packed)?;
    Ok(packed)
}

/// Packs the servers of other suites, each as `/servers/SUITE/SERVER`.
pub(crate) fn pack_servers(cache: &Path, work: &Path) -> Result<PathBuf> {
    let root = work.join("servers");
    archive::fresh(&root)?;
    servers::copy(cache, &root.join("servers"))?;
    let packed = work.join("servers.cpio");
    archive::pack(&root, &packed)?;
    Ok(packed)
}

/// Packs the programs under test and the command that the guest runs; the name is for the files.
pub(crate) fn pack_command(work: &Path, name: &str, programs: &[&Path], command: &str) -> Result<PathBuf> {
    let root = work.join(name);
    archive::fresh(&root)?;
    fs::create_dir_all(root.join("usr/bin"))?;
    fs::create_dir_all(root.join("t"))?;
    for program in programs {
        let name = program.file_name().context("a program has a name")?;
        fs::copy(program, root.join("usr/bin").join(name))
            .with_context(|| format!("cannot copy {}", program.display()))?;
    }
    fs::write(root.join("t/command"), command)?;
    let packed = work.join(format!("{name}.cpio"));
    archive::pack(&root, &packed)?;
    Ok(packed)
}

/// Copies the programs and the libraries they load, each to where it lies on this host.
fn copy_programs(root: &Path) -> Result<()> {
    let mut files = BTreeSet::new();
    for name in PROGRAMS {
        let program = which(name).with_context(|| format!("{name} is missing: run `cargo xtask setup`"))?;
        files.extend(libraries(&program));
        files.insert(program);
    }
    // iptables loads its extensions at run time.
    for extension in fs::read_dir(extensions()?)? {
        let path = extension?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ["libxt_standard.so", "libxt_tcp.so", "libipt_REJECT.so", "libip6t_REJECT.so", "libxt_comment.so"]
            .contains(&&*name)
        {
            files.insert(path);
        }
    }
    files.iter().try_for_each(|file| copy(root, file))?;
    symlink("dash", root.join("usr/bin/sh"))?;
    Ok(())
}

/// Copies a program and the libraries it loads to where they lie on this host.
pub(super) fn copy_with_libraries(root: &Path, program: &Path) -> Result<()> {
    libraries(program).iter().try_for_each(|library| copy(root, library))?;
    copy(root, program)
}

/// Copies a file to its place below `root`; a link stays one, and what it names comes along.
fn copy(root: &Path, file: &Path) -> Result<()> {
    let real = file.canonicalize().with_context(|| format!("cannot resolve {}", file.display()))?;
    let place = |path: &Path| -> Result<PathBuf> {
        // /bin, /sbin and /lib are links to their namesakes in /usr, on the host and in the guest.
        let below = path.strip_prefix("/").context("programs have absolute paths")?;
        let place = root.join(if below.starts_with("usr") { below.to_owned() } else { Path::new("usr").join(below) });
        fs::create_dir_all(place.parent().unwrap_or(root))?;
        Ok(place)
    };
    let target = place(&real)?;
    fs::copy(&real, &target).with_context(|| format!("cannot copy {} to {}", real.display(), target.display()))?;
    let link = place(file)?;
    if !link.exists() {
        symlink(Path::new("/").join(target.strip_prefix(root)?), link)?;
    }
    Ok(())
}

/// The libraries that a program loads; none for a static one.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = output(Command::new("ldd").arg(program)).unwrap_or_default();
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// Where iptables keeps its extensions.
fn extensions() -> Result<PathBuf> {
    let places = ["/usr/lib/x86_64-linux-gnu/xtables", "/usr/lib/xtables"];
    let found = places.iter().map(PathBuf::from).find(|place| place.is_dir());
    found.context("the extensions of iptables are missing: run `cargo xtask setup`")
}

/// Gives every busybox applet its name, unless a real program has it.
fn link_busybox(root: &Path) -> Result<()> {
    let busybox = which("busybox").context("busybox is missing: run `cargo xtask setup`")?;
    for applet in output(Command::new(busybox).arg("--list"))?.lines() {
        let taken = ["usr/bin", "usr/sbin"]
            .iter()
            .any(|directory| root.join(directory).join(applet).symlink_metadata().is_ok());
        if !taken {
            // modprobe must be in /sbin: the kernel itself calls it there.
            let directory = if applet == "modprobe" { "usr/sbin" } else { "usr/bin" };
            symlink("/usr/bin/busybox", root.join(directory).join(applet))?;
        }
    }
    Ok(())
}

/// Compiles a little program: the one that ends QEMU with a status, and one for what no program of this host does.
fn compile(name: &str, text: &[u8], target: &Path, work: &Path) -> Result<()> {
    let source = work.join(name);
    fs::write(&source, text)?;
    run(Command::new("cc").args(["-O2", "-static", "-o"]).arg(target).arg(source))
}

/// Writes an executable file.
fn install(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
