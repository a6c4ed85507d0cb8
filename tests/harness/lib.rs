//! What the tests of several crates share: clusters for the simulator, and the client histories they leave.
#![forbid(unsafe_code)]

pub mod raft;
