//! Cairn's metadata: an ordered key-value contract with three verbs, and the namespace written once above it.
//!
//! Below: [`kv::KvStore`] with its backends (RocksDB with journal copies, the client of `cairn meta`, the
//! in-memory model). Above: buckets, object versions, uploads, users and keys, the deletion queue, leases and
//! the cluster map, as typed records.
//!
//! It must not know: HTTP of S3, XML, shards' bytes, storage nodes. Journal copies reach other disks through a
//! trait that the process wires up.

pub mod kv;
