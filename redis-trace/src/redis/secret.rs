//! Secrets on command lines and in configuration lines: never shown, never recorded, not even their length.

use crate::trace::text::Text;

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// Option and directive names that one secret follows.
const ONE: &[&str] = &[
    "-a",
    "requirepass",
    "masterauth",
    "primaryauth",
    "pass",
    "password",
    "passwd",
    "sentinel-pass",
    "tls-key-file-pass",
    "tls-client-key-file-pass",
    "default-user-password",
];

/// What words to hide next, as an argument list is read from left to right.
#[derive(Clone, Copy, Debug, Default)]
struct Reader {
    /// So many words are secret.
    hide: u32,
    /// After so many that are not.
    skip: u32,
    /// Inside an ACL rule: passwords and their hashes begin with a sign.
    rule: bool,
}

impl Reader {
    /// One word, safe to show.
    fn word(&mut self, word: &str) -> String {
        let name = word.trim_start_matches('-').to_ascii_lowercase();
        if self.skip > 0 {
            self.skip -= 1;
        } else if self.hide > 0 {
            self.hide -= 1;
            return REDACTED.to_owned();
        }
        if word.starts_with("--") {
            self.rule = false;
        }
        self.expect_after(word, &name);
        if self.rule && word.trim_start_matches(['"', '\'']).starts_with(['>', '<', '#', '!']) {
            return REDACTED.to_owned();
        }
        without_assignment(&without_userinfo(word))
    }

    /// What this word says of the words after it.
    fn expect_after(&mut self, word: &str, name: &str) {
        match name {
            "user" | "setuser" => self.rule = true,
            "auth" => self.hide = 2, // AUTH password, AUTH user password
            // sentinel auth-pass MASTER PASSWORD; MIGRATE … AUTH2 USER PASSWORD
            "auth-pass" | "auth2" => (self.skip, self.hide) = (1, 1),
            _ if ONE.contains(&word) || ONE.contains(&name) => self.hide = 1,
            _ => {}
        }
    }
}

/// Whether a directive's name is one letter or two away from one that a secret follows.
fn is_nearly_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let near = |known: &&str| name.len().abs_diff(known.len()) <= 2 && strsim::damerau_levenshtein(known, &name) <= 2;
    let mut long = ONE.iter().copied().filter(|known| known.len() >= 10);
    !ONE.contains(&name.as_str()) && long.any(|known| near(&known))
}

/// `redis://user:password@host` becomes `redis://[redacted]@host`.
fn without_userinfo(word: &str) -> String {
    let Some(start) = word.find("://").map(|at| at + 3) else { return word.to_owned() };
    let authority = &word[start..];
    // A password may hold anything that was not encoded, so the last `@` before the path's end counts.
    let Some(at) = authority.rfind('@') else { return word.to_owned() };
    format!("{}{REDACTED}{}", &word[..start], &authority[at..])
}

/// `--password=x` and `REDISCLI_AUTH=x` lose their value.
fn without_assignment(word: &str) -> String {
    let Some((name, value)) = word.split_once('=') else { return word.to_owned() };
    let lower = name.to_ascii_lowercase();
    let secret = ["pass", "auth", "secret", "token", "credential"].iter().any(|part| lower.contains(part));
    if secret && !value.is_empty() { format!("{name}={REDACTED}") } else { word.to_owned() }
}

/// A command line whose secrets are hidden. Arguments that hold a whole command (`sh -c '…'`) are read word by word.
pub fn redact_arguments(arguments: &[Text]) -> Vec<Text> {
    let mut reader = Reader::default();
    arguments
        .iter()
        .map(|argument| {
            argument.edited(|text| {
                if reader.hide > 0 && reader.skip == 0 {
                    return reader.word(text);
                }
                plain_spaces(text).split(' ').map(|word| reader.word(word)).collect::<Vec<_>>().join(" ")
            })
        })
        .collect()
}

/// Tabs and line ends part words too; in a [`Text`] they are spelt out.
fn plain_spaces(text: &str) -> String {
    ["\\u{9}", "\\u{a}", "\\u{b}", "\\u{c}", "\\u{d}"].iter().fold(text.to_owned(), |text, tab| text.replace(tab, " "))
}

/// A line of a configuration file whose secrets are hidden: after a secret's name, all that follows on the line.
pub fn redact_line(line: &Text) -> Text {
    line.edited(|text| {
        let mut reader = Reader::default();
        let mut shown = Vec::new();
        // A misspelt name is no directive, and what follows it is a secret all the same.
        let first = text.split_ascii_whitespace().next().unwrap_or_default();
        if is_nearly_secret(first) {
            return format!("{first} {REDACTED}");
        }
        for word in plain_spaces(text).split(' ') {
            if reader.hide > 0 && reader.skip == 0 && !word.is_empty() {
                shown.push(REDACTED.to_owned());
                break;
            }
            shown.push(if word.is_empty() { String::new() } else { reader.word(word) });
        }
        shown.join(" ")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A command line as it is shown.
    fn shown(arguments: &[&str]) -> String {
        let arguments: Vec<Text> = arguments.iter().map(|a| Text::from(*a)).collect();
        redact_arguments(&arguments).iter().map(Text::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn no_command_line_shows_its_secret() {
        assert_eq!(shown(&["redis-cli", "-a", "hunter2", "-h", "db"]), "redis-cli -a [redacted] -h db");
        assert_eq!(shown(&["redis-cli", "--user", "al", "--pass", "hunter2"]), "redis-cli --user al --pass [redacted]");
        assert_eq!(shown(&["redis-cli", "-u", "redis://al:p@ss@db:1/0"]), "redis-cli -u redis://[redacted]@db:1/0");
        assert_eq!(shown(&["redis-server", "--requirepass", "two words"]), "redis-server --requirepass [redacted]");
        assert_eq!(
            shown(&["redis-server", "--user", "al", "on", ">pw", "~*", "#ab", "--port", "1"]),
            "redis-server --user al on [redacted] ~* [redacted] --port 1"
        );
        assert_eq!(shown(&["sh", "-c", "redis-cli -a hunter2 ping"]), "sh -c redis-cli -a [redacted] ping");
        assert_eq!(shown(&["sh", "-c", "redis-cli\t-a\nhunter2"]), "sh -c redis-cli -a [redacted]");
        assert_eq!(shown(&["env", "REDISCLI_AUTH=hunter2", "x"]), "env REDISCLI_AUTH=[redacted] x");
        assert_eq!(shown(&["redis-cli", "AUTH", "al", "hunter2"]), "redis-cli AUTH [redacted] [redacted]");
        assert_eq!(
            shown(&["redis-server", "--sentinel", "auth-pass", "mymaster", "hunter2"]),
            "redis-server --sentinel auth-pass mymaster [redacted]"
        );
        assert_eq!(
            shown(&["redis-server", "/etc/redis.conf", "--port", "6380"]),
            "redis-server /etc/redis.conf --port 6380"
        );
    }

    #[test]
    fn no_configuration_line_shows_its_secret() {
        let line = |text: &str| redact_line(&Text::from(text)).as_str().to_owned();
        assert_eq!(line("requirepass \"two words\" # no"), "requirepass [redacted]");
        assert_eq!(line("  MasterAuth\thunter2"), "  MasterAuth [redacted]");
        assert_eq!(line("user al on \">pw\" ~* +@all"), "user al on [redacted] ~* +@all");
        assert_eq!(line("sentinel auth-pass mymaster hunter2"), "sentinel auth-pass mymaster [redacted]");
        assert_eq!(line("tls-key-file-pass x"), "tls-key-file-pass [redacted]");
        assert_eq!(line("requirepas hunter2"), "requirepas [redacted]");
        assert_eq!(line("require_pass hunter2"), "require_pass [redacted]");
        assert_eq!(line("REQUIERPASS hunter2 hunter1"), "REQUIERPASS [redacted]");
        assert_eq!(line("masteruser al"), "masteruser al");
        assert_eq!(line("bind 127.0.0.1 -::1"), "bind 127.0.0.1 -::1");
    }

    proptest! {
        #[test]
        fn a_canary_never_comes_out(
            name in prop::sample::select(vec!["requirepass", "masterauth", "primaryauth", "tls-key-file-pass", "sentinel-pass"]),
            upper: bool, spaces in 1_usize..5, quote in prop::sample::select(vec!["", "\"", "'"]),
        ) {
            let name = if upper { name.to_ascii_uppercase() } else { name.to_owned() };
            let line = format!("{name}{}{quote}canary canary{quote}", " ".repeat(spaces));
            prop_assert!(!redact_line(&Text::from(line.as_str())).as_str().contains("canary"));
            let option = format!("--{name}");
            prop_assert!(!shown(&["redis-server", &option, "canary canary", "--port", "1"]).contains("canary"));
        }

        #[test]
        fn any_arguments_can_be_read(arguments: Vec<Vec<u8>>) {
            let arguments: Vec<Text> = arguments.iter().map(|a| Text::new(a)).collect();
            prop_assert_eq!(redact_arguments(&arguments).len(), arguments.len());
        }
    }
}
