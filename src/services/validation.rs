//! Proving that a 3PID is one's own: sessions, their messages, and their tokens.

mod attempt;
mod plan;
mod queued;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use self::attempt::{Attempt, Outcome};
use crate::clock::Clock;
use crate::limits::{Action, Limited, Limits, Subject};
use crate::mail::{Mailer, SendError};
use crate::metrics::{MailOutcome, Metrics, SessionEvent};
use crate::random::{Random, RandomError};
use crate::signing::ServerSecret;
use crate::storage::sessions::{self, Session, ValidatedSession};
use crate::storage::tables::{SessionRecord, Sessions};
use crate::storage::{Store, StoreError};
use crate::templates::{Message, RenderError, Templates};
use crate::types::{
    ClientSecret, ClientSecretHash, Email, Medium, NextLink, ServerName, Sid, ThreePid, Timestamp,
    Token,
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
}

/// A request for an e-mail with a token.
#[derive(Debug)]
pub struct EmailTokenRequest {
    /// Where the mail goes.
    pub email: Email,
    /// The client's secret for the session.
    pub client_secret: ClientSecret,
    /// A mail goes out only if this is higher than before in the session.
    pub send_attempt: u64,
    /// Where the user goes on after confirming.
    pub next_link: Option<NextLink>,
    /// The language of the mail and the pages.
    pub language: Option<String>,
    /// The brand of the mail and the pages.
    pub brand: Option<String>,
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
    /// Our templates failed.
    #[error("the mail could not be written")]
    Template(#[from] RenderError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session as the confirmation page shows it.
#[derive(Debug)]
pub struct LinkDetails {
    /// What will be confirmed.
    pub threepid: ThreePid,
    /// The language of the page.
    pub language: Option<String>,
    /// The brand of the page.
    pub brand: Option<String>,
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
    templates: Arc<Templates>,
    limits: Arc<Limits>,
    secret: Arc<ServerSecret>,
    clock: Arc<dyn Clock>,
    random: Random,
    metrics: Arc<Metrics>,
    settings: ValidationSettings,
    next_link_hosts: ArcSwap<Vec<String>>,
}

/// What validation is put together from.
pub struct ValidationParts {
    /// The store.
    pub store: Store,
    /// Sends the mails.
    pub mailer: Mailer,
    /// Writes the mails.
    pub templates: Arc<Templates>,
    /// Counts mails and wrong tokens.
    pub limits: Arc<Limits>,
    /// Tokens are derived from it.
    pub secret: Arc<ServerSecret>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Session ids.
    pub random: Random,
    /// Counts sessions and mails.
    pub metrics: Arc<Metrics>,
}

impl Validation {
    /// The service over its parts.
    pub fn new(parts: ValidationParts, settings: ValidationSettings) -> Self {
        let ValidationParts {
            store,
            mailer,
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
            templates,
            limits,
            secret,
            clock,
            random,
            metrics,
            next_link_hosts: ArcSwap::from_pointee(settings.next_link_hosts.clone()),
            settings,
        }
    }

    /// From now on a `next_link` may lead to these hosts; empty: to any.
    pub fn allow_next_link_hosts(&self, hosts: Vec<String>) {
        self.next_link_hosts.store(Arc::new(hosts));
    }

    /// Finds or makes the session of (e-mail, address, client secret), and sends its mail if `send_attempt` is higher
    /// than before. Answers the session's id.
    ///
    /// # Errors
    /// When a limit is reached nothing is stored. When the mail is refused, the attempt does not count.
    pub async fn request_email_token(
        &self,
        request: EmailTokenRequest,
        peer: Option<IpAddr>,
    ) -> Result<Sid, ValidationError> {
        let EmailTokenRequest {
            email,
            client_secret,
            send_attempt,
            next_link,
            language,
            brand,
        } = request;
        self.check_next_link(next_link.as_ref())?;
        self.mailer.check(&email)?;
        let now = self.clock.now();
        let wanted = SessionRecord {
            threepid: email.clone().into(),
            client_secret: client_secret.hash(),
            send_attempt: Some(send_attempt),
            wrong_tries: 0,
            created: now,
            validated_at: None,
            expires: now.plus(self.settings.email_lifetime),
            next_link: next_link.map(|link| link.as_str().to_owned()),
            language,
            brand,
        };
        let new_sid = self.random.sid()?;
        if self
            .store
            .read(|tx| plan::sends_message(tx, &wanted, now))?
        {
            self.take_mail(&wanted.threepid, peer)?;
        }
        let planned = self
            .store
            .write(move |tx| plan::carry_out(tx, &wanted, &new_sid, now))
            .await?;
        if planned.created {
            self.metrics.session(SessionEvent::Created);
        }
        let Some(message) = planned.message else {
            return Ok(planned.sid);
        };
        if let Err(error) = self
            .send_verification(&planned.sid, &email, &message.record)
            .await
        {
            self.give_attempt_back(planned.sid, send_attempt, message.previous)
                .await?;
            return Err(error);
        }
        Ok(planned.sid)
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

    /// The token came by the mailed link, whose reader does not know the client's secret.
    ///
    /// # Errors
    /// As [`Self::submit_token`].
    pub async fn submit_link(
        &self,
        sid: &Sid,
        token: &Token,
        peer: Option<IpAddr>,
    ) -> Result<Confirmed, ValidationError> {
        self.submit(Medium::Email, sid, None, token, peer).await
    }

    /// What the mailed link would confirm. Changes nothing.
    ///
    /// # Errors
    /// As [`Self::submit_token`]; a wrong token counts for the source only.
    pub fn link_details(
        &self,
        sid: &Sid,
        token: &Token,
        peer: Option<IpAddr>,
    ) -> Result<LinkDetails, ValidationError> {
        self.check_wrong_tokens(peer)?;
        let record = self.store.read(|tx| tx.get::<Sessions>(sid))?;
        let record = record
            .filter(|record| record.threepid.medium() == Medium::Email)
            .ok_or(ValidationError::NoSession)?;
        if self.clock.now() >= record.expires {
            return Err(ValidationError::Expired);
        }
        if *token != self.email_token(sid, &record.threepid, record.created) {
            self.count_wrong_token(peer);
            return Err(ValidationError::TokenIncorrect);
        }
        let SessionRecord {
            threepid,
            language,
            brand,
            ..
        } = record;
        Ok(LinkDetails {
            threepid,
            language,
            brand,
        })
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
        let right = *token == self.email_token(sid, &known.threepid, known.created);
        let attempt = Attempt {
            medium,
            sid: sid.clone(),
            client_secret,
            right,
            now: self.clock.now(),
            lifetime: self.settings.validated_lifetime,
            tries: self.settings.email_tries,
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

    fn take_mail(&self, threepid: &ThreePid, peer: Option<IpAddr>) -> Result<(), Limited> {
        self.limits
            .peek(Action::EmailByAddress, Subject::ThreePid(threepid))?;
        if let Some(ip) = peer {
            self.limits.take(Action::EmailByIp, Subject::Ip(ip))?;
        }
        self.limits
            .take(Action::EmailByAddress, Subject::ThreePid(threepid))
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

    async fn send_verification(
        &self,
        sid: &Sid,
        email: &Email,
        record: &SessionRecord,
    ) -> Result<(), ValidationError> {
        let token = self.email_token(sid, &record.threepid, record.created);
        let link = format!(
            "{}/verify/email?sid={sid}&token={}",
            self.settings.public_url,
            token.expose()
        );
        let message = Message::Verification {
            server: &self.settings.server_name,
            link: &link,
            lifetime: self.settings.email_lifetime,
        };
        let mail = self.templates.render_mail(
            message,
            record.language.as_deref(),
            record.brand.as_deref(),
        )?;
        let sent = self.mailer.send(email, mail).await;
        self.metrics.mail(match &sent {
            Ok(()) => MailOutcome::Sent,
            Err(SendError::Temporary(_)) => MailOutcome::Temporary,
            Err(SendError::Message(_) | SendError::NoTransport) => MailOutcome::Failed,
            Err(_) => MailOutcome::Refused,
        });
        Ok(sent?)
    }

    async fn give_attempt_back(
        &self,
        sid: Sid,
        failed: u64,
        previous: Option<u64>,
    ) -> Result<(), StoreError> {
        self.store
            .write(move |tx| {
                if let Some(mut record) = tx.get::<Sessions>(&sid)?
                    && record.send_attempt == Some(failed)
                {
                    record.send_attempt = previous;
                    tx.put::<Sessions>(&sid, &record)?;
                }
                Ok(())
            })
            .await
    }

    /// The token of an e-mail session: 128 bits derived from the server's secret, so that it need not be stored.
    fn email_token(&self, sid: &Sid, threepid: &ThreePid, created: Timestamp) -> Token {
        let derived = self.secret.derive(
            "email validation token",
            &[
                sid.as_str().as_bytes(),
                threepid.medium().as_str().as_bytes(),
                threepid.address().as_bytes(),
                &created.as_millis().to_be_bytes(),
            ],
        );
        let (half, _) = derived.split_at(16);
        Token::from_derived(&URL_SAFE_NO_PAD.encode(half))
    }
}
