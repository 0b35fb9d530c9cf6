//! Administration over HTTP: users, keys and the state of the cluster, for the root credentials alone.
//!
//! [`admin_api`](crate::admin_api) holds the documents, [`routes`] finds the handler; what a handler refuses is a [`refusal::Refusal`], which is
//! JSON rather than S3's XML.

mod keys;
mod refusal;
mod routes;
pub(crate) mod status;
mod users;

pub(crate) use routes::respond;
