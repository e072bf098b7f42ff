//! The server as its clients see it: one file a section of the specification.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic, and its helpers are read where they are used"
)]

mod answers;
mod associations;
mod bodies;
mod email;
mod keys;
mod limits;
mod lookup;
mod mail;
mod pages;
mod status;
mod support;
mod templates;
