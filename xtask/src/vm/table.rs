//! The table of causes, kernels and tiers, made of what `redis-trace demo -o json` says in each machine.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Where the table is kept, relative to the workspace.
const KEPT: &str = "docs/kernels.md";
/// What a line of the demo calls itself that tells how a scenario went in all its runs.
const PERFORMANCE: &str = "redis-trace.demo/1";
/// What `redis-trace check -o json` calls its object.
const CHECK: &str = "redis-trace.check/1";
/// What stands above the table.
const TITLE: &str = "# What was shown to work where\n\n\
    Each row is a situation that `redis-trace demo` makes happen for real; each column a kernel and the tier of its\n\
    hooks. ✓: told as expected every time. –: not to be seen with those hooks. `cargo xtask vm` runs it all on\n\
    emulated machines, `cargo xtask test` fails unless this page is what came of it, and `cargo xtask vm --keep`\n\
    writes it.\n\n";

/// The situations, and how each kernel did.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// One a machine: series and tier.
    columns: Vec<String>,
    /// Cause, situation, and one cell a column.
    rows: Vec<(String, String, Vec<&'static str>)>,
    /// One line a run that was not as expected: series, situation and what was wrong.
    wrong: Vec<String>,
}

impl Table {
    /// Takes in what the demo said on one kernel.
    pub(crate) fn add(&mut self, series: &str, output: &str) {
        let lines: Vec<Value> = output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let called = |schema: &'static str| lines.iter().filter(move |line| line["schema"] == schema);
        // What is shown once more without hooks on functions is no column of its own.
        let performances: Vec<&Value> = called(PERFORMANCE).filter(|performance| performance["tier"] != "t2").collect();
        if performances.is_empty() {
            return;
        }
        let mut hooks = called(CHECK).filter_map(|check| check["hooks"].as_array()).flatten();
        let has_trampolines = hooks.any(|hook| hook["tier"] == 1 && hook["state"] == "up");
        let name = format!("{series} {}", if has_trampolines { "T1" } else { "T2" });
        let known = self.columns.iter().position(|column| *column == name);
        // A kernel may run in several machines, each with situations of its own.
        let column = known.unwrap_or_else(|| {
            self.columns.push(name);
            self.columns.len() - 1
        });
        for performance in performances {
            let mark = if performance["passed"] == true { "✓" } else { "✗" };
            let scenario = text(&performance["scenario"]);
            self.mark(column, &text(&performance["code"]), &scenario, mark);
            let wrong = performance["wrong"].as_array().into_iter().flatten();
            self.wrong.extend(wrong.map(|wrong| format!("{series}: {scenario}: {}", text(wrong))));
        }
        for (_, _, cells) in &mut self.rows {
            cells.resize(self.columns.len(), "–");
        }
    }

    /// Sets a column's cell in the row of a situation.
    fn mark(&mut self, column: usize, code: &str, scenario: &str, mark: &'static str) {
        let known = self.rows.iter().position(|(c, s, _)| c == code && s == scenario);
        let place = known.unwrap_or_else(|| {
            self.rows.push((code.to_owned(), scenario.to_owned(), Vec::new()));
            self.rows.len() - 1
        });
        let cells = &mut self.rows[place].2;
        cells.resize(self.columns.len(), "–");
        // Shown more than once, it was told as expected when it was each time.
        if cells[column] != "✗" {
            cells[column] = mark;
        }
    }

    /// The table in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut lines = vec![
            format!("| cause | situation | {} |", self.columns.join(" | ")),
            format!("|---|---|{}", ":-:|".repeat(self.columns.len())),
        ];
        let row = |(code, scenario, cells): &(String, String, Vec<&str>)| {
            format!("| {code} | {scenario} | {} |", cells.join(" | "))
        };
        lines.extend(self.rows.iter().map(row));
        lines.join("\n") + "\n"
    }

    /// What was not as expected, a line a run.
    pub(crate) fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// Whether any machine ran the demo.
    pub(crate) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Writes the page that holds the table.
    pub(crate) fn keep(&self, workspace: &Path) -> Result<()> {
        let page = workspace.join(KEPT);
        fs::create_dir_all(page.parent().unwrap_or(workspace))?;
        fs::write(&page, format!("{TITLE}{}", self.markdown())).with_context(|| format!("cannot write {KEPT}"))
    }

    /// An error unless the page that is kept says what was seen now.
    pub(crate) fn compare(&self, workspace: &Path) -> Result<()> {
        let kept = fs::read_to_string(workspace.join(KEPT)).unwrap_or_default();
        if kept != format!("{TITLE}{}", self.markdown()) {
            bail!("{KEPT} is not what the kernels showed now: run `cargo xtask vm --keep` and commit it");
        }
        Ok(())
    }
}

/// A JSON string's text; a cause that is not there is none.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or("none").to_owned()
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn a_situation_that_one_kernel_cannot_see_has_an_empty_cell_there() {
        let line = |code: &str, passed: bool| {
            format!(
                "{{\"schema\":\"redis-trace.demo/1\",\"scenario\":\"s\",\"code\":\"{code}\",\"passed\":{passed}}}\n"
            )
        };
        let check = "{\"schema\":\"redis-trace.check/1\",\"hooks\":[{\"tier\":1,\"state\":\"up\"}]}\n";
        let mut table = Table::default();
        table.add("5.10", &(String::from("VMTEST-INIT 5.10\n") + check + &line("RT1001", true)));
        let failed = line("RT1002", false).replace('}', ",\"wrong\":[\"not told: it\"]}");
        table.add("6.1", &(failed + &line("RT1001", true)));
        table.add("6.12", "no demo here\n");
        table.add("5.10", &(String::from(check) + &line("RT1003", true)));
        let expected = "| cause | situation | 5.10 T1 | 6.1 T2 |\n|---|---|:-:|:-:|\n\
                        | RT1001 | s | ✓ | ✓ |\n| RT1002 | s | – | ✗ |\n\
                        | RT1003 | s | ✓ | – |\n";
        assert_eq!(table.markdown(), expected);
        assert_eq!(table.wrong(), ["6.1: s: not told: it"]);
    }
}
