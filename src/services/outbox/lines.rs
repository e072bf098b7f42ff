//! Who is next: a line for each destination, of which one is served at a time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::pauses;
use crate::storage::outbox::Destination;
use crate::storage::tables::OutboxPlace;

/// How long it is remembered that a destination failed, after it could be asked again and nobody wanted to.
const REMEMBERED: Duration = Duration::from_hours(24);

/// The lines before all destinations. They hold places only, and can be made again from the store at any time.
#[derive(Default)]
pub(super) struct Lines(HashMap<Destination, Line>);

/// The line before one destination.
#[derive(Default)]
struct Line {
    waiting: BTreeSet<OutboxPlace>,
    served: Option<OutboxPlace>,
    /// How often the destination has failed since it last answered.
    failures: u32,
    /// Until when nobody asks it, by the monotonic clock.
    aside: Duration,
}

impl Line {
    fn may_go(&self, now: Duration) -> bool {
        self.served.is_none() && self.aside <= now
    }
}

/// Which destinations may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    /// All.
    All,
    /// Those that did not fail when they were asked last.
    Reliable,
}

impl Lines {
    /// Puts work that is due into its line. Once more changes nothing.
    pub(super) fn add(&mut self, place: OutboxPlace, destination: Destination) {
        let line = self.0.entry(destination).or_default();
        if line.served != Some(place) {
            line.waiting.insert(place);
        }
    }

    /// Takes the work that has been due for longest, of those whose destination is free. The line is closed until
    /// [`Self::answered`], [`Self::failed`] or [`Self::left`].
    pub(super) fn take(&mut self, whom: Whom, now: Duration) -> Option<(Destination, OutboxPlace)> {
        // A look at every line takes less than what is done with the one that is found.
        let free = self
            .0
            .iter()
            .filter(|(_, line)| line.may_go(now) && (whom == Whom::All || line.failures == 0));
        let first = free
            .filter_map(|(destination, line)| Some((*line.waiting.first()?, destination)))
            .min_by_key(|(place, _)| *place);
        let (place, destination) = first?;
        let destination = destination.clone();
        let line = self.0.get_mut(&destination)?;
        line.waiting.remove(&place);
        line.served = Some(place);
        Some((destination, place))
    }

    /// The destination has answered, whatever came of the work.
    pub(super) fn answered(&mut self, destination: &Destination) {
        if let Some(line) = self.0.get_mut(destination) {
            line.served = None;
            line.failures = 0;
            if line.waiting.is_empty() {
                self.0.remove(destination);
            }
        }
    }

    /// Nothing can be said of the destination: it was not asked.
    pub(super) fn left(&mut self, destination: &Destination) {
        if let Some(line) = self.0.get_mut(destination) {
            line.served = None;
            if line.waiting.is_empty() && line.failures == 0 {
                self.0.remove(destination);
            }
        }
    }

    /// The destination does not answer, and is put aside with all that waits for it, for as long as this answers.
    pub(super) fn failed(
        &mut self,
        destination: &Destination,
        chance: u16,
        now: Duration,
    ) -> Duration {
        let line = self.0.entry(destination.clone()).or_default();
        line.served = None;
        line.failures = line.failures.saturating_add(1);
        let pause = pauses::pause(line.failures, chance);
        line.aside = now.saturating_add(pause);
        pause
    }

    /// The destination is asked again although it failed.
    pub(super) fn forgive(&mut self, destination: &Destination) {
        if let Some(line) = self.0.get_mut(destination) {
            line.failures = 0;
            line.aside = Duration::ZERO;
        }
    }

    /// How often a destination has failed since it last answered.
    pub(super) fn failures(&self, destination: &Destination) -> u32 {
        self.0.get(destination).map_or(0, |line| line.failures)
    }

    /// What waits for a destination.
    pub(super) fn waiting(&self, destination: &Destination) -> Vec<OutboxPlace> {
        let line = self.0.get(destination);
        line.map_or_else(Vec::new, |line| line.waiting.iter().copied().collect())
    }

    /// When a destination that was put aside can be asked again, by the monotonic clock.
    pub(super) fn next(&self, now: Duration) -> Option<Duration> {
        let aside = self.0.values().filter(|line| !line.waiting.is_empty());
        aside
            .map(|line| line.aside)
            .filter(|until| *until > now)
            .min()
    }

    /// What was being served waits again: whoever served it is gone. Destinations that failed long ago are forgotten.
    pub(super) fn reopen(&mut self, now: Duration) {
        for line in self.0.values_mut() {
            line.waiting.extend(line.served.take());
        }
        self.0.retain(|_, line| {
            !line.waiting.is_empty() || line.aside.saturating_add(REMEMBERED) > now
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{RecordId, ServerName, Timestamp};

    const NOW: Duration = Duration::from_secs(1000);
    const CHANCE: u16 = u16::MAX / 2;

    fn to(server: &str) -> Destination {
        Destination::Homeserver(ServerName::parse(server).unwrap())
    }

    fn place(due: u64) -> OutboxPlace {
        (Timestamp::from_millis(due), RecordId::from_bytes([0; 16]))
    }

    #[test]
    fn the_oldest_work_of_a_free_destination_is_next() {
        let mut lines = Lines::default();
        for (due, server) in [(3, "b"), (1, "a"), (2, "a"), (2, "a")] {
            lines.add(place(due), to(server));
        }
        let mut take = || lines.take(Whom::All, NOW);
        assert_eq!(take(), Some((to("a"), place(1))));
        assert_eq!(take(), Some((to("b"), place(3))));
        assert_eq!(take(), None, "one at a time");
        lines.add(place(1), to("a"));
        lines.answered(&to("a"));
        assert_eq!(lines.take(Whom::All, NOW), Some((to("a"), place(2))));
        lines.answered(&to("a"));
        lines.answered(&to("b"));
        assert_eq!(lines.take(Whom::All, NOW), None);
        assert!(lines.0.is_empty());
    }

    #[test]
    fn a_destination_that_fails_is_put_aside_as_a_whole_and_for_longer_each_time() {
        let mut lines = Lines::default();
        for due in 1..=4 {
            lines.add(place(due), to("dead"));
        }
        lines.take(Whom::All, NOW).unwrap();
        lines.failed(&to("dead"), CHANCE, NOW);
        assert_eq!(lines.take(Whom::All, NOW), None);
        assert_eq!(lines.waiting(&to("dead")).len(), 3);
        let again = lines.next(NOW).unwrap();
        assert_eq!(again.saturating_sub(NOW).as_secs(), 59);
        assert_eq!(lines.take(Whom::Reliable, again), None);
        assert!(lines.take(Whom::All, again).is_some());
        lines.failed(&to("dead"), CHANCE, again);
        assert_eq!(lines.failures(&to("dead")), 2);
        let later = lines.next(again).unwrap();
        assert!(later > again.saturating_add(Duration::from_secs(100)));
        lines.take(Whom::All, later).unwrap();
        lines.answered(&to("dead"));
        assert!(lines.take(Whom::Reliable, later).is_some());
    }

    #[test]
    fn what_was_being_served_waits_again_and_old_failures_are_forgotten() {
        let mut lines = Lines::default();
        lines.add(place(1), to("a"));
        lines.take(Whom::All, NOW).unwrap();
        lines.reopen(NOW);
        assert_eq!(lines.take(Whom::All, NOW), Some((to("a"), place(1))));
        lines.failed(&to("a"), CHANCE, NOW);
        lines.reopen(NOW);
        assert_eq!(lines.failures(&to("a")), 1);
        lines.reopen(NOW + REMEMBERED * 2);
        assert!(lines.0.is_empty());
    }
}
