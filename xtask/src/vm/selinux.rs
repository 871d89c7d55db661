//! Debian's own SELinux policy, compiled for the test machines.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::{archive, guest};
use crate::lock::sha256;
use crate::run::{run, which};

/// The package that brings the policy; it is unpacked aside, for installing it would mean to use it on this host.
const PACKAGE: &str = "selinux-policy-default";
/// How its modules' names end.
const MODULE: &str = ".pp.bz2";
/// What turns a module of the policy into the language that the compiler reads.
const TRANSLATOR: &str = "/usr/libexec/selinux/hll/pp";
/// The newest form of policies that Linux 5.10 takes.
const FORM: &str = "33";
/// What a test machine needs besides.
const OURS: &str = include_str!("selinux.cil");

/// The archive with the policy, the labels of files and the program that sets them, made unless it is in the cache.
pub(super) fn pack(cache: &Path) -> Result<PathBuf> {
    // Named after what is ours in it, so that none is kept that has an older one.
    let name = format!("selinux-{}.cpio", &sha256(OURS.as_bytes())[..12]);
    let packed = cache.join(&name);
    if packed.is_file() {
        return Ok(packed);
    }
    let work = cache.join(format!("selinux.{}", std::process::id()));
    archive::fresh(&work)?;
    println!("vm: compiling {PACKAGE}");
    download(&work)?;
    let modules = work.join("tree/usr/share/selinux/default");
    let mut sources = vec![work.join("ours.cil")];
    fs::write(&sources[0], OURS)?;
    for module in fs::read_dir(&modules).with_context(|| format!("{PACKAGE} holds no {}", modules.display()))? {
        let module = module?.file_name().to_string_lossy().into_owned();
        if let Some(name) = module.strip_suffix(MODULE) {
            sources.push(translate(&modules.join(&module), name, &work)?);
        }
    }
    let root = work.join("root");
    fs::create_dir_all(root.join("t"))?;
    // Without its assertions: what the machine is allowed besides breaks some of them.
    run(Command::new("secilc")
        .args(["--disable-neverallow", "--policyvers", FORM, "--output"])
        .arg(root.join("t/policy"))
        .arg("--filecontext")
        .arg(root.join("t/file_contexts"))
        .args(&sources))?;
    let labeller = which("setfiles").context("setfiles is missing: run `cargo xtask setup`")?;
    guest::copy_with_libraries(&root, &labeller)?;
    archive::pack(&root, &work.join(&name))?;
    // Whole or not at all: another clone may share this cache.
    fs::rename(work.join(&name), &packed)?;
    fs::remove_dir_all(&work)?;
    Ok(packed)
}

/// Downloads and unpacks the policy of this host's own suite, which its compiler understands.
fn download(work: &Path) -> Result<()> {
    let mut download = Command::new("apt-get");
    download.args(["--quiet", "--option", "APT::Sandbox::User=root", "download", PACKAGE]).current_dir(work);
    if run(&mut download).is_err() {
        run(Command::new("apt-get").args(["--quiet", "update"]))?;
        run(&mut download)?;
    }
    let files = fs::read_dir(work)?.collect::<std::io::Result<Vec<_>>>()?;
    let package = files.iter().map(fs::DirEntry::path).find(|path| path.extension().is_some_and(|end| end == "deb"));
    let package = package.with_context(|| format!("apt-get brought no {PACKAGE}"))?;
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(work.join("tree")))
}

/// A module in the language that the compiler reads.
fn translate(module: &Path, name: &str, work: &Path) -> Result<PathBuf> {
    let (plain, source) = (work.join("module.pp"), work.join(format!("{name}.cil")));
    let unpacked = Command::new("bzip2")
        .arg("-dc")
        .arg(module)
        .stdin(Stdio::null())
        .output()
        .context("cannot start bzip2: run `cargo xtask setup`")?;
    fs::write(&plain, unpacked.stdout)?;
    let translated = Command::new(TRANSLATOR).arg(&plain).arg(&source).status();
    let translated = translated.with_context(|| format!("cannot start {TRANSLATOR}: run `cargo xtask setup`"))?;
    anyhow::ensure!(translated.success(), "{TRANSLATOR} of {name} ended with {translated}");
    Ok(source)
}
