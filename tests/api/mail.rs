//! Mail from a rendered message to the other side of a real SMTP conversation.

mod failures;

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use bindery::clock::ManualClock;
use bindery::config::{self, MailTransport, Secret, SmtpSecurity};
use bindery::mail::{Mailer, SendError};
use bindery::net::Resolver;
use bindery::random::Random;
use bindery::templates::RenderedMail;
use bindery::types::{Email, ServerName, Timestamp};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::support::authority::Authority;
use crate::support::mailbox::Mail;
use crate::support::smtp::{Behaviour, Fault, SmtpServer, Stage};

/// 2 January 2026, 03:04:05 UTC.
const NOW: Timestamp = Timestamp::from_millis(1_767_323_045_000);

/// Settings of a server called id.example that sends in clear to a port of this machine.
fn settings(port: u16) -> config::Email {
    let name = ServerName::parse("id.example").unwrap();
    let mut settings = config::Email::of(&name, "/nowhere".as_ref());
    settings.transport = MailTransport::Smtp;
    "localhost".clone_into(&mut settings.smtp.host);
    settings.smtp.port = port;
    settings.smtp.security = SmtpSecurity::None;
    settings
}

fn secure(port: u16, security: SmtpSecurity, authority: &Authority) -> config::Email {
    let mut settings = settings(port);
    settings.smtp.security = security;
    settings.smtp.ca_file = Some(authority.file());
    settings
}

fn login(settings: &mut config::Email, user: &str, password: &str) {
    settings.smtp.username = Some(user.to_owned());
    settings.smtp.password = Some(Secret::new(password.to_owned()));
}

fn mailer_with(settings: &config::Email, clock: &Arc<ManualClock>) -> Mailer {
    let resolver = Resolver::with_servers(&[]).unwrap();
    let clock = Arc::clone(clock);
    Mailer::new(
        settings,
        resolver,
        clock,
        Random::system(),
        Handle::current(),
    )
    .unwrap()
}

fn mailer(settings: &config::Email) -> Mailer {
    mailer_with(settings, &Arc::new(ManualClock::at(NOW)))
}

fn email(address: &str) -> Email {
    Email::parse(address).unwrap()
}

fn mail() -> RenderedMail {
    RenderedMail {
        subject: "Confirm – now".to_owned(),
        text: "Grüße\n\n.a line with a dot\nhttps://id.example/verify?sid=1&token=2\n".to_owned(),
        html: "<p>Grüße <a href=\"https://id.example/verify?sid=1&amp;token=2\">x</a></p>"
            .to_owned(),
    }
}

async fn send(mailer: &Mailer) -> Result<(), SendError> {
    mailer.send(&email("alice@example.org"), mail()).await
}

#[tokio::test]
async fn a_mail_goes_out_in_clear_where_that_is_configured() {
    let mut server = SmtpServer::start(Behaviour::default()).await;
    send(&mailer(&settings(server.port()))).await.unwrap();
    let got = server.next().await;
    assert_eq!((got.from.as_str(), got.tls), ("bindery@id.example", false));
    assert_eq!(got.to, ["alice@example.org"]);
    assert_eq!(
        (got.hello.as_str(), got.parameters.as_str()),
        ("id.example", "")
    );
}

#[tokio::test]
async fn a_mail_goes_out_over_starttls_after_a_login_by_either_mechanism() {
    let authority = Authority::new();
    for mechanisms in ["PLAIN", "LOGIN"] {
        let mut server = SmtpServer::start(Behaviour {
            starttls: Some(authority.server("localhost")),
            login: Some(("bindery", "secret-word")),
            mechanisms,
            ..Behaviour::default()
        })
        .await;
        let mut settings = secure(server.port(), SmtpSecurity::StartTls, &authority);
        login(&mut settings, "bindery", "secret-word");
        send(&mailer(&settings)).await.unwrap();
        assert!(server.next().await.tls);
        assert_eq!(server.lines_in_clear(), ["EHLO id.example", "STARTTLS"]);
    }
}

#[tokio::test]
async fn a_mail_goes_out_over_tls_from_the_first_byte() {
    let authority = Authority::new();
    let mut server = SmtpServer::start(Behaviour {
        implicit_tls: Some(authority.server("localhost")),
        ..Behaviour::default()
    })
    .await;
    let settings = secure(server.port(), SmtpSecurity::Tls, &authority);
    send(&mailer(&settings)).await.unwrap();
    assert!(server.next().await.tls);
    assert!(server.lines_in_clear().is_empty());
}

#[tokio::test]
async fn a_mail_is_well_formed_and_arrives_as_it_was_rendered() {
    let mut server = SmtpServer::start(Behaviour::default()).await;
    let mut settings = settings(server.port());
    settings.from = config::Mailbox::parse("Bindery – Test <from@id.example>").unwrap();
    settings.reply_to = Some(config::Mailbox::parse("help@id.example").unwrap());
    let mailer = mailer(&settings);
    let mut ids = HashSet::new();
    for _ in 0..2 {
        send(&mailer).await.unwrap();
        let got = server.next().await;
        assert!(got.bytes.is_ascii());
        assert!(
            got.bytes
                .split(|b| *b == b'\n')
                .all(|line| line.len() < 999)
        );
        let letter = Mail::parse(&got.bytes);
        letter.assert_well_formed();
        let sent = mail();
        assert_eq!(letter.subject(), sent.subject);
        assert_eq!(
            letter.text().replace("\r\n", "\n").trim_end(),
            sent.text.trim_end()
        );
        assert_eq!(letter.html().trim_end(), sent.html);
        assert_eq!(letter.link(), "https://id.example/verify?sid=1&token=2");
        assert_eq!(letter.header("To"), "alice@example.org");
        assert_eq!(letter.header("Date"), "Fri, 02 Jan 2026 03:04:05 +0000");
        assert_eq!(letter.header("Auto-Submitted"), "auto-generated");
        assert_eq!(letter.header("Reply-To"), "help@id.example");
        let id = letter.header("Message-ID");
        assert!(id.ends_with("@id.example>"), "{id}");
        assert!(ids.insert(id));
    }
}

#[tokio::test]
async fn nothing_in_a_mail_can_add_a_header_or_a_recipient() {
    let mut server = SmtpServer::start(Behaviour::default()).await;
    let mailer = mailer(&settings(server.port()));
    let mut hostile = mail();
    hostile.subject = "a\r\nBcc: eve@example.net\r\n\r\nbody".to_owned();
    hostile
        .text
        .push_str("\r\n.\r\nMAIL FROM:<eve@example.net>\r\n");
    mailer
        .send(&email("alice@example.org"), hostile)
        .await
        .unwrap();
    let got = server.next().await;
    assert_eq!(got.to, ["alice@example.org"]);
    Mail::parse(&got.bytes).assert_well_formed();
    assert!(server.is_empty());
}

#[tokio::test]
async fn the_recipient_is_byte_for_byte_the_address_with_the_domain_as_an_a_label() {
    let mut server = SmtpServer::start(Behaviour::default()).await;
    let mailer = mailer(&settings(server.port()));
    let addresses = [
        (
            "o'hara+x=y&z/%!#$*?^_`{|}~@example.org",
            "o'hara+x=y&z/%!#$*?^_`{|}~@example.org",
        ),
        ("a..b.@example.org", "a..b.@example.org"),
        ("alice@bücher.example", "alice@xn--bcher-kva.example"),
    ];
    for (stored, expected) in addresses {
        let Ok(to) = Email::parse(stored) else {
            continue;
        };
        mailer.send(&to, mail()).await.unwrap();
        let got = server.next().await;
        assert_eq!(got.to, [expected]);
        assert_eq!(Mail::parse(&got.bytes).header("To"), expected);
    }
}

#[tokio::test]
async fn an_address_beyond_ascii_needs_smtputf8_on_both_sides() {
    let to = email("jürgen@bücher.example");
    let mut server = SmtpServer::start(Behaviour::default()).await;
    let mut settings = settings(server.port());
    let error = mailer(&settings).send(&to, mail()).await.unwrap_err();
    assert!(matches!(error, SendError::NeedsSmtpUtf8) && error.is_final());
    assert_eq!(server.connections(), 0);

    settings.smtputf8 = true;
    let mailer = mailer(&settings);
    let error = mailer.send(&to, mail()).await.unwrap_err();
    assert!(matches!(error, SendError::NoSmtpUtf8 { .. }) && error.is_final());

    server.behave(|behaviour| behaviour.smtputf8 = true);
    mailer.send(&to, mail()).await.unwrap();
    let got = server.next().await;
    assert_eq!(got.to, ["jürgen@xn--bcher-kva.example"]);
    assert_eq!(got.parameters, "SMTPUTF8 BODY=8BITMIME");
    mailer
        .send(&email("alice@example.org"), mail())
        .await
        .unwrap();
    assert_eq!(server.next().await.parameters, "");
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_mail() {
    let authority = Authority::new();
    let mut server = SmtpServer::start(Behaviour {
        starttls: Some(authority.server("localhost")),
        ..Behaviour::default()
    })
    .await;
    let mailer = mailer(&secure(server.port(), SmtpSecurity::StartTls, &authority));
    for _ in 0..3 {
        send(&mailer).await.unwrap();
        assert_eq!(server.next().await.connection, 1);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_kept_connection_is_left_when_it_is_old_or_broken() {
    let mut server = SmtpServer::start(Behaviour::default()).await;
    let clock = Arc::new(ManualClock::at(NOW));
    let mailer = mailer_with(&settings(server.port()), &clock);
    send(&mailer).await.unwrap();
    clock.advance(Duration::from_secs(61));
    send(&mailer).await.unwrap();
    server.behave(|behaviour| behaviour.fault = Some((Stage::Noop, Fault::Drop)));
    send(&mailer).await.unwrap();
    for connection in 1..=3 {
        assert_eq!(server.next().await.connection, connection);
    }
}

#[test]
fn callers_on_runtimes_of_their_own_share_a_connection() {
    let home = tokio::runtime::Runtime::new().unwrap();
    let mut server = home.block_on(SmtpServer::start(Behaviour::default()));
    let mailer = home.block_on(async { mailer(&settings(server.port())) });
    for _ in 0..3 {
        let mailer = mailer.clone();
        let caller = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(send(&mailer)).unwrap();
        });
        caller.join().unwrap();
        assert_eq!(home.block_on(server.next()).connection, 1);
    }
}

#[tokio::test]
async fn a_mail_goes_out_although_its_caller_went_away() {
    let mut server = SmtpServer::start(Behaviour::default()).await;
    let mailer = mailer(&settings(server.port()));
    let mut sending = Box::pin(send(&mailer));
    let waker = std::task::Waker::noop();
    let polled = sending
        .as_mut()
        .poll(&mut std::task::Context::from_waker(waker));
    assert!(polled.is_pending());
    drop(sending);
    server.next().await;
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    // `localhost` is 127.0.0.1, then ::1; a machine without IPv6 cannot show it.
    let Ok(mut server) = SmtpServer::start_at("[::1]:0", Behaviour::default()).await else {
        return;
    };
    send(&mailer(&settings(server.port()))).await.unwrap();
    server.next().await;
}

#[tokio::test]
async fn with_the_file_transport_each_mail_is_a_file_in_a_private_folder() {
    let folder = TempDir::new().unwrap();
    let mut settings = settings(25);
    settings.transport = MailTransport::File;
    settings.directory = folder.path().join("data/outbox");
    let clock = Arc::new(ManualClock::at(NOW));
    let mailer = mailer_with(&settings, &clock);
    for name in ["a", "b", "c"] {
        mailer
            .send(&email(&format!("{name}@example.org")), mail())
            .await
            .unwrap();
    }
    clock.advance(Duration::from_secs(1));
    mailer.send(&email("d@example.org"), mail()).await.unwrap();

    let letters = Mail::all_in(&settings.directory);
    let to: Vec<_> = letters.iter().map(|letter| letter.header("To")).collect();
    assert_eq!(
        to,
        [
            "a@example.org",
            "b@example.org",
            "c@example.org",
            "d@example.org"
        ]
    );
    letters.iter().for_each(Mail::assert_well_formed);
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&settings.directory), 0o700);
    for entry in std::fs::read_dir(&settings.directory).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.extension().is_some_and(|extension| extension == "eml"));
        assert_eq!(mode(&path), 0o600);
    }
}
