//! Turns text into values and collects what is wrong and what is in force.

use super::origin::Origin;
use super::problem::{Problem, Problems};
use super::raw::RawSettings;
use super::setting::{Exposure, Setting};

/// One line of the effective configuration, as it is logged at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The setting's name.
    pub name: &'static str,
    /// Its value, or what stands for it if it is secret.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Reads the settings of one process.
#[derive(Debug)]
pub struct Reader<'a> {
    raw: &'a RawSettings,
    problems: Vec<Problem>,
    effective: Vec<Effective>,
}

impl<'a> Reader<'a> {
    /// Starts with the problems found so far.
    pub fn new(raw: &'a RawSettings, problems: Vec<Problem>) -> Self {
        Self {
            raw,
            problems,
            effective: Vec::new(),
        }
    }

    /// A setting with one value; `None` if it is not set or wrong (which is noted).
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.many(name, parse).pop()
    }

    /// A setting that must be set; `None` only if a problem was noted.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.raw.get(name).is_none() {
            self.note(name, Problem::missing);
        }
        self.optional(name, parse)
    }

    /// A setting with a default; the default also stands in for a wrong value, which is noted.
    pub fn or<T>(
        &mut self,
        name: &'static str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.optional(name, parse).unwrap_or(default)
    }

    /// A setting with several values; those that are wrong are noted and left out.
    pub fn many<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(setting) = self.setting(name) else {
            return Vec::new();
        };
        let Some(raw) = self.raw.get(name) else {
            self.effective.push(Effective {
                name,
                value: setting.default.to_owned(),
                origin: Origin::Default,
            });
            return Vec::new();
        };
        let value = match setting.exposure {
            Exposure::Plain => raw.values.join(","),
            Exposure::Secret => "(hidden)".to_owned(),
        };
        self.effective.push(Effective {
            name,
            value,
            origin: raw.origin.clone(),
        });
        let mut parsed = Vec::with_capacity(raw.values.len());
        for text in &raw.values {
            match parse(text) {
                Ok(value) => parsed.push(value),
                Err(detail) => {
                    self.problems
                        .push(Problem::value(setting, &raw.origin, text, &detail));
                }
            }
        }
        parsed
    }

    /// As [`Reader::many`], at least one.
    pub fn some<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        if self.raw.get(name).is_none() {
            self.note(name, Problem::missing);
        }
        self.many(name, parse)
    }

    /// Whether a setting was set, rightly or wrongly.
    pub fn is_set(&self, name: &str) -> bool {
        self.raw.get(name).is_some()
    }

    /// Notes that a setting does not fit to others.
    pub fn conflict(&mut self, name: &'static str, detail: impl Into<String>) {
        self.note(name, |setting| Problem::combination(setting, detail));
    }

    /// The configuration made from what was read, unless there is a problem.
    ///
    /// # Errors
    /// All problems at once. `None` from `make` without a problem cannot happen: what is missing was noted.
    pub fn finish<T>(self, config: Option<T>) -> Result<(T, Vec<Effective>), Problems> {
        match config {
            Some(config) if self.problems.is_empty() => Ok((config, self.effective)),
            _ => Err(Problems(self.problems)),
        }
    }

    fn note(&mut self, name: &'static str, problem: impl FnOnce(&'static Setting) -> Problem) {
        if let Some(setting) = self.setting(name) {
            self.problems.push(problem(setting));
        }
    }

    fn setting(&self, name: &'static str) -> Option<&'static Setting> {
        let found = Setting::of(self.raw.process).find(|setting| setting.name == name);
        assert!(
            found.is_some(),
            "`{name}` is no setting of {}",
            self.raw.process.subcommand()
        );
        found
    }
}
