//! Puts the committed eBPF object, packed, where the program embeds it, and refuses one that is older than its sources.

#[path = "bpf/lock.rs"]
mod lock;

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;

fn main() -> Result<(), Box<dyn Error>> {
    let package = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let bpf = package.join("bpf");
    let workspace = package.parent().unwrap_or(&package);
    println!("cargo::rerun-if-changed=bpf");
    for source in lock::SOURCES.iter().map(|source| workspace.join(source)).filter(|source| source.exists()) {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    let object = std::fs::read(bpf.join("redis-trace.bpf.o"))?;
    println!("cargo::rustc-env=PROBES_SHA256={}", lock::sha256(&object));
    if let Err(reason) = fits(&object, &std::fs::read_to_string(bpf.join("redis-trace.bpf.lock"))?, workspace) {
        println!("cargo::error={reason}: run `cargo xtask ebpf`");
        std::process::exit(1);
    }
    let packed = File::create(PathBuf::from(std::env::var("OUT_DIR")?).join("redis-trace.bpf.o.z"))?;
    let mut encoder = ZlibEncoder::new(packed, Compression::best());
    encoder.write_all(&object)?;
    encoder.finish()?;
    Ok(())
}

/// Whether the object is the lock's, and the lock's sources are those next to it, if any are (a packaged crate has none).
fn fits(object: &[u8], lock: &str, workspace: &Path) -> Result<(), Box<dyn Error>> {
    let lock = lock::Lock::parse(lock).ok_or("bpf/redis-trace.bpf.lock lacks a digest")?;
    if lock.object != lock::sha256(object) {
        return Err("bpf/redis-trace.bpf.o is not the object that its lock file tells of".into());
    }
    if lock::source_digest(workspace)?.is_some_and(|sources| sources != lock.sources) {
        return Err("bpf/redis-trace.bpf.o is older than the probes' sources".into());
    }
    Ok(())
}
