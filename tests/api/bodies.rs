//! How a body may look, and what a broken one gets.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::send;
use crate::support::server::{
    BIND, BULK_LOOKUP, GET_VALIDATED, REQUEST_TOKEN, SUBMIT_TOKEN, TestServer, UNBIND,
};

const POSTS: [&str; 5] = [REQUEST_TOKEN, SUBMIT_TOKEN, BIND, UNBIND, BULK_LOOKUP];
const JSON: Option<&str> = Some("application/json");
const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

#[tokio::test]
async fn what_is_no_json_is_not_json() {
    let server = TestServer::start().await;
    for path in POSTS {
        for body in [
            "",
            "{",
            "{\"a\":}",
            "nonsense",
            "{} trailing",
            "\u{feff}{}",
            "{\"a\":1e999999}",
            "{'a':1}",
        ] {
            server
                .client
                .post_raw(path, JSON, body)
                .await
                .refused(400, "M_NOT_JSON");
        }
        let not_utf8: &[u8] = b"{\"sid\":\"\xff\"}";
        server
            .client
            .post_raw(path, JSON, not_utf8.to_vec())
            .await
            .refused(400, "M_NOT_JSON");
    }
}

#[tokio::test]
async fn what_is_no_object_is_bad_json() {
    let server = TestServer::start().await;
    for path in POSTS {
        for body in ["[]", "1", "null", "\"text\"", "true"] {
            server
                .client
                .post_raw(path, JSON, body)
                .await
                .refused(400, "M_BAD_JSON");
        }
    }
}

#[tokio::test]
async fn deep_nesting_is_refused_and_sixteen_levels_are_not() {
    let server = TestServer::start().await;
    let nested = |levels: usize| {
        let mut value = json!({});
        for _ in 1..levels {
            value = json!({ "x": value });
        }
        value.to_string()
    };
    for path in POSTS {
        let fine = server.client.post_raw(path, JSON, nested(16)).await;
        fine.refused(400, "M_MISSING_PARAMS");
        server
            .client
            .post_raw(path, JSON, nested(17))
            .await
            .refused(400, "M_BAD_JSON");
        let abyss = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        server
            .client
            .post_raw(path, JSON, abyss)
            .await
            .refused(400, "M_NOT_JSON");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_or_not_it_says_so() {
    let server = TestServer::start_with(|config| config.lookup.max_addresses = 100).await;
    let megabyte = vec![b' '; 1024 * 1024];
    for path in POSTS {
        server
            .client
            .post_raw(path, JSON, megabyte.clone())
            .await
            .refused(413, "M_TOO_LARGE");
        let chunks = (0..16).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]));
        let streamed = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        server
            .client
            .post_raw(path, JSON, streamed)
            .await
            .refused(413, "M_TOO_LARGE");
    }
    server.client.get("/_matrix/identity/v2", &[]).await.ok();
}

#[tokio::test]
async fn a_body_is_read_whole_in_however_many_pieces_it_comes() {
    let server = TestServer::start().await;
    let body = json!({ "email": "a@example.org", "client_secret": "s", "send_attempt": 1 });
    let body = body.to_string().into_bytes();
    for size in [1, 7, body.len() / 2 + 1, body.len()] {
        let pieces: Vec<_> = body
            .chunks(size)
            .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
            .collect();
        let streamed = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        server
            .client
            .post_raw(REQUEST_TOKEN, JSON, streamed)
            .await
            .ok();
    }
}

#[tokio::test]
async fn v1_reads_json_by_its_name_and_everything_else_as_a_form() {
    let server = TestServer::start().await;
    let form = "email=a%40example.org&client_secret=s&send_attempt=1";
    for content_type in [
        None,
        FORM,
        Some("text/plain"),
        Some("application/x-form-www-urlencoded"),
    ] {
        let answer = server
            .client
            .post_raw(REQUEST_TOKEN, content_type, form)
            .await;
        answer.ok();
    }
    server
        .client
        .post_raw(REQUEST_TOKEN, JSON, form)
        .await
        .refused(400, "M_NOT_JSON");
    let body = json!({ "email": "a@example.org", "client_secret": "s", "send_attempt": 1 });
    let named = server.client.post_raw(
        REQUEST_TOKEN,
        Some("Application/JSON; charset=utf-8"),
        body.to_string(),
    );
    named.await.ok();
    let unnamed = server
        .client
        .post_raw(REQUEST_TOKEN, None, body.to_string())
        .await;
    unnamed.refused(400, "M_MISSING_PARAMS");
}

#[tokio::test]
async fn v1_parameters_may_stand_in_the_query_and_the_body_wins() {
    let server = TestServer::start().await;
    let query = [
        ("email", "query@example.org"),
        ("client_secret", "s"),
        ("send_attempt", "1"),
    ];
    send(
        server
            .client
            .request(Method::POST, REQUEST_TOKEN)
            .query(&query),
    )
    .await
    .ok();
    let both = server
        .client
        .request(Method::POST, REQUEST_TOKEN)
        .query(&query)
        .json(&json!({ "email": "body@example.org", "send_attempt": 2 }));
    send(both).await.ok();
    let to: Vec<String> = server.mails().iter().map(|mail| mail.to()).collect();
    assert_eq!(to, ["query@example.org", "body@example.org"]);
}

#[tokio::test]
async fn a_form_that_is_not_utf8_is_refused() {
    let server = TestServer::start().await;
    let encoded = "email=a%ff%40example.org&client_secret=s&send_attempt=1";
    server
        .client
        .post_raw(REQUEST_TOKEN, FORM, encoded)
        .await
        .refused(400, "M_NOT_JSON");
    let raw: &[u8] = b"email=a\xff@example.org&client_secret=s&send_attempt=1";
    server
        .client
        .post_raw(REQUEST_TOKEN, FORM, raw.to_vec())
        .await
        .refused(400, "M_NOT_JSON");
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn missing_and_null_fields_are_named() {
    let server = TestServer::start().await;
    for (path, names) in [
        (
            REQUEST_TOKEN,
            &["client_secret", "email", "send_attempt"][..],
        ),
        (SUBMIT_TOKEN, &["sid", "client_secret", "token"]),
        (BIND, &["sid", "client_secret", "mxid"]),
        (UNBIND, &["mxid", "threepid"]),
        (BULK_LOOKUP, &["threepids"]),
    ] {
        let nulls: Value = names
            .iter()
            .map(|name| ((*name).to_owned(), Value::Null))
            .collect();
        for body in [json!({}), nulls, json!({ "unknown": 1 })] {
            let sentence = server
                .client
                .post(path, body)
                .await
                .refused(400, "M_MISSING_PARAMS");
            for name in names {
                assert!(
                    sentence.contains(&format!("`{name}`")),
                    "{path}: {sentence}"
                );
            }
        }
    }
    let answer = server.client.get(GET_VALIDATED, &[]).await;
    let sentence = answer.refused(400, "M_MISSING_PARAMS");
    assert_eq!(sentence, "Missing parameters: `sid`, `client_secret`.");
}

#[tokio::test]
async fn every_wrong_type_in_every_field_is_a_400() {
    let server = TestServer::start_with(|config| config.limits.enabled = false).await;
    let good = |path: &str| match path {
        REQUEST_TOKEN => {
            json!({ "client_secret": "s", "email": "a@example.org", "send_attempt": 1, "next_link": "https://x.example" })
        }
        SUBMIT_TOKEN => json!({ "sid": "x", "client_secret": "s", "token": "t" }),
        BIND => json!({ "sid": "x", "client_secret": "s", "mxid": "@a:hs.example" }),
        UNBIND => {
            json!({ "mxid": "@a:hs.example", "threepid": { "medium": "email", "address": "a@example.org" }, "sid": "x", "client_secret": "s" })
        }
        _ => json!({ "threepids": [["email", "a@example.org"]] }),
    };
    let wrong = [
        json!({}),
        json!([]),
        json!([[]]),
        json!(true),
        json!(1.5),
        json!(-1),
        json!("\0"),
        json!("\r\n"),
        json!("x".repeat(4000)),
    ];
    for path in POSTS {
        let fields: Vec<String> = good(path).as_object().unwrap().keys().cloned().collect();
        for field in fields {
            for value in &wrong {
                let mut body = good(path);
                body[&field] = value.clone();
                let answer = server.client.post(path, body).await;
                let shown: String = value.to_string().chars().take(20).collect();
                let place = format!("{path} {field}={shown}");
                // A token of any text is a token, and an empty list of addresses is a list.
                let fine = path == BULK_LOOKUP && *value == json!([]);
                if fine {
                    answer.ok();
                } else {
                    assert_eq!(answer.status, 400, "{place}: {}", answer.text);
                    assert!(answer.json()["errcode"].is_string(), "{place}");
                }
            }
        }
    }
    assert!(server.mails().is_empty());
}
