//! What the tests talk to: a server of their own, a client that speaks plain HTTP to it, a mail server, mailboxes, a gateway for SMS, and an
//! authority of their own.

pub mod authority;
pub mod client;
pub mod dns;
pub mod federated;
pub mod gateway;
pub mod homeserver;
pub mod http2;
pub mod invites;
pub mod mailbox;
pub mod office;
pub mod phones;
pub mod proxy;
pub mod server;
pub mod smsbox;
pub mod smtp;
