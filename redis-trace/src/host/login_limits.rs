//! What `limits.conf` gives a user at login: what guides have people raise, and what no unit of systemd hears of.

use std::fs;

/// Where pam_limits reads from, each file after the one before it.
const FILES: &[&str] = &["/etc/security/limits.conf", "/etc/security/limits.d/*.conf"];
/// As much as is read of a file.
const LONGEST: u64 = 1 << 20;

/// The files that a user may open after login, as the last line that concerns it says: `/etc/security/limits.conf:12 gives
/// redis 65536`; nothing where no line does.
pub fn login_limit(uid: u32) -> Option<String> {
    let name = name_of(uid, &fs::read_to_string("/etc/passwd").ok()?)?;
    let files = FILES.iter().filter_map(|pattern| glob::glob(pattern).ok()).flatten().flatten();
    let readable = files.filter(|file| fs::metadata(file).is_ok_and(|file| file.is_file() && file.len() <= LONGEST));
    let texts: Vec<(String, String)> =
        readable.filter_map(|file| Some((file.display().to_string(), fs::read_to_string(&file).ok()?))).collect();
    let found =
        texts.iter().flat_map(|(file, text)| nofile(text, &name).map(move |(line, is_own)| (file, line, is_own)));
    // A line for the user comes before one for everybody, and of two alike the later one counts.
    let (file, (line, value), _) = found.max_by_key(|(_, _, is_own)| *is_own)?;
    Some(format!("{file}:{line} gives {name} {value}"))
}

/// A user's name, by passwd(5).
fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let user = passwd.lines().find(|line| line.split(':').nth(2).is_some_and(|field| field.parse() == Ok(uid)))?;
    user.split(':').next().map(str::to_owned)
}

/// The lines about open files that concern a user: number, value, and whether it is the user's own (limits.conf(5)).
fn nofile<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = ((usize, &'a str), bool)> {
    text.lines().enumerate().filter_map(move |(at, line)| {
        let words: Vec<&str> = line.split('#').next()?.split_ascii_whitespace().collect();
        match words.as_slice() {
            [whose, "soft" | "-", "nofile", value] if *whose == name || *whose == "*" => {
                Some(((at + 1, *value), *whose == name))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_own_lines_are_told_from_everybodys_and_from_others() {
        let text = "# redis soft nofile 1\n*  soft nofile 2048\nredis hard nofile 9\nredis - nofile 65536 # more\n\
                    nobody soft nofile 5\nredis soft nproc 7\n";
        let found: Vec<_> = nofile(text, "redis").collect();
        assert_eq!(found, [((2, "2048"), false), ((4, "65536"), true)]);
        assert_eq!(
            name_of(112, "root:x:0:0::/root:/bin/sh\nredis:x:112:120::/var:/bin/false\n").as_deref(),
            Some("redis")
        );
        assert_eq!(name_of(7, "short\n"), None);
    }
}
