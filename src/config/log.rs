use log::LevelFilter;
use toml::Value;

use super::reader::Reader;
use super::values;
use crate::types::Invalid;

/// `[log]`: what is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Which messages, in the filter syntax of `env_logger`.
    pub level: String,
    /// How a message is written.
    pub format: LogFormat,
    /// Whether the line of a request has the client's address.
    pub client_ip: bool,
}

/// How a message of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people, with the time.
    Text,
    /// A JSON object a line.
    Json,
    /// A line with its priority for systemd's journal, which adds the time itself.
    Journal,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
            client_ip: true,
        }
    }
}

impl Log {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const FORMATS: [(&str, LogFormat); 3] = [
            ("text", LogFormat::Text),
            ("json", LogFormat::Json),
            ("journal", LogFormat::Journal),
        ];
        const FORMAT: Invalid = Invalid::expecting("\"text\", \"json\" or \"journal\"");
        let default = Self::default();
        let mut section = reader.section("log");
        Self {
            level: section.value("level", default.level, level),
            format: section.value("format", default.format, |value| {
                values::word(value, &FORMATS, FORMAT)
            }),
            client_ip: section.value("client_ip", default.client_ip, values::boolean),
        }
    }
}

/// Items of the form `level` or `module=level` with commas in between, then perhaps `/text`. The
/// logger itself takes any word for a module and would be silent after a misspelt level.
fn level(value: &Value) -> Result<String, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "a level (\"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\"), or more of them such as \
         \"info,bindery::mail=debug\"",
    );
    let parse = |text: &str| {
        let (items, pattern) = text.split_once('/').unwrap_or((text, ""));
        let level = |word: &str| word.trim().parse::<LevelFilter>().is_ok();
        let known = |item: &str| match item.split_once('=') {
            Some((module, word)) => !module.trim().is_empty() && level(word),
            None => level(item),
        };
        let right = items.split(',').all(known) && !pattern.contains('/');
        right.then(|| text.to_owned()).ok_or(EXPECTED)
    };
    values::text(value, parse, EXPECTED)
}
