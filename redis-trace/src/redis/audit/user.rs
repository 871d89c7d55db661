//! Users of an ACL, from the rules that make them, <https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/>.

use std::collections::BTreeMap;

use crate::redis::config::Directive;

/// How many commands a user may give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Commands {
    /// None.
    #[default]
    None,
    /// Some of them, or all but some.
    Some,
    /// All.
    All,
}

/// A user, as the server makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// May log in.
    pub on: bool,
    /// Any password does.
    pub nopass: bool,
    /// How many passwords it has.
    pub passwords: usize,
    /// A password in plain text is short or well known.
    pub weak: bool,
    /// What it may do.
    pub commands: Commands,
}

impl User {
    /// The default user of a server that was told nothing.
    pub fn open() -> Self {
        Self { on: true, nopass: true, passwords: 0, weak: false, commands: Commands::All }
    }

    /// The default user of a server with `requirepass`.
    pub fn with_password(password: &[u8]) -> Self {
        Self { nopass: false, passwords: 1, weak: is_weak(password), ..Self::open() }
    }

    /// Somebody can log in as this user.
    pub fn can_log_in(&self) -> bool {
        self.on && (self.nopass || self.passwords > 0)
    }

    /// One more rule; the error says why it is none.
    fn apply(&mut self, rule: &[u8]) -> Result<(), &'static str> {
        match rule.to_ascii_lowercase().as_slice() {
            b"on" => self.on = true,
            b"off" => self.on = false,
            b"nopass" => (self.nopass, self.passwords, self.weak) = (true, 0, false),
            b"resetpass" => (self.nopass, self.passwords, self.weak) = (false, 0, false),
            b"reset" => *self = Self::default(),
            b"allcommands" | b"+@all" => self.commands = Commands::All,
            b"nocommands" | b"-@all" => self.commands = Commands::None,
            b"allkeys"
            | b"resetkeys"
            | b"allchannels"
            | b"resetchannels"
            | b"sanitize-payload"
            | b"skip-sanitize-payload"
            | b"clearselectors"
            | b"" => {}
            _ => return self.apply_marked(rule),
        }
        Ok(())
    }

    /// A rule that begins with a sign.
    fn apply_marked(&mut self, rule: &[u8]) -> Result<(), &'static str> {
        match rule {
            [b'>', password @ ..] => {
                (self.nopass, self.passwords) = (false, self.passwords + 1);
                self.weak |= is_weak(password);
            }
            [b'#', hash @ ..] if is_hash(hash) => (self.nopass, self.passwords) = (false, self.passwords + 1),
            [b'<', ..] => self.passwords = self.passwords.saturating_sub(1),
            [b'!', hash @ ..] if is_hash(hash) => self.passwords = self.passwords.saturating_sub(1),
            [b'#' | b'!', ..] => return Err("a password's hash is 64 hexadecimal digits in lower case"),
            [b'+' | b'-', _, ..] => self.commands = Commands::Some,
            [b'~' | b'&' | b'%' | b'(', ..] => {}
            _ => return Err("it is no rule of an ACL"),
        }
        Ok(())
    }
}

/// A user's rules joined: selectors in parentheses may stand in several words.
fn joined(rules: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut whole: Vec<Vec<u8>> = Vec::new();
    let mut is_open = false;
    for rule in rules {
        match whole.last_mut().filter(|_| is_open) {
            Some(selector) => {
                selector.push(b' ');
                selector.extend_from_slice(rule);
            }
            None => whole.push(rule.clone()),
        }
        is_open = whole.last().is_some_and(|rule| rule.starts_with(b"(") && !rule.ends_with(b")"));
    }
    whole
}

/// A rule that is none: of which directive, which word of it, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRule {
    /// The directive's place among all.
    pub at: usize,
    /// Why.
    pub why: &'static str,
}

/// Users by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// Each, and which directive made it.
    pub users: BTreeMap<String, (User, usize)>,
    /// Rules that are none.
    pub bad: Vec<BadRule>,
}

impl Users {
    /// From all directives `user NAME RULE…`. A user begins with nothing, the default user too once it is named.
    pub fn new(directives: &[Directive]) -> Self {
        let mut whole = Self::default();
        for (at, directive) in directives.iter().enumerate().filter(|(_, directive)| directive.name() == b"user") {
            let [name, rules @ ..] = directive.values() else {
                whole.bad.push(BadRule { at, why: "a user needs a name" });
                continue;
            };
            let mut user = User::default();
            for rule in joined(rules) {
                if let Err(why) = user.apply(&rule) {
                    whole.bad.push(BadRule { at, why });
                }
            }
            whole.users.insert(String::from_utf8_lossy(name).into_owned(), (user, at));
        }
        whole
    }
}

/// SHA-256 as an ACL has it.
fn is_hash(text: &[u8]) -> bool {
    text.len() == 64 && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Passwords that every attacker tries first.
const WELL_KNOWN: &[&str] =
    &["foobared", "password", "redis", "changeme", "secret", "admin", "default", "valkey", "test"];

/// Shorter than 12 bytes, well known, or one letter again and again.
pub fn is_weak(password: &[u8]) -> bool {
    let lower = password.to_ascii_lowercase();
    password.len() < 12
        || WELL_KNOWN.iter().any(|known| lower.starts_with(known.as_bytes()) && lower.len() < known.len() + 6)
        || password.windows(2).all(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::config::lines;
    use crate::trace::text::Text;

    fn users(text: &str) -> Users {
        let file = Text::from("users.acl");
        let directives: Vec<Directive> =
            lines(text.as_bytes()).into_iter().map(|line| Directive::of_line(&file, line)).collect();
        Users::new(&directives)
    }

    #[test]
    fn rules_make_users_as_the_server_does() {
        let whole =
            users("user default on\nuser al on >correct-horse-battery ~* +@all -flushall\nuser bo off nopass +@all\n");
        let user = |name: &str| whole.users[name].0.clone();
        assert_eq!(user("default"), User { on: true, ..User::default() }, "a named default user begins with nothing");
        assert!(user("al").can_log_in() && !user("al").weak && user("al").commands == Commands::Some);
        assert!(!user("bo").can_log_in() && user("bo").commands == Commands::All);
        assert!(!user("default").can_log_in());
    }

    #[test]
    fn what_is_no_rule_is_found_and_selectors_are_rules() {
        assert_eq!(users("user al on foo").bad.len(), 1);
        assert_eq!(users("user al on #abc").bad.len(), 1);
        assert_eq!(users("user").bad.len(), 1);
        assert_eq!(users("user al on nopass ~a %R~b &c +get (+set ~d) (+mget ~e)").bad.len(), 0);
        let hash = "a".repeat(64);
        assert_eq!(users(&format!("user al on #{hash} !{hash}")).bad.len(), 0);
    }

    #[test]
    fn short_and_well_known_passwords_are_weak() {
        assert!(
            is_weak(b"foobared")
                && is_weak(b"hunter2")
                && is_weak(b"aaaaaaaaaaaaaaaaaaaa")
                && is_weak(b"password12345")
        );
        assert!(!is_weak(b"correct-horse-battery-staple"));
    }
}
