//! The bytes of every record, as they were first released. A line here is never changed: a record that gets a new
//! layout gets a new format version and a new line, and the old bytes stay readable.

use std::fmt::Debug;

use proptest::prelude::*;

use super::*;
use crate::codec::{Record, decode, encode};
use crate::error::MetaError;
use crate::ids::{
    AccessKey, BucketId, BucketName, CanonicalId, ClusterId, DataId, DiskId, Email, ManifestId,
    ObjectKey, PartNumber, UploadId, UserName, VersionId, WriteId,
};

/// `record` is written as these bytes, and they are read as `record`.
#[track_caller]
fn golden<R: Record + PartialEq + Debug>(record: &R, hex_bytes: &str) {
    let hex_bytes: String = hex_bytes.split_whitespace().collect();
    assert_eq!(hex::encode(encode(record)), hex_bytes, "{}", R::NAME);
    let bytes = hex::decode(hex_bytes).unwrap();
    assert_eq!(&decode::<R>(&bytes).unwrap(), record);
    assert!(
        decode::<R>(&[bytes.as_slice(), &[0]].concat()).is_err(),
        "left-over bytes are damage"
    );
    assert!(
        decode::<R>(&bytes[..bytes.len() - 1]).is_err(),
        "missing bytes are damage"
    );
    assert!(
        decode::<R>(&[&[99], &bytes[1..]].concat()).is_err(),
        "unknown versions are refused"
    );
}

/// These bytes, which are not written any more, are read as `record`.
#[track_caller]
fn golden_of_old<R: Record + PartialEq + Debug>(record: &R, hex_bytes: &str) {
    let bytes = hex::decode(hex_bytes).unwrap();
    assert_eq!(&decode::<R>(&bytes).unwrap(), record);
    assert!(
        decode::<R>(&[bytes.as_slice(), &[0]].concat()).is_err(),
        "left-over bytes are damage"
    );
    assert!(
        decode::<R>(&bytes[..bytes.len() - 1]).is_err(),
        "missing bytes are damage"
    );
}

fn bucket() -> BucketRecord {
    BucketRecord {
        id: BucketId([1; 8]),
        name: BucketName::parse("photos").unwrap(),
        owner: CanonicalId([2; 32]),
        created_at_ms: 1_700_000_000_000,
        region: "us-east-1".to_owned(),
        versioning: Versioning::Enabled,
        state: BucketState::Live,
    }
}

fn small_object() -> ObjectRecord {
    ObjectRecord {
        version: VersionId::Null,
        sequence: 1_700_000_000_000,
        write_id: WriteId([3; 8]),
        kind: ObjectKind::Object,
        size_bytes: 4096,
        etag: "000102030405060708090a0b0c0d0e0f".to_owned(),
        last_modified_ms: 1_700_000_000_000,
        owner: CanonicalId([2; 32]),
        storage_class: "STANDARD".to_owned(),
        headers: SystemHeaders {
            content_type: Some("text/css".to_owned()),
            ..SystemHeaders::default()
        },
        user_metadata: Vec::new(),
        tags: Vec::new(),
        checksum: Some(ObjectChecksum {
            algorithm: ChecksumAlgorithm::Crc64Nvme,
            kind: ChecksumKind::FullObject,
            value: vec![4; 8],
            part_count: None,
        }),
        body: ObjectBody::Single(DataId([5; 16])),
    }
}

fn full_object() -> ObjectRecord {
    let text = |text: &str| Some(text.to_owned());
    ObjectRecord {
        version: VersionId::Id([6; 16]),
        etag: "000102030405060708090a0b0c0d0e0f-3".to_owned(),
        storage_class: "GLACIER".to_owned(),
        headers: SystemHeaders {
            content_type: text("a"),
            cache_control: text("b"),
            content_disposition: text("c"),
            content_encoding: text("d"),
            content_language: text("e"),
            expires: text("f"),
            website_redirect_location: text("g"),
        },
        user_metadata: vec![("k".to_owned(), "v".to_owned())],
        tags: vec![("t".to_owned(), "u".to_owned())],
        checksum: Some(ObjectChecksum {
            algorithm: ChecksumAlgorithm::Sha256,
            kind: ChecksumKind::Composite,
            value: vec![7; 32],
            part_count: Some(3),
        }),
        body: ObjectBody::Parts {
            manifest: ManifestId([8; 16]),
            part_count: 3,
        },
        ..small_object()
    }
}

fn delete_marker() -> ObjectRecord {
    ObjectRecord {
        kind: ObjectKind::DeleteMarker,
        size_bytes: 0,
        etag: String::new(),
        headers: SystemHeaders::default(),
        checksum: None,
        body: ObjectBody::Empty,
        ..small_object()
    }
}

fn chunks() -> DataChunks {
    let disk = |byte| Some(DiskId([byte; 16]));
    DataChunks::pack(&[
        ChunkRecord {
            size_bytes: 4 << 20,
            coding: Coding::Erasure { data: 2, parity: 1 },
            shards: vec![disk(9), None, disk(8)],
        },
        ChunkRecord {
            size_bytes: 100,
            coding: Coding::Copies { count: 1 },
            shards: vec![disk(9)],
        },
    ])
}

#[test]
fn buckets() {
    golden(
        &bucket(),
        "
        0101010101010101010670686f746f73020202020202020202020202020202020202020202020202
        020202020202020280d095ffbc310975732d656173742d310100",
    );
    golden(
        &BucketRecord {
            versioning: Versioning::Never,
            state: BucketState::Deleting { attempt: 7 },
            ..bucket()
        },
        "
        0101010101010101010670686f746f73020202020202020202020202020202020202020202020202
        020202020202020280d095ffbc310975732d656173742d31000107",
    );
}

#[test]
fn objects() {
    golden(
        &small_object(),
        "
        010080d095ffbc31030303030303030300802000000102030405060708090a0b0c0d0e0f80d095ff
        bc310202020202020202020202020202020202020202020202020202020202020202000100087465
        78742f6373730000010200080404040404040404000105050505050505050505050505050505",
    );
    golden(
        &full_object(),
        "
        01010606060606060606060606060606060680d095ffbc3103030303030303030080200100010203
        0405060708090a0b0c0d0e0f0380d095ffbc31020202020202020202020202020202020202020202
        020202020202020202020207474c4143494552070001610101620201630301640401650501660601
        6701016b017601017401750104012007070707070707070707070707070707070707070707070707
        070707070707070103020808080808080808080808080808080803",
    );
    golden(
        &delete_marker(),
        "
        010080d095ffbc3103030303030303030100020080d095ffbc310202020202020202020202020202
        020202020202020202020202020202020202000000000000",
    );
    golden(
        &KeyHead {
            sequence_max: 300,
            null_sequence: Some(200),
        },
        "01ac0201c801",
    );
    let part = ManifestPart {
        part_number: PartNumber::new(1).unwrap(),
        size_bytes: 5 << 20,
        data_id: Some(DataId([5; 16])),
        etag_md5: [1; 16],
        checksum: Some(vec![2; 4]),
    };
    let empty = ManifestPart {
        part_number: PartNumber::new(300).unwrap(),
        size_bytes: 0,
        data_id: None,
        etag_md5: [3; 16],
        checksum: None,
    };
    golden(
        &ManifestParts {
            parts: vec![part, empty],
        },
        "
        0102018080c002010505050505050505050505050505050501010101010101010101010101010101
        010402020202ac0200000303030303030303030303030303030300",
    );
}

#[test]
fn data() {
    let head = DataHead {
        size_bytes: (4 << 20) + 100,
        owner: DataOwner {
            bucket: BucketId([1; 8]),
            key: ObjectKey::parse("k").unwrap(),
            part: None,
        },
        created_at_ms: 1_700_000_000_000,
        chunk_count: 2,
        chunks: chunks(),
    };
    golden(
        &head,
        "
        01e48080020101010101010101016b0080d095ffbc31020208080808080808080808080808080808
        090909090909090909090909090909090280808002000201030200016401010102",
    );
    let upload_id = UploadId([4; 16]);
    let part = Some(PartOwner {
        upload_id,
        part_number: PartNumber::new(2).unwrap(),
    });
    let owner = DataOwner {
        part,
        ..head.owner.clone()
    };
    golden(
        &DataHead { owner, ..head },
        "
        01e48080020101010101010101016b01040404040404040404040404040404040280d095ffbc3102
        02080808080808080808080808080808080909090909090909090909090909090902808080020002
        01030200016401010102",
    );
    golden(
        &chunks(),
        "
        01020808080808080808080808080808080809090909090909090909090909090909028080800200
        0201030200016401010102",
    );
}

#[test]
fn uploads() {
    let upload = UploadRecord {
        id: UploadId([4; 16]),
        owner: CanonicalId([2; 32]),
        initiator: CanonicalId([3; 32]),
        initiated_ms: 1_700_000_000_000,
        storage_class: "STANDARD".to_owned(),
        headers: SystemHeaders::default(),
        user_metadata: Vec::new(),
        tags: Vec::new(),
        checksum: Some((ChecksumAlgorithm::Crc32, ChecksumKind::FullObject)),
    };
    golden(
        &upload,
        "
        01040404040404040404040404040404040202020202020202020202020202020202020202020202
        02020202020202020203030303030303030303030303030303030303030303030303030303030303
        0380d095ffbc3100000000010000",
    );
    let part = PartRecord {
        part_number: PartNumber::new(2).unwrap(),
        size_bytes: 5 << 20,
        etag_md5: [1; 16],
        checksum: None,
        data_id: Some(DataId([5; 16])),
        last_modified_ms: 1_700_000_000_000,
    };
    golden(
        &part,
        "
        01028080c00201010101010101010101010101010101000105050505050505050505050505050505
        80d095ffbc31",
    );
    let completed = CompletedRecord {
        bucket: BucketId([1; 8]),
        key: ObjectKey::parse("k").unwrap(),
        parts_digest: parts_digest([(PartNumber::new(1).unwrap(), [1; 16])]),
        completed_at_ms: 1_700_000_000_000,
        object: delete_marker(),
    };
    golden(
        &completed,
        "
        010101010101010101016beb1a85a4f89cfb251b3d1bc452e5c051fa3322050826fbfaa4b944af16
        d369fa80d095ffbc310080d095ffbc3103030303030303030100020080d095ffbc31020202020202
        0202020202020202020202020202020202020202020202020202000000000000",
    );
}

#[test]
fn queues() {
    golden(
        &DeletionRecord {
            enqueued_by: WriteId([3; 8]),
        },
        "010303030303030303",
    );
    golden(
        &RepairRecord {
            enqueued_at_ms: 300,
            ticket: WriteId([3; 8]),
            reason: RepairReason::Missing,
        },
        "02ac02030303030303030300",
    );
    golden(
        &RepairRecord {
            enqueued_at_ms: 300,
            ticket: WriteId([3; 8]),
            reason: RepairReason::LookedInto,
        },
        "02ac02030303030303030302",
    );
    golden_of_old(
        &RepairRecord {
            enqueued_at_ms: 300,
            ticket: WriteId([3; 8]),
            reason: RepairReason::Suspected,
        },
        "01ac020303030303030303",
    );
}

#[test]
fn accounts() {
    let name = UserName::parse("anna").unwrap();
    let user = UserRecord {
        name: name.clone(),
        canonical_id: CanonicalId([2; 32]),
        email: Some(Email::parse("a@b").unwrap()),
        display_name: "Anna".to_owned(),
        created_at_ms: 300,
        access_keys: vec![AccessKey::parse("KEY").unwrap()],
    };
    golden(
        &user,
        "
        0104616e6e6102020202020202020202020202020202020202020202020202020202020202020103
        61406204416e6e61ac0201034b4559",
    );
    golden(&name, "0104616e6e61");
    let key = SealedKey {
        user: CanonicalId([2; 32]),
        user_name: name,
        created_at_ms: 300,
        nonce: [1; 24],
        sealed_secret: vec![9; 4],
    };
    golden(
        &key,
        "
        01020202020202020202020202020202020202020202020202020202020202020204616e6e61ac02
        0101010101010101010101010101010101010101010101010409090909",
    );
    golden(
        &KeyCheck {
            nonce: [1; 24],
            sealed: vec![9; 4],
        },
        "010101010101010101010101010101010101010101010101010409090909",
    );
}

#[test]
fn cluster() {
    let record = ClusterRecord {
        cluster_id: ClusterId([1; 16]),
        geometry: Coding::Erasure { data: 4, parity: 2 },
        created_at_ms: 300,
    };
    golden(&record, "0101010101010101010101010101010101000402ac02");
    golden(&RebuildRecord { at_ms: 300 }, "01ac02");
    let disk = DiskRecord {
        id: DiskId([9; 16]),
        node: DiskNode::Url("http://n".to_owned()),
        path: "/d".to_owned(),
        host: "h".to_owned(),
        zone: "z".to_owned(),
        state: DiskState::Draining,
        added_at_ms: 300,
    };
    golden(
        &disk,
        "01090909090909090909090909090909090108687474703a2f2f6e022f640168017a01ac02",
    );
    golden(
        &LeaseRecord {
            holder: "h".to_owned(),
            renewals: 300,
        },
        "010168ac02",
    );
}

#[test]
fn staged() {
    let staged = StagedBytes {
        payload: "abc".into(),
        manifest: "m".into(),
    };
    golden(
        &StagedRecord::new(&staged),
        "01 6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85 03616263 016d",
    );
    assert_eq!(StagedRecord::new(&staged).verified().unwrap(), staged);
}

#[test]
fn staged_bytes_that_changed_are_damage() {
    let staged = StagedBytes {
        payload: "abc".into(),
        manifest: "m".into(),
    };
    let mut bytes = encode(&StagedRecord::new(&staged)).to_vec();
    let payload_at = 1 + 32 + 1;
    bytes[payload_at] ^= 1;
    let changed = decode::<StagedRecord>(&bytes).unwrap().verified();
    assert!(matches!(changed, Err(MetaError::Corrupt { .. })));
}

#[test]
fn a_small_objects_record_is_small() {
    assert!(
        encode(&small_object()).len() <= 128,
        "{}",
        encode(&small_object()).len()
    );
}

#[test]
fn etags_come_back_exactly_as_they_were() {
    for etag in [
        "",
        "abc",
        "AB02030405060708090a0b0c0d0e0f00",
        "000102030405060708090a0b0c0d0e0f-03",
        "000102030405060708090a0b0c0d0e0f-70000",
        "é-1",
    ] {
        let record = ObjectRecord {
            etag: etag.to_owned(),
            ..small_object()
        };
        assert_eq!(decode::<ObjectRecord>(&encode(&record)).unwrap(), record);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200), is_current: bool) {
        let mut bytes = body;
        if let Some(version) = bytes.first_mut().filter(|_| is_current) {
            *version = 1;
        }
        drop((decode::<BucketRecord>(&bytes), decode::<ObjectRecord>(&bytes), decode::<KeyHead>(&bytes)));
        drop((decode::<ManifestParts>(&bytes), decode::<UploadRecord>(&bytes), decode::<PartRecord>(&bytes)));
        drop((decode::<CompletedRecord>(&bytes), decode::<DeletionRecord>(&bytes), decode::<RepairRecord>(&bytes)));
        drop((decode::<UserRecord>(&bytes), decode::<SealedKey>(&bytes), decode::<KeyCheck>(&bytes)));
        drop((decode::<ClusterRecord>(&bytes), decode::<DiskRecord>(&bytes), decode::<LeaseRecord>(&bytes)));
        drop(decode::<DataChunks>(&bytes).map(DataChunks::unpack));
        drop(decode::<DataHead>(&bytes).map(|head| head.chunks.unpack()));
        drop(decode::<StagedRecord>(&bytes).map(StagedRecord::verified));
    }

    #[test]
    fn a_flipped_bit_never_panics(at in 0usize..1000, bit in 0u8..8) {
        for record in [encode(&full_object()), encode(&chunks()), encode(&bucket())] {
            let mut bytes = record.to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            drop((decode::<ObjectRecord>(&bytes), decode::<BucketRecord>(&bytes)));
            drop(decode::<DataChunks>(&bytes).map(DataChunks::unpack));
        }
    }
}
