//! What a process says in its log that nobody expects: errors, warnings and panics.

use serde_json::Value;

use crate::faults::Messages;

/// The first line of `log` that tells of an error or a panic that belongs to none of these faults, or of a warning where
/// there are no faults.
pub(crate) fn unexpected_line<'log>(log: &'log str, faults: &[Messages]) -> Option<&'log str> {
    let is_expected = |alarm: Alarm| match alarm {
        Alarm::Error(message) => faults.iter().any(|fault| fault.contains(&message.as_str())),
        Alarm::Warning => !faults.is_empty(),
    };
    log.lines()
        .find(|line| alarm(line).is_some_and(|alarm| !is_expected(alarm)))
}

/// What a line tells of.
#[derive(Debug, PartialEq, Eq)]
enum Alarm {
    /// An error or a panic, with its message.
    Error(String),
    Warning,
}

/// What a line tells of, if it is an error, a warning or a panic; the message is all of the line if it is not JSON.
fn alarm(line: &str) -> Option<Alarm> {
    let Ok(event) = serde_json::from_str::<Value>(line) else {
        let is_error = ["panicked at", " ERROR "]
            .iter()
            .any(|sign| line.contains(sign));
        return if is_error {
            Some(Alarm::Error(line.to_owned()))
        } else {
            line.contains(" WARN ").then_some(Alarm::Warning)
        };
    };
    match event["level"].as_str() {
        Some("ERROR") => Some(Alarm::Error(
            event["message"].as_str().unwrap_or_default().to_owned(),
        )),
        Some("WARN") => Some(Alarm::Warning),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_warnings_and_panics_are_told_from_other_lines() {
        let error = |message: &str| Some(Alarm::Error(message.to_owned()));
        for (line, expected) in [
            (
                r#"{"level":"ERROR","message":"a chunk is lost"}"#,
                error("a chunk is lost"),
            ),
            (
                r#"{"level":"WARN","message":"a disk failed"}"#,
                Some(Alarm::Warning),
            ),
            (r#"{"level":"INFO","message":"WARN of nothing"}"#, None),
            (
                "2026-01-01T00:00:00Z ERROR cairn: a chunk is lost",
                error("2026-01-01T00:00:00Z ERROR cairn: a chunk is lost"),
            ),
            (
                "2026-01-01T00:00:00Z  WARN cairn: a disk failed",
                Some(Alarm::Warning),
            ),
            (
                "thread 'main' panicked at src/main.rs:1:1:",
                error("thread 'main' panicked at src/main.rs:1:1:"),
            ),
            ("2026-01-01T00:00:00Z  INFO cairn: ready", None),
            ("", None),
        ] {
            assert_eq!(alarm(line), expected, "{line}");
        }
    }

    #[test]
    fn warnings_are_expected_of_any_fault_and_errors_of_their_own() {
        let error = r#"{"level":"ERROR","message":"a disk failed"}"#;
        assert_eq!(unexpected_line(error, &[&["a disk"]]), Some(error));
        assert_eq!(unexpected_line(error, &[&[], &["a disk failed"]]), None);
        let log = r#"{"level":"WARN","message":"a disk failed"}"#;
        assert_eq!(unexpected_line(log, &[]), Some(log));
        assert_eq!(unexpected_line(log, &[&[]]), None);
    }
}
