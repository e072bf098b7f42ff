//! Addresses that are not connected to, whatever a name or a spelling says.

use super::*;

/// Only 127.0.0.1 may be connected to.
fn only_one(settings: &mut config::Federation) {
    settings.allow_ips = vec!["127.0.0.1/32".parse().unwrap()];
}

#[test]
fn what_is_no_server_name_is_none() {
    for text in [
        "https://hs.example",
        "//hs.example",
        "hs.example/path",
        "hs.example?x",
        "hs.example#x",
        "user@hs.example",
        "hs.example:",
        "hs.example:99999",
        "hs.example:8448:8448",
        "hs example",
        "[hs.example]",
        "[::1",
        "::1",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.01",
        "",
    ] {
        assert!(ServerName::parse(text).is_err(), "{text}");
    }
}

#[tokio::test]
async fn an_address_in_octal_decimal_or_hexadecimal_is_refused() {
    let rig = Rig::new().await;
    let (listener, address) = trap();
    let port = address.port();
    for host in ["0x7f.0.0.1", "0x7f000001", "0x7f.1", "127.0.0.0x1"] {
        let server = format!("{host}:{port}");
        failed(rig.ask(&server).await, Outcome::Refused);
    }
    nobody_came(&listener);
    assert!(rig.dns.asked().is_empty());
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_by_default() {
    let rig = Rig::with(|settings| settings.allow_ips.clear()).await;
    let (listener, address) = trap();
    let port = address.port();
    for host in [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:10.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
        "[fe80::1]",
        "[fc00::1]",
        "localhost",
    ] {
        let text = failed(rig.ask(&format!("{host}:{port}")).await, Outcome::Refused);
        assert!(text.contains("federation.allow_ips"), "{text}");
        failed(rig.ask(&format!("{host}:443")).await, Outcome::Refused);
    }
    nobody_came(&listener);
}

#[tokio::test]
async fn a_mapped_address_does_not_pass_for_the_one_that_is_excepted() {
    let rig = Rig::with(only_one).await;
    let (listener, address) = trap();
    rig.dns.host("mapped.example", "::ffff:127.0.0.1");
    for host in ["[::ffff:127.0.0.1]", "mapped.example"] {
        let server = format!("{host}:{}", address.port());
        failed(rig.ask(&server).await, Outcome::Refused);
    }
    nobody_came(&listener);
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_refused() {
    let rig = Rig::with(only_one).await;
    let (listener, address) = trap_at("127.0.0.2");
    let port = address.port();
    rig.dns.host("inside.example", "127.0.0.2");
    rig.dns.host("inside6.example", "fd00::1");
    for host in ["inside.example", "inside6.example"] {
        failed(rig.ask(&format!("{host}:{port}")).await, Outcome::Refused);
    }
    nobody_came(&listener);
}

#[tokio::test]
async fn a_name_of_one_public_and_one_private_address_is_refused_whole() {
    let rig = Rig::with(only_one).await;
    let homeserver = rig.homeserver("mixed.example").await;
    rig.dns.host("mixed.example", "10.0.0.1");
    failed(rig.ask(homeserver.name().as_str()).await, Outcome::Refused);
    assert_eq!(homeserver.connections(), 0);
}

#[tokio::test]
async fn what_was_checked_is_what_is_connected_to() {
    let rig = Rig::new().await;
    let homeserver = rig.homeserver("hs.example").await;
    rig.ask(homeserver.name().as_str()).await.unwrap();
    // DNS that answers something else the second time is not asked a second time.
    let mut asked = rig.dns.asked();
    asked.sort();
    assert_eq!(asked, ["A hs.example", "AAAA hs.example"]);
}

#[tokio::test]
async fn an_srv_target_with_a_private_address_is_refused() {
    let rig = Rig::with(only_one).await;
    let (listener, address) = trap_at("127.0.0.2");
    let port = address.port();
    rig.dns.host("a.example", "127.0.0.1");
    rig.dns.host("inside.example", "127.0.0.2");
    let name = "_matrix-fed._tcp.a.example";
    rig.dns.srv(name, 0, "inside.example", port);
    failed(rig.ask("a.example").await, Outcome::Refused);
    nobody_came(&listener);
}

#[tokio::test]
async fn a_delegation_to_a_private_address_is_refused() {
    let mut rig = Rig::with(only_one).await;
    let homeserver = rig.homeserver("a.example").await;
    rig.with_ports(homeserver.port(), 1);
    let (listener, address) = trap_at("127.0.0.2");
    let body = serde_json::json!({ "m.server": address.to_string() });
    let reply = crate::support::homeserver::Reply::Json(200, body);
    homeserver.reply(crate::support::homeserver::WELL_KNOWN, reply);
    failed(rig.ask("a.example").await, Outcome::Refused);
    nobody_came(&listener);
}

#[tokio::test]
async fn what_the_operator_denies_is_refused_even_if_excepted() {
    let rig = Rig::with(|settings| {
        settings.deny_ips = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let homeserver = rig.homeserver("hs.example").await;
    let error = failed(rig.ask(homeserver.name().as_str()).await, Outcome::Refused);
    assert!(error.contains("federation.deny_ips"), "{error}");
    assert_eq!(homeserver.connections(), 0);
}
