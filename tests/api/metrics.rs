//! What monitoring sees, on its own listener, and that what is shipped for it names nothing that is not there.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bindery::config::Listen;
use serde_json::{Value, json};

use crate::support::server::{BIND, BULK_LOOKUP, REQUEST_TOKEN, SUBMIT_TOKEN, TestServer, UNBIND};

const ALICE: &str = "alice@example.org";

async fn monitored() -> TestServer {
    TestServer::start_with(|config| {
        config.metrics.listen = Some(Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))));
        config.sessions.email_tries = 2;
    })
    .await
}

async fn scrape(server: &TestServer) -> String {
    let monitoring = server.monitoring.as_ref().unwrap();
    let answer = monitoring.get("/metrics", &[]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").starts_with("text/plain"));
    answer.text
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|seen| seen == line), "{line}:\n{text}");
}

/// A life of an association, with a wrong turn here and there.
async fn live(server: &TestServer) {
    let sid = server.validated(ALICE, "hush-hush").await;
    server
        .bind(&sid, "hush-hush", "@alice:hs.example")
        .await
        .ok();
    let threepids = json!([["email", ALICE], ["email", "bob@example.org"]]);
    let body = json!({ "threepids": threepids });
    server.client.post(BULK_LOOKUP, body).await.ok();
    let body = json!({
        "sid": sid, "client_secret": "hush-hush", "mxid": "@alice:hs.example",
        "threepid": { "medium": "email", "address": ALICE },
    });
    server.client.post(UNBIND, body).await.ok();
    let burnt = server.request_token("bob@example.org", "other").await;
    for _ in 0..2 {
        let body = json!({ "sid": burnt, "client_secret": "other", "token": "wrong" });
        let answer = server.client.post(SUBMIT_TOKEN, body).await;
        answer.refused(400, "M_TOKEN_INCORRECT");
    }
}

#[tokio::test]
async fn what_happens_is_counted() {
    let server = monitored().await;
    live(&server).await;
    let text = scrape(&server).await;
    for line in [
        "bindery_sessions_total{event=\"created\"} 2",
        "bindery_sessions_total{event=\"validated\"} 1",
        "bindery_sessions_total{event=\"burnt\"} 1",
        "bindery_mails_total{outcome=\"sent\"} 2",
        "bindery_mails_total{outcome=\"refused\"} 0",
        "bindery_binds_total 1",
        "bindery_unbinds_total 1",
        "bindery_lookups_total 1",
        "bindery_lookup_addresses_total 2",
        "bindery_http_requests_in_flight 0",
    ] {
        assert_line(&text, line);
    }
    assert_line(
        &text,
        &format!(
            "bindery_http_requests_total{{errcode=\"M_TOKEN_INCORRECT\",method=\"POST\",\
             route=\"{SUBMIT_TOKEN}\",status=\"400\"}} 2"
        ),
    );
    assert_line(
        &text,
        &format!("bindery_http_request_duration_seconds_count{{route=\"{BIND}\"}} 1"),
    );
    // Each group of changes is one sync; the first ones were made before anybody counted.
    let count = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    let (syncs, frames) = (
        count("bindery_store_sync_duration_seconds_count"),
        count("bindery_store_frames_total"),
    );
    assert!((5..=frames).contains(&syncs), "{syncs} of {frames}");
}

#[tokio::test]
async fn nothing_of_a_person_is_in_the_metrics() {
    let server = monitored().await;
    live(&server).await;
    server
        .client
        .get("/alice@example.org/secret-path", &[])
        .await;
    let text = scrape(&server).await;
    for secret in ["alice", "hush", "bob", "secret-path", "hs.example"] {
        assert!(!text.contains(secret), "{secret}:\n{text}");
    }
    assert!(text.contains("route=\"unknown\""));
}

#[tokio::test]
async fn a_refusal_by_a_limit_is_counted_by_its_name() {
    let server = monitored().await;
    for number in 0..6 {
        let body = json!({
            "email": ALICE, "client_secret": format!("s{number}"), "send_attempt": 1,
        });
        server.client.post(REQUEST_TOKEN, body).await;
    }
    let text = scrape(&server).await;
    assert_line(
        &text,
        "bindery_limits_hit_total{action=\"email_by_address\"} 1",
    );
    assert_line(
        &text,
        "bindery_limits_hit_total{action=\"requests_by_ip\"} 0",
    );
}

#[tokio::test]
async fn health_is_told_to_monitoring_and_to_nobody_else() {
    let server = monitored().await;
    let monitoring = server.monitoring.as_ref().unwrap();
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(monitoring.get(path, &[]).await.status, 200, "{path}");
    }
    for path in ["/metrics", "/health/live", "/health/ready"] {
        let answer = server.client.get(path, &[]).await;
        answer.refused(404, "M_UNRECOGNIZED");
        assert_eq!(
            monitoring.get("/_matrix/identity/v2", &[]).await.status,
            404
        );
    }
}

/// The words of a text that look like metrics.
fn metrics_named(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("bindery_") || word.starts_with("process_"))
        // Names of files may begin like that, too.
        .filter(|word| !word.ends_with('_'))
        .map(ToOwned::to_owned)
        .collect()
}

fn shipped(path: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// All texts in a JSON value that stand under a key.
fn under<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(text) if name == key => found.push(text),
                    other => under(other, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| under(item, key, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_metric_that_alerts_dashboard_and_documents_name_is_there() {
    let server = monitored().await;
    live(&server).await;
    let text = scrape(&server).await;
    let there: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();

    let alerts = shipped("contrib/prometheus/alerts.yml");
    let dashboard: Value = serde_json::from_str(&shipped("contrib/grafana/bindery.json")).unwrap();
    let mut queries = Vec::new();
    under(&dashboard, "expr", &mut queries);
    assert!(queries.len() > 5);
    let operating = shipped("docs/operating.md");
    for (place, text) in [
        ("alerts", alerts.as_str()),
        ("dashboard", &queries.join(" ")),
        ("operating.md", &operating),
    ] {
        let named = metrics_named(text);
        assert!(named.len() > 5, "{place}: {named:?}");
        for name in named {
            let family = [name.as_str(), &format!("{name}_bucket")]
                .into_iter()
                .any(|name| there.contains(name));
            assert!(family, "{place} names {name}, which is not in the metrics");
        }
    }
    for name in there.iter().filter(|name| name.starts_with("bindery_")) {
        let name = name.trim_end_matches("_bucket").trim_end_matches("_count");
        let name = name.strip_suffix("_sum").unwrap_or(name);
        assert!(operating.contains(name), "{name} is not in operating.md");
    }
    for line in alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(operating.contains(line), "{line} is not in operating.md");
    }
}
