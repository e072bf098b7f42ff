//! Mails that do not go out: who is to blame, what the operator reads, and what is never sent or told.

use std::sync::Arc;
use std::time::Duration;

use bindery::clock::ManualClock;
use bindery::config::{MailTransport, SmtpSecurity};
use bindery::mail::{Mailer, SendError, Step, TlsProblem, Trouble};
use bindery::net::Resolver;
use bindery::random::Random;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{NOW, login, mailer, secure, send, settings};
use crate::support::authority::Authority;
use crate::support::smtp::{Behaviour, Fault, SmtpServer, Stage};

/// Sends a mail that must not go out, and checks that the error says nothing that it must not.
#[track_caller]
fn assert_discreet(error: &SendError) {
    for text in [error.to_string(), format!("{error:?}")] {
        for secret in ["alice", "example.org", "token=2", "secret-word"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

async fn failure(mailer: &Mailer) -> SendError {
    let error = send(mailer).await.unwrap_err();
    assert_discreet(&error);
    error
}

#[track_caller]
fn trouble(error: SendError) -> Trouble {
    assert!(!error.is_final());
    match error {
        SendError::Temporary(trouble) => trouble,
        other => panic!("{other}"),
    }
}

/// The two codes that a reply starts with.
fn code_of(reply: &str) -> String {
    reply
        .split([' ', '-'])
        .take(2)
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test]
async fn what_the_server_refuses_for_good_is_final() {
    let stages = [
        (
            Stage::Mail,
            Step::Sender,
            "553 5.7.1 not you, alice@example.org",
        ),
        (
            Stage::Rcpt,
            Step::Recipient,
            "550 5.1.1 <alice@example.org> unknown",
        ),
        (Stage::Data, Step::Content, "554 5.6.0 no"),
        (
            Stage::Content,
            Step::Content,
            "550-5.7.1 first\r\n550 5.7.1 spam for alice@example.org",
        ),
    ];
    for (stage, expected, words) in stages {
        let mut server = SmtpServer::start(Behaviour::default()).await;
        let mailer = mailer(&settings(server.port()));
        server.behave(|behaviour| behaviour.fault = Some((stage, Fault::Say(words))));
        let error = failure(&mailer).await;
        assert!(error.is_final());
        let SendError::Refused { host, step, reply } = error else {
            panic!("{error}")
        };
        assert_eq!((host.as_str(), step), ("localhost", expected));
        assert_eq!(reply.to_string(), code_of(words));
        server.behave(|behaviour| behaviour.fault = None);
        send(&mailer).await.unwrap();
        server.next().await;
    }
}

#[tokio::test]
async fn what_the_server_refuses_for_now_is_not_final() {
    let stages = [
        (Stage::Connect, "554 5.7.0 not today"),
        (Stage::Connect, "421 4.3.2 busy"),
        (Stage::Mail, "421 4.3.2 closing"),
        (Stage::Rcpt, "451 4.7.1 <alice@example.org> greylisted"),
        (Stage::Content, "452 4.3.1 full"),
    ];
    for (stage, words) in stages {
        let server = SmtpServer::start(Behaviour {
            fault: Some((stage, Fault::Say(words))),
            ..Behaviour::default()
        })
        .await;
        let trouble = trouble(failure(&mailer(&settings(server.port()))).await);
        assert!(matches!(trouble, Trouble::Deferred { .. }), "{trouble}");
        assert!(trouble.to_string().contains(&code_of(words)), "{trouble}");
    }
}

#[tokio::test]
async fn a_login_that_fails_names_the_settings_to_check() {
    let authority = Authority::new();
    let server = SmtpServer::start(Behaviour {
        starttls: Some(authority.server("localhost")),
        login: Some(("bindery", "another-word")),
        mechanisms: "PLAIN LOGIN",
        ..Behaviour::default()
    })
    .await;
    let mut settings = secure(server.port(), SmtpSecurity::StartTls, &authority);
    let missing = trouble(failure(&mailer(&settings)).await);
    assert!(
        matches!(missing, Trouble::LoginRequired { .. }),
        "{missing}"
    );

    login(&mut settings, "bindery", "secret-word");
    let refused = trouble(failure(&mailer(&settings)).await);
    assert!(matches!(refused, Trouble::Login { .. }), "{refused}");
    assert!(
        refused
            .to_string()
            .contains("(535 5.7.8): check email.smtp.username"),
        "{refused}"
    );

    server.behave(|behaviour| behaviour.mechanisms = "GSSAPI");
    let unknown = trouble(failure(&mailer(&settings)).await);
    assert!(matches!(unknown, Trouble::NoLogin { .. }), "{unknown}");
    assert!(server.is_empty());
}

#[tokio::test]
async fn without_starttls_nothing_is_sent_in_clear() {
    let authority = Authority::new();
    let server = SmtpServer::start(Behaviour {
        login: Some(("bindery", "secret-word")),
        mechanisms: "PLAIN LOGIN",
        ..Behaviour::default()
    })
    .await;
    let mut settings = secure(server.port(), SmtpSecurity::StartTls, &authority);
    login(&mut settings, "bindery", "secret-word");
    let mailer = mailer(&settings);
    let missing = trouble(failure(&mailer).await);
    assert!(matches!(missing, Trouble::NoStartTls { .. }), "{missing}");

    let refusal = Some((Stage::StartTls, Fault::Say("454 4.7.0 TLS not available")));
    server.behave(|behaviour| {
        behaviour.starttls = Some(authority.server("localhost"));
        behaviour.fault = refusal;
    });
    let refused = trouble(failure(&mailer).await);
    assert!(
        matches!(
            refused,
            Trouble::Deferred {
                step: Step::StartTls,
                ..
            }
        ),
        "{refused}"
    );

    for line in server.lines_in_clear() {
        assert!(
            ["EHLO id.example", "STARTTLS", "QUIT"].contains(&&*line),
            "{line}"
        );
    }
    assert!(server.is_empty());
}

#[tokio::test]
async fn replies_that_were_slipped_in_before_tls_break_it() {
    let authority = Authority::new();
    let injected = "220 2.0.0 go ahead\r\n250 mail.test";
    let server = SmtpServer::start(Behaviour {
        starttls: Some(authority.server("localhost")),
        fault: Some((Stage::StartTls, Fault::Say(injected))),
        ..Behaviour::default()
    })
    .await;
    let settings = secure(server.port(), SmtpSecurity::StartTls, &authority);
    let trouble = trouble(failure(&mailer(&settings)).await);
    let expected = matches!(
        trouble,
        Trouble::Tls {
            problem: TlsProblem::Handshake,
            ..
        }
    );
    assert!(expected, "{trouble}");
}

#[tokio::test]
async fn a_certificate_must_be_for_the_name_by_a_known_authority_and_in_time() {
    let authority = Authority::new();
    let stranger = Authority::called("someone else");
    let impostor = Authority::new();
    let certificates = [
        (authority.server("mail.example.net"), TlsProblem::WrongName),
        (stranger.server("localhost"), TlsProblem::UnknownIssuer),
        (impostor.server("localhost"), TlsProblem::UnknownIssuer),
        (authority.expired_server("localhost"), TlsProblem::OutOfDate),
    ];
    for (certificate, expected) in certificates {
        for security in [SmtpSecurity::StartTls, SmtpSecurity::Tls] {
            let certificate = Some(Arc::clone(&certificate));
            let server = SmtpServer::start(if security == SmtpSecurity::Tls {
                Behaviour {
                    implicit_tls: certificate,
                    ..Behaviour::default()
                }
            } else {
                Behaviour {
                    starttls: certificate,
                    ..Behaviour::default()
                }
            })
            .await;
            let settings = secure(server.port(), security, &authority);
            let trouble = trouble(failure(&mailer(&settings)).await);
            let Trouble::Tls { problem, .. } = trouble else {
                panic!("{trouble}")
            };
            assert_eq!(problem, expected);
            assert!(server.is_empty());
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_left_when_time_is_up_and_not_spoken_to_again() {
    let stages = [
        (Stage::Connect, Step::Greeting),
        (Stage::Rcpt, Step::Recipient),
        (Stage::Data, Step::Content),
        (Stage::Content, Step::Content),
    ];
    for (stage, expected) in stages {
        let mut server = SmtpServer::start(Behaviour {
            fault: Some((stage, Fault::Hang)),
            ..Behaviour::default()
        })
        .await;
        let mut settings = settings(server.port());
        settings.smtp.timeout = Duration::from_millis(300);
        let mailer = mailer(&settings);
        let trouble = trouble(failure(&mailer).await);
        let Trouble::TimedOut { step, .. } = trouble else {
            panic!("{trouble}")
        };
        assert_eq!(step, expected);
        server.behave(|behaviour| behaviour.fault = None);
        send(&mailer).await.unwrap();
        assert_eq!(server.next().await.connection, 2);
    }
}

#[tokio::test]
async fn a_connection_that_ends_early_is_not_final() {
    let stages = [
        Stage::Connect,
        Stage::Ehlo,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Content,
    ];
    for stage in stages {
        let server = SmtpServer::start(Behaviour {
            fault: Some((stage, Fault::Drop)),
            ..Behaviour::default()
        })
        .await;
        let trouble = trouble(failure(&mailer(&settings(server.port()))).await);
        assert!(
            matches!(trouble, Trouble::Dropped { .. }),
            "{stage:?}: {trouble}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_names_the_settings_to_check() {
    let port = SmtpServer::start(Behaviour::default()).await.port();
    let authority = Authority::new();
    for security in [SmtpSecurity::None, SmtpSecurity::Tls] {
        let settings = secure(port, security, &authority);
        let trouble = trouble(failure(&mailer(&settings)).await);
        assert!(matches!(trouble, Trouble::Connect { .. }), "{trouble}");
        assert!(
            trouble
                .to_string()
                .contains("check email.smtp.host and email.smtp.port")
        );
    }
    let mut settings = settings(port);
    settings.smtp.host = "mail.invalid".to_owned();
    let trouble = trouble(failure(&mailer(&settings)).await);
    assert!(matches!(trouble, Trouble::Resolve(_)), "{trouble}");
}

#[tokio::test]
async fn an_authority_file_must_have_a_certificate() {
    let authority = Authority::new();
    let empty = authority.folder().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for path in [empty, authority.folder().join("missing.pem")] {
        let mut settings = secure(25, SmtpSecurity::Tls, &authority);
        settings.smtp.ca_file = Some(path);
        let resolver = Resolver::with_servers(&[]).unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let result = Mailer::new(
            &settings,
            resolver,
            clock,
            Random::system(),
            Handle::current(),
        );
        assert!(
            result
                .unwrap_err()
                .to_string()
                .starts_with("email.smtp.ca_file: ")
        );
    }
}

#[tokio::test]
async fn without_a_transport_sending_is_refused() {
    let mut settings = settings(25);
    settings.transport = MailTransport::None;
    let error = failure(&mailer(&settings)).await;
    assert!(matches!(error, SendError::NoTransport) && error.is_final());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_not_the_clients_fault() {
    let folder = TempDir::new().unwrap();
    let mut settings = settings(25);
    settings.transport = MailTransport::File;
    settings.directory = folder.path().join("a file");
    std::fs::write(&settings.directory, "").unwrap();
    let trouble = trouble(failure(&mailer(&settings)).await);
    assert!(matches!(trouble, Trouble::File { .. }), "{trouble}");
}
