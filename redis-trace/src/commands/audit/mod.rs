//! `redis-trace audit`: judges a server's configuration. Reads files and, when told, asks a running server; changes nothing.

mod instances;
mod live;
mod report;
mod sarif;
mod subject;
mod surroundings;
mod text;

use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::cli::{AuditArgs, Findings};
use crate::failure::{Exit, Failure};
use crate::host::scene::Scene;
use crate::redis::audit::effective::{Effective, Kind};
use crate::redis::audit::{access, server::Server};
use crate::redis::audit::{diff, findings};
use instances::Instance;
use live::Running;
pub use report::Audit;
use subject::Subject;

/// Where this host's own configuration is found, most likely first.
const USUAL: [&str; 6] = [
    "/etc/redis/redis.conf",
    "/etc/redis.conf",
    "/etc/valkey/valkey.conf",
    "/etc/keydb/keydb.conf",
    "/usr/local/etc/redis/redis.conf",
    "/etc/redis/sentinel.conf",
];

/// Runs it.
pub fn run(args: &AuditArgs) -> anyhow::Result<Exit> {
    let scene = Scene::here()?;
    let is_own = args.files.is_empty();
    let files = if is_own { vec![own()?] } else { args.files.clone() };
    let running = args.live.as_deref().map(|target| live::ask(target, args)).transpose()?;
    let mut judged = Vec::new();
    // Those of each kind are held against the first of it.
    let mut firsts: Vec<(Kind, Instance)> = Vec::new();
    for file in &files {
        let subject = Subject::read(&scene, file, &args.options)?;
        let (mut audit, instance) = judge(&scene, &subject, args, running.as_ref(), is_own);
        match firsts.iter().find(|(kind, _)| *kind == subject.kind) {
            Some((_, first)) => audit.unlike = Some(first.unlike(&instance)),
            None => firsts.push((subject.kind, instance)),
        }
        judged.push((subject, audit));
    }
    tell(args, &judged)?;
    let is_sound = judged.iter().all(|(_, audit)| audit.is_sound());
    Ok(if is_sound { Exit::Fine } else { Exit::Found })
}

/// The configuration of this host's server.
fn own() -> Result<PathBuf, Failure> {
    USUAL.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        Failure::new(Exit::Usage, "cannot tell what to audit: no file was named, and none is where they usually are")
            .fact(format!("looked for {}", USUAL.join(", ")))
            .attempt("redis-trace audit FILE")
    })
}

/// Everything that is to be said of one configuration.
fn judge(
    scene: &Scene,
    subject: &Subject,
    args: &AuditArgs,
    running: Option<&Running>,
    is_own: bool,
) -> (Audit, Instance) {
    let server = args.server.or_else(|| running.and_then(|running| running.server));
    let effective = Effective::new(
        &subject.configuration.directives,
        subject.acl.as_deref(),
        subject.kind,
        server.unwrap_or(Server::DEFAULT),
    );
    let rows = access::rows(&effective);
    let mut all = findings(&effective, &rows);
    all.extend(subject.gaps(scene));
    all.extend(subject.of_acl_file(&effective));
    if args.host || is_own {
        all.extend(surroundings::findings(scene, subject, &effective));
    }
    let drift = running.map(|running| running.compare(&effective));
    let instance = Instance::new(&subject.name, &effective);
    (Audit::new(subject, &effective, server.is_none(), rows, all, drift), instance)
}

/// In the form that was asked for.
fn tell(args: &AuditArgs, judged: &[(Subject, Audit)]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if args.fix {
        for (subject, audit) in judged {
            out.write_all(patch(subject, audit).as_bytes())?;
        }
        return Ok(());
    }
    match args.output {
        Findings::Text => {
            for (_, audit) in judged {
                out.write_all(text::told(audit, super::output::color(args.color)).as_bytes())?;
            }
        }
        Findings::Json => {
            for (_, audit) in judged {
                writeln!(out, "{}", serde_json::to_string(audit)?)?;
            }
        }
        Findings::Sarif => {
            let audits = judged.iter().map(|(_, audit)| audit);
            writeln!(out, "{}", serde_json::to_string_pretty(&sarif::log(audits))?)?;
        }
    }
    Ok(())
}

/// Its changes as a patch.
fn patch(subject: &Subject, audit: &Audit) -> String {
    let files = subject.configuration.files.iter();
    files
        .map(|(file, text)| {
            let edits: Vec<_> = audit
                .findings
                .iter()
                .filter_map(|finding| finding.edit.clone())
                .filter(|edit| edit.file == *file)
                .collect();
            diff::unified(file.as_str(), text, &edits)
        })
        .collect()
}
