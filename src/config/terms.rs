use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use toml::Value;
use unic_langid::LanguageIdentifier;
use url::Url;

use super::reader::Reader;
use super::values;
use crate::types::Invalid;

/// The name that no language can have.
const VERSION: &str = "version";

/// `[terms]`: the policies that users must accept, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// The policies; none asks nobody anything. Names are of `[a-zA-Z0-9_-]{1,64}`.
    pub policies: BTreeMap<String, Policy>,
}

/// `[terms.<policy>]`: one policy, in at least one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The version: `[a-zA-Z0-9._-]{1,64}`. Users are asked again when it changes.
    pub version: String,
    /// What users read, by the tag of its language as the operator wrote it.
    pub languages: BTreeMap<String, PolicyDocument>,
}

/// `[terms.<policy>.<language>]`: a policy in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDocument {
    /// What the policy is called in this language.
    pub name: String,
    /// Where it is read.
    pub text: PolicyText,
}

/// Where a policy is read.
#[derive(Clone, PartialEq, Eq)]
pub enum PolicyText {
    /// Elsewhere, under this http or https URL, byte for byte as the operator wrote it.
    Url(String),
    /// Here: the Markdown of the file.
    Markdown(String),
}

impl fmt::Debug for PolicyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "Url({url})"),
            Self::Markdown(text) => write!(f, "Markdown({} bytes)", text.len()),
        }
    }
}

impl Terms {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut policies = BTreeMap::new();
        for name in reader.tables("terms") {
            let key = format!("terms.{name}");
            let tables = reader.tables(&key);
            if !is_name(&name) {
                reader.refuse(
                    &key,
                    format!("`{key}`: a policy is named with 1 to 64 of a-z A-Z 0-9 _ -"),
                );
            }
            let version = reader.section(&key).required(VERSION, version);
            let mut languages = BTreeMap::new();
            for language in tables.iter().filter(|&table| table != VERSION) {
                if let Some(document) = document(reader, &key, language) {
                    languages.insert(language.clone(), document);
                }
            }
            if tables.is_empty() {
                reader.refuse(
                    &key,
                    format!("`{key}` needs a language: write `[{key}.en]`, and its keys below"),
                );
            }
            if let Some(version) = version {
                policies.insert(name, Policy { version, languages });
            }
        }
        Self { policies }
    }
}

/// A policy in one language; none if something is wrong with it, which is then noted.
fn document(reader: &mut Reader<'_>, policy: &str, language: &str) -> Option<PolicyDocument> {
    let key = format!("{policy}.{language}");
    if language.parse::<LanguageIdentifier>().is_err() {
        reader.refuse(
            &key,
            format!("`{key}` must be named by a language tag such as `en` or `pt-BR`"),
        );
    }
    let mut section = reader.section(&key);
    let name = section.required("name", values::line);
    let in_both = section.is_set("url") && section.is_set("file");
    let in_none = !section.is_set("url") && !section.is_set("file");
    let url = section.optional("url", url);
    let file = section.optional("file", values::path);
    if in_both || in_none {
        reader.refuse(
            &key,
            format!("`{key}` must have `url` or `file`, one of the two"),
        );
        return None;
    }
    let text = match (url, file) {
        (Some(url), _) => PolicyText::Url(url),
        (None, Some(file)) => match fs::read_to_string(&file) {
            Ok(text) => PolicyText::Markdown(text),
            Err(error) => {
                let key = format!("{key}.file");
                let problem = format!("`{key}` is {}: cannot read it: {error}", file.display());
                reader.refuse(&key, problem);
                return None;
            }
        },
        (None, None) => return None,
    };
    Some(PolicyDocument { name: name?, text })
}

/// `[a-zA-Z0-9_-]{1,64}`: what TOML lets stand without quotes, and a path may hold.
fn is_name(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(known)
}

/// A version stands in a path, so it must not climb out of it.
fn version(value: &Value) -> Result<String, Invalid> {
    const EXPECTED: Invalid =
        Invalid::expecting("a text of 1 to 64 of a-z A-Z 0-9 . _ - such as \"1.0\", in quotes");
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let parse = |text: &str| {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(known);
        let climbs = matches!(text, "." | "..");
        (fits && !climbs).then(|| text.to_owned()).ok_or(EXPECTED)
    };
    values::text(value, parse, EXPECTED)
}

/// What clients send back must be what they were given, so the URL stays as it was written.
fn url(value: &Value) -> Result<String, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting("an http or https URL, in quotes");
    let parse = |text: &str| {
        let is_web = Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let is_plain = !text.contains(|c: char| c.is_control() || c.is_whitespace());
        (is_web && is_plain)
            .then(|| text.to_owned())
            .ok_or(EXPECTED)
    };
    values::text(value, parse, EXPECTED)
}
