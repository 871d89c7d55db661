//! Other servers of Redis's kind than this machine's own, from other suites of Debian: unpacked aside, with all that they need,
//! into a root of their own. Nothing of them is installed here.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::apt::{Apt, unpack};
use crate::run::{output, workspace};
use crate::vm::Cache;

/// Servers of one suite, which share a root.
struct Suite {
    /// The suite's name.
    name: &'static str,
    /// Its packages; each is named after the program that it brings.
    servers: &'static [&'static str],
}

/// Redis 6.0; Redis 8.0 and Valkey 8.1. `tests/versions.rs` has the same list.
const SUITES: &[Suite] = &[
    Suite { name: "bullseye", servers: &["redis-server"] },
    Suite { name: "trixie", servers: &["redis-server", "valkey-server"] },
];

/// What finds the libraries of a program.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// Starts a server in its root, as a container would: with this machine's devices, processes and temporary files. The shell
/// becomes the server, so that whoever starts it has the server's process.
const START: &str = "#!/bin/sh\n\
    export LC_ALL=C\n\
    exec unshare --mount sh -euc '\n\
    for place in dev proc tmp; do mount -o rbind \"/$place\" \"$0/$place\"; done\n\
    exec chroot \"$0\" \"$@\"' \"${0%/*}/root\" \"${0##*/}\" \"$@\"\n";

/// Fetches what is not in the cache.
pub(crate) fn fetch() -> Result<()> {
    let cache = Cache::open(&workspace()?)?;
    let kept = cache.directory().join("servers");
    let missing: Vec<&Suite> = SUITES.iter().filter(|suite| !kept.join(suite.name).is_dir()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let apt = Apt::open(cache.directory())?;
    missing.into_iter().try_for_each(|suite| fetch_suite(suite, &apt, &kept))
}

/// Downloads and unpacks a suite's servers.
fn fetch_suite(suite: &Suite, apt: &Apt, kept: &Path) -> Result<()> {
    println!("setup: fetching {} of {}", suite.servers.join(" and "), suite.name);
    let work = kept.join(format!("{}.{}", suite.name, std::process::id()));
    let (packages, root) = (work.join("packages"), work.join("root"));
    fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    apt.download_whole(suite.name, suite.servers, &packages)?;
    unpack(&packages, &root)?;
    fs::remove_dir_all(&packages)?;
    make_places(&root)?;
    // Newer suites have these below /usr alone, and the links in a package that nobody depends on.
    for place in ["bin", "lib", "lib64", "sbin"] {
        if !root.join(place).exists() && root.join("usr").join(place).exists() {
            symlink(Path::new("usr").join(place), root.join(place))?;
        }
    }
    suite.servers.iter().try_for_each(|server| write_start(&work, server))?;
    // Whole or not at all: another clone may share this cache. The later one's rename fails, and does not matter.
    if fs::rename(&work, kept.join(suite.name)).is_err() {
        fs::remove_dir_all(&work)?;
    }
    Ok(())
}

/// Copies each server to a machine's file system: its program, what starts it, and of its root no more than it needs.
pub(crate) fn copy(cache: &Path, to: &Path) -> Result<()> {
    fetch()?;
    for suite in SUITES {
        let (root, place) = (cache.join("servers").join(suite.name).join("root"), to.join(suite.name));
        make_places(&place.join("root"))?;
        for server in suite.servers {
            let program = format!("usr/bin/{server}");
            let listed = output(Command::new("chroot").arg(&root).args([LOADER, "--list", &program]))?;
            let libraries = listed.split_whitespace().filter_map(|word| word.strip_prefix('/'));
            for file in libraries.chain([program.as_str()]) {
                let copy = place.join("root").join(file);
                fs::create_dir_all(copy.parent().context("a file is in a directory")?)?;
                fs::copy(resolve(&root, file)?, &copy)
                    .with_context(|| format!("cannot copy {file} of {}", suite.name))?;
            }
            write_start(&place, server)?;
        }
    }
    Ok(())
}

/// The file that a path of a root leads to: its links count from there.
fn resolve(root: &Path, path: &str) -> Result<PathBuf> {
    let mut file = root.join(path);
    while file.is_symlink() {
        let target = fs::read_link(&file)?;
        file = match target.strip_prefix("/") {
            Ok(below) => root.join(below),
            Err(_) => file.with_file_name(target),
        };
    }
    Ok(file)
}

/// Makes the directories of a root in which the machine's own show.
fn make_places(root: &Path) -> Result<()> {
    ["dev", "proc", "tmp"].iter().try_for_each(|place| Ok(fs::create_dir_all(root.join(place))?))
}

/// Writes what starts a server in the root beside it.
fn write_start(place: &Path, server: &str) -> Result<()> {
    let start = place.join(server);
    fs::write(&start, START)?;
    Ok(fs::set_permissions(&start, Permissions::from_mode(0o755))?)
}
