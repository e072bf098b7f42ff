use super::*;

/// Settings that need no more than what is added.
fn section(more: &str) -> String {
    format!("[sms]\nhome_country = \"GB\"\n{more}")
}

const TWILIO: &str =
    "provider = \"twilio\"\nfrom = \"X\"\n[sms.presets.twilio]\nusername = \"AC0\"\n";

#[test]
fn nothing_is_sent_and_nothing_is_allowed_by_surprise_without_settings() {
    let sms = accepted("").sms;
    assert_eq!(sms, Sms::beside(Path::new("data/outbox")));
    assert_eq!((sms.provider, sms.daily_budget), (SmsProvider::None, 500));
    assert_eq!(
        sms.allow_types,
        [NumberType::Mobile, NumberType::MobileOrFixed]
    );
    assert!(sms.presets.is_empty());
}

#[test]
fn everything_that_is_wrong_is_named_at_once_with_its_place_and_what_is_accepted() {
    let complaints = resolve(
        "[sms]\nprovider = 1\nfallback = \"file\"\nmessage = \"Your code\"\nfrom = {}\nhome_country = \"UK\"\n\
         allow_countries = [\"DE\", \"Germany\"]\nallow_types = [\"pager\"]\ndaily_budget = 0\ntimeout = \"soon\"\n\
         mesage = \"x\"\n[sms.webhook]\nurl = \"ftp://x\"\nheaders = { Host = \"x\" }\nsecret = \"a\\nb\"\n",
        &[],
    )
    .unwrap_err();
    for (line, key, accepted) in [
        (
            2,
            "provider",
            "\"none\", \"file\", \"webhook\" or the name of a preset",
        ),
        (3, "fallback", "\"webhook\" or the name of a preset"),
        (4, "message", "with {token} in it"),
        (5, "from", "a table of senders by country with a default"),
        (6, "home_country", "\"GB\" (ISO 3166)"),
        (7, "allow_countries", "or [\"*\"] for all"),
        (8, "allow_types", "\"mobile-or-fixed\""),
        (9, "daily_budget", "from 1 to 1000000"),
        (10, "timeout", "a duration"),
        (11, "mesage", "did you mean `sms.message`?"),
        (13, "webhook.url", "an https or http URL"),
        (
            14,
            "webhook.headers",
            "without those that the server sets itself",
        ),
        (15, "webhook.secret", "a text of one line"),
    ] {
        let start = format!("identity.toml:{line}: `sms.{key}` ");
        let found = complaints
            .iter()
            .any(|complaint| complaint.starts_with(&start) && complaint.contains(accepted));
        assert!(found, "{key}: {complaints:#?}");
    }
    assert_eq!(complaints.len(), 13, "{complaints:#?}");
}

#[test]
fn a_provider_that_costs_needs_to_know_for_which_countries() {
    let complaint = refused(
        "[sms]\nprovider = \"twilio\"\nfrom = \"X\"\n[sms.presets.twilio]\nusername = \"x\"\npassword = \"x\"\n",
    );
    assert!(
        complaint.contains("`sms.home_country` or `sms.allow_countries` must be set"),
        "{complaint}"
    );
    let countries = |text: &str| {
        accepted(&format!("[sms]\nprovider = \"file\"\n{text}"))
            .sms
            .allow_countries
    };
    for (text, allowed, refused) in [
        ("", "DE FR US", ""),
        ("home_country = \"de\"\n", "DE", "FR US"),
        (
            "home_country = \"DE\"\nallow_countries = [\"FR\", \"us\"]\n",
            "FR US",
            "DE",
        ),
        (
            "home_country = \"DE\"\nallow_countries = \"*\"\n",
            "DE FR US",
            "",
        ),
    ] {
        let countries = countries(text);
        assert!(
            allowed
                .split_whitespace()
                .all(|country| countries.contain(country)),
            "{text}"
        );
        assert!(
            !refused
                .split_whitespace()
                .any(|country| countries.contain(country)),
            "{text}"
        );
    }
    assert!(refused_key("allow_countries = []").contains("allow_countries"));
}

#[track_caller]
fn refused_key(line: &str) -> String {
    refused(&section(line))
}

#[test]
fn senders_are_one_for_all_or_one_for_each_country() {
    let sender = |from: &str| {
        accepted(&section(&format!("from = {from}\n")))
            .sms
            .from
            .unwrap()
    };
    assert_eq!(sender("\"Example\"").of_country("US"), "Example");
    let table = sender("{ default = \"Example\", us = \"+15005550006\" }");
    assert_eq!(table.of_country("US"), "+15005550006");
    assert_eq!(table.of_country("DE"), "Example");
    for wrong in [
        "{ US = \"x\" }",
        "{ default = \"x\", UK = \"y\" }",
        "\"\"",
        "\"a\\nb\"",
    ] {
        assert!(refused_key(&format!("from = {wrong}\n")).contains("`sms.from` must be a sender"));
    }
}

#[test]
fn a_provider_must_be_one_that_there_is() {
    let complaint = refused_key("provider = \"twillio\"\n");
    for known in [
        "\"none\", \"file\", \"webhook\", \"twilio\", \"vonage\", \"infobip\"",
        "[sms.presets.<name>]",
    ] {
        assert!(complaint.contains(known), "{complaint}");
    }
    let credentials = "from = \"X\"\n[sms.presets.twilio]\nusername = \"x\"\npassword = \"x\"\n";
    let complaint = refused_key(&format!("fallback = \"twilio\"\n{credentials}"));
    assert!(
        complaint.contains("`sms.fallback` must be set together with a `sms.provider`"),
        "{complaint}"
    );
    let webhook = "[sms.webhook]\nurl = \"https://x.example\"\nsecret = \"x\"\n";
    let complaint = refused(&section(&format!(
        "provider = \"webhook\"\nfallback = \"webhook\"\n{webhook}"
    )));
    assert!(
        complaint.contains("`sms.fallback` must be another one"),
        "{complaint}"
    );
    let complaints = resolve(&section("provider = \"webhook\"\n"), &[]).unwrap_err();
    assert!(
        complaints[0].contains("`sms.webhook.url` must be set"),
        "{complaints:?}"
    );
    assert!(
        complaints[1].contains("`sms.webhook.secret` must be set"),
        "{complaints:?}"
    );
}

#[test]
fn a_shipped_preset_needs_what_its_request_has_in_it_and_says_so() {
    for (name, needed) in [
        ("twilio", &["username", "password"][..]),
        ("vonage", &["username", "password"]),
        ("infobip", &["base_url", "api_key"]),
    ] {
        let complaints = resolve(&section(&format!("provider = \"{name}\"\n")), &[]).unwrap_err();
        let mut expected: Vec<String> = needed
            .iter()
            .map(|key| format!("identity.toml: `sms.presets.{name}.{key}` must be set"))
            .collect();
        expected.push("identity.toml: `sms.from` must be set".to_owned());
        assert_eq!(complaints.len(), expected.len(), "{complaints:#?}");
        for (complaint, start) in complaints.iter().zip(expected) {
            assert!(complaint.starts_with(&start), "{complaint}");
        }
    }
}

#[test]
fn secrets_of_a_preset_come_from_a_file_a_credential_or_the_environment_too() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "of a file\n").unwrap();
    fs::write(
        folder.path().join("sms.presets.twilio.password"),
        "of systemd\n",
    )
    .unwrap();
    let password = |text: &str, variables: &[(&str, &str)]| {
        let config = resolve(&section(text), variables).unwrap();
        let preset = config.sms.presets["twilio"].clone();
        preset.password.unwrap().expose().to_owned()
    };
    let of_file = format!(
        "{TWILIO}password_file = \"{}\"\n",
        folder.path().join("token").display()
    );
    assert_eq!(password(&of_file, &[]), "of a file");
    let credentials = folder.path().display().to_string();
    assert_eq!(
        password(TWILIO, &[("CREDENTIALS_DIRECTORY", &credentials)]),
        "of systemd"
    );
    let all = [
        ("BINDERY_SMS__PRESETS__TWILIO__USERNAME", "AC0"),
        ("BINDERY_SMS__PRESETS__TWILIO__PASSWORD", "12345"),
    ];
    assert_eq!(
        password("provider = \"twilio\"\nfrom = \"X\"\n", &all),
        "12345"
    );
}

#[test]
fn a_shipped_preset_can_be_changed_key_by_key() {
    let text = format!(
        "{TWILIO}password = \"x\"\nbase_url = \"http://10.0.0.1:8080/sub/\"\nsuccess = {{ status = [200, 201] }}\n"
    );
    let preset = accepted(&section(&text)).sms.presets["twilio"].clone();
    assert_eq!(preset.base_url.as_deref(), Some("http://10.0.0.1:8080/sub"));
    assert_eq!(preset.success[0].status, [200, 201]);
    assert!(preset.url.starts_with("{{ base_url }}/2010-04-01/"));
    assert_eq!(preset.refused[0].field.as_ref().unwrap().0, "/code");
}

#[test]
fn every_shipped_preset_is_whole() {
    for (name, needed) in [
        ("twilio", "username = \"x\"\npassword = \"x\"\n"),
        ("vonage", "username = \"x\"\npassword = \"x\"\n"),
        (
            "infobip",
            "api_key = \"x\"\nbase_url = \"https://x.example\"\n",
        ),
    ] {
        let text = format!("provider = \"{name}\"\nfrom = \"X\"\n[sms.presets.{name}]\n{needed}");
        let preset = accepted(&section(&text)).sms.presets[name].clone();
        assert!(preset.body.is_some() && preset.base_url.is_some() && preset.reason.is_some());
        assert!(!preset.headers.is_empty() && !preset.refused.is_empty());
        assert!(
            preset
                .success
                .iter()
                .all(|condition| !condition.status.is_empty())
        );
    }
}

#[test]
fn what_is_wrong_in_a_preset_is_named_whether_it_is_used_or_not() {
    let complaints = resolve(
        "[sms.presets.own]\nmethod = \"DELETE\"\nurl = \"https://x.example/{{ secret }}\"\nheaders = { A = \"{{ to\" }\n\
         base_url = \"https://x.example/?a=b\"\nsuccess = {}\nrefused = { field = \"/a\" }\n\
         temporary = [{ status = 503 }]\nreason = \"code\"\nuser = \"x\"\n",
        &[],
    )
    .unwrap_err();
    for (line, key, accepted) in [
        (2, "method", "\"GET\", \"POST\" or \"PUT\""),
        (3, "url", "that names only to, to_digits,"),
        (4, "headers", "the values as templates"),
        (5, "base_url", "without a query"),
        (6, "success", "a condition such as"),
        (7, "refused", "a condition such as"),
        (8, "temporary", "a condition such as"),
        (9, "reason", "a place in JSON"),
        (10, "user", "is not a key"),
    ] {
        let start = format!("identity.toml:{line}: `sms.presets.own.{key}` ");
        let found = complaints
            .iter()
            .any(|complaint| complaint.starts_with(&start) && complaint.contains(accepted));
        assert!(found, "{key}: {complaints:#?}");
    }
    assert_eq!(complaints.len(), 9, "{complaints:#?}");
}

#[test]
fn a_body_has_a_type_that_values_can_be_written_for_and_a_method_that_sends_it() {
    let own = |keys: &str| {
        format!("[sms.presets.own]\nurl = \"https://x.example\"\nbody = \"x\"\n{keys}")
    };
    let complaint = refused(&own("headers = { Content-Type = \"text/xml\" }\n"));
    assert!(
        complaint.contains("`sms.presets.own.headers` must have a Content-Type of"),
        "{complaint}"
    );
    assert!(refused(&own("")).contains("Content-Type"));
    let complaint = refused(&own("method = \"GET\"\n"));
    assert!(complaint.contains("cannot be sent with GET"), "{complaint}");
    for (media_type, body) in [
        ("application/json; charset=utf-8", SmsBody::Json),
        ("application/x-www-form-urlencoded", SmsBody::Form),
    ] {
        let text = own(&format!(
            "headers = {{ content-type = \"{media_type}\" }}\n"
        ));
        let preset = accepted(&text).sms.presets["own"].clone();
        assert_eq!(preset.body, Some((body, "x".to_owned())));
    }
    for name in ["webhook", "Own", "x_1234567890123456789012345678901"] {
        let complaint = refused(&format!(
            "[sms.presets.{name}]\nurl = \"https://x.example\"\n"
        ));
        assert!(complaint.contains("a preset is named with"), "{complaint}");
    }
    assert!(
        refused("[sms.presets.own]\nusername = \"x\"\n")
            .contains("`sms.presets.own.url` must be set")
    );
}

#[test]
fn the_text_goes_to_the_templates_and_one_that_costs_twice_is_mentioned() {
    let config = accepted(&section("message = \"{token}\\n@id.example #{token}\"\n"));
    assert_eq!(
        config.templates.sms_message.as_deref(),
        Some("{token}\n@id.example #{token}")
    );
    assert_eq!(config.advice(), accepted("").advice());
    let long = "x".repeat(155);
    let config = accepted(&section(&format!(
        "provider = \"file\"\nmessage = \"{long}{{token}}\"\n"
    )));
    let advice = config.advice().concat();
    assert!(
        advice.contains("each code is sent, and paid, as 2"),
        "{advice}"
    );
    assert!(
        advice.contains("SMS are not sent but written to data/outbox"),
        "{advice}"
    );
    for wrong in [
        "\"{token}\\u0007\"",
        &format!("\"{{token}}{}\"", "x".repeat(994)),
    ] {
        assert!(refused_key(&format!("message = {wrong}\n")).contains("at most 1000 characters"));
    }
}
