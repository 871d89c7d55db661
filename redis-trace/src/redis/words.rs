//! How the server splits a line into words: `sdssplitargs`, src/sds.c.

use std::ops::Range;

/// The words of a line as `sdssplitargs` splits it; absent when quotes do not close, or close in the middle of a word.
pub fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    spanned(line).map(|(words, _)| words)
}

/// Where each word of a line stands.
pub(super) type Spans = Vec<Range<usize>>;

/// The words, and where each stands.
pub(super) fn spanned(line: &[u8]) -> Option<(Vec<Vec<u8>>, Spans)> {
    let (mut words, mut spans) = (Vec::new(), Vec::new());
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Some((words, spans));
        }
        let (word, after) = word(rest)?;
        words.push(word);
        spans.push(line.len() - rest.len()..line.len() - after.len());
        rest = after;
    }
}

/// The first word, and what follows it.
fn word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some((word, rest)),
            [quote @ (b'"' | b'\''), after @ ..] => {
                let after = quoted(*quote, after, &mut word)?;
                let ends = after.first().is_none_or(|byte| byte.is_ascii_whitespace() || *byte == 0x0b);
                return ends.then_some((word, after));
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

/// What stands in quotes goes into the word; gives back what follows the closing quote.
fn quoted<'a>(quote: u8, mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [byte, after @ ..] if *byte == quote => return Some(after),
            [b'\\', b'x', high, low, after @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                word.push(digit(*high)? << 4 | digit(*low)?);
                rest = after;
            }
            [b'\\', byte, after @ ..] if quote == b'"' || *byte == b'\'' => {
                word.push(if quote == b'"' { escaped(*byte) } else { *byte });
                rest = after;
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

/// What a letter after a backslash stands for in double quotes.
fn escaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words as text.
    fn split(line: &str) -> Option<Vec<String>> {
        Some(words(line.as_bytes())?.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect())
    }

    #[test]
    fn words_are_split_and_quoted_as_the_server_does() {
        let expect =
            |line, words: &[&str]| assert_eq!(split(line), Some(words.iter().map(|w| (*w).to_owned()).collect()));
        expect("port 6379", &["port", "6379"]);
        expect("  a\t b  ", &["a", "b"]);
        expect(r#"a "b c" 'd e'"#, &["a", "b c", "d e"]);
        expect(r#""\x41\n\r\t\"\\\q""#, &["A\n\r\t\"\\q"]);
        expect(r"'\n\''", &["\\n'"]);
        expect(r#"x"y z""#, &["xy z"]);
        expect(r#""""#, &[""]);
        expect("", &[]);
        for broken in [r#"a "b"#, r#"a "b"c"#, "a 'b", "a 'b'c", r#""\"#] {
            assert_eq!(split(broken), None, "{broken}");
        }
    }
}
