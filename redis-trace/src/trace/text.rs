//! Text that somebody else wrote: names of tasks, paths, log lines. Made safe once, where it enters.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Foreign text whose control and layout characters are spelt out, so that it can be printed anywhere.
///
/// C0, DEL, C1, bidirectional and zero-width controls, line and paragraph separators become `\u{..}`, bytes that are not UTF-8
/// become `\x..`. A backslash becomes two, so that nothing can pretend to be an escape.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Text(String);

impl Text {
    /// From raw bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let mut safe = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c == '\\' {
                    safe.push_str("\\\\");
                } else if is_layout(c) {
                    safe.extend(c.escape_unicode());
                } else {
                    safe.push(c);
                }
            }
            for byte in chunk.invalid() {
                use fmt::Write as _;
                let _ = write!(safe, "\\x{byte:02x}");
            }
        }
        Self(safe)
    }

    /// From bytes that end at the first NUL, as the kernel keeps names.
    pub fn until_nul(bytes: &[u8]) -> Self {
        Self::new(bytes.split(|b| *b == 0).next().unwrap_or_default())
    }

    /// From words that are safe already: our own, or other `Text`s put together.
    pub(super) fn from_safe(safe: String) -> Self {
        debug_assert!(!safe.chars().any(is_layout), "only safe text goes in");
        Self(safe)
    }

    /// As it may be printed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same text with a part of its printable form replaced; what the edit brings in is made safe again.
    #[must_use]
    pub fn edited(&self, edit: impl FnOnce(&str) -> String) -> Self {
        Self::from_printable(edit(&self.0))
    }

    /// From text that was a [`Text`] before: what is safe stays as it is, the rest is made safe.
    fn from_printable(printable: String) -> Self {
        if printable.chars().any(is_layout) { Self::new(printable.as_bytes()) } else { Self(printable) }
    }

    /// The original bytes, for a look-up on the host; never for printing.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len());
        let mut rest = self.0.as_str();
        while let Some(at) = rest.find('\\') {
            bytes.extend_from_slice(&rest.as_bytes()[..at]);
            rest = &rest[at + 1..];
            let (raw, used) = unescape(rest);
            bytes.extend_from_slice(&raw);
            rest = &rest[used..];
        }
        bytes.extend_from_slice(rest.as_bytes());
        bytes
    }
}

/// What stands after a backslash, and how many bytes of text it took.
fn unescape(rest: &str) -> (Vec<u8>, usize) {
    if let Some(hex) = rest.strip_prefix('x').and_then(|r| r.get(..2))
        && let Ok(byte) = u8::from_str_radix(hex, 16)
    {
        return (vec![byte], 3);
    }
    if let Some((hex, _)) = rest.strip_prefix("u{").and_then(|r| r.split_once('}'))
        && let Some(c) = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)
    {
        return (c.to_string().into_bytes(), hex.len() + 3);
    }
    (vec![b'\\'], usize::from(rest.starts_with('\\')))
}

/// Characters that move the cursor, reorder, hide or break lines.
pub(crate) fn is_layout(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl<'de> Deserialize<'de> for Text {
    /// A recording is somebody else's text too: what is already safe stays as it is, the rest is made safe.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_printable(String::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_terminal_weapon_is_spelt_out() {
        assert_eq!(Text::new(b"\x1b[2J\x1b[1;1H OK").as_str(), "\\u{1b}[2J\\u{1b}[1;1H OK");
        assert_eq!(
            Text::new("a\u{202e}b\u{2028}\u{200b}\u{85}".as_bytes()).as_str(),
            "a\\u{202e}b\\u{2028}\\u{200b}\\u{85}"
        );
        assert_eq!(Text::new(b"\xff\\x41").as_str(), "\\xff\\\\x41");
    }

    /// Found by fuzzing: such a text comes from a recording, or of a line that was cut.
    #[test]
    fn an_escape_that_does_not_end_is_what_it_says() {
        for cut in ["u{d", "u{", "x4", ""] {
            let text = Text(format!(".\\{cut}"));
            assert_eq!(text.to_bytes(), format!(".\\{cut}").into_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_print_on_one_line_and_come_back(bytes: Vec<u8>) {
            let text = Text::new(&bytes);
            prop_assert!(!text.as_str().chars().any(is_layout));
            prop_assert_eq!(text.to_bytes(), bytes);
            let json = serde_json::to_string(&text).expect("a string");
            prop_assert_eq!(serde_json::from_str::<Text>(&json).expect("the same string"), text);
        }
    }
}
