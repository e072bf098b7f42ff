//! Whether homeservers are reached: they vouch for their users, and sign for them.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::Report;
use crate::app::{Deps, StartError};
use crate::config::Config;
use crate::federation::{Federation, FederationError, Outcome};
use crate::types::ServerName;

const CHECK: &str = "homeserver";

/// Finds each and fetches its keys, as a registration or a signed unbind would.
pub(super) async fn look(
    config: &Config,
    deps: &Deps,
    asked: &[ServerName],
    report: &mut Report<'_>,
) -> Result<(), StartError> {
    if asked.is_empty() {
        report.ok(CHECK, "all are served; name one by --homeserver to try it");
        return Ok(());
    }
    let federation = Federation::with_ports(
        &config.federation,
        Arc::clone(&deps.clock),
        Box::new(|_| Ok(())),
        Handle::current(),
        deps.homeserver_ports,
    )?;
    for server in asked {
        match federation.reach(server).await {
            Ok(()) => report.ok(CHECK, format!("`{server}` is found and shows its keys")),
            Err(error) => report.wrong(CHECK, format!("{error}: {}", advice(&error))),
        }
    }
    Ok(())
}

fn advice(error: &FederationError) -> &'static str {
    match error.outcome() {
        Outcome::Refused => "if it is your own, except its address in federation.allow_ips",
        Outcome::BadAnswer => "look at its /_matrix/key/v2/server, and what its proxy makes of it",
        _ => {
            "see whether it is up, whether the federation finds it by this name, and whether a firewall \
             is in between"
        }
    }
}
