//! XML in and out: a bounded parser for the documents clients send, and a writer for those they get.

mod element;
mod writer;

pub use element::DOCUMENT_SIZE_BYTES_MAX;
pub(crate) use element::{Element, XmlError};
pub use writer::{XmlWriter, location_constraint, versioning_configuration};
