//! What the real binary needs: time until it listens, and resident memory once it has answered.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::report::{self, Aim, Unit, median};
use super::{data, load};

const BINDINGS: usize = 100_000;

/// How often a server is started.
const STARTS: usize = 5;

/// Runs the group.
pub fn run() {
    let folder = || TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let empty: Vec<Started> = (0..STARTS).map(|_| start(folder().path())).collect();
    figures("empty, first start", &empty, Some((100.0, 25.0)));

    let full = folder();
    let store = data::open(&full.path().join("store"));
    data::bind(&store, 0..BINDINGS);
    assert!(store.close(Duration::from_secs(30)));
    let full: Vec<Started> = (0..STARTS).map(|_| start(full.path())).collect();
    figures("100,000 bindings", &full, None);
}

fn figures(what: &str, started: &[Started], aims: Option<(f64, f64)>) {
    let (start, memory) = match aims {
        Some((start, memory)) => (Aim::AtMost(start), Aim::AtMost(memory)),
        None => (Aim::None, Aim::None),
    };
    let of = |figure: fn(&Started) -> f64| median(started.iter().map(figure).collect());
    let millis = of(|started| started.millis);
    let megabytes = of(|started| started.megabytes);
    report::alone(&format!("start, {what}"), Unit::Millis, millis, start);
    report::alone(
        &format!("resident memory, {what}"),
        Unit::Megabytes,
        megabytes,
        memory,
    );
}

/// How a server started.
pub struct Started {
    /// From the start of the process until it says where it listens.
    pub millis: f64,
    /// Resident memory after the first answer.
    pub megabytes: f64,
    /// The most resident memory until then.
    pub most_megabytes: f64,
}

/// Starts the binary over the store in a folder, asks it one thing, and ends it.
pub fn start(folder: &Path) -> Started {
    let config = folder.join("identity.toml");
    let store = folder.join("store");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[store]\npath = '{}'\n",
        store.display()
    );
    std::fs::write(&config, text).unwrap();

    let started = Instant::now();
    let mut server = Running(
        Command::new(env!("CARGO_BIN_EXE_bindery"))
            .arg("--config")
            .arg(config)
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let log = BufReader::new(server.0.stderr.take().unwrap());
    let mut lines = log.lines().map_while(Result::ok);
    let address: SocketAddr = lines
        .find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            rest.split(',').next()?.parse().ok()
        })
        .expect("the server says where it listens");
    let millis = started.elapsed().as_secs_f64() * 1e3;
    load::answer(address, &load::get("/_matrix/identity/v2"));
    Started {
        millis,
        megabytes: memory(server.0.id(), "VmRSS:"),
        most_megabytes: memory(server.0.id(), "VmHWM:"),
    }
}

/// Resident memory of a process, in megabytes.
pub fn resident(pid: u32) -> f64 {
    memory(pid, "VmRSS:")
}

/// What the kernel says of a process's memory, in megabytes.
fn memory(pid: u32, which: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kibibytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(which)?.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse().ok())
        .expect("the kernel tells the resident memory");
    kibibytes * 1024.0 / 1e6
}

/// Ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
