//! The grammar of redis.conf and of the server's command line.

use std::net::IpAddr;
use std::ops::Range;
use std::str::FromStr;

use super::secret;
use super::words::{Spans, spanned};
use crate::trace::fact::ConfigLine;
use crate::trace::text::Text;

/// A line of a configuration file that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub number: u32,
    /// Its text, trimmed.
    pub text: Vec<u8>,
    /// Its words, the first in lower case; absent when its quotes do not close.
    pub words: Option<Vec<Vec<u8>>>,
    /// Where each word stands in the text, its quotes with it.
    pub spans: Vec<Range<usize>>,
    /// How many bytes stand before the text.
    pub indent: usize,
}

/// What one line of a configuration, or one option of a command line, says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// Its file and line; absent for an option of the command line.
    pub place: Option<ConfigLine>,
    /// Its words; absent when its quotes do not close.
    pub words: Option<Vec<Vec<u8>>>,
    /// Where each word stands in what can be shown of the line; empty for those that come after something hidden.
    pub spans: Vec<Range<usize>>,
    /// How many bytes stand before the line's text.
    pub indent: usize,
}

impl Directive {
    /// A line of a file; its secrets are hidden in what can be shown of it.
    pub fn of_line(file: &Text, line: Line) -> Self {
        let text = secret::redact_line(&Text::new(&line.text));
        let spans = shown_spans(&line, text.as_str());
        let place = ConfigLine { file: file.clone(), line: line.number, text };
        Self { place: Some(place), words: line.words, spans, indent: line.indent }
    }

    /// An option.
    pub fn of_option(words: Vec<Vec<u8>>) -> Self {
        Self { place: None, words: Some(words), spans: Vec::new(), indent: 0 }
    }

    /// What it sets; empty when its quotes do not close.
    pub fn name(&self) -> &[u8] {
        self.words.as_ref().and_then(|words| words.first()).map_or(&[], Vec::as_slice)
    }

    /// To what it sets it.
    pub fn values(&self) -> &[Vec<u8>] {
        self.words.as_ref().and_then(|words| words.get(1..)).unwrap_or_default()
    }
}

/// Where the words of a line stand in what is shown of it; at 0..0, where a secret before its end is not shown.
fn shown_spans(line: &Line, text: &str) -> Spans {
    let (mut read, mut at, mut is_shown) = (0, 0, true);
    // From one place to the next: a line may hold a megabyte of words.
    let mut up_to = |place: usize| {
        let piece = Text::new(line.text.get(read..place).unwrap_or_default());
        is_shown &= text.get(at..).is_some_and(|rest| rest.starts_with(piece.as_str()));
        (read, at) = (place, at + piece.as_str().len());
        (at, is_shown)
    };
    let shown = |span: &Range<usize>| {
        let ((start, _), (end, is_shown)) = (up_to(span.start), up_to(span.end));
        if is_shown { start..end } else { 0..0 }
    };
    line.spans.iter().map(shown).collect()
}

/// The lines of a file that are neither empty nor comments. There are no comments at a line's end.
pub fn lines(text: &[u8]) -> Vec<Line> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default(); // the server reads a C string
    let numbered = (1..).zip(text.split(|byte| *byte == b'\n'));
    let trimmed = numbered.map(|(number, line)| (number, line, trim(line)));
    let said = trimmed.filter(|(_, _, line)| !line.is_empty() && line[0] != b'#');
    said.map(|(number, whole, line)| {
        let (words, spans) = spanned(line).map_or((None, Vec::new()), |(words, spans)| (Some(named(words)), spans));
        let indent = whole.iter().take_while(|byte| b" \t\r".contains(byte)).count();
        Line { number, text: line.to_vec(), words, spans, indent }
    })
    .filter(|line| line.words.as_ref().is_none_or(|words| !words.is_empty()))
    .collect()
}

/// The lines of an ACL file: there are neither comments nor quotes in it, and single spaces part its words.
pub fn acl_lines(text: &[u8]) -> Vec<Line> {
    let numbered = (1..).zip(text.split(|byte| *byte == b'\n'));
    let said = numbered.map(|(number, line)| (number, line, trim(line))).filter(|(_, _, line)| !line.is_empty());
    said.map(|(number, whole, line)| {
        let indent = whole.iter().take_while(|byte| b" \t\r".contains(byte)).count();
        let (mut at, mut words, mut spans) = (0, Vec::new(), Vec::new());
        for word in line.split(|byte| *byte == b' ') {
            if !word.is_empty() {
                words.push(word.to_vec());
                spans.push(at..at + word.len());
            }
            at += word.len() + 1;
        }
        Line { number, text: line.to_vec(), words: Some(words), spans, indent }
    })
    .collect()
}

/// Without the white space that the server trims.
fn trim(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| b" \t\r\n".contains(byte);
    let start = line.iter().position(|byte| !blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !blank(byte)).map_or(start, |at| at + 1);
    &line[start..end]
}

/// Names of directives are the same in upper and lower case.
fn named(mut words: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    if let Some(name) = words.first_mut() {
        name.make_ascii_lowercase();
    }
    words
}

/// How a server was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The configuration file it was given.
    pub file: Option<Vec<u8>>,
    /// Directives given as options, which come after those of the file.
    pub options: Vec<Vec<Vec<u8>>>,
    /// It was started as a sentinel.
    pub sentinel: bool,
}

impl CommandLine {
    /// From the arguments, the program's name first.
    pub fn new(argv: &[Vec<u8>]) -> Self {
        let program = argv.first().map(Vec::as_slice).unwrap_or_default();
        let mut line = Self { sentinel: program.ends_with(b"-sentinel"), ..Self::default() };
        for (at, argument) in argv.iter().enumerate().skip(1) {
            if argument == b"--sentinel" {
                line.sentinel = true;
            } else if let Some(name) = argument.strip_prefix(b"--").filter(|name| !name.is_empty()) {
                line.options.push(named(vec![name.to_vec()]));
            } else if at == 1 && !argument.starts_with(b"-") {
                line.file = Some(argument.clone());
            } else if let Some(option) = line.options.last_mut() {
                option.push(argument.clone());
            }
        }
        line
    }
}

/// What a configuration says of where a server listens and what it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// TCP port; 0 for none.
    pub port: u16,
    /// TLS port; 0 for none.
    pub tls_port: u16,
    /// Addresses as written; empty for all.
    pub bind: Vec<String>,
    /// Log file; absent for standard output.
    pub logfile: Option<Vec<u8>>,
    /// Working directory, once it is set.
    pub dir: Option<Vec<u8>>,
    /// Clients it lets in at a time.
    pub maxclients: u64,
}

impl Settings {
    /// Those of a server whose configuration says nothing.
    pub fn new(sentinel: bool) -> Self {
        Self {
            port: if sentinel { 26379 } else { 6379 },
            tls_port: 0,
            bind: Vec::new(),
            logfile: None,
            dir: None,
            maxclients: 10_000,
        }
    }

    /// One more directive: the last one counts.
    pub fn apply(&mut self, words: &[Vec<u8>]) {
        let [name, values @ ..] = words else { return };
        let first = values.first();
        match name.as_slice() {
            b"port" => self.port = number(first).unwrap_or(self.port),
            b"tls-port" => self.tls_port = number(first).unwrap_or(self.tls_port),
            b"bind" => self.bind = addresses(values),
            b"logfile" => self.logfile = first.filter(|path| !path.is_empty()).cloned(),
            b"maxclients" => self.maxclients = number(first).unwrap_or(self.maxclients),
            b"dir" => self.dir = first.cloned(),
            _ => {}
        }
    }

    /// The ports it means to listen on.
    pub fn ports(&self) -> Vec<u16> {
        [self.port, self.tls_port].into_iter().filter(|port| *port != 0).collect()
    }

    /// The addresses it means to listen on; none when it means all, or such as only a resolver knows.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let plain: Vec<&str> = self.bind.iter().map(|address| address.strip_prefix('-').unwrap_or(address)).collect();
        let known: Vec<IpAddr> = plain.iter().filter_map(|address| address.parse().ok()).collect();
        let all =
            plain.iter().any(|address| matches!(*address, "*" | "::*")) || known.iter().any(IpAddr::is_unspecified);
        if all { Vec::new() } else { known }
    }
}

/// A value that is a number.
fn number<T: FromStr>(value: Option<&Vec<u8>>) -> Option<T> {
    std::str::from_utf8(value?).ok()?.parse().ok()
}

/// Addresses of a bind line; given as one argument, it is split.
fn addresses(values: &[Vec<u8>]) -> Vec<String> {
    let text: Vec<String> = values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    text.iter().flat_map(|value| value.split_ascii_whitespace()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comments_and_empty_lines_say_nothing_and_keep_their_number() {
        let read = lines(b"# a\n\n  # b\n  PORT 1 # no comment\r\n\"\n\0port 2\n");
        let shown: Vec<_> = read.iter().map(|line| (line.number, line.words.as_ref().map(Vec::len))).collect();
        assert_eq!(shown, [(4, Some(5)), (5, None)]);
        assert_eq!(read[0].words.as_ref().map(|words| words[0].as_slice()), Some(b"port".as_slice()));
        assert_eq!(read[0].text, b"PORT 1 # no comment");
    }

    #[test]
    fn words_are_found_in_what_is_shown_up_to_the_first_secret() {
        let file = Text::from("users.acl");
        let words = |text: &str| {
            let directive = Directive::of_line(&file, lines(text.as_bytes()).remove(0));
            let shown = directive.place.expect("a place").text;
            directive.spans.iter().map(|span| shown.as_str()[span.clone()].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(words("user \u{1b}al\\ on >pw ~* +@all"), ["user", "\\u{1b}al\\\\", "on", "", "", ""]);
        assert_eq!(words("bind 127.0.0.1  -::1"), ["bind", "127.0.0.1", "-::1"]);
        assert_eq!(words("requirepass hunter2"), ["requirepass", ""]);
    }

    #[test]
    fn a_line_of_a_million_bytes_takes_no_longer_than_its_length_says() {
        let text = format!("user u on {}", "+get ".repeat(200_000));
        let began = std::time::Instant::now();
        let directive = Directive::of_line(&Text::from("users.acl"), lines(text.as_bytes()).remove(0));
        assert_eq!(directive.spans.len(), 200_003);
        // It took minutes while each word was looked for from the beginning.
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "it took {:?}", began.elapsed());
    }

    #[test]
    fn a_command_line_is_a_file_and_options() {
        let argv = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        let line = CommandLine::new(&argv("redis-server /etc/r.conf --Port 1 --bind 127.0.0.1 ::1 --daemonize yes"));
        assert_eq!(line.file.as_deref(), Some(b"/etc/r.conf".as_slice()));
        assert_eq!(line.options, [argv("port 1"), argv("bind 127.0.0.1 ::1"), argv("daemonize yes")]);
        assert!(CommandLine::new(&argv("redis-sentinel s.conf")).sentinel);
        assert!(CommandLine::new(&argv("redis-server s.conf --sentinel")).sentinel);
        assert_eq!(CommandLine::new(&argv("redis-server - --port 1")).file, None);
        assert_eq!(CommandLine::new(&[]), CommandLine::default());
    }

    #[test]
    fn the_last_directive_tells_where_a_server_means_to_listen() {
        let settings = |text: &str| {
            let mut settings = Settings::new(false);
            for line in lines(text.as_bytes()) {
                settings.apply(&line.words.expect("closed quotes"));
            }
            (settings.ports(), settings.addresses().iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(settings(""), (vec![6379], vec![]));
        assert_eq!(
            settings("port 0\ntls-port 6390\nbind 127.0.0.1 -::1"),
            (vec![6390], vec!["127.0.0.1".into(), "::1".into()])
        );
        assert_eq!(settings("bind 10.0.0.1\nbind * -::*\nport 1\nport 2"), (vec![2], vec![]));
        assert_eq!(settings("bind 10.0.0.1 0.0.0.0"), (vec![6379], vec![]));
        assert_eq!(settings("bind redis.example\nport x"), (vec![6379], vec![]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_file_and_a_command_line(text: Vec<u8>, argv: Vec<Vec<u8>>) {
            let mut settings = Settings::new(false);
            for line in lines(&text) {
                settings.apply(&line.words.unwrap_or_default());
            }
            for option in CommandLine::new(&argv).options {
                settings.apply(&option);
            }
            let _ = (settings.ports(), settings.addresses());
        }
    }
}
