use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::*;
use super::{accepted, rate, refused, resolve};
use crate::types::ServerName;

#[test]
fn public_urls_are_scheme_and_authority() {
    for (text, url) in [
        ("https://id.example.org", "https://id.example.org"),
        ("https://ID.Example.org:443", "https://id.example.org"),
        ("http://127.0.0.1:8090", "http://127.0.0.1:8090"),
        ("http://[::1]:80", "http://[::1]"),
    ] {
        assert_eq!(PublicUrl::parse(text).unwrap().as_str(), url);
    }
    for text in [
        "",
        "id.example.org",
        "https://",
        "https://id.example.org/",
        "https://id.example.org/path",
        "https://id.example.org?q",
        "https://id.example.org#f",
        "https://user@id.example.org",
        "https://user:pw@id.example.org",
        "https://id.example.org:99999",
        "https://id.example.org\\x",
        "https://id example.org",
        "https://id.example.org\n",
        "HTTPS://id.example.org",
        "ftp://id.example.org",
        "unix:/run/x",
    ] {
        assert!(PublicUrl::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn listeners_are_addresses_with_a_port_or_unix_sockets() {
    let listen = |value: &str| resolve(&format!("[server]\nlisten = {value}\n"), &[]);
    assert_eq!(listen("\"0.0.0.0:0\"").unwrap().server.listen.len(), 1);
    assert_eq!(
        listen("[\"0.0.0.0:1\", \"[::]:1\", \"unix:s\"]")
            .unwrap()
            .server
            .listen
            .len(),
        3
    );
    for value in [
        "[]",
        "\"localhost:8090\"",
        "\"127.0.0.1\"",
        "\":8090\"",
        "8090",
        "\"unix:\"",
        "[1]",
    ] {
        assert!(listen(value).is_err(), "{value}");
    }
}

#[test]
fn proxies_are_trusted_by_network_and_unix_sockets_by_word() {
    let config = accepted("[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"2001:db8::1\"]\n");
    let proxies = &config.server.trusted_proxies;
    assert!(!proxies.unix);
    for (address, trusted) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("11.1.2.3", false),
        ("2001:db8::1", true),
        ("2001:db8::2", false),
        ("127.0.0.1", false),
    ] {
        assert_eq!(
            proxies.trusts(address.parse().unwrap()),
            trusted,
            "{address}"
        );
    }
    let default = TrustedProxies::default();
    assert!(default.unix && default.trusts("127.8.9.1".parse().unwrap()));
    assert_eq!(
        accepted("[server]\ntrusted_proxies = []\n")
            .server
            .trusted_proxies,
        TrustedProxies {
            networks: vec![],
            unix: false
        }
    );
    assert!(resolve("[server]\ntrusted_proxies = [\"proxy.example\"]\n", &[]).is_err());
}

#[test]
fn mailboxes_are_read_with_and_without_a_name() {
    for (text, name, address) in [
        ("a@example.org", None, "a@example.org"),
        ("<a@example.org>", None, "a@example.org"),
        (
            "Über Uns <a@example.org>",
            Some("Über Uns"),
            "a@example.org",
        ),
        (
            "\"Doe, Jane\" <Jane@example.org>",
            Some("Doe, Jane"),
            "Jane@example.org",
        ),
    ] {
        let mailbox = Mailbox::parse(text).unwrap();
        assert_eq!(
            (mailbox.name(), mailbox.address()),
            (name, address),
            "{text}"
        );
        assert_eq!(Mailbox::parse(&mailbox.to_string()).unwrap(), mailbox);
    }
}

#[test]
fn mailboxes_that_are_several_or_none_are_refused() {
    for text in [
        "",
        "Example",
        "<>",
        "a@example.org>",
        "<a@example.org",
        "A <a@example.org> B",
        "a@example.org, b@example.org",
        "A <a@example.org>, B <b@example.org>",
        "\"A <a@example.org>",
        "A\r\nBcc: x@example.org <a@example.org>",
    ] {
        assert!(Mailbox::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn the_sender_is_made_from_the_server_name_for_a_first_try() {
    let of = |name: &str| {
        let email = Email::of(&ServerName::parse(name).unwrap(), Path::new("d"));
        (email.from.to_string(), email.smtp.hello_name.unwrap())
    };
    let pair = |from: &str, hello: &str| (from.to_owned(), hello.to_owned());
    assert_eq!(
        of("example.org:8448"),
        pair("bindery@example.org", "example.org")
    );
    assert_eq!(of("192.0.2.1"), pair("bindery@localhost", "[192.0.2.1]"));
    assert_eq!(
        of("[2001:db8::1]:1"),
        pair("bindery@localhost", "[IPv6:2001:db8::1]")
    );
}

#[test]
fn the_port_follows_from_the_security_unless_it_is_set() {
    let port = |text: &str| accepted(&format!("[email.smtp]\n{text}")).email.smtp.port;
    assert_eq!(port("security = \"starttls\""), 587);
    assert_eq!(port("security = \"tls\""), 465);
    assert_eq!(port("security = \"none\""), 25);
    assert_eq!(port("security = \"tls\"\nport = 2525"), 2525);
    assert!(resolve("[email.smtp]\nport = 0", &[]).is_err());
    assert!(resolve("[email.smtp]\nport = 65536", &[]).is_err());
}

#[test]
fn user_name_and_password_go_together_and_never_over_an_open_line() {
    assert_eq!(
        refused("[email.smtp]\nusername = \"u\""),
        "identity.toml: `email.smtp.password` must be set together with `email.smtp.username`"
    );
    assert_eq!(
        refused("[email.smtp]\npassword = \"p\""),
        "identity.toml: `email.smtp.username` must be set together with `email.smtp.password`"
    );
    let open = |host: &str| {
        resolve(
            &format!(
                "[email.smtp]\nsecurity = \"none\"\nhost = \"{host}\"\nusername = \"u\"\npassword = \"p\""
            ),
            &[],
        )
    };
    assert!(open("localhost").is_ok() && open("127.0.0.1").is_ok() && open("[::1]").is_ok());
    let complaints = open("mail.example.org").unwrap_err().concat();
    assert!(
        complaints.starts_with("identity.toml:2: `email.smtp.security` must be"),
        "{complaints}"
    );
}

#[test]
fn a_mail_host_is_a_name_or_an_address_without_a_port() {
    let host = |value: &str| resolve(&format!("[email.smtp]\nhost = \"{value}\""), &[]);
    assert_eq!(
        host("[2001:db8::1]").unwrap().email.smtp.host,
        "2001:db8::1"
    );
    for value in [
        "",
        "mail.example.org:25",
        "smtp://mail.example.org",
        "a b",
        "user@host",
    ] {
        assert!(host(value).is_err(), "{value}");
    }
}

#[test]
fn rates_are_read_in_all_their_forms() {
    let read = |value: &str| {
        accepted(&format!("[limits]\nemail_by_ip = {value}"))
            .limits
            .email_by_ip
    };
    assert_eq!(read("\"5/h\""), [rate(5, 3600)]);
    assert_eq!(read("\"600/m\""), [rate(600, 60)]);
    assert_eq!(read("\"10/d\""), [rate(10, 86_400)]);
    assert_eq!(read("\"1/s\""), [rate(1, 1)]);
    assert_eq!(read("\"20/10m\""), [rate(20, 600)]);
    assert_eq!(
        read("[\"3/h\", \"10/d\"]"),
        [rate(3, 3600), rate(10, 86_400)]
    );
    assert_eq!(read("\"off\""), []);
    let burst = NonZeroU32::new(10).unwrap();
    let with_burst = Rate {
        burst,
        ..rate(5, 3600)
    };
    assert_eq!(read("{ rate = \"5/h\", burst = 10 }"), [with_burst]);
    assert_eq!(
        read("[{ rate = \"5/h\", burst = 10 }, \"3/d\"]"),
        [with_burst, rate(3, 86_400)]
    );
    assert_eq!(
        accepted("[limits.email_by_ip]\nrate = \"5/h\"\nburst = 10")
            .limits
            .email_by_ip,
        [with_burst]
    );
}

#[test]
fn rates_that_mean_nothing_are_refused() {
    for value in [
        "5",
        "\"5\"",
        "\"5/\"",
        "\"/h\"",
        "\"0/h\"",
        "\"-5/h\"",
        "\"5/0m\"",
        "\"5/fortnight\"",
        "\"5 per hour\"",
        "\"9999999999/h\"",
        "\"5/900000d\"",
        "[]",
        "[[\"5/h\"]]",
        "[\"off\"]",
        "true",
        "{ burst = 3 }",
        "{ rate = \"5/h\", burst = 0 }",
        "{ rate = \"5/h\", brust = 9 }",
    ] {
        let complaint = refused(&format!("[limits]\nemail_by_ip = {value}"));
        assert!(
            complaint.starts_with("identity.toml:2: `limits.email_by_ip` must be a rate such as "),
            "{value}: {complaint}"
        );
    }
}

#[test]
fn sizes_and_durations_are_bounded_and_have_units() {
    assert_eq!(
        accepted("[api]\nmax_body = \"1MiB\"").api.max_body,
        1024 * 1024
    );
    assert_eq!(accepted("[api]\nmax_body = 2048").api.max_body, 2048);
    for value in [
        "\"1\"",
        "\"1GiB\"",
        "-1",
        "\"big\"",
        "\"\"",
        "1.5",
        "\"99999999999999999999KB\"",
    ] {
        assert!(
            resolve(&format!("[api]\nmax_body = {value}"), &[]).is_err(),
            "{value}"
        );
    }
    let lifetime = |value: &str| resolve(&format!("[associations]\nlifetime = {value}"), &[]);
    assert_eq!(
        lifetime("\"1d 12h\"").unwrap().associations.lifetime,
        Duration::from_hours(36)
    );
    for value in [
        "\"0s\"",
        "\"\"",
        "\"5\"",
        "5",
        "\"-1h\"",
        "\"400000d\"",
        "\"99999999999999999999d\"",
    ] {
        assert!(lifetime(value).is_err(), "{value}");
    }
}

#[test]
fn hosts_of_next_links_are_compared_as_urls_have_them() {
    let hosts = accepted("[api]\nnext_link_hosts = [\"App.Example.ORG\", \"bücher.example\"]").api;
    assert_eq!(
        hosts.next_link_hosts,
        ["app.example.org", "xn--bcher-kva.example"]
    );
    for value in ["https://a.example", "a.example:1", "a.example/x", "", "a b"] {
        let text = format!("[api]\nnext_link_hosts = [\"{value}\"]");
        assert!(resolve(&text, &[]).is_err(), "{value}");
    }
}

#[test]
fn log_levels_with_a_typing_error_are_refused() {
    let level = |text: &str| resolve(&format!("[log]\nlevel = \"{text}\""), &[]);
    for text in [
        "info",
        "off",
        "warn,bindery=debug",
        "INFO",
        "info,a::b=trace/text",
    ] {
        assert_eq!(level(text).unwrap().log.level, text);
    }
    for text in ["", "inof", "info,", "bindery=loud", "=info", "info/a/b"] {
        assert!(level(text).is_err(), "{text}");
    }
}

#[test]
fn brands_cannot_lead_out_of_their_folder() {
    for brand in ["", ".", "..", "a/b", "a\\\\b"] {
        let text = format!("[templates]\ndefault_brand = \"{brand}\"");
        assert!(resolve(&text, &[]).is_err(), "{brand}");
    }
    assert!(resolve("[templates]\ndefault_language = \"no language\"", &[]).is_err());
    let config = accepted(
        "[templates]\ndirectory = \"/etc/bindery/templates\"\ndefault_language = \"pt-BR\"",
    );
    assert_eq!(
        config.templates.directory,
        Some(PathBuf::from("/etc/bindery/templates"))
    );
}

#[test]
fn a_server_that_is_public_but_not_set_up_is_advised() {
    assert_eq!(
        Config::default().advice().len(),
        1,
        "{:?}",
        Config::default().advice()
    );
    let advice = |text: &str| accepted(&format!("[email]\ntransport = \"none\"\n{text}")).advice();
    assert_eq!(advice(""), Vec::<String>::new());
    assert_eq!(advice("[server]\nname = \"example.org\"").len(), 1);
    assert_eq!(
        advice("[server]\npublic_url = \"https://id.example.org\"").len(),
        1
    );
    assert_eq!(
        advice("[server]\npublic_url = \"http://id.example.org\"").len(),
        2
    );
    let ready = "[server]\nname = \"example.org\"\npublic_url = \"https://id.example.org\"";
    assert_eq!(advice(ready), Vec::<String>::new());
}

#[test]
fn limits_that_the_store_counts_have_no_bursts() {
    let limits = |text: &str| resolve(&format!("[limits]\n{text}\n"), &[]);
    let config = limits("sms_by_number = [\"1/h\", \"2/d\", \"3/30d\"]").unwrap();
    assert_eq!(config.limits.sms_by_number.len(), 3);
    let config = limits("sms_by_number = \"off\"\nwrong_codes_by_number = \"5/d\"").unwrap();
    assert!(config.limits.sms_by_number.is_empty());
    assert_eq!(config.limits.wrong_codes_by_number, [rate(5, 24 * 3600)]);
    for text in [
        "sms_by_number = { rate = \"3/h\", burst = 9 }",
        "sms_by_number = [\"3/h\", { rate = \"10/d\", burst = 1 }]",
        "sms_by_number = []",
        "wrong_codes_by_number = [\"5/h\", \"20/d\"]",
        "wrong_codes_by_number = { rate = \"5/h\", burst = 9 }",
    ] {
        assert!(limits(text).is_err(), "{text}");
    }
}

#[test]
fn a_code_of_six_digits_bears_few_tries() {
    let config = accepted("[sessions]\nsms_tries = 10\nsms_lifetime = \"5m\"\n");
    assert_eq!(config.sessions.sms_tries, 10);
    for tries in [0, 11, 1000] {
        let complaint = refused(&format!("[sessions]\nsms_tries = {tries}\n"));
        assert!(complaint.contains("from 1 to 10"), "{complaint}");
    }
}
