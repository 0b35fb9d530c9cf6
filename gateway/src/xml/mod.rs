//! XML in and out: bounded parsers for request documents, typed structs for response documents.

mod writer;

pub use writer::XmlWriter;
