//! Append records that survive a crash.
