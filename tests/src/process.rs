//! One `cairn` process: started, watched for a line of its output, killed or ended.
//!
//! What it logs as ERROR, and a panic, fail the test when the process is dropped or terminated, unless the test expects
//! them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

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
    /// Messages of errors that the test provokes.
    expected_errors: Vec<String>,
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
            expected_errors: Vec::new(),
        }
    }

    /// Does not fail on errors with one of these messages.
    pub fn expect_errors(&mut self, messages: &[&str]) {
        let messages = messages.iter().map(|message| (*message).to_owned());
        self.expected_errors.extend(messages);
    }

    /// Fails on the first error or panic that nobody expects.
    fn check_log(&self) {
        let log = self.stderr();
        let unexpected = log
            .get(self.log_begins_at..)
            .unwrap_or_default()
            .lines()
            .find(|line| is_error(line) && !self.expects(line));
        if let Some(line) = unexpected {
            panic!("{} has an unexpected line: {line}", self.stderr.display());
        }
    }

    fn expects(&self, line: &str) -> bool {
        self.expected_errors
            .iter()
            .any(|message| line.contains(message))
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

/// Whether a line of a log, be it JSON or text, tells of an error or of a panic.
fn is_error(line: &str) -> bool {
    line.contains("\"level\":\"ERROR\"") || line.contains(" ERROR ") || line.contains("panicked at")
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
    fn errors_and_panics_are_told_from_other_lines() {
        for (line, expected) in [
            (r#"{"level":"ERROR","message":"a chunk is lost"}"#, true),
            ("2026-01-01T00:00:00Z ERROR cairn: a chunk is lost", true),
            ("thread 'main' panicked at src/main.rs:1:1:", true),
            (r#"{"level":"WARN","message":"a disk failed"}"#, false),
        ] {
            assert_eq!(is_error(line), expected, "{line}");
        }
    }

    #[test]
    fn an_error_in_the_log_fails_the_test_unless_it_is_expected() {
        let directory = tempfile::tempdir().unwrap();
        let log = |process: &mut CairnProcess| {
            process.wait();
            let line = r#"{"level":"ERROR","message":"a chunk is lost"}"#;
            std::fs::write(&process.stderr, line).unwrap();
        };
        let start = || CairnProcess::start("version", &["--version".into()], &[], directory.path());
        let mut expecting = start();
        expecting.expect_errors(&["a chunk is lost"]);
        log(&mut expecting);
        drop(expecting);
        std::fs::remove_file(directory.path().join("version.stderr")).unwrap();
        let mut surprised = start();
        log(&mut surprised);
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(surprised)));
        assert!(dropped.is_err());
    }
}
