//! Raw configuration: defaults, then a file, then the environment, then flags, each value with its origin.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::keys;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: it is the default.
    Default,
    /// In a configuration file.
    File(PathBuf),
    /// In this environment variable.
    Environment(String),
    /// On the command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    pub text: String,
    pub source: Source,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub source: Source,
    /// The key, or what stands in its place.
    pub key: String,
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, self.key.as_str()) {
            (source, "") => write!(f, "{source}: {}", self.problem),
            (Source::Default, key) => write!(f, "{key}: {}", self.problem),
            (source, key) => write!(f, "{key} ({source}): {}", self.problem),
        }
    }
}

/// Variables that begin with `PINFOLD_` and are no keys.
const OTHER_VARIABLES: [&str; 1] = ["PINFOLD_CONFIG"];
/// Variables for tests of the platform itself; never read here.
const TEST_VARIABLES: &str = "PINFOLD_TEST_";

/// What was written where; a later layer replaces an earlier one.
#[derive(Debug, Default)]
pub struct Layers {
    values: BTreeMap<&'static str, Raw>,
    mistakes: Vec<Mistake>,
}

impl Layers {
    /// Adds a file's text; every key that it should not hold is a mistake.
    pub fn add_file(&mut self, path: &Path, text: &str) {
        let source = Source::File(path.to_owned());
        match text.parse::<toml::Table>() {
            Ok(table) => self.add_table(&source, "", table),
            Err(error) => {
                let problem = format!("is not TOML: {}", error.to_string().trim_end().replace('\n', "\n    "));
                self.mistakes.push(Mistake { source, key: String::new(), problem });
            }
        }
    }

    /// Reads a file and adds it; a file that cannot be read is a mistake.
    pub fn add_file_at(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.add_file(path, &text),
            Err(error) => self.mistakes.push(Mistake {
                source: Source::File(path.to_owned()),
                key: String::new(),
                problem: format!("cannot be read: {error}"),
            }),
        }
    }

    /// Adds `PINFOLD_*`; every other variable is left alone.
    pub fn add_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (variable, text) in variables {
            let known = OTHER_VARIABLES.contains(&variable.as_str()) || variable.starts_with(TEST_VARIABLES);
            if known || !variable.starts_with("PINFOLD_") {
                continue;
            }
            let source = Source::Environment(variable.clone());
            match keys::KEYS.iter().find(|key| key.variable() == variable) {
                Some(key) => {
                    self.values.insert(key.name, Raw { text, source });
                }
                None => self.unknown(source, &variable, &variable["PINFOLD_".len()..].to_ascii_lowercase()),
            }
        }
    }

    /// Notes a value that is no text: nothing is read into it.
    pub fn add_no_text(&mut self, source: Source, key: &str) {
        self.mistakes.push(Mistake { source, key: key.to_owned(), problem: "is not UTF-8".to_owned() });
    }

    /// Adds a value from the command line.
    pub fn add_flag(&mut self, name: &str, text: String) {
        match keys::find(name) {
            Some(key) => {
                self.values.insert(key.name, Raw { text, source: Source::Flag });
            }
            None => self.unknown(Source::Flag, name, name),
        }
    }

    /// Sets a value unless a layer has set it: for a command with defaults of its own.
    pub fn add_default(&mut self, name: &'static str, text: String) {
        self.values.entry(name).or_insert(Raw { text, source: Source::Default });
    }

    /// Whether any layer has this key.
    pub fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value written for a key.
    pub(super) fn get(&self, name: &str) -> Option<Raw> {
        self.values.get(name).cloned()
    }

    /// What is wrong so far.
    pub(super) fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    fn add_table(&mut self, source: &Source, prefix: &str, table: toml::Table) {
        for (name, value) in table {
            let name = format!("{prefix}{name}");
            let text = match value {
                toml::Value::Table(inner) if keys::find(&name).is_none() => {
                    self.add_table(source, &format!("{name}."), inner);
                    continue;
                }
                toml::Value::String(text) => Some(text),
                toml::Value::Integer(number) => Some(number.to_string()),
                toml::Value::Boolean(truth) => Some(truth.to_string()),
                _ => None,
            };
            match (keys::find(&name), text) {
                (Some(key), Some(text)) => {
                    self.values.insert(key.name, Raw { text, source: source.clone() });
                }
                (Some(_), None) => self.mistakes.push(Mistake {
                    source: source.clone(),
                    key: name,
                    problem: "must be a text, a whole number, true or false".to_owned(),
                }),
                (None, _) => self.unknown(source.clone(), &name, &name),
            }
        }
    }

    fn unknown(&mut self, source: Source, shown: &str, name: &str) {
        let problem = match (keys::nearest(name), &source) {
            (Some(key), Source::Environment(_)) => format!("is not known; is {} meant?", key.variable()),
            (Some(key), _) => format!("is not known; is {} meant?", key.name),
            (None, _) => "is not known; `pinfold config check` lists every key".to_owned(),
        };
        // In the environment the variable's name is the origin already.
        let (source, key) = match source {
            Source::Environment(_) => (source, String::new()),
            _ => (source, shown.to_owned()),
        };
        self.mistakes.push(Mistake { source, key, problem });
    }
}
