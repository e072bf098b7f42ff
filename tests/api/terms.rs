//! Terms: users accept each policy in some language, and are asked again when its version changes.

use std::collections::BTreeMap;

use bindery::config::{Config, Policy, PolicyDocument, PolicyText};
use bindery::http::{Guard, Version, listing};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, send};
use crate::support::federated::{Federated, V2};
use crate::support::server::TestServer;

const PRIVACY_EN: &str = "https://example.org/privacy";
const PRIVACY_DE: &str = "https://example.org/datenschutz";
const RULES: &str = "http://localhost:8090/policies/rules/en/2024-01";

/// A policy with these languages.
fn policy(version: &str, documents: &[(&str, &str, PolicyText)]) -> Policy {
    let document = |(language, name, text): &(&str, &str, PolicyText)| {
        let name = (*name).to_owned();
        let text = text.clone();
        ((*language).to_owned(), PolicyDocument { name, text })
    };
    Policy {
        version: version.to_owned(),
        languages: documents.iter().map(document).collect(),
    }
}

fn url(url: &str) -> PolicyText {
    PolicyText::Url(url.to_owned())
}

/// A privacy policy in two languages elsewhere, and rules in one that are read here.
fn two_policies(config: &mut Config) {
    let privacy = policy(
        "1.0",
        &[
            ("en", "Privacy", url(PRIVACY_EN)),
            ("de", "Datenschutz", url(PRIVACY_DE)),
        ],
    );
    let text = "# Rules\n\nBe *kind*. <script>alert(1)</script> [x](javascript:alert(1))";
    let text = PolicyText::Markdown(text.to_owned());
    let rules = policy("2024-01", &[("en", "Rules & <customs>", text)]);
    config.terms.policies =
        BTreeMap::from([("privacy".to_owned(), privacy), ("rules".to_owned(), rules)]);
}

async fn site() -> Federated {
    Federated::start_with(|config, _| two_policies(config)).await
}

async fn accept(site: &Federated, token: &str, urls: Value) -> Answer {
    let body = json!({ "user_accepts": urls });
    site.post(token, "terms", &body).await
}

async fn account(site: &Federated, token: &str) -> Answer {
    site.get(token, "account", &[]).await
}

#[tokio::test]
async fn the_policies_are_told_to_everybody() {
    let site = site().await;
    let answer = site.server.client.get(&format!("{V2}/terms"), &[]).await;
    let expected = json!({ "policies": {
        "privacy": {
            "version": "1.0",
            "en": { "name": "Privacy", "url": PRIVACY_EN },
            "de": { "name": "Datenschutz", "url": PRIVACY_DE },
        },
        "rules": {
            "version": "2024-01",
            "en": { "name": "Rules & <customs>", "url": RULES },
        },
    }});
    assert_eq!(answer.ok(), expected);
}

#[tokio::test]
async fn without_policies_nothing_is_asked_and_nothing_can_be_accepted() {
    let site = Federated::start().await;
    let terms = site.server.client.get(&format!("{V2}/terms"), &[]).await;
    assert_eq!(terms.ok(), json!({ "policies": {} }));
    let token = site.register("alice").await;
    account(&site, &token).await.ok();
    accept(&site, &token, json!([])).await.ok();
    accept(&site, &token, json!([PRIVACY_EN]))
        .await
        .refused(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn acceptance_accumulates_and_one_language_of_each_policy_suffices() {
    let site = site().await;
    let token = site.register("alice").await;
    account(&site, &token)
        .await
        .refused(403, "M_TERMS_NOT_SIGNED");
    let answer = accept(&site, &token, json!([PRIVACY_DE])).await;
    assert_eq!(answer.ok(), json!({}));
    account(&site, &token)
        .await
        .refused(403, "M_TERMS_NOT_SIGNED");
    accept(&site, &token, json!([RULES])).await.ok();
    account(&site, &token).await.ok();
    // It is the user who has accepted, not the token.
    let other = site.register("alice").await;
    account(&site, &other).await.ok();
    let bob = site.register("bob").await;
    account(&site, &bob)
        .await
        .refused(403, "M_TERMS_NOT_SIGNED");
}

#[tokio::test]
async fn a_list_may_have_everything_twice_and_a_single_string_counts_as_a_list() {
    let site = site().await;
    let token = site.register("alice").await;
    let all = json!([RULES, PRIVACY_EN, PRIVACY_DE, RULES]);
    accept(&site, &token, all.clone()).await.ok();
    accept(&site, &token, all).await.ok();
    account(&site, &token).await.ok();

    let bob = site.register("bob").await;
    accept(&site, &bob, json!(RULES)).await.ok();
    let form = site
        .server
        .client
        .request(Method::POST, &format!("{V2}/terms"))
        .form(&[("user_accepts", PRIVACY_EN)]);
    send(form.bearer_auth(&bob)).await.ok();
    account(&site, &bob).await.ok();
}

#[tokio::test]
async fn a_url_of_no_policy_is_refused_and_nothing_else_of_the_list_is_accepted() {
    let site = site().await;
    let token = site.register("alice").await;
    for unknown in [
        "https://example.org/other",
        "https://example.org/privacy/",
        "HTTPS://example.org/privacy",
        "http://localhost:8090/policies/rules/en/2023-01",
        "",
    ] {
        let sentence = accept(&site, &token, json!([PRIVACY_EN, RULES, unknown]))
            .await
            .refused(400, "M_INVALID_PARAM");
        assert!(sentence.contains("`user_accepts`"), "{sentence}");
    }
    account(&site, &token)
        .await
        .refused(403, "M_TERMS_NOT_SIGNED");
}

#[tokio::test]
async fn what_is_no_list_of_strings_is_refused() {
    let site = site().await;
    let token = site.register("alice").await;
    for wrong in [
        json!([1]),
        json!({}),
        json!(7),
        json!([[RULES]]),
        json!(true),
        json!([null]),
    ] {
        accept(&site, &token, wrong)
            .await
            .refused(400, "M_INVALID_PARAM");
    }
    for missing in [json!({}), json!({ "user_accepts": null })] {
        site.post(&token, "terms", &missing)
            .await
            .refused(400, "M_MISSING_PARAMS");
    }
    let path = format!("{V2}/terms");
    site.server
        .client
        .post(&path, json!({ "user_accepts": [RULES] }))
        .await
        .refused(401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn a_new_version_asks_again_also_at_the_same_url() {
    let mut site = site().await;
    let token = site.register("alice").await;
    accept(&site, &token, json!([PRIVACY_EN, RULES])).await.ok();
    account(&site, &token).await.ok();

    let set_version = |version: &'static str| {
        move |config: &mut Config| {
            let privacy = config.terms.policies.get_mut("privacy").unwrap();
            version.clone_into(&mut privacy.version);
        }
    };
    site.server.reload(set_version("1.1"));
    account(&site, &token)
        .await
        .refused(403, "M_TERMS_NOT_SIGNED");
    accept(&site, &token, json!([PRIVACY_EN])).await.ok();
    account(&site, &token).await.ok();
    // What was accepted once stays accepted.
    site.server.reload(set_version("1.0"));
    account(&site, &token).await.ok();
}

#[tokio::test]
async fn a_new_policy_asks_for_itself_alone_and_one_that_goes_is_not_missed() {
    let mut site = site().await;
    let token = site.register("alice").await;
    accept(&site, &token, json!([PRIVACY_EN, RULES])).await.ok();
    let cookies = "https://example.org/cookies";
    site.server.reload(|config| {
        let policies = &mut config.terms.policies;
        policies.remove("rules");
        let new = policy("1", &[("en", "Cookies", url(cookies))]);
        policies.insert("cookies".to_owned(), new);
    });
    account(&site, &token)
        .await
        .refused(403, "M_TERMS_NOT_SIGNED");
    accept(&site, &token, json!([RULES]))
        .await
        .refused(400, "M_INVALID_PARAM");
    accept(&site, &token, json!([cookies])).await.ok();
    account(&site, &token).await.ok();
    site.server.reload(|config| config.terms.policies.clear());
    account(&site, &token).await.ok();
}

#[tokio::test]
async fn two_policies_at_one_url_are_accepted_together() {
    let both = "https://example.org/legal";
    let site = Federated::start_with(|config, _| {
        for name in ["privacy", "rules"] {
            let written = policy("1", &[("en", "Legal", url(both))]);
            config.terms.policies.insert(name.to_owned(), written);
        }
    })
    .await;
    let token = site.register("alice").await;
    accept(&site, &token, json!([both])).await.ok();
    account(&site, &token).await.ok();
}

#[tokio::test]
async fn acceptance_outlives_the_server() {
    let mut site = site().await;
    let token = site.register("alice").await;
    accept(&site, &token, json!([PRIVACY_EN, RULES])).await.ok();
    site.server = site.server.restart().await;
    account(&site, &token).await.ok();
}

/// How far a user has come with the terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signed {
    Not,
    InPart,
    Outdated,
    Fully,
}

#[tokio::test]
async fn every_route_behind_the_terms_opens_with_acceptance_and_no_other_route_minds() {
    let mut site = Federated::start_with(|config, _| {
        two_policies(config);
        config.limits.enabled = false;
    })
    .await;
    for (user, urls) in [
        ("not", json!([])),
        ("in_part", json!([PRIVACY_DE])),
        ("outdated", json!([PRIVACY_EN, RULES])),
    ] {
        let token = site.register(user).await;
        accept(&site, &token, urls).await.ok();
        if user == "outdated" {
            account(&site, &token).await.ok();
        }
    }
    site.server.reload(|config| {
        let privacy = config.terms.policies.get_mut("privacy").unwrap();
        "2.0".clone_into(&mut privacy.version);
    });
    let token = site.register("fully").await;
    accept(&site, &token, json!([PRIVACY_DE, RULES])).await.ok();
    let users = [
        ("not", Signed::Not),
        ("in_part", Signed::InPart),
        ("outdated", Signed::Outdated),
        ("fully", Signed::Fully),
    ];

    let mut gated = Vec::new();
    let mut exempt = Vec::new();
    for (version, method, path, guard) in listing() {
        match guard {
            Guard::TokenAndTerms => gated.push(path.clone()),
            Guard::Token => exempt.push(path.clone()),
            Guard::Open => {}
        }
        for (user, signed) in users {
            // One of the routes ends the token.
            let token = site.register(user).await;
            let method = Method::from_bytes(method.as_str().as_bytes()).unwrap();
            let request = site.server.client.request(method, &path).body("no JSON");
            let answer = send(request.bearer_auth(token)).await;
            if guard == Guard::TokenAndTerms && signed != Signed::Fully {
                assert_eq!(version, Version::V2, "{path}");
                answer.refused(403, "M_TERMS_NOT_SIGNED");
            } else {
                let is_refused = answer.text.contains("M_TERMS_NOT_SIGNED");
                assert!(!is_refused, "{path}, {signed:?}: {}", answer.text);
                assert_ne!(answer.status, 401, "{path}, {signed:?}: {}", answer.text);
            }
        }
    }
    assert!(gated.len() >= 5, "{gated:?}");
    let of_v2 = |path: &str| format!("{V2}/{path}");
    assert_eq!(exempt, [of_v2("account/logout"), of_v2("terms")]);
}

#[tokio::test]
async fn a_policy_that_is_a_file_is_a_page_of_this_server_without_anything_that_runs() {
    let site = site().await;
    let path = RULES.strip_prefix("http://localhost:8090").unwrap();
    let page = site.server.client.get(path, &[]).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(page.text.contains("Be <em>kind</em>."), "{}", page.text);
    assert!(page.text.contains("Rules &amp; &lt;customs&gt;"));
    assert!(page.text.contains("<article lang=\"en\""));
    assert!(!page.text.contains("<script") && !page.text.contains("javascript:"));
    let head = send(site.server.client.request(Method::HEAD, path)).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
}

#[tokio::test]
async fn only_what_is_read_here_in_this_version_has_a_page() {
    let site = site().await;
    for path in [
        "/policies/rules/en/2023-01",
        "/policies/rules/de/2024-01",
        "/policies/other/en/1",
        "/policies/privacy/en/1.0",
        "/policies/rules/en/..%2f..",
    ] {
        let answer = site.server.client.get(path, &[]).await;
        answer.refused(404, "M_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_file_that_changes_is_read_again_on_reload() {
    let mut server = TestServer::start_with(two_policies).await;
    server.reload(|config| {
        let text = PolicyText::Markdown("Be *very* kind.".to_owned());
        let rules = policy("2", &[("en", "Rules", text)]);
        config.terms.policies.insert("rules".to_owned(), rules);
    });
    let page = server.client.get("/policies/rules/en/2", &[]).await;
    assert!(page.text.contains("Be <em>very</em> kind."));
    let old = RULES.strip_prefix("http://localhost:8090").unwrap();
    let gone = server.client.get(old, &[]).await;
    gone.refused(404, "M_NOT_FOUND");
}
