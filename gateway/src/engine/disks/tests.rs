use cairn_storage_node::MemoryShardStore;

use super::*;

fn entry(number: u8, host: &str, zone: &str) -> DiskEntry {
    DiskEntry {
        store: Arc::new(MemoryShardStore::new(DiskId([number; 16]))),
        path: String::new(),
        host: host.to_owned(),
        zone: zone.to_owned(),
        locality: Locality::Local,
        role: DiskRole::Active,
    }
}

#[tokio::test]
async fn disks_join_and_leave_and_those_that_stay_keep_their_state() {
    let stays = entry(1, "a", "z");
    let disks = Disks::new(vec![stays.clone(), entry(2, "a", "z")]);
    disks.refresh(Duration::from_secs(1)).await;
    disks.update(vec![entry(3, "b", "z"), stays]);

    let map = disks.map();
    let ids: Vec<DiskId> = map.disks().iter().map(|disk| disk.id()).collect();
    assert_eq!(ids, [DiskId([3; 16]), DiskId([1; 16])]);
    let now = Instant::now();
    assert!(
        map.disk(DiskId([1; 16]))
            .unwrap()
            .view(now)
            .status
            .is_some()
    );
    assert!(
        map.disk(DiskId([3; 16]))
            .unwrap()
            .view(now)
            .status
            .is_none()
    );
}

#[tokio::test]
async fn of_two_disks_with_one_identity_the_first_is_used() {
    let disks = Disks::new(vec![entry(1, "a", "z"), entry(1, "b", "z")]);
    assert_eq!(disks.map().disks().len(), 1);
    assert_eq!(disks.map().disks()[0].view(Instant::now()).host, "a");
}

#[tokio::test]
async fn hosts_of_one_name_in_two_zones_are_two_hosts() {
    let disks = Disks::new(vec![
        entry(1, "a", "x"),
        entry(2, "a", "y"),
        entry(3, "a", "x"),
    ]);
    let hosts: Vec<u32> = disks
        .map()
        .candidates(Dependability::Any, Instant::now())
        .iter()
        .map(|c| c.host)
        .collect();
    assert_eq!(hosts, [0, 1, 0]);
}

#[tokio::test]
async fn a_draining_disk_is_read_and_takes_nothing() {
    let draining = DiskEntry {
        role: DiskRole::Draining,
        ..entry(1, "a", "z")
    };
    let disks = Disks::new(vec![draining]);
    let now = Instant::now();
    assert!(disks.map().candidates(Dependability::Any, now).is_empty());
    assert_eq!(disks.map().disks()[0].read_rank(now), ReadRank::Local);
}

#[tokio::test]
async fn a_disk_in_no_map_is_missed_from_the_first_question() {
    let disks = Disks::new(Vec::new());
    let now = Instant::now();
    let id = DiskId([9; 16]);
    assert_eq!(disks.away_for(id, now), Some(Duration::ZERO));
    assert_eq!(
        disks.away_for(id, now + Duration::from_secs(7)),
        Some(Duration::from_secs(7))
    );
    disks.update(vec![entry(9, "a", "z")]);
    assert_eq!(disks.away_for(id, now + Duration::from_secs(8)), None);
}
