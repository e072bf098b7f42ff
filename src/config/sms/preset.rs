use std::collections::BTreeMap;
use std::fmt;

use minijinja::Environment;
use toml::{Table, Value};
use url::Url;

use crate::config::reader::{Reader, Section};
use crate::config::{Secret, values};
use crate::types::Invalid;

/// The presets that are compiled in.
pub(super) const BUILT_IN: [(&str, &str); 3] = [
    ("twilio", include_str!("twilio.toml")),
    ("vonage", include_str!("vonage.toml")),
    ("infobip", include_str!("infobip.toml")),
];

/// What templates may name: the message, and what the operator has from the provider.
const VALUES: [&str; 10] = [
    "to",
    "to_digits",
    "country",
    "from",
    "message",
    "token",
    "base_url",
    "username",
    "password",
    "api_key",
];

/// Headers that say how a request is sent, not what it says.
const OWN_HEADERS: [&str; 5] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
];

/// `[sms.presets.<name>]`: the HTTP request that asks a provider to send an SMS, in templates, and how to read its
/// answer. Templates may hold secrets, so `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SmsPreset {
    /// The method.
    pub method: SmsMethod,
    /// A template of the URL.
    pub url: String,
    /// Templates of headers, by name.
    pub headers: BTreeMap<String, Secret>,
    /// A template of the body, and what it is.
    pub body: Option<(SmsBody, String)>,
    /// The value `base_url` of the templates: where the provider is, without a slash at the end.
    pub base_url: Option<String>,
    /// The value `username` of the templates.
    pub username: Option<String>,
    /// The value `password` of the templates.
    pub password: Option<Secret>,
    /// The value `api_key` of the templates.
    pub api_key: Option<Secret>,
    /// Answers that mean that the SMS was taken: those to which one of these applies.
    pub success: Vec<SmsCondition>,
    /// Answers that mean that this number gets no SMS, whoever sends it.
    pub refused: Vec<SmsCondition>,
    /// Answers that mean that it may work later, besides 429 and 5xx.
    pub temporary: Vec<SmsCondition>,
    /// Where in the JSON of an answer the provider's own code is (RFC 6901), for the log.
    pub reason: Option<String>,
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmsMethod {
    /// GET, without a body.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
}

/// What a body is, and so how values are written in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmsBody {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/json`.
    Json,
}

/// Something that holds of an answer or not: all that is given of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmsCondition {
    /// The HTTP status is one of these; none are any.
    pub status: Vec<u16>,
    /// What stands at this place of the JSON (RFC 6901) is one of these, as texts.
    pub field: Option<(String, Vec<String>)>,
}

impl fmt::Debug for SmsPreset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmsPreset(…)")
    }
}

pub(super) fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(known, _)| *known == name)
}

/// `[a-z0-9_-]{1,32}`.
pub(super) fn is_name(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    (1..=32).contains(&text.len()) && text.bytes().all(known)
}

/// A section, and the preset behind it that is compiled in.
struct Keys<'r, 'a> {
    section: Section<'r, 'a>,
    behind: Table,
}

impl Keys<'_, '_> {
    fn take<T>(&mut self, name: &str, parse: impl Fn(&Value) -> Result<T, Invalid>) -> Option<T> {
        let given = self.section.optional(name, &parse);
        given.or_else(|| parse(self.behind.get(name)?).ok())
    }

    fn is_set(&self, name: &str) -> bool {
        self.section.is_set(name) || self.behind.contains_key(name)
    }
}

impl SmsPreset {
    /// Reads a preset; none if it cannot be used, which is then noted.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        name: &str,
        is_used: bool,
        has_sender: bool,
    ) -> Option<Self> {
        let key = format!("sms.presets.{name}");
        if !is_name(name) || matches!(name, "none" | "file" | "webhook") {
            reader.refuse(
                &key,
                format!(
                    "`{key}`: a preset is named with 1 to 32 of a-z 0-9 _ -, and not like another provider"
                ),
            );
        }
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        let behind = built_in.and_then(|(_, text)| text.parse().ok());
        let mut keys = Keys {
            section: reader.section(&key),
            behind: behind.unwrap_or_default(),
        };
        if !keys.is_set("url") {
            keys.section
                .refuse("url", "must be set: where the provider is asked");
        }
        let url = keys.take("url", template);
        let headers = keys.take("headers", |value| {
            let headers = headers(value, &[])?;
            let right = headers.values().all(|header| is_template(header.expose()));
            right.then_some(headers).ok_or(TEMPLATES)
        });
        let headers = headers.unwrap_or_default();
        let body = keys.take("body", template);
        let method = keys.take("method", method).unwrap_or(SmsMethod::Post);
        let preset = Self {
            method,
            body: body.and_then(|body| typed(body, method, &headers, &mut keys.section)),
            headers,
            base_url: keys.take("base_url", base_url),
            username: keys.take("username", values::line),
            password: keys.section.secret("password"),
            api_key: keys.section.secret("api_key"),
            success: keys.take("success", conditions).unwrap_or_else(any_2xx),
            refused: keys.take("refused", conditions).unwrap_or_default(),
            temporary: keys.take("temporary", conditions).unwrap_or_default(),
            reason: keys.take("reason", pointer),
            url: url?,
        };
        if is_used {
            preset.refuse_missing(&mut keys, has_sender);
        }
        Some(preset)
    }

    /// What its templates name must be there if it is used.
    fn refuse_missing(&self, keys: &mut Keys<'_, '_>, has_sender: bool) {
        let texts: Vec<&str> = self.templates().collect();
        let named = |value: &str| texts.iter().any(|text| names(text, value));
        for value in ["base_url", "username", "password", "api_key"] {
            let is_there = match value {
                "password" | "api_key" => keys.section.has_secret(value),
                _ => keys.is_set(value),
            };
            if named(value) && !is_there {
                keys.section
                    .refuse(value, "must be set: the request to the provider has it");
            }
        }
        if named("from") && !has_sender {
            keys.section.refuse_elsewhere(
                "sms.from",
                "must be set: the request to the provider has it",
            );
        }
    }

    fn templates(&self) -> impl Iterator<Item = &str> {
        let headers = self.headers.values().map(Secret::expose);
        let body = self.body.as_ref().map(|(_, body)| body.as_str());
        [self.url.as_str()].into_iter().chain(headers).chain(body)
    }
}

/// The body with its type, which its header says.
fn typed(
    body: String,
    method: SmsMethod,
    headers: &BTreeMap<String, Secret>,
    section: &mut Section<'_, '_>,
) -> Option<(SmsBody, String)> {
    if method == SmsMethod::Get {
        section.refuse("body", "cannot be sent with GET: set method = \"POST\"");
        return None;
    }
    let said = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let media_type = said.and_then(|(_, value)| value.expose().split(';').next());
    match media_type.map(str::trim) {
        Some("application/json") => Some((SmsBody::Json, body)),
        Some("application/x-www-form-urlencoded") => Some((SmsBody::Form, body)),
        _ => {
            section.refuse(
                "headers",
                "must have a Content-Type of \"application/json\" or \"application/x-www-form-urlencoded\" for the body",
            );
            None
        }
    }
}

fn any_2xx() -> Vec<SmsCondition> {
    vec![SmsCondition {
        status: (200..300).collect(),
        field: None,
    }]
}

const TEMPLATES: Invalid = Invalid::expecting(
    "a table of headers, the values as templates that name only to, to_digits, country, from, message, token, base_url, \
     username, password and api_key",
);

fn template(value: &Value) -> Result<String, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "a template such as \"{{ to }}\" that names only to, to_digits, country, from, message, token, base_url, username, \
         password and api_key",
    );
    let parse = |text: &str| is_template(text).then(|| text.to_owned()).ok_or(EXPECTED);
    values::text(value, parse, EXPECTED)
}

fn is_template(text: &str) -> bool {
    let environment = Environment::new();
    environment.template_from_str(text).is_ok_and(|template| {
        let named = template.undeclared_variables(false);
        named.iter().all(|name| VALUES.contains(&name.as_str()))
    })
}

fn names(text: &str, value: &str) -> bool {
    let environment = Environment::new();
    let template = environment.template_from_str(text);
    template.is_ok_and(|template| template.undeclared_variables(false).contains(value))
}

/// Headers by name. Their values may be secret, and cannot end the line.
pub(super) fn headers(value: &Value, ours: &[&str]) -> Result<BTreeMap<String, Secret>, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "a table of headers such as { Accept = \"application/json\" }, without those that the server sets itself",
    );
    let table = value.as_table().ok_or(EXPECTED)?;
    let mut headers = BTreeMap::new();
    for (name, value) in table {
        let lower = name.to_ascii_lowercase();
        let is_token = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        let is_ours = OWN_HEADERS.contains(&lower.as_str()) || ours.contains(&lower.as_str());
        if !is_token || is_ours {
            return Err(EXPECTED);
        }
        let value = values::secret(value).map_err(|_| EXPECTED)?;
        headers.insert(name.clone(), value);
    }
    Ok(headers)
}

fn method(value: &Value) -> Result<SmsMethod, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting("\"GET\", \"POST\" or \"PUT\"");
    let methods = [
        ("GET", SmsMethod::Get),
        ("POST", SmsMethod::Post),
        ("PUT", SmsMethod::Put),
    ];
    values::word(value, &methods, EXPECTED)
}

fn base_url(value: &Value) -> Result<String, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "an https or http URL without a query, such as \"https://abc123.api.example.com\", in quotes",
    );
    let parse = |text: &str| {
        let url = super::url(&Value::String(text.to_owned())).map_err(|_| EXPECTED)?;
        let is_base = url.query().is_none();
        is_base.then(|| without_slash(&url)).ok_or(EXPECTED)
    };
    values::text(value, parse, EXPECTED)
}

fn without_slash(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// A place in JSON (RFC 6901).
fn pointer(value: &Value) -> Result<String, Invalid> {
    const EXPECTED: Invalid =
        Invalid::expecting("a place in JSON such as \"/messages/0/status\", in quotes");
    let parse = |text: &str| {
        let is_pointer = text.starts_with('/');
        is_pointer.then(|| text.to_owned()).ok_or(EXPECTED)
    };
    values::text(value, parse, EXPECTED)
}

fn conditions(value: &Value) -> Result<Vec<SmsCondition>, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "a condition such as { status = [200, 201] } or { status = 400, field = \"/code\", is = [1, \"two\"] }, or a list of \
         them",
    );
    let one = |value: &Value| condition(value).ok_or(EXPECTED);
    match value {
        Value::Array(items) => items.iter().map(one).collect(),
        single => one(single).map(|condition| vec![condition]),
    }
}

fn condition(value: &Value) -> Option<SmsCondition> {
    let table = value.as_table()?;
    let known = |key: &String| matches!(key.as_str(), "status" | "field" | "is");
    if !table.keys().all(known) || table.is_empty() {
        return None;
    }
    let status = match table.get("status") {
        Some(given) => several(given, status)?,
        None => Vec::new(),
    };
    let field = match (table.get("field"), table.get("is")) {
        (Some(field), Some(is)) => Some((pointer(field).ok()?, several(is, scalar)?)),
        (None, None) => None,
        _ => return None,
    };
    Some(SmsCondition { status, field })
}

/// One thing, or a list of at least one.
fn several<T>(value: &Value, parse: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    match value {
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => items.iter().map(parse).collect(),
        single => parse(single).map(|one| vec![one]),
    }
}

fn status(value: &Value) -> Option<u16> {
    let status = u16::try_from(value.as_integer()?).ok()?;
    (200..500).contains(&status).then_some(status)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}
