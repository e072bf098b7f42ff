//! Presets: the HTTP request that a provider's documentation describes, in templates.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::{AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior, Value};
use serde_json::Value as Json;
use url::Url;
use url::form_urlencoded::byte_serialize;

use super::SmsMessage;
use super::error::{SendError, SetupError};
use super::verdict::Verdicts;
use crate::config::{self, Secret, SmsBody, SmsMethod, SmsPreset, SmsSender};
use crate::net::{GatewayRequest, Gateways, Method};
use crate::types::{Msisdn, Token};

/// The names of templates, by which the way to write values into them is chosen.
const URL: &str = "url";
const FORM: &str = "form";
const JSON: &str = "json";
const HEADER: &str = "header";

pub(super) struct Preset {
    name: String,
    key: String,
    method: Method,
    templates: Environment<'static>,
    /// The names of the headers; the template of each is `header` and its place.
    headers: Vec<String>,
    body: Option<&'static str>,
    credentials: Credentials,
    sender: Option<SmsSender>,
    /// Scheme, host and port, which no message changes.
    origin: String,
    verdicts: Verdicts,
    gateways: Gateways,
}

/// What the operator has from the provider.
struct Credentials {
    base_url: String,
    username: String,
    password: Option<Secret>,
    api_key: Option<Secret>,
}

impl Preset {
    pub(super) fn new(
        name: &str,
        settings: &config::Sms,
        gateways: Gateways,
    ) -> Result<Self, SetupError> {
        let key = format!("sms.presets.{name}");
        let Some(preset) = settings.presets.get(name) else {
            return Err(SetupError::Missing(key));
        };
        let body = preset.body.as_ref().map(|(kind, _)| match kind {
            SmsBody::Form => FORM,
            SmsBody::Json => JSON,
        });
        let mut built = Self {
            method: match preset.method {
                SmsMethod::Get => Method::Get,
                SmsMethod::Post => Method::Post,
                SmsMethod::Put => Method::Put,
            },
            templates: templates(&key, preset, body)?,
            headers: preset.headers.keys().cloned().collect(),
            body,
            credentials: Credentials::of(preset),
            sender: settings.from.clone(),
            origin: String::new(),
            verdicts: Verdicts::of(preset),
            gateways,
            name: name.to_owned(),
            key,
        };
        built.origin = built.try_out()?;
        Ok(built)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn send(
        &self,
        message: &SmsMessage,
        patience: Duration,
    ) -> Result<(), SendError> {
        let failed = |problem: String| SendError::Request {
            provider: self.name.clone(),
            problem,
        };
        let request = self
            .request(message)
            .map_err(|broken| failed(broken.problem))?;
        if origin(&request.url) != self.origin {
            return Err(failed("its host depends on the message".to_owned()));
        }
        let answer = self.gateways.send(request, patience).await;
        self.verdicts.judge(&self.name, answer)
    }

    /// Puts together requests for two messages that have nothing in common, so that a mistake stops the start and not a
    /// user. Answers the origin of both.
    fn try_out(&self) -> Result<String, SetupError> {
        let mut origins = Vec::new();
        for (to, country, code) in [
            ("447700900000", "GB", "135790"),
            ("15005550006", "US", "246801"),
        ] {
            let message = SmsMessage {
                to: Msisdn::parse(to).map_err(|_| SetupError::Missing(self.key.clone()))?,
                country: country.to_owned(),
                text: format!("\"{code}\" is your code & nobody else's"),
                token: Token::from_derived(code),
            };
            let request = self
                .request(&message)
                .map_err(|broken| broken.into_setup(self))?;
            Gateways::check(&request.url).map_err(|source| SetupError::Url {
                key: format!("{}.url", self.key),
                source,
            })?;
            let is_json = self.body == Some(JSON);
            let parses = |body: &Vec<u8>| serde_json::from_slice::<Json>(body).is_ok();
            if is_json && !request.body.as_ref().is_some_and(parses) {
                return Err(SetupError::NotJson(format!("{}.body", self.key)));
            }
            origins.push(origin(&request.url));
        }
        origins.dedup();
        match (origins.pop(), origins.is_empty()) {
            (Some(origin), true) => Ok(origin),
            _ => Err(SetupError::HostVaries(format!("{}.url", self.key))),
        }
    }

    fn request(&self, message: &SmsMessage) -> Result<GatewayRequest, Broken> {
        let values = self.values(message);
        let url = self.render(URL, "url", &values)?;
        let url = Url::parse(&url).map_err(|_| Broken {
            key: "url",
            problem: "it is no URL".to_owned(),
            is_url: true,
        })?;
        let mut headers = Vec::new();
        for (place, name) in self.headers.iter().enumerate() {
            let value = self.render(&format!("{HEADER}{place}"), "headers", &values)?;
            headers.push((name.clone(), value));
        }
        let body = match self.body {
            Some(template) => Some(self.render(template, "body", &values)?.into_bytes()),
            None => None,
        };
        Ok(GatewayRequest {
            method: self.method,
            url,
            headers,
            body,
        })
    }

    fn render(&self, template: &str, key: &'static str, values: &Value) -> Result<String, Broken> {
        let rendered = self
            .templates
            .get_template(template)
            .and_then(|template| template.render(values));
        rendered.map_err(|error| Broken {
            key,
            problem: problem(&error),
            is_url: false,
        })
    }

    fn values(&self, message: &SmsMessage) -> Value {
        let Credentials {
            base_url,
            username,
            password,
            api_key,
        } = &self.credentials;
        let sender = self.sender.as_ref();
        minijinja::context! {
            to => message.international(),
            to_digits => message.to.as_str(),
            country => message.country.as_str(),
            from => sender.map_or("", |sender| sender.of_country(&message.country)),
            message => message.text.as_str(),
            token => message.token.expose(),
            base_url => Value::from_safe_string(base_url.clone()),
            username => username.as_str(),
            password => password.as_ref().map_or("", Secret::expose),
            api_key => api_key.as_ref().map_or("", Secret::expose),
        }
    }
}

impl Credentials {
    fn of(preset: &SmsPreset) -> Self {
        Self {
            base_url: preset.base_url.clone().unwrap_or_default(),
            username: preset.username.clone().unwrap_or_default(),
            password: preset.password.clone(),
            api_key: preset.api_key.clone(),
        }
    }
}

/// A request that could not be put together.
struct Broken {
    key: &'static str,
    problem: String,
    is_url: bool,
}

impl Broken {
    fn into_setup(self, preset: &Preset) -> SetupError {
        let key = format!("{}.{}", preset.key, self.key);
        if self.is_url {
            return SetupError::NotAUrl(key);
        }
        SetupError::Template {
            key,
            problem: self.problem,
        }
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn templates(
    key: &str,
    preset: &SmsPreset,
    body: Option<&'static str>,
) -> Result<Environment<'static>, SetupError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // What it would add to errors are the values, and some of them are secret.
    environment.set_debug(false);
    environment.set_auto_escape_callback(|name| AutoEscape::Custom(context(name).into()));
    environment.set_formatter(write_value);
    environment.add_filter("base64", |text: String| STANDARD.encode(text));
    let mut sources = vec![(URL.to_owned(), "url", preset.url.clone())];
    for (place, value) in preset.headers.values().enumerate() {
        sources.push((
            format!("{HEADER}{place}"),
            "headers",
            value.expose().to_owned(),
        ));
    }
    if let (Some(name), Some((_, source))) = (body, &preset.body) {
        sources.push((name.to_owned(), "body", source.clone()));
    }
    for (name, of, source) in sources {
        environment
            .add_template_owned(name, source)
            .map_err(|error| SetupError::Template {
                key: format!("{key}.{of}"),
                problem: problem(&error),
            })?;
    }
    Ok(environment)
}

/// The context that the name of a template stands for.
fn context(name: &str) -> &'static str {
    match name {
        URL => URL,
        FORM => FORM,
        JSON => JSON,
        _ => HEADER,
    }
}

/// Writes a value so that it stays one value where it stands: in a URL and in a form percent-encoded, in JSON as JSON, in a
/// header as it is, where the HTTP client refuses line breaks. A safe value is written as it is everywhere.
fn write_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    if value.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    let text = value.to_string();
    let context = match state.auto_escape() {
        AutoEscape::Custom(context) if !value.is_safe() => context.as_ref(),
        _ => "",
    };
    let written = match context {
        URL => byte_serialize(text.as_bytes())
            .map(|part| if part == "+" { "%20" } else { part })
            .collect(),
        FORM => byte_serialize(text.as_bytes()).collect(),
        JSON => Json::from(text).to_string(),
        _ => text,
    };
    out.write_str(&written).map_err(minijinja::Error::from)
}

/// What went wrong, without the values that were given.
fn problem(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}
