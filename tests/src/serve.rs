//! `cairn serve` on temporary disks: the system as most users run it.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use tempfile::TempDir;

use crate::faults::Messages;
use crate::process::CairnProcess;

/// Access key of the root user in all tests.
pub const ACCESS_KEY: &str = "WHOLESYSTEMTESTS0001";
/// Secret key of the root user in all tests.
pub const SECRET_KEY: &str = "whole-system-tests-secret-key-0123456789";

/// The disks of one server, and the server while it runs.
#[derive(Debug)]
pub struct Server {
    // Dropped in this order: nothing writes into the directories any more when they are removed.
    process: Option<CairnProcess>,
    root: TempDir,
    disk_count: usize,
    endpoint: String,
    /// Further arguments of `cairn serve`.
    pub arguments: Vec<String>,
    expected: Vec<Messages>,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// Its result.
    pub stdout: String,
    /// What it said beside.
    pub stderr: String,
}

impl Server {
    /// Starts a server on `disk_count` fresh disks.
    #[must_use]
    pub fn start(disk_count: usize) -> Self {
        let mut server = Self::stopped(disk_count);
        server.restart().unwrap();
        server
    }

    /// The directories, with nothing running on them yet.
    #[must_use]
    pub fn stopped(disk_count: usize) -> Self {
        let root = tempfile::Builder::new()
            .prefix("cairn-test-")
            .tempdir()
            .unwrap();
        for index in 0..disk_count {
            std::fs::create_dir(root.path().join(format!("disk{index}"))).unwrap();
        }
        Self {
            root,
            disk_count,
            process: None,
            endpoint: String::new(),
            arguments: Vec::new(),
            expected: Vec::new(),
        }
    }

    /// As [`CairnProcess::expect`], from now on and over restarts.
    pub fn expect(&mut self, faults: &[Messages]) {
        self.expected.extend(faults);
        if let Some(process) = &mut self.process {
            process.expect(faults);
        }
    }

    /// Starts the server (again) on its disks, on a port of the system's choice.
    ///
    /// # Errors
    /// What it wrote to standard error, if it refused to start.
    pub fn restart(&mut self) -> Result<(), String> {
        let mut arguments = vec![
            "serve".to_owned(),
            "--listen".to_owned(),
            "127.0.0.1:0".to_owned(),
        ];
        for index in 0..self.disk_count {
            arguments.extend(["--data".to_owned(), self.disk(index).display().to_string()]);
        }
        arguments.extend(self.arguments.iter().cloned());
        let environment = [
            ("CAIRN_ROOT_ACCESS_KEY", ACCESS_KEY.to_owned()),
            ("CAIRN_ROOT_SECRET_KEY", SECRET_KEY.to_owned()),
        ];
        let mut process = CairnProcess::start("serve", &arguments, &environment, self.root.path());
        process.expect(&self.expected);
        self.endpoint = process.endpoint()?;
        self.process = Some(process);
        Ok(())
    }

    /// Runs `cairn COMMAND ARGUMENTS` over this server's disks, which must not be in use, until it ends.
    #[must_use]
    pub fn run_offline(&self, command: &str, arguments: &[&str]) -> Finished {
        let mut all = vec![command.to_owned()];
        for index in 0..self.disk_count {
            all.extend(["--data".to_owned(), self.disk(index).display().to_string()]);
        }
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let log_dir = tempfile::tempdir().unwrap();
        let mut process = CairnProcess::start(command, &all, &[], log_dir.path());
        process.expect(&self.expected);
        Finished {
            status: process.wait(),
            stdout: process.stdout(),
            stderr: process.stderr(),
        }
    }

    /// A stopped server on a copy of this one's disks as they are now.
    #[must_use]
    pub fn fork(&self) -> Self {
        let copy = Self::stopped(self.disk_count);
        for index in 0..self.disk_count {
            copy_tree(&self.disk(index), &copy.disk(index));
        }
        copy
    }

    /// Where it listens, as a URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The directory of a disk, 0-based.
    pub fn disk(&self, index: usize) -> PathBuf {
        self.root.path().join(format!("disk{index}"))
    }

    /// How many disks it has.
    pub fn disk_count(&self) -> usize {
        self.disk_count
    }

    /// Removes a disk's directory with all in it, whether the server is running or not.
    pub fn remove_disk(&self, index: usize) {
        // Out of reach first: a running server makes files while we walk the directory.
        let doomed = self.disk(index).with_extension("removed");
        std::fs::rename(self.disk(index), &doomed).unwrap();
        std::fs::remove_dir_all(doomed).unwrap();
    }

    /// Takes a disk away, whether the server is running or not.
    pub fn hide_disk(&self, index: usize) {
        let disk = self.disk(index);
        std::fs::rename(&disk, disk.with_extension("hidden")).unwrap();
    }

    /// Undoes [`Server::hide_disk`].
    pub fn bring_disk_back(&self, index: usize) {
        let disk = self.disk(index);
        std::fs::rename(disk.with_extension("hidden"), &disk).unwrap();
    }

    /// The running process.
    pub fn process(&mut self) -> &mut CairnProcess {
        self.process.as_mut().expect("the server was started")
    }

    /// Ends the process at once.
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// Drains and ends the process.
    pub fn terminate(&mut self) -> ExitStatus {
        let status = self.process().terminate();
        self.process = None;
        status
    }

    /// Bytes that the files of all disks occupy, as `du` counts them.
    pub fn occupied_bytes(&self) -> u64 {
        (0..self.disk_count)
            .map(|index| occupied_bytes(&self.disk(index)))
            .sum()
    }
}

/// Bytes allocated to the files below `path` (holes not counted).
pub fn occupied_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return 0; // removed while we looked
    };
    if !metadata.is_dir() {
        return metadata.blocks() * 512;
    }
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    entries
        .map(|entry| occupied_bytes(&entry.unwrap().path()))
        .sum()
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
