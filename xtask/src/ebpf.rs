//! `cargo xtask ebpf`: builds the probes into the committed object, bit-identical from any directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::functions::functions;
use crate::lock::{Lock, sha256, source_digest};
use crate::run::{cargo, output, run, which, workspace};

/// The only target of the probes; every kernel we support on x86-64 and arm64 is little-endian.
const TARGET: &str = "bpfel-unknown-none";
/// The committed object, relative to the workspace.
const OBJECT: &str = "redis-trace/bpf/redis-trace.bpf.o";
/// What it was built from and with, relative to the workspace.
const LOCK: &str = "redis-trace/bpf/redis-trace.bpf.lock";

/// A Rust that can build for the BPF target.
enum Rust {
    /// The distribution's, which has a prebuilt `core` for the target.
    Distribution(PathBuf),
    /// rustup's nightly, which builds `core` from its source.
    Nightly,
}

impl Rust {
    /// Finds one, or says what to install.
    fn find() -> Result<Self> {
        let distribution = PathBuf::from("/usr/bin/rustc");
        if Path::new("/usr/lib/rustlib").join(TARGET).join("lib").is_dir() && distribution.is_file() {
            return Ok(Self::Distribution(distribution));
        }
        let sysroot = output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]));
        if sysroot.is_ok_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/core").is_dir()) {
            return Ok(Self::Nightly);
        }
        bail!(
            "no Rust here can build for {TARGET}.\n  try   cargo xtask setup (Debian and Ubuntu)\n  or    \
             rustup toolchain install nightly --component rust-src"
        )
    }

    /// Its compiler, ready for arguments.
    fn rustc(&self) -> Command {
        match self {
            Self::Distribution(rustc) => without_outer_cargo(Command::new(rustc)),
            Self::Nightly => {
                let mut rustup = without_outer_cargo(Command::new("rustup"));
                rustup.args(["run", "nightly", "rustc"]);
                rustup
            }
        }
    }

    /// The cargo command that builds the probes with it.
    fn cargo_build(&self) -> Result<Command> {
        let mut build = cargo()?;
        match self {
            // The probes and their library need unstable Rust; only they may have it.
            Self::Distribution(rustc) => {
                build.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "aya_ebpf,redis_trace_ebpf").arg("build");
            }
            Self::Nightly => {
                build.args(["+nightly", "build", "-Zbuild-std=core"]);
            }
        }
        Ok(build)
    }
}

/// Forgets what the outer cargo and rustup set: this compiler is not theirs.
fn without_outer_cargo(mut command: Command) -> Command {
    command.env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// Builds the object and writes it with its lock file.
pub(crate) fn build() -> Result<()> {
    let root = workspace()?;
    let (object, lock) = compile(&root)?;
    std::fs::write(root.join(OBJECT), object).with_context(|| format!("cannot write {OBJECT}"))?;
    std::fs::write(root.join(LOCK), text(&lock)).with_context(|| format!("cannot write {LOCK}"))?;
    println!("ebpf: wrote {OBJECT} and its lock");
    Ok(())
}

/// Rebuilds the object elsewhere and compares it with the committed one.
pub(crate) fn check() -> Result<()> {
    let root = workspace()?;
    let text = std::fs::read_to_string(root.join(LOCK)).with_context(|| format!("cannot read {LOCK}"))?;
    let committed = Lock::parse(&text).with_context(|| format!("{LOCK} lacks a digest: run `cargo xtask ebpf`"))?;
    let object = std::fs::read(root.join(OBJECT)).with_context(|| format!("cannot read {OBJECT}"))?;
    if sha256(&object) != committed.object {
        bail!("{OBJECT} is not the object that {LOCK} tells of: run `cargo xtask ebpf` and commit both");
    }
    let (rebuilt, lock) = compile(&root)?;
    if lock.sources != committed.sources {
        bail!("{OBJECT} is older than its sources: run `cargo xtask ebpf` and commit what it writes");
    }
    if rebuilt == object {
        println!("ebpf: {OBJECT} is, byte for byte, what its sources give");
    } else if lock.toolchain == committed.toolchain {
        bail!(
            "{OBJECT} is not what its sources and its toolchain give: run `cargo xtask ebpf` and commit what it writes"
        );
    } else {
        println!("ebpf: {OBJECT} was built from these sources, with another toolchain, so its bytes are not compared:");
        for (tool, version) in &committed.toolchain {
            println!("  lock  {tool} = {version}");
        }
    }
    Ok(())
}

/// Compiles, links and strips the probes: the object's bytes and the lock that tells of them.
fn compile(root: &Path) -> Result<(Vec<u8>, Lock)> {
    let rust = Rust::find()?;
    let strip = strip_program(&rust)?;
    let toolchain = versions(&rust, &strip)?;
    for (tool, version) in &toolchain {
        println!("  {tool} = {version}");
    }
    let sources = source_digest(root)?.context("the sources of the probes are not in this workspace")?;

    // A target directory of its own: another compiler must not disturb the program's.
    let target = root.join("target/ebpf");
    run(rust
        .cargo_build()?
        .args(["--locked", "--release", "--package", "redis-trace-ebpf", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root)?.join("\x1f"))
        .env("CARGO_INCREMENTAL", "0")
        .env_remove("RUSTC_WRAPPER")
        .envs(PROFILE))?;
    let linked = target.join(TARGET).join("release/redis-trace-ebpf");
    let stripped = target.join("redis-trace.bpf.o");
    strip_down(&strip, &linked, &stripped)?;
    let object = std::fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))?;
    let lock = Lock { sources, object: sha256(&object), toolchain };
    Ok((object, lock))
}

/// Takes out what nobody needs who loads the object: DWARF, and the lines of source for the verifier's log, more than half of
/// it. BTF, which the loader needs, stays, and what it says of functions as far as the verifier needs it.
fn strip_down(strip: &Path, linked: &Path, stripped: &Path) -> Result<()> {
    let objcopy = strip.with_file_name("llvm-objcopy");
    let kept = stripped.with_extension("btf.ext");
    run(Command::new(&objcopy)
        .arg(format!("--dump-section=.BTF.ext={}", kept.display()))
        .arg(linked)
        .arg("/dev/null"))?;
    std::fs::write(&kept, functions(&std::fs::read(&kept)?)?)?;
    run(Command::new(objcopy)
        .args(["-g", "-R", ".BTF.ext", "-R", ".rel.BTF.ext"])
        .arg(format!("--add-section=.BTF.ext={}", kept.display()))
        .arg(linked)
        .arg(stripped))
}

/// The release profile as the probes need it: one module, so that the linker sees everything, and no unwinding.
const PROFILE: [(&str, &str); 6] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_LTO", "true"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false"),
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
];

/// The compiler's flags; the last ones keep the names of this machine's directories out of the object.
fn flags(root: &Path) -> Result<Vec<String>> {
    let cargo_home = home_of("CARGO_HOME", ".cargo")?;
    // Where two fit, the later one counts.
    let mut places = vec![(home_of("RUSTUP_HOME", ".rustup")?, "/rustup"), (cargo_home.clone(), "/cargo")];
    for registry in std::fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten() {
        // The directory is named after the registry's address: each machine may have its own.
        places.push((registry?.path(), "/registry"));
    }
    places.push((root.to_owned(), "/redis-trace"));
    let fixed = [
        "-Clinker=bpf-linker",
        "--cfg=bpf_target_arch=\"x86_64\"",
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // Else each address that is cleared is a call of a loop that goes byte by byte, which the verifier follows as often.
        "-Clink-arg=--disable-expand-memcpy-in-order",
    ];
    let remapped = places.iter().map(|(place, name)| format!("--remap-path-prefix={}={name}", place.display()));
    Ok(fixed.into_iter().map(String::from).chain(remapped).collect())
}

/// A tool's own directory: where its variable says, or below the user's home.
fn home_of(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os(variable) {
        return Ok(directory.into());
    }
    let home = std::env::var_os("HOME").with_context(|| format!("neither {variable} nor HOME is set"))?;
    Ok(PathBuf::from(home).join(name))
}

/// The LLVM strip that fits the compiler.
fn strip_program(rust: &Rust) -> Result<PathBuf> {
    let about = output(rust.rustc().arg("-vV"))?;
    let version = about.lines().find_map(|line| line.strip_prefix("LLVM version: ")).unwrap_or_default();
    let major = version.split('.').next().unwrap_or_default();
    let beside = PathBuf::from(format!("/usr/lib/llvm-{major}/bin/llvm-strip"));
    if beside.is_file() {
        return Ok(beside);
    }
    which("llvm-strip").with_context(|| format!("llvm-strip of LLVM {major} is missing: run `cargo xtask setup`"))
}

/// Each program of the build with its version, in the order of the build.
fn versions(rust: &Rust, strip: &Path) -> Result<Vec<(String, String)>> {
    let about_strip = output(Command::new(strip).arg("--version"))?;
    let llvm = about_strip.lines().map(str::trim).find(|line| line.contains("LLVM version")).unwrap_or_default();
    let tools = [
        ("cargo", output(Command::new("cargo").arg("--version"))?),
        ("rustc", output(rust.rustc().arg("--version"))?),
        ("linker", output(Command::new("bpf-linker").arg("--version")).context("run `cargo xtask setup`")?),
        ("strip", llvm.to_owned()),
    ];
    Ok(tools.map(|(tool, version)| (tool.to_owned(), version)).into())
}

/// The lock file's text.
fn text(lock: &Lock) -> String {
    let mut text = String::from("# What redis-trace.bpf.o was built from and with. Written by `cargo xtask ebpf`.\n");
    let digests = [("sources", &lock.sources), ("object", &lock.object)];
    let tools = lock.toolchain.iter().map(|(tool, version)| (tool.as_str(), version));
    text.extend(digests.into_iter().chain(tools).map(|(key, value)| format!("{key} = \"{value}\"\n")));
    text
}
