//! The kernel modules that a test machine may need, with what they depend on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::archive;
use crate::run::output;

/// The modules, whatever they depend on comes along; a kernel that lacks one has it built in or does not know it.
const MODULES: &[&str] = &[
    // What makes refusals: nftables and both kinds of iptables.
    "nf_tables",
    "nft_counter",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_reject_bridge",
    "nft_meta_bridge",
    "nf_reject_ipv4",
    "nf_reject_ipv6",
    "nft_compat",
    "nft_ct",
    "nft_chain_nat",
    "nft_nat",
    "nft_redir",
    "nft_log",
    "nft_limit",
    "nft_objref",
    "nfnetlink",
    "nf_conntrack",
    "x_tables",
    "xt_tcpudp",
    "xt_comment",
    "xt_conntrack",
    "ip_tables",
    "iptable_filter",
    "ipt_REJECT",
    "ip6_tables",
    "ip6table_filter",
    "ip6t_REJECT",
    // Virtual services.
    "ip_vs",
    "ip_vs_rr",
    // Networks to be refused in, and a way to lose packets.
    "bridge",
    "veth",
    "dummy",
    "sch_netem",
    // Policies of IPsec.
    "xfrm_user",
    // What the agent asks for sockets.
    "inet_diag",
    "tcp_diag",
    "unix_diag",
];

/// Packs the modules of the unpacked kernel in `tree` into an archive for the initial file system.
pub(crate) fn pack(tree: &Path, release: &str, archive: &Path) -> Result<()> {
    let base = if tree.join("lib/modules").is_dir() { tree.to_owned() } else { tree.join("usr") };
    depmod(&base, release)?;
    let picked = tree.join("picked");
    for module in closure(&base, release) {
        let place = module.strip_prefix(&base).context("modprobe named a module of another kernel")?;
        let target = picked.join("usr").join(place).with_extension("").with_extension("ko");
        fs::create_dir_all(target.parent().context("a module lies in a directory")?)?;
        // From 6.12 on they come compressed, which busybox's modprobe does not read.
        if module.extension().is_some_and(|extension| extension == "xz") {
            let plain = Command::new("xz").arg("-dc").arg(&module).output().context("cannot start xz")?;
            fs::write(target, plain.stdout)?;
        } else {
            fs::copy(&module, target)?;
        }
    }
    depmod(&picked.join("usr"), release)?;
    archive::pack(&picked, archive)
}

/// The files of the modules and of all they depend on.
fn closure(base: &Path, release: &str) -> BTreeSet<PathBuf> {
    let show = |module: &&str| {
        let mut modprobe = Command::new("modprobe");
        output(modprobe.arg("-d").arg(base).args(["-S", release, "--show-depends", module])).ok()
    };
    let shown: Vec<String> = MODULES.iter().filter_map(show).collect();
    let files = shown.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("insmod "));
    files.map(|line| PathBuf::from(line.split(' ').next().unwrap_or(line))).collect()
}

/// Writes the tables that modprobe reads.
fn depmod(base: &Path, release: &str) -> Result<()> {
    // It warns of tables that only a whole kernel has.
    output(Command::new("depmod").arg("-b").arg(base).arg(release))?;
    Ok(())
}
