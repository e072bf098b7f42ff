//! The SMTP transport: conversations with one mail server over connections that are kept for the next mail.
//!
//! lettre speaks the protocol; its connections are kept here and not in its own pool. That pool takes a connection back when a
//! conversation is given up half way, for example when time is up, and the next mail would then read the replies to this
//! one. Here a connection is kept only after a mail went through whole.

mod connection;
mod wire;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::client::AsyncSmtpConnection;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{SendError, SetupError, Step, Trouble};
use super::message::Letter;
use crate::clock::Clock;
use crate::config;
use crate::net::Resolver;
use connection::{Host, NotOpened};

/// A connection that is idle for longer is left; mail servers close theirs after some minutes.
const IDLE: Duration = Duration::from_mins(1);

/// More idle connections than this are not kept.
const MOST_IDLE: usize = 4;

/// How long an idle connection may take to show that it still works.
const PROBE: Duration = Duration::from_secs(2);

pub(super) struct SmtpTransport {
    host: Host,
    resolver: Resolver,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: AsyncSmtpConnection,
    since: Duration,
}

/// The end of the time that a conversation may take.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    after: Duration,
}

impl SmtpTransport {
    pub(super) fn new(
        settings: &config::Smtp,
        resolver: Resolver,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            host: Host::new(settings)?,
            resolver,
            clock,
            timeout: settings.timeout,
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Goes through everything that comes before a mail, and leaves.
    pub(super) async fn log_in(&self) -> Result<(), SendError> {
        let deadline = Deadline {
            at: Instant::now() + self.timeout,
            after: self.timeout,
        };
        leave(self.connect(deadline).await?);
        Ok(())
    }

    /// Hands a mail to the mail server for delivery.
    pub(super) async fn deliver(&self, letter: Letter) -> Result<(), SendError> {
        let deadline = Deadline {
            at: Instant::now() + self.timeout,
            after: self.timeout,
        };
        let mut connection = match self.reuse(deadline).await {
            Some(connection) => connection,
            None => self.connect(deadline).await?,
        };
        let result = self.host.deliver(&mut connection, &letter, deadline).await;
        if result.is_ok() {
            self.keep(connection);
        } else {
            leave(connection);
        }
        result
    }

    /// A connection of an earlier mail that still works.
    async fn reuse(&self, deadline: Deadline) -> Option<AsyncSmtpConnection> {
        loop {
            let Idle {
                mut connection,
                since,
            } = self.lock_idle().pop()?;
            let probe = deadline.at.min(Instant::now() + PROBE);
            let fresh = self.clock.monotonic().saturating_sub(since) < IDLE;
            if fresh && timeout_at(probe, connection.test_connected()).await == Ok(true) {
                return Some(connection);
            }
            leave(connection);
        }
    }

    /// A new connection to the first of the mail server's addresses that answers.
    async fn connect(&self, deadline: Deadline) -> Result<AsyncSmtpConnection, Trouble> {
        let resolving = self.resolver.addresses(self.host.name());
        let addresses = deadline
            .bound(&self.host, Step::Connection, resolving)
            .await??;
        let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let mut last = io::ErrorKind::AddrNotAvailable.into();
        for address in addresses {
            // An address that leads nowhere must not use up the time of the next one.
            let patience = deadline.at.duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            match self.host.open(address, patience, deadline).await {
                Ok(connection) => return Ok(connection),
                Err(NotOpened::Failed(trouble)) => return Err(trouble),
                Err(NotOpened::Unreachable(error)) => last = error,
            }
        }
        Err(self.host.unreachable(last))
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.lock_idle();
        if idle.len() < MOST_IDLE {
            idle.push(Idle {
                connection,
                since: self.clock.monotonic(),
            });
        } else {
            drop(idle);
            leave(connection);
        }
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deadline {
    /// Waits for a step of the conversation, at most until the deadline.
    async fn bound<T>(
        self,
        host: &Host,
        step: Step,
        work: impl Future<Output = T>,
    ) -> Result<T, Trouble> {
        timeout_at(self.at, work)
            .await
            .map_err(|_| host.timed_out(step, self.after))
    }
}

/// Says goodbye, without anyone waiting for it.
fn leave(mut connection: AsyncSmtpConnection) {
    tokio::spawn(async move {
        // It is over either way.
        let _ = timeout(PROBE, connection.abort()).await;
    });
}
