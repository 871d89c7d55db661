//! What `INFO` tells, <https://redis.io/docs/latest/commands/info/>.

use std::collections::HashMap;

/// The fields of a server's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info(HashMap<String, String>);

impl Info {
    /// Reads the answer; lines that are no fields are left out.
    pub fn new(text: &str) -> Self {
        let fields = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// A field.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A field that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_headings_are_not() {
        let info = Info::new(
            "# Clients\r\nconnected_clients:7\r\nmaxclients:10000\r\n\r\n# Server\r\nredis_version:7.0.15\r\nx",
        );
        assert_eq!((info.number("connected_clients"), info.text("redis_version")), (Some(7), Some("7.0.15")));
        assert_eq!((info.number("redis_version"), info.text("# Server")), (None, None));
    }
}
