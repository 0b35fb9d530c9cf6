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
    /// Disks that were known and are neither seen, awaited nor replaced: their directory is no longer configured, or another
    /// disk is in it.
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
    let mut homeless = homeless(&lost, sites).into_iter();
    let mut replaced = Vec::new();
    let mut actions = Vec::with_capacity(sites.len());
    for site in sites {
        let known_here = known.iter().find(|disk| disk.path == site.path);
        let lost_here = lost.iter().find(|disk| disk.path == site.path).copied();
        let action = match finding(&site.sighting, known_here, is_first_start) {
            Finding::Disk(disk_id) => Action::Open(disk_id),
            Finding::Free => {
                replaced.extend(lost_here.cloned());
                Action::Adopt
            }
            // Where names of devices shift, the others have moved up, and the place of the last one is that of the lost one now.
            Finding::NoDisk(reason) => {
                let disk = lost_here.or_else(|| known_here.and_then(|_| homeless.next()));
                match disk {
                    Some(disk) => Action::Await {
                        disk_id: disk.disk_id,
                        reason,
                    },
                    None => return Err(refusal(site, known_here, reason)),
                }
            }
        };
        actions.push((site.path.clone(), action));
    }
    let dropped = dropped(&lost, &actions, &replaced);
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

/// The lost disks that cannot be awaited where they were: another disk is there, or the directory is not configured.
fn homeless<'a>(lost: &[&'a KnownDisk], sites: &[Site]) -> Vec<&'a KnownDisk> {
    let has_place = |disk: &KnownDisk| {
        let site = sites.iter().find(|site| site.path == disk.path);
        site.is_some_and(|site| !matches!(site.sighting, Sighting::Disk(_)))
    };
    lost.iter()
        .copied()
        .filter(|disk| !has_place(disk))
        .collect()
}

/// The lost disks that are neither awaited nor replaced.
fn dropped(
    lost: &[&KnownDisk],
    actions: &[(PathBuf, Action)],
    replaced: &[KnownDisk],
) -> Vec<KnownDisk> {
    let is_awaited = |disk: &KnownDisk| {
        actions.iter().any(
            |(_, action)| matches!(action, Action::Await { disk_id, .. } if *disk_id == disk.disk_id),
        )
    };
    lost.iter()
        .filter(|disk| !is_awaited(disk) && !replaced.contains(disk))
        .copied()
        .cloned()
        .collect()
}

/// What a directory is to its store.
enum Finding {
    /// A disk.
    Disk(DiskId),
    /// Free to become one.
    Free,
    /// Neither, and why.
    NoDisk(String),
}

/// What a directory is, where `known_here` was last.
fn finding(sighting: &Sighting, known_here: Option<&KnownDisk>, is_first_start: bool) -> Finding {
    let reason = match sighting {
        Sighting::Disk(identity) => return Finding::Disk(identity.disk_id),
        // What would be adopted is the file system below the mount point, and repairs would fill it.
        Sighting::Vacant {
            is_mount_point: false,
        } if known_here.is_some_and(|disk| disk.is_mount_point == Some(true)) => {
            "no file system is mounted there, and one was".to_owned()
        }
        Sighting::Vacant { .. } => return Finding::Free,
        Sighting::Unmounted => {
            "no file system is mounted there, and /etc/fstab names one".to_owned()
        }
        Sighting::Absent if is_first_start => return Finding::Free,
        Sighting::Absent => "the directory does not exist".to_owned(),
        Sighting::Unreadable(reason) => reason.clone(),
    };
    Finding::NoDisk(reason)
}

/// Why a start is refused because of a directory where no disk is missed.
fn refusal(site: &Site, known_here: Option<&KnownDisk>, reason: String) -> DisksError {
    let path = site.path.clone();
    match site.sighting {
        Sighting::Unreadable(_) => DisksError::io(&path, std::io::Error::other(reason)),
        Sighting::Unmounted => DisksError::Unmounted { path },
        _ if known_here.is_some() => DisksError::Vacated { path, reason },
        _ => DisksError::Unknown { path },
    }
}

/// All disks belong to one cluster, and each was seen once.
fn check_identities(
    sites: &[Site],
    roster: Option<&Roster>,
) -> Result<Option<ClusterId>, DisksError> {
    let disks = sites.iter().filter_map(|site| match site.sighting {
        Sighting::Disk(identity) => Some((&site.path, identity)),
        Sighting::Vacant { .. }
        | Sighting::Unmounted
        | Sighting::Absent
        | Sighting::Unreadable(_) => None,
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
    use std::collections::BTreeSet;

    use cairn_storage_node::DiskIdentity;
    use proptest::prelude::*;

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

    /// `count` disks at mount points of their own.
    fn mounted_roster(count: u8) -> Roster {
        let mut roster = roster(count);
        for disk in &mut roster.disks {
            disk.is_mount_point = Some(true);
        }
        roster
    }

    #[test]
    fn when_mounts_move_up_the_lost_disk_is_awaited_at_the_mount_point_that_is_left() {
        for left in [VACANT, Sighting::Absent, Sighting::Unmounted] {
            let sites = sites(vec![disk(1), disk(2), left]);
            let plan = decide(&sites, Some(&mounted_roster(3)), two).unwrap();
            assert_eq!(plan.actions[1].1, Action::Open(DiskId([2; 16])));
            assert!(
                matches!(
                    plan.actions[2].1,
                    Action::Await {
                        disk_id: DiskId([0, ..]),
                        ..
                    }
                ),
                "{plan:?}"
            );
            assert!(plan.replaced.is_empty() && plan.dropped.is_empty());
        }
    }

    #[test]
    fn a_mount_point_whose_disk_has_moved_is_neither_adopted_nor_called_unknown() {
        for left in [VACANT, Sighting::Absent] {
            let sites = sites(vec![disk(1), left, disk(0)]);
            let error = decide(&sites, Some(&mounted_roster(2)), two).unwrap_err();
            assert!(matches!(&error, DisksError::Vacated { .. }), "{error}");
        }
    }

    #[test]
    fn a_lost_disk_whose_place_another_has_taken_is_named() {
        let plan = decide(&sites(vec![disk(1)]), Some(&roster(2)), two).unwrap();
        assert_eq!(plan.dropped, roster(1).disks);
    }

    #[test]
    fn what_fstab_wants_mounted_is_awaited_and_never_taken_for_a_new_disk() {
        let sites = sites(vec![disk(0), Sighting::Unmounted]);
        let plan = decide(&sites, Some(&roster(2)), two).unwrap();
        assert!(
            matches!(&plan.actions[1].1, Action::Await { reason, .. } if reason.contains("fstab")),
            "{plan:?}"
        );
        for roster in [Some(&roster(1)), None] {
            let error = decide(&sites, roster, two).unwrap_err();
            assert!(matches!(error, DisksError::Unmounted { .. }), "{error}");
        }
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

    /// What is at a directory: nothing that is a disk, or the disk of that number, if no directory before has it.
    fn any_sightings(disk_count: u8) -> impl Strategy<Value = Vec<Sighting>> {
        let one = prop_oneof![
            3 => (0..disk_count).prop_map(disk),
            1 => any::<bool>().prop_map(|is_mount_point| Sighting::Vacant { is_mount_point }),
            1 => Just(Sighting::Unmounted),
            1 => Just(Sighting::Absent),
            1 => Just(Sighting::Unreadable("EIO".to_owned())),
        ];
        prop::collection::vec(one, 1..8).prop_map(|mut sightings| {
            let mut seen = BTreeSet::new();
            for sighting in &mut sightings {
                if let Sighting::Disk(identity) = sighting
                    && !seen.insert(identity.disk_id)
                {
                    *sighting = VACANT;
                }
            }
            sightings
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn whatever_is_seen_every_known_disk_is_accounted_for_and_no_bare_mount_point_adopted(
            sightings in any_sightings(8),
            known in prop::collection::vec(prop::option::of(any::<bool>()), 0..7),
        ) {
            let sites = sites(sightings);
            let mut roster = roster(u8::try_from(known.len()).unwrap());
            for (disk, is_mount_point) in roster.disks.iter_mut().zip(known) {
                disk.is_mount_point = is_mount_point;
            }
            let Ok(plan) = decide(&sites, Some(&roster), |_| Tolerance::Any) else {
                return Ok(());
            };
            let mut ids: Vec<DiskId> = plan.replaced.iter().chain(&plan.dropped).map(|disk| disk.disk_id).collect();
            for (site, (path, action)) in sites.iter().zip(&plan.actions) {
                prop_assert_eq!(&site.path, path);
                match action {
                    Action::Open(disk_id) => {
                        prop_assert!(matches!(site.sighting, Sighting::Disk(identity) if identity.disk_id == *disk_id));
                        ids.push(*disk_id);
                    }
                    Action::Await { disk_id, .. } => ids.push(*disk_id),
                    Action::Adopt => {
                        let Sighting::Vacant { is_mount_point } = site.sighting else {
                            return Err(TestCaseError::fail(format!("adopts {site:?}")));
                        };
                        let was_mounted = roster.disks.iter().any(|disk| disk.path == *path && disk.is_mount_point == Some(true));
                        prop_assert!(is_mount_point || !was_mounted, "adopts the file system below {path:?}");
                    }
                }
            }
            for disk in &roster.disks {
                let count = ids.iter().filter(|id| **id == disk.disk_id).count();
                prop_assert_eq!(count, 1, "{:?} in {:?}", disk, plan);
            }
        }
    }
}
