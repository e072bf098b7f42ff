use std::net::SocketAddr;
use std::path::PathBuf;

use super::reader::{Reader, Section};
use super::{Listen, Server, values};
use crate::types::Invalid;

/// `[tls]`: with which certificate the server answers where no proxy does it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificate and key; none: every listener speaks plain HTTP.
    pub files: Option<TlsFiles>,
    /// The listeners of `server.listen` that speak TLS; none named: all with an address.
    pub listen: Option<Vec<SocketAddr>>,
}

/// The two files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// PEM: the key that the certificate was made for.
    pub private_key: PathBuf,
}

impl Tls {
    /// True if a listener at this address, as it is configured or as systemd passes it, speaks TLS.
    pub fn covers(&self, address: SocketAddr) -> bool {
        let named = self.listen.as_ref();
        self.files.is_some() && named.is_none_or(|named| named.contains(&address))
    }

    pub(super) fn read(reader: &mut Reader<'_>, server: &Server) -> Self {
        let mut section = reader.section("tls");
        let certificate = section.file("certificate");
        let private_key = section.file("private_key");
        let listen = section.optional("listen", addresses);
        for (name, partner) in [
            ("certificate", "private_key"),
            ("private_key", "certificate"),
        ] {
            if section.has_file(name) && !section.has_file(partner) {
                let text = format!("must be set together with `tls.{partner}`");
                section.refuse(name, &text);
            }
        }
        refuse_strangers(&mut section, listen.as_deref().unwrap_or_default(), server);
        Self {
            files: certificate
                .zip(private_key)
                .map(|(certificate, private_key)| TlsFiles {
                    certificate,
                    private_key,
                }),
            listen,
        }
    }
}

fn addresses(value: &toml::Value) -> Result<Vec<SocketAddr>, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "a list of addresses with a port out of `server.listen`, such as [\"0.0.0.0:443\"]",
    );
    let address = |text: &str| text.parse().map_err(|_| EXPECTED);
    values::list(value, address, EXPECTED)
}

fn refuse_strangers(section: &mut Section<'_, '_>, named: &[SocketAddr], server: &Server) {
    for address in named {
        if !server.listen.contains(&Listen::Tcp(*address)) {
            let text = format!("names {address}, which must stand in `server.listen` as well");
            section.refuse("listen", &text);
        }
    }
}
