//! The server's configuration file: which line decides whether it listens where it was dialled, and what it wrote to its log
//! before it ended.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::report::{Doctor, State};
use crate::commands::audit::USUAL;
use crate::commands::audit::subject::Subject;
use crate::host::scene::Scene;
use crate::redis::audit::effective::{Effective, Kind};
use crate::redis::audit::server::Server;
use crate::redis::fatal;
use crate::trace::text::Text;

/// As much as is read of a log, from its end.
const LOG_BYTES: u64 = 64 << 10;

/// Looks at the file that a running server says it has read.
pub(super) fn of_server(doctor: &mut Doctor, file: &Path, pid: u32, address: &SocketAddr) -> anyhow::Result<()> {
    let mount = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    if mount("self").is_none() || mount("self") != mount(&pid.to_string()) {
        return Ok(
            doctor.skip(&["config"], "the server has files of its own, or this user may not see whose they are")?
        );
    }
    let scene = Scene::here()?;
    match Subject::read(&scene, file, &[]) {
        Ok(subject) => decides(doctor, &subject, address, true),
        Err(failure) => Ok(doctor.skip(&["config"], &failure.what)?),
    }
}

/// Looks at the file where a server of this host would have it, when nobody listens; says what it wrote last.
pub(super) fn of_host(doctor: &mut Doctor, address: &SocketAddr) -> anyhow::Result<()> {
    let scene = Scene::here()?;
    let usual: Vec<Subject> =
        USUAL.iter().filter_map(|file| Subject::read(&scene, &PathBuf::from(file), &[]).ok()).collect();
    let is_meant = |subject: &&Subject| subject.configuration.settings.ports().contains(&address.port());
    match usual.iter().find(is_meant) {
        Some(subject) => {
            decides(doctor, subject, address, false)?;
            last_words(doctor, &scene, subject)
        }
        None => Ok(doctor.skip(&["config"], "no configuration of this host, in the usual places, has this port")?),
    }
}

/// The line that decides.
fn decides(doctor: &mut Doctor, subject: &Subject, address: &SocketAddr, is_running: bool) -> anyhow::Result<()> {
    if subject.kind == Kind::Acl {
        return Ok(());
    }
    let directives = &subject.configuration.directives;
    let effective = Effective::new(directives, subject.acl.as_deref(), subject.kind, Server::DEFAULT);
    let line = |name: &str| {
        let place = effective.at(name).and_then(|at| directives.get(at)?.place.as_ref());
        place.map_or_else(
            || format!("{} has no {name}", subject.name),
            |place| format!("{}:{} `{}`", place.file, place.line, place.text),
        )
    };
    let is_port = effective.ports().contains(&address.port());
    let (state, text) = match (is_port, effective.listens_on(address.ip().to_canonical())) {
        (false, _) if is_running => {
            (State::Warn, format!("{}: it was started with another port, or told one since", line("port")))
        }
        (false, _) => (State::Bad, format!("{}: not this port", line("port"))),
        (true, Some(false)) if is_running => {
            (State::Warn, format!("{}: not this address; it was told another since", line("bind")))
        }
        (true, Some(false)) => {
            (State::Bad, format!("{}: a server with this file does not listen on {}", line("bind"), address.ip()))
        }
        (true, Some(true)) if is_running => (State::Good, format!("{} has it listen there", line("bind"))),
        (true, Some(true)) => {
            (State::Warn, format!("{} would have a server listen there, and none does", line("bind")))
        }
        (true, None) => (State::Unknown, format!("{}: a name decides", line("bind"))),
    };
    Ok(doctor.step("config", state, text)?)
}

/// What the server wrote last, when that was why it ended.
fn last_words(doctor: &mut Doctor, scene: &Scene, subject: &Subject) -> anyhow::Result<()> {
    let settings = &subject.configuration.settings;
    let Some(log) = settings.logfile.as_deref().and_then(|log| scene.below(settings.dir.as_deref(), log)) else {
        return Ok(doctor.skip(&["log"], "the configuration names no log file: see the journal of its unit")?);
    };
    let name = Text::new(&log);
    let text = match scene.read_end(&log, LOG_BYTES, 0) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => return Ok(doctor.skip(&["log"], &format!("{name} cannot be read: {error}"))?),
    };
    match fatal::fault(&fatal::last_run(&text)) {
        Some(words) => {
            Ok(doctor.step("log", State::Bad, format!("{name} ends with: {}", Text::from(words.line.as_str())))?)
        }
        None => Ok(doctor.step("log", State::Unknown, format!("{name} names no fault"))?),
    }
}
