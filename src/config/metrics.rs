use super::reader::Reader;
use super::{Listen, values};
use crate::types::Invalid;

/// `[metrics]`: what monitoring sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Where metrics and health are served, apart from everything else; none: nowhere.
    pub listen: Option<Listen>,
}

impl Metrics {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const EXPECTED: Invalid = Invalid::expecting(
            "an address with a port such as \"127.0.0.1:8091\", or \"unix:PATH\"",
        );
        let mut section = reader.section("metrics");
        Self {
            listen: section.optional("listen", |value| {
                let parse = |text: &str| {
                    Listen::parse(text).map_err(|refused| match refused {
                        Listen::TOO_LONG => refused,
                        _ => EXPECTED,
                    })
                };
                values::text(value, parse, EXPECTED)
            }),
        }
    }
}
