//! The Redis protocol, versions 2 and 3, as servers speak it.

mod admin;
mod backend;
mod command;
mod connection;
mod info;
mod parser;
mod reply;
mod server;
mod table;

pub use backend::{Backend, Found, Query, Refused, Report};
pub use parser::{ARGS_MAX, BULK_BYTES_MAX, LINE_BYTES_MAX, Parser, ProtocolError, REQUEST_BYTES_MAX};
pub use reply::{Protocol, Token};
pub use server::{CLIENTS_MAX, Server};

#[cfg(test)]
mod tests;
