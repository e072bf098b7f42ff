//! What an operator does wrong in the configuration, and around it: one line for each mistake, which names the place and says
//! what to change.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use super::{Site, complaint};

/// The lines in which the program says why it does not go on; nothing else is printed before them.
#[track_caller]
fn last_words(site: &Site, arguments: &[&str]) -> Vec<String> {
    let output = site.run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    let text = complaint(&output);
    for noise in ["RUST_BACKTRACE", "src/", ".rs:", "Error {", "Some(", "Err("] {
        assert!(!text.contains(noise), "{noise} is in: {text}");
    }
    let (_, words) = text
        .split_once("bindery: ")
        .unwrap_or_else(|| panic!("{text}"));
    words.lines().map(ToOwned::to_owned).collect()
}

/// What is wrong in the file, the key that is to be named, and a word of what would have been right.
const IN_THE_FILE: &[(&str, &str, &str)] = &[
    // Not TOML at all.
    (
        "[server\nname = \"a.example\"",
        "identity.toml:1",
        "not valid TOML",
    ),
    (
        "[server]\nname = a.example",
        "identity.toml:2",
        "not valid TOML",
    ),
    (
        "[server]\nname = \"a\"\nname = \"b\"",
        "identity.toml:3",
        "duplicate key",
    ),
    // Wrong types.
    ("[server]\nname = 7", "`server.name`", "in quotes"),
    ("[server]\nworkers = \"4\"", "`server.workers`", "a number"),
    (
        "[server]\nlisten = 8090",
        "`server.listen`",
        "127.0.0.1:8090",
    ),
    (
        "[limits]\nenabled = \"yes\"",
        "`limits.enabled`",
        "true or false",
    ),
    (
        "[sessions]\nemail_lifetime = 24",
        "`sessions.email_lifetime`",
        "\"24h\"",
    ),
    ("server = \"id.example.org\"", "`server`", "[server]"),
    ("[server.name]\nx = 1", "`server.name`", "in quotes"),
    // Keys and tables that nobody knows.
    (
        "[server]\nnmae = \"a.example\"",
        "`server.nmae`",
        "did you mean `server.name`",
    ),
    (
        "name = \"a.example\"",
        "`name`",
        "did you mean `server.name`",
    ),
    (
        "[serer]\nname = \"a.example\"",
        "`serer`",
        "did you mean `server`",
    ),
    (
        "[email.smpt]\nhost = \"a.example\"",
        "`email.smpt`",
        "did you mean `email.smtp`",
    ),
    // Values that mean something else than was thought.
    (
        "[server]\nname = \"https://id.example.org\"",
        "`server.name`",
        "server.public_url",
    ),
    (
        "[server]\nname = \"id.example.org/\"",
        "`server.name`",
        "without scheme or path",
    ),
    (
        "[server]\nname = \"\"",
        "`server.name`",
        "such as `example.org`",
    ),
    (
        "[server]\nname = \"id example org\"",
        "`server.name`",
        "such as `example.org`",
    ),
    (
        "[server]\nname = \"id.example.org:99999\"",
        "`server.name`",
        "such as `example.org`",
    ),
    (
        "[server]\npublic_url = \"https://id.example.org/\"",
        "`server.public_url`",
        "without a slash at the end",
    ),
    (
        "[server]\npublic_url = \"https://id.example.org/id\"",
        "`server.public_url`",
        "scheme and host only",
    ),
    (
        "[server]\npublic_url = \"id.example.org\"",
        "`server.public_url`",
        "https://id.example.org",
    ),
    (
        "[server]\npublic_url = \"https://a:b@id.example.org\"",
        "`server.public_url`",
        "scheme and host only",
    ),
    (
        "[server]\npublic_url = \"ftp://id.example.org\"",
        "`server.public_url`",
        "https://id.example.org",
    ),
    (
        "[server]\nlisten = [\"localhost:8090\"]",
        "`server.listen`",
        "127.0.0.1:8090",
    ),
    (
        "[server]\nlisten = [\"127.0.0.1\"]",
        "`server.listen`",
        "with a port",
    ),
    ("[server]\nlisten = []", "`server.listen`", "127.0.0.1:8090"),
    (
        "[server]\nlisten = [\"unix:\"]",
        "`server.listen`",
        "unix:PATH",
    ),
    (
        "[server]\ntrusted_proxies = [\"proxy.example.org\"]",
        "`server.trusted_proxies`",
        "10.0.0.0/8",
    ),
    ("[store]\npath = \"\"", "`store.path`", "a path"),
    ("[store]\ncache = \"64\"", "`store.cache`", "1MiB"),
    ("[api]\nv1 = \"on\"", "`api.v1`", "\"delegate\""),
    (
        "[api]\nnext_link_hosts = [\"https://app.example.org\"]",
        "`api.next_link_hosts`",
        "host",
    ),
    (
        "[email]\ntransport = \"sendmail\"",
        "`email.transport`",
        "\"smtp\"",
    ),
    (
        "[email]\ntransport = \"smtp\"\n[email.smtp]\nhost = \"mail.example.org\"",
        "`email.from`",
        "must be set",
    ),
    (
        "[email]\ntransport = \"smtp\"\nfrom = \"a@b.example\"",
        "`email.smtp.host`",
        "must be set",
    ),
    (
        "[email]\nfrom = \"Example\"",
        "`email.from`",
        "bindery@example.org",
    ),
    (
        "[email.smtp]\nhost = \"mail.example.org:587\"",
        "`email.smtp.host`",
        "without a port",
    ),
    (
        "[email.smtp]\nport = 0",
        "`email.smtp.port`",
        "from 1 to 65535",
    ),
    (
        "[email.smtp]\nusername = \"bindery\"",
        "`email.smtp.password`",
        "together with",
    ),
    (
        "[email.smtp]\nhost = \"mail.example.org\"\nsecurity = \"none\"\nusername = \"a\"\npassword = \"b\"",
        "`email.smtp.security`",
        "\"starttls\"",
    ),
    (
        "[email.smtp]\nusername = \"a\"\npassword_file = \"/nowhere/password\"",
        "/nowhere/password",
        "cannot read it",
    ),
    (
        "[email.smtp]\nusername = \"a\"\npassword = \"b\"\npassword_file = \"/nowhere\"",
        "`email.smtp.password`",
        "keep one",
    ),
    (
        "[tls]\ncertificate = \"/nowhere.pem\"",
        "`tls.certificate`",
        "together with `tls.private_key`",
    ),
    (
        "[tls]\ncertificate = \"/nowhere.pem\"\nprivate_key = \"/nowhere.key\"\nlisten = [\"127.0.0.1:443\"]",
        "`tls.listen`",
        "must stand in `server.listen`",
    ),
    (
        "[sms]\nmessage = \"hello\"",
        "`sms.message`",
        "with {token} in it",
    ),
    (
        "[sms]\nprovider = \"file\"\nhome_country = \"Germany\"",
        "`sms.home_country`",
        "two letters",
    ),
    (
        "[sms]\nprovider = \"webhook\"\nhome_country = \"DE\"\n[sms.webhook]\nurl = \"https://a.example\"",
        "`sms.webhook.secret`",
        "must be set",
    ),
    (
        "[sessions]\nemail_tries = 0",
        "`sessions.email_tries`",
        "from 1",
    ),
    (
        "[associations]\nlifetime = \"forever\"",
        "`associations.lifetime`",
        "\"30d\"",
    ),
    (
        "[accounts]\nallow_homeservers = [\"https://example.org\"]",
        "`accounts.allow_homeservers`",
        "example.org",
    ),
    (
        "[lookup]\nalgorithms = [\"md5\"]",
        "`lookup.algorithms`",
        "sha256",
    ),
    (
        "[federation]\ndns = [\"192.0.2.53\"]",
        "`federation.dns`",
        "with a port",
    ),
    (
        "[federation]\nallow_ips = [\"10.0.0.0/33\"]",
        "`federation.allow_ips`",
        "networks",
    ),
    (
        "[terms.privacy]\nversion = \"1\"",
        "terms.privacy",
        "language",
    ),
    (
        "[limits]\nemail_by_ip = \"often\"",
        "`limits.email_by_ip`",
        "\"5/h\"",
    ),
    (
        "[metrics]\nlisten = \"8091\"",
        "`metrics.listen`",
        "127.0.0.1",
    ),
    ("[log]\nformat = \"xml\"", "`log.format`", "\"json\""),
];

#[test]
fn a_mistake_in_the_file_is_one_line_that_says_what_to_change() {
    let site = Site::new();
    for (text, place, right) in IN_THE_FILE {
        fs::write(site.config(), text).unwrap();
        let lines = last_words(&site, &["check"]);
        let [line] = lines.as_slice() else {
            panic!("{text}: {lines:#?}");
        };
        assert!(line.contains("identity.toml"), "{text}: {line}");
        assert!(line.contains(place), "{place} is not in: {line}");
        assert!(line.contains(right), "{right} is not in: {line}");
    }
}

#[test]
fn many_mistakes_are_a_line_each() {
    let site = Site::new();
    let text = "[server]\nname = 7\nnmae = 8\n[log]\nformat = \"xml\"\n";
    fs::write(site.config(), text).unwrap();
    assert_eq!(last_words(&site, &[]).len(), 3);
}

#[test]
fn a_mistake_in_a_variable_names_the_variable() {
    let site = Site::new();
    for (variable, value, right) in [
        (
            "BINDERY_SERVER__NMAE",
            "a.example",
            "did you mean `BINDERY_SERVER__NAME`",
        ),
        (
            "BINDERY_SERVER__PUBLIC_URL",
            "https://a.example/",
            "without a slash",
        ),
        ("BINDERY_SERVER__WORKERS", "many", "a number"),
    ] {
        let output = site.command(&["check"]).env(variable, value).output();
        let text = complaint(&output.unwrap());
        let line = text.trim_end();
        assert!(!line.contains('\n') && line.contains(variable), "{text}");
        assert!(line.contains(right), "{text}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let site = Site::new();
    fs::remove_file(site.config()).unwrap();
    let lines = last_words(&site, &["check"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("identity.toml (named by --config)"),
        "{lines:?}"
    );
}

#[test]
fn a_mistake_around_the_configuration_is_one_line_that_says_what_to_change() {
    let site = Site::new();
    drop(site.serve());
    let store = site.store();
    let folder = site.folder.path();
    let key = store.join("signing.key");

    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    expect(&site, &["signing.key", "chmod 600"]);
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();

    let text = fs::read_to_string(&key).unwrap();
    fs::write(&key, "not a key\n").unwrap();
    expect(&site, &["signing.key", "line 1", "ed25519"]);
    fs::write(&key, &text).unwrap();

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let usual = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), usual.replace("127.0.0.1:0", &place)).unwrap();
    expect(&site, &[&place, "server.listen", "another program listens"]);

    let file = folder.join("file");
    fs::write(&file, "").unwrap();
    site.configure(&format!("[admin]\nsocket = \"{}\"\n", file.display()));
    expect(&site, &["admin.socket", "not a socket", "another path"]);

    let ca = format!("[federation]\nca_file = \"{}\"\n", file.display());
    site.configure(&ca);
    expect(&site, &["federation.ca_file", "PEM"]);

    let templates = format!("[templates]\ndirectory = \"{}/no\"\n", folder.display());
    site.configure(&templates);
    expect(&site, &["templates.directory"]);

    let inside = file.join("store");
    fs::write(
        site.config(),
        format!("[store]\npath = \"{}\"\n", inside.display()),
    )
    .unwrap();
    expect(&site, &["store.path"]);

    let long = folder.join("x".repeat(150));
    site.configure(&format!("[admin]\nsocket = \"{}\"\n", long.display()));
    expect(&site, &["admin.socket", "shorter"]);
}

/// Serving fails with one line that has these words.
#[track_caller]
fn expect(site: &Site, words: &[&str]) {
    let lines = last_words(site, &[]);
    let [line] = lines.as_slice() else {
        panic!("{lines:#?}");
    };
    for word in words {
        assert!(line.contains(word), "{word} is not in: {line}");
    }
}
