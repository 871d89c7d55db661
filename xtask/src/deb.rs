//! `cargo xtask deb`: the Debian package, built, judged, installed, run and purged before anybody gets it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::bench;
use crate::run::{cargo, output, run, workspace};
use crate::setup;

/// Exposure that `systemd-analyze security` may give the unit at most, in tenths.
const EXPOSURE: &str = "30";

/// What the package brings, each of which must be gone after it was purged.
const BRINGS: &[&str] = &[
    "/usr/bin/redis-trace",
    "/usr/lib/systemd/system/redis-trace.service",
    "/usr/share/man/man1/redis-trace.1.gz",
    "/usr/share/bash-completion/completions/redis-trace",
    "/usr/share/zsh/vendor-completions/_redis-trace",
    "/usr/share/fish/vendor_completions.d/redis-trace.fish",
    "/usr/share/doc/redis-trace/deploy.md",
    "/usr/share/doc/redis-trace/causes/RT1001.md",
    "/usr/share/doc/redis-trace/deploy/alerts.yaml",
    "/etc/default/redis-trace",
];

/// Builds the package and tries it.
pub(crate) fn deb() -> Result<()> {
    setup::deb()?;
    let root = workspace()?;
    let work = root.join("target/deb");
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    judge_unit(&root.join("packaging/redis-trace.service"))?;
    let program = bench::build("redis-trace", true)?;
    write_pages(&program, &work)?;
    let package = work.join("redis-trace.deb");
    run(cargo()?
        .args(["deb", "--package", "redis-trace", "--no-build", "--no-strip", "--target", bench::TARGET, "--output"])
        .arg(&package)
        // What is not reproducible is no use to whoever checks it.
        .env("SOURCE_DATE_EPOCH", output(Command::new("git").args(["log", "-1", "--format=%ct"]))?))?;
    try_package(&package)?;
    println!("deb: {} installs, runs and is purged without a trace", package.display());
    Ok(())
}

/// Fails when the unit exposes more of the host than it should.
fn judge_unit(unit: &Path) -> Result<()> {
    let mut judge = Command::new("systemd-analyze");
    run(judge.args(["security", "--offline=true", "--no-pager"]).arg(format!("--threshold={EXPOSURE}")).arg(unit))
}

/// The manual page and the completions, as the program itself prints them.
fn write_pages(program: &Path, work: &Path) -> Result<()> {
    let pages: [(&str, &[&str]); 4] = [
        ("redis-trace.1", &["man"]),
        ("redis-trace.bash", &["completions", "bash"]),
        ("_redis-trace", &["completions", "zsh"]),
        ("redis-trace.fish", &["completions", "fish"]),
    ];
    for (name, arguments) in pages {
        let page = output(Command::new(program).args(arguments))?;
        std::fs::write(work.join(name), page + "\n").with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// Installs the package on a copy of this host that is laid over it and thrown away, runs what it brings, and purges it.
fn try_package(package: &Path) -> Result<()> {
    if !setup::is_root()? {
        bail!("only root can install the package to try it");
    }
    let brings = BRINGS.join(" ");
    let script = format!(
        "set -eu\n\
         mount -t tmpfs none /mnt && mkdir /mnt/upper /mnt/work /mnt/root\n\
         mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work none /mnt/root\n\
         cp \"$0\" /mnt/root/tmp/redis-trace.deb\n\
         mount --rbind /proc /mnt/root/proc; mount --rbind /sys /mnt/root/sys; mount --rbind /dev /mnt/root/dev\n\
         exec chroot /mnt/root sh -euc '\n\
         dpkg --install /tmp/redis-trace.deb\n\
         for file in {brings}; do test -e $file; done\n\
         test ! -e /etc/systemd/system/multi-user.target.wants/redis-trace.service\n\
         systemd-analyze verify redis-trace.service\n\
         /usr/bin/redis-trace --version; /usr/bin/redis-trace explain RT1007 > /dev/null\n\
         /usr/bin/redis-trace watch --duration 1s\n\
         dpkg --purge redis-trace\n\
         for file in {brings}; do test ! -e $file; done\n\
         ! dpkg --status redis-trace 2> /dev/null\n'"
    );
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .arg(package)
        .status()
        .context("cannot start unshare")?;
    ensure!(status.success(), "the package cannot be installed, run and purged: {status}");
    Ok(())
}
