//! The result of a command, on standard output.
//!
//! Not with `print!`, which panics when the other end of a pipe has gone or a file's disk is full.

use std::io::{self, Write as _};

use crate::command::CommandError;

/// Prints `text` and a line's end.
///
/// # Errors
/// When it cannot be written: the command has not done what was asked.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    write(&format!("{text}\n")).map_err(|error| {
        CommandError::failed(format!("standard output cannot be written: {error}"))
    })
}

/// Writes `text` as it is.
///
/// # Errors
/// What the system says.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
