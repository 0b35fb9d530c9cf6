//! What is to be done with the data directories: looked at, compared with what was known, decided. Nothing is written.

use std::path::{Path, PathBuf};

use super::error::DisksError;
use super::fstab::Fstab;
use super::plan::{Plan, Tolerance, decide};
use super::roster::Roster;
use super::sighting::look;
use crate::aside::aside;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The disks that were known.
    pub(crate) roster: Option<Roster>,
    /// What to do.
    pub(crate) plan: Plan,
}

/// Looks and decides. `tolerance` is asked with the number of disks that the store has or will have.
///
/// Looking is done aside, so that a disk that hangs does not keep the process from being told to stop.
///
/// # Errors
/// When something does not fit together; see [`DisksError`].
pub(crate) async fn survey(
    directories: &[PathBuf],
    tolerance: impl Fn(usize) -> Tolerance,
) -> Result<Survey, DisksError> {
    let directories = directories.to_vec();
    let (sites, roster) = aside(move || {
        let sites = look(&directories, &Fstab::of_this_machine())?;
        let directories: Vec<&Path> = directories.iter().map(PathBuf::as_path).collect();
        Ok::<_, DisksError>((sites, Roster::newest(&directories)?))
    })
    .await?;
    let plan = decide(&sites, roster.as_ref(), tolerance)?;
    Ok(Survey { roster, plan })
}
