//! The page that the mailed link opens.

use reqwest::Method;
use serde_json::json;

use crate::support::client::send;
use crate::support::server::{GET_VALIDATED, REQUEST_TOKEN, TestServer};

/// The path and query of the link in the only mail.
fn mailed_path(server: &TestServer) -> String {
    let link = server.only_mail().link();
    link.strip_prefix("http://localhost:8090")
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn opening_the_link_confirms_nothing_and_the_button_does() {
    let server = TestServer::start().await;
    let sid = server.request_token("alice@example.org", "s").await;
    let path = mailed_path(&server);
    assert!(path.starts_with("/verify/email?"));
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let answer = send(server.client.request(method.clone(), &path)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(
            answer.text.contains("alice@example.org"),
            method == Method::GET
        );
    }
    let query = [("sid", sid.as_str()), ("client_secret", "s")];
    server
        .client
        .get(GET_VALIDATED, &query)
        .await
        .refused(400, "M_SESSION_NOT_VALIDATED");

    let token = server.only_mail().token();
    let button = [("sid", sid.as_str()), ("token", token.as_str())];
    for _ in 0..2 {
        let answer = server.client.post_form("/verify/email", &button).await;
        assert_eq!(answer.status, 200);
    }
    server.client.get(GET_VALIDATED, &query).await.ok();
}

#[tokio::test]
async fn the_mailed_link_does_not_carry_the_clients_secret() {
    let server = TestServer::start().await;
    server
        .request_token("alice@example.org", "very-secret-of-the-client")
        .await;
    let mail = server.only_mail();
    assert!(!mail.raw().contains("very-secret-of-the-client"));
}

#[tokio::test]
async fn the_page_is_kept_private() {
    let server = TestServer::start().await;
    server.request_token("alice@example.org", "s").await;
    let answer = server.client.get(&mailed_path(&server), &[]).await;
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(
        answer
            .header("content-security-policy")
            .starts_with("default-src 'none'")
    );
    assert!(
        answer
            .header("content-security-policy")
            .contains("frame-ancestors 'none'")
    );
}

#[tokio::test]
async fn after_the_button_the_page_leads_on_to_the_next_link_and_nowhere_else() {
    let server = TestServer::start().await;
    let body = json!({
        "email": "a@example.org", "client_secret": "s", "send_attempt": 1,
        "next_link": "https://app.example/x?a=1&b=2",
    });
    let answer = server.client.post(REQUEST_TOKEN, body).await.ok();
    let sid = answer["sid"].as_str().unwrap();
    let token = server.only_mail().token();
    let button = [
        ("sid", sid),
        ("token", token.as_str()),
        ("next_link", "https://evil.example"),
    ];
    let page = server.client.post_form("/verify/email", &button).await;
    assert_eq!(page.status, 200);
    let escaped = format!("https://app.example/x?a=1&amp;b=2&amp;sid={sid}");
    let slashes_too = escaped.replace('/', "&#x2f;");
    assert!(
        page.text.contains(&escaped) || page.text.contains(&slashes_too),
        "{}",
        page.text
    );
    assert!(!page.text.contains("evil.example"));
}

#[tokio::test]
async fn wrong_links_get_a_page_that_says_so() {
    let server = TestServer::start().await;
    let sid = server.request_token("alice@example.org", "s").await;
    for path in [
        "/verify/email".to_owned(),
        "/verify/email?sid=unknown&token=x".to_owned(),
        format!("/verify/email?sid={sid}&token=wrong"),
        format!("/verify/email?sid={sid}&token="),
        "/verify/email?sid=%00&token=%ff".to_owned(),
    ] {
        let answer = server.client.get(&path, &[]).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(
            answer.header("content-type"),
            "text/html; charset=utf-8",
            "{path}"
        );
        assert!(!answer.text.contains("alice@example.org"), "{path}");
    }
    let wrong = [("sid", sid.as_str()), ("token", "wrong")];
    assert_eq!(
        server
            .client
            .post_form("/verify/email", &wrong)
            .await
            .status,
        400
    );
    let query = [("sid", sid.as_str()), ("client_secret", "s")];
    server
        .client
        .get(GET_VALIDATED, &query)
        .await
        .refused(400, "M_SESSION_NOT_VALIDATED");
}

#[tokio::test]
async fn the_home_page_says_what_this_is() {
    let server = TestServer::start().await;
    let answer = server.client.get("/", &[]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.contains("localhost"));
}
