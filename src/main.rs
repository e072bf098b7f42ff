//! The bindery binary: reads the arguments, runs one command, turns its error into text and an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    match bindery::cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bindery: {error}");
            ExitCode::FAILURE
        }
    }
}
