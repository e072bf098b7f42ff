use std::fs;
use std::path::Path;

use super::*;

const PAIR: &str = "certificate = \"c.pem\"\nprivate_key = \"k.pem\"\n";

#[test]
fn a_certificate_makes_all_addresses_speak_tls_or_those_that_are_named() {
    let [first, second] = ["127.0.0.1:1", "[::1]:2"].map(|address| address.parse().unwrap());
    let listen = "[server]\nlisten = [\"127.0.0.1:1\", \"[::1]:2\", \"unix:x\"]\n";
    assert!(!accepted(listen).tls.covers(first));
    let all = accepted(&format!("{listen}[tls]\n{PAIR}"));
    assert!(all.tls.covers(first) && all.tls.covers(second));
    let files = all.tls.files.unwrap();
    assert_eq!(files.certificate, Path::new("c.pem"));
    assert_eq!(files.private_key, Path::new("k.pem"));
    let one = accepted(&format!("{listen}[tls]\nlisten = \"[::1]:2\"\n{PAIR}"));
    assert!(!one.tls.covers(first) && one.tls.covers(second));
}

#[test]
fn half_a_certificate_and_strange_listeners_are_refused() {
    assert_eq!(
        refused("[tls]\ncertificate = \"c.pem\"\n"),
        "identity.toml:2: `tls.certificate` must be set together with `tls.private_key`"
    );
    assert_eq!(
        refused("[tls]\nprivate_key = \"k.pem\"\n"),
        "identity.toml:2: `tls.private_key` must be set together with `tls.certificate`"
    );
    assert_eq!(
        refused(&format!("[tls]\nlisten = [\"0.0.0.0:443\"]\n{PAIR}")),
        "identity.toml:2: `tls.listen` names 0.0.0.0:443, which must stand in `server.listen` as well"
    );
    for listen in ["\"unix:x\"", "443", "\"localhost:443\"", "[\"127.0.0.1\"]"] {
        let complaint = refused(&format!("[tls]\nlisten = {listen}\n{PAIR}"));
        assert!(complaint.contains("out of `server.listen`"), "{complaint}");
    }
}

#[test]
fn a_certificate_may_come_as_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let credentials = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
    let read = |text: &str| resolve(text, &credentials);
    assert_eq!(read("").unwrap().tls.files, None);
    let key = folder.path().join("tls.private_key");
    fs::write(&key, "").unwrap();
    let complaints = read("").unwrap_err();
    assert!(
        complaints.len() == 1 && complaints[0].contains("together with `tls.certificate`"),
        "{complaints:?}"
    );
    // What the configuration says goes first.
    let files = read("[tls]\ncertificate = \"c.pem\"\n").unwrap().tls.files;
    let files = files.unwrap();
    assert_eq!(files.certificate, Path::new("c.pem"));
    assert_eq!(files.private_key, key);
}

#[test]
fn no_path_is_too_long_for_a_socket() {
    let path = |length: usize| format!("/{}", "x".repeat(length - 1));
    for (section, key, prefix) in [
        ("server", "listen", "unix:"),
        ("metrics", "listen", "unix:"),
        ("admin", "socket", ""),
    ] {
        let text = |length| format!("[{section}]\n{key} = \"{prefix}{}\"\n", path(length));
        accepted(&text(103));
        let complaint = refused(&text(104));
        let place = format!("identity.toml:2: `{section}.{key}` must be shorter");
        assert!(complaint.starts_with(&place), "{complaint}");
        assert!(complaint.contains("at most 103 bytes"), "{complaint}");
    }
    // The default lies in the store.
    let complaint = refused(&format!("[store]\npath = \"{}\"\n", path(100)));
    assert!(
        complaint.contains("`admin.socket` must be shorter"),
        "{complaint}"
    );
}
