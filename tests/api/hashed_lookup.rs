//! Lookups by hash, v2.

use std::num::NonZeroU32;
use std::time::Duration;

use bindery::config::Rate;
use bindery::types::{LookupAlgorithm, LookupHash, Medium, Pepper};
use serde_json::{Value, json};

use crate::support::federated::Federated;
use crate::support::server::BULK_LOOKUP;

/// Unpadded URL-safe base64, as clients write hashes.
fn base64(bytes: &[u8]) -> String {
    bindery::signing::encode_base64(bytes)
        .replace('+', "-")
        .replace('/', "_")
}

fn hash(address: &str, medium: Medium, pepper: &str) -> String {
    base64(LookupHash::of(address, medium, &Pepper::parse(pepper).unwrap()).as_bytes())
}

fn email(address: &str, pepper: &str) -> String {
    hash(address, Medium::Email, pepper)
}

struct Searcher {
    at: Federated,
    token: String,
}

impl Searcher {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut bindery::config::Config)) -> Self {
        let at = Federated::start_with(|config, _| change(config)).await;
        let token = at.register("searcher").await;
        Self { at, token }
    }

    /// Publishes an address of the user.
    async fn bind(&self, localpart: &str, address: &str) -> String {
        let token = self.at.register(localpart).await;
        let mxid = self.at.user(localpart);
        self.at.bind(&token, address, "secret", &mxid).await.ok();
        mxid
    }

    async fn pepper(&self) -> String {
        let details = self.at.get(&self.token, "hash_details", &[]).await.ok();
        details["lookup_pepper"].as_str().unwrap().to_owned()
    }

    async fn post(&self, body: &Value) -> crate::support::client::Answer {
        self.at.post(&self.token, "lookup", body).await
    }

    async fn find(&self, addresses: &[&str], pepper: &str) -> Value {
        let body = json!({ "addresses": addresses, "algorithm": "sha256", "pepper": pepper });
        self.post(&body).await.ok()["mappings"].clone()
    }
}

#[tokio::test]
async fn hash_details_name_the_algorithms_and_a_pepper() {
    let here = Searcher::start().await;
    let details = here.at.get(&here.token, "hash_details", &[]).await.ok();
    assert_eq!(details["algorithms"], json!(["sha256"]));
    let pepper = details["lookup_pepper"].as_str().unwrap();
    assert!(!pepper.is_empty() && pepper.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(here.pepper().await, pepper, "the same for everybody");
}

#[tokio::test]
async fn who_is_bound_is_found_by_the_hash_and_the_rest_is_left_out() {
    let here = Searcher::start().await;
    let alice = here.bind("alice", "Alice@Example.org").await;
    let bob = here.bind("bob", "bob@example.org").await;
    let pepper = here.pepper().await;
    let hashes: Vec<String> = ["alice@example.org", "carol@example.org", "bob@example.org"]
        .iter()
        .map(|address| email(address, &pepper))
        .collect();
    let asked: Vec<&str> = hashes.iter().map(String::as_str).collect();
    let expected = json!({ &hashes[0]: alice, &hashes[2]: bob });
    assert_eq!(here.find(&asked, &pepper).await, expected);
    assert_eq!(here.find(&[], &pepper).await, json!({}));
    let twice = [asked[0], asked[2], asked[0]];
    let body = json!({ "addresses": twice, "algorithm": "sha256", "pepper": pepper });
    let answer = here.post(&body).await;
    assert_eq!(answer.text.matches(asked[0]).count(), 1, "{}", answer.text);
    assert_eq!(answer.ok()["mappings"], expected);
    let phone = hash("alice@example.org", Medium::Msisdn, &pepper);
    assert_eq!(here.find(&[&phone], &pepper).await, json!({}));
}

#[tokio::test]
async fn a_bind_and_an_unbind_are_in_lookups_when_they_are_answered() {
    let here = Searcher::start_with(|config| config.limits.enabled = false).await;
    let pepper = here.pepper().await;
    let asked = email("alice@example.org", &pepper);
    for round in 0..3 {
        assert_eq!(here.find(&[&asked], &pepper).await, json!({}));
        let localpart = format!("alice{round}");
        let mxid = here.bind(&localpart, "alice@example.org").await;
        assert_eq!(here.find(&[&asked], &pepper).await, json!({ &asked: mxid }));
        let secret = format!("unbind{round}");
        let token = here.at.register(&localpart).await;
        let sid = here
            .at
            .validated(&token, "alice@example.org", &secret)
            .await;
        let body = json!({
            "mxid": mxid, "sid": sid, "client_secret": secret,
            "threepid": { "medium": "email", "address": "alice@example.org" },
        });
        here.at.post(&token, "3pid/unbind", &body).await.ok();
    }
    here.bind("one", "alice@example.org").await;
    let other = here.bind("other", "alice@example.org").await;
    assert_eq!(
        here.find(&[&asked], &pepper).await,
        json!({ &asked: other })
    );
}

#[tokio::test]
async fn an_association_is_found_as_long_as_it_holds_also_after_a_restart() {
    let here = Searcher::start_with(|config| {
        config.associations.lifetime = Duration::from_hours(48);
    })
    .await;
    let alice = here.bind("alice", "alice@example.org").await;
    let pepper = here.pepper().await;
    let asked = email("alice@example.org", &pepper);
    let here = Searcher {
        at: here.at.restart().await,
        ..here
    };
    assert_eq!(here.pepper().await, pepper, "a pepper survives a restart");
    here.at
        .server
        .advance(Duration::from_hours(48) - Duration::from_millis(1));
    assert_eq!(
        here.find(&[&asked], &pepper).await,
        json!({ &asked: alice })
    );
    here.at.server.advance(Duration::from_millis(1));
    assert_eq!(here.find(&[&asked], &pepper).await, json!({}));
}

#[tokio::test]
async fn what_is_no_hash_finds_nobody() {
    let here = Searcher::start().await;
    let alice = here.bind("alice", "alice@example.org").await;
    let pepper = here.pepper().await;
    let asked = email("alice@example.org", &pepper);
    let wrong = [
        "",
        "alice@example.org email",
        asked.get(1..).unwrap(),
        &format!("{asked}="),
        &format!("{asked}AAAA"),
        &format!("+{}", asked.get(1..).unwrap()),
        "\u{0}",
        "日本語",
    ];
    assert_eq!(here.find(&wrong, &pepper).await, json!({}));
    let among = [wrong[0], wrong[1], &asked, wrong[2]];
    assert_eq!(here.find(&among, &pepper).await, json!({ &asked: alice }));
}

#[tokio::test]
async fn a_body_is_read_however_it_is_written_but_not_as_a_list() {
    let here = Searcher::start().await;
    let alice = here.bind("alice", "alice@example.org").await;
    let pepper = here.pepper().await;
    let hash = email("alice@example.org", &pepper);
    let (first, rest) = hash.split_at(1);
    let escaped = format!("\\u{:04x}{rest}", first.as_bytes()[0]);
    let path = format!("/_matrix/identity/v2/lookup?access_token={}", here.token);
    let post = async |body: &str| {
        let client = &here.at.server.client;
        client
            .post_raw(&path, Some("application/json"), body.to_owned())
            .await
    };
    let rest = format!(r#""algorithm":"sha256","pepper":"{pepper}""#);
    for body in [
        format!(r#"{{"addresses":["{hash}"],{rest}}}"#),
        format!(r#" {{"addresses":["{hash}"],{rest},"more":{{"x":[1,null]}}}} "#),
        format!(r#"{{"addresses":["{escaped}"],{rest}}}"#),
        format!(r#"{{"addresses":["{hash}","{hash}"],{rest}}}"#),
        format!(r#"{{"addresses":[],"addresses":["{hash}"],{rest}}}"#),
    ] {
        let found = post(&body).await;
        let expected = format!(r#"{{"mappings":{{"{hash}":"{alice}"}}}}"#);
        assert_eq!(found.text, expected, "{body}");
    }
    let list = format!(r#"[["{hash}"],"sha256","{pepper}"]"#);
    post(&list).await.refused(400, "M_BAD_JSON");
    let deep = format!("{}{}", "[".repeat(16), "]".repeat(16));
    let deep = format!(r#"{{"addresses":["{hash}"],{rest},"more":{deep}}}"#);
    post(&deep).await.refused(400, "M_BAD_JSON");
}

#[tokio::test]
async fn an_unknown_pepper_is_answered_with_the_right_one() {
    let here = Searcher::start().await;
    let right = here.pepper().await;
    for wrong in [
        "matrixrocks",
        "",
        "no pepper!",
        &right.to_uppercase().repeat(9),
    ] {
        let body = json!({ "addresses": [], "algorithm": "sha256", "pepper": wrong });
        let answer = here.post(&body).await;
        answer.refused(400, "M_INVALID_PEPPER");
        assert_eq!(answer.json()["algorithm"], "sha256");
        assert_eq!(answer.json()["lookup_pepper"], right);
    }
}

#[tokio::test]
async fn wrong_parameters_are_refused() {
    let here = Searcher::start().await;
    let pepper = here.pepper().await;
    for addresses in [
        json!("hash"),
        json!({}),
        json!(1),
        json!([1]),
        json!([{}]),
        json!([null]),
        json!(["hash", ["hash"]]),
    ] {
        let body = json!({ "addresses": addresses, "algorithm": "sha256", "pepper": pepper });
        let sentence = here.post(&body).await.refused(400, "M_INVALID_PARAM");
        assert!(sentence.contains("`addresses`"), "{sentence}");
    }
    for algorithm in ["none", "md5", "SHA256", ""] {
        let body = json!({ "addresses": [], "algorithm": algorithm, "pepper": pepper });
        let sentence = here.post(&body).await.refused(400, "M_INVALID_PARAM");
        assert!(sentence.contains("`algorithm`"), "{sentence}");
    }
    let body = json!({ "addresses": [], "algorithm": 1, "pepper": pepper });
    here.post(&body).await.refused(400, "M_INVALID_PARAM");
    let body = json!({ "addresses": [], "algorithm": "sha256", "pepper": 7 });
    here.post(&body).await.refused(400, "M_INVALID_PARAM");
    let sentence = here.post(&json!({})).await.refused(400, "M_MISSING_PARAMS");
    assert_eq!(
        sentence,
        "Missing parameters: `addresses`, `algorithm`, `pepper`."
    );
}

#[tokio::test]
async fn nobody_without_an_account_looks_anybody_up() {
    let here = Searcher::start().await;
    let client = &here.at.server.client;
    let details = client.get("/_matrix/identity/v2/hash_details", &[]).await;
    details.refused(401, "M_UNAUTHORIZED");
    let lookup = client.post("/_matrix/identity/v2/lookup", json!("?")).await;
    lookup.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn one_address_too_many_is_refused_and_the_most_allowed_are_served() {
    let here = Searcher::start().await;
    let pepper = here.pepper().await;
    let body = |count: usize| {
        let hashes: Vec<String> = (0..count)
            .map(|number| email(&format!("{number}@example.org"), &pepper))
            .collect();
        json!({ "addresses": hashes, "algorithm": "sha256", "pepper": pepper })
    };
    here.post(&body(10_001)).await.refused(400, "M_TOO_LARGE");
    assert_eq!(here.post(&body(10_000)).await.ok()["mappings"], json!({}));
}

#[tokio::test]
async fn plain_addresses_are_folded_for_the_search_where_they_are_allowed() {
    let here = Searcher::start_with(|config| {
        config.lookup.algorithms = LookupAlgorithm::ALL.to_vec();
    })
    .await;
    let details = here.at.get(&here.token, "hash_details", &[]).await.ok();
    assert_eq!(details["algorithms"], json!(["sha256", "none"]));
    let alice = here.bind("alice", "alice@example.org").await;
    let pepper = here.pepper().await;
    let addresses = [
        "ALICE@example.ORG email",
        "alice@example.org email",
        "alice@example.org",
        "alice@example.org msisdn",
        "alice@example.org fax",
        "alice@example.org  email",
        "carol@example.org email",
    ];
    let body = json!({ "addresses": addresses, "algorithm": "none", "pepper": pepper });
    assert_eq!(
        here.post(&body).await.ok()["mappings"],
        json!({ addresses[0]: alice, addresses[1]: alice })
    );
    let body = json!({ "addresses": addresses, "algorithm": "none", "pepper": "another" });
    let answer = here.post(&body).await;
    answer.refused(400, "M_INVALID_PEPPER");
    assert_eq!(answer.json()["algorithm"], "none");
}

#[tokio::test]
async fn a_pepper_is_changed_when_it_is_old_and_the_one_before_answers_a_while() {
    let here = Searcher::start().await;
    let alice = here.bind("alice", "alice@example.org").await;
    let first = here.pepper().await;
    let run = || async { here.at.server.lookup.run_once().await.unwrap() };
    let day = Duration::from_hours(24);
    here.at
        .server
        .advance((30 * day).saturating_sub(Duration::from_millis(1)));
    run().await;
    assert_eq!(here.pepper().await, first);
    here.at.server.advance(Duration::from_millis(1));
    run().await;
    let second = here.pepper().await;
    assert_ne!(second, first);

    let (by_first, by_second) = (
        email("alice@example.org", &first),
        email("alice@example.org", &second),
    );
    here.at
        .server
        .advance(Duration::from_mins(10) - Duration::from_millis(1));
    run().await;
    let mixed = [by_first.as_str(), &by_second];
    assert_eq!(
        here.find(&mixed, &first).await,
        json!({ &by_first: alice }),
        "each pepper finds by its own hashes"
    );
    assert_eq!(
        here.find(&mixed, &second).await,
        json!({ &by_second: alice })
    );
    here.at.server.advance(Duration::from_millis(1));
    let body = json!({ "addresses": [by_first], "algorithm": "sha256", "pepper": first });
    let answer = here.post(&body).await;
    answer.refused(400, "M_INVALID_PEPPER");
    assert_eq!(answer.json()["lookup_pepper"], second);
    run().await;
    assert_eq!(
        here.find(&[&by_second], &second).await,
        json!({ &by_second: alice })
    );
}

#[tokio::test]
async fn a_pepper_stays_where_it_is_never_to_be_changed_but_for_the_operator() {
    let here = Searcher::start_with(|config| config.lookup.rotate_pepper_every = None).await;
    let first = here.pepper().await;
    here.at.server.advance(Duration::from_hours(24 * 1000));
    here.at.server.lookup.run_once().await.unwrap();
    let here = Searcher {
        token: here.at.register("searcher").await,
        ..here
    };
    assert_eq!(here.pepper().await, first);
    here.at.server.lookup.rotate().await.unwrap();
    let second = here.pepper().await;
    assert_ne!(second, first);
    let refused = here.at.server.lookup.rotate().await.unwrap_err();
    assert!(refused.to_string().contains("lookup.grace"), "{refused}");
    assert_eq!(here.pepper().await, second);
}

fn a_day(count: u32) -> Vec<Rate> {
    let count = NonZeroU32::new(count).unwrap();
    vec![Rate::new(count, Duration::from_hours(24))]
}

#[tokio::test]
async fn an_account_looks_up_so_many_different_addresses_a_day() {
    let here = Searcher::start_with(|config| {
        config.limits.lookups_by_account = a_day(3);
        config.lookup.algorithms = LookupAlgorithm::ALL.to_vec();
    })
    .await;
    let pepper = here.pepper().await;
    let of = |number: u8| email(&format!("{number}@example.org"), &pepper);
    let (one, two, three, four) = (of(1), of(2), of(3), of(4));
    let nobody = json!({});
    assert_eq!(here.find(&[&one, &two, "no hash"], &pepper).await, nobody);
    assert_eq!(here.find(&[&two, &one, &one], &pepper).await, nobody);
    let body =
        |hashes: &[&str]| json!({ "addresses": hashes, "algorithm": "sha256", "pepper": pepper });
    here.at.server.advance(Duration::from_hours(1));
    let answer = here.post(&body(&[&three, &four])).await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    let hours = |answer: &crate::support::client::Answer| {
        answer.json()["retry_after_ms"].as_u64().unwrap() / 3_600_000
    };
    assert_eq!(hours(&answer), 23);
    assert_eq!(here.find(&[&three], &pepper).await, nobody);
    here.post(&body(&[&four]))
        .await
        .refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(here.find(&[&one, &three], &pepper).await, nobody);

    let plain =
        |address: &str| json!({ "addresses": [address], "algorithm": "none", "pepper": pepper });
    here.post(&plain("1@example.org email")).await.ok();
    let new = here.post(&plain("5@example.org email")).await;
    new.refused(429, "M_LIMIT_EXCEEDED");

    let again = here.at.register("searcher").await;
    let by_another_token = here.at.post(&again, "lookup", &body(&[&four])).await;
    by_another_token.refused(429, "M_LIMIT_EXCEEDED");
    let other = here.at.register("other").await;
    here.at.post(&other, "lookup", &body(&[&four])).await.ok();
    here.at.server.advance(Duration::from_hours(23));
    here.post(&body(&[&four])).await.ok();
}

#[tokio::test]
async fn plain_lookups_of_version_1_count_by_source_and_address() {
    let here = Searcher::start_with(|config| {
        config.limits.lookups_by_ip = a_day(3);
    })
    .await;
    let ask = async |from: &str, count: usize| {
        let list: Vec<Value> = (0..count)
            .map(|number| json!(["email", format!("{number}@example.org")]))
            .collect();
        let client = &here.at.server.client;
        let request = client.request(reqwest::Method::POST, BULK_LOOKUP);
        let request = request.header("x-forwarded-for", from);
        crate::support::client::send(request.json(&json!({ "threepids": list }))).await
    };
    ask("192.0.2.1", 4).await.refused(429, "M_LIMIT_EXCEEDED");
    ask("192.0.2.1", 2).await.ok();
    let answer = ask("192.0.2.1", 2).await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(answer.json()["retry_after_ms"], 8 * 3600 * 1000);
    ask("192.0.2.1", 1).await.ok();
    ask("192.0.2.2", 3).await.ok();
    ask("127.0.0.1", 50).await.ok();
}
