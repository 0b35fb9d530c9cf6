//! How a command ends: what it says on standard error, and its exit code.

use crate::config::Problems;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It was asked wrongly: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// It failed: exit code 1.
    #[error("{0}")]
    Failed(String),
}

impl CommandError {
    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// Any other failure.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// What the shell sees.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
        }
    }
}

impl From<Problems> for CommandError {
    fn from(problems: Problems) -> Self {
        Self::Usage(problems.to_string())
    }
}
