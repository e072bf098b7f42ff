//! The life of an invitation: limits, mails that do not go out, its end.

use std::num::NonZeroU32;
use std::time::Duration;

use bindery::config::{Config, MailTransport, Rate, SmtpSecurity};
use serde_json::Value;

use super::{figure, monitored, rows};
use crate::support::client::{Answer, send};
use crate::support::invites::{JoinLink, ROOM, STORE_INVITE, invite, is_valid};
use crate::support::server::TestServer;
use crate::support::smtp::{Behaviour, Fault, SmtpServer, Stage};

const BOB: &str = "bob@example.org";
const ALICE: &str = "@alice:hs.example";
const DAY: Duration = Duration::from_hours(24);

/// So often an hour.
pub fn rate(count: u32) -> Vec<Rate> {
    vec![Rate::new(
        NonZeroU32::new(count).unwrap(),
        Duration::from_hours(1),
    )]
}

async fn ask(server: &TestServer, request: &Value) -> Answer {
    server.client.post(STORE_INVITE, request.clone()).await
}

async fn ask_from(server: &TestServer, source: &str, request: &Value) -> Answer {
    let asking = server.client.request(reqwest::Method::POST, STORE_INVITE);
    send(asking.header("x-forwarded-for", source).json(request)).await
}

#[tokio::test]
async fn an_invitation_ends_and_is_forgotten_some_time_later() {
    let server = monitored(|_| {}).await;
    let stored = ask(&server, &invite(BOB, ROOM, ALICE)).await.ok();
    let link = JoinLink::of(&server.only_mail());
    server.advance((180 * DAY).saturating_sub(Duration::from_millis(1)));
    assert!(is_valid(&server, &stored, 1).await);
    link.join(&server, "@bob:hs.example").await.ok();
    server.advance(Duration::from_millis(1));
    assert!(!is_valid(&server, &stored, 1).await);
    assert!(
        is_valid(&server, &stored, 0).await,
        "the server's key goes on"
    );
    let answer = link.join(&server, "@bob:hs.example").await;
    answer.refused(404, "M_UNRECOGNIZED");

    let state = |state| format!("bindery_invitations{{state=\"{state}\"}}");
    assert_eq!(server.sweeper.invitations().await.unwrap(), 0);
    assert_eq!(figure(&server, &state("expired")).await, "1");
    assert_eq!(figure(&server, &state("pending")).await, "0");
    let again = ask(&server, &invite(BOB, ROOM, ALICE)).await.ok();
    assert_ne!(
        again["token"], stored["token"],
        "what has ended is not the same one"
    );
    server.advance(14 * DAY);
    assert_eq!(server.sweeper.invitations().await.unwrap(), 1);
    assert_eq!(figure(&server, &state("expired")).await, "0");
    assert_eq!(figure(&server, &state("pending")).await, "1");
    for table in ["invitations", "invitation by token", "ephemeral keys"] {
        assert_eq!(rows(&server, table).await, "1", "{table}");
    }
}

#[tokio::test]
async fn a_new_length_of_life_is_for_new_invitations() {
    let mut server = monitored(|_| {}).await;
    let long = ask(&server, &invite(BOB, ROOM, ALICE)).await.ok();
    server.reload(|config| config.invites.expire_after = DAY);
    let short = ask(&server, &invite("carol@example.org", ROOM, ALICE))
        .await
        .ok();
    assert!(
        server
            .mails()
            .pop()
            .unwrap()
            .text()
            .contains("holds for one day")
    );
    server.advance(DAY);
    assert!(!is_valid(&server, &short, 1).await);
    assert!(is_valid(&server, &long, 1).await);
}

#[tokio::test]
async fn an_address_a_sender_and_a_source_may_do_only_so_much() {
    let limits = |change: fn(&mut Config)| {
        monitored(move |config| {
            config.api.v1_sources.clear();
            change(config);
        })
    };
    // Five a day to one address, whoever invites, and the same invitation too.
    let server = limits(|_| {}).await;
    for number in 0..4 {
        let sender = format!("@user{number}:hs.example");
        ask(&server, &invite(BOB, ROOM, &sender)).await.ok();
    }
    let last = invite(BOB, ROOM, "@last:hs.example");
    ask(&server, &last).await.ok();
    ask(&server, &last).await.refused(429, "M_LIMIT_EXCEEDED");
    let other = invite(BOB, "!other:hs.example", ALICE);
    ask(&server, &other).await.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(
        (
            rows(&server, "invitations").await.as_str(),
            server.mails().len()
        ),
        ("5", 5)
    );
    let limited = "bindery_limits_hit_total{action=\"invites_by_address\"}";
    assert_eq!(figure(&server, limited).await, "2");
    server.advance(DAY);
    ask(&server, &last).await.ok();

    let server = limits(|config| config.limits.invites_by_sender = rate(2)).await;
    for number in 0..2 {
        let address = format!("user{number}@example.org");
        ask_from(&server, "192.0.2.1", &invite(&address, ROOM, ALICE))
            .await
            .ok();
    }
    let one = invite(BOB, ROOM, ALICE);
    ask_from(&server, "192.0.2.2", &one)
        .await
        .refused(429, "M_LIMIT_EXCEEDED");
    let other = invite(BOB, ROOM, "@carol:hs.example");
    ask_from(&server, "192.0.2.1", &other).await.ok();

    let server = limits(|config| config.limits.email_by_ip = rate(2)).await;
    for number in 0..2 {
        let (address, sender) = (
            format!("u{number}@example.org"),
            format!("@u{number}:hs.example"),
        );
        ask_from(&server, "192.0.2.1", &invite(&address, ROOM, &sender))
            .await
            .ok();
    }
    ask_from(&server, "192.0.2.1", &one)
        .await
        .refused(429, "M_LIMIT_EXCEEDED");
    ask_from(&server, "192.0.2.2", &one).await.ok();
}

/// A server that sends by a mail server.
async fn by_smtp(smtp: &SmtpServer) -> TestServer {
    let port = smtp.port();
    monitored(|config| {
        config.email.transport = MailTransport::Smtp;
        "127.0.0.1".clone_into(&mut config.email.smtp.host);
        config.email.smtp.port = port;
        config.email.smtp.security = SmtpSecurity::None;
        config.email.smtp.timeout = Duration::from_secs(2);
    })
    .await
}

fn refusing(reply: &'static str) -> (Stage, Fault) {
    (Stage::Rcpt, Fault::Say(reply))
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_leaves_no_invitation() {
    let mut smtp = SmtpServer::start(Behaviour::default()).await;
    let server = by_smtp(&smtp).await;
    smtp.behave(|behaviour| behaviour.fault = Some(refusing("550 5.1.1 no such user")));
    let request = invite(BOB, ROOM, ALICE);
    ask(&server, &request)
        .await
        .refused(400, "M_EMAIL_SEND_ERROR");
    for table in [
        "invitations",
        "invitation by token",
        "ephemeral keys",
        "outbox",
    ] {
        assert_eq!(rows(&server, table).await, "0", "{table}");
    }
    assert!(smtp.is_empty());

    // One that was there before stays as it was.
    smtp.behave(|behaviour| behaviour.fault = None);
    let stored = ask(&server, &request).await.ok();
    smtp.next().await;
    smtp.behave(|behaviour| behaviour.fault = Some(refusing("550 5.1.1 no such user")));
    ask(&server, &request)
        .await
        .refused(400, "M_EMAIL_SEND_ERROR");
    assert!(is_valid(&server, &stored, 1).await);
    smtp.behave(|behaviour| behaviour.fault = None);
    assert_eq!(ask(&server, &request).await.ok(), stored);
}

#[tokio::test]
async fn a_mail_that_fails_for_now_waits_and_its_invitation_is_there() {
    let smtp = SmtpServer::start(Behaviour::default()).await;
    let server = by_smtp(&smtp).await;
    for (number, fault) in [refusing("451 4.3.0 later"), (Stage::Connect, Fault::Drop)]
        .into_iter()
        .enumerate()
    {
        smtp.behave(|behaviour| behaviour.fault = Some(fault));
        let request = invite(&format!("user{number}@example.org"), ROOM, ALICE);
        let stored = ask(&server, &request).await.ok();
        assert!(is_valid(&server, &stored, 1).await);
        let waiting = (number + 1).to_string();
        assert_eq!(rows(&server, "outbox").await, waiting);
        assert_eq!(rows(&server, "invitations").await, waiting);
    }
    assert!(smtp.is_empty());
}
