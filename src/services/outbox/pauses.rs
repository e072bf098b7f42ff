//! How long to wait after a failure, and when to give up.

use std::time::Duration;

use crate::storage::tables::OutboxRecord;
use crate::types::Timestamp;

/// After the first failure; each further one doubles it.
const FIRST: Duration = Duration::from_mins(1);

/// It does not grow beyond this.
const LONGEST: Duration = Duration::from_hours(6);

/// For how long something is tried at least before it is given up.
const PATIENCE: Duration = Duration::from_hours(7 * 24);

/// How often something is tried at least before it is given up: time in which this server was not there does not count as
/// trying.
const LEAST_TRIES: u32 = 8;

/// The pause after so many failures: a minute, twice as long each time, six hours at most, and a fifth more or less
/// by `chance`, so that what failed together does not come back together.
pub(super) fn pause(failures: u32, chance: u16) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let plain = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    // From 80 to 120 percent.
    let percent = 80.0 + 40.0 * f64::from(chance) / f64::from(u16::MAX);
    plain.mul_f64(percent / 100.0)
}

/// Whether work is given up when it has failed once more: by itself, or because its destination has failed so often.
pub(super) fn is_over(record: &OutboxRecord, destination_failures: u32, now: Timestamp) -> bool {
    let tries = record.attempts.max(destination_failures);
    tries >= LEAST_TRIES && now.since(record.queued) >= PATIENCE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tables::OutboxItem;
    use crate::types::Sid;

    #[test]
    fn pauses_grow_to_six_hours_and_a_fifth_is_chance() {
        let plain = |failures| pause(failures, u16::MAX / 2).as_secs_f64() / 60.0;
        for (failures, minutes) in [
            (0, 1),
            (1, 1),
            (2, 2),
            (3, 4),
            (9, 256),
            (10, 360),
            (u32::MAX, 360),
        ] {
            assert!(
                (plain(failures) - f64::from(minutes)).abs() < 0.01 * f64::from(minutes),
                "{failures}"
            );
        }
        assert_eq!(pause(1, 0), Duration::from_secs(48));
        assert_eq!(pause(1, u16::MAX), Duration::from_secs(72));
    }

    #[test]
    fn what_failed_for_a_week_and_often_is_given_up() {
        let record = |attempts| OutboxRecord {
            item: OutboxItem::Verification {
                sid: Sid::parse("s").unwrap(),
                send_attempt: 1,
            },
            queued: Timestamp::from_millis(0),
            attempts,
            last_error: None,
            failed: None,
        };
        let week = Timestamp::from_millis(0).plus(PATIENCE);
        assert!(is_over(&record(8), 0, week));
        assert!(is_over(&record(0), 8, week), "its destination failed");
        assert!(!is_over(&record(7), 7, week), "the server was not there");
        assert!(!is_over(
            &record(100),
            100,
            week.minus(Duration::from_millis(1))
        ));
    }
}
