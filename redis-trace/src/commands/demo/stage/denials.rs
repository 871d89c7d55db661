//! Who may not do what: programs of cgroups and of security modules, profiles, domains.

use anyhow::{Context as _, Result};
use aya::programs::CgroupSkbAttachType;

use super::Stage;
use crate::commands::demo::cgroup::DenyingCgroup;
use crate::commands::demo::confine::{HOSTILE_PROFILE, Lenience, Profile, REDIS_DOMAIN};
use crate::commands::demo::doorkeeper::Doorkeeper;
use crate::commands::demo::sk_lookup::Refuser;
use crate::commands::demo::tomoyo::Policy;

impl Stage {
    /// A cgroup in which nobody may make a call, and the part that enters it: `cgroup/bind4`, `cgroup/connect4`.
    pub(crate) fn deny_by_cgroup(&mut self, section: &str) -> Result<String> {
        let cgroup = DenyingCgroup::new(&format!("redis-trace-demo-{}", std::process::id()), section)?;
        Ok(format!("cgroup {}", self.denying.insert(cgroup).door()))
    }

    /// The same, and the errno is EACCES.
    pub(crate) fn deny_access_by_cgroup(&mut self, section: &str) -> Result<String> {
        let cgroup = DenyingCgroup::with_chosen_errno(&format!("redis-trace-demo-{}", std::process::id()), section)?;
        Ok(format!("cgroup {}", self.denying.insert(cgroup).door()))
    }

    /// A unit's cgroup in which systemd's program denies bind: the unit, and the part that enters its cgroup.
    pub(crate) fn deny_by_unit(&mut self) -> Result<(String, String)> {
        let unit = format!("redis-trace-demo-{}.service", std::process::id());
        let cgroup = DenyingCgroup::of_unit(&unit)?;
        Ok((unit, format!("cgroup {}", self.denying.insert(cgroup).door())))
    }

    /// A unit's cgroup in which systemd's program lets no packet pass in this way: the unit, and the part that enters it.
    pub(crate) fn deny_packets(&mut self, way: CgroupSkbAttachType) -> Result<(String, String)> {
        let unit = format!("redis-trace-demo-{}.service", std::process::id());
        let cgroup = DenyingCgroup::of_unit_s_packets(&unit, way)?;
        Ok((unit, format!("cgroup {}", self.denying.insert(cgroup).door())))
    }

    /// A cgroup to whose members a BPF program on this hook of security modules denies a call, and the part that enters it.
    pub(crate) fn deny_by_lsm(&mut self, hook: &str) -> Result<String> {
        let cgroup = DenyingCgroup::by_lsm(&format!("redis-trace-demo-{}", std::process::id()), hook)?;
        Ok(format!("cgroup {}", self.denying.insert(cgroup).door()))
    }

    /// From now on a BPF program on a hook of security modules lets no SYN in to the listeners here.
    pub(crate) fn deny_syns_by_lsm(&mut self) -> Result<()> {
        self.doorkeeper = Some(Doorkeeper::before(self.netns())?);
        Ok(())
    }

    /// From now on what comes for this port is labelled so, for SELinux to judge.
    pub(crate) fn label_packets(&self, port: u16, context: &str) -> Result<()> {
        let label = format!("secmark label {{ \"{context}\" }}\n");
        let rule = format!("type filter hook input priority 0\ntcp dport {port} meta secmark set \"label\"\n");
        self.own().run("nft", &[&format!("table inet f {{\n{label}chain in {{\n{rule}}}\n}}\n")]).map(drop)
    }

    /// Takes a process out of the cgroup that denies.
    pub(crate) fn let_go(&self, pid: u32) -> Result<()> {
        self.denying.as_ref().context("no cgroup denies anything")?.let_go(pid)
    }

    /// Loads an AppArmor profile with these flags and rules; its name.
    pub(crate) fn profile(&mut self, flags: &str, rules: &str) -> Result<String> {
        let name = format!("redis-trace-demo-{}", std::process::id());
        self.profile = Some(Profile::load(name.as_bytes(), flags, rules)?);
        Ok(name)
    }

    /// The part that becomes a program in Redis's domain of SELinux.
    pub(crate) fn redis_domain() -> String {
        format!("selinux {REDIS_DOMAIN}")
    }

    /// From now on SELinux denies nothing.
    pub(crate) fn be_lenient(&mut self) -> Result<()> {
        self.lenience = Some(Lenience::begin()?);
        Ok(())
    }

    /// From now on TOMOYO treats bind and connect in its domain of ours in this mode.
    pub(crate) fn be_strict(&mut self, mode: &str) -> Result<()> {
        self.tomoyo = Some(Policy::begin(mode)?);
        Ok(())
    }

    /// Loads one with a hostile name.
    pub(crate) fn hostile_profile(&mut self, rules: &str) -> Result<()> {
        self.profile = Some(Profile::load(HOSTILE_PROFILE, "", rules)?);
        Ok(())
    }

    /// Turns every connection away by an `sk_lookup` program.
    pub(crate) fn refuse_by_sk_lookup(&mut self) -> Result<()> {
        self.refuser = Some(Refuser::attach(self.netns.file())?);
        Ok(())
    }
}
