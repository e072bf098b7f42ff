use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;
use url::Url;

use super::reader::{Reader, Section};
use super::{Email, Secret, values};
use crate::types::Invalid;

mod country;
mod preset;
mod segments;

pub use country::Countries;
pub use preset::{SmsBody, SmsCondition, SmsMethod, SmsPreset};

/// What an SMS says where its code goes.
const PLACE_OF_TOKEN: &str = "{token}";

/// The longest text, in characters: about six SMS.
const LONGEST_MESSAGE: usize = 1000;

/// `[sms]`: how SMS go out, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sms {
    /// Who sends them.
    pub provider: SmsProvider,
    /// Who sends them when the provider does not: a webhook or a preset.
    pub fallback: Option<SmsProvider>,
    /// Where the file provider writes: the folder of the mails.
    pub directory: PathBuf,
    /// The text of every SMS, in place of the template; it holds `{token}`.
    pub message: Option<String>,
    /// The sender.
    pub from: Option<SmsSender>,
    /// The country of most users, as two capital letters.
    pub home_country: Option<String>,
    /// The countries whose numbers get SMS; the home country while none are named.
    pub allow_countries: Countries,
    /// The kinds of numbers that get SMS.
    pub allow_types: Vec<NumberType>,
    /// SMS that are sent on one day at most.
    pub daily_budget: u32,
    /// How long sending one may take, from finding the provider to the end of its answer.
    pub timeout: Duration,
    /// A PEM file of further root certificates.
    pub ca_file: Option<PathBuf>,
    /// `[sms.webhook]`: a program of the operator's that sends them.
    pub webhook: SmsWebhook,
    /// `[sms.presets.<name>]`: how providers are asked. Those that are named in the file, and those that are used.
    pub presets: BTreeMap<String, SmsPreset>,
}

/// Who sends SMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SmsProvider {
    /// Nobody: phone numbers cannot be validated.
    None,
    /// Nobody, but they are written into files, for a first try.
    File,
    /// A program of the operator's.
    Webhook,
    /// A provider that is asked by the preset of this name.
    Preset(String),
}

/// The sender of an SMS: a number or a name, the same for all countries or one for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmsSender {
    default: String,
    by_country: BTreeMap<String, String>,
}

impl SmsSender {
    /// The sender for numbers of a country, given as two capital letters.
    pub fn of_country(&self, country: &str) -> &str {
        self.by_country.get(country).unwrap_or(&self.default)
    }
}

/// A kind of phone number, as far as numbering plans tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberType {
    /// A mobile phone.
    Mobile,
    /// One of the two, in plans that do not tell which.
    MobileOrFixed,
    /// A landline.
    Fixed,
    /// A phone on the Internet.
    Voip,
}

/// `[sms.webhook]`: a program of the operator's that takes SMS.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SmsWebhook {
    /// Where it listens; there is one if it is used.
    pub url: Option<Url>,
    /// Further headers of each request; their values may be secret.
    pub headers: BTreeMap<String, Secret>,
    /// What requests are signed with; there is one if the webhook is used.
    pub secret: Option<Secret>,
}

impl std::fmt::Debug for SmsWebhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SmsWebhook(…)")
    }
}

impl Sms {
    /// The defaults of a server whose mails are written here.
    pub fn beside(mails: &Path) -> Self {
        Self {
            provider: SmsProvider::None,
            fallback: None,
            directory: mails.to_owned(),
            message: None,
            from: None,
            home_country: None,
            allow_countries: Countries::all(),
            allow_types: vec![NumberType::Mobile, NumberType::MobileOrFixed],
            daily_budget: 500,
            timeout: Duration::from_secs(10),
            ca_file: None,
            webhook: SmsWebhook::default(),
            presets: BTreeMap::new(),
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>, email: &Email) -> Self {
        const TYPES: Invalid = Invalid::expecting(
            "a list of \"mobile\", \"mobile-or-fixed\", \"fixed\" and \"voip\", not an empty one",
        );
        const BUDGET: Invalid = Invalid::expecting("a number of SMS a day from 1 to 1000000");
        let default = Self::beside(&email.directory);
        let in_file = reader.tables("sms.presets");
        let mut section = reader.section("sms");
        let mut sms = Self {
            provider: section.value("provider", default.provider, provider),
            fallback: section.optional("fallback", fallback),
            message: section.optional("message", message),
            from: section.optional("from", sender),
            home_country: section.optional("home_country", country::one),
            allow_countries: section.value("allow_countries", Countries::all(), country::list),
            allow_types: section.value("allow_types", default.allow_types, |value| {
                let types = values::list(value, |text| number_type(text).ok_or(TYPES), TYPES)?;
                (!types.is_empty()).then_some(types).ok_or(TYPES)
            }),
            daily_budget: section.value("daily_budget", default.daily_budget, |value| {
                values::whole(value, &(1..=1_000_000), BUDGET)
            }),
            timeout: section.value("timeout", default.timeout, values::duration),
            ca_file: section.optional("ca_file", values::path),
            ..default
        };
        let names_countries = section.is_set("allow_countries");
        if let (Some(home), false) = (&sms.home_country, names_countries) {
            sms.allow_countries = Countries::only(home);
        }
        sms.refuse_contradictions(&mut section, names_countries);
        sms.webhook = SmsWebhook::read(reader, sms.uses(&SmsProvider::Webhook));
        sms.read_presets(reader, in_file);
        sms
    }

    /// How many SMS the text of `message` takes for each code.
    pub(super) fn segments_of_message(&self) -> usize {
        let message = self.message.as_deref();
        message.map_or(1, |text| {
            segments::count(&text.replace(PLACE_OF_TOKEN, "000000"))
        })
    }

    fn uses(&self, provider: &SmsProvider) -> bool {
        self.provider == *provider || self.fallback.as_ref() == Some(provider)
    }

    fn refuse_contradictions(&self, section: &mut Section<'_, '_>, names_countries: bool) {
        let costs = matches!(self.provider, SmsProvider::Webhook | SmsProvider::Preset(_));
        if costs && !names_countries && !section.is_set("home_country") {
            section.refuse(
                "home_country",
                "or `sms.allow_countries` must be set, so that nobody can have SMS sent all over the world at your \
                 cost; allow_countries = [\"*\"] allows it",
            );
        }
        if self.fallback.is_some() && !costs {
            section.refuse(
                "fallback",
                "must be set together with a `sms.provider` that can fail: \"webhook\" or a preset",
            );
        }
        if self.fallback.as_ref() == Some(&self.provider) {
            section.refuse("fallback", "must be another one than `sms.provider`");
        }
    }

    /// The presets that the file has, and those that are used.
    fn read_presets(&mut self, reader: &mut Reader<'_>, in_file: Vec<String>) {
        let mut names: BTreeSet<String> = in_file.into_iter().collect();
        let providers = [
            ("provider", Some(&self.provider)),
            ("fallback", self.fallback.as_ref()),
        ];
        for (key, provider) in providers {
            let Some(SmsProvider::Preset(name)) = provider else {
                continue;
            };
            if preset::is_built_in(name) {
                names.insert(name.clone());
            } else if !names.contains(name) {
                reader.section("sms").refuse(key, &not_a_provider(key));
            }
        }
        for name in names {
            let is_used = self.uses(&SmsProvider::Preset(name.clone()));
            if let Some(preset) = SmsPreset::read(reader, &name, is_used, self.from.is_some()) {
                self.presets.insert(name, preset);
            }
        }
    }
}

impl SmsWebhook {
    fn read(reader: &mut Reader<'_>, is_used: bool) -> Self {
        let mut section = reader.section("sms.webhook");
        let webhook = Self {
            url: section.optional("url", url),
            headers: section.value("headers", BTreeMap::new(), |value| {
                preset::headers(value, &["content-type", "x-bindery-signature"])
            }),
            secret: section.secret("secret"),
        };
        if is_used && !section.is_set("url") {
            section.refuse("url", "must be set: where the webhook listens");
        }
        if is_used && !section.has_secret("secret") {
            section.refuse(
                "secret",
                "must be set: the webhook knows by it that a request comes from here",
            );
        }
        webhook
    }
}

fn not_a_provider(key: &str) -> String {
    let known: Vec<String> = preset::BUILT_IN
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    let words = if key == "provider" {
        "\"none\", \"file\", \"webhook\""
    } else {
        "\"webhook\""
    };
    format!(
        "must be {words}, {}, or the name of a table [sms.presets.<name>]",
        known.join(", ")
    )
}

fn provider(value: &Value) -> Result<SmsProvider, Invalid> {
    const EXPECTED: Invalid =
        Invalid::expecting("\"none\", \"file\", \"webhook\" or the name of a preset");
    let parse = |text: &str| match text {
        "none" => Ok(SmsProvider::None),
        "file" => Ok(SmsProvider::File),
        "webhook" => Ok(SmsProvider::Webhook),
        name if preset::is_name(name) => Ok(SmsProvider::Preset(name.to_owned())),
        _ => Err(EXPECTED),
    };
    values::text(value, parse, EXPECTED)
}

fn fallback(value: &Value) -> Result<SmsProvider, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting("\"webhook\" or the name of a preset");
    match provider(value) {
        Ok(provider @ (SmsProvider::Webhook | SmsProvider::Preset(_))) => Ok(provider),
        _ => Err(EXPECTED),
    }
}

/// Where a gateway listens. Whether an http URL leads to somebody next door shows when it is connected to.
fn url(value: &Value) -> Result<Url, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "an https or http URL without a login and without a fragment, in quotes",
    );
    let parse = |text: &str| {
        let url = Url::parse(text).map_err(|_| EXPECTED)?;
        let is_web = matches!(url.scheme(), "https" | "http") && url.has_host();
        let has_login = !url.username().is_empty() || url.password().is_some();
        (is_web && !has_login && url.fragment().is_none())
            .then_some(url)
            .ok_or(EXPECTED)
    };
    values::text(value, parse, EXPECTED)
}

fn message(value: &Value) -> Result<String, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "a text of at most 1000 characters with {token} in it, such as \"Your code is {token}\"",
    );
    let parse = |text: &str| {
        let is_text = !text.contains(|c: char| c.is_control() && c != '\n');
        let fits = text.chars().count() <= LONGEST_MESSAGE;
        (is_text && fits && text.contains(PLACE_OF_TOKEN))
            .then(|| text.to_owned())
            .ok_or(EXPECTED)
    };
    values::text(value, parse, EXPECTED)
}

fn sender(value: &Value) -> Result<SmsSender, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "a sender such as \"Example\" or \"+15005550006\", or a table of senders by country with a default, such as \
         { default = \"Example\", US = \"+15005550006\" }",
    );
    let one = |value: &Value| match values::line(value) {
        Ok(text) if text.chars().count() <= 64 => Ok(text),
        _ => Err(EXPECTED),
    };
    let Value::Table(table) = value else {
        return one(value).map(|default| SmsSender {
            default,
            by_country: BTreeMap::new(),
        });
    };
    let mut by_country = BTreeMap::new();
    for (name, sender) in table.iter().filter(|(name, _)| *name != "default") {
        by_country.insert(country::parse(name).ok_or(EXPECTED)?, one(sender)?);
    }
    Ok(SmsSender {
        default: one(table.get("default").ok_or(EXPECTED)?)?,
        by_country,
    })
}

fn number_type(text: &str) -> Option<NumberType> {
    match text {
        "mobile" => Some(NumberType::Mobile),
        "mobile-or-fixed" => Some(NumberType::MobileOrFixed),
        "fixed" => Some(NumberType::Fixed),
        "voip" => Some(NumberType::Voip),
        _ => None,
    }
}
