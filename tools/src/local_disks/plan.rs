//! Decides what to do with each data directory, from what was seen and what is known. Pure.

use std::path::PathBuf;

use cairn_storage_node::{ClusterId, DiskId};

use super::error::DisksError;
use super::roster::{KnownDisk, Roster};
use super::sighting::{Sighting, Site};

/// How many of the known disks may be away at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tolerance {
    /// So many: this process has all disks of the store.
    AtMost(usize),
    /// Any number: other nodes have disks too, and the gateways decide.
    Any,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Whose disks these are; `None` at the very first start.
    pub(crate) cluster_id: Option<ClusterId>,
    /// One action for each directory, in their order.
    pub(crate) actions: Vec<(PathBuf, Action)>,
    /// Disks that were known and have been replaced: their place is taken by an empty directory.
    pub(crate) replaced: Vec<KnownDisk>,
    /// Disks that were known and whose directory is no longer configured.
    pub(crate) dropped: Vec<KnownDisk>,
    /// Whether nothing was here before.
    pub(crate) is_first_start: bool,
}

/// What to do with one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Open this disk.
    Open(DiskId),
    /// Make it a new disk and open it.
    Adopt,
    /// Go on without this known disk until it is back.
    Await {
        /// Who was here.
        disk_id: DiskId,
        /// Why it cannot be opened now.
        reason: String,
    },
}

impl Plan {
    /// Fails if these disks are of another cluster than `expected`: before any is written.
    ///
    /// # Errors
    /// [`DisksError::OtherCluster`].
    pub(crate) fn check_cluster(&self, expected: ClusterId) -> Result<(), DisksError> {
        match self.cluster_id {
            Some(found) if found != expected => Err(DisksError::OtherCluster { found, expected }),
            _ => Ok(()),
        }
    }
}

/// Decides. `tolerance` is asked with the number of disks that the store has or will have.
///
/// # Errors
/// When something does not fit together; see [`DisksError`].
pub(crate) fn decide(
    sites: &[Site],
    roster: Option<&Roster>,
    tolerance: impl Fn(usize) -> Tolerance,
) -> Result<Plan, DisksError> {
    let cluster_id = check_identities(sites, roster)?;
    let known: &[KnownDisk] = roster.map_or(&[], |roster| &roster.disks);
    let lost = lost(known, sites);
    if let Tolerance::AtMost(allowed) = tolerance(known.len().max(sites.len()))
        && lost.len() > allowed
    {
        return Err(DisksError::TooManyMissing {
            missing: lost.iter().map(|disk| disk.path.clone()).collect(),
            allowed,
        });
    }

    let is_first_start = cluster_id.is_none();
    let mut replaced = Vec::new();
    let mut actions = Vec::with_capacity(sites.len());
    for site in sites {
        let was_here = lost.iter().find(|disk| disk.path == site.path).copied();
        let action = match was_here {
            Some(disk) => action_for_known(&site.sighting, disk),
            None => action_for_new(site, is_first_start)?,
        };
        replaced.extend(was_here.filter(|_| action == Action::Adopt).cloned());
        actions.push((site.path.clone(), action));
    }
    let dropped = lost
        .into_iter()
        .filter(|disk| sites.iter().all(|site| site.path != disk.path))
        .cloned()
        .collect();
    Ok(Plan {
        cluster_id,
        actions,
        replaced,
        dropped,
        is_first_start,
    })
}

/// The known disks that were not seen anywhere.
fn lost<'a>(known: &'a [KnownDisk], sites: &[Site]) -> Vec<&'a KnownDisk> {
    let is_seen = |disk_id: DiskId| {
        sites.iter().any(
            |site| matches!(site.sighting, Sighting::Disk(identity) if identity.disk_id == disk_id),
        )
    };
    known.iter().filter(|disk| !is_seen(disk.disk_id)).collect()
}

/// What to do where a disk was that is not seen any more.
fn action_for_known(sighting: &Sighting, disk: &KnownDisk) -> Action {
    let reason = match sighting {
        Sighting::Disk(identity) => return Action::Open(identity.disk_id),
        // What would be adopted is the file system below the mount point, and repairs would fill it.
        Sighting::Vacant {
            is_mount_point: false,
        } if disk.is_mount_point == Some(true) => {
            "no file system is mounted there, and one was".to_owned()
        }
        Sighting::Vacant { .. } => return Action::Adopt,
        Sighting::Absent => "the directory does not exist".to_owned(),
        Sighting::Unreadable(reason) => reason.clone(),
    };
    Action::Await {
        disk_id: disk.disk_id,
        reason,
    }
}

/// What to do where no disk was that is missing.
fn action_for_new(site: &Site, is_first_start: bool) -> Result<Action, DisksError> {
    match &site.sighting {
        Sighting::Disk(identity) => Ok(Action::Open(identity.disk_id)),
        Sighting::Vacant { .. } => Ok(Action::Adopt),
        Sighting::Absent if is_first_start => Ok(Action::Adopt),
        Sighting::Absent => Err(DisksError::Unknown {
            path: site.path.clone(),
        }),
        Sighting::Unreadable(reason) => Err(DisksError::io(
            &site.path,
            std::io::Error::other(reason.clone()),
        )),
    }
}

/// All disks belong to one cluster, and each was seen once.
fn check_identities(
    sites: &[Site],
    roster: Option<&Roster>,
) -> Result<Option<ClusterId>, DisksError> {
    let disks = sites.iter().filter_map(|site| match site.sighting {
        Sighting::Disk(identity) => Some((&site.path, identity)),
        Sighting::Vacant { .. } | Sighting::Absent | Sighting::Unreadable(_) => None,
    });
    let mut seen: Vec<(&PathBuf, cairn_storage_node::DiskIdentity)> = Vec::new();
    for (path, identity) in disks {
        if let Some((first, _)) = seen
            .iter()
            .find(|(_, other)| other.disk_id == identity.disk_id)
        {
            return Err(DisksError::Twice {
                first: (*first).clone(),
                second: path.clone(),
                disk_id: identity.disk_id,
            });
        }
        if let Some((other, expected)) = seen
            .first()
            .filter(|(_, other)| other.cluster_id != identity.cluster_id)
        {
            return Err(DisksError::TwoClusters {
                path: path.clone(),
                found: identity.cluster_id,
                other: (*other).clone(),
                expected: expected.cluster_id,
            });
        }
        seen.push((path, identity));
    }
    Ok(seen
        .first()
        .map(|(_, identity)| identity.cluster_id)
        .or_else(|| roster.map(|roster| roster.cluster_id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_storage_node::DiskIdentity;

    const CLUSTER: ClusterId = ClusterId([9; 16]);

    fn disk(n: u8) -> Sighting {
        Sighting::Disk(DiskIdentity {
            disk_id: DiskId([n; 16]),
            cluster_id: CLUSTER,
            created_at_ms: 0,
        })
    }

    const VACANT: Sighting = Sighting::Vacant {
        is_mount_point: false,
    };

    fn sites(sightings: Vec<Sighting>) -> Vec<Site> {
        sightings
            .into_iter()
            .enumerate()
            .map(|(n, sighting)| Site {
                path: format!("/d{n}").into(),
                sighting,
            })
            .collect()
    }

    /// Disks 0, 1, 2, … at /d0, /d1, /d2, …
    fn roster(count: u8) -> Roster {
        let disks = (0..count).map(|n| KnownDisk {
            disk_id: DiskId([n; 16]),
            path: format!("/d{n}").into(),
            is_mount_point: None,
        });
        Roster {
            revision: 1,
            cluster_id: CLUSTER,
            disks: disks.collect(),
        }
    }

    fn two(_: usize) -> Tolerance {
        Tolerance::AtMost(2)
    }

    #[test]
    fn at_the_first_start_empty_and_absent_directories_are_adopted() {
        let plan = decide(&sites(vec![VACANT, Sighting::Absent]), None, two).unwrap();
        assert!(plan.is_first_start && plan.cluster_id.is_none());
        assert!(
            plan.actions
                .iter()
                .all(|(_, action)| *action == Action::Adopt)
        );
    }

    #[test]
    fn a_first_start_that_was_interrupted_goes_on() {
        let plan = decide(&sites(vec![disk(0), VACANT]), None, two).unwrap();
        assert_eq!(plan.cluster_id, Some(CLUSTER));
        assert_eq!(plan.actions[1].1, Action::Adopt);
    }

    #[test]
    fn a_disk_is_known_by_its_identity_wherever_it_is_mounted() {
        let plan = decide(&sites(vec![disk(1), disk(0)]), Some(&roster(2)), two).unwrap();
        assert_eq!(plan.actions[0].1, Action::Open(DiskId([1; 16])));
        assert_eq!((plan.replaced.len(), plan.dropped.len()), (0, 0));
    }

    #[test]
    fn an_empty_directory_where_a_disk_was_is_a_replacement_and_an_absent_one_is_awaited() {
        let plan = decide(
            &sites(vec![VACANT, Sighting::Absent, disk(2)]),
            Some(&roster(3)),
            two,
        )
        .unwrap();
        assert_eq!(
            plan.replaced,
            vec![KnownDisk {
                disk_id: DiskId([0; 16]),
                path: "/d0".into(),
                is_mount_point: None,
            }]
        );
        assert!(
            matches!(plan.actions[1].1, Action::Await { disk_id, .. } if disk_id == DiskId([1; 16]))
        );
    }

    #[test]
    fn a_mount_point_without_its_disk_is_not_taken_for_a_new_disk() {
        let mut roster = roster(2);
        roster.disks[0].is_mount_point = Some(true);
        let plan = decide(&sites(vec![VACANT, disk(1)]), Some(&roster), two).unwrap();
        assert!(
            matches!(&plan.actions[0].1, Action::Await { disk_id: DiskId([0, ..]), reason } if reason.contains("mounted")),
            "{plan:?}"
        );
        assert!(plan.replaced.is_empty());
        // A new disk is mounted there, or there never was one.
        let mounted = Sighting::Vacant {
            is_mount_point: true,
        };
        let plan = decide(&sites(vec![mounted, disk(1)]), Some(&roster), two).unwrap();
        assert_eq!(
            (&plan.actions[0].1, plan.replaced.len()),
            (&Action::Adopt, 1)
        );
        roster.disks[0].is_mount_point = Some(false);
        let plan = decide(&sites(vec![VACANT, disk(1)]), Some(&roster), two).unwrap();
        assert_eq!(plan.actions[0].1, Action::Adopt);
    }

    #[test]
    fn disks_of_another_cluster_are_refused_before_any_is_adopted() {
        let plan = decide(&sites(vec![disk(0), VACANT]), None, two).unwrap();
        assert!(plan.check_cluster(CLUSTER).is_ok());
        let error = plan.check_cluster(ClusterId([8; 16])).unwrap_err();
        assert!(matches!(error, DisksError::OtherCluster { .. }), "{error}");
        let first = decide(&sites(vec![VACANT]), None, two).unwrap();
        assert!(first.check_cluster(CLUSTER).is_ok());
    }

    #[test]
    fn more_missing_disks_than_may_be_stop_the_start_even_if_their_directories_are_empty() {
        let sites = sites(vec![VACANT, VACANT, Sighting::Absent, disk(3)]);
        let error = decide(&sites, Some(&roster(4)), two).unwrap_err();
        assert!(
            matches!(&error, DisksError::TooManyMissing { missing, allowed: 2 } if missing.len() == 3),
            "{error}"
        );
        assert!(decide(&sites, Some(&roster(4)), |_| Tolerance::Any).is_ok());
    }

    #[test]
    fn a_path_that_never_was_a_disk_must_exist() {
        let sites = sites(vec![disk(0), disk(1), Sighting::Absent]);
        assert!(matches!(
            decide(&sites, Some(&roster(2)), two),
            Err(DisksError::Unknown { .. })
        ));
    }

    #[test]
    fn an_added_directory_is_adopted_and_a_dropped_one_is_named() {
        let mut added = sites(vec![disk(0), disk(1), VACANT]);
        assert_eq!(
            decide(&added, Some(&roster(2)), two).unwrap().actions[2].1,
            Action::Adopt
        );
        added.truncate(1);
        assert_eq!(
            decide(&added, Some(&roster(2)), two).unwrap().dropped.len(),
            1
        );
    }

    #[test]
    fn disks_given_twice_or_of_two_clusters_are_refused() {
        assert!(matches!(
            decide(&sites(vec![disk(0), disk(0)]), None, two),
            Err(DisksError::Twice { .. })
        ));
        let stranger = DiskIdentity {
            disk_id: DiskId([7; 16]),
            cluster_id: ClusterId([8; 16]),
            created_at_ms: 0,
        };
        let sites = sites(vec![disk(0), Sighting::Disk(stranger)]);
        assert!(matches!(
            decide(&sites, None, two),
            Err(DisksError::TwoClusters { .. })
        ));
    }
}
