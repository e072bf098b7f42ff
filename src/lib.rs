//! Bindery, a Matrix identity server in one static binary.
//!
//! The library is the server; the binary in `main.rs` only parses arguments and reports errors. Modules form rows, and a
//! module names only modules of lower rows (`tests/architecture.rs` checks it):
//!
//! | row | modules | may name |
//! |---|---|---|
//! | 0 | [`types`], [`clock`] | nothing of ours |
//! | 1 | [`random`], [`config`], [`signing`], [`templates`], [`net`], [`metrics`] | row 0; of `config` only their own section |
//! | 2 | [`storage`], [`mail`], [`sms`], [`federation`], [`limits`] | rows 0 and 1; sled only in `storage`, lettre only in `mail`, the HTTP client only in `net` |
//! | 3 | [`services`] | rows 0 to 2; no actix, no whole `Config`; no service names another service |
//! | 4 | [`http`] | rows 0, 1, 3 and `limits` |
//! | 5 | [`app`] | everything below; the only place where pieces are put together |
//! | 6 | [`cli`], `main` | `app`, `config`, and what offline commands need |

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod federation;
pub mod http;
pub mod limits;
pub mod mail;
pub mod metrics;
pub mod net;
pub mod random;
pub mod services;
pub mod signing;
pub mod sms;
pub mod storage;
pub mod templates;
pub mod types;
