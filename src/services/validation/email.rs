//! E-mail addresses: a mail with a link, and the page behind it.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Confirmed, Request, Validation, ValidationError, plan};
use crate::limits::{Action, Limited, Subject};
use crate::mail::SendError;
use crate::metrics::MailOutcome;
use crate::storage::tables::{SessionRecord, Sessions};
use crate::templates::Message;
use crate::types::{Email, Medium, Sid, ThreePid, Timestamp, Token, UserId};

/// After how long a mail that could not be sent is tried again first.
const FIRST_PAUSE: Duration = Duration::from_mins(1);

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

impl Validation {
    /// Finds or makes the session of (e-mail, address, client secret), and sends its mail if `send_attempt` is higher
    /// than before. Answers the session's id.
    ///
    /// # Errors
    /// When a limit is reached nothing is stored. When the mail is refused for good, the attempt does not count. A mail that
    /// is not taken now is left to the outbox.
    pub async fn request_email_token(
        &self,
        email: Email,
        request: Request,
        account: Option<&UserId>,
        peer: Option<IpAddr>,
    ) -> Result<Sid, ValidationError> {
        self.check_next_link(request.next_link.as_ref())?;
        self.mailer.check(&email)?;
        let now = self.clock.now();
        let send_attempt = request.send_attempt;
        let wanted = request.session(
            email.clone().into(),
            now,
            now.plus(self.settings.email_lifetime),
        );
        let new_sid = self.random.sid()?;
        if self
            .store
            .read(|tx| plan::sends_message(tx, &wanted, now))?
        {
            self.take_mail(&wanted.threepid, account, peer)?;
        }
        let planned = self
            .store
            .write(move |tx| plan::carry_out(tx, &wanted, &new_sid, now))
            .await?;
        self.count_created(&planned);
        let Some(message) = planned.message else {
            return Ok(planned.sid);
        };
        match self
            .send_verification(&planned.sid, &email, &message.record)
            .await
        {
            Ok(()) => Ok(planned.sid),
            Err(ValidationError::Send(SendError::Temporary(trouble))) => {
                log::warn!("a mail is sent later: {trouble}");
                self.send_later(&planned.sid, send_attempt, FIRST_PAUSE)
                    .await?;
                Ok(planned.sid)
            }
            Err(error) => {
                self.give_attempt_back(planned.sid, send_attempt, message.previous)
                    .await?;
                Err(error)
            }
        }
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

    fn take_mail(
        &self,
        threepid: &ThreePid,
        account: Option<&UserId>,
        peer: Option<IpAddr>,
    ) -> Result<(), Limited> {
        let address = (Action::EmailByAddress, Subject::ThreePid(threepid));
        let source = peer.map(|ip| (Action::EmailByIp, Subject::Ip(ip)));
        let account = account.map(|mxid| (Action::EmailByAccount, Subject::User(mxid)));
        let wanted: Vec<_> = [Some(address), source, account]
            .into_iter()
            .flatten()
            .collect();
        self.limits.take_all(&wanted)
    }

    pub(super) async fn send_verification(
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

    /// The token of an e-mail session: 128 bits derived from the server's secret, so that it need not be stored.
    pub(super) fn email_token(&self, sid: &Sid, threepid: &ThreePid, created: Timestamp) -> Token {
        let derived = self.derive("email validation token", sid, threepid, created);
        let (half, _) = derived.split_at(16);
        Token::from_derived(&URL_SAFE_NO_PAD.encode(half))
    }
}
