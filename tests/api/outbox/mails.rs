//! Mails that the mail server did not take when they were asked for.

use std::time::Duration;

use bindery::config::{Config, MailTransport, SmtpSecurity};
use serde_json::json;

use super::{ALICE, DAY, later};
use crate::support::client::Answer;
use crate::support::mailbox::Mail;
use crate::support::server::{REQUEST_TOKEN, SUBMIT_TOKEN, TestServer};
use crate::support::smtp::{Behaviour, Fault, SmtpServer, Stage};

const GREYLISTED: (Stage, Fault) = (Stage::Rcpt, Fault::Say("451 4.7.1 greylisted"));
const REFUSED: (Stage, Fault) = (Stage::Rcpt, Fault::Say("550 5.1.1 unknown"));

fn sends_to(config: &mut Config, mail_server: &SmtpServer) {
    config.email.transport = MailTransport::Smtp;
    "localhost".clone_into(&mut config.email.smtp.host);
    config.email.smtp.port = mail_server.port();
    config.email.smtp.security = SmtpSecurity::None;
    config.email.smtp.timeout = Duration::from_millis(500);
}

/// A mail server that fails, and a server that sends its mails there.
async fn failing(fault: (Stage, Fault)) -> (SmtpServer, TestServer) {
    let mail_server = SmtpServer::start(Behaviour::default()).await;
    mail_server.behave(|behaviour| behaviour.fault = Some(fault));
    let server = TestServer::start_with(|config| sends_to(config, &mail_server)).await;
    (mail_server, server)
}

fn recovers(mail_server: &SmtpServer) {
    mail_server.behave(|behaviour| behaviour.fault = None);
}

async fn ask(server: &TestServer, send_attempt: u64) -> Answer {
    let body = json!({ "email": ALICE, "client_secret": "s", "send_attempt": send_attempt });
    server.client.post(REQUEST_TOKEN, body).await
}

#[tokio::test]
async fn a_mail_that_is_not_taken_now_is_sent_later_and_once() {
    for fault in [
        GREYLISTED,
        (Stage::Connect, Fault::Drop),
        (Stage::Rcpt, Fault::Hang),
    ] {
        let (mut mail_server, server) = failing(fault).await;
        let sid = ask(&server, 1).await.ok()["sid"].clone();
        let waiting = server.outgoing(false).await.remove(0);
        assert_eq!(waiting["kind"], "verification");
        assert_eq!(waiting["destination"], "mail");
        assert_eq!(waiting["threepid"], json!(["email", ALICE]));
        // The same attempt again sends nothing.
        assert_eq!(ask(&server, 1).await.ok()["sid"], sid);

        let server = server.restart().await;
        recovers(&mail_server);
        later(&server).await;
        let mail = Mail::parse(&mail_server.next().await.bytes);
        let body = json!({ "sid": sid, "client_secret": "s", "token": mail.token() });
        server.client.post(SUBMIT_TOKEN, body).await.ok();
        later(&server).await;
        assert!(mail_server.is_empty());
        assert!(server.outgoing(false).await.is_empty());
    }
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_is_not_kept_and_its_attempt_does_not_count() {
    let (mut mail_server, server) = failing(REFUSED).await;
    ask(&server, 1).await.refused(400, "M_EMAIL_SEND_ERROR");
    assert!(server.outgoing(false).await.is_empty());
    recovers(&mail_server);
    ask(&server, 1).await.ok();
    mail_server.next().await;
}

#[tokio::test]
async fn a_later_refusal_for_good_is_kept_for_the_operator() {
    let (mail_server, server) = failing(GREYLISTED).await;
    ask(&server, 1).await.ok();
    mail_server.behave(|behaviour| behaviour.fault = Some(REFUSED));
    later(&server).await;
    let failed = server.outgoing(true).await.remove(0);
    let reason = failed["last_error"].as_str().unwrap();
    assert!(reason.contains("for good (550 5.1.1)"), "{reason}");
    assert!(mail_server.is_empty());
}

#[tokio::test]
async fn a_higher_attempt_takes_the_place_of_a_mail_that_waits() {
    let (mut mail_server, server) = failing(GREYLISTED).await;
    ask(&server, 1).await.ok();
    recovers(&mail_server);
    ask(&server, 2).await.ok();
    mail_server.next().await;
    later(&server).await;
    assert!(mail_server.is_empty(), "one mail is enough");
    assert!(server.outgoing(false).await.is_empty());

    mail_server.behave(|behaviour| behaviour.fault = Some(GREYLISTED));
    ask(&server, 3).await.ok();
    ask(&server, 4).await.ok();
    assert_eq!(server.outgoing(false).await.len(), 2);
    recovers(&mail_server);
    later(&server).await;
    mail_server.next().await;
    assert!(mail_server.is_empty());
    assert!(server.outgoing(false).await.is_empty());
}

#[tokio::test]
async fn nobody_is_asked_to_confirm_what_is_confirmed() {
    let (mut mail_server, server) = failing(GREYLISTED).await;
    recovers(&mail_server);
    let sid = ask(&server, 1).await.ok()["sid"].clone();
    let mail = Mail::parse(&mail_server.next().await.bytes);
    mail_server.behave(|behaviour| behaviour.fault = Some(GREYLISTED));
    ask(&server, 2).await.ok();
    let body = json!({ "sid": sid, "client_secret": "s", "token": mail.token() });
    server.client.post(SUBMIT_TOKEN, body).await.ok();
    recovers(&mail_server);
    later(&server).await;
    assert!(mail_server.is_empty());
    assert!(server.outgoing(false).await.is_empty());
}

#[tokio::test]
async fn a_mail_is_not_sent_after_its_session() {
    let (mail_server, server) = failing(GREYLISTED).await;
    ask(&server, 1).await.ok();
    recovers(&mail_server);
    server.advance(DAY);
    later(&server).await;
    assert!(mail_server.is_empty());
    assert!(server.outgoing(false).await.is_empty());
}
