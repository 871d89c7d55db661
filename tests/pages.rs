//! The pages of `explain` and the README's table say what the program has, all of it and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use redis_trace::commands::explain::{meaning, page};
use redis_trace::trace::cause::Code;
use unicode_width::UnicodeWidthStr as _;

const SECTIONS: [&str; 6] = [
    "## What it means",
    "## How it is detected",
    "## Evidence you will see",
    "## How to reproduce",
    "## Fix and its risk",
    "## What it is confused with",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

#[test]
fn every_cause_has_a_page_with_every_section() {
    for code in Code::ALL {
        let page = page(*code);
        assert!(page.starts_with(&format!("# {code} {}\n\n", code.name())), "{code} has another title");
        assert!(meaning(*code).ends_with('.'), "{code} begins with its meaning, in one sentence");
        let headings: Vec<&str> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, SECTIONS, "{code}");
        let empty = page.split("\n## ").skip(1).any(|section| section.lines().skip(1).all(str::is_empty));
        assert!(!empty, "{code} has an empty section");
        assert!(page.lines().all(|line| line.width() <= 100), "{code} is wider than a terminal");
    }
}

#[test]
fn no_page_is_left_of_a_cause_that_does_not_exist() {
    let files = std::fs::read_dir(root().join("redis-trace/src/pages")).expect("the pages");
    let found: BTreeSet<String> =
        files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    let expected: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{code}.md")).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_documentation_has_the_same_pages() {
    for code in Code::ALL {
        let path = root().join(format!("docs/causes/{code}.md"));
        assert_eq!(std::fs::read_to_string(&path).expect("a page"), page(*code), "{}", path.display());
    }
}

#[test]
fn a_page_names_only_causes_that_exist() {
    for code in Code::ALL {
        let words = page(*code).split(|c: char| !c.is_ascii_alphanumeric());
        for word in words.filter(|word| word.len() == 6 && word.starts_with("RT") && word[2..].parse::<u16>().is_ok()) {
            assert!(word.parse::<Code>().is_ok(), "the page of {code} names {word}");
        }
    }
}

#[test]
fn the_readme_lists_every_cause_as_the_program_knows_it() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let table = readme
        .split_once("<!-- causes: compared with the program by a test -->\n")
        .and_then(|(_, rest)| rest.split_once("<!-- /causes -->"))
        .expect("the table's place")
        .0;
    let row = |code: &Code| format!("| {code} | {} | {} |\n", code.name(), meaning(*code));
    let expected =
        format!("| code | name | what it means |\n|---|---|---|\n{}", Code::ALL.iter().map(row).collect::<String>());
    assert!(table == expected, "README.md should have:\n{expected}");
}

#[test]
fn each_row_of_what_goes_wrong_names_tests_that_there_are() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"));
    let (page, machines) = (read("docs/behaviour.md"), read("xtask/src/vm/mod.rs"));
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| what ");
    let rows: Vec<&str> = page.lines().filter(is_row).collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit('|').next().expect("a cell");
        // Every other part is between back quotes: a file, or a test in the one before it.
        let mut quoted = tests.split('`').skip(1).step_by(2).peekable();
        assert!(quoted.peek().is_some_and(|first| first.contains('/')) || tests.contains("no test"), "{row}");
        let mut file = String::new();
        for word in quoted {
            if word.starts_with("tests/machines/") {
                assert!(machines.contains(&format!("/{word}\"")), "no machine runs {word}");
            } else if word.contains('/') {
                file = read(word);
            } else if !tests.contains("no test") {
                assert!(file.contains(&format!("fn {word}(")), "there is no {word}: {row}");
            }
        }
    }
}
