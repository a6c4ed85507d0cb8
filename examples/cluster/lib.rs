#![doc = include_str!("README.md")]
#![forbid(unsafe_code)]

mod app;
pub mod cli;
pub mod console;
pub mod control;
pub mod directory;
pub mod node;
pub mod resp;
pub mod store;
pub mod supervisor;
pub mod tour;

pub use app::main;
