//! One `cairn` process: started, watched for a line of its output, killed or ended.
//!
//! What it logs as ERROR or WARN, and a panic, fail the test when the process is dropped or terminated, unless the test
//! expects them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::faults::Messages;
use crate::log::unexpected_line;

/// How long a process may take to say that it is ready, or to end when told to.
///
/// Generous, because the machine may be compiling or running other tests at the same time.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `cairn` process; killed when dropped.
#[derive(Debug)]
pub struct CairnProcess {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    /// Where in `stderr` this run begins.
    log_begins_at: usize,
    /// The faults that the test brings about.
    expected: Vec<Messages>,
}

impl CairnProcess {
    /// Starts `cairn ARGUMENTS`, its output going to `log_dir/NAME.{stdout,stderr}`.
    pub fn start(
        name: &str,
        arguments: &[String],
        environment: &[(&str, String)],
        log_dir: &Path,
    ) -> Self {
        let stdout = log_dir.join(format!("{name}.stdout"));
        let stderr = log_dir.join(format!("{name}.stderr"));
        let mut command = Command::new(cairn_binary());
        // What the shell of whoever runs the tests has set is for another server.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("CAIRN_") {
                command.env_remove(variable);
            }
        }
        let log_begins_at = std::fs::metadata(&stderr).map_or(0, |log| log.len());
        let child = command
            .args(arguments)
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(
                File::options()
                    .create(true)
                    .append(true)
                    .open(&stderr)
                    .unwrap(),
            )
            .spawn()
            .expect("the cairn binary starts");
        Self {
            child,
            stdout,
            stderr,
            log_begins_at: usize::try_from(log_begins_at).unwrap(),
            expected: Vec::new(),
        }
    }

    /// Does not fail on the errors and warnings that these faults bring along.
    pub fn expect(&mut self, faults: &[Messages]) {
        self.expected.extend(faults);
    }

    /// Fails on the first error, warning or panic that nobody expects.
    fn check_log(&self) {
        let log = self.stderr();
        let log = log.get(self.log_begins_at..).unwrap_or_default();
        if let Some(line) = unexpected_line(log, &self.expected) {
            panic!("{} has an unexpected line: {line}", self.stderr.display());
        }
    }

    /// Waits until the process has printed a loopback URL, and returns it.
    ///
    /// # Errors
    /// What the process wrote to standard error, if it ended first.
    pub fn endpoint(&mut self) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let printed = std::fs::read_to_string(&self.stdout).unwrap();
            if let Some(url) = loopback_url(&printed) {
                return Ok(url);
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("{status}: {}", self.stderr()));
            }
            assert!(
                Instant::now() < deadline,
                "no endpoint after {PATIENCE:?}: {}",
                self.stderr()
            );
            pause();
        }
    }

    /// Begins to end the process as [`CairnProcess::kill`] does, which has to follow: so several end at once.
    pub fn begin_kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Ends the process at once, as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to end (`SIGTERM`) and waits for it.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.wait();
        self.check_log();
        status
    }

    /// Waits until the process ends in an orderly way when it is told to, which is before it has done anything.
    pub fn handles_sigterm(&self) {
        let path = format!("/proc/{}/status", self.child.id());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = std::fs::read_to_string(&path).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
            if caught & (1 << (rustix::process::Signal::TERM.as_raw() - 1)) != 0 {
                return;
            }
            assert!(Instant::now() < deadline, "SIGTERM is not handled");
            pause();
        }
    }

    /// Its limits of open files as the kernel writes them: the soft one, then the hard one.
    pub fn open_files_limits(&self) -> [String; 2] {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"));
        let mut values = line.unwrap().split_whitespace().map(str::to_owned);
        [values.next().unwrap(), values.next().unwrap()]
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "still running after {PATIENCE:?}: {}",
                self.stderr()
            );
            pause();
        }
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// All it has written to standard error, earlier runs of the same name included.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    /// All it has written to standard output.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap()
    }
}

impl Drop for CairnProcess {
    fn drop(&mut self) {
        // Already ended is fine here: the point is that nothing outlives the test.
        if self.is_running() {
            self.kill();
        }
        if !std::thread::panicking() {
            self.check_log();
        }
    }
}

/// Lets other processes work between two looks at a condition.
#[expect(
    clippy::disallowed_methods,
    reason = "polling another process; the deadline is the caller's"
)]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// The binary under test: `CAIRN_BINARY`, or the one that was built beside this test.
fn cairn_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CAIRN_BINARY") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let binary = test.ancestors().nth(2).unwrap().join("cairn");
    assert!(
        binary.exists(),
        "{} is missing: run `cargo build --workspace` first",
        binary.display()
    );
    binary
}

fn loopback_url(text: &str) -> Option<String> {
    const AUTHORITY: &str = "://127.0.0.1:";
    let (before, rest) = text.split_once(AUTHORITY)?;
    let scheme = if before.ends_with("https") {
        "https"
    } else {
        "http"
    };
    // A line that is still being written has no end yet.
    let (line, _) = rest.split_once('\n')?;
    let port = line.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some(format!("{scheme}{AUTHORITY}{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_or_a_warning_in_the_log_fails_the_test_unless_it_is_expected() {
        const MESSAGE: &str = "a disk failed";
        let faults: [&[Messages]; 3] = [&[], &[&["a chunk is lost"]], &[&[], &[MESSAGE]]];
        let [none, another, this] = faults;
        for (level, expected, fails) in [
            ("INFO", none, false),
            ("WARN", none, true),
            ("WARN", another, false),
            ("WARN", this, false),
            ("ERROR", none, true),
            ("ERROR", another, true),
            ("ERROR", this, false),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let arguments = ["--version".to_owned()];
            let mut process = CairnProcess::start("version", &arguments, &[], directory.path());
            process.expect(expected);
            process.wait();
            let line = format!(r#"{{"level":"{level}","message":"{MESSAGE}"}}"#);
            std::fs::write(&process.stderr, line).unwrap();
            let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(process)));
            assert_eq!(dropped.is_err(), fails, "{level}, expected {expected:?}");
        }
    }
}
