use std::time::Duration;

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
