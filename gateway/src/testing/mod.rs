//! A whole gateway in one process, and a small client that signs for it: what tests of requests stand on.
//!
//! Behind the cargo feature `testing`, so that whole-system tests reuse it and released binaries do not carry it.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "this is a part of tests: what does not work shall stop them"
)]

mod client;
mod clock;
mod in_process;
mod server;

pub use client::{Answer, Client, Payload, RequestBuilder, now};
pub use clock::MovedClock;
pub use in_process::ask;
pub use server::{ROOT_ACCESS_KEY, ROOT_SECRET_KEY, TestServer, TestServerOptions};
