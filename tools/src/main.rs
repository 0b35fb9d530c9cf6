//! The `cairn` binary: everything it does is in the library.

fn main() -> ! {
    let exit_code = match cairn_tools::cli::run() {
        Ok(()) => 0,
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
    };
    cairn_tools::end(exit_code)
}
