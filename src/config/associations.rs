use std::time::Duration;

use super::reader::Reader;
use super::values;

/// `[associations]`: what a published association promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Associations {
    /// How long after it was made an association says that it holds (`not_after`).
    pub lifetime: Duration,
}

impl Default for Associations {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_hours(36_500 * 24),
        }
    }
}

impl Associations {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let mut section = reader.section("associations");
        Self {
            lifetime: section.value("lifetime", default.lifetime, values::duration),
        }
    }
}
