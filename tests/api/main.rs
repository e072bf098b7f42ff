//! The server as its clients see it, and its parts against real sockets, files and mail servers: one file a section of the
//! specification.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected should stop right there"
)]

mod accounts;
mod admin;
mod answers;
mod associations;
mod bodies;
mod doctor;
mod email;
mod federation;
mod hashed_lookup;
mod invitations;
mod keys;
mod limits;
mod lookup;
mod mail;
mod metrics;
mod msisdn;
mod outbox;
mod overload;
mod pages;
mod peppers;
mod ruma;
mod sms;
mod status;
mod support;
mod templates;
mod terms;
mod tls;
mod unbind;
mod upgrade;
