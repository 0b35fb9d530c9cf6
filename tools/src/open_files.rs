//! How many files this process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files as far as this process may.
///
/// Each disk keeps up to 128 segments and 64 files of its index open, so that six of them take more than the 1,024
/// that a process is usually started with; and of a gateway's 4,096 clients a quarter would leave nothing to call its
/// storage nodes with. That number is low only for programs that wait with `select`, which cannot name higher
/// descriptors; what an administrator means to be the limit is the hard one.
pub(crate) fn raise_open_files_limit() {
    let limits = getrlimit(Resource::Nofile);
    let mut raised = limits;
    raised.current = limits.maximum;
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            tracing::debug!(from = ?limits.current, to = ?limits.maximum, "raised the limit of open files");
        }
        Err(errno) => {
            tracing::warn!(error = %errno, "the limit of open files cannot be raised; many disks or clients may reach it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_as_high_as_it_may_be() {
        let mut lowered = getrlimit(Resource::Nofile);
        // Enough for the tests beside this one.
        lowered.current = Some(900);
        setrlimit(Resource::Nofile, lowered).unwrap();
        raise_open_files_limit();
        let limits = getrlimit(Resource::Nofile);
        assert_eq!(limits.current, limits.maximum);
    }
}
