//! Settings as text, merged from file, environment and flags in rising precedence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::origin::Origin;
use super::problem::Problem;
use super::setting::{Arity, Process, Setting};

/// The text of one setting. The strongest origin replaces the others whole; lists are not joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawValue {
    /// One value, or several for [`Arity::Many`]; never empty.
    pub values: Vec<String>,
    /// Who said so.
    pub origin: Origin,
}

/// All settings of one process that were set, by name; every name in it is known.
#[derive(Debug, Clone)]
pub struct RawSettings {
    /// Whose settings these are.
    pub process: Process,
    values: BTreeMap<&'static str, RawValue>,
}

/// What the three sources hold. Gathered by the caller, so that a test can make them up.
#[derive(Debug, Default)]
pub struct Sources {
    /// Path and text of the configuration file, if one is used.
    pub file: Option<(PathBuf, String)>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Values of flags by setting name.
    pub flags: BTreeMap<String, Vec<String>>,
}

impl RawSettings {
    /// Merges the sources; whatever is wrong with the file goes to `problems`.
    pub fn merge(process: Process, sources: &Sources, problems: &mut Vec<Problem>) -> Self {
        let mut merged = Self {
            process,
            values: BTreeMap::new(),
        };
        if let Some((path, text)) = &sources.file {
            merged.merge_file(path, text, problems);
        }
        merged.merge_environment(&sources.environment);
        merged.merge_flags(&sources.flags);
        merged
    }

    /// The value of a setting, if it was set.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.values.get(name)
    }

    fn merge_file(&mut self, path: &Path, text: &str, problems: &mut Vec<Problem>) {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                problems.push(Problem::file(path, format!("is not valid TOML: {error}")));
                return;
            }
        };
        for (name, value) in table {
            let Some(setting) = Setting::of(self.process).find(|setting| setting.name == name)
            else {
                let subcommand = self.process.subcommand();
                problems.push(Problem::file(path, format!("has the unknown setting `{name}`; `cairn {subcommand} --help` lists those there are")));
                continue;
            };
            match texts(&value, setting.arity) {
                Some(values) => self.set(setting, values, Origin::File(path.to_owned())),
                None => problems.push(Problem::file(
                    path,
                    format!(
                        "gives `{name}` a {}; it takes {}",
                        value.type_str(),
                        setting.rule
                    ),
                )),
            }
        }
    }

    fn merge_environment(&mut self, environment: &BTreeMap<String, String>) {
        for setting in Setting::of(self.process) {
            // An empty variable is how shells and compose files spell "not set".
            let Some(text) = environment
                .get(&setting.variable())
                .filter(|text| !text.is_empty())
            else {
                continue;
            };
            let values = match setting.arity {
                Arity::One => vec![text.clone()],
                Arity::Many => text
                    .split(',')
                    .map(|value| value.trim().to_owned())
                    .collect(),
            };
            self.set(setting, values, Origin::Environment);
        }
    }

    fn merge_flags(&mut self, flags: &BTreeMap<String, Vec<String>>) {
        for setting in Setting::of(self.process) {
            if let Some(values) = flags.get(setting.name).filter(|values| !values.is_empty()) {
                self.set(setting, values.clone(), Origin::Flag);
            }
        }
    }

    fn set(&mut self, setting: &'static Setting, values: Vec<String>, origin: Origin) {
        self.values
            .insert(setting.name, RawValue { values, origin });
    }
}

/// The texts of a TOML value, or `None` if its type does not fit.
fn texts(value: &toml::Value, arity: Arity) -> Option<Vec<String>> {
    match (value, arity) {
        (toml::Value::Array(values), Arity::Many) if !values.is_empty() => {
            values.iter().map(scalar).collect()
        }
        (value, _) => scalar(value).map(|text| vec![text]),
    }
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Float(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(file: &str, environment: &[(&str, &str)], flags: &[(&str, &[&str])]) -> Sources {
        Sources {
            file: Some((PathBuf::from("cairn.toml"), file.to_owned())),
            environment: environment
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            flags: flags
                .iter()
                .map(|(k, v)| ((*k).to_owned(), v.iter().map(|v| (*v).to_owned()).collect()))
                .collect(),
        }
    }

    #[test]
    fn flags_beat_the_environment_which_beats_the_file() {
        let sources = sources(
            "region = \"file\"\nlisten = \"file\"\ndata = [\"/a\", \"/b\"]",
            &[
                ("CAIRN_REGION", "environment"),
                ("CAIRN_LISTEN", "environment"),
                ("CAIRN_LOG", ""),
            ],
            &[("region", &["flag"])],
        );
        let mut problems = Vec::new();
        let raw = RawSettings::merge(Process::Serve, &sources, &mut problems);
        assert_eq!(problems, []);
        assert_eq!(
            raw.get("region"),
            Some(&RawValue {
                values: vec!["flag".into()],
                origin: Origin::Flag
            })
        );
        assert_eq!(
            raw.get("listen"),
            Some(&RawValue {
                values: vec!["environment".into()],
                origin: Origin::Environment
            })
        );
        assert_eq!(raw.get("data").map(|raw| raw.values.len()), Some(2));
        assert_eq!(raw.get("log"), None);
    }

    #[test]
    fn lists_in_the_environment_are_separated_by_commas() {
        let sources = Sources {
            environment: [("CAIRN_DATA".to_owned(), "/a, /b".to_owned())].into(),
            ..Sources::default()
        };
        let raw = RawSettings::merge(Process::Serve, &sources, &mut Vec::new());
        assert_eq!(
            raw.get("data").map(|raw| raw.values.clone()),
            Some(vec!["/a".to_owned(), "/b".to_owned()])
        );
    }

    #[test]
    fn unknown_names_and_wrong_types_in_the_file_are_all_reported() {
        let sources = sources(
            "regoin = \"x\"\nlisten = { port = 1 }\nzone = \"z\"",
            &[],
            &[],
        );
        let mut problems = Vec::new();
        RawSettings::merge(Process::Serve, &sources, &mut problems);
        let text = problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n");
        assert!(
            text.contains("`regoin`") && text.contains("`listen`") && text.contains("`zone`"),
            "{text}"
        );
        assert_eq!(problems.len(), 3);
    }
}
