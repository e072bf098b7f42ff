//! Man pages and completions: made by one command, without a configuration, and of all commands that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use bindery::cli::Cli;
use clap::CommandFactory as _;

/// The names of all commands that people type, subcommands after their command.
fn commands() -> BTreeSet<Vec<String>> {
    fn collect(command: &clap::Command, above: &[String], found: &mut BTreeSet<Vec<String>>) {
        for inner in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            let mut path = above.to_vec();
            path.push(inner.get_name().to_owned());
            collect(inner, &path, found);
            found.insert(path);
        }
    }
    let mut found = BTreeSet::new();
    collect(&Cli::command(), &[], &mut found);
    assert!(found.len() > 15, "{found:?}");
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn pages_and_completions_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bindery"))
        .args(["package-files", "target", "--config", "/nowhere"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let (man, completions) = (
        folder.path().join("target/man"),
        folder.path().join("target/completions"),
    );
    let first = read(&man.join("bindery.1"));
    assert!(first.contains(".TH bindery 1") && first.contains("identity server"));
    for path in commands() {
        let name = format!("bindery-{}", path.join("-"));
        let page = read(&man.join(format!("{name}.1")));
        assert!(page.contains("SYNOPSIS"), "{name}");
        let last = path.last().unwrap();
        for shell in ["bindery.bash", "_bindery", "bindery.fish"] {
            assert!(
                read(&completions.join(shell)).contains(last.as_str()),
                "{shell}: {last}"
            );
        }
    }
    for script in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_bindery"))
            .args(["completions", script])
            .output()
            .unwrap();
        assert!(output.status.success());
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains("test-mail"), "{script}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bindery"))
        .arg("package-files")
        .arg(&file)
        .output()
        .unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(
        words.starts_with("bindery: cannot write") && words.contains("man"),
        "{words}"
    );
}
