//! The release binary where it will run: in an empty root, and behind nginx and Caddy. `.ci/static` and `.ci/proxies` run
//! these with the binary in `DEPLOYED_BINARY`; they need root and, for the proxies, the two servers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and takes its binary from the environment"
)]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

// What other tests talk to serves here too.
#[path = "../api/support/authority.rs"]
#[expect(dead_code, reason = "the other tests make it go wrong in more ways")]
mod authority;
mod bare;
#[path = "../api/support/client.rs"]
#[expect(dead_code, reason = "the other tests ask in more ways")]
mod client;
#[path = "../api/support/dns.rs"]
#[expect(dead_code, reason = "the other tests make it go wrong in more ways")]
mod dns;
#[path = "../api/support/homeserver.rs"]
#[expect(dead_code, reason = "the other tests make it go wrong in more ways")]
mod homeserver;
#[path = "../api/support/http2.rs"]
mod http2;
mod proxies;
#[path = "../api/support/smtp.rs"]
#[expect(dead_code, reason = "the other tests make it go wrong in more ways")]
mod smtp;

const PATIENCE: Duration = Duration::from_mins(1);

/// The binary that is to be deployed.
fn binary() -> PathBuf {
    let named = std::env::var_os("DEPLOYED_BINARY");
    let named = named.unwrap_or_else(|| panic!("DEPLOYED_BINARY must name the release binary"));
    std::fs::canonicalize(named).unwrap()
}

/// A process with its standard error; killed when it is dropped.
struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts it and waits for a line that holds these words; answers that line.
    #[track_caller]
    fn start(mut command: Command, words: &'static str) -> (Self, String) {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::<Mutex<String>>::default();
        let written = Arc::clone(&log);
        let (found, line) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if line.contains(words) {
                    let _ = found.send(line.clone());
                }
                written.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        match line.recv_timeout(PATIENCE) {
            Ok(line) => (Self { child, log }, line),
            Err(error) => panic!("it did not start ({error}): {}", log.lock().unwrap()),
        }
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
