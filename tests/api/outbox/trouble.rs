//! Homeservers that fail, hang, refuse, or do not know the call.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ALICE, DAY, MINUTE, bind, due, invited, later, rooms};
use crate::support::authority::Authority;
use crate::support::dns::DnsServer;
use crate::support::homeserver::{Homeserver, ONBIND, Reply, federate};
use crate::support::server::{START, TestServer};

fn refusal(status: u16, errcode: &str) -> Reply {
    Reply::Json(status, json!({ "errcode": errcode, "error": "No" }))
}

#[tokio::test]
async fn put_is_tried_where_post_is_not_known() {
    for unknown in [
        refusal(405, "M_UNRECOGNIZED"),
        refusal(404, "M_UNRECOGNIZED"),
        Reply::Json(405, Value::Null),
    ] {
        let site = invited(&["!a"]).await;
        site.homeserver.script(ONBIND, [unknown]);
        bind(&site.server, &site.user("alice")).await;
        let told = site.homeserver.told(2).await;
        let methods: Vec<_> = told.iter().map(|told| told.method.as_str()).collect();
        assert_eq!(methods, ["POST", "PUT"]);
        assert_eq!(told[0].body, told[1].body);
        site.server.outbox.run_once().await.unwrap();
        assert!(site.server.outgoing(false).await.is_empty());
    }
}

#[tokio::test]
async fn put_is_not_tried_where_the_answer_says_something_else() {
    let site = invited(&[]).await;
    site.homeserver
        .script(ONBIND, [refusal(404, "M_NOT_FOUND")]);
    bind(&site.server, &site.user("alice")).await;
    site.homeserver.told(1).await;
    site.server.outbox.run_once().await.unwrap();
    assert_eq!(site.server.outgoing(false).await.len(), 1);
    later(&site.server).await;
    let told = site.homeserver.told(2).await;
    assert!(told.iter().all(|told| told.method == "POST"));
}

#[tokio::test]
async fn a_homeserver_that_does_not_know_the_call_need_not_know_of_a_bind_without_invitations() {
    let site = invited(&["!a"]).await;
    site.homeserver
        .reply(ONBIND, refusal(404, "M_UNRECOGNIZED"));
    bind(&site.server, &site.user("alice")).await;
    site.homeserver.told(2).await;
    site.server.outbox.run_once().await.unwrap();
    let waiting = site.server.outgoing(false).await;
    assert_eq!(waiting.len(), 1, "an invitation is not lost");
    let reason = waiting[0]["last_error"].as_str().unwrap();
    assert!(reason.contains("does not know the call"), "{reason}");

    let other = invited(&[]).await;
    other
        .homeserver
        .reply(ONBIND, refusal(404, "M_UNRECOGNIZED"));
    bind(&other.server, &other.user("alice")).await;
    other.homeserver.told(2).await;
    other.server.outbox.run_once().await.unwrap();
    assert!(other.server.outgoing(false).await.is_empty());
}

/// Keeps failing for more than a week, is given up, and is told at last when the operator says so.
async fn fails_for_a_week(reply: Reply) {
    let name = format!("{reply:?}");
    let site = invited(&["!a"]).await;
    site.homeserver.reply(ONBIND, reply);
    bind(&site.server, &site.user("alice")).await;
    site.homeserver.told(1).await;
    site.server.outbox.run_once().await.unwrap();
    let mut pauses = Vec::new();
    while let [waiting] = &site.server.outgoing(false).await[..] {
        if !waiting["failed"].is_null() {
            break;
        }
        let pause = due(waiting).as_millis() - site.server.now();
        pauses.push(pause / 60_000);
        assert!(pauses.len() < 60, "{name}: {pauses:?}");
        // Destinations are put aside by a pause of their own.
        site.server
            .advance(Duration::from_millis(pause * 3 / 2 + 1));
        site.server.outbox.run_once().await.unwrap();
    }
    assert!(pauses.len() > 20, "{name}: {pauses:?}");
    assert!(pauses[0] <= 1, "{name}: {pauses:?}");
    assert!(
        pauses[10..].iter().all(|pause| (288..=432).contains(pause)),
        "{name}: {pauses:?}"
    );
    assert!(site.server.now() >= START.plus(DAY * 7).as_millis());
    // All with the invitation, and twice as many if it is told once alone and once not.
    let requests = site.homeserver.count(ONBIND);
    assert!(requests <= 3 * pauses.len() + 3, "{name}: {requests}");
    later(&site.server).await;
    assert_eq!(site.homeserver.count(ONBIND), requests, "{name}");

    let failed = site.server.outgoing(true).await.remove(0);
    assert_eq!(failed["threepid"], json!(["email", ALICE]), "{name}");
    assert_eq!(failed["mxid"], site.user("alice"));
    assert!(
        failed["due"].is_null() && !failed["last_error"].is_null(),
        "{failed}"
    );
    site.homeserver.take_binds();
    let retry = json!({ "retry": { "id": failed["id"] } });
    assert_eq!(site.server.change_outgoing(retry.clone()).await, 1);
    let told = site.homeserver.told(requests + 1).await;
    assert_eq!(rooms(told.last().unwrap()), ["!a"], "{name}");
    site.server.outbox.run_once().await.unwrap();
    assert_eq!(site.server.change_outgoing(retry).await, 0);
    assert!(site.server.outgoing(false).await.is_empty());
}

#[tokio::test]
async fn a_homeserver_that_fails_by_itself_for_a_week_loses_nothing() {
    fails_for_a_week(refusal(500, "M_UNKNOWN")).await;
}

#[tokio::test]
async fn a_homeserver_that_is_not_found_for_a_week_loses_nothing() {
    fails_for_a_week(refusal(404, "M_NOT_FOUND")).await;
}

#[tokio::test]
async fn a_homeserver_that_knows_no_method_for_a_week_loses_nothing() {
    fails_for_a_week(refusal(405, "M_UNRECOGNIZED")).await;
}

#[tokio::test]
async fn a_page_in_place_of_a_homeserver_takes_nothing() {
    fails_for_a_week(Reply::Html).await;
}

#[tokio::test]
async fn a_homeserver_that_ends_connections_for_a_week_loses_nothing() {
    fails_for_a_week(Reply::Drop).await;
}

#[tokio::test]
async fn odd_answers_take_nothing() {
    let odd = [
        Reply::Json(200, json!([])),
        Reply::Json(204, json!({})),
        Reply::Json(201, json!({})),
        Reply::Noise,
        Reply::Half,
        Reply::Silence,
        Reply::Endless,
        Reply::Redirect("https://hs.example/".to_owned()),
        Reply::Json(429, json!({ "errcode": "M_LIMIT_EXCEEDED" })),
        Reply::Json(500, json!({ "errcode": "\u{1b}[31m" })),
    ];
    for reply in odd {
        let name = format!("{reply:?}");
        let site = invited(&["!a"]).await;
        site.homeserver.reply(ONBIND, reply);
        bind(&site.server, &site.user("alice")).await;
        site.homeserver.told(1).await;
        site.server.outbox.run_once().await.unwrap();
        let waiting = site.server.outgoing(false).await.remove(0);
        assert_eq!(waiting["attempts"], 1, "{name}");
        let reason = waiting["last_error"].as_str().unwrap();
        assert!(
            !reason.contains('\u{1b}') && !reason.contains(ALICE),
            "{reason}"
        );
        site.homeserver.take_binds();
        later(&site.server).await;
        assert!(site.server.outgoing(false).await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn after_a_refusal_invitations_are_told_one_by_one_so_that_a_dead_room_holds_nothing_back() {
    let site = invited(&["!a", "!dead", "!c"]).await;
    site.homeserver.refuse_rooms(&["!dead"]);
    bind(&site.server, &site.user("alice")).await;
    let told = site.homeserver.told(4).await;
    assert_eq!(rooms(&told[0]), ["!a", "!c", "!dead"]);
    let mut alone: Vec<_> = told[1..].iter().flat_map(rooms).collect();
    alone.sort_unstable();
    assert_eq!(alone, ["!a", "!c", "!dead"]);
    site.server.outbox.run_once().await.unwrap();
    let mut seen = 4;
    for _ in 0..30 {
        later(&site.server).await;
        let told = site.homeserver.told(seen).await;
        for again in &told[seen..] {
            assert_eq!(rooms(again), ["!dead"]);
        }
        seen = told.len();
    }
    assert!(seen > 20);
    let failed = site.server.outgoing(true).await.remove(0);
    let reason = failed["last_error"].as_str().unwrap();
    assert!(reason.contains("403 M_FORBIDDEN"), "{reason}");

    // Bound anew, it is told anew, and nothing else.
    site.homeserver.take_binds();
    bind(&site.server, &site.user("alice")).await;
    let told = site.homeserver.told(seen + 1).await;
    assert_eq!(rooms(told.last().unwrap()), ["!dead"]);
}

#[tokio::test]
async fn what_was_taken_one_by_one_is_not_told_again_after_a_restart() {
    let site = invited(&["!a", "!b"]).await;
    site.homeserver.refuse_rooms(&["!b"]);
    bind(&site.server, &site.user("alice")).await;
    site.homeserver.told(3).await;
    site.server.outbox.run_once().await.unwrap();
    let site = site.restart().await;
    site.homeserver.take_binds();
    later(&site.server).await;
    let told = site.homeserver.told(4).await;
    assert_eq!(told.len(), 4);
    assert_eq!(rooms(&told[3]), ["!b"]);
}

#[tokio::test]
async fn a_homeserver_that_hangs_holds_no_other_up() {
    let (authority, dns) = (Authority::new(), DnsServer::start().await);
    let mut homeservers = Vec::new();
    for name in ["slow.example", "quick.example"] {
        dns.host(name, "127.0.0.1");
        homeservers.push(Homeserver::start(&authority, name).await);
    }
    let server = TestServer::start_with(|config| {
        federate(&mut config.federation, &authority, &dns);
        // Nobody waits for it.
        config.federation.timeout = Duration::from_hours(1);
        config.limits.enabled = false;
    })
    .await;
    let [slow, quick] = &homeservers[..] else {
        unreachable!()
    };
    slow.reply(ONBIND, Reply::Silence);
    quick.take_binds();
    let user = |homeserver: &Homeserver| format!("@alice:{}", homeserver.name());
    for _ in 0..3 {
        bind(&server, &user(slow)).await;
    }
    slow.told(1).await;
    bind(&server, &user(quick)).await;
    quick.told(1).await;
    assert_eq!(slow.count(ONBIND), 1);
}

#[tokio::test]
async fn a_homeserver_that_does_not_answer_is_put_aside_as_a_whole() {
    let site = invited(&[]).await;
    site.homeserver.reply(ONBIND, Reply::Drop);
    for number in 0..5 {
        let (address, secret) = (format!("user{number}@example.org"), format!("s{number}"));
        let sid = site.server.validated(&address, &secret).await;
        site.server
            .bind(&sid, &secret, &site.user("alice"))
            .await
            .ok();
    }
    site.homeserver.told(1).await;
    site.server.outbox.run_once().await.unwrap();
    assert_eq!(site.homeserver.count(ONBIND), 1);
    site.server.advance(MINUTE * 3 / 2);
    site.server.outbox.run_once().await.unwrap();
    assert_eq!(site.homeserver.count(ONBIND), 2);
    site.homeserver.take_binds();
    later(&site.server).await;
    assert_eq!(site.homeserver.count(ONBIND), 7);
    assert!(site.server.outgoing(false).await.is_empty());
}

#[tokio::test]
async fn an_operator_can_have_everything_tried_at_once_or_dropped() {
    let site = invited(&["!a"]).await;
    site.homeserver.reply(ONBIND, Reply::Drop);
    bind(&site.server, &site.user("alice")).await;
    site.homeserver.told(1).await;
    site.server.outbox.run_once().await.unwrap();
    let status = site.server.command(json!({ "command": "status" })).await;
    let outbox = &status["status"]["outbox"];
    assert_eq!(
        (&outbox["waiting"], &outbox["failed"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(outbox["oldest"], START.as_millis());

    let all = json!({ "retry": { "id": null } });
    assert_eq!(site.server.change_outgoing(all).await, 1);
    site.homeserver.told(2).await;
    site.server.outbox.run_once().await.unwrap();
    let waiting = site.server.outgoing(false).await.remove(0);
    let drop = json!({ "drop": { "id": waiting["id"] } });
    assert_eq!(site.server.change_outgoing(drop.clone()).await, 1);
    assert_eq!(site.server.change_outgoing(drop).await, 0);
    site.homeserver.take_binds();
    later(&site.server).await;
    assert_eq!(site.homeserver.count(ONBIND), 2);
}
