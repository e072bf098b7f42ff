use std::fmt;
use std::net::IpAddr;

use crate::types::{Email, Invalid, ServerName};

/// The sender of mails: an address, and perhaps the name that is shown with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    name: Option<String>,
    address: String,
}

impl Mailbox {
    /// Reads `local@domain` or `Name <local@domain>`; the name may stand in double quotes.
    ///
    /// # Errors
    /// Several mailboxes, control characters, and what [`Email`] refuses, are refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const EXPECTED: Invalid = Invalid::expecting(
            "one mailbox such as `bindery@example.org` or `Example <bindery@example.org>`",
        );
        let text = text.trim();
        let (name, address) = match text.strip_suffix('>') {
            None => ("", text),
            Some(rest) => rest.split_once('<').ok_or(EXPECTED)?,
        };
        Email::parse(address).map_err(|_| EXPECTED)?;
        let name = unquote(name.trim()).ok_or(EXPECTED)?;
        let plain = |c: char| !c.is_control() && !matches!(c, '<' | '>' | '"' | '\\');
        if !name.chars().all(plain) {
            return Err(EXPECTED);
        }
        Ok(Self {
            name: (!name.is_empty()).then(|| name.to_owned()),
            address: address.to_owned(),
        })
    }

    /// The sender while none is set: `bindery` at the server's host, or at localhost where that is not
    /// a name.
    pub fn of(server: &ServerName) -> Self {
        let host = server.host();
        let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
        let domain = if is_address { "localhost" } else { host };
        Self {
            name: None,
            address: format!("bindery@{domain}"),
        }
    }

    /// The name that is shown.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The address, as it was written.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "\"{name}\" <{}>", self.address),
            None => f.write_str(&self.address),
        }
    }
}

/// The text without the pair of double quotes around it; none where there is only one of them.
fn unquote(text: &str) -> Option<&str> {
    match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => (!text.ends_with('"')).then_some(text),
    }
}
