//! The log on standard error: for people, for programs, or for systemd's journal. Its level can be changed while the
//! program runs, which that of `env_logger` cannot; so a filter stands before it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Arc, PoisonError, RwLock};

use env_filter::Filter;
use env_logger::fmt::Formatter;
use log::kv::{Error as KvError, Key, Value, VisitSource};
use log::{Level, LevelFilter, Metadata, Record};
use serde_json::{Map, Value as Json};

use crate::config::{Log, LogFormat};

/// The log of the process, while it runs.
#[derive(Clone)]
pub struct Logging(Arc<RwLock<Filter>>);

impl Logging {
    /// Changes which messages are logged.
    pub fn set_level(&self, level: &str) {
        let filter = filter(level);
        // First open for both what was and what will be wanted, so that nothing is lost in between.
        log::set_max_level(LevelFilter::Trace);
        let most = filter.filter();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = filter;
        log::set_max_level(most);
    }
}

/// Starts the log. A second start, as in tests, changes nothing.
pub fn start(settings: &Log) -> Logging {
    let filter = filter(&settings.level);
    let most = filter.filter();
    let filter = Arc::new(RwLock::new(filter));
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Trace);
    match settings.format {
        LogFormat::Text => {}
        LogFormat::Json => {
            builder.format(write_json);
        }
        LogFormat::Journal => {
            builder.format(write_journal);
        }
    }
    if !io::stderr().is_terminal() {
        builder.write_style(env_logger::WriteStyle::Never);
    }
    let logger = Filtered {
        filter: Arc::clone(&filter),
        inner: builder.build(),
    };
    // Only the first logger of a process counts.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(most);
    }
    Logging(filter)
}

fn filter(level: &str) -> Filter {
    let mut builder = env_filter::Builder::new();
    // What the HTTP server's own threads say of themselves is of no use to an operator.
    builder.filter_module("actix_server", LevelFilter::Warn);
    builder.parse(level);
    builder.build()
}

/// A logger behind a filter that can be changed.
struct Filtered {
    filter: Arc<RwLock<Filter>>,
    inner: env_logger::Logger,
}

impl log::Log for Filtered {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let filter = self.filter.read().unwrap_or_else(PoisonError::into_inner);
        filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let wanted = {
            let filter = self.filter.read().unwrap_or_else(PoisonError::into_inner);
            filter.matches(record)
        };
        if wanted {
            self.inner.log(record);
        }
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

/// One object a line: `time`, `level`, `target`, `message`, then the record's own keys.
fn write_json(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let mut object = Map::new();
    let time = out.timestamp_millis().to_string();
    object.insert("time".to_owned(), time.into());
    object.insert("level".to_owned(), record.level().as_str().into());
    object.insert("target".to_owned(), record.target().into());
    object.insert("message".to_owned(), record.args().to_string().into());
    let visited = record.key_values().visit(&mut JsonKeys(&mut object));
    visited.map_err(io::Error::other)?;
    writeln!(out, "{}", Json::Object(object))
}

struct JsonKeys<'a>(&'a mut Map<String, Json>);

impl<'kvs> VisitSource<'kvs> for JsonKeys<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        let json = if let Some(number) = value.to_u64() {
            number.into()
        } else if let Some(number) = value.to_i64() {
            number.into()
        } else if let Some(truth) = value.to_bool() {
            truth.into()
        } else {
            value.to_string().into()
        };
        self.0.insert(key.to_string(), json);
        Ok(())
    }
}

/// One line with its priority before it (`sd-daemon(3)`); the journal knows the time by itself.
fn write_journal(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let priority = match record.level() {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    let mut line = format!("{}: {}", record.target(), record.args());
    let visited = record.key_values().visit(&mut TextKeys(&mut line));
    visited.map_err(io::Error::other)?;
    // A line of its own would be a message of its own, without a priority.
    let line = line.replace(['\n', '\r'], " ");
    writeln!(out, "<{priority}>{line}")
}

struct TextKeys<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for TextKeys<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), KvError> {
        let _ = write!(self.0, " {key}={value}");
        Ok(())
    }
}
