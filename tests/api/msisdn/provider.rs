//! A provider that refuses, is down, is slow, or shows a page; and SMS that go out later.

use std::time::Duration;

use super::budget::switch;
use crate::support::phones::{ALICE, Phones, sid};
use crate::support::smsbox::Reply;

/// A server that does not wait for its provider for long.
async fn impatient() -> Phones {
    Phones::start_with(|config| config.sms.timeout = Duration::from_millis(200)).await
}

#[tokio::test]
async fn what_the_provider_refuses_for_good_is_told_and_can_be_tried_again() {
    let here = Phones::start().await;
    for reply in [Reply::Status(400), Reply::Html(404), Reply::Status(401)] {
        here.smsbox.reply(reply);
        let answer = here.ask(ALICE, "s", 1).await;
        let sentence = answer.refused(400, "M_SEND_ERROR");
        assert!(!sentence.contains("7400"), "{sentence}");
        here.server.advance(Duration::from_mins(20));
    }
    assert_eq!(here.smsbox.asked(), 3, "the same attempt can be made again");
    here.smsbox.reply(Reply::Status(200));
    let (sid, code) = here.session(ALICE, "s").await;
    here.submit(&sid, "s", code).await.ok();
}

#[tokio::test]
async fn refusals_of_the_provider_cost_as_much_as_sms() {
    let here = Phones::start_with(|config| config.sms.daily_budget = 2).await;
    here.smsbox.reply(Reply::Status(400));
    for _ in 0..2 {
        let answer = here.ask(ALICE, "s", 1).await;
        answer.refused(400, "M_SEND_ERROR");
    }
    let answer = here.ask(ALICE, "s", 1).await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(here.smsbox.asked(), 2);
}

/// Lets time go by, and the work be done that has become due.
async fn later(here: &Phones, time: Duration) {
    here.server.advance(time);
    here.server.outbox.run_once().await.unwrap();
}

#[tokio::test]
async fn an_sms_that_cannot_be_sent_now_is_sent_later_while_its_code_is_of_use() {
    for reply in [
        Reply::Status(503),
        Reply::Html(502),
        Reply::Status(429),
        Reply::Silence,
        Reply::Drop,
    ] {
        let here = impatient().await;
        here.smsbox.reply(reply);
        let sid = sid(&here.ask(ALICE, "s", 1).await);
        let here = here.restart().await;
        later(&here, Duration::from_secs(15)).await;
        assert_eq!(here.smsbox.asked(), 2, "{reply:?}");
        assert!(here.smsbox.taken().is_empty());

        here.smsbox.reply(Reply::Status(200));
        later(&here, Duration::from_mins(2)).await;
        let sms = here.smsbox.last();
        assert_eq!(
            (sms.to.as_str(), sms.country.as_str()),
            ("+447400123456", "GB")
        );
        here.submit(&sid, "s", sms.token).await.ok();
        later(&here, Duration::from_mins(9)).await;
        assert_eq!(here.smsbox.taken().len(), 1);
    }
}

#[tokio::test]
async fn an_sms_that_is_of_no_use_any_more_is_not_sent() {
    let here = impatient().await;
    here.smsbox.reply(Reply::Drop);
    here.ask(ALICE, "s", 1).await.ok();
    here.smsbox.reply(Reply::Status(200));
    here.ask(ALICE, "s", 2).await.ok();
    later(&here, Duration::from_secs(15)).await;
    assert_eq!(here.smsbox.asked(), 2, "another one went out");

    here.smsbox.reply(Reply::Drop);
    here.ask(ALICE, "s", 3).await.ok();
    here.smsbox.reply(Reply::Status(200));
    later(&here, Duration::from_mins(15)).await;
    assert_eq!(here.smsbox.asked(), 3, "the code is late");
}

#[tokio::test]
async fn an_sms_that_waits_goes_on_waiting_while_all_are_stopped() {
    let here = impatient().await;
    here.smsbox.reply(Reply::Drop);
    here.ask(ALICE, "s", 1).await.ok();
    here.smsbox.reply(Reply::Status(200));
    switch(&here, false).await;
    later(&here, Duration::from_secs(15)).await;
    assert_eq!(here.smsbox.asked(), 1);
    switch(&here, true).await;
    later(&here, Duration::from_mins(2)).await;
    assert_eq!(here.smsbox.taken().len(), 1);
}
