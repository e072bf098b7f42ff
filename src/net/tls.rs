use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

use super::error::SetupError;

/// TLS as a client: the web's authorities, and those of a file, which a key of the configuration names. Certificates are always verified.
pub(super) fn client_config(
    key: &'static str,
    ca_file: Option<&Path>,
) -> Result<ClientConfig, SetupError> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = ca_file {
        add_roots(&mut roots, key, path)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn add_roots(roots: &mut RootCertStore, key: &'static str, path: &Path) -> Result<(), SetupError> {
    let bad = || SetupError::BadCaFile {
        key,
        path: path.to_owned(),
    };
    let of_file = |error: pem::Error| match error {
        pem::Error::Io(source) => SetupError::UnreadableCaFile {
            key,
            path: path.to_owned(),
            source,
        },
        _ => bad(),
    };
    let before = roots.len();
    for certificate in CertificateDer::pem_file_iter(path).map_err(of_file)? {
        roots
            .add(certificate.map_err(of_file)?)
            .map_err(|_| bad())?;
    }
    if roots.len() > before {
        Ok(())
    } else {
        Err(bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let error = client_config("sms.ca_file", Some(&path)).unwrap_err();
        assert!(matches!(error, SetupError::UnreadableCaFile { .. }));
        for text in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = client_config("sms.ca_file", Some(&path)).unwrap_err();
            assert!(matches!(error, SetupError::BadCaFile { .. }), "{text:?}");
            assert!(
                error.to_string().starts_with("sms.ca_file ")
                    && error.to_string().contains("ca.pem")
            );
        }
    }
}
