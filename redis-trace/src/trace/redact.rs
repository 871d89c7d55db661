//! Command lines without the secrets that people put on them.

use super::text::Text;

/// Options of servers and clients whose next argument is a secret.
const SECRET_OPTIONS: &[&str] = &[
    "-a",
    "--pass",
    "--password",
    "--requirepass",
    "--masterauth",
    "--primaryauth",
    "--tls-key-file-pass",
    "--tls-client-key-file-pass",
    "--user",
];

/// Arguments with each secret replaced by `[redacted]`: the values of password options and of ACL rules, and the user
/// part of `redis://` addresses.
pub fn arguments(raw: impl IntoIterator<Item = Text>) -> Vec<Text> {
    let mut safe = Vec::new();
    let mut secret_until_option = false;
    for argument in raw {
        let text = argument.as_str();
        let lower = text.to_ascii_lowercase();
        if let Some(option) = SECRET_OPTIONS.iter().find(|option| lower == **option) {
            secret_until_option = true;
            safe.push(Text::from(*option));
        } else if secret_until_option && !text.starts_with("--") {
            safe.push(Text::from("[redacted]"));
        } else {
            secret_until_option = false;
            safe.push(one(text, &lower).unwrap_or(argument));
        }
    }
    safe
}

/// One argument that carries its own secret: `--pass=x`, `requirepass x` in one word, `redis://user:secret@host`.
fn one(text: &str, lower: &str) -> Option<Text> {
    if let Some((option, _)) = lower.split_once(['=', ' '])
        && SECRET_OPTIONS.iter().any(|secret| secret.trim_start_matches('-') == option.trim_start_matches('-'))
    {
        return Some(Text::from(format!("{option}=[redacted]").as_str()));
    }
    let (scheme, rest) = text.split_once("://")?;
    let (_, host) = rest.rsplit_once('@')?;
    Some(Text::from(format!("{scheme}://[redacted]@{host}").as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(arguments_given: &[&str]) -> String {
        let safe = arguments(arguments_given.iter().map(|a| Text::from(*a)));
        safe.iter().map(Text::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn secrets_never_leave_a_command_line() {
        assert_eq!(shown(&["redis-cli", "-a", "canary", "ping"]), "redis-cli -a [redacted] [redacted]");
        assert_eq!(
            shown(&["redis-server", "--requirepass", "canary", "--port", "1"]),
            "redis-server --requirepass [redacted] --port 1"
        );
        assert_eq!(shown(&["x", "--pass=canary"]), "x --pass=[redacted]");
        assert_eq!(shown(&["x", "redis://u:canary@h:1/0"]), "x redis://[redacted]@h:1/0");
        assert_eq!(
            shown(&["redis-server", "--user", "default", "on", ">canary"]),
            "redis-server --user [redacted] [redacted] [redacted]"
        );
        assert_eq!(shown(&["redis-server", "/etc/redis/redis.conf"]), "redis-server /etc/redis/redis.conf");
    }
}
