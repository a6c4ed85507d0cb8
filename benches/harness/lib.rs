//! Rows that measure a crate beside its peers.
