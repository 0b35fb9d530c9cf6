//! The `cairn` binary: everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    match cairn_tools::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(
                clippy::print_stderr,
                reason = "errors of a command belong on standard error"
            )]
            {
                eprintln!("cairn: {error}");
            }
            error.exit_code()
        }
    }
}
