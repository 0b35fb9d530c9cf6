//! Who may read what this process writes.

use rustix::fs::Mode;
use rustix::process::umask;

/// Makes files and directories that this process creates from now on its own user's alone.
///
/// Shards are what clients stored, and small objects are whole in them and in the metadata's journals: whoever can read the
/// files reads past every authorization.
pub(crate) fn keep_files_private() {
    let others = Mode::RWXG | Mode::RWXO;
    let before = umask(others);
    // What an administrator took from the owner too stays taken.
    umask(before | others);
}
