//! Recordings: facts as lines of text, so that the same verdicts can be had later, elsewhere, without root.
//!
//! ```text
//! 1c291ca3 {"schema":"redis-trace.recording/1","version":"0.1.0","kernel":"6.18.44"}
//! 9f0a11de {"time":48211320113901,"fact":"clock","unix_ns":1795435421208113901}
//! ```
//!
//! Each line is the CRC-32 of its JSON, a space, the JSON. A file that was cut or damaged is good up to the damage.

use std::fmt;
use std::io::{self, BufRead, Read as _};

use serde::{Deserialize, Serialize};

use super::fact::Fact;

/// The `schema` member of the first line.
pub const SCHEMA: &str = "redis-trace.recording/1";

/// Bytes that a line may have. A host's listeners are one fact, so this is room for some 20,000 of them; a hostile file
/// cannot make the reader hold more.
pub const LINE_MAX: usize = 8 << 20;

/// The first line: what made the recording, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Version of redis-trace.
    pub version: String,
    /// `uname -r` of the host.
    pub kernel: String,
}

impl Header {
    /// Of a recording that this version makes on that kernel.
    pub fn new(kernel: &str) -> Self {
        Self { schema: SCHEMA.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), kernel: kernel.to_owned() }
    }
}

/// Writes a header or a fact as a line, with its newline.
pub fn line<T: Serialize>(what: &T) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(what)?;
    let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    if line.len() > LINE_MAX {
        let why = format!("a fact of {} bytes does not fit into a line of a recording ({LINE_MAX} bytes)", line.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(line)
}

/// Where and why a recording ends before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended early at line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for Damage {}

/// Reads a recording fact by fact, up to its end or to the damage.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    line: u64,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Begins to read; the header comes first.
    pub fn new(input: R) -> Result<(Header, Self), Damage> {
        let mut reader = Self { input, line: 0, ended: false };
        let header: Header = reader
            .next_line()?
            .ok_or_else(|| reader.damage("it is empty"))
            .and_then(|json| reader.parse(&json))
            .map_err(|damage| Damage { why: format!("{}; is it a recording?", damage.why), ..damage })?;
        // A later minor form would say /1 still, and only add members.
        if header.schema != SCHEMA {
            let found = super::text::Text::from(header.schema.as_str());
            return Err(reader.damage(&format!("this version reads {SCHEMA}, not {found}")));
        }
        Ok((header, reader))
    }

    /// The JSON of the next line; `None` at the end of the file.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, Damage> {
        self.line += 1;
        let mut line = Vec::new();
        let limit = LINE_MAX as u64;
        (&mut self.input)
            .take(limit)
            .read_until(b'\n', &mut line)
            .map_err(|error| self.damage(&format!("it cannot be read: {error}")))?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.pop_if(|last| *last == b'\n').is_none() {
            let long = line.len() == LINE_MAX;
            return Err(self.damage(if long { "the line is too long" } else { "the line is cut off" }));
        }
        let (sum, json) = line.split_at_checked(9).ok_or_else(|| self.damage("the line is too short"))?;
        if sum != format!("{:08x} ", crc32fast::hash(json)).as_bytes() {
            return Err(self.damage("the checksum does not match"));
        }
        Ok(Some(json.to_vec()))
    }

    /// The JSON as what it should be.
    fn parse<T: for<'a> Deserialize<'a>>(&self, json: &[u8]) -> Result<T, Damage> {
        serde_json::from_slice(json).map_err(|error| {
            // serde quotes what it does not know, and that is somebody else's text.
            self.damage(super::text::Text::from(error.to_string().as_str()).as_str())
        })
    }

    /// Damage at this line.
    fn damage(&self, why: &str) -> Damage {
        Damage { line: self.line, why: why.to_owned() }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Fact, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.next_line().and_then(|json| json.map(|json| self.parse(&json)).transpose()).transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trace::fact::What;

    fn clocks(count: u64) -> Vec<Fact> {
        (0..count).map(|time| Fact { time, what: What::Clock { unix_ns: i64::MAX } }).collect()
    }

    fn recording(facts: &[Fact]) -> Vec<u8> {
        let mut bytes = line(&Header::new("6.18.44")).expect("a header fits");
        for fact in facts {
            bytes.extend(line(fact).expect("a clock fits"));
        }
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<Fact>, Option<Damage>) {
        match Reader::new(bytes) {
            Err(damage) => (Vec::new(), Some(damage)),
            Ok((_, reader)) => {
                let mut facts = Vec::new();
                for fact in reader {
                    match fact {
                        Ok(fact) => facts.push(fact),
                        Err(damage) => return (facts, Some(damage)),
                    }
                }
                (facts, None)
            }
        }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&recording(&clocks(3))), (clocks(3), None));
    }

    #[test]
    fn a_file_that_is_cut_is_good_up_to_the_cut() {
        let mut bytes = recording(&clocks(3));
        bytes.truncate(bytes.len() - 1);
        let (facts, damage) = read(&bytes);
        assert_eq!(facts, clocks(2));
        assert_eq!(damage.expect("cut").to_string(), "ended early at line 4: the line is cut off");
    }

    #[test]
    fn what_is_no_recording_says_so() {
        let why = |bytes: &[u8]| read(bytes).1.expect("no recording").to_string();
        assert_eq!(why(b""), "ended early at line 1: it is empty; is it a recording?");
        let (_, damage) = read(b"127.0.0.1 localhost\n");
        assert_eq!(damage.expect("no recording").line, 1);
        let other = Header { schema: "redis-trace.recording/9".to_owned(), ..Header::new("x") };
        assert_eq!(
            why(&line(&other).expect("fits")),
            "ended early at line 1: this version reads redis-trace.recording/1, not redis-trace.recording/9"
        );
    }

    proptest! {
        #[test]
        fn one_wrong_byte_never_makes_a_wrong_fact(at in 0usize..200, bit in 0u32..8) {
            let mut bytes = recording(&clocks(4));
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let (facts, _) = read(&bytes);
            prop_assert!(facts.len() <= 4);
            prop_assert_eq!(&facts[..], &clocks(4)[..facts.len()]);
        }

        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
