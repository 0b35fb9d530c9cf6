//! What is wrong with a configuration, said so that it can be put right without the manual.

use std::fmt;
use std::path::Path;

use super::origin::Origin;
use super::setting::{Exposure, Setting};

/// One thing to correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    subject: String,
    detail: String,
    fix: Option<String>,
}

impl Problem {
    /// The configuration file itself.
    pub fn file(path: &Path, detail: impl Into<String>) -> Self {
        Self {
            subject: format!("file {}", path.display()),
            detail: detail.into(),
            fix: None,
        }
    }

    /// A value that breaks the setting's rule; `detail` adds what the parser found, if anything.
    pub fn value(setting: &Setting, from: &Origin, value: &str, detail: &str) -> Self {
        let shown = match setting.exposure {
            Exposure::Plain => format!("`{value}`"),
            Exposure::Secret => "(hidden)".to_owned(),
        };
        let detail = if detail.is_empty() {
            String::new()
        } else {
            format!(": {detail}")
        };
        Self {
            subject: names(setting),
            detail: format!(
                "{shown} (from the {}) is not {}{detail}",
                origin(from),
                setting.rule
            ),
            fix: Some(example(setting)),
        }
    }

    /// A setting without which the process cannot start.
    pub fn missing(setting: &Setting) -> Self {
        Self {
            subject: names(setting),
            detail: format!("is not set; it takes {}", setting.rule),
            fix: Some(example(setting)),
        }
    }

    /// Values that are fine alone and not together.
    pub fn combination(setting: &Setting, detail: impl Into<String>) -> Self {
        Self {
            subject: names(setting),
            detail: detail.into(),
            fix: Some(example(setting)),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.detail)?;
        self.fix
            .iter()
            .try_for_each(|fix| write!(f, "\n    for example: {fix}"))
    }
}

/// All that is wrong, together: nobody likes to learn it one start at a time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(
            f,
            "the configuration has {count} problem{}:",
            if count == 1 { "" } else { "s" }
        )?;
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

fn names(setting: &Setting) -> String {
    format!(
        "--{} (variable {}, in the file `{}`)",
        setting.flag(),
        setting.variable(),
        setting.name
    )
}

fn example(setting: &Setting) -> String {
    format!("--{} {}", setting.flag(), setting.example)
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::File(path) => format!("file {}", path.display()),
        Origin::Environment => "environment".to_owned(),
        Origin::Flag => "command line".to_owned(),
    }
}
