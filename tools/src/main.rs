//! The `cairn` binary: everything it does is in the library.

/// One thread frees what another has allocated, for nearly all that a request needs; jemalloc is fast at that. It serves
/// RocksDB too (ADR 19).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
