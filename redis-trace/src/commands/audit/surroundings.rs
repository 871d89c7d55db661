//! What a configuration needs of the host that it is on: paths, addresses, limits.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;

use super::subject::Subject;
use crate::host::scene::Scene;
use crate::host::{self, Host};
use crate::redis::audit::Finding;
use crate::redis::audit::effective::{Effective, Kind};
use crate::redis::audit::rule::Rule;
use crate::redis::secret::REDACTED;
use crate::redis::validity::Validity;
use crate::trace::fact::What;
use crate::trace::question::Question;
use crate::trace::text::Text;

/// What a server asks for when nobody says.
const BACKLOG: i64 = 511;
/// Directives that name a certificate.
const CERTIFICATES: [&[u8]; 2] = [b"tls-cert-file", b"tls-client-cert-file"];
/// As much as is read of one, bytes.
const LONGEST: u64 = 1 << 20;

/// What this host lacks.
pub(super) fn findings(scene: &Scene, subject: &Subject, effective: &Effective<'_>) -> Vec<Finding> {
    let mut found = secrets(scene, subject);
    if subject.kind == Kind::Acl {
        return found;
    }
    found.extend(subject.configuration.missing_paths(scene).map(|(directive, path)| {
        let said = format!("{} is not there", Text::new(path));
        Finding::new(Rule::RA219, said).at(Some(directive), Some(1))
    }));
    found.extend(certificates(scene, subject));
    found.extend(backlog(effective));
    found.extend(addresses(effective));
    found
}

/// Files that everybody may read and that hold secrets.
fn secrets(scene: &Scene, subject: &Subject) -> Vec<Finding> {
    let directives = &subject.configuration.directives;
    let mut found: Vec<Finding> = Vec::new();
    for directive in directives {
        let Some(place) = directive.place.as_ref().filter(|place| place.text.as_str().contains(REDACTED)) else {
            continue;
        };
        if found.iter().any(|finding| finding.place.as_ref().is_some_and(|known| known.file == place.file)) {
            continue;
        }
        let path = scene.absolute(&place.file.to_bytes()).unwrap_or_default();
        let mode = fs::metadata(std::ffi::OsStr::new(&*String::from_utf8_lossy(&path))).map(|file| file.mode());
        if mode.is_ok_and(|mode| mode & 0o004 != 0) {
            let said = "every user of this host may read this file, and it holds a secret";
            let fix = format!("chmod o-rwx {}", place.file);
            found
                .push(Finding::new(Rule::RA308, said).at(Some(directive), None).fix("take the right away", Some(&fix)));
        }
    }
    found
}

/// Certificates that no client takes today.
fn certificates(scene: &Scene, subject: &Subject) -> Vec<Finding> {
    let now = jiff::Timestamp::now().as_second();
    let named = subject.configuration.directives.iter().filter_map(|directive| match directive.words.as_deref()? {
        [name, path] if CERTIFICATES.contains(&name.as_slice()) => Some((directive, path)),
        _ => None,
    });
    let fault = |path: &[u8]| Validity::of_pem(&scene.read(&scene.absolute(path)?, LONGEST).ok()?)?.fault(now);
    named
        .filter_map(|(directive, path)| {
            let said = format!("no client takes the certificate in {}: {}", Text::new(path), fault(path)?);
            Some(Finding::new(Rule::RA221, said).at(Some(directive), Some(1)).fix("renew it", None))
        })
        .collect()
}

/// The system's limit of the accept queue.
fn backlog(effective: &Effective<'_>) -> Option<Finding> {
    let allowed: i64 = fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()?;
    let asked = effective.number("tcp-backlog").unwrap_or(BACKLOG);
    let said = || format!("tcp-backlog asks for {asked}, and net.core.somaxconn cuts it to {allowed}");
    let finding = || Finding::new(Rule::RA206, said()).at_last(effective, "tcp-backlog", Some(1));
    (asked > allowed).then(|| finding().fix("allow more", Some(&format!("sysctl -w net.core.somaxconn={asked}"))))
}

/// Addresses of `bind` that no interface has.
fn addresses(effective: &Effective<'_>) -> Vec<Finding> {
    let Ok(task) = host::this_task() else { return Vec::new() };
    let answers = Host::new().answer(&Question::Addresses(task.netns), host::boottime());
    let Some(here) = answers.into_iter().find_map(|answer| match answer {
        What::Addresses { addresses, .. } => Some(addresses),
        _ => None,
    }) else {
        return Vec::new();
    };
    let bound = effective.settings.bind.iter().enumerate();
    let fixed = bound.filter_map(|(nth, bound)| Some((nth, bound.parse::<IpAddr>().ok()?)));
    let missing = fixed.filter(|(_, ip)| !ip.is_unspecified() && !ip.is_loopback() && !here.contains(ip));
    missing
        .map(|(nth, ip)| {
            let said = format!("no interface of this host has {ip}: bind fails");
            Finding::new(Rule::RA218, said).at_last(effective, "bind", Some(nth + 1))
        })
        .collect()
}
