use super::*;
use crate::clock::ManualClock;
use crate::types::{Medium, Timestamp};
use std::net::Ipv4Addr;

const HOUR: Duration = Duration::from_hours(1);

fn rate(count: u32, per: Duration) -> Rate {
    Rate::new(NonZeroU32::new(count).unwrap(), per)
}

fn limits(rates: &[(u32, Duration)]) -> (Limits, Arc<ManualClock>) {
    limits_with(
        true,
        rates
            .iter()
            .map(|(count, per)| rate(*count, *per))
            .collect(),
    )
}

fn limits_with(enabled: bool, rates: Vec<Rate>) -> (Limits, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1)));
    let settings = config::Limits {
        enabled,
        email_by_address: rates.clone(),
        email_by_ip: rates,
        ..config::Limits::default()
    };
    let limits = Limits::new(&settings, clock.clone(), &Random::system()).unwrap();
    (limits, clock)
}

fn ip(text: &str) -> Subject<'static> {
    Subject::Ip(text.parse().unwrap())
}

#[test]
fn the_burst_is_free_and_then_one_comes_back_at_a_time() {
    let (limits, clock) = limits(&[(4, HOUR)]);
    let take = || limits.take(Action::EmailByIp, ip("192.0.2.1"));
    for _ in 0..4 {
        take().unwrap();
    }
    assert_eq!(take().unwrap_err().retry_after, HOUR / 4);
    clock.advance((HOUR / 4).saturating_sub(Duration::from_millis(1)));
    assert_eq!(take().unwrap_err().retry_after, Duration::from_millis(1));
    clock.advance(Duration::from_millis(1));
    take().unwrap();
    take().unwrap_err();
    limits.take(Action::EmailByIp, ip("192.0.2.2")).unwrap();
    limits
        .take(Action::WrongTokensByIp, ip("192.0.2.1"))
        .unwrap();
}

#[test]
fn peeking_counts_nothing() {
    let (limits, _) = limits(&[(1, HOUR)]);
    for _ in 0..10 {
        limits.peek(Action::EmailByIp, ip("192.0.2.1")).unwrap();
    }
    limits.take(Action::EmailByIp, ip("192.0.2.1")).unwrap();
    let refused = limits.peek(Action::EmailByIp, ip("192.0.2.1")).unwrap_err();
    assert_eq!(
        refused,
        Limited {
            action: Action::EmailByIp,
            retry_after: HOUR
        }
    );
}

#[test]
fn all_rates_must_be_kept_and_a_refusal_uses_up_none() {
    let (limits, clock) = limits(&[(2, HOUR), (3, 24 * HOUR)]);
    let take = || limits.take(Action::EmailByIp, ip("192.0.2.1"));
    take().unwrap();
    take().unwrap();
    take().unwrap_err();
    clock.advance(HOUR);
    take().unwrap();
    let refused = take().unwrap_err();
    assert_eq!(
        refused.retry_after,
        7 * HOUR,
        "of the two waits the longer one"
    );
    clock.advance(HOUR);
    for _ in 0..5 {
        take().unwrap_err();
    }
    clock.advance(6 * HOUR);
    take().unwrap();
}

#[test]
fn a_source_is_its_network_and_a_mapped_address_is_ipv4() {
    let (limits, _) = limits(&[(1, HOUR)]);
    let take = |text| limits.take(Action::EmailByIp, ip(text)).is_ok();
    assert!(take("2001:db8:0:1::1"));
    assert!(!take("2001:db8:0:1:ffff:ffff:ffff:ffff"));
    assert!(take("2001:db8:0:2::1"));
    assert!(take("192.0.2.1"));
    assert!(!take("::ffff:192.0.2.1"));
}

#[test]
fn the_wall_clock_does_not_matter() {
    let (limits, clock) = limits(&[(1, HOUR)]);
    let address = ThreePid::parse(Medium::Email, "a@b.example").unwrap();
    let take = || limits.take(Action::EmailByAddress, Subject::ThreePid(&address));
    take().unwrap();
    clock.set_wall(Timestamp::from_millis(u64::MAX / 2));
    take().unwrap_err();
    clock.set_wall(Timestamp::from_millis(0));
    clock.advance(HOUR);
    take().unwrap();
}

#[test]
fn parallel_takes_never_exceed_the_rate() {
    let (limits, _) = limits(&[(50, HOUR)]);
    let taken: usize = std::thread::scope(|scope| {
        let take = || {
            (0..100)
                .filter(|_| limits.take(Action::EmailByIp, ip("192.0.2.1")).is_ok())
                .count()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(taken, 50);
}

#[test]
fn a_million_sources_do_not_fill_the_memory() {
    let (limits, _) = limits(&[(1, HOUR)]);
    for number in 0..1_000_000 {
        let source = Subject::Ip(IpAddr::V4(Ipv4Addr::from_bits(number)));
        limits.take(Action::EmailByIp, source).unwrap();
    }
    let counted = limits.rates(Action::EmailByIp);
    let length = counted[0].take.len();
    assert!(length <= table::CAP, "{length} subjects are kept");
    let last = Subject::Ip(IpAddr::V4(Ipv4Addr::from_bits(999_999)));
    limits.take(Action::EmailByIp, last).unwrap_err();
}

#[test]
fn a_source_that_goes_on_trying_is_not_forgotten_for_newer_ones() {
    let (limits, _) = limits(&[(1, HOUR)]);
    let stubborn = Subject::Ip(IpAddr::V4(Ipv4Addr::BROADCAST));
    limits.take(Action::EmailByIp, stubborn).unwrap();
    for number in 0..300_000 {
        let source = Subject::Ip(IpAddr::V4(Ipv4Addr::from_bits(number)));
        limits.take(Action::EmailByIp, source).unwrap();
        if number % 1000 == 0 {
            limits.take(Action::EmailByIp, stubborn).unwrap_err();
        }
    }
}

#[test]
fn the_wait_is_told_in_whole_milliseconds_and_suffices() {
    let (limits, clock) = limits(&[(7, HOUR)]);
    let take = || limits.take(Action::EmailByIp, ip("192.0.2.1"));
    (0..7).for_each(|_| take().unwrap());
    for _ in 0..20 {
        let wait = take().unwrap_err().retry_after;
        assert_eq!(wait.subsec_nanos() % 1_000_000, 0);
        clock.advance(wait.saturating_sub(Duration::from_millis(1)));
        take().unwrap_err();
        clock.advance(Duration::from_millis(1));
        take().unwrap();
    }
}

#[test]
fn a_burst_may_be_smaller_or_larger_than_the_count() {
    for burst in [1, 10] {
        let (limits, clock) = limits_with(
            true,
            vec![Rate {
                burst: NonZeroU32::new(burst).unwrap(),
                ..rate(4, HOUR)
            }],
        );
        let take = || limits.take(Action::EmailByIp, ip("192.0.2.1"));
        (0..burst).for_each(|_| take().unwrap());
        assert_eq!(take().unwrap_err().retry_after, HOUR / 4);
        clock.advance(100 * HOUR);
        (0..burst).for_each(|_| take().unwrap());
        take().unwrap_err();
    }
}

#[test]
fn no_rate_is_too_long_or_too_short_to_count() {
    let forever = Duration::MAX;
    for rates in [
        vec![rate(1, forever)],
        vec![rate(u32::MAX, forever)],
        vec![Rate {
            burst: NonZeroU32::MAX,
            ..rate(1, 24 * HOUR)
        }],
        vec![rate(u32::MAX, Duration::from_nanos(1))],
        vec![rate(1, Duration::ZERO)],
    ] {
        let (limits, clock) = limits_with(true, rates);
        let take = || limits.take(Action::EmailByIp, ip("192.0.2.1"));
        take().unwrap();
        let _ = take();
        clock.advance(10 * 365 * 24 * HOUR);
        let _ = take();
    }
    let (limits, _) = limits(&[(1, forever)]);
    let take = || limits.take(Action::EmailByIp, ip("192.0.2.1"));
    take().unwrap();
    take().unwrap_err();
}

#[test]
fn limits_that_are_not_enabled_do_not_limit() {
    let (limits, _) = limits_with(false, vec![rate(1, HOUR)]);
    for action in Action::ALL {
        for _ in 0..1000 {
            limits.take(action, ip("192.0.2.1")).unwrap();
        }
    }
}

#[test]
fn a_subject_is_hidden_differently_in_every_process() {
    let (one, another) = (limits(&[]).0, limits(&[]).0);
    let address = ThreePid::parse(Medium::Email, "a@b.example").unwrap();
    let subject = Subject::ThreePid(&address);
    assert_eq!(one.hide(subject), one.hide(subject));
    assert_ne!(one.hide(subject), another.hide(subject));
}

#[test]
fn a_reload_keeps_what_was_counted_of_a_rate_that_stays() {
    let (limits, _) = limits(&[(1, HOUR)]);
    let take = |action| limits.take(action, ip("192.0.2.1")).is_ok();
    assert!(take(Action::EmailByIp) && take(Action::WrongTokensByIp));
    assert!(!take(Action::EmailByIp));
    let rate = |count| vec![Rate::new(NonZeroU32::new(count).unwrap(), HOUR)];
    let mut settings = config::Limits {
        email_by_ip: rate(1),
        wrong_tokens_by_ip: rate(2),
        ..config::Limits::default()
    };
    limits.reload(&settings);
    assert!(!take(Action::EmailByIp), "the same rate goes on");
    assert!(take(Action::WrongTokensByIp) && take(Action::WrongTokensByIp));
    assert!(!take(Action::WrongTokensByIp), "the new rate holds");
    settings.enabled = false;
    limits.reload(&settings);
    assert!((0..100).all(|_| take(Action::EmailByIp)));
}

#[test]
fn off_is_no_limit() {
    let (limits, _) = limits(&[]);
    for _ in 0..1000 {
        limits.take(Action::EmailByIp, ip("192.0.2.1")).unwrap();
    }
}

#[test]
fn several_actions_are_counted_together_or_not_at_all() {
    let (limits, _) = limits(&[(2, HOUR)]);
    let address = ThreePid::parse(Medium::Email, "a@b.example").unwrap();
    let both = |from| {
        limits.take_all(&[
            (Action::EmailByIp, ip(from)),
            (Action::EmailByAddress, Subject::ThreePid(&address)),
        ])
    };
    both("192.0.2.1").unwrap();
    both("192.0.2.2").unwrap();
    let refused = both("192.0.2.3").unwrap_err();
    assert_eq!(refused.action, Action::EmailByAddress);
    for _ in 0..2 {
        limits.take(Action::EmailByIp, ip("192.0.2.3")).unwrap();
    }
}

#[test]
fn the_rate_of_the_longest_time_is_left_to_the_store_where_it_has_to_last() {
    let (limits, _) = limits(&[]);
    let alice = ThreePid::parse(Medium::Msisdn, "447400123456").unwrap();
    let day = rate(10, 24 * HOUR);
    assert_eq!(limits.rate_elsewhere(Action::SmsByNumber), Some(day));
    for _ in 0..3 {
        let number = Subject::ThreePid(&alice);
        limits.take(Action::SmsByNumber, number).unwrap();
    }
    let refused = limits.take(Action::SmsByNumber, Subject::ThreePid(&alice));
    assert_eq!(refused.unwrap_err().retry_after, HOUR / 3);

    assert!(limits.rate_elsewhere(Action::WrongCodesByNumber).is_some());
    for _ in 0..100 {
        let number = Subject::ThreePid(&alice);
        limits.take(Action::WrongCodesByNumber, number).unwrap();
    }
    assert_eq!(limits.rate_elsewhere(Action::SmsByPrefix), None);
    let settings = config::Limits {
        enabled: false,
        ..config::Limits::default()
    };
    limits.reload(&settings);
    assert_eq!(limits.rate_elsewhere(Action::SmsByNumber), None);
}
