//! The log on standard error.

use std::io::IsTerminal as _;

use crate::config::Log;

/// Starts the log. A second start, as in tests, changes nothing.
pub fn start(settings: &Log) {
    let mut builder = env_logger::Builder::new();
    // What the HTTP server's own threads say of themselves is of no use to an operator.
    builder.filter_module("actix_server", log::LevelFilter::Warn);
    builder.parse_filters(&settings.level);
    if !std::io::stderr().is_terminal() {
        builder.write_style(env_logger::WriteStyle::Never);
    }
    // Only the first logger of a process counts.
    let _ = builder.try_init();
}
