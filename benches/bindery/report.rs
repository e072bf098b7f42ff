//! What is measured, how often, and the table it ends up in.

use std::time::{Duration, Instant};

/// How often a subject and its ceiling are measured, in turns.
const ROUNDS: usize = 9;

/// What a figure is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things done in a second; more is better.
    PerSecond,
    /// Microseconds; less is better.
    Micros,
    /// Milliseconds; less is better.
    Millis,
    /// Megabytes of 1,000,000 bytes; less is better.
    Megabytes,
    /// Bytes; less is better.
    Bytes,
    /// So many times another figure; less is better.
    Times,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::Megabytes => "MB",
            Self::Bytes => "B",
            Self::Times => "times",
        }
    }

    /// How close a value comes to what is best: 1 is as good as the ceiling.
    fn ratio(self, value: f64, ceiling: f64) -> f64 {
        match self {
            Self::PerSecond => value / ceiling,
            Self::Micros | Self::Millis | Self::Megabytes | Self::Bytes | Self::Times => {
                ceiling / value
            }
        }
    }
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    /// It only informs.
    None,
    /// This share of its ceiling.
    Ratio(f64),
    /// At most this much.
    AtMost(f64),
}

/// A subject and its ceiling, measured in turns.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// The median of the subject.
    pub value: f64,
    /// The median of the ceiling.
    pub ceiling: f64,
    /// The median of the ratios of each turn: what slows the machine down for a while slows down both.
    pub ratio: f64,
}

impl Pair {
    /// Measures both in turns, after one turn that does not count.
    pub fn measure(
        unit: Unit,
        mut subject: impl FnMut() -> f64,
        mut ceiling: impl FnMut() -> f64,
    ) -> Self {
        subject();
        ceiling();
        let turns: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (subject(), ceiling())).collect();
        Self::of(unit, &turns)
    }

    /// The medians of some turns.
    pub fn of(unit: Unit, turns: &[(f64, f64)]) -> Self {
        let of = |part: fn(&(f64, f64)) -> f64| median(turns.iter().map(part).collect());
        let ratios = turns
            .iter()
            .map(|(value, ceiling)| unit.ratio(*value, *ceiling));
        Self {
            value: of(|turn| turn.0),
            ceiling: of(|turn| turn.1),
            ratio: median(ratios.collect()),
        }
    }
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Microseconds that one call takes, over so many calls.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub fn micros_each(calls: usize, mut call: impl FnMut(usize)) -> f64 {
    let started = Instant::now();
    for number in 0..calls {
        call(number);
    }
    started.elapsed().as_secs_f64() * 1e6 / calls as f64
}

/// How many are done in a second.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub fn per_second(done: usize, took: Duration) -> f64 {
    done as f64 / took.as_secs_f64()
}

/// Writes the head of the table; its lines come as figures do.
pub fn head() {
    println!(
        "\n{:<52} {:>14} {:>14} {:>6}  aim",
        "figure", "value", "ceiling", "ratio"
    );
}

/// Begins a group.
pub fn group(name: &str) {
    println!("{name}");
}

/// A figure beside its ceiling.
pub fn pair(name: &str, unit: Unit, pair: Pair, aim: Aim) {
    let ceiling = with_unit(pair.ceiling, unit);
    let ratio = format!("{:.2}", pair.ratio);
    let aim = match aim {
        Aim::Ratio(wanted) => format!("{} ({wanted})", verdict(pair.ratio >= wanted)),
        other => other.judge(pair.value, unit),
    };
    line(name, &with_unit(pair.value, unit), &ceiling, &ratio, &aim);
}

/// A figure that has no ceiling.
pub fn alone(name: &str, unit: Unit, value: f64, aim: Aim) {
    line(
        name,
        &with_unit(value, unit),
        "-",
        "-",
        &aim.judge(value, unit),
    );
}

impl Aim {
    fn judge(self, value: f64, unit: Unit) -> String {
        match self {
            Self::AtMost(most) => format!("{} ({})", verdict(value <= most), with_unit(most, unit)),
            Self::None | Self::Ratio(_) => String::new(),
        }
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "ok" } else { "below" }
}

fn line(name: &str, value: &str, ceiling: &str, ratio: &str, aim: &str) {
    println!("  {name:<50} {value:>14} {ceiling:>14} {ratio:>6}  {aim}");
}

fn with_unit(value: f64, unit: Unit) -> String {
    let digits = if value >= 100.0 { 0 } else { 2 };
    format!("{value:.digits$} {}", unit.name())
}
