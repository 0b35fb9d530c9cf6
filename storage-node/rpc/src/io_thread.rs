//! Threads that write to disks, and leave the processors to those that serve requests.
//!
//! What such a thread does next serves all that has been asked of it by then. One that the kernel lets run as soon as its
//! disk has answered takes a processor from a request that would have joined, and syncs for one or two writes at a time;
//! one that waits until a processor is free finds many. Where processors are idle it waits for nothing.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Spawns a thread of this name that does not interrupt others when it has something to do (`SCHED_BATCH`, see sched(7)).
///
/// # Errors
/// The system has no thread to give. That it does not allow the policy is none: only throughput depends on it.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = do_not_interrupt() {
            tracing::debug!(%error, "a thread keeps its scheduling policy");
        }
        work()
    })
}

#[expect(unsafe_code, reason = "policies are set by a C function")]
fn do_not_interrupt() -> io::Result<()> {
    // SAFETY: all of its fields are integers, for which zero is valid; some C libraries have more of them.
    let param: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: it reads the parameter, which outlives the call, and concerns the calling thread alone.
    match unsafe {
        libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_BATCH, &raw const param)
    } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

#[cfg(test)]
mod tests {
    /// The calling thread's, as proc_pid_stat(5) has it.
    fn policy() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, behind_name) = stat.rsplit_once(") ").unwrap();
        // It is the 41st field, and this begins with the third.
        behind_name.split(' ').nth(38).unwrap().to_owned()
    }

    #[test]
    fn only_the_new_thread_has_the_policy() {
        let of_the_thread = super::spawn("io", policy).unwrap().join().unwrap();
        assert_eq!(of_the_thread, libc::SCHED_BATCH.to_string());
        assert_eq!(policy(), libc::SCHED_OTHER.to_string());
    }
}
