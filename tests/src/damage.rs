//! What disks suffer, and how many at a time.

use std::path::Path;

/// All pairs of six disks.
pub fn pairs() -> impl Iterator<Item = [usize; 2]> {
    (0..6).flat_map(|first| (first + 1..6).map(move |second| [first, second]))
}

/// Flips one byte in every 16 KiB of all segment files, the first 4 KiB of each file left alone.
///
/// # Panics
/// If there are none to flip.
pub fn flip_bytes_in_segments(disk: &Path) {
    let mut flipped = 0;
    for entry in std::fs::read_dir(disk.join("segments")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        for offset in (4096..bytes.len()).step_by(16 << 10) {
            bytes[offset] ^= 0x40;
            flipped += 1;
        }
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(flipped > 0, "no segment bytes on {}", disk.display());
}
