//! Whoever has many SMS sent: to one number, to a block of numbers, to a country, by one address, by one account.

use std::num::NonZeroU32;
use std::time::Duration;

use bindery::config::{Countries, Rate, V1};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::federated::Federated;
use crate::support::phones::{ALICE, Phones, REQUEST_TOKEN, request};
use crate::support::server::{BIND, GET_VALIDATED};
use crate::support::smsbox::SmsBox;

/// The numbers of British mobile phones, in blocks of 10,000.
fn number(number: u32) -> String {
    format!("+447400{number:06}")
}

fn per_day(count: u32) -> Vec<Rate> {
    let count = NonZeroU32::new(count).unwrap();
    vec![Rate::new(count, Duration::from_hours(24))]
}

#[tokio::test]
async fn a_number_gets_three_sms_in_an_hour() {
    let here = Phones::start().await;
    for number in 0..3 {
        let from = format!("192.0.2.{number}");
        here.ask_from(ALICE, &format!("s{number}"), &from)
            .await
            .ok();
    }
    let answer = here.ask_from("+44 7400 123456", "s3", "192.0.2.9").await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(answer.json()["retry_after_ms"], 20 * 60 * 1000);
    assert_eq!(answer.header("retry-after"), "1200");
    // Where no SMS would go out, none is counted.
    here.ask_from(ALICE, "s0", "192.0.2.9").await.ok();
    assert_eq!(here.smsbox.asked(), 3);
    here.server.advance(Duration::from_mins(20));
    here.ask_from(ALICE, "s3", "192.0.2.9").await.ok();
}

#[tokio::test]
async fn an_address_has_ten_sms_sent_in_an_hour_whatever_it_claims_to_be() {
    let here = Phones::start().await;
    for block in 0..10 {
        let to = number(block * 10_000);
        here.ask_from(&to, "s", "192.0.2.1").await.ok();
    }
    for forged in [
        "192.0.2.1",
        "198.51.100.1, 192.0.2.1",
        "127.0.0.1, 192.0.2.1",
        "unknown, 192.0.2.1",
        "203.0.113.5,198.51.100.7,192.0.2.1",
    ] {
        let answer = here.ask_from(&number(500_000), "s", forged).await;
        answer.refused(429, "M_LIMIT_EXCEEDED");
    }
    assert_eq!(here.smsbox.asked(), 10);
    here.ask_from(&number(500_000), "s", "192.0.2.2").await.ok();
}

#[tokio::test]
async fn without_a_trusted_proxy_nobody_chooses_an_address() {
    let here = Phones::start_with(|config| {
        config.server.trusted_proxies.networks = Vec::new();
        config.api.v1_sources = Vec::new();
    })
    .await;
    for block in 0..10 {
        let from = format!("192.0.2.{block}");
        let to = number(block * 10_000);
        here.ask_from(&to, "s", &from).await.ok();
    }
    let answer = here.ask_from(&number(500_000), "s", "192.0.2.99").await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(here.smsbox.asked(), 10);
}

#[tokio::test]
async fn a_homeserver_asks_for_all_of_its_users() {
    let here = Phones::start().await;
    for block in 0..15 {
        here.ask(&number(block * 10_000), "s", 1).await.ok();
    }
    let number = "+44 7400 123456";
    for attempt in 1..4 {
        here.ask(number, "s", attempt).await.ok();
    }
    let answer = here.ask(number, "s", 4).await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
}

#[tokio::test]
async fn a_crawl_through_ten_thousand_numbers_of_a_block_ends_after_twenty() {
    let here = Phones::start_with(|config| config.limits.sms_by_country = Vec::new()).await;
    let mut crawlers = JoinSet::new();
    for crawler in 0..16 {
        let client = here.server.client.clone();
        crawlers.spawn(async move {
            let mut sent = 0;
            for last in (crawler..10_000).step_by(16) {
                let body = request("GB", &number(120_000 + last), "s", 1);
                let answer = client.post(REQUEST_TOKEN, body).await;
                if answer.status == 200 {
                    sent += 1;
                } else {
                    answer.refused(429, "M_LIMIT_EXCEEDED");
                }
            }
            sent
        });
    }
    let sent: u32 = crawlers.join_all().await.into_iter().sum();
    assert_eq!(sent, 20);
    assert_eq!(here.smsbox.asked(), 20);
    here.ask(&number(130_000), "s", 1).await.ok();
}

#[tokio::test]
async fn the_numbers_of_a_country_get_so_many_sms_in_a_day_and_others_none_the_less() {
    let here = Phones::start_with(|config| {
        config.sms.allow_countries = Countries::all();
        config.limits.sms_by_country = per_day(4);
    })
    .await;
    for block in 0..4 {
        here.ask(&number(block * 10_000), "s", 1).await.ok();
    }
    let answer = here.ask(&number(500_000), "s", 1).await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    here.ask("+33 6 12 34 56 78", "s", 1).await.ok();
    here.server.advance(Duration::from_hours(6));
    here.ask(&number(500_000), "s", 1).await.ok();
}

#[tokio::test]
async fn an_account_has_five_sms_sent_in_a_day_and_twenty_mails_in_an_hour() {
    let smsbox = SmsBox::start().await;
    let here = Federated::start_with(|config, _| {
        smsbox.serve(&mut config.sms);
        config.limits.sms_by_ip = Vec::new();
    })
    .await;
    let token = here.register("alice").await;
    let sms = async |token: &str, block: u32| {
        let body = request("GB", &number(block * 10_000), "s", 1);
        here.post(token, "validate/msisdn/requestToken", &body)
            .await
    };
    for block in 0..5 {
        sms(&token, block).await.ok();
    }
    // Another token of the same account makes no difference.
    let other = here.register("alice").await;
    sms(&other, 6).await.refused(429, "M_LIMIT_EXCEEDED");
    let bob = here.register("bob").await;
    sms(&bob, 6).await.ok();
    assert_eq!(smsbox.asked(), 6);

    let mail = async |token: &str, number: u32| {
        let body = json!({
            "email": format!("a{number}@example.org"), "client_secret": "s", "send_attempt": 1,
        });
        here.post(token, "validate/email/requestToken", &body).await
    };
    for number in 0..20 {
        mail(&token, number).await.ok();
    }
    mail(&other, 20).await.refused(429, "M_LIMIT_EXCEEDED");
    mail(&bob, 20).await.ok();
}

#[tokio::test]
async fn at_the_level_delegate_only_the_homeserver_has_sms_sent() {
    let here = Phones::start_with(|config| config.api.v1 = V1::Delegate).await;
    let stranger = here.ask_from(ALICE, "s", "192.0.2.1").await;
    stranger.refused(403, "M_FORBIDDEN");
    let forged = here.ask_from(ALICE, "s", "127.0.0.1, 192.0.2.1").await;
    forged.refused(403, "M_FORBIDDEN");
    assert_eq!(here.smsbox.asked(), 0);
    let sid = here.validated(ALICE, "s").await;
    let query = [("sid", sid.as_str()), ("client_secret", "s")];
    let proved = here.server.client.get(GET_VALIDATED, &query).await.ok();
    assert_eq!(proved["address"], "447400123456");
    let bind = json!({ "sid": sid, "client_secret": "s", "mxid": "@alice:hs.example" });
    let bind = here.server.client.post(BIND, bind).await;
    bind.refused(404, "M_UNRECOGNIZED");
}
