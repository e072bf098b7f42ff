//! Invitation storage, and ephemeral invitation signing.

mod delivery;
mod life;
mod mails;
mod requests;
mod signing;

use std::net::SocketAddr;

use bindery::config::{Config, Listen};

use crate::support::server::TestServer;

/// A server that is monitored, so that tests see what is stored.
async fn monitored(change: impl FnOnce(&mut Config)) -> TestServer {
    TestServer::start_with(|config| {
        config.metrics.listen = Some(Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))));
        change(config);
    })
    .await
}

/// A figure of the metrics.
async fn figure(server: &TestServer, name: &str) -> String {
    let monitoring = server.monitoring.as_ref().unwrap();
    let text = monitoring.get("/metrics", &[]).await.text;
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned()
}

/// How many rows a table has.
async fn rows(server: &TestServer, table: &str) -> String {
    figure(server, &format!("bindery_store_rows{{table=\"{table}\"}}")).await
}
