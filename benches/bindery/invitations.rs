//! Storing invitations beside asking for the token of an address: both write once, and hand one mail to the disk.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::data;
use super::load::{self, Load};
use super::report::{self, Aim, Pair, Unit};
use super::servers::Server;

/// More than are asked for with so many connections: what was asked for before costs neither a write nor a mail.
const REQUESTS: usize = 100_000;

const CONNECTIONS: [usize; 2] = [1, 16];
const TURN: Duration = Duration::from_millis(500);

const V1: &str = "/_matrix/identity/api/v1";

/// Runs the group.
pub fn run() {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = Server::bindery(folder.path());
    for (turn, connections) in CONNECTIONS.into_iter().enumerate() {
        let numbers = turn * REQUESTS..(turn + 1) * REQUESTS;
        let invites: Vec<Vec<u8>> = numbers.clone().map(invite).collect();
        let tokens: Vec<Vec<u8>> = numbers.map(request_token).collect();
        let mut subject = Load::asleep(server.address, connections, &invites);
        let mut ceiling = Load::asleep(server.address, connections, &tokens);
        let pair = Pair::measure(Unit::PerSecond, || subject.run(TURN), || ceiling.run(TURN));
        assert!(
            subject.sent < REQUESTS && ceiling.sent < REQUESTS,
            "a request came twice"
        );
        let name = format!("store-invite beside requestToken, {connections} at once");
        report::pair(&name, Unit::PerSecond, pair, Aim::Ratio(0.7));
    }
}

fn invite(number: usize) -> Vec<u8> {
    let body = json!({
        "medium": "email", "address": data::address(number), "room_id": "!attic:hs.example",
        "sender": "@alice:hs.example", "room_name": "Attic", "sender_display_name": "Alice",
    });
    load::post(&format!("{V1}/store-invite"), &body.to_string())
}

fn request_token(number: usize) -> Vec<u8> {
    let body = json!({
        "email": data::address(number), "client_secret": data::CLIENT_SECRET, "send_attempt": 1,
    });
    load::post(
        &format!("{V1}/validate/email/requestToken"),
        &body.to_string(),
    )
}
