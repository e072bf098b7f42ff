/// `[api]`: what clients may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// The longest request body, in bytes. Lookups are given more where `lookup.max_addresses` needs it.
    pub max_body: u64,
    /// The hosts that a `next_link` may lead to, in lower case; empty allows every host.
    pub next_link_hosts: Vec<String>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            max_body: 64 * 1024,
            next_link_hosts: Vec::new(),
        }
    }
}
