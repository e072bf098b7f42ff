//! What templates are given: values made safe for any place in a mail or page, and samples to try templates with.

use std::collections::BTreeMap;
use std::time::Duration;

use minijinja::Value;

use super::{Code, Html, Invitation, Message, Page};
use crate::types::{InviteDetails, is_invisible};

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
            Message::Invitation { server, invitation } => invite(server.as_str(), &invitation),
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
    let lifetimes = [MINUTE, 15 * MINUTE, 60 * MINUTE, DAY, 3 * DAY];
    let verifications = lifetimes.map(|seconds| {
        verification(
            "id.example",
            "https://id.example/",
            Duration::from_secs(seconds),
        )
    });
    let details = InviteDetails::default();
    let places = [None, Some("Attic")];
    let invites = places.into_iter().flat_map(|room| {
        [false, true].map(|is_space| {
            let invitation = Invitation {
                inviter: "Alice",
                room,
                is_space,
                link: "https://id.example/",
                lifetime: Duration::from_secs(180 * DAY),
                details: &details,
            };
            invite("id.example", &invitation)
        })
    });
    verifications.into_iter().chain(invites).collect()
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

fn invite(server: &str, invitation: &Invitation<'_>) -> Mail {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = invitation.lifetime.as_secs();
    let whole_days = seconds.checked_sub(seconds % DAY).filter(|days| *days > 0);
    let (count, unit) = in_words(Duration::from_secs(whole_days.unwrap_or(seconds)));
    let further = invitation.details.further();
    let details: BTreeMap<String, Value> = further
        .map(|(name, value)| (name.to_owned(), words(value)))
        .collect();
    Mail {
        name: "invite",
        subject: "invite-subject",
        values: BTreeMap::from([
            ("server", safe(server)),
            ("inviter", words(invitation.inviter)),
            ("room", words(invitation.room.unwrap_or_default())),
            (
                "named",
                Value::from(if invitation.room.is_some() {
                    "yes"
                } else {
                    "no"
                }),
            ),
            (
                "kind",
                Value::from(if invitation.is_space { "space" } else { "room" }),
            ),
            ("link", safe(invitation.link)),
            ("count", Value::from(count)),
            ("unit", Value::from(unit)),
            ("details", Value::from(details)),
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

/// A stranger's words, in which no mail program finds anything to make a link of, nor in a header anything to decode: a space
/// comes between slashes, after a dot that a letter follows, and into the start of an encoded word (RFC 2047, section 2).
fn words(text: &str) -> Value {
    let mut apart = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        let slashes = matches!(before, '/' | '\\') && matches!(c, '/' | '\\');
        // IDNA takes these for the dot of a domain too.
        let dotted = matches!(
            before,
            '.' | '\u{2024}' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}'
        );
        let encoded = before == '=' && c == '?';
        if slashes || encoded || (dotted && c.is_alphabetic()) {
            apart.push(' ');
        }
        apart.push(c);
        before = c;
    }
    safe(&apart)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_words_are_no_links() {
        for (text, shown) in [
            ("Attic", "Attic"),
            (
                "St. John's, 12:30, v1.2, and/or",
                "St. John's, 12:30, v1.2, and/or",
            ),
            ("https://evil.example/x", "https:/ /evil. example/x"),
            ("www.evil.example", "www. evil. example"),
            ("a@evil.example", "a@evil. example"),
            (
                "evil。example evil．example",
                "evil。 example evil． example",
            ),
            ("\\\\evil\\share", "\\ \\evil\\share"),
            ("///", "/ / /"),
            ("=?utf-8?Q?x?=", "= ?utf-8?Q?x?="),
            ("a\u{202e}b\r\nc", "a\u{fffd}b\u{fffd}\u{fffd}c"),
        ] {
            assert_eq!(words(text).to_string(), shown);
        }
    }
}
