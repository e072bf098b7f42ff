use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

mod sms;
mod terms;
mod tls;
mod values;

use super::*;

/// What is read from this text and these variables: the configuration, or all complaints.
#[track_caller]
fn resolve(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("identity.toml");
    fs::write(&file, text).unwrap();
    let environment: Environment = variables.iter().copied().collect();
    match Config::load(Some(&file), &environment) {
        Ok(loaded) => {
            assert_eq!(loaded.file, Some(file));
            Ok(loaded.config)
        }
        Err(error) => {
            let folder = format!("{}/", folder.path().display());
            Err(error
                .to_string()
                .replace(&folder, "")
                .lines()
                .map(str::to_owned)
                .collect())
        }
    }
}

#[track_caller]
fn accepted(text: &str) -> Config {
    resolve(text, &[]).unwrap()
}

/// The one complaint about this text.
#[track_caller]
fn refused(text: &str) -> String {
    let complaints = resolve(text, &[]).unwrap_err();
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
    complaints.concat()
}

#[track_caller]
fn refused_variable(name: &str, value: &str) -> String {
    let complaints = resolve("", &[(name, value)]).unwrap_err();
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
    complaints.concat()
}

fn rate(count: u32, per_seconds: u64) -> Rate {
    Rate::new(
        NonZeroU32::new(count).unwrap(),
        Duration::from_secs(per_seconds),
    )
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(accepted(""), Config::default());
    assert_eq!(
        accepted("# nothing\n[server]\n[email.smtp]\n"),
        Config::default()
    );
}

#[test]
fn the_defaults_are_those_of_the_first_try_on_localhost() {
    let config = Config::default();
    assert_eq!(config.server.name.as_str(), "localhost");
    assert_eq!(config.server.public_url.as_str(), "http://localhost:8090");
    assert_eq!(
        config.server.listen,
        [Listen::Tcp("127.0.0.1:8090".parse().unwrap())]
    );
    assert_eq!(config.store.path, Path::new("data"));
    assert_eq!(config.keys.file, Path::new("data/signing.key"));
    assert_eq!(config.keys.secret, Path::new("data/secret.key"));
    assert_eq!(config.email.transport, MailTransport::File);
    assert_eq!(config.email.directory, Path::new("data/outbox"));
    assert_eq!(config.email.from.to_string(), "bindery@localhost");
    assert_eq!(
        config.associations.lifetime,
        Duration::from_hours(36_500 * 24)
    );
    assert_eq!(config.limits.requests_by_ip, [rate(600, 60)]);
    assert_eq!(config.limits.email_by_address, [rate(5, 3600)]);
}

#[test]
fn a_production_file_of_ten_lines_is_understood() {
    let config = accepted(
        r#"
        [server]
        name = "example.org"
        public_url = "https://id.example.org"
        [email]
        transport = "smtp"
        from = "Example <no-reply@example.org>"
        [email.smtp]
        host = "mail.example.org"
        username = "bindery"
        password = "correct horse"
        "#,
    );
    assert_eq!(config.server.name.as_str(), "example.org");
    assert_eq!(config.server.public_url.authority(), "id.example.org");
    assert_eq!(config.email.from.name(), Some("Example"));
    assert_eq!(config.email.from.address(), "no-reply@example.org");
    let smtp = config.email.smtp;
    assert_eq!((smtp.host.as_str(), smtp.port), ("mail.example.org", 587));
    assert_eq!(smtp.security, SmtpSecurity::StartTls);
    assert_eq!(smtp.password.unwrap().expose(), "correct horse");
    assert_eq!(smtp.hello_name.unwrap(), "example.org");
}

#[test]
fn all_problems_are_told_at_once_each_with_file_line_and_key() {
    let complaints = resolve(
        r#"
[server]
name = "https://example.org"
public_url = "https://id.example.org/"
liste = ["127.0.0.1:1"]

[email]
transport = "smtp"
[sessions]
email_tries = 0
email_lifetime = "soon"
[limts]
enabled = true
"#,
        &[
            ("BINDERY_LOG__LEVEL", "loud"),
            ("BINDERY_LOG__LEVLE", "info"),
        ],
    )
    .unwrap_err();
    let expected = [
        "identity.toml:3: `server.name` must be a server name such as `example.org`; the URL \
         belongs into `server.public_url`",
        "identity.toml:4: `server.public_url` must be a URL of scheme and host only, such as \
         `https://id.example.org`, without a slash at the end",
        "identity.toml: `email.from` must be set when mail goes out by SMTP: the sender of all mails",
        "identity.toml: `email.smtp.host` must be set when `email.transport` is \"smtp\"",
        "identity.toml:11: `sessions.email_lifetime` must be a duration longer than zero such as \
         \"10s\", \"15m\", \"24h\" or \"30d\", in quotes",
        "identity.toml:10: `sessions.email_tries` must be a number from 1 to 1000",
        "BINDERY_LOG__LEVEL: `log.level` must be a level (\"off\", \"error\", \"warn\", \"info\", \
         \"debug\", \"trace\"), or more of them such as \"info,bindery::mail=debug\"",
        "identity.toml:12: `limts` is not a table; did you mean `limits`?",
        "identity.toml:5: `server.liste` is not a key; did you mean `server.listen`?",
        "BINDERY_LOG__LEVLE: this variable stands for no key; did you mean `BINDERY_LOG__LEVEL`?",
    ];
    assert_eq!(complaints, expected, "{complaints:#?}");
}

#[test]
fn every_error_of_syntax_is_told_with_line_and_column() {
    let complaints = resolve("[server]\nname = example.org\n\n[email\n", &[]).unwrap_err();
    assert_eq!(complaints.len(), 2, "{complaints:#?}");
    assert!(
        complaints[0].starts_with("identity.toml:2:8: not valid TOML: "),
        "{complaints:#?}"
    );
    assert!(
        complaints[1].starts_with("identity.toml:4:7: "),
        "{complaints:#?}"
    );
}

#[test]
fn an_error_of_syntax_does_not_quote_the_line_which_may_hold_a_password() {
    for line in [
        "password = hunter2",
        "password = \"hunter2",
        "password = 'hunter2\" x",
    ] {
        let complaint = refused(&format!("[email.smtp]\n{line}\n"));
        assert!(complaint.starts_with("identity.toml:2:"), "{complaint}");
        assert!(!complaint.contains("hunter2"), "{complaint}");
    }
}

#[test]
fn a_key_given_twice_is_an_error() {
    let complaint = refused("[log]\nlevel = \"info\"\nlevel = \"warn\"\n");
    assert!(
        complaint.starts_with("identity.toml:3:1: not valid TOML: duplicate key"),
        "{complaint}"
    );
}

#[test]
fn wrong_types_are_refused_for_every_key() {
    for key in Config::keys() {
        let (section, name) = key.rsplit_once('.').unwrap();
        let complaints = resolve(&format!("[{section}]\n{name} = 1979-05-27\n"), &[]).unwrap_err();
        let about = format!("identity.toml:2: `{key}` must be ");
        assert!(
            complaints.iter().any(|line| line.starts_with(&about)),
            "{complaints:#?}"
        );
    }
}

#[test]
fn an_unknown_key_is_refused_wherever_it_stands() {
    assert_eq!(
        refused("nonsense = 1"),
        "identity.toml:1: `nonsense` is not a key"
    );
    assert_eq!(
        refused("host = \"mail.example.org\""),
        "identity.toml:1: `host` is not a key; did you mean `email.smtp.host`?"
    );
    assert_eq!(
        refused("[zzz.yyy]\nx = 1"),
        "identity.toml:1: `zzz` is not a table"
    );
    assert_eq!(
        refused("[email.smpt]\nhost = \"x\""),
        "identity.toml:1: `email.smpt` is not a table; did you mean `email.smtp`?"
    );
    assert_eq!(
        refused("\"log.level\" = \"info\""),
        "identity.toml:1: `log.level` is not a key: write it without quotes"
    );
}

#[test]
fn a_table_that_is_written_as_a_value_is_refused() {
    assert_eq!(
        refused("server = \"example.org\""),
        "identity.toml:1: `server` must be a table: write `[server]`, and its keys below"
    );
    assert_eq!(
        refused("[[log]]\nlevel = \"info\""),
        "identity.toml:1: `log` must be a table: write `[log]`, and its keys below"
    );
}

#[test]
fn a_variable_goes_over_the_file() {
    let config = resolve(
        "[server]\nname = \"file.example\"\n[log]\nlevel = \"warn\"\n",
        &[
            ("BINDERY_SERVER__NAME", "variable.example"),
            ("OTHER", "x"),
            ("BINDERYX", "x"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.name.as_str(), "variable.example");
    assert_eq!(config.log.level, "warn");
}

#[test]
fn a_variable_is_toml_where_it_can_be() {
    let config = resolve(
        "",
        &[
            ("BINDERY_SERVER__WORKERS", "3"),
            ("BINDERY_SERVER__LISTEN", "[\"[::1]:1\", \"unix:/run/x\"]"),
            ("BINDERY_LIMITS__ENABLED", "false"),
            (
                "BINDERY_LIMITS__EMAIL_BY_IP",
                "{ rate = \"7/m\", burst = 9 }",
            ),
            ("BINDERY_STORE__PATH", "/srv/bindery"),
            ("BINDERY_LOG__LEVEL", "'debug'"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.workers, 3);
    assert_eq!(
        config.server.listen,
        [
            Listen::Tcp("[::1]:1".parse().unwrap()),
            Listen::Unix("/run/x".into())
        ]
    );
    assert!(!config.limits.enabled);
    assert_eq!(config.limits.email_by_ip[0].burst.get(), 9);
    assert_eq!(config.keys.file, Path::new("/srv/bindery/signing.key"));
    assert_eq!(config.log.level, "debug");
}

#[test]
fn a_password_of_digits_in_a_variable_stays_a_text() {
    for password in ["12345", "true", "1979-05-27", "[1]", "a\"b", "p#w=d"] {
        let config = resolve(
            "[email.smtp]\nusername = \"u\"",
            &[("BINDERY_EMAIL__SMTP__PASSWORD", password)],
        )
        .unwrap();
        assert_eq!(config.email.smtp.password.unwrap().expose(), password);
    }
}

#[test]
fn a_wrong_variable_is_named_with_its_key() {
    assert_eq!(
        refused_variable("BINDERY_SERVER__WORKERS", "many"),
        "BINDERY_SERVER__WORKERS: `server.workers` must be a number from 0 (one a core) to 1024"
    );
    assert_eq!(
        refused_variable("BINDERY_SERVER__NAM", "x"),
        "BINDERY_SERVER__NAM: this variable stands for no key; did you mean `BINDERY_SERVER__NAME`?"
    );
    assert_eq!(
        refused_variable("BINDERY_SERVER", "{ name = \"x\" }"),
        "BINDERY_SERVER: this variable stands for no key"
    );
}

#[test]
#[cfg(unix)]
fn a_variable_that_is_not_utf8_is_refused_and_not_a_panic() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    let broken = || OsString::from_vec(b"\xff".to_vec());
    let mut name = OsString::from("BINDERY_");
    name.push(broken());
    let environment: Environment = [("BINDERY_LOG__LEVEL".into(), broken()), (name, "x".into())]
        .into_iter()
        .collect::<Environment>();
    let error = Config::load_from(None, &environment, &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("BINDERY_LOG__LEVEL: `log.level` must be UTF-8"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn a_secret_comes_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "s3cret \n").unwrap();
    let text = format!("[email.smtp]\nusername = \"u\"\npassword_file = {file:?}\n");
    assert_eq!(
        accepted(&text).email.smtp.password.unwrap().expose(),
        "s3cret "
    );
    let by_variable = resolve(
        "[email.smtp]\nusername = \"u\"",
        &[("BINDERY_EMAIL__SMTP__PASSWORD_FILE", file.to_str().unwrap())],
    );
    assert_eq!(
        by_variable.unwrap().email.smtp.password.unwrap().expose(),
        "s3cret "
    );
}

#[test]
fn a_secret_comes_from_a_systemd_credential() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("email.smtp.password"), "s3cret").unwrap();
    let credentials = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
    let config = resolve("[email.smtp]\nusername = \"u\"", &credentials).unwrap();
    assert_eq!(config.email.smtp.password.unwrap().expose(), "s3cret");
}

#[test]
fn a_secret_that_is_given_twice_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("email.smtp.password"), "s3cret").unwrap();
    let complaints = resolve(
        "[email.smtp]\nusername = \"u\"\npassword = \"hunter2\"\npassword_file = \"/x\"\n",
        &[("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())],
    )
    .unwrap_err();
    assert_eq!(
        complaints,
        [
            "identity.toml:3: `email.smtp.password` is set more than once (identity.toml:3, \
          identity.toml:4, the systemd credential): keep one"
        ]
    );
}

#[test]
fn a_secret_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("empty", ""), ("blank", "\n"), ("lines", "a\nb\n")] {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        let text = format!("[email.smtp]\nusername = \"u\"\npassword_file = {file:?}\n");
        let complaint = refused(&text);
        assert!(
            complaint.ends_with(&format!("{name}: it must hold one line")),
            "{complaint}"
        );
    }
    let complaint = refused("[email.smtp]\nusername = \"u\"\npassword_file = \"/nowhere\"");
    assert!(
        complaint.starts_with(
            "identity.toml:3: `email.smtp.password_file` is the file /nowhere: cannot read it: "
        ),
        "{complaint}"
    );
}

#[test]
fn no_complaint_repeats_a_value() {
    let complaints = resolve(
        "[email]\nfrom = \"hunter2\"\n[email.smtp]\npassword = [\"hunter2\"]\nhost = \"hunter2 x\"\n\
         [server]\npublic_url = \"https://user:hunter2@example.org\"",
        &[("BINDERY_EMAIL__SMTP__USERNAME", "hunter2\n")],
    )
    .unwrap_err();
    assert_eq!(complaints.len(), 5, "{complaints:#?}");
    assert!(!complaints.concat().contains("hunter2"), "{complaints:#?}");
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let config = accepted("[email.smtp]\nhost = \"h\"\nusername = \"u\"\npassword = \"hunter2\"\n");
    assert!(!format!("{config:?}").contains("hunter2"));
    let environment: Environment = [("BINDERY_X", "hunter2")].into_iter().collect();
    assert!(!format!("{environment:?}").contains("hunter2"));
}

#[test]
fn the_file_is_the_named_one_else_that_of_the_variable_else_the_first_usual_one_else_none() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["named", "variable", "second"] {
        fs::write(at(name), format!("[server]\nname = \"{name}\"\n")).unwrap();
    }
    let variables: Environment = [("BINDERY_CONFIG", at("variable"))].into_iter().collect();
    let none = Environment::default();
    let (first, second) = (at("first"), at("second"));
    let usual = [first.as_path(), second.as_path()];
    let name_in = |named: Option<&Path>, environment: &Environment, usual: &[&Path]| {
        let loaded = Config::load_from(named, environment, usual).unwrap();
        (loaded.config.server.name.to_string(), loaded.file)
    };
    let named = at("named");
    assert_eq!(name_in(Some(&named), &variables, &usual).0, "named");
    assert_eq!(name_in(None, &variables, &usual).0, "variable");
    assert_eq!(
        name_in(None, &none, &usual),
        ("second".to_owned(), Some(second.clone()))
    );
    assert_eq!(
        name_in(None, &none, &usual[..1]),
        ("localhost".to_owned(), None)
    );
}

#[test]
fn a_file_that_is_named_and_not_there_is_an_error_that_says_who_named_it() {
    let none = Environment::default();
    let missing = Path::new("/nowhere/identity.toml");
    let error = Config::load_from(Some(missing), &none, &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(
            "cannot read the configuration file /nowhere/identity.toml (named by --config): "
        ),
        "{error}"
    );
    let variables: Environment = [("BINDERY_CONFIG", missing)].into_iter().collect();
    let error = Config::load_from(None, &variables, &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("(named by BINDERY_CONFIG)"), "{error}");
}

#[test]
fn a_usual_file_that_is_there_but_cannot_be_read_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let error = Config::load_from(None, &Environment::default(), &[folder.path()]).unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
}

#[test]
fn without_a_file_a_wrong_combination_is_told_all_the_same() {
    let environment: Environment = [("BINDERY_EMAIL__TRANSPORT", "smtp")].into_iter().collect();
    let error = Config::load_from(None, &environment, &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("configuration: `email.from` must be set"),
        "{error}"
    );
}

#[test]
fn the_store_is_in_the_folder_that_systemd_made_unless_the_file_says_otherwise() {
    let variables = [("STATE_DIRECTORY", "/var/lib/bindery:/var/lib/more")];
    let config = resolve("", &variables).unwrap();
    assert_eq!(config.store.path, Path::new("/var/lib/bindery"));
    assert_eq!(config.keys.secret, Path::new("/var/lib/bindery/secret.key"));
    assert_eq!(config.email.directory, Path::new("/var/lib/bindery/outbox"));
    let config = resolve("[store]\npath = \"/srv/b\"\n", &variables).unwrap();
    assert_eq!(config.store.path, Path::new("/srv/b"));
    assert_eq!(
        resolve("", &[("STATE_DIRECTORY", "")]).unwrap(),
        Config::default()
    );
}
