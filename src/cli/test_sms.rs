//! `bindery test-sms NUMBER`: sends an SMS as the server would.

use super::CliError;
use crate::app::{self, Deps};
use crate::config::{Config, SmsProvider};
use crate::sms::SmsMessage;
use crate::templates::{Code, Templates};
use crate::types::{Country, Msisdn, PhoneNumber, Token};

/// A code that no session has: real ones are never told here.
const CODE: &str = "000000";

/// What CLDR calls a country that is not known.
const UNKNOWN_COUNTRY: &str = "ZZ";

/// Sends an SMS with a code that validates nothing, and says what became of it.
///
/// # Errors
/// One sentence that says what to change.
pub fn run(config: &Config, number: &Msisdn) -> Result<(), CliError> {
    super::runtime()?.block_on(async {
        let sms = app::sms(config, &Deps::system())?;
        let token = Token::from_derived(CODE);
        let code = Code {
            server: &config.server.name,
            token: &token,
            lifetime: config.sessions.sms_lifetime,
        };
        let text = Templates::load(&config.templates)
            .map_err(app::StartError::from)?
            .render_sms(code, None, None)?;
        // A number that the plans do not know is tried all the same: the provider may know more.
        let known = PhoneNumber::of(number).ok();
        let country = known.as_ref().and_then(PhoneNumber::country);
        sms.send(SmsMessage {
            to: number.clone(),
            country: country.map_or(UNKNOWN_COUNTRY, Country::as_str).to_owned(),
            text,
            token,
        })
        .await?;
        let provider = match &config.sms.provider {
            SmsProvider::Preset(name) => name,
            SmsProvider::None | SmsProvider::File | SmsProvider::Webhook => "the webhook",
        };
        let place = match (&config.sms.provider, &config.sms.fallback) {
            (SmsProvider::File, _) => format!("written to {}", config.sms.directory.display()),
            (_, None) => format!("taken by {provider}"),
            (_, Some(_)) => {
                format!(
                    "taken by {provider}, or by the fallback if there is a warning that says so"
                )
            }
        };
        super::say(&format!(
            "The SMS was {place}. Its code {CODE} validates nothing."
        ))
    })
}
