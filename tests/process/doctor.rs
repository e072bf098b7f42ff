//! `bindery doctor` as a command: its lines, and what its exit code says.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use serde_json::Value;

use super::Site;

/// The lines of a doctor: check, verdict, text.
fn findings(output: &Output) -> Vec<(String, String, String)> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let of = |field: &str| line[field].as_str().unwrap().to_owned();
        (of("check"), of("verdict"), of("text"))
    };
    text.lines().map(line).collect()
}

/// What a check found.
#[track_caller]
fn of(output: &Output, check: &str) -> (String, String) {
    let found = findings(output);
    let mut found = found.into_iter().filter(|(name, ..)| name == check);
    let (_, verdict, text) = found.next_back().unwrap();
    (verdict, text)
}

#[test]
fn a_site_of_the_defaults_is_warned_and_passes_unless_it_is_strict() {
    let site = Site::new();
    let _server = site.serve();
    let output = site.run(&["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("store           ok: "), "{text}");
    assert!(
        text.contains("listeners       ok: the server runs"),
        "{text}"
    );
    assert!(
        text.contains("configuration   warning: `email.transport`"),
        "{text}"
    );
    let strict = site.run(&["doctor", "--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    let words = String::from_utf8(strict.stderr).unwrap();
    assert!(words.contains("0 faults and 1 warning"), "{words}");
}

#[test]
fn what_is_wrong_is_said_and_fails() {
    let site = Site::new();
    drop(site.serve());
    let output = site.run(&["doctor", "--json"]);
    assert!(output.status.success());
    assert_eq!(of(&output, "store").0, "ok");
    let (verdict, text) = of(&output, "listeners");
    assert!(verdict == "warning" && text.contains("start it"), "{text}");

    // A secret in the configuration makes a secret of its file, and so does naming one.
    let password = site.folder.path().join("password");
    fs::write(&password, "secret-word\n").unwrap();
    fs::set_permissions(&password, Permissions::from_mode(0o644)).unwrap();
    site.configure(&format!(
        "[email.smtp]\nusername = \"a\"\npassword_file = \"{}\"\n",
        password.display()
    ));
    let output = site.run(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let (verdict, text) = of(&output, "secret files");
    assert!(verdict == "wrong" && text.contains("chmod 600"), "{text}");
    assert!(text.contains("email.smtp.password_file"), "{text}");
    site.configure("[email.smtp]\nusername = \"a\"\npassword = \"secret-word\"\n");
    fs::set_permissions(site.config(), Permissions::from_mode(0o640)).unwrap();
    assert!(site.run(&["doctor"]).status.success());
    fs::set_permissions(site.config(), Permissions::from_mode(0o644)).unwrap();
    let output = site.run(&["doctor", "--json"]);
    let (verdict, text) = of(&output, "secret files");
    assert!(
        verdict == "wrong" && text.contains("identity.toml (email.smtp.password)"),
        "{text}"
    );
    site.configure("");

    // A key that everybody can read keeps the server from starting.
    let key = site.store().join("signing.key");
    fs::set_permissions(&key, Permissions::from_mode(0o604)).unwrap();
    let output = site.run(&["doctor", "--json"]);
    assert_eq!(of(&output, "secret files").0, "wrong");
    assert_eq!(of(&output, "store").0, "wrong");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let usual = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), usual.replace("127.0.0.1:0", &place)).unwrap();
    let (verdict, text) = of(&site.run(&["doctor", "--json"]), "listeners");
    assert!(
        verdict == "wrong" && text.contains(&place) && text.contains("another port"),
        "{text}"
    );

    let public = usual.replace(
        "[server]",
        "[server]\npublic_url = \"http://id.example.org\"",
    );
    fs::write(site.config(), public).unwrap();
    let output = site.run(&["doctor", "--json"]);
    let (verdict, text) = of(&output, "public_url");
    assert!(verdict == "wrong" && text.contains("https"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_running_server_is_compared_with_the_configuration() {
    let site = Site::new();
    let _server = site.serve();
    let text = fs::read_to_string(site.config()).unwrap();
    let renamed = text.replace("[server]", "[server]\nname = \"other.example\"");
    fs::write(site.config(), renamed).unwrap();
    let (verdict, text) = of(&site.run(&["doctor", "--json"]), "store");
    assert!(
        verdict == "wrong" && text.contains("other.example"),
        "{text}"
    );
    site.configure("[admin]\nsocket = \"elsewhere.sock\"\n");
    let (verdict, text) = of(&site.run(&["doctor", "--json"]), "store");
    assert!(
        verdict == "wrong" && text.contains("admin.socket"),
        "{text}"
    );
}
