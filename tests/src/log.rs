//! What a process says in its log that nobody expects: errors, warnings and panics.

use serde_json::Value;

use crate::faults::Messages;

/// The first line of `log` that tells of an error, a warning or a panic whose message belongs to none of these faults.
pub(crate) fn unexpected_line<'log>(log: &'log str, faults: &[Messages]) -> Option<&'log str> {
    let is_expected = |message: String| faults.iter().any(|fault| brings(fault, &message));
    log.lines()
        .find(|line| alarm(line).is_some_and(|message| !is_expected(message)))
}

/// Whether a message is one of these; what ends with `…` stands for all that begin like it.
fn brings(fault: &[&str], message: &str) -> bool {
    fault
        .iter()
        .any(|expected| match expected.strip_suffix('…') {
            Some(beginning) => message.starts_with(beginning),
            None => message == *expected,
        })
}

/// The message of a line that tells of an error, a warning or a panic; all of the line if it is not JSON.
fn alarm(line: &str) -> Option<String> {
    let Ok(event) = serde_json::from_str::<Value>(line) else {
        let signs = ["panicked at", " ERROR ", " WARN "];
        let is_alarm = signs.iter().any(|sign| line.contains(sign));
        return is_alarm.then(|| line.to_owned());
    };
    let is_alarm = ["ERROR", "WARN"].map(Value::from).contains(&event["level"]);
    is_alarm.then(|| event["message"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_warnings_and_panics_are_told_from_other_lines() {
        for (line, message) in [
            (
                r#"{"level":"ERROR","message":"a chunk is lost"}"#,
                Some("a chunk is lost"),
            ),
            (
                r#"{"level":"WARN","message":"a disk failed"}"#,
                Some("a disk failed"),
            ),
            (r#"{"level":"INFO","message":"WARN of nothing"}"#, None),
            (
                "2026-01-01T00:00:00Z ERROR cairn: a chunk is lost",
                Some("2026-01-01T00:00:00Z ERROR cairn: a chunk is lost"),
            ),
            (
                "2026-01-01T00:00:00Z  WARN cairn: a disk failed",
                Some("2026-01-01T00:00:00Z  WARN cairn: a disk failed"),
            ),
            (
                "thread 'main' panicked at src/main.rs:1:1:",
                Some("thread 'main' panicked at src/main.rs:1:1:"),
            ),
            ("2026-01-01T00:00:00Z  INFO cairn: ready", None),
            ("", None),
        ] {
            assert_eq!(alarm(line).as_deref(), message, "{line}");
        }
    }

    #[test]
    fn messages_are_expected_as_a_whole_or_by_their_beginning() {
        const MESSAGE: &str = "a disk failed in /disk0";
        for (expected, is_expected) in [
            ("a disk failed in /disk0", true),
            ("a disk failed in …", true),
            ("a disk failed", false),
            ("disk failed in …", false),
        ] {
            assert_eq!(brings(&[expected], MESSAGE), is_expected, "{expected}");
        }
    }
}
