//! What is audited: a file with all that it includes, and the users that it names.

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::failure::{Exit, Failure};
use crate::host::configuration::{CONFIG_BYTES, Configuration, Gap, Unread};
use crate::host::scene::Scene;
use crate::redis::audit::effective::{Effective, Kind};
use crate::redis::audit::rule::Rule;
use crate::redis::audit::{Finding, access};
use crate::redis::config::{self, CommandLine, Directive, Line};
use crate::trace::text::Text;

/// Directives that only a server that keeps data has.
const OF_DATA: [&[u8]; 5] = [b"save", b"appendonly", b"maxmemory", b"databases", b"replicaof"];

/// One configuration.
pub(super) struct Subject {
    /// As it was named.
    pub(super) name: Text,
    /// What kind it is.
    pub(super) kind: Kind,
    /// What it says.
    pub(super) configuration: Configuration,
    /// The users of the ACL file that it names, when it was read.
    pub(super) acl: Option<Vec<Directive>>,
    /// Why that file was not read.
    unread_acl: Option<(Text, io::Error)>,
}

impl Subject {
    /// Reads it, with these options of the command line after it.
    pub(super) fn read(scene: &Scene, file: &Path, options: &[String]) -> Result<Self, Failure> {
        let is_stdin = file == Path::new("-");
        let path = scene.absolute(file.as_os_str().as_bytes()).unwrap_or_default();
        let (name, text) = if is_stdin {
            ("standard input".into(), stdin())
        } else {
            (scene.shown(&path), scene.read(&path, CONFIG_BYTES + 1))
        };
        let text = text.map_err(|error| refused(&name, &error))?;
        let mut argv = vec![b"redis-server".to_vec()];
        argv.extend(options.iter().map(|option| option.as_bytes().to_vec()));
        let mut command_line = CommandLine::new(&argv);
        let kind = kind_of(&name, &text, command_line.sentinel);
        command_line.sentinel = kind == Kind::Sentinel;
        let configuration = match kind {
            Kind::Acl => Configuration::of_users(name.clone(), text),
            _ if is_stdin => Configuration::of_text(scene, name.as_str(), text, &command_line),
            _ => Configuration::read(Some(scene), &CommandLine { file: Some(path), ..command_line }),
        };
        let mut subject = Self { name, kind, configuration, acl: None, unread_acl: None };
        subject.read_users(scene);
        Ok(subject)
    }

    /// The ACL file that the configuration names.
    fn read_users(&mut self, scene: &Scene) {
        let named = self.configuration.directives.iter().rev().find(|directive| directive.name() == b"aclfile");
        let Some(written) = named.and_then(|directive| directive.values().first()).filter(|path| !path.is_empty())
        else {
            return;
        };
        let directory = self.configuration.settings.dir.clone().or_else(|| scene.cwd.clone()).unwrap_or_default();
        let path =
            if written.starts_with(b"/") { written.clone() } else { [directory.as_slice(), b"/", written].concat() };
        let file = scene.shown(&path);
        match scene.read(&path, CONFIG_BYTES) {
            Ok(text) => self.acl = Some(users(&file, &text)),
            Err(error) => self.unread_acl = Some((file, error)),
        }
    }

    /// What was not read.
    pub(super) fn gaps(&self, scene: &Scene) -> Vec<Finding> {
        let of_files = self.configuration.gaps.iter().map(|gap| self.gap(scene, gap));
        let of_users = self.unread_acl.iter().map(|(file, error)| {
            let said = format!("the ACL file {file} was not read: {}; who gets in is not known", told(error));
            let aclfile = self.configuration.directives.iter().rev().find(|directive| directive.name() == b"aclfile");
            Finding::new(Rule::RA106, said).at(aclfile, Some(1))
        });
        of_files.chain(of_users).collect()
    }

    /// Why one file was not read, or not to its end.
    fn gap(&self, scene: &Scene, gap: &Gap) -> Finding {
        let file = scene.shown(&gap.path);
        let by = gap.by.and_then(|by| self.configuration.directives.get(by));
        let (rule, said) = match &gap.why {
            Unread::Error(error) if error.kind() == ErrorKind::PermissionDenied => {
                (Rule::RA106, format!("{file} may not be read by this user: what it says is not known"))
            }
            Unread::Error(error) => (Rule::RA104, format!("{file} cannot be read: {}", told(error))),
            Unread::TooLarge => {
                (Rule::RA106, format!("{file} is larger than {} MiB: the rest was not read", CONFIG_BYTES >> 20))
            }
            Unread::Loop => (Rule::RA105, format!("{file} includes itself: a server that reads it crashes")),
            Unread::TooMany => {
                (Rule::RA106, format!("{file} and what comes after it was not read: too many files are included"))
            }
            Unread::Nul => (
                Rule::RA106,
                format!("{file} has a NUL byte: the server reads no further, and neither does this audit"),
            ),
        };
        Finding::new(rule, said).at(by, Some(1))
    }

    /// What is wrong with the ACL file that the configuration names.
    pub(super) fn of_acl_file(&self, effective: &Effective<'_>) -> Vec<Finding> {
        let Some(users) = &self.acl else { return Vec::new() };
        let alone = Effective::new(users, None, Kind::Acl, effective.server);
        let is_reached = access::rows(effective)
            .iter()
            .any(|row| row.client.starts_with("another host") && row.answer != access::Answer::NotListening);
        let found = crate::redis::audit::findings(&alone, &[]).into_iter();
        found.filter(|finding| is_reached || finding.rule() != Rule::RA304).collect()
    }
}

/// The lines of an ACL file.
fn users(file: &Text, text: &[u8]) -> Vec<Directive> {
    config::acl_lines(text).into_iter().map(|line| Directive::of_line(file, line)).collect()
}

impl Configuration {
    /// A file of users by itself.
    fn of_users(name: Text, text: Vec<u8>) -> Self {
        Self::of_directives(users(&name, &text), vec![(name, text)])
    }
}

/// What kind of file it is, by its name and by what it says.
fn kind_of(name: &Text, text: &[u8], sentinel: bool) -> Kind {
    let lines = config::lines(text);
    let is =
        |line: &Line, names: &[&[u8]]| line.words.as_ref().is_some_and(|words| names.contains(&words[0].as_slice()));
    // There are no comments in an ACL file.
    let is_of_users = !lines.is_empty() && config::acl_lines(text).iter().all(|line| line.text.starts_with(b"user "));
    let has_sentinel =
        lines.iter().any(|line| is(line, &[b"sentinel"])) && !lines.iter().any(|line| is(line, &OF_DATA));
    if sentinel || name.as_str().rsplit('/').next().is_some_and(|name| name.contains("sentinel")) || has_sentinel {
        Kind::Sentinel
    } else if Path::new(name.as_str()).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("acl"))
        || is_of_users
    {
        Kind::Acl
    } else {
        Kind::Data
    }
}

/// Standard input, as far as it is read.
fn stdin() -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    io::stdin().lock().take(CONFIG_BYTES + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// The file that was named cannot be read.
fn refused(name: &Text, error: &io::Error) -> Failure {
    let exit = if error.kind() == ErrorKind::PermissionDenied { Exit::Forbidden } else { Exit::Usage };
    let failure = Failure::new(exit, format!("cannot audit {name}: {}", told(error)));
    if exit == Exit::Forbidden { failure.attempt(format!("sudo redis-trace audit {name}")) } else { failure }
}

/// Why a file was not read.
fn told(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::InvalidInput | ErrorKind::IsADirectory => "it is no regular file".to_owned(),
        ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        _ => error.to_string(),
    }
}
