use std::time::Duration;

use super::reader::Reader;
use super::values;
use crate::types::{Invalid, ServerName};

/// `[accounts]`: who may have an account, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// The homeservers whose users are served; empty allows every homeserver. Checked on every call.
    pub allow_homeservers: Vec<ServerName>,
    /// How long an access token lives after it was last used.
    pub idle_expiry: Duration,
    /// How long an access token lives at most.
    pub expiry: Duration,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            allow_homeservers: Vec::new(),
            idle_expiry: Duration::from_hours(24 * 90),
            expiry: Duration::from_hours(24 * 365),
        }
    }
}

impl Accounts {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const SERVERS: Invalid = Invalid::expecting(
            "a list of server names such as [\"example.org\"], without scheme and path",
        );
        let default = Self::default();
        let mut section = reader.section("accounts");
        let servers = |value: &toml::Value| {
            values::list(
                value,
                |text| ServerName::parse(text).map_err(|_| SERVERS),
                SERVERS,
            )
        };
        Self {
            allow_homeservers: section.value(
                "allow_homeservers",
                default.allow_homeservers,
                servers,
            ),
            idle_expiry: section.value("idle_expiry", default.idle_expiry, values::duration),
            expiry: section.value("expiry", default.expiry, values::duration),
        }
    }

    /// Whether users of this homeserver are served.
    pub fn allows(&self, server: &str) -> bool {
        let allowed = &self.allow_homeservers;
        allowed.is_empty() || allowed.iter().any(|name| name.as_str() == server)
    }
}
