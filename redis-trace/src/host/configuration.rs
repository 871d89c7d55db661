//! A server's configuration, read as it would have read it: its file, what that includes, its options.

use std::io::ErrorKind;

use super::scene::{Scene, join};
use crate::redis::config::{self, CommandLine, Directive, Settings};
use crate::redis::{directives, fatal, secret};
use crate::trace::fact::{ConfigLine, Fault};
use crate::trace::text::Text;

/// As much as is read of a configuration file.
pub(crate) const CONFIG_BYTES: u64 = 1 << 20;

/// Files that a configuration may include, files included by those counted too.
const MAX_FILES: usize = 64;

/// As much as is read of all of them.
const ALL_BYTES: usize = 4 << 20;

/// Directives that name a file or directory without which no server starts.
const NEEDED: &[&[u8]] = &[b"dir", b"aclfile", b"loadmodule"];

/// Those that count only with a TLS port.
const NEEDED_BY_TLS: &[&[u8]] = &[b"tls-cert-file", b"tls-key-file", b"tls-ca-cert-file", b"tls-ca-cert-dir"];

/// Directives that name a file in a directory that must exist.
const NEEDED_DIRECTORY: &[&[u8]] = &[b"logfile", b"unixsocket"];

/// Why a file that should have been read was not, or not to its end.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It cannot be opened, or is no regular file.
    Error(std::io::Error),
    /// It is larger than what is read.
    TooLarge,
    /// It includes itself: a server that reads it never ends, or crashes.
    Loop,
    /// There were too many before it.
    TooMany,
    /// It holds a byte that ends it early: a server reads no further.
    Nul,
}

/// A file that was not read, or not to its end.
#[derive(Debug)]
pub(crate) struct Gap {
    /// The file, as it was looked for.
    pub(crate) path: Vec<u8>,
    /// As the configuration or the command line has it.
    written: Vec<u8>,
    /// The directive that names it; absent for the file of the command line.
    pub(crate) by: Option<usize>,
    /// Why.
    pub(crate) why: Unread,
}

/// A server's configuration as it would have read it.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// Every directive in the order in which the server takes it in.
    pub(crate) directives: Vec<Directive>,
    /// What it comes to.
    pub(crate) settings: Settings,
    /// What was not read.
    pub(crate) gaps: Vec<Gap>,
    /// The text of each file that was read, by its path.
    pub(crate) files: Vec<(Text, Vec<u8>)>,
}

impl Configuration {
    /// The file with all that it includes, then the options.
    pub(crate) fn read(scene: Option<&Scene>, command_line: &CommandLine) -> Self {
        let mut whole = Self::new(command_line.sentinel);
        if let (Some(scene), Some(file)) = (scene, &command_line.file) {
            whole.read_file(scene, file, None, &mut Vec::new());
        }
        whole.add_options(command_line);
        whole
    }

    /// A text that came another way, as standard input does, with all that it includes, then the options.
    pub(crate) fn of_text(scene: &Scene, name: &str, text: Vec<u8>, command_line: &CommandLine) -> Self {
        let mut whole = Self::new(command_line.sentinel);
        whole.read_text(scene, name.as_bytes(), text, &mut Vec::new());
        whole.add_options(command_line);
        whole
    }

    /// Directives that were read another way.
    pub(crate) fn of_directives(directives: Vec<Directive>, files: Vec<(Text, Vec<u8>)>) -> Self {
        Self { directives, files, ..Self::new(false) }
    }

    fn new(sentinel: bool) -> Self {
        Self { directives: Vec::new(), settings: Settings::new(sentinel), gaps: Vec::new(), files: Vec::new() }
    }

    fn add_options(&mut self, command_line: &CommandLine) {
        for option in &command_line.options {
            self.add(Directive::of_option(option.clone()));
        }
    }

    /// One file, and in their place those that it includes. Paths count from the working directory of that moment.
    fn read_file(&mut self, scene: &Scene, written: &[u8], by: Option<usize>, ancestors: &mut Vec<Vec<u8>>) {
        let directory = self.settings.dir.as_ref().and_then(|dir| scene.absolute(dir)).or_else(|| scene.cwd.clone());
        let Some(path) = join(directory.as_deref(), written) else { return };
        let read: usize = self.files.iter().map(|(_, text)| text.len()).sum();
        let text = if ancestors.contains(&path) {
            Err(Unread::Loop)
        } else if self.files.len() >= MAX_FILES || read > ALL_BYTES {
            Err(Unread::TooMany)
        } else {
            scene.read(&path, CONFIG_BYTES + 1).map_err(Unread::Error)
        };
        match text {
            Ok(text) => self.read_text(scene, &path, text, ancestors),
            Err(why) => self.gaps.push(Gap { path, written: written.to_vec(), by, why }),
        }
    }

    /// The directives of one text.
    fn read_text(&mut self, scene: &Scene, path: &[u8], mut text: Vec<u8>, ancestors: &mut Vec<Vec<u8>>) {
        let gap = |why| Gap { path: path.to_vec(), written: path.to_vec(), by: None, why };
        if text.len() as u64 > CONFIG_BYTES {
            text.truncate(usize::try_from(CONFIG_BYTES).unwrap_or(usize::MAX));
            self.gaps.push(gap(Unread::TooLarge));
        }
        if text.contains(&0) {
            self.gaps.push(gap(Unread::Nul));
        }
        let (file, lines) = (scene.shown(path), config::lines(&text));
        self.files.push((file.clone(), text));
        ancestors.push(path.to_vec());
        for line in lines {
            self.add(Directive::of_line(&file, line));
            self.include(scene, ancestors);
        }
        ancestors.pop();
    }

    /// What the last directive includes, in the order of names when it is a pattern.
    fn include(&mut self, scene: &Scene, ancestors: &mut Vec<Vec<u8>>) {
        let Some(directive) = self.directives.last().filter(|directive| directive.name() == b"include") else { return };
        let [written] = directive.values() else { return };
        if self.gaps.iter().any(|gap| matches!(gap.why, Unread::TooMany)) {
            return;
        }
        let (by, written) = (self.directives.len() - 1, written.clone());
        if !written.iter().any(|byte| b"*?[".contains(byte)) {
            return self.read_file(scene, &written, Some(by), ancestors);
        }
        let directory = self.settings.dir.as_ref().and_then(|dir| scene.absolute(dir)).or_else(|| scene.cwd.clone());
        let pattern = join(directory.as_deref(), &written).unwrap_or_default();
        for path in scene.matches(&pattern, MAX_FILES + 1) {
            self.read_file(scene, &path, Some(by), ancestors);
        }
    }

    fn add(&mut self, directive: Directive) {
        self.settings.apply(directive.words.as_deref().unwrap_or_default());
        self.directives.push(directive);
    }

    /// What the server said; it names a line's number and text but not its file.
    pub(crate) fn said(&self, source: Text, words: fatal::Words) -> Fault {
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
        if let Some(gap) = self.gaps.first() {
            let why = match &gap.why {
                Unread::Error(error) => format!("cannot be read: {error}"),
                Unread::TooLarge | Unread::Loop | Unread::TooMany | Unread::Nul => "is not read to its end".to_owned(),
            };
            return Some(format!("{} {why}", Text::new(&gap.path)));
        }
        let is_lost = |words: &[Vec<u8>]| match words {
            [name, path, ..] => name == b"include" && !path.starts_with(b"/"),
            _ => false,
        };
        let lost = self.directives.iter().any(|directive| directive.words.as_deref().is_some_and(is_lost));
        lost.then(|| "it includes files by a relative path, so another line may decide".to_owned())
    }

    /// The line that decides a directive: the last that names it.
    pub(super) fn decides(&self, name: &[u8]) -> Option<&ConfigLine> {
        let named = |words: &[Vec<u8>]| words.first().is_some_and(|word| word == name);
        let mut lines = self.directives.iter().rev();
        lines.find(|directive| directive.words.as_deref().is_some_and(named))?.place.as_ref()
    }

    /// The first thing that no server accepts, when the server itself left no words.
    pub(crate) fn fault(&self) -> Option<Fault> {
        // A relative path counts from a working directory that we only guess.
        let missing = self.gaps.iter().filter(|gap| gap.written.starts_with(b"/"));
        let mut missing = missing.filter_map(|gap| match &gap.why {
            Unread::Error(error) if error.kind() == ErrorKind::NotFound => Some((&gap.path, error)),
            _ => None,
        });
        if let Some((file, error)) = missing.next() {
            let line = Text::from(format!("the configuration file cannot be opened: {error}").as_str());
            return Some(Fault { source: Text::new(file), line, config: None, said: false });
        }
        self.directives.iter().find_map(|directive| {
            let reason = directives::fault(directive.words.as_deref())?;
            Some(fault_of(directive, &reason))
        })
    }

    /// The first file or directory that a server needs and that is not there.
    pub(super) fn missing_path(&self, scene: &Scene) -> Option<Fault> {
        let (directive, path) = self.missing_paths(scene).next()?;
        Some(fault_of(directive, &format!("{}: No such file or directory", String::from_utf8_lossy(path))))
    }

    /// The files and directories that a server needs and that are not there, each with the directive that names it.
    pub(crate) fn missing_paths<'a>(&'a self, scene: &'a Scene) -> impl Iterator<Item = (&'a Directive, &'a [u8])> {
        self.directives.iter().filter_map(|directive| {
            let [name, path, ..] = directive.words.as_deref()? else { return None };
            let needed = self.needed_path(name, path).filter(|path| path.starts_with(b"/"))?;
            scene.is_missing(needed).then_some((directive, needed))
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

/// A fault of this directive that the server itself did not tell.
fn fault_of(directive: &Directive, reason: &str) -> Fault {
    let source = directive.place.as_ref().map_or_else(|| Text::from("command line"), |place| place.file.clone());
    Fault { source, line: Text::from(reason), config: directive.place.clone(), said: false }
}
