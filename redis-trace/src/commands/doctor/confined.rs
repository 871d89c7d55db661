//! SELinux and AppArmor: whether they enforce, under which label this server runs, what they denied it lately.

use std::fs;

use super::report::{Doctor, State};
use crate::host::server::denials;
use crate::trace::fact::Process;
use crate::trace::text::Text;

/// 1 where SELinux denies, 0 where it only tells.
const ENFORCE: &str = "/sys/fs/selinux/enforce";
/// `Y` where AppArmor runs.
const APPARMOR: &str = "/sys/module/apparmor/parameters/enabled";

/// A security module that labels processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Module {
    SeLinux { enforces: bool },
    AppArmor,
}

impl Module {
    /// The one of this host.
    fn of_host() -> Option<Self> {
        let read = |path| fs::read_to_string(path).map(|text| text.trim().to_owned());
        match (read(ENFORCE), read(APPARMOR)) {
            (Ok(enforce), _) => Some(Self::SeLinux { enforces: enforce == "1" }),
            (_, Ok(enabled)) if enabled == "Y" => Some(Self::AppArmor),
            _ => None,
        }
    }
}

/// Under which label a server runs, and what was denied it.
pub(super) fn look(doctor: &mut Doctor, process: &Process) -> anyhow::Result<()> {
    let Some(module) = Module::of_host() else {
        return Ok(doctor.skip(&["confined"], "neither SELinux nor AppArmor runs on this host")?);
    };
    let label = fs::read(format!("/proc/{}/attr/current", process.pid)).ok();
    let label =
        label.map(|label| Text::new(label.trim_ascii_end().strip_suffix(b"\0").unwrap_or(label.trim_ascii_end())));
    let Some(label) = label else {
        return Ok(doctor.skip(&["confined"], "the label of the process may not be read")?);
    };
    let (text, profile) = match module {
        Module::SeLinux { enforces } => {
            let word = if enforces { "SELinux enforces" } else { "SELinux only tells (permissive)" };
            (format!("{word}; it runs as {label}"), None)
        }
        Module::AppArmor if label.as_str() == "unconfined" => ("AppArmor does not confine it".to_owned(), None),
        Module::AppArmor => {
            let profile = label.as_str().rsplit_once(" (").map_or(label.as_str(), |(profile, _)| profile);
            (format!("AppArmor confines it: {label}"), Some(profile.to_owned()))
        }
    };
    doctor.step("confined", State::Good, text)?;
    match denials(process.comm.as_str(), profile.as_deref()) {
        Ok(denials) => match denials.last() {
            None => doctor.step("denials", State::Good, "the logs show none that concern it".to_owned())?,
            Some(last) => {
                let text = format!("{} concern it; the last: {last}", denials.len());
                doctor.step("denials", State::Warn, text)?;
            }
        },
        Err(why) => doctor.skip(&["denials"], &why)?,
    }
    Ok(())
}
