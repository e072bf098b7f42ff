//! Measures the server against what the machine could do at best, in the same run.
//!
//! `cargo bench` runs every group, `cargo bench -- NAME` the groups with this in their name. `docs/performance.md` says
//! what each figure means.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measurement fails by a panic, and reads the machine's own clock"
)]

// The tests' own homeserver serves here too.
#[path = "../../tests/api/support/authority.rs"]
#[expect(dead_code, reason = "the tests make it go wrong in more ways")]
mod authority;
mod data;
mod disk;
#[path = "../../tests/api/support/dns.rs"]
#[expect(dead_code, reason = "the tests make it go wrong in more ways")]
mod dns;
mod federation;
#[path = "../../tests/api/support/homeserver.rs"]
#[expect(dead_code, reason = "the tests make it go wrong in more ways")]
mod homeserver;
mod http;
mod invitations;
mod journal;
mod limits;
mod load;
mod lookup;
mod memory;
mod outbox;
mod report;
mod servers;
mod signing;
mod storage;

use std::process::ExitCode;

/// The groups, in the order in which they run.
const GROUPS: [(&str, fn()); 10] = [
    ("signing", signing::run),
    ("limits", limits::run),
    ("store", storage::run),
    ("journal", journal::run),
    ("http", http::run),
    ("hashed", lookup::run),
    ("federation", federation::run),
    ("invitations", invitations::run),
    ("outbox", outbox::run),
    ("memory", memory::run),
];

fn main() -> ExitCode {
    if data::fill_for_parent() {
        return ExitCode::SUCCESS;
    }
    // Cargo itself passes `--bench`.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let chosen: Vec<_> = GROUPS
        .into_iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|part| name.contains(part)))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
        eprintln!("no such group; there are {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    report::head();
    for (name, group) in chosen {
        report::group(name);
        group();
    }
    ExitCode::SUCCESS
}
