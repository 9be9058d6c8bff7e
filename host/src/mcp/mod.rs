//! The MCP front end: protocol in, [`crate::service::Service`] calls, protocol out.

mod ask;
mod http;
mod message;
mod progress;
mod prompts;
mod resources;
mod server;
mod subscriptions;
mod tasks;
mod tools;
mod transport;

pub use http::{Address, Door, DoorError, Keys, serve_http};
pub use server::{Ended, ServeError, Server, serve_stdio};
