//! How fast the disk takes durable writes.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::report::per_second;

/// What one bind changes: an association and the same by user, each with its key.
const BYTES: usize = 256;

/// Appends to a file and waits until the disk has it.
pub struct Appender {
    file: File,
    group: Vec<u8>,
    changes: usize,
}

impl Appender {
    /// Appends so many changes at a time, to a file of its own in this folder.
    pub fn new(folder: &Path, changes: usize) -> Self {
        Self {
            file: File::create(folder.join(format!("appended-{changes}"))).unwrap(),
            group: vec![0x5a; BYTES * changes],
            changes,
        }
    }

    /// Durable changes in a second, over about this time.
    pub fn run(&mut self, time: Duration) -> f64 {
        let started = Instant::now();
        let mut written = 0;
        while started.elapsed() < time {
            self.file.write_all(&self.group).unwrap();
            self.file.sync_data().unwrap();
            written += self.changes;
        }
        per_second(written, started.elapsed())
    }
}
