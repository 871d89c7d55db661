//! The lines of `iptables-save` and their words; quoted words may hold blanks and line breaks.

use std::borrow::Cow;

/// A line and its words.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// As it stands.
    pub(super) text: &'a str,
    /// Its words.
    pub(super) words: Vec<Word<'a>>,
}

/// A word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    /// Without its quotes and what hides a quote.
    pub(super) text: Cow<'a, str>,
    /// It was in quotes, so it is no option.
    quoted: bool,
    /// Where it begins in its line.
    pub(super) at: usize,
}

impl Word<'_> {
    /// Whether it is an option's name, or turns the next one round.
    pub(super) fn is_option(&self) -> bool {
        !self.quoted && (self.text.starts_with('-') || self.text == "!")
    }
}

/// Cuts a listing into lines.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| {
            let (line, after) = line(rest);
            rest = after;
            line
        })
    })
}

/// The first line, and what follows it.
fn line(text: &str) -> (Line<'_>, &str) {
    // A remark of the program itself has no quotes, whatever stands in it.
    if text.starts_with('#') {
        let (remark, after) = text.split_once('\n').unwrap_or((text, ""));
        return (Line { text: remark, words: Vec::new() }, after);
    }
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start_matches(' ').len();
        match text.as_bytes().get(at) {
            None => return (Line { text, words }, ""),
            Some(b'\n') => return (Line { text: &text[..at], words }, &text[at + 1..]),
            Some(b'"') => {
                let (inside, length) = quoted(&text[at + 1..]);
                words.push(Word { text: inside, quoted: true, at });
                at += 1 + length;
            }
            Some(_) => {
                let length = text[at..].find([' ', '\n']).unwrap_or(text.len() - at);
                words.push(Word { text: Cow::Borrowed(&text[at..at + length]), quoted: false, at });
                at += length;
            }
        }
    }
}

/// What stands before the closing quote, and how long it is with that quote.
fn quoted(text: &str) -> (Cow<'_, str>, usize) {
    let mut inside = Cow::Borrowed("");
    let mut at = 0;
    loop {
        let length = text[at..].find(['"', '\\']).unwrap_or(text.len() - at);
        inside += &text[at..at + length];
        at += length;
        match text.as_bytes().get(at) {
            Some(b'\\') => {
                let hidden = text[at + 1..].chars().next().map_or(0, char::len_utf8);
                inside += &text[at + 1..at + 1 + hidden];
                at += 1 + hidden;
            }
            Some(_) => return (inside, at + 1),
            None => return (inside, at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_with_quotes_and_line_breaks_is_one_word_of_one_line() {
        let text =
            "-A INPUT -m comment --comment \"x\n-A INPUT -j ACCEPT\nCOMMIT \\\"q\\\" \\\\ \\'\" -j DROP\nCOMMIT\n";
        let lines: Vec<_> = lines(text).collect();
        assert_eq!(lines.len(), 2);
        let words: Vec<_> = lines[0].words.iter().map(|word| &*word.text).collect();
        assert_eq!(words[5], "x\n-A INPUT -j ACCEPT\nCOMMIT \"q\" \\ '");
        assert_eq!(words[6..], ["-j", "DROP"]);
        assert_eq!(&lines[0].text[lines[0].words[6].at..], "-j DROP");
        assert_eq!(lines[1].text, "COMMIT");
    }

    #[test]
    fn a_remark_of_the_program_is_a_line_whatever_stands_in_it() {
        let lines: Vec<_> = lines("# it's \" odd\n*filter\n").collect();
        assert_eq!((lines.len(), lines[1].text), (2, "*filter"));
    }

    #[test]
    fn a_quote_that_never_closes_ends_with_the_text() {
        let lines: Vec<_> = lines("-A X --comment \"abc\\").collect();
        assert_eq!((lines.len(), &*lines[0].words[3].text), (1, "abc"));
    }
}
