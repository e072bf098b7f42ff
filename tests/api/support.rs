//! What the tests share: a server of their own, a client that speaks plain HTTP to it, a mailbox, a mail server, and an
//! authority that signs certificates.

pub mod authority;
pub mod client;
pub mod mailbox;
pub mod server;
pub mod smtp;
