//! Configuration: file, environment and flags merge into raw text, which is parsed once into an immutable
//! value of real types.
//!
//! Every setting is one row of [`SETTINGS`]; flags, `--help`, variables, file keys and the documentation all
//! come from that row. All problems are reported together. Nothing reads the environment after start.

mod documentation;
mod origin;
mod problem;
mod processes;
mod raw;
mod reader;
mod setting;
mod shared;
mod value;

pub use documentation::documentation;
pub use origin::Origin;
pub use problem::{Problem, Problems};
pub use processes::{GatewayConfig, MetaConfig, ServeConfig, StorageNodeConfig};
pub use raw::{RawSettings, RawValue, Sources};
pub use reader::{Effective, Reader};
pub use setting::{Arity, Exposure, Process, SETTINGS, Setting};
pub use shared::{
    ClusterConfig, FrontConfig, ListenConfig, LogConfig, LogFormat, RootCredentials, TlsFiles,
};
pub use value::{ByteSize, Secret, duration};
