//! The changes of an audit as a unified diff. A line that holds a secret is neither changed nor shown: a hunk ends before it.

use std::fmt::Write as _;

use super::finding::Edit;
use crate::redis::secret;
use crate::trace::text::Text;

/// Lines shown around a change.
const CONTEXT: usize = 3;

/// The changes to one file; nothing when there are none. The first change of a line counts.
pub fn unified(name: &str, text: &[u8], edits: &[Edit]) -> String {
    let lines: Vec<&[u8]> = text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n').collect();
    let mut changes: Vec<(usize, &[Text])> = Vec::new();
    let mut sorted: Vec<&Edit> = edits.iter().collect();
    sorted.sort_by_key(|edit| edit.line);
    for edit in sorted {
        let at = edit.line as usize;
        let is_shown = at.checked_sub(1).and_then(|at| lines.get(at)).is_some_and(|line| is_plain(line));
        if is_shown && changes.last().is_none_or(|(last, _)| *last != at - 1) {
            changes.push((at - 1, &edit.new));
        }
    }
    let mut hunks = String::new();
    let mut moved = 0;
    for (nth, (at, new)) in changes.iter().enumerate() {
        let before = nth.checked_sub(1).map_or(0, |before| changes[before].0 + 1);
        let after = changes.get(nth + 1).map_or(lines.len(), |after| after.0);
        // Half of what lies between two changes belongs to each, and both sides get as many: patch(1) wants it so.
        let share = |distance: usize, is_shared: bool| if is_shared { distance / 2 } else { distance };
        let above = share(at - before, nth > 0);
        let below = share(after - at - 1, nth + 1 < changes.len());
        let clear = |n: &usize| is_plain(lines[at - n]) && is_plain(lines[at + n]);
        let around = (1..=CONTEXT.min(above).min(below)).take_while(clear).count();
        hunk(&mut hunks, &lines, *at, new, around, moved);
        moved += isize::try_from(new.len()).unwrap_or_default() - 1;
    }
    if hunks.is_empty() { hunks } else { format!("--- {name}\n+++ {name}\n{hunks}") }
}

/// One change and the lines around it.
fn hunk(text: &mut String, lines: &[&[u8]], at: usize, new: &[Text], around: usize, moved: isize) {
    let first = at - around + 1;
    let (old_length, new_length) = (1 + 2 * around, new.len() + 2 * around);
    let start = first.saturating_add_signed(moved) - usize::from(new_length == 0);
    let _ = writeln!(text, "@@ -{first},{old_length} +{start},{new_length} @@");
    let line = |text: &mut String, sign: char, line: &[u8]| {
        let _ = writeln!(text, "{sign}{}", String::from_utf8_lossy(line));
    };
    lines[at - around..at].iter().for_each(|old| line(text, ' ', old));
    line(text, '-', lines[at]);
    for new in new {
        line(text, '+', &new.to_bytes());
    }
    lines[at + 1..=at + around].iter().for_each(|old| line(text, ' ', old));
}

/// A line that can be shown as it is: nothing in it is secret, and nothing moves the cursor.
fn is_plain(line: &[u8]) -> bool {
    let text = Text::new(line);
    let plain = text.as_str().as_bytes() == line || line.contains(&b'\t') || line.contains(&b'\\');
    let is_safe =
        !line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') && std::str::from_utf8(line).is_ok();
    plain && is_safe && !secret::redact_line(&text).as_str().contains(secret::REDACTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(line: u32, new: &[&str]) -> Edit {
        Edit { file: Text::from("f"), line, new: new.iter().map(|line| Text::from(*line)).collect() }
    }

    #[test]
    fn a_change_is_shown_with_the_lines_around_it() {
        let diff = unified("f", b"a\nb\nc\nd\ne\n", &[edit(3, &["C", "CC"])]);
        assert_eq!(diff, "--- f\n+++ f\n@@ -1,5 +1,6 @@\n a\n b\n-c\n+C\n+CC\n d\n e\n");
        assert_eq!(unified("f", b"a\n", &[edit(1, &[])]), "--- f\n+++ f\n@@ -1,1 +0,0 @@\n-a\n");
        assert_eq!(unified("f", b"a\n", &[]), "");
    }

    #[test]
    fn a_secret_beside_a_change_is_not_shown() {
        let diff = unified("f", b"requirepass hunter2\nport 1\nx\n", &[edit(2, &["port 2"])]);
        assert_eq!(diff, "--- f\n+++ f\n@@ -2,1 +2,1 @@\n-port 1\n+port 2\n");
    }

    #[test]
    fn two_changes_are_two_hunks_that_do_not_overlap() {
        let diff = unified("f", b"a\nb\nc\nd\n", &[edit(3, &["C"]), edit(1, &[]), edit(3, &["never"])]);
        assert_eq!(diff, "--- f\n+++ f\n@@ -1,1 +0,0 @@\n-a\n@@ -3,1 +2,1 @@\n-c\n+C\n");
    }
}
