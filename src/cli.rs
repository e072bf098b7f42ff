//! The command line: what can be typed, and one file a command.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::types::Email;

/// The examples below `--help`.
const EXAMPLES: &str = "\
Examples:
  bindery                                         run the server with ./identity.toml, or as it is built
  bindery --config /etc/bindery/identity.toml     run the server with this file
  bindery check                                   look whether the server could start
  bindery test-mail alice@example.org             send a mail to see whether it arrives

Every key of the configuration can also be given by a variable, such as BINDERY_SERVER__NAME.";

/// The arguments of the program.
#[derive(Debug, Clone, Parser)]
#[command(name = "bindery", version, about = "A Matrix identity server", after_help = EXAMPLES)]
pub struct Cli {
    /// The configuration file. Without it: the variable `BINDERY_CONFIG`, ./identity.toml,
    /// /etc/bindery/identity.toml, or the built-in defaults
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do; run the server if nothing else is asked for.
    #[command(subcommand)]
    command: Option<Command>,
}

impl Cli {
    /// What to do.
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve)
    }
}

/// What the program can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the server (the same as no command)
    #[command(after_help = "Example:\n  bindery serve --config /etc/bindery/identity.toml")]
    Serve,
    /// Look at configuration, keys, templates and store without serving
    #[command(after_help = "Example:\n  bindery check --config /etc/bindery/identity.toml")]
    Check,
    /// Send a mail to an address, to see whether it arrives
    #[command(after_help = "Example:\n  bindery test-mail alice@example.org")]
    TestMail {
        /// Where to send it
        #[arg(value_name = "ADDRESS", value_parser = email)]
        address: Email,
    },
}

fn email(text: &str) -> Result<Email, String> {
    Email::parse(text).map_err(|expected| format!("it must be {expected}"))
}
