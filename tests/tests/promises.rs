//! What docs/verification.md says that attacks a promise is there: each test that its tables name is a function of the file
//! or module that they name.
//!
//! A test that is renamed, moved or removed without a word there fails this one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Where the repository is.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const SECTION: &str = "## Promises, and the tests that attack them";

/// The sources, and what can be named of them.
struct Sources {
    /// By path: the names of the functions and modules that are defined there.
    files: BTreeMap<String, Names>,
    folders: BTreeSet<String>,
    /// All words of all sources but this one: names of settings, of states.
    words: BTreeSet<String>,
    /// What `make` can make.
    targets: BTreeSet<String>,
}

#[derive(Default)]
struct Names {
    functions: BTreeSet<String>,
    modules: BTreeSet<String>,
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Names {
    fn of(text: &str) -> Self {
        let mut names = Self::default();
        let mut before = "";
        for word in words(text) {
            match before {
                "fn" | "def" => _ = names.functions.insert(word.to_owned()),
                "mod" => _ = names.modules.insert(word.to_owned()),
                _ => {}
            }
            before = word;
        }
        names
    }
}

impl Sources {
    fn read() -> Self {
        let makefile = fs::read_to_string(Path::new(ROOT).join("Makefile")).unwrap();
        let targets = makefile.lines().filter_map(|line| line.split_once(':'));
        let mut sources = Self {
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            words: BTreeSet::new(),
            targets: targets.map(|(target, _)| target.to_owned()).collect(),
        };
        sources.walk("");
        sources
    }

    fn walk(&mut self, folder: &str) {
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{folder}{name}");
            if entry.file_type().unwrap().is_dir() {
                // Hidden folders, and what is built, are not ours.
                if !name.starts_with('.') && !name.starts_with("target") {
                    self.folders.insert(path.clone());
                    self.walk(&(path + "/"));
                }
            } else if name.ends_with(".rs") || name.ends_with(".py") {
                let text = fs::read_to_string(entry.path()).unwrap();
                self.files.insert(path.clone(), Names::of(&text));
                if path != "tests/tests/promises.rs" {
                    self.words.extend(words(&text).map(str::to_owned));
                }
            } else if name.ends_with(".json") {
                self.files.insert(path, Names::default());
            }
        }
    }

    /// The files that `path` can mean: it may leave out the first folders.
    fn files_of(&self, path: &str) -> Vec<&str> {
        if let Some((exact, _)) = self.files.get_key_value(path) {
            return vec![exact];
        }
        let end = format!("/{path}");
        self.files.keys().filter(|file| file.ends_with(&end)).map(String::as_str).collect()
    }

    /// The files in which the module `path` is: files of its own, or those that have it between braces.
    fn files_of_module(&self, path: &[&str]) -> Vec<&str> {
        let (last, outer) = path.split_last().unwrap();
        let place = |file: &str| -> Vec<String> {
            let stem = file.trim_end_matches(".rs");
            let ends = ["/mod", "/lib", "/main"];
            let stem = ends.iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(stem);
            stem.split('/').map(str::to_owned).collect()
        };
        let all = || self.files.iter().map(|(file, names)| (file.as_str(), place(file), names));
        let own: Vec<_> = all()
            .filter(|(_, place, _)| place.ends_with(&owned(path)))
            .map(|(file, ..)| file)
            .collect();
        if !own.is_empty() || outer.is_empty() {
            return own;
        }
        all()
            .filter(|(_, place, names)| {
                place.ends_with(&owned(outer)) && names.modules.contains(*last)
            })
            .map(|(file, ..)| file)
            .collect()
    }

    /// What is wrong with a cell of the tables.
    fn check(&self, cell: &str) -> Vec<String> {
        let mut mistakes = Vec::new();
        // The files that the word before was about: names without a file are looked for there.
        let mut place = None;
        let mut named = 0;
        for word in cell.split('`').skip(1).step_by(2) {
            match self.check_word(word, &mut place) {
                Ok(is_test) => named += usize::from(is_test),
                Err(mistake) => mistakes.push(format!("`{word}`: {mistake}")),
            }
        }
        if named == 0 && mistakes.is_empty() {
            mistakes.push(format!("no test is named in {cell:?}"));
        }
        mistakes
    }

    /// Whether a word in backticks names a test, or what is wrong with it.
    fn check_word<'a>(
        &'a self,
        word: &str,
        place: &mut Option<Vec<&'a str>>,
    ) -> Result<bool, String> {
        if let Some(target) = word.strip_prefix("make ") {
            let is_there = self.targets.contains(target);
            return is_there.then_some(true).ok_or_else(|| "the Makefile has none".into());
        }
        let (path, names) = match word.rsplit_once("::") {
            None if word.contains('/') || word.contains('.') => (word, ""),
            None if word.starts_with(char::is_lowercase)
                && word.contains('_')
                && !word.ends_with("()") =>
            {
                ("", word)
            }
            None => {
                // A state, a variable of the environment, a function of others.
                let is_there = self.words.contains(word.trim_end_matches("()"));
                return is_there.then_some(false).ok_or_else(|| "no source has it".into());
            }
            Some(parts) => parts,
        };
        let is_elsewhere = path.contains('/') && Path::new(ROOT).join(path).is_file();
        if self.folders.contains(path) || is_elsewhere && !self.files.contains_key(path) {
            return if names.is_empty() { Ok(true) } else { Err("it has no functions".into()) };
        }
        let modules: Vec<_> = path.split("::").collect();
        let (head, inner) = modules.split_first().unwrap();
        let mut names = names;
        let files = if path.is_empty() {
            match place.as_ref() {
                Some(files) => files.clone(),
                None if word.starts_with("::") => return Err("no file is named before it".into()),
                None => self.files.keys().map(String::as_str).collect(),
            }
        } else if head.contains('.') || head.contains('/') {
            let mut files = self.files_of(head);
            files.retain(|file| inner.iter().all(|name| self.files[*file].modules.contains(*name)));
            files
        } else {
            // The last word may be a function or a module.
            let whole: Vec<_> = modules.iter().copied().chain([names]).collect();
            let files = self.files_of_module(&whole);
            if files.is_empty() {
                self.files_of_module(&modules)
            } else {
                names = "";
                files
            }
        };
        if files.is_empty() {
            return Err("there is no such file or module".into());
        }
        let Some(names) = Some(names).filter(|names| !names.is_empty()) else {
            if let [_, _, ..] = files[..] {
                return Err(format!("it can be any of {files:?}"));
            }
            *place = Some(files);
            return Ok(true);
        };
        let names =
            names.strip_prefix('{').and_then(|names| names.strip_suffix('}')).unwrap_or(names);
        let names: Vec<_> = names.split(',').map(str::trim).collect();
        let has_all =
            |file: &&str| names.iter().all(|name| self.files[*file].functions.contains(*name));
        let found: Vec<_> = files.iter().copied().filter(has_all).collect();
        if found.is_empty() {
            let files = if files.len() > 5 { "any file".into() } else { files.join(", ") };
            return Err(format!("there is no such function in {files}"));
        }
        if !path.is_empty() {
            *place = Some(found);
        }
        Ok(true)
    }
}

/// The third cells of the section's tables, with the numbers of their lines.
fn cells(page: &str) -> Vec<(usize, &str)> {
    let mut cells = Vec::new();
    let mut is_within = false;
    for (line, text) in page.lines().enumerate() {
        if text.starts_with("## ") {
            is_within = text == SECTION;
        } else if is_within && text.starts_with('|') {
            let row: Vec<_> = text.trim_matches('|').split('|').map(str::trim).collect();
            let is_head = row[0] == "promise" || row[0].starts_with("---");
            if !is_head {
                cells.push((line + 1, *row.get(2).unwrap_or(&"")));
            }
        }
    }
    cells
}

#[test]
fn every_test_that_is_named_is_there() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/verification.md")).unwrap();
    let cells = cells(&page);
    assert!(cells.len() > 50, "only {} rows are found", cells.len());
    let sources = Sources::read();
    let mistakes: Vec<_> = cells
        .iter()
        .flat_map(|(line, cell)| {
            let mistakes = sources.check(cell);
            mistakes
                .into_iter()
                .map(move |mistake| format!("docs/verification.md:{line}: {mistake}"))
        })
        .collect();
    assert!(mistakes.is_empty(), "\n{}", mistakes.join("\n"));
}

#[test]
fn what_is_made_up_is_found() {
    let sources = Sources::read();
    for right in [
        "`tests/tests/promises.rs::what_is_made_up_is_found`, `::every_test_that_is_named_is_there`",
        "`settings_keys.rs::{what_is_no_setting_is_found, settings_that_are_named_exist}`",
        "`tests/tests/promises.rs`: `what_is_made_up_is_found`",
        "`what_is_made_up_is_found` (`PROPTEST_CASES`, `all_estimators()`)",
        "`conformance::waiting::tokio_a_cancelled_handle_takes_no_answer_away`",
        "`http::memory::tests::somebody_can_always_finish`, `who_sends_nothing_has_nothing`",
        "`models::library::tests`, `http::entity_tag`, `tests/tests/state_tables`",
        "`python/tests/test_state.py`; `make load`, `.ci/core-rules`",
    ] {
        assert_eq!(sources.check(right), Vec::<String>::new(), "{right}");
    }
    for wrong in [
        "the simulation",
        "`PROPTEST_CASES`",
        "`tests/tests/promises.rs::what_is_not_there`",
        "`tests/tests/promises.rs`, `::what_is_not_there`",
        "`tests/tests/promises.rs`: `what_is_not_there`",
        "`settings_keys.rs::{what_is_no_setting_is_found, what_is_not_there}`",
        "`replay.rs::what_is_made_up_is_found`",
        "`tests/tests/promises.rs::tests::what_is_made_up_is_found`",
        "`nowhere.rs`",
        "`.ci/nothing`",
        "`core/tests/promises.rs`",
        "`conformance::proxies::tokio_a_cancelled_handle_takes_no_answer_away`",
        "`nowhere::tests`",
        "`::what_is_made_up_is_found`",
        "`a_test_that_nobody_wrote`",
        "`tests/tests/promises.rs`, `NO_SUCH_VARIABLE_ANYWHERE`",
        "`make nothing-of-this-kind`",
        // It could be any file of that name.
        "`mod.rs`",
    ] {
        assert_eq!(sources.check(wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn rows_are_those_of_the_section() {
    let page = format!(
        "## Before\n| a | b | `c` |\n{SECTION}\n### Part\n\n| promise | where | test |\n|---|---|---|\n\
         | never `x` | README | `d` |\n| always | | `e`, `f` |\n## After\n| g | h | `i` |\n"
    );
    assert_eq!(cells(&page), [(8, "`d`"), (9, "`e`, `f`")]);
}
