//! Whoever guesses codes: in one session, in many at once, from everywhere, and across restarts.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::phones::{ALICE, Phones, SUBMIT_TOKEN, other_than, sid, submission};

/// Wrong codes for a session, all at once. Answers how many were looked at.
async fn storm(here: &Phones, sid: &str, secret: &str, code: &str, guesses: usize) -> usize {
    let mut storm = JoinSet::new();
    let mut guess = code.to_owned();
    for _ in 0..guesses {
        guess = other_than(&guess);
        let client = here.server.client.clone();
        let body = submission(sid, secret, guess.as_str());
        storm.spawn(async move { client.post(SUBMIT_TOKEN, body).await.json() });
    }
    let answers = storm.join_all().await;
    assert!(answers.iter().all(|answer| answer["success"] == false));
    let looked_at = |answer: &&serde_json::Value| answer["errcode"] == "M_TOKEN_INCORRECT";
    answers.iter().filter(looked_at).count()
}

#[tokio::test]
async fn the_fifth_wrong_code_burns_the_session_also_across_a_restart() {
    let here = Phones::start().await;
    let (sid, code) = here.session(ALICE, "s").await;
    let wrong = other_than(&code);
    for _ in 0..4 {
        let answer = here.submit(&sid, "s", wrong.as_str()).await;
        answer.refused(400, "M_TOKEN_INCORRECT");
        assert_eq!(answer.json()["success"], false);
    }
    let here = here.restart().await;
    let last = here.submit(&sid, "s", wrong.as_str()).await;
    last.refused(400, "M_TOKEN_INCORRECT");
    let late = here.submit(&sid, "s", code.as_str()).await;
    late.refused(400, "M_NO_VALID_SESSION");
    assert_eq!(late.json()["success"], false);

    let (other, fresh) = here.session(ALICE, "s").await;
    assert_ne!(other, sid);
    here.submit(&other, "s", fresh).await.ok();
}

#[tokio::test]
async fn of_guesses_that_come_at_once_only_five_are_looked_at() {
    let here = Phones::start().await;
    let (sid, code) = here.session(ALICE, "s").await;
    assert_eq!(storm(&here, &sid, "s", &code, 50).await, 5);
    let late = here.submit(&sid, "s", code).await;
    late.refused(400, "M_NO_VALID_SESSION");
}

#[tokio::test]
async fn guesses_in_all_sessions_of_a_number_together_are_twenty_a_day() {
    let here = Phones::start_with(|config| {
        // Whoever has many accounts and addresses, and gets as many SMS sent as he likes.
        config.limits.sms_by_number = Vec::new();
        config.limits.sms_by_prefix = Vec::new();
    })
    .await;
    let mut sessions = Vec::new();
    for number in 0..8 {
        let secret = format!("s{number}");
        let (sid, code) = here.session(ALICE, &secret).await;
        sessions.push((sid, secret, code));
    }
    let mut storms = JoinSet::new();
    for (sid, secret, code) in &sessions {
        let mut guess = code.clone();
        for _ in 0..12 {
            guess = other_than(&guess);
            let client = here.server.client.clone();
            let body = submission(sid, secret, guess.as_str());
            storms.spawn(async move { client.post(SUBMIT_TOKEN, body).await });
        }
    }
    let mut looked_at = 0;
    for answer in storms.join_all().await {
        match answer.json()["errcode"].as_str().unwrap() {
            "M_TOKEN_INCORRECT" => looked_at += 1,
            "M_NO_VALID_SESSION" => {}
            _ => {
                answer.refused(429, "M_LIMIT_EXCEEDED");
                assert_eq!(answer.json()["success"], false);
            }
        }
    }
    assert_eq!(
        looked_at, 20,
        "whichever sessions, and however many at once"
    );

    // Not even the right code is looked at, in a new session, after a restart, a moment before the day is over.
    let here = here.restart().await;
    here.server.advance(Duration::from_mins(24 * 60 - 2));
    let (sid, code) = here.session(ALICE, "new").await;
    let shut = here.submit(&sid, "new", code.as_str()).await;
    shut.refused(429, "M_LIMIT_EXCEEDED");
    let millis = shut.json()["retry_after_ms"].as_u64().unwrap();
    assert_eq!(millis, 2 * 60 * 1000);
    let (bob, right) = here.session("07400 999999", "bob").await;
    here.submit(&bob, "bob", right).await.ok();

    here.server.advance(Duration::from_millis(millis));
    here.submit(&sid, "new", code).await.ok();
}

#[tokio::test]
async fn the_right_code_is_not_counted_as_a_guess() {
    let here = Phones::start_with(|config| config.limits.sms_by_number = Vec::new()).await;
    for number in 0..25 {
        here.validated(ALICE, &format!("s{number}")).await;
        here.server.advance(Duration::from_mins(4));
    }
}

#[tokio::test]
async fn the_codes_of_a_day_are_ten_whoever_asks_in_whichever_session() {
    let mut here = Phones::start().await;
    let mut sent = 0;
    for number in 0..40 {
        let secret = format!("s{number}");
        let answer = here
            .ask_from(ALICE, &secret, &format!("192.0.2.{number}"))
            .await;
        if answer.status == 200 {
            sent += 1;
            let sid = sid(&answer);
            let code = here.smsbox.last().token;
            if number % 2 == 0 {
                here.submit(&sid, &secret, code).await.ok();
            }
        } else {
            answer.refused(429, "M_LIMIT_EXCEEDED");
        }
        if number % 13 == 12 {
            here = here.restart().await;
        }
        here.server.advance(Duration::from_mins(30));
    }
    assert_eq!(sent, 10);
    assert_eq!(here.smsbox.asked(), 10);

    // 20 hours have gone by since the first.
    let answer = here.ask_from(ALICE, "more", "192.0.2.99").await;
    answer.refused(429, "M_LIMIT_EXCEEDED");
    let millis = answer.json()["retry_after_ms"].as_u64().unwrap();
    assert_eq!(millis, 4 * 3600 * 1000);
    here.server.advance(Duration::from_millis(millis));
    here.ask_from(ALICE, "more", "192.0.2.99").await.ok();
}
