//! Lines of text: coloured pieces, measured in columns, wrapped and cut so that nothing runs over the edge.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::trace::text::is_layout;

/// What a piece of a line is, and so how it is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// Plain text.
    Plain,
    /// Beside the point: times, labels.
    Dim,
    /// What to look at first.
    Strong,
    /// It was turned away.
    Bad,
    /// It is less than certain, or less than fatal.
    Doubtful,
    /// It is certain.
    Sure,
    /// A name that stands for ever.
    Code,
}

impl Paint {
    /// The parameters of the SGR sequence.
    fn sgr(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Dim => "2",
            Self::Strong => "1",
            Self::Bad => "1;31",
            Self::Doubtful => "33",
            Self::Sure => "32",
            Self::Code => "1;36",
        }
    }
}

/// A line of coloured pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pieces: Vec<(Paint, String)>,
}

impl Line {
    /// Nothing but these columns of space.
    pub(super) fn indent(columns: usize) -> Self {
        Self::default().with(Paint::Plain, &" ".repeat(columns))
    }

    /// With a piece more. What would move the cursor is spelt out, wherever it came from: the last gate before a terminal.
    pub(super) fn with(mut self, paint: Paint, text: &str) -> Self {
        self.pieces.push((paint, safe(text).into_owned()));
        self
    }

    /// Columns it takes.
    pub(super) fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| text.width()).sum()
    }

    /// With spaces up to this column, and always with two.
    pub(super) fn pad(self, column: usize) -> Self {
        let spaces = column.saturating_sub(self.width()).max(2);
        self.with(Paint::Plain, &" ".repeat(spaces))
    }

    /// As it is printed, with its newline.
    pub(super) fn render(&self, color: bool, out: &mut String) {
        for (paint, text) in &self.pieces {
            if color && *paint != Paint::Plain {
                out.push_str("\x1b[");
                out.push_str(paint.sgr());
                out.push('m');
                out.push_str(text);
                out.push_str("\x1b[0m");
            } else {
                out.push_str(text);
            }
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
}

/// The text with what would move the cursor spelt out.
pub(super) fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_layout) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_layout(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// The text in lines of at most `width` columns, broken at spaces; what does not fit into `most` lines ends in `…`.
pub(super) fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in safe(text).split_inclusive(' ') {
        let here = lines.last().map_or(0, |line| line.width());
        // A name that is nothing but spaces makes no empty line.
        if word.trim().is_empty() && (here == 0 || here > width) {
            continue;
        }
        if here > 0 && here + word.trim_end().width() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(word);
        }
    }
    if lines.len() > most {
        let rest: String = lines.drain(most - 1..).collect();
        lines.push(rest);
    }
    lines.iter().map(|line| cut(line.trim(), width)).collect()
}

/// The text in at most `width` columns; what is cut off is shown as `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    let text = safe(text);
    if text.width() <= width {
        return text.into_owned();
    }
    let mut used = 1;
    let kept = text.chars().take_while(|c| {
        used += c.width().unwrap_or(0);
        used <= width
    });
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_text_breaks_at_spaces_and_ends_in_an_ellipsis() {
        assert_eq!(wrap("nothing listens on 10.0.3.9:6379", 15, 9), ["nothing listens", "on", "10.0.3.9:6379"]);
        assert_eq!(wrap("nothing listens on 10.0.3.9:6379", 15, 2), ["nothing listens", "on 10.0.3.9:63…"]);
        assert_eq!(wrap("", 15, 2), [""]);
        assert_eq!(wrap(&format!("a{}b", " ".repeat(60)), 15, 9), ["a", "b"]);
        assert_eq!(cut("日本語", 5), "日本…");
    }

    proptest! {
        #[test]
        fn no_text_runs_over_the_edge(text in ".{0,200}", width in 1usize..120, most in 1usize..5) {
            let lines = wrap(&text, width, most);
            prop_assert!(lines.len() <= most);
            for line in lines {
                prop_assert!(line.width() <= width, "{:?} is {} wide", line, line.width());
            }
        }
    }
}
