//! The MCP front end: protocol in, [`crate::service::Service`] calls, protocol out.

mod ask;
mod server;
mod tools;
mod transport;

pub use server::{Ended, ServeError, serve_stdio};
