//! Where this machine mounts file systems, as `/etc/fstab` says: a directory that is empty because its disk is not mounted
//! yet looks like one that is free.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::mount_point::is_mount_point;

const PATH: &str = "/etc/fstab";

/// The mount points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fstab(BTreeSet<PathBuf>);

impl Fstab {
    /// Those of this machine. A file that is not there, or cannot be read, names none.
    pub(crate) fn of_this_machine() -> Self {
        Self::parse(&std::fs::read(PATH).unwrap_or_default())
    }

    /// One that names these.
    #[cfg(test)]
    pub(crate) fn of<const N: usize>(mount_points: [PathBuf; N]) -> Self {
        Self(mount_points.into())
    }

    fn parse(text: &[u8]) -> Self {
        let lines = text.split(|byte| *byte == b'\n');
        Self(lines.filter_map(mount_point).collect())
    }

    /// Whether a file system belongs at a directory or above it and is not mounted.
    pub(crate) fn is_unmounted(&self, directory: &Path) -> bool {
        directory
            .ancestors()
            .take_while(|ancestor| !is_mount_point(ancestor).unwrap_or(false))
            .any(|ancestor| self.0.contains(ancestor))
    }
}

/// The mount point of one line: `device mount-point type options …`.
///
/// The root is always mounted, and of a directory that is bound to another place cannot be told whether it is.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let mut fields = line
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty());
    fields.next().filter(|device| !device.starts_with(b"#"))?;
    let path = unescape(fields.next()?);
    let mut options = fields
        .nth(1)
        .unwrap_or_default()
        .split(|byte| *byte == b',');
    let is_bound = options.any(|option| option == b"bind" || option == b"rbind");
    (path.is_absolute() && path != Path::new("/") && !is_bound).then_some(path)
}

/// White space in a path is written `\040`: a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind
            .split_first_chunk()
            .filter(|_| *first == b'\\')
            .and_then(|(digits, behind)| Some((octal(*digits)?, behind)));
        let (byte, behind) = escaped.unwrap_or((*first, behind));
        bytes.push(byte);
        rest = behind;
    }
    OsString::from_vec(bytes).into()
}

fn octal(digits: [u8; 3]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(text: &str) -> Vec<PathBuf> {
        Fstab::parse(text.as_bytes()).0.into_iter().collect()
    }

    #[test]
    fn mount_points_are_the_second_field_with_its_escapes() {
        let text = "# <file system> <mount point> <type>\n\
                    UUID=1 / ext4 defaults 0 1\n\
                    /dev/sdb\t/mnt/disk1/ ext4 noauto,nofail 0 2\n\
                    #/dev/sdc /mnt/disk2 ext4\n\
                    /dev/sdd /mnt/with\\040space\\134 xfs\n\
                    /dev/sde none swap sw 0 0\n\
                    /srv/big /mnt/bound none ro,bind 0 0\n\
                    /dev/sdf\n\
                    /dev/sdg /mnt/odd\\9";
        let expected = ["/mnt/disk1", "/mnt/odd\\9", "/mnt/with space\\"];
        assert_eq!(points(text), expected.map(PathBuf::from));
        assert_eq!(Fstab::parse(b"\xff \xff\n\\\n"), Fstab::default());
    }

    #[test]
    fn a_directory_is_unmounted_if_the_nearest_mount_point_above_is() {
        let root = tempfile::tempdir().unwrap();
        let fstab = Fstab::of([root.path().join("mnt"), "/proc".into()]);
        for (directory, expected) in [
            (root.path().join("mnt"), true),
            (root.path().join("mnt/cairn"), true),
            (root.path().join("mnt2"), false),
            ("/proc".into(), false),
            ("/proc/none".into(), false),
        ] {
            assert_eq!(fstab.is_unmounted(&directory), expected, "{directory:?}");
        }
    }
}
