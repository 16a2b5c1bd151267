//! The three places settings come from, laid over each other: file, then environment, then command
//! line.
//!
//! This module knows nothing about what the keys mean. It turns each place into `dotted.key ->
//! Entry`, where an [`Entry`] remembers its [`Origin`], so that a wrong value can be traced to the
//! line or variable that gave it.

use std::{collections::BTreeMap, ffi::OsString, ops::Range, path::Path};

use toml::de::{DeTable, DeValue};

use super::error::{Origin, SettingsError};

/// The prefix of the environment variables that are settings; case does not matter.
const ENV_PREFIX: &str = "XAYNET__";
const ENV_SEPARATOR: &str = "__";

/// The environment variable that gives a setting.
pub(super) fn variable(key: &str) -> String {
    ENV_PREFIX.to_owned() + &key.to_uppercase().replace('.', ENV_SEPARATOR)
}

/// What was given, before anyone asked what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// A string, number or boolean in its text form; environment variables and the command line
    /// give no other.
    Text(String),
    /// Something that no setting can be read from.
    Other {
        /// What it is: an array, a date, not Unicode.
        kind: &'static str,
        /// As it was written.
        text: String,
    },
}

/// One given value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub raw: Raw,
    pub origin: Origin,
}

/// All given values by dotted lower-case key; a later layer replaces an earlier one key by key.
#[derive(Debug, Default)]
pub(super) struct Layers {
    entries: BTreeMap<String, Entry>,
}

impl Layers {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// Lays the TOML document `text`, read from `path`, on top.
    ///
    /// # Errors
    /// [`SettingsError::Syntax`] with line and column of the first place that is not TOML.
    pub fn add_toml(&mut self, path: &Path, text: &str) -> Result<(), SettingsError> {
        let document = DeTable::parse(text).map_err(|error| {
            let (line, column) = position(text, &error.span().unwrap_or(0..0));
            SettingsError::Syntax {
                path: path.to_owned(),
                line,
                column,
                message: error.message().to_owned(),
            }
        })?;
        self.add_table(path, text, "", document.get_ref());
        Ok(())
    }

    fn add_table(&mut self, path: &Path, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table.iter() {
            // Case never mattered in the old settings, in none of the places.
            let key = join(prefix, &name.get_ref().to_lowercase());
            let other = |kind| {
                let text = text.get(value.span()).unwrap_or_default().to_owned();
                Raw::Other { kind, text }
            };
            let raw = match value.get_ref() {
                DeValue::Table(inner) => {
                    self.add_table(path, text, &key, inner);
                    continue;
                }
                DeValue::String(string) => Raw::Text(string.clone().into_owned()),
                DeValue::Integer(integer) => {
                    match i128::from_str_radix(integer.as_str(), integer.radix()) {
                        Ok(number) => Raw::Text(number.to_string()),
                        // Too big for any setting: keep the text, it will be refused as such.
                        Err(_) => Raw::Text(integer.to_string()),
                    }
                }
                DeValue::Float(float) => Raw::Text(float.as_str().to_owned()),
                DeValue::Boolean(boolean) => Raw::Text(boolean.to_string()),
                DeValue::Datetime(_) => other("a date"),
                DeValue::Array(_) => other("an array"),
            };
            let (line, _) = position(text, &name.span());
            let origin = Origin::File { path: path.to_owned(), line };
            self.entries.insert(key, Entry { raw, origin });
        }
    }

    /// Lays the variables among `variables` that start with `XAYNET__` on top.
    pub fn add_env(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        // Two variables may differ in case only: sorted, so that which of them wins is no accident.
        let sorted: BTreeMap<OsString, OsString> = variables.into_iter().collect();
        for (name, value) in sorted {
            let Some(name) = name.to_str() else { continue };
            let Some((head, tail)) = name.split_at_checked(ENV_PREFIX.len()) else {
                continue;
            };
            if !head.eq_ignore_ascii_case(ENV_PREFIX) || tail.is_empty() {
                continue;
            }
            let key = tail.to_lowercase().replace(ENV_SEPARATOR, ".");
            let raw = value.into_string().map_or_else(
                |value| Raw::Other {
                    kind: "bytes that are no Unicode text",
                    text: value.to_string_lossy().into_owned(),
                },
                Raw::Text,
            );
            let origin = Origin::Env { name: name.to_owned() };
            self.entries.insert(key, Entry { raw, origin });
        }
    }

    /// Lays one value given on the command line on top.
    pub fn add_option(&mut self, key: &str, option: &str, value: String) {
        let entry =
            Entry { raw: Raw::Text(value), origin: Origin::Option { name: option.to_owned() } };
        self.entries.insert(key.to_lowercase(), entry);
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// Line and column, both from 1, of the start of `span` in `text`.
fn position(text: &str, span: &Range<usize>) -> (usize, usize) {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(layers: &Layers, key: &str) -> Option<String> {
        match &layers.get(key)?.raw {
            Raw::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    #[test]
    fn toml_forms_of_the_same_setting_are_one_key() {
        for document in [
            "[pet.sum]\ncount.min = 7",
            "[pet.sum.count]\nmin = 7",
            "pet.sum.count.min = 7",
            "[pet]\nsum = { count = { min = 0x7 } }",
            "[PET.Sum]\nCount.MIN = \"7\"",
        ] {
            let mut layers = Layers::default();
            layers.add_toml(Path::new("a.toml"), document).unwrap();
            assert_eq!(text(&layers, "pet.sum.count.min").as_deref(), Some("7"), "{document}");
        }
    }

    #[test]
    fn an_entry_knows_its_line() {
        let mut layers = Layers::default();
        layers.add_toml(Path::new("a.toml"), "# é\n[model]\n\nlength = 1\n").unwrap();
        assert_eq!(
            layers.get("model.length").unwrap().origin,
            Origin::File { path: "a.toml".into(), line: 4 }
        );
    }

    #[test]
    fn a_syntax_error_knows_its_place() {
        let mut layers = Layers::default();
        let error = layers
            .add_toml(Path::new("a.toml"), "[model]\nlength = 1\nlength = = 2\n")
            .unwrap_err();
        match error {
            SettingsError::Syntax { path, line, column, .. } => {
                assert_eq!((path.to_str(), line), (Some("a.toml"), 3));
                assert!(column > 1);
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn environment_names_ignore_case_and_nest_by_two_underscores() {
        let mut layers = Layers::default();
        layers.add_env(
            [
                ("XAYNET__PET__SUM__COUNT__MIN", "1"),
                ("xaynet__pet__sum__count__max", "2"),
                ("XAYNET__API__BIND_ADDRESS", "127.0.0.1:1"),
                ("XAYNET_MODEL_LENGTH", "3"),
                ("XAYNET__", "4"),
                ("PATH", "/bin"),
            ]
            .map(|(name, value)| (name.into(), value.into())),
        );
        assert_eq!(text(&layers, "pet.sum.count.min").as_deref(), Some("1"));
        assert_eq!(text(&layers, "pet.sum.count.max").as_deref(), Some("2"));
        assert_eq!(text(&layers, "api.bind_address").as_deref(), Some("127.0.0.1:1"));
        assert_eq!(layers.iter().count(), 3);
    }

    #[test]
    fn later_layers_win() {
        let mut layers = Layers::default();
        layers.add_toml(Path::new("a.toml"), "model.length = 1").unwrap();
        layers.add_env([("XAYNET__MODEL__LENGTH".into(), "2".into())]);
        assert_eq!(text(&layers, "model.length").as_deref(), Some("2"));
        layers.add_option("model.length", "--model-length", "3".to_owned());
        assert_eq!(text(&layers, "model.length").as_deref(), Some("3"));
    }
}
