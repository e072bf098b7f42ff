//! `bindery completions` and `bindery package-files`: what clap knows of the commands, for shells and as man pages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, CliError, say};

/// The shells that a package has completions for, and the names of the files that they look for.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bindery.bash"),
    (Shell::Zsh, "_bindery"),
    (Shell::Fish, "bindery.fish"),
];

/// Why the files were not made.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct PackageError {
    /// The file or folder.
    path: PathBuf,
    /// Why not.
    source: io::Error,
}

/// Prints the completions for a shell.
///
/// # Errors
/// When standard output takes nothing.
pub(super) fn completions(shell: Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    complete(shell, &mut script);
    say(String::from_utf8_lossy(&script).trim_end())
}

/// Writes what belongs into a package: `man/*.1`, a page for each command, and `completions/`, a file for each shell.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn files(folder: &Path) -> Result<(), CliError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        |source| PackageError { path, source }
    };
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&man).map_err(at(&man))?;
    clap_mangen::generate_to(Cli::command(), &man).map_err(at(&man))?;
    fs::create_dir_all(&completions).map_err(at(&completions))?;
    for (shell, name) in SHELLS {
        let file = completions.join(name);
        let mut script = Vec::new();
        complete(shell, &mut script);
        fs::write(&file, script).map_err(at(&file))?;
    }
    say(&format!(
        "The man pages are in {}, the completions in {}.",
        man.display(),
        completions.display()
    ))
}

fn complete(shell: Shell, script: &mut Vec<u8>) {
    clap_complete::generate(shell, &mut Cli::command(), "bindery", script);
}
