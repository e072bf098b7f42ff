//! The command line: what can be typed, and one file a command.

mod check;
mod doctor;
mod logging;
mod maintenance;
mod operator;
mod package;
mod serve;
mod test_mail;
mod test_sms;

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use tokio::runtime::Runtime;

pub use self::doctor::{Doctor, Unwell};
pub use self::maintenance::{Maintenance, MaintenanceError};
pub use self::operator::{ConnectionError, Operator};
pub use self::package::PackageError;
use crate::app::{RunError, StartError};
use crate::config::{Config, Environment, LoadError};
use crate::templates::RenderError;
use crate::types::{Email, Invalid, Msisdn, ServerName};
use crate::{mail, sms};

/// The examples below `--help`.
const EXAMPLES: &str = "\
Examples:
  bindery                                      run the server
  bindery --config /etc/bindery/identity.toml  run it with this file
  bindery check                                see whether it could start
  bindery doctor --online                      see it as clients and homeservers do
  bindery test-mail alice@example.org          see whether mail arrives
  bindery test-sms +491713920000               see whether SMS arrive
  bindery status                               show what the server holds, running or not
  bindery keys rotate                          sign with a new key from now on

Every key of the configuration can also be given by a variable, such as BINDERY_SERVER__NAME.";

/// The arguments of the program.
#[derive(Debug, Clone, Parser)]
#[command(name = "bindery", version, about = "A Matrix identity server", after_help = EXAMPLES)]
pub struct Cli {
    /// The configuration file; without it the one that the variable `BINDERY_CONFIG` names, else
    /// ./identity.toml, else /etc/bindery/identity.toml, else built-in defaults
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Show what can be shown as JSON, an object a line, for programs
    #[arg(long, global = true)]
    pub json: bool,
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
    /// Look at the server as a client and a homeserver would, and say what to change
    #[command(
        after_help = "Examples:\n  bindery doctor\n  bindery doctor --online --homeserver example.org\n\n\
                      It fails if something is wrong; warnings make it fail only with --strict."
    )]
    Doctor(Doctor),
    /// Send a mail to an address, to see whether it arrives
    #[command(after_help = "Example:\n  bindery test-mail alice@example.org")]
    TestMail {
        /// Where to send it
        #[arg(value_name = "ADDRESS", value_parser = email)]
        address: Email,
    },
    /// Send an SMS to a phone number, to see whether it arrives
    #[command(after_help = "Example:\n  bindery test-sms +491713920000")]
    TestSms {
        /// Where to send it, with + and the country code
        #[arg(value_name = "NUMBER", value_parser = phone_number)]
        number: Msisdn,
    },
    /// Commands on what a server holds.
    #[command(flatten)]
    Operator(Operator),
    /// Work on a whole store.
    #[command(flatten)]
    Maintenance(Maintenance),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  bindery completions bash > /etc/bash_completion.d/bindery")]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Write man pages and completions into a folder, for a package
    #[command(hide = true)]
    PackageFiles {
        /// The folder; `man/` and `completions/` are made in it
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// Reads the arguments and the configuration, starts the log, and runs one command.
///
/// # Errors
/// One sentence, or one line a problem of the configuration, that says what to change.
pub fn run() -> Result<(), CliError> {
    let cli = Cli::parse();
    // What needs no configuration is not kept from it by a wrong one.
    match &cli.command {
        Some(Command::Completions { shell }) => return package::completions(*shell),
        Some(Command::PackageFiles { folder }) => return package::files(folder),
        _ => {}
    }
    let loaded = Config::load(cli.config.as_deref(), &Environment::of_process())?;
    let (named, json) = (cli.config.clone(), cli.json);
    let logging = logging::start(&loaded.config.log);
    match cli.into_command() {
        Command::Serve => serve::run(loaded, named, logging),
        Command::Check => check::run(&loaded),
        Command::Doctor(doctor) => doctor::run(doctor, &loaded, json),
        Command::TestMail { address } => test_mail::run(&loaded.config, &address),
        Command::TestSms { number } => test_sms::run(&loaded.config, &number),
        Command::Maintenance(work) => maintenance::run(&work, &loaded.config),
        Command::Operator(operator) => operator::run(operator, &loaded.config, json),
        Command::Completions { shell } => package::completions(shell),
        Command::PackageFiles { folder } => package::files(&folder),
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The server did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The doctor found something.
    #[error(transparent)]
    Unwell(#[from] Unwell),
    /// The server ended by itself.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The threads or signals of the program could not be set up.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
    /// A command did not reach the server or its store, or was refused there.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The work on the store was not done.
    #[error(transparent)]
    Maintenance(#[from] MaintenanceError),
    /// What belongs into a package was not written.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// Where the command was called cannot be told.
    #[error("the current folder cannot be found: {0}")]
    Folder(#[source] io::Error),
    /// An address in the arguments is none.
    #[error("the address must be {0}")]
    Address(Invalid),
    /// The test message could not be written.
    #[error(transparent)]
    Template(#[from] RenderError),
    /// The test mail did not go out.
    #[error("the mail was not sent: {0}")]
    Send(#[from] mail::SendError),
    /// The test SMS did not go out.
    #[error("the SMS was not sent: {0}")]
    SendSms(#[from] sms::SendError),
    /// Nothing can be written to standard output.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
}

/// Prints a line of a command's answer.
fn say(line: &str) -> Result<(), CliError> {
    writeln!(io::stdout().lock(), "{line}").map_err(CliError::Output)
}

/// The runtime that commands run on.
fn runtime() -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(CliError::Runtime)
}

fn phone_number(text: &str) -> Result<Msisdn, String> {
    const EXPECTED: &str =
        "it must be a phone number with + and its country code, such as +491713920000";
    let separators = [' ', '-', '.', '(', ')'];
    let digits = text.strip_prefix('+').ok_or(EXPECTED)?;
    Msisdn::parse(&digits.replace(separators, "")).map_err(|_| EXPECTED.to_owned())
}

fn server(text: &str) -> Result<ServerName, String> {
    ServerName::parse(text).map_err(|expected| format!("it must be {expected}"))
}

fn email(text: &str) -> Result<Email, String> {
    Email::parse(text).map_err(|expected| format!("it must be {expected}"))
}
