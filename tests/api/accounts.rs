//! Accounts: whoever a homeserver vouches for gets a token, and every guarded call wants one.

use std::time::Duration;

use bindery::config::V1;
use bindery::http::{Guard, Version, listing};
use bindery::types::ServerName;
use reqwest::Method;
use serde_json::json;

use crate::support::client::send;
use crate::support::federated::{Federated, V2};
use crate::support::homeserver::{Reply, USERINFO};
use crate::support::server::{BIND, LOOKUP, REQUEST_TOKEN, SUBMIT_TOKEN, TestServer};

const DAY: Duration = Duration::from_hours(24);

#[tokio::test]
async fn every_guarded_route_wants_a_token_before_it_looks_at_anything_else() {
    let server = TestServer::start().await;
    let mut guarded = 0;
    for (version, method, path, guard) in listing() {
        let request = |token: Option<&str>| {
            let method = Method::from_bytes(method.as_str().as_bytes()).unwrap();
            let request = server.client.request(method, &path).body("no JSON");
            send(match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            })
        };
        if guard == Guard::Open {
            assert_ne!(request(None).await.status, 401, "{method} {path}");
            continue;
        }
        guarded += 1;
        assert_eq!(version, Version::V2, "{path}");
        request(None).await.refused(401, "M_UNAUTHORIZED");
        let expected = if path.ends_with("/logout") {
            "M_UNKNOWN_TOKEN"
        } else {
            "M_UNAUTHORIZED"
        };
        request(Some("unknown")).await.refused(401, expected);
    }
    assert!(guarded >= 6, "the table has guarded routes");
}

#[tokio::test]
async fn whoever_the_homeserver_vouches_for_gets_a_token() {
    let site = Federated::start().await;
    let token = site.register("alice").await;
    assert_eq!(token.len(), 43, "256 bits");
    let account = site.get(&token, "account", &[]).await;
    assert_eq!(account.ok(), json!({ "user_id": site.user("alice") }));
    let asked = site.homeserver.seen();
    assert!(
        asked.iter().any(|seen| seen.target
            == format!("{USERINFO}?access_token=an%20openid%20token")
            || seen.target == format!("{USERINFO}?access_token=an+openid+token")),
        "{asked:?}"
    );
    let other = site.register("alice").await;
    assert_ne!(token, other, "several tokens an account");
    site.get(&token, "account", &[]).await.ok();
}

#[tokio::test]
async fn a_token_is_taken_in_any_spelling_of_its_scheme_and_from_the_query() {
    let site = Federated::start().await;
    let token = site.register("alice").await;
    let path = format!("{V2}/account");
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = site.server.client.request(Method::GET, &path);
        send(request.header("authorization", format!("{scheme} {token}")))
            .await
            .ok();
    }
    let query = [("access_token", token.as_str())];
    site.server.client.get(&path, &query).await.ok();
    let request = site.server.client.request(Method::GET, &path).query(&query);
    let header_wins = send(request.bearer_auth("unknown")).await;
    header_wins.refused(401, "M_UNAUTHORIZED");
    for other in ["Basic abc", "Bearer", "Bearer ", token.as_str()] {
        let request = site.server.client.request(Method::GET, &path);
        send(request.header("authorization", other))
            .await
            .refused(401, "M_UNAUTHORIZED");
    }
}

#[tokio::test]
async fn logging_out_ends_one_token_and_an_ended_token_is_unknown() {
    let site = Federated::start().await;
    let (one, other) = (site.register("alice").await, site.register("alice").await);
    let request = site
        .server
        .client
        .request(Method::POST, &format!("{V2}/account/logout"));
    assert_eq!(send(request.bearer_auth(&one)).await.ok(), json!({}));
    site.get(&one, "account", &[])
        .await
        .refused(401, "M_UNAUTHORIZED");
    site.post(&one, "account/logout", &json!({}))
        .await
        .refused(401, "M_UNKNOWN_TOKEN");
    site.get(&other, "account", &[]).await.ok();
}

#[tokio::test]
async fn an_account_lives_on_while_it_is_used_and_a_year_at_most() {
    let site = Federated::start().await;
    let (used, idle) = (site.register("alice").await, site.register("bob").await);
    for _ in 0..4 {
        site.server.advance(80 * DAY);
        site.get(&used, "account", &[]).await.ok();
        // The use is written behind the answer; a write that is waited for comes after it.
        site.server
            .validated("a@example.org", &format!("s{}", site.server.now()))
            .await;
    }
    site.get(&idle, "account", &[])
        .await
        .refused(401, "M_UNAUTHORIZED");
    site.server.advance(44 * DAY);
    site.get(&used, "account", &[]).await.ok();
    site.server.advance(DAY);
    site.get(&used, "account", &[])
        .await
        .refused(401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn only_allowed_homeservers_are_served_also_on_v1() {
    let site = Federated::start_with(|config, _| {
        config.accounts.allow_homeservers = vec![ServerName::parse("other.example").unwrap()];
    })
    .await;
    site.homeserver.vouch_for(&site.user("alice"));
    site.try_register().await.refused(403, "M_FORBIDDEN");
    assert_eq!(site.homeserver.count(USERINFO), 0, "nobody was asked");
    let sid = site.server.validated("a@example.org", "s").await;
    let refused = site.server.bind(&sid, "s", "@a:hs.example").await;
    refused.refused(403, "M_FORBIDDEN");
    site.server.bind(&sid, "s", "@a:other.example").await.ok();
}

#[tokio::test]
async fn who_is_not_vouched_for_gets_nothing() {
    let site = Federated::start().await;
    let name = site.homeserver.name();
    for sub in [
        json!("@alice:other.example"),
        json!(format!("@alice:{name}.evil.example")),
        json!(format!("@alice:{}", name.as_str().to_uppercase())),
        json!("@alice:hs.example"),
        json!("alice"),
        json!(""),
        json!(["@alice:hs.example"]),
        json!(null),
        json!(7),
    ] {
        site.homeserver
            .reply(USERINFO, Reply::Json(200, json!({ "sub": sub })));
        let answer = site.try_register().await;
        assert!(
            matches!(answer.status.as_u16(), 401 | 502),
            "{sub}: {}",
            answer.text
        );
        answer.json();
    }
    for (reply, status) in [
        (
            Reply::Json(401, json!({ "errcode": "M_UNKNOWN_TOKEN" })),
            401,
        ),
        (Reply::Json(200, json!({})), 502),
        (Reply::Json(500, json!({})), 502),
        (Reply::Html, 502),
        (Reply::Large, 502),
        (Reply::Drop, 502),
    ] {
        site.homeserver.reply(USERINFO, reply.clone());
        let answer = site.try_register().await;
        assert_eq!(answer.status, status, "{reply:?}: {}", answer.text);
        answer.json();
    }
}

#[tokio::test]
async fn a_homeserver_that_is_none_or_lies_where_nobody_goes_is_refused() {
    let server = TestServer::start().await;
    for name in [
        "https://hs.example",
        "hs.example/path",
        "hs.example:0x50",
        "0177.0.0.1",
        "2130706433",
        "[::ffff:10.0.0.1]",
        "127.0.0.1",
        "10.0.0.1:8448",
        "[::1]",
        "169.254.169.254",
        "localhost",
        "",
    ] {
        let body = json!({ "access_token": "t", "matrix_server_name": name });
        let answer = server
            .client
            .post(&format!("{V2}/account/register"), body)
            .await;
        let sentence = answer.refused(400, "M_INVALID_PARAM");
        assert!(
            sentence.contains("`matrix_server_name`"),
            "{name}: {sentence}"
        );
    }
}

#[tokio::test]
async fn a_source_registers_only_so_often() {
    let site = Federated::start().await;
    for _ in 0..30 {
        site.register("alice").await;
    }
    site.try_register().await.refused(429, "M_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn the_heart_works_on_v2_and_an_account_binds_only_for_itself() {
    let site = Federated::start().await;
    let alice = site.register("alice").await;
    let other = site
        .bind(&alice, "a@example.org", "s", "@bob:hs.example")
        .await;
    other.refused(403, "M_UNAUTHORIZED");
    assert_eq!(site.server.looked_up("a@example.org").await, None);

    let bound = site
        .bind(&alice, "A@example.org", "t", &site.user("alice"))
        .await
        .ok();
    assert_eq!(bound["mxid"], site.user("alice"));
    assert_eq!(
        site.server.looked_up("a@example.org").await,
        Some(site.user("alice"))
    );

    let sid = site.validated(&alice, "a@example.org", "u").await;
    let query = [("sid", sid.as_str()), ("client_secret", "u")];
    let validated = site.get(&alice, "3pid/getValidated3pid", &query).await;
    assert_eq!(validated.ok()["address"], "a@example.org");
    let body = json!({
        "sid": sid, "client_secret": "u", "mxid": site.user("alice"),
        "threepid": { "medium": "email", "address": "a@example.org" },
    });
    let without_token = site
        .server
        .client
        .post(&format!("{V2}/3pid/unbind"), body)
        .await;
    assert_eq!(without_token.ok(), json!({}));
    assert_eq!(site.server.looked_up("a@example.org").await, None);
}

#[tokio::test]
async fn v2_reads_json_unless_the_body_is_named_a_form() {
    let site = Federated::start().await;
    let token = site.register("alice").await;
    let path = format!("{V2}/validate/email/requestToken");
    let json =
        json!({ "email": "a@example.org", "client_secret": "s", "send_attempt": 1 }).to_string();
    let form = "email=a%40example.org&client_secret=s&send_attempt=1";
    for (content_type, body, fine) in [
        (None, json.as_str(), true),
        (Some("text/plain"), json.as_str(), true),
        (Some("application/json"), json.as_str(), true),
        (Some("application/x-www-form-urlencoded"), form, true),
        (
            Some("application/x-form-www-urlencoded; charset=utf-8"),
            form,
            true,
        ),
        (Some("text/plain"), form, false),
    ] {
        let mut request = site
            .server
            .client
            .request(Method::POST, &path)
            .bearer_auth(&token);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = send(request.body(body.to_owned())).await;
        if fine {
            answer.ok();
        } else {
            answer.refused(400, "M_NOT_JSON");
        }
    }
    let query = [
        ("email", "a@example.org"),
        ("client_secret", "s"),
        ("send_attempt", "1"),
    ];
    let request = site
        .server
        .client
        .request(Method::POST, &path)
        .query(&query);
    let in_query = send(request.bearer_auth(&token).body("{}")).await;
    in_query.refused(400, "M_MISSING_PARAMS");
}

#[tokio::test]
async fn without_v1_links_into_it_still_work() {
    let server = TestServer::start_with(|config| config.api.v1 = V1::Off).await;
    for (method, path) in [
        (Method::POST, REQUEST_TOKEN),
        (Method::POST, BIND),
        (Method::GET, LOOKUP),
        (Method::GET, "/_matrix/identity/api/v1"),
    ] {
        let answer = send(server.client.request(method, path)).await;
        answer.refused(404, "M_UNRECOGNIZED");
    }
    server
        .client
        .get("/_matrix/identity/api/v1/pubkey/ed25519:1", &[])
        .await
        .ok();
    assert_eq!(
        server
            .client
            .get(SUBMIT_TOKEN, &[])
            .await
            .header("content-type"),
        "text/html; charset=utf-8"
    );
    let posted = server.client.post(SUBMIT_TOKEN, json!({})).await;
    posted.refused(405, "M_UNRECOGNIZED");
}

#[tokio::test]
async fn delegated_v1_is_for_the_homeservers_that_the_operator_names() {
    let server = TestServer::start_with(|config| config.api.v1 = V1::Delegate).await;
    let sid = server.validated("a@example.org", "s").await;
    server
        .bind(&sid, "s", "@a:hs.example")
        .await
        .refused(404, "M_UNRECOGNIZED");
    let from_afar = server.client.request(Method::POST, REQUEST_TOKEN);
    let from_afar = send(
        from_afar
            .header("x-forwarded-for", "192.0.2.1")
            .json(&json!({})),
    )
    .await;
    from_afar.refused(403, "M_FORBIDDEN");
    let link = server.client.request(Method::GET, SUBMIT_TOKEN);
    let link = send(link.header("x-forwarded-for", "192.0.2.1")).await;
    assert_eq!(link.status, 400, "a page that says what is missing");
}
