//! What templates are given: values made safe for any place in a mail or page, and samples to try templates with.

use std::collections::BTreeMap;
use std::time::Duration;

use minijinja::Value;

use super::{Code, Html, Message, Page};

/// Why confirming did not work, as far as a user may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The time to confirm is over.
    Expired,
    /// No such session, or not its token.
    UnknownLink,
    /// The session was burnt by wrong tokens.
    TooManyTries,
    /// The server cannot do it now.
    Temporary,
}

impl Failure {
    const ALL: [Self; 4] = [
        Self::Expired,
        Self::UnknownLink,
        Self::TooManyTries,
        Self::Temporary,
    ];

    /// The word in the names of the texts.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::UnknownLink => "unknown",
            Self::TooManyTries => "too-many-tries",
            Self::Temporary => "temporary",
        }
    }
}

/// The values of one template by name.
pub(super) type Values = BTreeMap<&'static str, Value>;

/// A mail's templates and their values.
pub(super) struct Mail {
    /// The name of both templates, without extension.
    pub(super) name: &'static str,
    /// The text that is the subject.
    pub(super) subject: &'static str,
    pub(super) values: Values,
}

/// The template of a page or an SMS, and its values.
pub(super) struct Document {
    /// The name of the template.
    pub(super) name: &'static str,
    pub(super) values: Values,
}

impl From<Message<'_>> for Mail {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Verification {
                server,
                link,
                lifetime,
            } => verification(server.as_str(), link, lifetime),
        }
    }
}

impl From<Code<'_>> for Document {
    fn from(code: Code<'_>) -> Self {
        let Code {
            server,
            token,
            lifetime,
        } = code;
        sms(server.as_str(), token.expose(), lifetime)
    }
}

impl From<Page<'_>> for Document {
    fn from(page: Page<'_>) -> Self {
        match page {
            Page::Confirm {
                server,
                address,
                action,
                sid,
                token,
            } => confirm(
                server.as_str(),
                address,
                action,
                sid.as_str(),
                token.expose(),
            ),
            Page::Verified { server, next_link } => verified(server.as_str(), next_link),
            Page::Failed { server, reason } => failed(server.as_str(), reason),
            Page::Policy {
                server,
                name,
                language,
                content,
            } => policy(server.as_str(), name, language, content),
            Page::Home { server } => home(server.as_str()),
        }
    }
}

/// Mails that take every branch of the built-in templates and texts.
pub(super) fn sample_mails() -> Vec<Mail> {
    const MINUTE: u64 = 60;
    const DAY: u64 = 24 * 60 * MINUTE;
    [MINUTE, 15 * MINUTE, 60 * MINUTE, DAY, 3 * DAY]
        .map(|seconds| {
            verification(
                "id.example",
                "https://id.example/",
                Duration::from_secs(seconds),
            )
        })
        .into()
}

/// An SMS as they all are.
pub(super) fn sample_sms() -> Document {
    sms("id.example", "123456", Duration::from_mins(15))
}

/// Pages that take every branch of the built-in templates and texts.
pub(super) fn sample_pages() -> Vec<Document> {
    let mut pages = vec![
        confirm(
            "id.example",
            "alice@example.org",
            "https://id.example/",
            "1",
            "2",
        ),
        verified("id.example", None),
        verified("id.example", Some("https://app.example/")),
        policy(
            "id.example",
            "Privacy policy",
            "en",
            &Html::from_markdown("# What is kept"),
        ),
        home("id.example"),
    ];
    pages.extend(Failure::ALL.map(|reason| failed("id.example", reason)));
    pages
}

fn verification(server: &str, link: &str, lifetime: Duration) -> Mail {
    let (count, unit) = in_words(lifetime);
    Mail {
        name: "verification",
        subject: "verification-subject",
        values: BTreeMap::from([
            ("server", safe(server)),
            ("link", safe(link)),
            ("count", Value::from(count)),
            ("unit", Value::from(unit)),
        ]),
    }
}

fn sms(server: &str, token: &str, lifetime: Duration) -> Document {
    let (count, unit) = in_words(lifetime);
    Document {
        name: "sms.txt",
        values: BTreeMap::from([
            ("server", safe(server)),
            ("token", safe(token)),
            ("count", Value::from(count)),
            ("unit", Value::from(unit)),
        ]),
    }
}

fn confirm(server: &str, address: &str, action: &str, sid: &str, token: &str) -> Document {
    Document {
        name: "confirm.html",
        values: BTreeMap::from([
            ("server", safe(server)),
            ("address", safe(address)),
            ("action", safe(action)),
            ("sid", safe(sid)),
            ("token", safe(token)),
        ]),
    }
}

fn verified(server: &str, next_link: Option<&str>) -> Document {
    let is_web = |link: &&str| link.starts_with("https://") || link.starts_with("http://");
    let next_link = next_link.filter(is_web).map_or(Value::from(()), safe);
    Document {
        name: "verified.html",
        values: BTreeMap::from([("server", safe(server)), ("next_link", next_link)]),
    }
}

fn failed(server: &str, reason: Failure) -> Document {
    Document {
        name: "failed.html",
        values: BTreeMap::from([
            ("server", safe(server)),
            ("reason", Value::from(reason.as_str())),
        ]),
    }
}

fn policy(server: &str, name: &str, language: &str, content: &Html) -> Document {
    Document {
        name: "policy.html",
        values: BTreeMap::from([
            ("server", safe(server)),
            ("name", safe(name)),
            ("policy_language", safe(language)),
            ("content", content.to_value()),
        ]),
    }
}

fn home(server: &str) -> Document {
    Document {
        name: "home.html",
        values: BTreeMap::from([("server", safe(server))]),
    }
}

/// The text on one line: every run of spaces, line breaks and control characters is one space.
pub(super) fn one_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| {
            if c.is_control() || is_invisible(c) {
                ' '
            } else {
                c
            }
        })
        .collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A value in which nothing can break a line or turn the direction of the text around it. Escaping for HTML is the
/// template's.
fn safe(text: &str) -> Value {
    let harmless = |c: char| {
        if c.is_control() || is_invisible(c) {
            '\u{fffd}'
        } else {
            c
        }
    };
    Value::from(text.chars().map(harmless).collect::<String>())
}

/// Line and paragraph separators, byte order marks, and the controls of bidirectional text, by which an address could
/// be shown as another one.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}

/// A duration as a number of the largest unit that it is a whole number of; less than a minute counts as one.
fn in_words(duration: Duration) -> (u64, &'static str) {
    let minutes = (duration.as_secs() / 60).max(1);
    match minutes {
        days if days.is_multiple_of(24 * 60) => (days / (24 * 60), "days"),
        hours if hours.is_multiple_of(60) => (hours / 60, "hours"),
        _ => (minutes, "minutes"),
    }
}
