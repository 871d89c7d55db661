//! `cargo xtask setup`: installs what the other tasks need on Debian and Ubuntu; elsewhere says what is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run::{cargo, output, run, which};

/// The eBPF linker that the committed object's lock names.
const BPF_LINKER: &str = "0.13.0";
/// The tool that makes the Debian package.
const CARGO_DEB: &str = "3.8.0";
/// The LLVM of the distribution's rustc; the linker's must be the same.
const LLVM: &str = "/usr/lib/llvm-22";

/// Something that a task needs, and the packages that bring it.
struct Need {
    /// How it is known to be there: a program's name, or a file's path.
    probe: &'static str,
    /// Packages that bring it; the first set that apt knows all of is installed.
    packages: &'static [&'static [&'static str]],
}

/// A need that one package fills.
const fn need(probe: &'static str, package: &'static [&'static [&'static str]]) -> Need {
    Need { probe, packages: package }
}

/// What `cargo xtask demo` needs: a real Redis, and network namespaces.
const DEMO: &[Need] = &[
    need("redis-server", &[&["redis-server"]]),
    need("redis-cli", &[&["redis-tools"]]),
    need("ip", &[&["iproute2"]]),
    need("cc", &[&["gcc", "libc6-dev"]]),
];

/// What all the other tasks need besides.
const EVERYTHING: &[Need] = &[
    // The object. Debian's stable suites name their newest Rust rustc-web.
    need("/usr/bin/rustc", RUSTC_BPF),
    need("/usr/lib/rustlib/bpfel-unknown-none/lib", RUSTC_BPF),
    need("/usr/lib/llvm-22/bin/llvm-strip", &[&["llvm-22"]]),
    need("/usr/lib/llvm-22/bin/llvm-config", &[&["llvm-22-dev"]]),
    need("/usr/lib/llvm-22/lib/libPolly.a", &[&["libpolly-22-dev"]]),
    need("/usr/include/zlib.h", &[&["zlib1g-dev"]]),
    need("/usr/include/zstd.h", &[&["libzstd-dev"]]),
    need("c++", &[&["g++"]]),
    // Other kernels in virtual machines, and what their guests run.
    need("qemu-system-x86_64", &[&["qemu-system-x86"]]),
    need("busybox", &[&["busybox-static"]]),
    need("cpio", &[&["cpio"]]),
    need("patch", &[&["patch"]]),
    need("openssl", &[&["openssl"]]),
    need("modprobe", &[&["kmod"]]),
    need("xz", &[&["xz-utils"]]),
    need("strace", &[&["strace"]]),
    need("apparmor_parser", &[&["apparmor"]]),
    need("/usr/libexec/selinux/hll/pp", &[&["policycoreutils"]]),
    need("secilc", &[&["secilc"]]),
    need("bzip2", &[&["bzip2"]]),
    // What the tests make real refusals with, and look at the kernel with.
    need("nft", &[&["nftables"]]),
    need("iptables", &[&["iptables"]]),
    need("ipvsadm", &[&["ipvsadm"]]),
    need("ufw", &[&["ufw"]]),
    need(FIREWALLD, &[&["firewalld"]]),
    need("dbus-daemon", &[&["dbus-daemon"], &["dbus"]]),
    need("python3", &[&["python3-minimal"]]),
    need("/usr/lib/python3/dist-packages/redis", &[&["python3-redis"]]),
    need("haproxy", &[&["haproxy"]]),
    need("tmux", &[&["tmux"]]),
    need("bpftool", BPFTOOL),
    need("setpriv", &[&["util-linux"]]),
];

/// What `cargo xtask bench` compares with and looks through, besides.
const BENCH: &[Need] = &[
    need("bpftool", BPFTOOL),
    need("bpftrace", &[&["bpftrace"]]),
    need("tcpdump", &[&["tcpdump"]]),
    need("strace", &[&["strace"]]),
    need("tcpdrop-bpfcc", &[&["bpfcc-tools"]]),
];

/// A firewall that is on once it is started.
const FIREWALLD: &str = "firewalld";

/// The tool that lists the kernel's BPF programs.
const BPFTOOL: &[&[&str]] = &[&["bpftool"], &["linux-tools-common", "linux-tools-generic"]];

/// A Rust that brings a `core` for the BPF target.
const RUSTC_BPF: &[&[&str]] = &[&["rustc-web", "libstd-rust-web-dev-bpf"], &["rustc", "libstd-rust-dev-bpf"]];

/// Installs everything that any task needs.
pub(crate) fn everything() -> Result<()> {
    let needs: Vec<&Need> = DEMO.iter().chain(EVERYTHING).collect();
    install_packages(&needs)?;
    install_components()?;
    install_linker()?;
    println!("setup: everything is there");
    Ok(())
}

/// Installs what the demo needs, and no more.
pub(crate) fn demo() -> Result<()> {
    install_packages(&DEMO.iter().collect::<Vec<_>>())
}

/// Installs what the bench needs: a real Redis, and whom it is compared with.
pub(crate) fn bench() -> Result<()> {
    install_packages(&DEMO.iter().chain(BENCH).collect::<Vec<_>>())
}

/// Installs what the Debian package is made and judged with.
pub(crate) fn deb() -> Result<()> {
    install_packages(&[&need("dpkg-deb", &[&["dpkg"]]), &need("systemd-analyze", &[&["systemd"]])])?;
    let installed = output(cargo()?.args(["deb", "--version"])).unwrap_or_default();
    if installed.contains(CARGO_DEB) {
        return Ok(());
    }
    run(cargo()?.args(["install", "cargo-deb", "--version", CARGO_DEB, "--locked", "--force"]))
}

/// Installs the packages of the needs that are not met.
fn install_packages(needs: &[&Need]) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let report = missing.iter().map(|need| describe(need)).collect::<Vec<_>>().join("\n");
    if which("apt-get").is_none() {
        bail!("this is neither Debian nor Ubuntu, so nothing was installed. Missing are:\n{report}");
    }
    if !is_root()? {
        bail!(
            "only root can install packages. Missing are:\n{report}\n  try   sudo env PATH=\"$PATH\" cargo xtask setup"
        );
    }
    println!("setup: missing are\n{report}");
    run(apt().arg("update"))?;
    let packages = missing.iter().map(|need| choose(need)).collect::<Result<Vec<_>>>()?.concat();
    let _quiet = NoServices::begin()?;
    run(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))?;
    if missing.iter().any(|need| need.probe == FIREWALLD) {
        // Debian has it started at the next boot, and then it keeps everybody out.
        run(Command::new("systemctl").args(["disable", "firewalld.service"]))?;
    }
    let missing = self::missing(needs);
    if !missing.is_empty() {
        let report = missing.iter().map(|need| describe(need)).collect::<Vec<_>>().join("\n");
        bail!("apt-get succeeded, and still missing are:\n{report}");
    }
    Ok(())
}

/// The needs that this machine does not meet.
fn missing<'a>(needs: &[&'a Need]) -> Vec<&'a Need> {
    let met = |probe: &str| if probe.starts_with('/') { Path::new(probe).exists() } else { which(probe).is_some() };
    needs.iter().copied().filter(|need| !met(need.probe)).collect()
}

/// One line about a need: what is not there and what would bring it.
fn describe(need: &Need) -> String {
    let packages = need.packages.iter().map(|set| set.join(" + ")).collect::<Vec<_>>().join(" or ");
    format!("  {} (package {packages})", need.probe)
}

/// The packages for a need that this machine's apt knows.
fn choose(need: &Need) -> Result<&'static [&'static str]> {
    let known = |package: &&str| {
        let policy = output(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"));
        policy.is_ok_and(|text| text.contains("Candidate:") && !text.contains("Candidate: (none)"))
    };
    need.packages.iter().copied().find(|set| set.iter().all(known)).with_context(|| {
        format!("this machine's package sources lack what this needs:\n{}\n  try   a newer suite", describe(need))
    })
}

/// apt-get, told to ask nothing.
pub(crate) fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.arg("--quiet").env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// Whether this process is root.
pub(crate) fn is_root() -> Result<bool> {
    Ok(output(Command::new("id").arg("--user"))? == "0")
}

/// While this lives, packages install without starting their services: a test host wants no Redis of its own.
struct NoServices(Option<PathBuf>);

impl NoServices {
    /// Sets Debian's own switch for this, unless the administrator has set it.
    fn begin() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let policy = PathBuf::from("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self(None));
        }
        std::fs::write(&policy, "#!/bin/sh\nexit 101\n").context("cannot write /usr/sbin/policy-rc.d")?;
        std::fs::set_permissions(&policy, std::fs::Permissions::from_mode(0o755))
            .context("cannot make /usr/sbin/policy-rc.d executable")?;
        Ok(Self(Some(policy)))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.as_ref().map(std::fs::remove_file) {
            eprintln!(
                "setup: /usr/sbin/policy-rc.d could not be removed ({error}): services will not start when installed"
            );
        }
    }
}

/// Makes sure of rustfmt and clippy.
fn install_components() -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        // rustup's own stand-in is there even where the component is not.
        if output(cargo()?.args([subcommand, "--version"])).is_err() {
            run(Command::new("rustup").args(["component", "add", component]))
                .with_context(|| format!("`cargo {subcommand}` is missing: install the Rust component {component}"))?;
        }
    }
    Ok(())
}

/// Makes sure of the eBPF linker in the version that the object's lock names.
fn install_linker() -> Result<()> {
    let installed = output(Command::new("bpf-linker").arg("--version")).unwrap_or_default();
    if installed == format!("bpf-linker {BPF_LINKER}") {
        return Ok(());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    run(cargo()?
        .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--force"])
        .args(["--no-default-features", "--features", "llvm-22"])
        // Without the prefix its build takes the library directory of another LLVM.
        .env("LLVM_PREFIX", LLVM)
        .env("PATH", format!("{LLVM}/bin:{path}")))
}
