//! A server's configuration, read as it would have read it: its file, what that includes, its options.

use std::collections::VecDeque;
use std::io::ErrorKind;

use super::scene::{Scene, join};
use crate::redis::config::{self, CommandLine, Settings};
use crate::redis::{directives, fatal, secret};
use crate::trace::fact::{ConfigLine, Fault};
use crate::trace::text::Text;

/// As much as is read of a configuration file.
const CONFIG_BYTES: u64 = 1 << 20;

/// Files that a configuration may include, files included by those counted too.
const MAX_FILES: usize = 64;

/// Directives that name a file or directory without which no server starts.
const NEEDED: &[&[u8]] = &[b"dir", b"aclfile", b"loadmodule"];

/// Those that count only with a TLS port.
const NEEDED_BY_TLS: &[&[u8]] = &[b"tls-cert-file", b"tls-key-file", b"tls-ca-cert-file", b"tls-ca-cert-dir"];

/// Directives that name a file in a directory that must exist.
const NEEDED_DIRECTORY: &[&[u8]] = &[b"logfile", b"unixsocket"];

/// Where a directive stands.
#[derive(Clone, Debug)]
struct Directive {
    /// Its file and line; absent for an option of the command line.
    place: Option<ConfigLine>,
    /// Its words; absent when its quotes do not close.
    words: Option<Vec<Vec<u8>>>,
}

/// A server's configuration as it would have read it.
#[derive(Debug)]
pub(super) struct Configuration {
    directives: Vec<Directive>,
    /// What it comes to.
    pub(super) settings: Settings,
    /// A file that should be there and cannot be read, and why.
    missing: Option<(Vec<u8>, std::io::Error)>,
}

impl Configuration {
    /// The file with all that it includes, then the options.
    pub(super) fn read(scene: Option<&Scene>, command_line: &CommandLine) -> Self {
        let settings = Settings::new(command_line.sentinel);
        let mut whole = Self { directives: Vec::new(), settings, missing: None };
        if let (Some(scene), Some(file)) = (scene, &command_line.file) {
            whole.read_files(scene, file);
        }
        for option in &command_line.options {
            whole.add(Directive { place: None, words: Some(option.clone()) });
        }
        whole
    }

    /// A file, and in their place those that it includes. Their paths count from the working directory of that moment.
    fn read_files(&mut self, scene: &Scene, file: &[u8]) {
        let mut ahead = VecDeque::from(self.lines_of(scene, file));
        let mut files = 1;
        while let Some(directive) = ahead.pop_front() {
            let included = match directive.words.as_deref() {
                Some([name, file]) if name == b"include" && files < MAX_FILES => Some(file.clone()),
                _ => None,
            };
            self.add(directive);
            if let Some(file) = included.filter(|file| !file.contains(&b'*')) {
                files += 1;
                for directive in self.lines_of(scene, &file).into_iter().rev() {
                    ahead.push_front(directive);
                }
            }
        }
    }

    /// The directives of one file.
    fn lines_of(&mut self, scene: &Scene, file: &[u8]) -> Vec<Directive> {
        let directory = self.settings.dir.as_ref().and_then(|dir| scene.absolute(dir)).or_else(|| scene.cwd.clone());
        let Some(path) = join(directory.as_deref(), file) else { return Vec::new() };
        let text = scene.read(&path, CONFIG_BYTES).unwrap_or_else(|error| {
            // A relative path counts from a working directory that we only guess.
            if file.starts_with(b"/") {
                self.missing.get_or_insert((path.clone(), error));
            }
            Vec::new()
        });
        let place = |number, text: &[u8]| ConfigLine {
            file: Text::new(&path),
            line: number,
            text: secret::redact_line(&Text::new(text)),
        };
        let lines = config::lines(&text).into_iter();
        lines.map(|line| Directive { place: Some(place(line.number, &line.text)), words: line.words }).collect()
    }

    fn add(&mut self, directive: Directive) {
        self.settings.apply(directive.words.as_deref().unwrap_or_default());
        self.directives.push(directive);
    }

    /// What the server said; it names a line's number and text but not its file.
    pub(super) fn said(&self, source: Text, words: fatal::Words) -> Fault {
        let config = words.config.and_then(|(number, text)| {
            let text = secret::redact_line(&Text::from(text.as_str()));
            let mut places = self.directives.iter().filter_map(|directive| directive.place.as_ref());
            places.find(|place| place.line == number && place.text == text).cloned()
        });
        let line = secret::redact_line(&Text::from(words.line.as_str()));
        Fault { source, line, config, said: true }
    }

    /// Why not all of the file could be read.
    pub(super) fn unread(&self) -> Option<String> {
        if let Some((file, error)) = &self.missing {
            return Some(format!("{} cannot be read: {error}", Text::new(file)));
        }
        let is_lost = |words: &[Vec<u8>]| match words {
            [name, path, ..] => name == b"include" && (!path.starts_with(b"/") || path.contains(&b'*')),
            _ => false,
        };
        let lost = self.directives.iter().any(|directive| directive.words.as_deref().is_some_and(is_lost));
        lost.then(|| "it includes files by a relative path or a pattern, so another line may decide".to_owned())
    }

    /// The line that decides a directive: the last that names it.
    pub(super) fn decides(&self, name: &[u8]) -> Option<&ConfigLine> {
        let named = |words: &[Vec<u8>]| words.first().is_some_and(|word| word == name);
        let mut lines = self.directives.iter().rev();
        lines.find(|directive| directive.words.as_deref().is_some_and(named))?.place.as_ref()
    }

    /// The first thing that no server accepts, when the server itself left no words.
    pub(super) fn fault(&self) -> Option<Fault> {
        if let Some((file, error)) = self.missing.as_ref().filter(|(_, error)| error.kind() == ErrorKind::NotFound) {
            let line = Text::from(format!("the configuration file cannot be opened: {error}").as_str());
            return Some(Fault { source: Text::new(file), line, config: None, said: false });
        }
        self.directives.iter().find_map(|directive| {
            let reason = directives::fault(directive.words.as_deref())?;
            Some(directive.fault(&reason))
        })
    }

    /// The first file or directory that a server needs and that is not there.
    pub(super) fn missing_path(&self, scene: &Scene) -> Option<Fault> {
        self.directives.iter().find_map(|directive| {
            let [name, path, ..] = directive.words.as_deref()? else { return None };
            let needed = self.needed_path(name, path).filter(|path| path.starts_with(b"/"))?;
            let reason = || format!("{}: No such file or directory", String::from_utf8_lossy(needed));
            scene.is_missing(needed).then(|| directive.fault(&reason()))
        })
    }

    /// What must exist for a directive's sake.
    fn needed_path<'a>(&self, name: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
        if NEEDED.contains(&name) || (NEEDED_BY_TLS.contains(&name) && self.settings.tls_port != 0) {
            return Some(path);
        }
        let end = path.iter().rposition(|byte| *byte == b'/').filter(|_| NEEDED_DIRECTORY.contains(&name))?;
        Some(&path[..end.max(1)])
    }
}

impl Directive {
    /// A fault of this directive that the server itself did not tell.
    fn fault(&self, reason: &str) -> Fault {
        let source = self.place.as_ref().map_or_else(|| Text::from("command line"), |place| place.file.clone());
        Fault { source, line: Text::from(reason), config: self.place.clone(), said: false }
    }
}
