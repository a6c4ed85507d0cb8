//! What the tests of several crates share: clusters for the simulator, and the client histories they leave.
#![forbid(unsafe_code)]

pub mod raft;

/// The front page's example is compiled and run with the other doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FrontPage;
