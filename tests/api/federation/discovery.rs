//! Finding a homeserver by its name, in the order of the specification.

use serde_json::json;

use super::*;
use crate::support::homeserver::{Reply, Seen, USERINFO, WELL_KNOWN};

const HOUR: Duration = Duration::from_hours(1);

/// Asks for the token of a user of `server`, which must be answered by `homeserver`: with which `Host`, and which name in TLS?
async fn answered(rig: &Rig, server: &str, homeserver: &Homeserver) -> (String, Option<String>) {
    homeserver.vouch_for(&format!("@alice:{server}"));
    rig.ask(server).await.unwrap();
    let of_users = |seen: &Seen| seen.target.starts_with(USERINFO);
    let last = homeserver.seen().into_iter().rfind(of_users).unwrap();
    (last.host, last.sni)
}

fn delegate(homeserver: &Homeserver, to: &str) {
    homeserver.reply(WELL_KNOWN, Reply::Json(200, json!({ "m.server": to })));
}

fn both(host: &str, sni: &str) -> (String, Option<String>) {
    (host.to_owned(), Some(sni.to_owned()))
}

#[tokio::test]
async fn step_1_an_address_is_connected_to_as_it_stands() {
    let mut rig = Rig::new().await;
    let homeserver = Homeserver::start(&rig.authority, "127.0.0.1").await;
    let server = homeserver.name().to_string();
    let expected = (server.clone(), None);
    assert_eq!(answered(&rig, &server, &homeserver).await, expected);
    rig.with_ports(1, homeserver.port());
    let expected = ("127.0.0.1".to_owned(), None);
    assert_eq!(answered(&rig, "127.0.0.1", &homeserver).await, expected);
    assert_eq!(homeserver.count(WELL_KNOWN), 0);
    assert!(rig.dns.asked().is_empty());
}

#[tokio::test]
async fn step_1_the_certificate_must_be_for_the_address() {
    let rig = Rig::new().await;
    let tls = rig.authority.server("hs.example");
    let homeserver = Homeserver::start_with("127.0.0.1", tls).await;
    let error = rig.ask(homeserver.name().as_str()).await.unwrap_err();
    assert!(is_tls(&error), "{error}");
}

#[tokio::test]
async fn step_2_a_name_with_a_port_is_not_delegated() {
    let rig = Rig::new().await;
    let homeserver = rig.homeserver("hs.example").await;
    let server = homeserver.name().to_string();
    let expected = both(&server, "hs.example");
    assert_eq!(answered(&rig, &server, &homeserver).await, expected);
    assert!(!rig.dns.asked().iter().any(|asked| asked.contains("SRV")));
}

#[tokio::test]
async fn step_3_well_known_delegates_to_an_address() {
    let mut rig = Rig::new().await;
    let web = rig.homeserver("a.example").await;
    let homeserver = Homeserver::start(&rig.authority, "127.0.0.1").await;
    delegate(&web, homeserver.name().as_str());
    rig.with_ports(web.port(), 1);
    let expected = (homeserver.name().to_string(), None);
    assert_eq!(answered(&rig, "a.example", &homeserver).await, expected);
    assert_eq!(web.seen()[0].host, "a.example");
}

#[tokio::test]
async fn step_3_well_known_delegates_to_a_name_with_a_port() {
    let mut rig = Rig::new().await;
    let web = rig.homeserver("a.example").await;
    let homeserver = rig.homeserver("b.example").await;
    delegate(&web, homeserver.name().as_str());
    rig.with_ports(web.port(), 1);
    let expected = both(homeserver.name().as_str(), "b.example");
    assert_eq!(answered(&rig, "a.example", &homeserver).await, expected);
}

#[tokio::test]
async fn step_3_well_known_delegates_to_a_name_with_srv_records() {
    for service in ["_matrix-fed", "_matrix"] {
        let mut rig = Rig::new().await;
        let web = rig.homeserver("a.example").await;
        let homeserver = Homeserver::start(&rig.authority, "b.example").await;
        delegate(&web, "b.example");
        rig.with_ports(web.port(), 1);
        rig.dns.host("target.example", "127.0.0.1");
        let name = format!("{service}._tcp.b.example");
        rig.dns.srv(&name, 10, "target.example", homeserver.port());
        let expected = both("b.example", "b.example");
        assert_eq!(answered(&rig, "a.example", &homeserver).await, expected);
        let asked = rig.dns.asked();
        assert!(!asked.iter().any(|asked| asked.ends_with("_tcp.a.example")));
    }
}

#[tokio::test]
async fn step_3_well_known_delegates_to_a_name_on_the_usual_port() {
    let mut rig = Rig::new().await;
    let web = rig.homeserver("a.example").await;
    let homeserver = rig.homeserver("b.example").await;
    delegate(&web, "b.example");
    rig.with_ports(web.port(), homeserver.port());
    let expected = both("b.example", "b.example");
    assert_eq!(answered(&rig, "a.example", &homeserver).await, expected);
}

#[tokio::test]
async fn step_4_srv_records_lead_to_the_server_of_the_original_name() {
    for service in ["_matrix-fed", "_matrix"] {
        let rig = Rig::new().await;
        let homeserver = rig.homeserver("a.example").await;
        rig.dns.host("target.example", "127.0.0.1");
        let name = format!("{service}._tcp.a.example");
        rig.dns.srv(&name, 10, "target.example", homeserver.port());
        let expected = both("a.example", "a.example");
        assert_eq!(answered(&rig, "a.example", &homeserver).await, expected);
    }
}

#[tokio::test]
async fn step_4_the_old_srv_records_count_only_without_new_ones() {
    let rig = Rig::new().await;
    let homeserver = rig.homeserver("a.example").await;
    let (listener, address) = trap();
    let (new, old) = ("_matrix-fed._tcp.a.example", "_matrix._tcp.a.example");
    rig.dns.srv(new, 10, "a.example", homeserver.port());
    rig.dns.srv(old, 1, "a.example", address.port());
    answered(&rig, "a.example", &homeserver).await;
    nobody_came(&listener);
}

#[tokio::test]
async fn step_4_a_certificate_for_the_srv_target_does_not_count() {
    let rig = Rig::new().await;
    rig.dns.host("a.example", "127.0.0.1");
    let homeserver = rig.homeserver("target.example").await;
    let name = "_matrix-fed._tcp.a.example";
    rig.dns.srv(name, 10, "target.example", homeserver.port());
    let error = rig.ask("a.example").await.unwrap_err();
    assert!(is_tls(&error), "{error}");
}

#[tokio::test]
async fn step_4_the_next_srv_target_is_tried_when_one_is_down() {
    let rig = Rig::new().await;
    let homeserver = rig.homeserver("a.example").await;
    let name = "_matrix-fed._tcp.a.example";
    for (priority, target, port) in [
        (30, "up.example", homeserver.port()),
        (10, "gone.example", 1),
        (20, "down.example", 1),
    ] {
        rig.dns.srv(name, priority, target, port);
    }
    rig.dns.host("up.example", "127.0.0.1");
    rig.dns.host("down.example", "127.0.0.1");
    answered(&rig, "a.example", &homeserver).await;
}

#[tokio::test]
async fn step_4_a_target_of_a_dot_says_that_there_is_no_homeserver() {
    let mut rig = Rig::new().await;
    let homeserver = rig.homeserver("a.example").await;
    rig.with_ports(1, homeserver.port());
    rig.dns.srv("_matrix-fed._tcp.a.example", 0, ".", 0);
    failed(rig.ask("a.example").await, Outcome::Unreachable);
    assert_eq!(homeserver.count(USERINFO), 0);
}

#[tokio::test]
async fn step_5_without_anything_it_is_the_usual_port() {
    let mut rig = Rig::new().await;
    let homeserver = rig.homeserver("a.example").await;
    rig.with_ports(1, homeserver.port());
    let expected = both("a.example", "a.example");
    assert_eq!(answered(&rig, "a.example", &homeserver).await, expected);
}

#[tokio::test]
async fn a_well_known_that_cannot_be_used_is_none() {
    let bad = |body| Reply::Json(200, body);
    for reply in [
        Reply::Json(404, json!({ "m.server": "b.example:1" })),
        bad(json!({})),
        bad(json!([])),
        bad(json!({ "m.server": 1 })),
        bad(json!({ "m.server": "https://b.example" })),
        bad(json!({ "m.server": "b.example/path" })),
        bad(json!({ "m.server": "" })),
        Reply::Html,
        Reply::Large,
        Reply::Endless,
        Reply::Noise,
        Reply::Drop,
        Reply::Redirect("http://b.example/".to_owned()),
        Reply::Redirect("https://user:password@b.example/".to_owned()),
        Reply::Redirect("file:///etc/passwd".to_owned()),
    ] {
        let mut rig = Rig::new().await;
        let homeserver = rig.homeserver("a.example").await;
        rig.with_ports(homeserver.port(), homeserver.port());
        homeserver.reply(WELL_KNOWN, reply.clone());
        let answered = answered(&rig, "a.example", &homeserver).await;
        assert_eq!(answered.0, "a.example", "{reply:?}");
        let asked = rig.dns.asked();
        assert!(!asked.iter().any(|asked| asked.contains("b.example")));
    }
}

#[tokio::test]
async fn a_silent_well_known_leaves_time_for_the_homeserver() {
    let mut rig = Rig::with(|settings| settings.timeout = Duration::from_secs(1)).await;
    let homeserver = rig.homeserver("a.example").await;
    rig.with_ports(homeserver.port(), homeserver.port());
    homeserver.reply(WELL_KNOWN, Reply::Silence);
    answered(&rig, "a.example", &homeserver).await;
}

#[tokio::test]
async fn redirects_of_well_known_are_followed() {
    let mut rig = Rig::new().await;
    let web = rig.homeserver("a.example").await;
    let other = rig.homeserver("www.example").await;
    let homeserver = rig.homeserver("b.example").await;
    rig.with_ports(web.port(), 1);
    let there = format!("https://{}/first?x=1", other.name());
    web.reply(WELL_KNOWN, Reply::Redirect(there));
    other.reply("/first", Reply::Redirect("second".to_owned()));
    let body = json!({ "m.server": homeserver.name().as_str() });
    other.reply("/second", Reply::Json(200, body));
    answered(&rig, "a.example", &homeserver).await;
    let targets: Vec<_> = other.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/first?x=1", "/second"]);
    assert_eq!(other.seen()[0].host, other.name().as_str());
}

#[tokio::test]
async fn a_redirect_loop_of_well_known_ends() {
    let mut rig = Rig::new().await;
    let homeserver = rig.homeserver("a.example").await;
    rig.with_ports(homeserver.port(), homeserver.port());
    homeserver.reply(WELL_KNOWN, Reply::Redirect(WELL_KNOWN.to_owned()));
    answered(&rig, "a.example", &homeserver).await;
    assert_eq!(homeserver.count(WELL_KNOWN), 6);
}

#[tokio::test]
async fn a_redirect_of_well_known_does_not_lead_to_a_refused_address() {
    let mut rig = Rig::with(|settings| {
        settings.allow_ips = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let homeserver = rig.homeserver("a.example").await;
    rig.with_ports(homeserver.port(), homeserver.port());
    rig.dns.host("inside.example", "127.0.0.2");
    let (listener, address) = trap_at("127.0.0.2");
    let port = address.port();
    for there in [
        format!("https://inside.example:{port}/"),
        format!("https://127.0.0.2:{port}/"),
        format!("https://0177.0.0.2:{port}/"),
        format!("https://2130706434:{port}/"),
        format!("https://0x7f.2:{port}/"),
        format!("https://[::ffff:127.0.0.2]:{port}/"),
    ] {
        homeserver.reply(WELL_KNOWN, Reply::Redirect(there));
        rig.with_ports(homeserver.port(), homeserver.port());
        answered(&rig, "a.example", &homeserver).await;
    }
    nobody_came(&listener);
}

/// How long a delegation with these headers holds, to the minute.
async fn lifetime(headers: &'static str) -> Duration {
    const MINUTE: Duration = Duration::from_mins(1);
    let mut rig = Rig::new().await;
    let web = rig.homeserver("a.example").await;
    let homeserver = rig.homeserver("b.example").await;
    rig.with_ports(web.port(), 1);
    let body = json!({ "m.server": homeserver.name().as_str() });
    web.reply(WELL_KNOWN, Reply::With(headers, body));
    answered(&rig, "a.example", &homeserver).await;
    let mut passed = Duration::ZERO;
    for step in [4 * MINUTE, MINUTE, 55 * MINUTE, 23 * HOUR, 24 * HOUR] {
        rig.clock.advance(step);
        passed += step;
        answered(&rig, "a.example", &homeserver).await;
        if web.count(WELL_KNOWN) == 2 {
            return passed;
        }
    }
    panic!("it is still remembered");
}

#[tokio::test]
async fn a_delegation_holds_as_long_as_its_headers_say_within_bounds() {
    let minutes = Duration::from_mins;
    for (headers, expected) in [
        ("", 24 * HOUR),
        ("Cache-Control: max-age=3600\r\n", HOUR),
        ("Cache-Control: max-age=0\r\n", minutes(5)),
        ("Cache-Control: no-store\r\n", minutes(5)),
        ("Cache-Control: max-age=99999999\r\n", 48 * HOUR),
        // The test's clock stands at 15 January 2027, 08:00:00.
        ("Expires: Fri, 15 Jan 2027 09:00:00 GMT\r\n", HOUR),
        ("Expires: Thu, 01 Jan 1970 00:00:00 GMT\r\n", minutes(5)),
        ("Expires: Mon, 01 Jan 2035 00:00:00 GMT\r\n", 48 * HOUR),
        ("Expires: 0\r\n", 24 * HOUR),
    ] {
        assert_eq!(lifetime(headers).await, expected, "{headers}");
    }
}

#[tokio::test]
async fn that_there_is_no_delegation_holds_an_hour() {
    let mut rig = Rig::new().await;
    let homeserver = rig.homeserver("a.example").await;
    rig.with_ports(homeserver.port(), homeserver.port());
    answered(&rig, "a.example", &homeserver).await;
    rig.clock.advance(Duration::from_secs(60 * 60 - 1));
    answered(&rig, "a.example", &homeserver).await;
    assert_eq!(homeserver.count(WELL_KNOWN), 1);
    rig.clock.advance(Duration::from_secs(1));
    answered(&rig, "a.example", &homeserver).await;
    assert_eq!(homeserver.count(WELL_KNOWN), 2);
}

#[tokio::test]
async fn dns_that_fails_is_not_taken_for_a_name_without_records() {
    let mut rig = Rig::new().await;
    let homeserver = rig.homeserver("a.example").await;
    rig.with_ports(1, homeserver.port());
    rig.dns.break_at("_tcp.a.example");
    failed(rig.ask("a.example").await, Outcome::Unreachable);
    assert_eq!(homeserver.count(USERINFO), 0);
    failed(rig.ask("missing.example").await, Outcome::Unreachable);
}
