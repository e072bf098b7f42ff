use std::io;
use std::path::PathBuf;

use crate::net::{self, GatewayError};
use crate::random::RandomError;

/// Settings of `[sms]` that no SMS can be sent with.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A template of a preset fails with every message.
    #[error("{key} does not work: {problem}")]
    Template {
        /// The key of the configuration.
        key: String,
        /// What is wrong, without any value.
        problem: String,
    },
    /// What a template makes is no URL.
    #[error(
        "{0} must become an https URL, or an http one that leads to a loopback or private address"
    )]
    NotAUrl(String),
    /// What a template makes is no JSON.
    #[error("{0} must become JSON: write values as {{{{ to }}}}, without quotes around them")]
    NotJson(String),
    /// Which host a URL leads to depends on the message.
    #[error("{0} must lead to the same host with every message")]
    HostVaries(String),
    /// A URL may not be asked.
    #[error("{key}: {source}")]
    Url {
        /// The key of the configuration.
        key: String,
        /// Why not.
        source: GatewayError,
    },
    /// A provider is chosen that is nowhere described.
    #[error("{0} is not set up: write its table")]
    Missing(String),
    /// `sms.ca_file` cannot be used, or there is no TLS.
    #[error(transparent)]
    Net(#[from] net::SetupError),
}

/// Why an SMS did not go out. Each is one sentence that tells the operator what to change. None has the number, the text,
/// or the words of the provider, which may repeat them.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// SMS are switched off.
    #[error("no SMS can be sent while sms.provider is \"none\"")]
    NoTransport,
    /// This number gets no SMS, whoever sends it.
    #[error("{provider} sends no SMS to this number ({answer})")]
    Number {
        /// The provider.
        provider: String,
        /// Its status and code.
        answer: String,
    },
    /// The provider will not take this SMS, now or later, for a reason that is not the number's.
    #[error("{provider} refused the SMS for good ({answer}){hint}")]
    Refused {
        /// The provider.
        provider: String,
        /// Its status and code.
        answer: String,
        /// What to change.
        hint: &'static str,
    },
    /// The request could not be put together with the values of this message.
    #[error("the request to {provider} could not be put together: {problem}")]
    Request {
        /// The provider.
        provider: String,
        /// What is wrong, without any value.
        problem: String,
    },
    /// Neither the provider nor the fallback took it.
    #[error("{first}; and the fallback: {second}")]
    Both {
        /// Why the provider did not.
        first: Box<SendError>,
        /// Why the fallback did not.
        second: Box<SendError>,
    },
    /// It did not work now, and may work later.
    #[error(transparent)]
    Temporary(#[from] Trouble),
}

impl SendError {
    /// Whether sending this SMS again cannot succeed.
    pub fn is_final(&self) -> bool {
        match self {
            Self::NoTransport | Self::Number { .. } | Self::Refused { .. } => true,
            // A mistake in a template, which the operator can mend.
            Self::Request { .. } | Self::Temporary(_) => false,
            Self::Both { first, second } => {
                second.refuses_number() || (first.is_final() && second.is_final())
            }
        }
    }

    /// Whether it is the number that gets no SMS: another message, another provider or another day would not help.
    pub fn refuses_number(&self) -> bool {
        match self {
            Self::Number { .. } => true,
            Self::Both { second, .. } => second.refuses_number(),
            _ => false,
        }
    }
}

/// What kept an SMS from going out this time.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The provider gave no answer.
    #[error(
        "{provider} gave no answer: {source}; check its url, and sms.ca_file if its certificate is of an own authority"
    )]
    NoAnswer {
        /// The provider.
        provider: String,
        /// Why not.
        source: GatewayError,
    },
    /// The provider cannot do it now.
    #[error("{provider} did not take the SMS now ({answer})")]
    Deferred {
        /// The provider.
        provider: String,
        /// Its status and code.
        answer: String,
    },
    /// What the provider answered does not tell what became of the SMS.
    #[error(
        "{provider} answered with what is not JSON as its interface has it ({answer}): check its url and that nothing is in \
         between, such as a proxy with a page of its own"
    )]
    NotUnderstood {
        /// The provider.
        provider: String,
        /// Its status.
        answer: String,
    },
    /// The SMS could not be written to a file.
    #[error("cannot write an SMS into email.directory `{}`: {source}", directory.display())]
    File {
        /// The folder.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No randomness for the names of things.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The server is stopping.
    #[error("the server stopped before the SMS was sent")]
    Stopped,
}
