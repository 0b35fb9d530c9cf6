//! Small writes that are acknowledged after one round of syncs instead of two.
//!
//! A write ordinarily waits twice: for the shards, then for the commit that names them, because a reference must
//! not be durable before what it refers to. A few small writes at a time are *staged* instead: their bytes travel in
//! the commit itself, which is durable on m + 1 disks as the shards would be, and get their shards moments later,
//! many at a time. Under load the ordinary way costs less, since its rounds are shared by many writes; so only a
//! few are staged at once.
//!
//! Invariants: a staged write was committed with its bytes, or left nothing; its bytes leave the metadata in the
//! commit that names its shards, which are durable then. What this process forgets, by a crash or because disks were
//! away, is found in the metadata and placed later: [`Engine::unstage_abandoned_once`](super::Engine).

mod unstage;
mod waiting;

pub(crate) use waiting::{StagedWrite, Staging};
