//! Rules of a firewall on the stage, and what must be told of them.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::expect::Expected;
use super::netns::Netns;
use crate::kernel::has_drop_reasons;
use crate::trace::cause::Code;

/// A rule as its own program lists it.
pub(crate) struct Listed {
    /// What `nft delete rule` takes.
    pub(crate) handle: u64,
    /// The rule, its remark included.
    pub(crate) text: String,
}

impl Netns {
    /// Runs a program inside it, to its end, and hands back what it printed.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.within(|| {
            let output = Command::new(program).args(arguments).output();
            output.with_context(|| format!("cannot run {program}: install it"))
        })?;
        let (said, wept) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "`{program} {}` failed: {wept}", arguments.join(" "));
        Ok(said.into_owned())
    }

    /// Gives it rules of nftables: chains of a table `f`, each by its first line, which says where it is entered, and its
    /// rules.
    pub(crate) fn nft(&self, family: &str, chains: &[(&str, &str, &str)]) -> Result<()> {
        let chain = |(name, entered, rules): &(&str, &str, &str)| format!("chain {name} {{\n{entered}\n{rules}\n}}\n");
        let chains: String = chains.iter().map(chain).collect();
        self.run("nft", &[&format!("table {family} f {{\n{chains}}}\n")]).map(drop)
    }

    /// The rule with this remark.
    pub(crate) fn listed(&self, remark: &str) -> Result<Listed> {
        let listing = self.run("nft", &["--stateless", "--handle", "list", "ruleset"])?;
        let marked = format!("comment \"{remark}\"");
        let line = listing.lines().find(|line| line.contains(&marked));
        let line = line.with_context(|| format!("no rule has the remark {remark}:\n{listing}"))?;
        let (text, handle) = line.rsplit_once(" # handle ").context("nft lists a handle with each rule")?;
        Ok(Listed { handle: handle.trim().parse()?, text: text.trim().to_owned() })
    }
}

/// Whether the kernel has rules of this family that reject. Who asks may have no actor to hold a namespace.
pub(crate) fn can_reject(family: &str) -> bool {
    let hook = if family == "netdev" { "ingress device \"lo\"" } else { "input" };
    let chain = format!("chain in {{\ntype filter hook {hook} priority 0;\ntcp dport 1 reject with tcp reset\n}}\n");
    works_apart("nft", &format!("table {family} f {{\n{chain}}}\n"))
}

/// Whether the kernel has virtual services, and the program that makes them is installed.
pub(crate) fn has_ipvs() -> bool {
    works_apart("ipvsadm", "--list")
}

/// Whether a program that is given this does its work in a network namespace of its own.
fn works_apart(program: &str, argument: &str) -> bool {
    let output = Command::new("unshare").args(["--net", program, argument]).stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

/// Has the kernel load the modules by which rules reject, as on a host whose firewall was there before redis-trace: a probe is
/// put on what is there. What cannot be loaded is missed by the scenarios that need it.
pub(crate) fn load_modules() -> Result<()> {
    let netns = Netns::new()?;
    let entered = "type filter hook input priority 0;";
    let _ = netns.nft("inet", &[("in", entered, "tcp dport 1 reject with tcp reset")]);
    let _ = can_reject("bridge");
    for program in ["iptables-nft", "ip6tables-nft"] {
        let _ = netns.run(program, &["-A", "INPUT", "-p", "tcp", "-j", "REJECT"]);
    }
    Ok(())
}

/// Which is certain, unless the kernel is so old that it may tell of no change of the rules.
pub(crate) fn certain(expected: Expected) -> Expected {
    if has_drop_reasons() { expected.with(json!({"cause": {"confidence": "certain"}})) } else { expected }
}

/// A refusal by the rule of table `f` that has this remark.
pub(crate) fn by_rule(code: Code, netns: &Netns, hook: &str, remark: &str) -> Result<Expected> {
    let Listed { handle, text } = netns.listed(remark)?;
    let site = json!({"backend": "nftables", "table": "f", "handle": handle, "hook": hook, "rule": text});
    Ok(by_site(code, netns, &site).says(&text).says(&format!("handle {handle}")))
}

/// A refusal by the firewall, at this place.
pub(crate) fn by_site(code: Code, netns: &Netns, site: &Value) -> Expected {
    Expected::refusal(code).with(json!({"flow": {"netns": netns.number}, "firewall": site}))
}
