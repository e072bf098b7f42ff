use super::reader::Reader;
use super::values;
use crate::types::Invalid;

/// `[lookup]`: the bounds of lookups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The most addresses in one request.
    pub max_addresses: usize,
}

impl Default for Lookup {
    fn default() -> Self {
        Self {
            max_addresses: 10_000,
        }
    }
}

impl Lookup {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const COUNT: Invalid = Invalid::expecting("a number from 1 to 1000000");
        let default = Self::default();
        let mut section = reader.section("lookup");
        Self {
            max_addresses: section.value("max_addresses", default.max_addresses, |value| {
                values::whole(value, &(1..=1_000_000), COUNT)
            }),
        }
    }
}
