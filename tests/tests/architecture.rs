//! ARCHITECTURE.md and its picture name files and items that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What is between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names that a source defines.
fn defined(source: &str) -> BTreeSet<&str> {
    let words: Vec<_> = source
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|w| !w.is_empty())
        .collect();
    let keywords = ["fn", "struct", "enum", "trait", "type", "mod", "def", "class"];
    words.windows(2).filter(|pair| keywords.contains(&pair[0])).map(|pair| pair[1]).collect()
}

/// What is wrong with a row: files that are not there, and items that none of them defines.
fn mistakes(row: &str) -> Vec<String> {
    let cells: Vec<_> = row.trim_matches('|').split('|').collect();
    let mut mistakes = Vec::new();
    let mut sources = String::new();
    for path in code(cells[1]) {
        match fs::read_to_string(Path::new(ROOT).join(path)) {
            Ok(source) => sources += &source,
            Err(error) => mistakes.push(format!("{path}: {error}")),
        }
    }
    let names = defined(&sources);
    let items = code(cells[2]).flat_map(|item| item.split("::"));
    for item in items.filter(|item| !names.contains(item)) {
        mistakes.push(format!("{}: nothing is called {item}", cells[1].trim()));
    }
    mistakes
}

/// The rows of the table under a heading, without its head.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    let (_, part) = page.split_once(&format!("\n## {heading}\n")).expect("the heading is there");
    let part = part.split("\n## ").next().unwrap();
    part.lines().filter(|line| line.starts_with('|')).skip(2).collect()
}

#[test]
fn each_file_and_each_item_is_there() {
    let page = read("ARCHITECTURE.md");
    let rows = rows(&page, "Where is it?");
    assert!(rows.len() > 15, "only {} rows are found", rows.len());
    let mistakes: Vec<_> = rows.iter().flat_map(|row| mistakes(row)).collect();
    assert!(mistakes.is_empty(), "ARCHITECTURE.md:\n{}", mistakes.join("\n"));
}

#[test]
fn each_folder_is_there_and_none_is_missing() {
    let page = read("ARCHITECTURE.md");
    let rows = rows(&page, "What is in which folder");
    let named: BTreeSet<_> = rows
        .iter()
        .flat_map(|row| code(row.trim_start_matches('|').split('|').next().unwrap()))
        .collect();
    for folder in &named {
        assert!(Path::new(ROOT).join(folder).is_dir(), "there is no folder {folder}");
    }
    for member in members() {
        let top = member.split('/').next().unwrap();
        assert!(named.contains(top), "ARCHITECTURE.md does not say what {top} is");
    }
}

/// The folders of the workspace's packages.
fn members() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let (_, list) = manifest.split_once("\nmembers = [").expect("there are members");
    let list = list.split(']').next().unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn each_crate_has_a_readme_that_its_manifest_names() {
    for member in members().iter().map(String::as_str).chain(["bench", "fuzz", "mobile", "wasm"]) {
        let manifest = read(&format!("{member}/Cargo.toml"));
        assert!(manifest.contains("\nreadme = \"README.md\"\n"), "{member}/Cargo.toml names none");
        assert!(read(&format!("{member}/README.md")).starts_with("# "), "{member}");
    }
}

#[test]
fn the_picture_names_what_is_there() {
    let picture = read("docs/architecture.svg");
    let texts: Vec<_> = picture.split("class=\"path\"").skip(1).collect();
    assert!(texts.len() > 10, "only {} paths are found", texts.len());
    for text in texts {
        let text = text.split('>').nth(1).unwrap().split('<').next().unwrap();
        for path in text.split(", ") {
            assert!(Path::new(ROOT).join(path).exists(), "there is no {path}");
        }
    }
}

#[test]
fn what_is_not_there_is_found() {
    let here = "`tests/tests/architecture.rs`";
    assert_eq!(mistakes(&format!("| a | {here} | `mistakes`, `defined` |")), [""; 0]);
    assert_eq!(mistakes(&format!("| a | {here} | `mistakes::nothing` |")).len(), 1);
    assert_eq!(mistakes("| a | `tests/tests/nowhere.rs` | |").len(), 1);
}
