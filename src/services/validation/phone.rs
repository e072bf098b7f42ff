//! Phone numbers: an SMS with a code, which somebody types in.
//!
//! A code is short, so that what protects it is how often one may be tried: a few times in a session, and in all sessions of
//! a number together so often a day. SMS cost money, so that their number is bounded by whom they go to, by who asks, and as
//! a whole. What must not begin anew with the process is counted in the store, in the write that makes the session.

use std::net::IpAddr;
use std::time::Duration;

use super::attempt::WrongCodes;
use super::{Request, Validation, ValidationError, plan};
use crate::config::{self, Countries, NumberType};
use crate::limits::{Action, Limited, Subject};
use crate::metrics::SmsOutcome;
use crate::sms::{SendError, SmsMessage};
use crate::storage::tables::{Budget, Meta, MetaName, SessionRecord};
use crate::storage::{Spent, StoreError, Tx};
use crate::templates::Code;
use crate::types::{
    Country, Invalid, Msisdn, PhoneKind, PhoneNumber, Sid, ThreePid, Timestamp, Token, UserId,
};

/// How many codes there are: those of six digits.
const CODES: u128 = 1_000_000;

/// How long a budget of a day holds, from its first SMS on.
const DAY: Duration = Duration::from_hours(24);

/// After how long an SMS that could not be sent is tried again first.
const FIRST_PAUSE: Duration = Duration::from_secs(15);

/// What of the configuration the validation of phone numbers needs.
#[derive(Debug, Clone)]
pub struct PhoneSettings {
    /// How long a session waits for its code.
    pub lifetime: Duration,
    /// How many wrong codes a session bears before it is burnt.
    pub tries: u32,
    /// Which numbers get SMS at first.
    pub destinations: Destinations,
    /// How many SMS are sent in a day.
    pub daily_budget: u32,
}

/// Which numbers get SMS.
#[derive(Debug, Clone)]
pub struct Destinations {
    /// Those of these countries,
    pub countries: Countries,
    /// and of these kinds.
    pub types: Vec<NumberType>,
}

impl From<&config::Sms> for Destinations {
    fn from(sms: &config::Sms) -> Self {
        Self {
            countries: sms.allow_countries.clone(),
            types: sms.allow_types.clone(),
        }
    }
}

impl Destinations {
    /// Whether SMS go to this number at all.
    fn check(&self, number: &PhoneNumber) -> Result<(), Unserved> {
        let is_named = |country: &Country| self.countries.contain(country.as_str());
        if !number.country().is_some_and(is_named) {
            return Err(Unserved::Country);
        }
        let kind = match number.kind() {
            PhoneKind::Mobile => NumberType::Mobile,
            PhoneKind::MobileOrFixed => NumberType::MobileOrFixed,
            PhoneKind::Fixed => NumberType::Fixed,
            PhoneKind::Voip => NumberType::Voip,
            PhoneKind::Pager
            | PhoneKind::Premium
            | PhoneKind::SharedCost
            | PhoneKind::TollFree
            | PhoneKind::Forwarded => return Err(Unserved::Kind),
        };
        if self.types.contains(&kind) {
            Ok(())
        } else {
            Err(Unserved::Kind)
        }
    }
}

/// Why no SMS go to a number, or not now.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// It is no phone number.
    #[error("this is no phone number")]
    Number(Invalid),
    /// The operator does not want to pay for it.
    #[error("no SMS are sent to {0}")]
    Unserved(Unserved),
    /// The operator has stopped all SMS.
    #[error("SMS are stopped")]
    Stopped,
    /// All SMS of the day are sent.
    #[error("sms.daily_budget is spent")]
    OverBudget {
        /// After how long there are SMS again.
        again_in: Duration,
    },
    /// The SMS could not be handed over.
    #[error("the SMS could not be sent")]
    Send(#[from] SendError),
}

/// What of a number it is that no SMS go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unserved {
    /// Its country, or that it has none.
    #[error("numbers of this country")]
    Country,
    /// What answers at it.
    #[error("numbers of this kind")]
    Kind,
}

/// What the store counts of an SMS.
struct Spending {
    threepid: ThreePid,
    /// How many SMS the number gets in how long, if there is a limit.
    to_number: Option<(u32, Duration)>,
    daily_budget: u32,
    now: Timestamp,
}

/// Why nothing was written.
enum SmsRefused {
    /// The number got all its SMS; there are more after this time.
    Number(Duration),
    /// So did all numbers together.
    Budget(Duration),
    Store(StoreError),
}

impl From<StoreError> for SmsRefused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Spending {
    /// Whether enough is left.
    fn check(&self, tx: &Tx<'_>) -> Result<(), SmsRefused> {
        self.ask(|budget, most, _| tx.can_take(budget, most, self.now))
    }

    fn take(&self, tx: &mut Tx<'_>) -> Result<(), SmsRefused> {
        self.ask(|budget, most, per| tx.take(budget, most, per, self.now))
    }

    fn ask(
        &self,
        mut ask: impl FnMut(&Budget, u32, Duration) -> Result<Spent, StoreError>,
    ) -> Result<(), SmsRefused> {
        if let Some((most, per)) = self.to_number {
            let codes = Budget::CodesFor(self.threepid.clone());
            if let Spent::No { again_in } = ask(&codes, most, per)? {
                return Err(SmsRefused::Number(again_in));
            }
        }
        match ask(&Budget::Sms, self.daily_budget, DAY)? {
            Spent::Yes => Ok(()),
            Spent::No { again_in } => Err(SmsRefused::Budget(again_in)),
        }
    }
}

impl Validation {
    /// Finds or makes the session of (phone number, digits, client secret), and sends its SMS if `send_attempt` is higher
    /// than before. Answers the session's id and the number that was read. An SMS that the provider does not take now is
    /// sent later, while its code is of use.
    ///
    /// # Errors
    /// When a limit is reached nothing is stored. When the SMS is refused for good, the attempt does not count; but its SMS
    /// does, so that nobody can ask a provider without end.
    pub async fn request_sms_token(
        &self,
        country: &Country,
        number: &str,
        request: Request,
        account: Option<&UserId>,
        peer: Option<IpAddr>,
    ) -> Result<(Sid, PhoneNumber), ValidationError> {
        // Numbering plans take memory, which a server without SMS does not need to have.
        self.sms.check().map_err(PhoneError::from)?;
        let number = PhoneNumber::parse(country, number).map_err(PhoneError::Number)?;
        let settings = &self.settings.phone;
        self.destinations
            .load()
            .check(&number)
            .map_err(PhoneError::Unserved)?;
        self.check_next_link(request.next_link.as_ref())?;
        let now = self.clock.now();
        let send_attempt = request.send_attempt;
        let threepid = ThreePid::from(number.msisdn().clone());
        let wanted = request.session(threepid.clone(), now, now.plus(settings.lifetime));
        let new_sid = self.random.sid()?;
        let spending = Spending {
            threepid,
            to_number: self
                .limits
                .rate_elsewhere(Action::SmsByNumber)
                .map(|rate| (rate.count.get(), rate.per)),
            daily_budget: settings.daily_budget,
            now,
        };
        let sends = self
            .store
            .read(|tx| -> Result<bool, SmsRefused> {
                let sends = plan::sends_message(tx, &wanted, now)?;
                if sends {
                    spending.check(tx)?;
                }
                Ok(sends)
            })
            .map_err(|refused| self.refusal(refused))?;
        if sends {
            self.check_not_stopped()?;
            self.take_sms(&number, account, peer)?;
        }
        let planned = self
            .store
            .write(move |tx| -> Result<_, SmsRefused> {
                let planned = plan::carry_out(tx, &wanted, &new_sid, now)?;
                if planned.message.is_some() {
                    spending.take(tx)?;
                }
                Ok(planned)
            })
            .await
            .map_err(|refused| self.refusal(refused))?;
        self.count_created(&planned);
        let Some(message) = planned.message else {
            return Ok((planned.sid, number));
        };
        match self.send_code(&planned.sid, &number, &message.record).await {
            Ok(()) => Ok((planned.sid, number)),
            Err(ValidationError::Phone(PhoneError::Send(error))) if !error.is_final() => {
                log::warn!("an SMS is sent later: {error}");
                self.send_later(&planned.sid, send_attempt, FIRST_PAUSE)
                    .await?;
                Ok((planned.sid, number))
            }
            Err(error) => {
                self.give_attempt_back(planned.sid, send_attempt, message.previous)
                    .await?;
                Err(error)
            }
        }
    }

    /// The code of a session, derived from the server's secret, so that it need not be stored.
    pub(super) fn code(&self, sid: &Sid, threepid: &ThreePid, created: Timestamp) -> Token {
        code(self.derive("sms validation code", sid, threepid, created))
    }

    /// How often wrong codes may be tried for a number, in all of its sessions together.
    pub(super) fn wrong_codes(&self, threepid: &ThreePid) -> Option<WrongCodes> {
        let rate = self.limits.rate_elsewhere(Action::WrongCodesByNumber)?;
        Some(WrongCodes {
            budget: Budget::WrongCodesFor(threepid.clone()),
            most: rate.count.get(),
            per: rate.per,
        })
    }

    fn check_not_stopped(&self) -> Result<(), ValidationError> {
        let stopped = self
            .store
            .read(|tx| tx.get::<Meta>(&MetaName::SmsStopped))?;
        match stopped {
            Some(_) => Err(PhoneError::Stopped.into()),
            None => Ok(()),
        }
    }

    fn take_sms(
        &self,
        number: &PhoneNumber,
        account: Option<&UserId>,
        peer: Option<IpAddr>,
    ) -> Result<(), Limited> {
        let threepid = ThreePid::from(number.msisdn().clone());
        let whole = Some((Action::SmsByNumber, Subject::ThreePid(&threepid)));
        let block = Some((Action::SmsByPrefix, Subject::Block(number.block())));
        let country = number
            .country()
            .map(|country| (Action::SmsByCountry, Subject::Country(country)));
        let account = account.map(|mxid| (Action::SmsByAccount, Subject::User(mxid)));
        let source = peer.map(|ip| (Action::SmsByIp, Subject::Ip(ip)));
        let wanted: Vec<_> = [whole, block, country, account, source]
            .into_iter()
            .flatten()
            .collect();
        self.limits.take_all(&wanted)
    }

    fn refusal(&self, refused: SmsRefused) -> ValidationError {
        match refused {
            SmsRefused::Number(again_in) => Limited {
                action: Action::SmsByNumber,
                retry_after: again_in,
            }
            .into(),
            SmsRefused::Budget(again_in) => {
                self.metrics.sms(SmsOutcome::OverBudget);
                PhoneError::OverBudget { again_in }.into()
            }
            SmsRefused::Store(error) => error.into(),
        }
    }

    /// Sends an SMS that could not be sent when it was asked for. Answers whether its number is still one that gets SMS.
    pub(super) async fn send_queued_code(
        &self,
        sid: &Sid,
        msisdn: &Msisdn,
        record: &SessionRecord,
    ) -> Result<bool, ValidationError> {
        let number = PhoneNumber::of(msisdn).ok();
        let served = number.filter(|number| self.destinations.load().check(number).is_ok());
        let Some(number) = served else {
            return Ok(false);
        };
        self.check_not_stopped()?;
        self.send_code(sid, &number, record).await?;
        Ok(true)
    }

    /// Sends the SMS of a session.
    async fn send_code(
        &self,
        sid: &Sid,
        number: &PhoneNumber,
        record: &SessionRecord,
    ) -> Result<(), ValidationError> {
        let token = self.code(sid, &record.threepid, record.created);
        let code = Code {
            server: &self.settings.server_name,
            token: &token,
            lifetime: self.settings.phone.lifetime,
        };
        let text =
            self.templates
                .render_sms(code, record.language.as_deref(), record.brand.as_deref())?;
        let country = number.country().map(ToString::to_string);
        let message = SmsMessage {
            to: number.msisdn().clone(),
            country: country.unwrap_or_default(),
            text,
            token,
        };
        let sent = self.sms.send(message).await;
        self.metrics.sms(match &sent {
            Ok(()) => SmsOutcome::Sent,
            Err(SendError::NoTransport | SendError::Request { .. }) => SmsOutcome::Failed,
            Err(error) if error.is_final() => SmsOutcome::Refused,
            Err(_) => SmsOutcome::Temporary,
        });
        Ok(sent.map_err(PhoneError::from)?)
    }
}

/// Six digits out of what was derived. Of 2^128 numbers the remainder prefers none that anybody could notice.
fn code(derived: [u8; 32]) -> Token {
    let half = derived.first_chunk::<16>();
    let number = half.copied().map_or(0, u128::from_be_bytes) % CODES;
    Token::from_derived(&format!("{number:06}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::ServerSecret;

    #[test]
    fn a_code_is_the_remainder_with_its_zeros() {
        let code_of = |number: u128| {
            let mut derived = [0xff; 32];
            derived[..16].copy_from_slice(&number.to_be_bytes());
            code(derived).expose().to_owned()
        };
        assert_eq!(code_of(0), "000000");
        assert_eq!(code_of(12_345), "012345");
        assert_eq!(code_of(7_000_000_000_042), "000042");
        assert_eq!(code_of(u128::MAX), "211455");
    }

    #[test]
    fn all_codes_come_equally_often() {
        let secret = ServerSecret::from_bytes([7; 32]);
        let all: u32 = 200_000;
        let mut seen = [[0_u32; 10]; 6];
        for session in 0..all {
            let code = code(secret.derive("sms validation code", &[&session.to_be_bytes()]));
            let digits = code.expose().as_bytes();
            assert_eq!(digits.len(), 6);
            for (place, digit) in digits.iter().enumerate() {
                seen[place][usize::from(digit - b'0')] += 1;
            }
        }
        // Chi-squared with 9 degrees of freedom: above 33.7 once in 10,000 places. The codes are the same in each run.
        for place in seen {
            let expected = f64::from(all) / 10.0;
            let off = |count: u32| (f64::from(count) - expected).powi(2) / expected;
            let chi_squared: f64 = place.into_iter().map(off).sum();
            assert!(chi_squared < 33.7, "{chi_squared} {place:?}");
        }
    }
}
