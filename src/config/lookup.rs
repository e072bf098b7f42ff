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
