//! Agree on a log.
