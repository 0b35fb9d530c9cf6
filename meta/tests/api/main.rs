//! The typed metadata API, driven as its users drive it, over the in-memory store.

#[cfg(test)]
mod accounts_and_cluster;
#[cfg(test)]
mod damaged_records;
#[cfg(test)]
mod data_and_queues;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod listing_model;
#[cfg(test)]
mod races;
#[cfg(test)]
mod staging;
#[cfg(test)]
mod support;
#[cfg(test)]
mod versions_model;
