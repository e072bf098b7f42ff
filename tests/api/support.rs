//! What the tests share: a server of their own, a client that speaks plain HTTP to it, and a mailbox.

pub mod client;
pub mod mailbox;
pub mod server;
pub mod smtp;
