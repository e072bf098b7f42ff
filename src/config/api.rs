use super::reader::Reader;
use super::values;
use crate::types::Invalid;

/// `[api]`: what clients may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// The longest request body, in bytes. Lookups are given more where `lookup.max_addresses` needs it.
    pub max_body: u64,
    /// How many requests are answered at once; more are refused.
    pub max_requests: usize,
    /// The hosts that a `next_link` may lead to, in lower case; empty allows every host.
    pub next_link_hosts: Vec<String>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            max_body: 64 * 1024,
            max_requests: 1024,
            next_link_hosts: Vec::new(),
        }
    }
}

impl Api {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const SIZE: Invalid = Invalid::expecting("a size from \"1KiB\" to \"16MiB\", in quotes");
        const HOSTS: Invalid = Invalid::expecting(
            "a list of host names such as [\"app.example.org\"], without scheme, port and path",
        );
        const REQUESTS: Invalid = Invalid::expecting("a whole number from 1 to 1000000");
        let default = Self::default();
        let mut section = reader.section("api");
        let sizes = 1024..=16 * 1024 * 1024;
        Self {
            max_body: section.value("max_body", default.max_body, |value| {
                values::size(value, &sizes, SIZE)
            }),
            max_requests: section.value("max_requests", default.max_requests, |value| {
                values::whole(value, &(1..=1_000_000), REQUESTS)
            }),
            next_link_hosts: section.value("next_link_hosts", default.next_link_hosts, |value| {
                values::list(value, |text| host(text).ok_or(HOSTS), HOSTS)
            }),
        }
    }
}

/// A host in the form that URLs are compared in.
fn host(text: &str) -> Option<String> {
    url::Host::parse(text).ok().map(|host| host.to_string())
}
