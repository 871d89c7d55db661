//! Why a server did not start.

use serde::{Deserialize, Serialize};

use crate::trace::text::Text;

/// Why a server did not start, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where the words were found: a log file, its standard error, the journal; or the configuration file itself.
    pub source: Text,
    /// The words.
    pub line: Text,
    /// The configuration file and line that they name.
    pub config: Option<ConfigLine>,
    /// True when the server said so; false when the tool read the configuration and found the line itself.
    pub said: bool,
}

/// A line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigLine {
    /// The file, in the server's mount namespace.
    pub file: Text,
    /// Line number, from 1.
    pub line: u32,
    /// The line itself, secrets redacted.
    pub text: Text,
}
