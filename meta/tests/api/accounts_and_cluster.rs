//! Buckets by owner, users, keys, leases, the cluster map.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::*;
use async_trait::async_trait;
use bytes::Bytes;
use cairn_meta::kv::{Batch, KvError, KvStore, MemoryKv, Scan, ScanPage};
use cairn_meta::{
    AccessKey, BucketName, ClusterId, ClusterRecord, Coding, DiskId, DiskNode, DiskRecord,
    DiskState, DisplayName, Email, Lease, LeaseState, MasterKey, Meta, MetaError, SecretKey,
    UserName,
};

fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

#[tokio::test]
async fn buckets_are_unique_and_listed_by_owner() {
    let meta = meta();
    let user = meta.create_user(name("anna"), None, None, 1).await.unwrap();
    for text in ["ccc", "aaa", "bbb", "aab"] {
        bucket(&meta, text).await;
    }
    let mine = BucketName::parse("mine").unwrap();
    meta.create_bucket(mine.clone(), user.canonical_id, "eu-1", 1)
        .await
        .unwrap();
    let taken = meta.create_bucket(mine.clone(), OWNER, "eu-1", 1).await;
    assert!(matches!(taken, Err(MetaError::BucketExists { owner }) if owner == user.canonical_id));

    let names = |page: &cairn_meta::BucketPage| {
        page.buckets
            .iter()
            .map(|b| b.name.to_string())
            .collect::<Vec<_>>()
    };
    let page = meta.list_buckets(OWNER, "", None, 3).await.unwrap();
    assert_eq!(names(&page), ["aaa", "aab", "bbb"]);
    let rest = meta
        .list_buckets(OWNER, "", page.next.as_ref(), 3)
        .await
        .unwrap();
    assert_eq!((names(&rest), rest.next), (vec!["ccc".to_owned()], None));
    assert_eq!(
        names(&meta.list_buckets(OWNER, "aa", None, 9).await.unwrap()),
        ["aaa", "aab"]
    );
    assert_eq!(
        names(
            &meta
                .list_buckets(user.canonical_id, "", None, 9)
                .await
                .unwrap()
        ),
        ["mine"]
    );

    assert!(matches!(
        meta.delete_user(&user.name).await,
        Err(MetaError::UserOwnsBuckets)
    ));
    meta.delete_bucket(&mine, 1).await.unwrap();
    assert!(
        names(
            &meta
                .list_buckets(user.canonical_id, "", None, 9)
                .await
                .unwrap()
        )
        .is_empty()
    );
    assert!(matches!(
        meta.delete_bucket(&mine, 1).await,
        Err(MetaError::NoSuchBucket)
    ));
    meta.delete_user(&user.name).await.unwrap();
}

#[tokio::test]
async fn users_are_unique_by_name_and_email() {
    let meta = meta();
    let email = Email::parse("anna@example.org").unwrap();
    let anna = meta
        .create_user(
            name("anna"),
            Some(email.clone()),
            Some(DisplayName::parse("Anna").unwrap()),
            1,
        )
        .await
        .unwrap();
    assert_eq!(anna.canonical_id.to_string().len(), 64);
    assert!(matches!(
        meta.create_user(name("anna"), None, None, 1).await,
        Err(MetaError::UserExists)
    ));
    let same_email = Email::parse("ANNA@example.org").unwrap();
    assert!(matches!(
        meta.create_user(name("bob"), Some(same_email), None, 1)
            .await,
        Err(MetaError::EmailTaken)
    ));
    meta.create_user(name("bob"), None, None, 1).await.unwrap();

    assert_eq!(
        meta.user_by_canonical_id(anna.canonical_id).await.unwrap(),
        Some(anna.clone())
    );
    assert_eq!(
        meta.user_by_email(&email).await.unwrap(),
        Some(anna.clone())
    );
    let page = meta.list_users(None, 1).await.unwrap();
    assert_eq!(
        (page.users, page.next.clone()),
        (vec![anna.clone()], Some(name("anna")))
    );
    assert_eq!(
        meta.list_users(page.next.as_ref(), 1).await.unwrap().users[0].display_name,
        "bob"
    );

    meta.delete_user(&anna.name).await.unwrap();
    assert_eq!(meta.user_by_email(&email).await.unwrap(), None);
    assert_eq!(
        meta.user_by_canonical_id(anna.canonical_id).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn keys_come_back_decrypted_and_go_with_their_user() {
    let kv = MemoryKv::new();
    let meta = meta_over(&kv);
    meta.check_master_key().await.unwrap();
    meta.check_master_key().await.unwrap();
    let user = meta.create_user(name("anna"), None, None, 1).await.unwrap();
    let made = meta.create_key(&user.name, None, 2).await.unwrap();
    let found = meta.key(&made.access_key).await.unwrap().unwrap();
    assert_eq!(found.secret.expose(), made.secret.expose());
    assert_eq!((found.user, found.created_at_ms), (user.canonical_id, 2));

    let pair = || {
        (
            AccessKey::parse("minioadmin").unwrap(),
            SecretKey::parse("imported secret".replace(' ', "-")).unwrap(),
        )
    };
    let imported = meta.create_key(&user.name, Some(pair()), 3).await.unwrap();
    assert!(matches!(
        meta.create_key(&user.name, Some(pair()), 3).await,
        Err(MetaError::AccessKeyExists)
    ));
    assert_eq!(
        meta.list_keys(&user.name).await.unwrap(),
        [made.access_key.clone(), imported.access_key.clone()]
    );
    meta.delete_key(&made.access_key).await.unwrap();
    assert!(meta.key(&made.access_key).await.unwrap().is_none());
    assert!(matches!(
        meta.delete_key(&made.access_key).await,
        Err(MetaError::NoSuchAccessKey)
    ));

    let other = Meta::new(Arc::new(kv), MasterKey::new([8; 32]));
    assert!(matches!(
        other.check_master_key().await,
        Err(MetaError::WrongMasterKey)
    ));
    assert!(matches!(
        other.key(&imported.access_key).await,
        Err(MetaError::WrongMasterKey)
    ));

    meta.delete_user(&user.name).await.unwrap();
    assert!(meta.key(&imported.access_key).await.unwrap().is_none());
}

#[tokio::test]
async fn a_user_has_a_bounded_number_of_keys() {
    let meta = meta();
    meta.create_user(name("anna"), None, None, 1).await.unwrap();
    for _ in 0..cairn_meta::ACCESS_KEYS_PER_USER_MAX {
        meta.create_key(&name("anna"), None, 1).await.unwrap();
    }
    assert!(matches!(
        meta.create_key(&name("anna"), None, 1).await,
        Err(MetaError::TooManyAccessKeys { .. })
    ));
}

#[tokio::test]
async fn a_lease_is_taken_over_only_after_it_was_seen_unchanged_for_its_duration() {
    let kv = MemoryKv::new();
    let duration = Duration::from_secs(10);
    let at = Duration::from_secs;
    let mut a = Lease::new(meta_over(&kv), "repair", "a", duration);
    let mut b = Lease::new(meta_over(&kv), "repair", "b", duration);
    let LeaseState::Held { until } = a.poll(|| at(1)).await.unwrap() else {
        panic!("it was free")
    };
    assert!(until < at(1) + duration);
    // The clock of `b` is a day ahead, which means nothing.
    let day = 86_400;
    assert_eq!(b.poll(|| at(day)).await.unwrap(), LeaseState::Elsewhere);
    a.poll(|| at(5)).await.unwrap();
    assert_eq!(
        b.poll(|| at(day + 9)).await.unwrap(),
        LeaseState::Elsewhere,
        "it was renewed meanwhile"
    );
    assert_eq!(
        b.poll(|| at(day + 18)).await.unwrap(),
        LeaseState::Elsewhere
    );
    assert!(matches!(
        b.poll(|| at(day + 19)).await.unwrap(),
        LeaseState::Held { .. }
    ));
    assert_eq!(a.poll(|| at(25)).await.unwrap(), LeaseState::Elsewhere);
    assert!(!a.is_held(at(25)) && b.is_held(at(day + 20)));
}

/// A store whose first read takes until a time, at which the holder of a lease has just renewed it.
#[derive(Debug)]
struct SlowFirstRead {
    inner: MemoryKv,
    renewing: Mutex<Option<Lease>>,
    until_seconds: u64,
    clock_seconds: Arc<AtomicU64>,
}

#[async_trait]
impl KvStore for SlowFirstRead {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, KvError> {
        let renewing = self.renewing.lock().unwrap().take();
        if let Some(mut lease) = renewing {
            let until = Duration::from_secs(self.until_seconds);
            lease.poll(|| until).await.unwrap();
            self.clock_seconds
                .store(self.until_seconds, Ordering::SeqCst);
        }
        self.inner.get(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, KvError> {
        self.inner.scan(scan).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), KvError> {
        self.inner.commit(batch).await
    }
}

#[tokio::test]
async fn a_lease_that_was_renewed_while_it_was_read_is_not_taken_over_early() {
    let kv = MemoryKv::new();
    let duration = Duration::from_secs(20);
    let at = Duration::from_secs;
    let mut a = Lease::new(meta_over(&kv), "repair", "a", duration);
    a.poll(|| at(0)).await.unwrap();
    let clock_seconds = Arc::new(AtomicU64::new(0));
    let slow = SlowFirstRead {
        inner: kv.clone(),
        renewing: Mutex::new(Some(a)),
        until_seconds: 12,
        clock_seconds: Arc::clone(&clock_seconds),
    };
    let slow = Meta::new(Arc::new(slow), MasterKey::new([7; 32]));
    let mut b = Lease::new(slow, "repair", "b", duration);
    let now = || at(clock_seconds.load(Ordering::SeqCst));
    assert_eq!(b.poll(now).await.unwrap(), LeaseState::Elsewhere);
    assert_eq!(b.poll(|| at(20)).await.unwrap(), LeaseState::Elsewhere);
    assert!(matches!(
        b.poll(|| at(32)).await.unwrap(),
        LeaseState::Held { .. }
    ));
}

#[tokio::test]
async fn the_cluster_is_initialized_once_and_knows_its_disks() {
    let meta = meta();
    let record = |byte| ClusterRecord {
        cluster_id: ClusterId([byte; 16]),
        geometry: Coding::Erasure { data: 4, parity: 2 },
        created_at_ms: 1,
    };
    assert_eq!(meta.init_cluster(&record(1)).await.unwrap(), record(1));
    assert_eq!(meta.init_cluster(&record(2)).await.unwrap(), record(1));
    let mut disk = DiskRecord {
        id: DiskId([1; 16]),
        node: DiskNode::Url("http://127.0.0.1:1".to_owned()),
        path: "/data".to_owned(),
        host: "h".to_owned(),
        zone: "z".to_owned(),
        state: DiskState::Active,
        added_at_ms: 1,
    };
    meta.put_disk(&disk).await.unwrap();
    disk.state = DiskState::Draining;
    meta.put_disk(&disk).await.unwrap();
    assert_eq!(meta.disks().await.unwrap(), [disk.clone()]);
    meta.remove_disk(disk.id).await.unwrap();
    assert!(meta.disks().await.unwrap().is_empty());
}
