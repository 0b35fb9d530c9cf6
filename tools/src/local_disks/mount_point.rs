//! Where file systems are mounted.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Whether a directory is on another device than the one that it is in. (One that is bound from the same file system is
/// not told apart from a plain one.)
pub(crate) fn is_mount_point(path: &Path) -> io::Result<bool> {
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev());
    Ok(device(path)? != device(&path.join(".."))?)
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "what a test makes and damages need not be durable"
)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_told_from_a_plain_directory() {
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        let root = tempfile::tempdir().unwrap();
        let plain = root.path().join("plain");
        std::fs::create_dir(&plain).unwrap();
        assert!(!is_mount_point(&plain).unwrap());
    }
}
