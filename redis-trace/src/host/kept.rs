//! Whether a firewall's rule is there after a restart: as far as the files tell from which the rules are loaded.

use std::fs;

use crate::firewall::{Backend, Owner, Site};

/// From where the service of nftables loads its rules, on Debian and its like and on Fedora and its like.
const NFTABLES: &[&str] =
    &["/etc/nftables.conf", "/etc/nftables.d/*", "/etc/nftables/*", "/etc/sysconfig/nftables.conf"];
/// From where those of iptables are restored.
const IPTABLES: &[&str] = &["/etc/iptables/rules.v[46]", "/etc/sysconfig/iptables", "/etc/sysconfig/ip6tables"];
/// As much as is read of a file.
const LONGEST: u64 = 16 << 20;

/// Whether the rule stays, in words.
pub fn kept(site: &Site) -> String {
    let (files, service) = match (site.owner, site.backend) {
        (Some(Owner::Ufw), _) => return "ufw keeps it".to_owned(),
        (Some(Owner::Firewalld), _) => {
            return "firewalld keeps it if `firewall-cmd --permanent` has it, too".to_owned();
        }
        (Some(Owner::Docker | Owner::KubeProxy | Owner::Calico), _) => return "its owner makes it anew".to_owned(),
        (None, Backend::Ipvs) => return "whoever set up IPVS keeps it".to_owned(),
        (None, Backend::Nftables) => (NFTABLES, "nftables"),
        (None, Backend::IptablesNft | Backend::IptablesLegacy) => (IPTABLES, "iptables"),
    };
    let rule = words(site.rule.as_str());
    let names = files.iter().filter_map(|pattern| glob::glob(pattern).ok()).flatten().flatten();
    let is_in = |file: &std::path::PathBuf| {
        let is_readable = fs::metadata(file).is_ok_and(|file| file.is_file() && file.len() <= LONGEST);
        is_readable && fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| says(line, &rule)))
    };
    match names.into_iter().find(is_in) {
        Some(file) => format!("{} has it: it is there after a restart", file.display()),
        None => format!("no file of {service} has it word for word: it may be temporary"),
    }
}

/// Whether a line that is no remark has these words.
fn says(line: &str, rule: &str) -> bool {
    !line.trim_start().starts_with('#') && words(line).contains(rule)
}

/// A line with single spaces, to be found however it was indented.
fn words(line: &str) -> String {
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}
