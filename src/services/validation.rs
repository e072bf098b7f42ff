//! Proving that a 3PID is one's own: sessions, their messages, and their tokens.

mod attempt;
mod email;
mod phone;
mod plan;
mod queued;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use self::attempt::{Attempt, Outcome};
pub use self::email::LinkDetails;
pub use self::phone::{Destinations, PhoneError, PhoneSettings, Unserved};
use self::plan::Planned;
use crate::clock::Clock;
use crate::limits::{Action, Limited, Limits, Subject};
use crate::mail::{Mailer, SendError};
use crate::metrics::{Metrics, SessionEvent};
use crate::random::{Random, RandomError};
use crate::signing::ServerSecret;
use crate::sms::Sms;
use crate::storage::sessions::{self, Session, ValidatedSession};
use crate::storage::tables::{SessionRecord, Sessions};
use crate::storage::{Store, StoreError};
use crate::templates::{RenderError, Templates};
use crate::types::{
    ClientSecret, ClientSecretHash, Medium, NextLink, ServerName, Sid, ThreePid, Timestamp, Token,
};

/// What of the configuration validation needs.
#[derive(Debug, Clone)]
pub struct ValidationSettings {
    /// The name that mails say they come from.
    pub server_name: ServerName,
    /// Scheme and authority that the mailed link starts with.
    pub public_url: String,
    /// How long an e-mail session waits for its token.
    pub email_lifetime: Duration,
    /// How long a validated session can be used.
    pub validated_lifetime: Duration,
    /// How many wrong tokens an e-mail session bears before it is burnt.
    pub email_tries: u32,
    /// Hosts that a `next_link` may lead to; empty: any.
    pub next_link_hosts: Vec<String>,
    /// What only phone numbers need.
    pub phone: PhoneSettings,
}

/// A request for a message with a token, as far as it is the same for all media.
#[derive(Debug)]
pub struct Request {
    /// The client's secret for the session.
    pub client_secret: ClientSecret,
    /// A message goes out only if this is higher than before in the session.
    pub send_attempt: u64,
    /// Where the user goes on after confirming.
    pub next_link: Option<NextLink>,
    /// The language of the message and the pages.
    pub language: Option<String>,
    /// The brand of the message and the pages.
    pub brand: Option<String>,
}

impl Request {
    /// The session that it asks for.
    fn session(self, threepid: ThreePid, now: Timestamp, expires: Timestamp) -> SessionRecord {
        SessionRecord {
            threepid,
            client_secret: self.client_secret.hash(),
            send_attempt: Some(self.send_attempt),
            wrong_tries: 0,
            created: now,
            validated_at: None,
            expires,
            next_link: self.next_link.map(|link| link.as_str().to_owned()),
            language: self.language,
            brand: self.brand,
        }
    }
}

/// Why validation refused.
#[derive(Debug, thiserror::Error)]
pub enum ValidationError {
    /// No such session for this secret, or it was burnt.
    #[error("there is no such session")]
    NoSession,
    /// The session came to its end.
    #[error("the session has expired")]
    Expired,
    /// Nobody has submitted the token yet.
    #[error("the session is not validated")]
    NotValidated,
    /// The token is not the session's.
    #[error("the token is wrong")]
    TokenIncorrect,
    /// `next_link` leads to a host that is not allowed.
    #[error("next_link leads to a host that is not allowed")]
    NextLinkHost,
    /// Too much from one source or to one address.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The mail could not be handed over.
    #[error("the mail could not be sent")]
    Send(#[from] SendError),
    /// It is a phone number that gets no SMS, or not now.
    #[error(transparent)]
    Phone(#[from] PhoneError),
    /// Our templates failed.
    #[error("the message could not be written")]
    Template(#[from] RenderError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What follows from a right token.
#[derive(Debug)]
pub struct Confirmed {
    /// Where the user goes on, with `sid` appended.
    pub next_link: Option<String>,
}

/// The service.
pub struct Validation {
    store: Store,
    mailer: Mailer,
    sms: Sms,
    templates: Arc<Templates>,
    limits: Arc<Limits>,
    secret: Arc<ServerSecret>,
    clock: Arc<dyn Clock>,
    random: Random,
    metrics: Arc<Metrics>,
    settings: ValidationSettings,
    next_link_hosts: ArcSwap<Vec<String>>,
    destinations: ArcSwap<Destinations>,
}

/// What validation is put together from.
pub struct ValidationParts {
    /// The store.
    pub store: Store,
    /// Sends the mails.
    pub mailer: Mailer,
    /// Sends the SMS.
    pub sms: Sms,
    /// Writes both.
    pub templates: Arc<Templates>,
    /// Counts messages and wrong tokens.
    pub limits: Arc<Limits>,
    /// Tokens are derived from it.
    pub secret: Arc<ServerSecret>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Session ids.
    pub random: Random,
    /// Counts sessions and messages.
    pub metrics: Arc<Metrics>,
}

impl Validation {
    /// The service over its parts.
    pub fn new(parts: ValidationParts, settings: ValidationSettings) -> Self {
        let ValidationParts {
            store,
            mailer,
            sms,
            templates,
            limits,
            secret,
            clock,
            random,
            metrics,
        } = parts;
        Self {
            store,
            mailer,
            sms,
            templates,
            limits,
            secret,
            clock,
            random,
            metrics,
            next_link_hosts: ArcSwap::from_pointee(settings.next_link_hosts.clone()),
            destinations: ArcSwap::from_pointee(settings.phone.destinations.clone()),
            settings,
        }
    }

    /// From now on a `next_link` may lead to these hosts; empty: to any.
    pub fn allow_next_link_hosts(&self, hosts: Vec<String>) {
        self.next_link_hosts.store(Arc::new(hosts));
    }

    /// From now on SMS go to these numbers alone.
    pub fn send_sms_to(&self, destinations: Destinations) {
        self.destinations.store(Arc::new(destinations));
    }

    /// The token came together with the client's secret. The right one again is no error.
    ///
    /// # Errors
    /// A wrong token is counted before this returns.
    pub async fn submit_token(
        &self,
        medium: Medium,
        sid: &Sid,
        client_secret: &ClientSecret,
        token: &Token,
        peer: Option<IpAddr>,
    ) -> Result<Confirmed, ValidationError> {
        self.submit(medium, sid, Some(client_secret.hash()), token, peer)
            .await
    }

    /// The 3PID that a validated session proves (identity service, `GET 3pid/getValidated3pid`).
    ///
    /// # Errors
    /// When there is no such session, or it is not validated, or it came to its end.
    pub fn validated(
        &self,
        sid: &Sid,
        client_secret: &ClientSecret,
    ) -> Result<ValidatedSession, ValidationError> {
        let secret = client_secret.hash();
        match self
            .store
            .read(|tx| sessions::find(tx, sid, &secret, self.clock.now()))?
        {
            None => Err(ValidationError::NoSession),
            Some(Session::Expired) => Err(ValidationError::Expired),
            Some(Session::Pending(_)) => Err(ValidationError::NotValidated),
            Some(Session::Validated(session)) => Ok(session),
        }
    }

    async fn submit(
        &self,
        medium: Medium,
        sid: &Sid,
        client_secret: Option<ClientSecretHash>,
        token: &Token,
        peer: Option<IpAddr>,
    ) -> Result<Confirmed, ValidationError> {
        self.check_wrong_tokens(peer)?;
        let Some(known) = self.store.read(|tx| tx.get::<Sessions>(sid))? else {
            self.count_wrong_token(peer);
            return Err(ValidationError::NoSession);
        };
        let right = *token == self.token(sid, &known);
        let (tries, wrong_codes) = match medium {
            Medium::Email => (self.settings.email_tries, None),
            Medium::Msisdn => (self.settings.phone.tries, self.wrong_codes(&known.threepid)),
        };
        let attempt = Attempt {
            medium,
            sid: sid.clone(),
            client_secret,
            right,
            now: self.clock.now(),
            lifetime: self.settings.validated_lifetime,
            tries,
            wrong_codes,
        };
        let outcome = self.store.write(move |tx| attempt.carry_out(tx)).await?;
        match outcome {
            Outcome::Validated { session, first } => {
                if first {
                    self.metrics.session(SessionEvent::Validated);
                }
                let next_link = session.next_link.as_deref().map(NextLink::parse);
                Ok(Confirmed {
                    next_link: next_link
                        .and_then(Result::ok)
                        .map(|link| link.with_sid(sid)),
                })
            }
            Outcome::Expired => Err(ValidationError::Expired),
            Outcome::TooMany { again_in } => Err(Limited {
                action: Action::WrongCodesByNumber,
                retry_after: again_in,
            }
            .into()),
            Outcome::NoSession => {
                self.count_wrong_token(peer);
                Err(ValidationError::NoSession)
            }
            Outcome::Wrong { burnt } => {
                self.count_wrong_token(peer);
                if burnt {
                    self.metrics.session(SessionEvent::Burnt);
                    log::warn!("a session was burnt by too many wrong tokens");
                }
                Err(ValidationError::TokenIncorrect)
            }
        }
    }

    fn check_next_link(&self, next_link: Option<&NextLink>) -> Result<(), ValidationError> {
        let hosts = self.next_link_hosts.load();
        match next_link {
            Some(link) if !hosts.is_empty() && !hosts.iter().any(|host| host == link.host()) => {
                Err(ValidationError::NextLinkHost)
            }
            _ => Ok(()),
        }
    }

    fn check_wrong_tokens(&self, peer: Option<IpAddr>) -> Result<(), Limited> {
        match peer {
            Some(ip) => self.limits.peek(Action::WrongTokensByIp, Subject::Ip(ip)),
            None => Ok(()),
        }
    }

    fn count_wrong_token(&self, peer: Option<IpAddr>) {
        if let Some(ip) = peer {
            // Whether this was the last one allowed shows at the next try.
            let _ = self.limits.take(Action::WrongTokensByIp, Subject::Ip(ip));
        }
    }

    /// Counts a session that is new.
    fn count_created(&self, planned: &Planned) {
        if planned.created {
            self.metrics.session(SessionEvent::Created);
        }
    }

    /// Takes back an attempt whose message did not go out.
    async fn give_attempt_back(
        &self,
        sid: Sid,
        failed: u64,
        previous: Option<u64>,
    ) -> Result<(), StoreError> {
        self.store
            .write(move |tx| plan::give_back(tx, &sid, failed, previous))
            .await
    }

    /// The token that proves that the messages of a session were received.
    fn token(&self, sid: &Sid, record: &SessionRecord) -> Token {
        let (threepid, created) = (&record.threepid, record.created);
        match threepid.medium() {
            Medium::Email => self.email_token(sid, threepid, created),
            Medium::Msisdn => self.code(sid, threepid, created),
        }
    }

    fn derive(
        &self,
        purpose: &'static str,
        sid: &Sid,
        threepid: &ThreePid,
        created: Timestamp,
    ) -> [u8; 32] {
        let parts: [&[u8]; 4] = [
            sid.as_str().as_bytes(),
            threepid.medium().as_str().as_bytes(),
            threepid.address().as_bytes(),
            &created.as_millis().to_be_bytes(),
        ];
        self.secret.derive(purpose, &parts)
    }
}
