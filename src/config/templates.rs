use std::path::PathBuf;

use toml::Value;
use unic_langid::LanguageIdentifier;

use super::reader::Reader;
use super::{Sms, values};
use crate::types::Invalid;

/// `[templates]`: where texts and pages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates {
    /// A folder whose files take the place of built-in ones, file by file.
    pub directory: Option<PathBuf>,
    /// The brand of requests that name none that is known.
    pub default_brand: String,
    /// The language of requests that ask for none that is known.
    pub default_language: String,
    /// `sms.message`: the text of every SMS, in place of the template, with `{token}` where the code goes.
    pub sms_message: Option<String>,
}

impl Default for Templates {
    fn default() -> Self {
        Self {
            directory: None,
            default_brand: "default".to_owned(),
            default_language: "en".to_owned(),
            sms_message: None,
        }
    }
}

impl Templates {
    pub(super) fn read(reader: &mut Reader<'_>, sms: &Sms) -> Self {
        let default = Self::default();
        let mut section = reader.section("templates");
        Self {
            directory: section.optional("directory", values::path),
            default_brand: section.value("default_brand", default.default_brand, brand),
            default_language: section.value("default_language", default.default_language, language),
            sms_message: sms.message.clone(),
        }
    }
}

/// A brand is the name of a folder, so it must not lead elsewhere.
fn brand(value: &Value) -> Result<String, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting("the name of a brand, out of a-z A-Z 0-9 _ -");
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let parse = |text: &str| {
        let right = !text.is_empty() && text.bytes().all(known);
        right.then(|| text.to_owned()).ok_or(EXPECTED)
    };
    values::text(value, parse, EXPECTED)
}

fn language(value: &Value) -> Result<String, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting("a language tag such as \"en\" or \"pt-BR\"");
    let parse = |text: &str| {
        text.parse::<LanguageIdentifier>()
            .map(|_| text.to_owned())
            .map_err(|_| EXPECTED)
    };
    values::text(value, parse, EXPECTED)
}
