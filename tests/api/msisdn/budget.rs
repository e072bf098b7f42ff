//! What the operator pays: a number of SMS in a day, and a switch that stops them all.

use std::time::Duration;

use bindery::app::{Call, Outcome, PROTOCOL, Reply};
use bindery::config::Listen;
use bindery::services::admin::{AdminAnswer, AdminRequest, SmsStatus};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::support::phones::{ALICE, Phones, REQUEST_TOKEN, other_than, request};

/// Numbers of which each is in a block of its own.
fn number(block: u32) -> String {
    format!("+447400{block:02}0000")
}

/// A command of the operator's over the server's socket.
async fn operator(here: &Phones, request: &AdminRequest) -> AdminAnswer {
    let stream = UnixStream::connect(&here.server.config.admin.socket).await;
    let mut stream = BufReader::new(stream.unwrap());
    let call = Call {
        version: PROTOCOL,
        request: serde_json::to_value(request).unwrap(),
    };
    let line = serde_json::to_string(&call).unwrap() + "\n";
    stream.write_all(line.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_line(&mut answer).await.unwrap();
    match serde_json::from_str::<Reply>(&answer).unwrap().outcome {
        Outcome::Ok(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// Lets SMS be sent, or stops them.
pub async fn switch(here: &Phones, on: bool) -> SmsStatus {
    match operator(here, &AdminRequest::SmsSwitch { on }).await {
        AdminAnswer::Sms(status) => status,
        other => panic!("{other:?}"),
    }
}

async fn status(here: &Phones) -> SmsStatus {
    match operator(here, &AdminRequest::Status).await {
        AdminAnswer::Status(status) => status.sms,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_more_sms_go_out_than_the_budget_of_a_day_has_also_at_once_and_after_a_restart() {
    let here = Phones::start_with(|config| {
        config.sms.daily_budget = 7;
        config.metrics.listen = Some(Listen::Tcp(([127, 0, 0, 1], 0).into()));
    })
    .await;
    let mut crowd = JoinSet::new();
    for block in 0..30 {
        let client = here.server.client.clone();
        let body = request("GB", &number(block), "s", 1);
        crowd.spawn(async move { client.post(REQUEST_TOKEN, body).await });
    }
    let answers = crowd.join_all().await;
    let sent = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((sent, here.smsbox.asked()), (7, 7));
    let refused = answers.iter().find(|answer| answer.status != 200).unwrap();
    let sentence = refused.refused(429, "M_LIMIT_EXCEEDED");
    assert!(sentence.contains("day"), "{sentence}");
    assert_eq!(refused.json()["retry_after_ms"], 24 * 3600 * 1000);
    assert_eq!(refused.header("retry-after"), "86400");
    let monitoring = here.server.monitoring.as_ref().unwrap();
    let metrics = monitoring.get("/metrics", &[]).await.text;
    for line in [
        "bindery_sms_total{outcome=\"sent\"} 7",
        "bindery_sms_total{outcome=\"over_budget\"} 23",
    ] {
        assert!(
            metrics.lines().any(|seen| seen == line),
            "{line}:\n{metrics}"
        );
    }

    let here = here.restart().await;
    here.server
        .advance(Duration::from_millis(24 * 3600 * 1000 - 1));
    let answer = here.ask(&number(40), "s", 1).await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(status(&here).await.spent, 7);
    here.server.advance(Duration::from_millis(1));
    assert_eq!(status(&here).await.spent, 0);
    here.ask(&number(40), "s", 1).await.ok();
    assert_eq!(here.smsbox.asked(), 8);
}

#[tokio::test]
async fn a_clock_that_is_set_back_gives_no_second_budget() {
    let here = Phones::start_with(|config| config.sms.daily_budget = 2).await;
    here.server.advance(Duration::from_hours(30));
    let now = bindery::types::Timestamp::from_millis(here.server.now());
    here.ask(&number(0), "s", 1).await.ok();
    here.ask(&number(1), "s", 1).await.ok();
    here.server
        .clock
        .set_wall(now.minus(Duration::from_hours(2)));
    let answer = here.ask(&number(2), "s", 1).await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(here.smsbox.asked(), 2);
}

#[tokio::test]
async fn the_switch_stops_all_sms_and_is_still_off_after_a_restart() {
    let here = Phones::start_with(|config| config.sms.daily_budget = 9).await;
    let on = SmsStatus {
        stopped: None,
        spent: 0,
        daily_budget: 9,
    };
    assert_eq!(status(&here).await, on);
    let (sid, code) = here.session(ALICE, "s").await;
    let off = switch(&here, false).await;
    assert_eq!(off.stopped.unwrap().as_millis(), here.server.now());
    here.server.advance(Duration::from_mins(1));
    assert_eq!(switch(&here, false).await, off, "since the first time");
    let answer = here.ask(&number(1), "s", 1).await;
    let sentence = answer.refused(400, "M_SEND_ERROR");
    assert!(sentence.contains("operator"), "{sentence}");
    let again = here.ask(ALICE, "s", 2).await;
    again.refused(400, "M_SEND_ERROR");
    // Where no SMS would go out, nothing is stopped; and codes that are on their way work.
    here.ask(ALICE, "s", 1).await.ok();
    here.submit(&sid, "s", code).await.ok();

    let here = here.restart().await;
    assert_eq!(status(&here).await, SmsStatus { spent: 1, ..off });
    let answer = here.ask(&number(1), "s", 1).await;
    answer.refused(400, "M_SEND_ERROR");
    assert_eq!(here.smsbox.asked(), 1);

    assert_eq!(switch(&here, true).await, SmsStatus { spent: 1, ..on });
    here.ask(&number(1), "s", 1).await.ok();
    assert_eq!(here.smsbox.asked(), 2);
}

#[tokio::test]
async fn what_was_spent_is_forgotten_when_its_time_is_over() {
    let here = Phones::start().await;
    let (sid, code) = here.session(ALICE, "s").await;
    let wrong = here.submit(&sid, "s", other_than(&code)).await;
    wrong.refused(400, "M_TOKEN_INCORRECT");
    here.server.advance(Duration::from_hours(23));
    here.ask(&number(1), "s", 1).await.ok();
    assert_eq!(here.server.sweeper.budgets().await.unwrap(), 0);
    here.server.advance(Duration::from_hours(1));
    // All SMS, those to Alice, and the guess for her.
    assert_eq!(here.server.sweeper.budgets().await.unwrap(), 3);
    assert_eq!(here.server.sweeper.budgets().await.unwrap(), 0);
}
