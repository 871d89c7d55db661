//! The lines of a running server's configuration that decide who may connect, and where the server has left them.

use std::collections::BTreeMap;

use super::report::{Doctor, State};
use super::talk::Told;
use crate::host::server::deciding_lines;
use crate::redis::words::words;
use crate::trace::fact::{ConfigLine, Process};
use crate::trace::text::Text;

/// Directives that decide whether a client gets in.
const DECIDING: &[&str] = &[
    "bind",
    "port",
    "tls-port",
    "tls-auth-clients",
    "unixsocket",
    "unixsocketperm",
    "protected-mode",
    "requirepass",
    "aclfile",
    "maxclients",
    "tcp-backlog",
    "timeout",
    "maxmemory",
];

/// Those that a running server is asked for.
pub(super) const ASKED: &[&str] = &["tcp-backlog", "bind", "port", "maxclients", "protected-mode"];

/// Tells them.
pub(super) fn look(doctor: &mut Doctor, process: &Process, told: Option<&Told>) -> anyhow::Result<()> {
    let Some(told) = told else {
        return Ok(doctor.skip(&["config"], "which file the server has read is known only to a server that answers")?);
    };
    let file = match told.info.text("config_file") {
        Some(file) if file.starts_with('/') => file,
        Some(_) => return Ok(doctor.step("config", State::Good, "it was started without a file".to_owned())?),
        None => return Ok(doctor.skip(&["config"], "the server does not say which file it has read")?),
    };
    let lines = match deciding_lines(process, file, DECIDING) {
        Ok(lines) => lines,
        Err(why) => return Ok(doctor.skip(&["config"], &why)?),
    };
    if lines.is_empty() {
        let text = format!("{file} decides nothing about who may connect: the defaults do");
        return Ok(doctor.step("config", State::Good, text)?);
    }
    doctor.step("config", State::Good, shown(&lines))?;
    for line in &lines {
        if let Some(text) = left(line, &told.settings) {
            doctor.step("config", State::Warn, text)?;
        }
    }
    Ok(())
}

/// `/etc/redis/redis.conf:87 bind 127.0.0.1, :98 port 6379`.
fn shown(lines: &[ConfigLine]) -> String {
    let mut file = None;
    let mut shown = Vec::new();
    for line in lines {
        let again = file == Some(&line.file);
        let name = if again { String::new() } else { line.file.to_string() };
        file = Some(&line.file);
        shown.push(format!("{name}:{} {}", line.line, line.text));
    }
    shown.join(", ")
}

/// Where the running server does otherwise than its file says.
fn left(line: &ConfigLine, settings: &BTreeMap<String, String>) -> Option<String> {
    let words = words(line.text.as_str().as_bytes())?;
    let words: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let (name, written) = (words.first()?.to_ascii_lowercase(), words.get(1..)?.join(" "));
    let now = settings.get(&name)?;
    let is_same = now.split_whitespace().eq(written.split_whitespace());
    (!is_same).then(|| {
        let (file, now) = (&line.file, Text::from(now.as_str()));
        let number = line.line;
        format!("{file}:{number} says {name} {written}, and it is {now}: an option, CONFIG SET or a limit counts more")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u32, text: &str) -> ConfigLine {
        ConfigLine { file: Text::from("/etc/r.conf"), line: number, text: Text::from(text) }
    }

    #[test]
    fn a_file_is_named_once_and_what_was_changed_since_is_told() {
        let lines = [line(3, "bind 127.0.0.1 -::1"), line(9, "MaxClients 100")];
        assert_eq!(shown(&lines), "/etc/r.conf:3 bind 127.0.0.1 -::1, :9 MaxClients 100");
        let settings = BTreeMap::from([("bind".into(), "127.0.0.1 -::1".into()), ("maxclients".into(), "50".into())]);
        assert_eq!(left(&lines[0], &settings), None);
        let told = left(&lines[1], &settings).expect("it is another");
        assert_eq!(
            told,
            "/etc/r.conf:9 says maxclients 100, and it is 50: an option, CONFIG SET or a limit counts more"
        );
    }
}
