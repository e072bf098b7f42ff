//! What is written for operators is held equal to the code: `identity.toml` to the defaults and the
//! keys, the commands in the documents to the command line.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bindery::cli::Cli;
use bindery::config::{Config, Environment, LoadError};
use clap::Parser as _;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn reference() -> String {
    fs::read_to_string(repository("identity.toml")).unwrap()
}

fn load(text: &str) -> Result<Config, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("identity.toml");
    fs::write(&file, text).unwrap();
    Config::load(Some(&file), &Environment::default()).map(|loaded| loaded.config)
}

/// A key of the reference, and whether it is commented out: `#key = value`, where prose has a space
/// after its `#`.
struct Entry {
    key: String,
    commented: bool,
    line: usize,
}

fn entries(text: &str) -> Vec<Entry> {
    let mut section = String::new();
    let mut entries = Vec::new();
    for (line, content) in text.lines().enumerate() {
        if let Some(name) = content
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            name.clone_into(&mut section);
        }
        let bare = content.strip_prefix('#').unwrap_or(content);
        let Some((name, _)) = bare.split_once(" = ") else {
            continue;
        };
        if name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            let key = format!("{section}.{name}");
            entries.push(Entry {
                key,
                commented: bare.len() < content.len(),
                line,
            });
        }
    }
    entries
}

/// The reference with one commented key put in force.
fn with_line_in_force(text: &str, line: usize) -> String {
    let in_force = |(index, content): (usize, &str)| {
        let content = if index == line {
            content.trim_start_matches('#')
        } else {
            content
        };
        format!("{content}\n")
    };
    text.lines().enumerate().map(in_force).collect()
}

#[test]
fn the_reference_configuration_is_the_defaults() {
    assert_eq!(load(&reference()).unwrap(), Config::default());
}

#[test]
fn the_reference_configuration_has_every_key_once_and_no_other() {
    let mut written: Vec<String> = entries(&reference())
        .into_iter()
        .map(|entry| entry.key)
        .collect();
    let mut known = Config::keys();
    written.sort();
    known.sort();
    assert_eq!(written, known);
}

#[test]
fn every_key_of_the_reference_is_explained_right_above_it() {
    let text = reference();
    let lines: Vec<&str> = text.lines().collect();
    for entry in entries(&text) {
        // A key may share the explanation of the key above it.
        let above = lines[..entry.line]
            .iter()
            .rev()
            .find(|line| !line.starts_with('#') || line.starts_with("# "));
        assert!(
            above.is_some_and(|line| line.starts_with("# ")),
            "{} stands without a word",
            entry.key
        );
    }
}

#[test]
fn every_example_in_the_reference_is_accepted() {
    let text = reference();
    for entry in entries(&text).into_iter().filter(|entry| entry.commented) {
        let Err(error) = load(&with_line_in_force(&text, entry.line)) else {
            continue;
        };
        // What goes together with another key is right by itself, and no file lies at an example's path.
        let complaint = error.to_string();
        let partner = complaint.contains("must be set together with");
        let no_such_file = entry.key.ends_with("_file") && complaint.contains("cannot read it");
        assert!(partner || no_such_file, "{}: {complaint}", entry.key);
    }
}

#[test]
fn what_the_reference_shows_as_a_derived_default_is_one() {
    let text = reference();
    for key in [
        "store.path",
        "keys.file",
        "keys.secret",
        "email.directory",
        "email.from",
        "admin.socket",
        "email.smtp.port",
        "email.smtp.hello_name",
    ] {
        let entry = entries(&text)
            .into_iter()
            .find(|entry| entry.key == key)
            .unwrap();
        assert!(entry.commented, "{key}");
        assert_eq!(
            load(&with_line_in_force(&text, entry.line)).unwrap(),
            Config::default(),
            "{key}"
        );
    }
}

#[test]
fn the_short_file_at_the_top_of_the_reference_is_accepted() {
    let short: String = reference()
        .lines()
        .filter_map(|line| line.strip_prefix("#     "))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(
        short.contains("[server]") && short.lines().count() <= 10,
        "{short}"
    );
    let text = short.replace(
        "password_file = \"/etc/bindery/smtp-password\"",
        "password = \"x\"",
    );
    let config = load(&text).unwrap();
    assert_eq!(config.advice(), Vec::<String>::new());
}

/// The example that stands in the comments of a section of the reference.
fn example_of(section: &str) -> String {
    let text = reference();
    let (_, section) = text.split_once(&format!("\n[{section}]\n")).unwrap();
    section
        .lines()
        .take_while(|line| line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("#   "))
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[test]
fn the_policies_that_the_reference_shows_are_accepted() {
    let example = example_of("terms");
    let terms = load(&example).unwrap().terms;
    let languages: Vec<&String> = terms.policies["privacy"].languages.keys().collect();
    assert_eq!(languages, ["de", "en"]);
}

/// Settings that name files for their secrets, with the secrets written out.
fn with_secrets(text: &str) -> String {
    let written_out = |line: &str| match line.split_once("_file = ") {
        Some((key, _)) => format!("{key} = \"x\"\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(written_out).collect()
}

#[test]
fn the_presets_that_the_reference_shows_are_accepted() {
    let example = example_of("sms.presets");
    for provider in ["twilio", "example"] {
        let start =
            format!("[sms]\nprovider = \"{provider}\"\nfrom = \"X\"\nhome_country = \"DE\"\n");
        let sms = load(&(start + &with_secrets(&example))).unwrap().sms;
        let names: Vec<&String> = sms.presets.keys().collect();
        assert_eq!(names, ["example", "twilio"]);
    }
}

#[test]
fn the_providers_that_the_handbook_shows_are_accepted() {
    let text = fs::read_to_string(repository("docs/operating.md")).unwrap();
    let (_, section) = text
        .split_once("\n## Phone numbers: choosing a provider\n")
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut shown = 0;
    for block in section.split("```toml\n").skip(1) {
        let example = block.split("```").next().unwrap();
        let sms = load(&with_secrets(example)).unwrap().sms;
        assert!(sms.allow_countries.contain("DE"));
        shown += 1;
    }
    assert_eq!(shown, 4);
}

/// The commands that a document tells people to type, as far as they are ours: lines of code blocks,
/// and code in the text, that start with `bindery`.
fn commands(document: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut in_block = false;
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            commands.extend(command(line.trim_start().trim_start_matches("$ ")));
        } else {
            commands.extend(line.split('`').skip(1).step_by(2).filter_map(command));
        }
    }
    commands
}

fn command(text: &str) -> Option<String> {
    let text = text.strip_prefix("sudo ").unwrap_or(text);
    let text = text
        .split([';', '|', '>', '&', '#'])
        .next()
        .unwrap_or(text)
        .trim();
    let cargo = "cargo run --release -- ";
    let own = text == "bindery" || text.starts_with("bindery ");
    match text.strip_prefix(cargo) {
        Some(arguments) => Some(format!("bindery {arguments}")),
        None => own.then(|| text.to_owned()),
    }
}

/// Why the command line does not know this command, if it does not.
fn objection(command: &str) -> Option<String> {
    let words = command
        .split_whitespace()
        // Documents put what may be left out into brackets, and name values in capitals.
        .map(|word| word.trim_matches(['[', ']']))
        .map(|word| match word {
            "ADDRESS" => "alice@example.org",
            "NUMBER" => "+491713920000",
            "MEDIUM" => "email",
            "MXID" => "@alice:example.org",
            "NAME" | "NEW_NAME" => "example.org",
            "SHELL" => "bash",
            "SELECTOR" => "mail",
            "KEY" => "ed25519:1",
            "DIR" => "backup",
            "ID" => "b2OEKXk3mJhzz0u0hOQ3Rg",
            word => word,
        });
    match Cli::try_parse_from(words) {
        Err(error) if error.use_stderr() => Some(error.to_string()),
        _ => None,
    }
}

fn documents() -> Vec<PathBuf> {
    let mut documents = vec![repository("identity.toml"), repository("README.md")];
    if let Ok(folder) = fs::read_dir(repository("docs")) {
        documents.extend(folder.map(|entry| entry.unwrap().path()));
    }
    documents.retain(|path| path.is_file());
    documents
}

#[test]
fn every_command_in_the_documents_exists() {
    for document in documents() {
        for command in commands(&fs::read_to_string(&document).unwrap()) {
            if let Some(objection) = objection(&command) {
                panic!("{}: `{command}`: {objection}", document.display());
            }
        }
    }
}

#[test]
fn commands_are_found_in_documents_and_wrong_ones_are_noticed() {
    let document = "Run `bindery check` or `cargo`.\n```sh\n$ sudo bindery test-mail ADDRESS # try\n\
                    cargo run --release -- chekc\nbinderyx\n```\n`bindery [serve]`\n";
    let found = commands(document);
    assert_eq!(
        found,
        [
            "bindery check",
            "bindery test-mail ADDRESS",
            "bindery chekc",
            "bindery [serve]"
        ]
    );
    let wrong: Vec<&String> = found
        .iter()
        .filter(|command| objection(command).is_some())
        .collect();
    assert_eq!(wrong, ["bindery chekc"]);
}

/// What stands in backticks in the first column of the tables of a text.
fn first_column(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    let words = cells.flat_map(|cell| cell.split('`').step_by(2));
    words
        .filter(|word| !word.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn every_dependency_has_its_reason_and_nothing_else_has_one() {
    let manifest = fs::read_to_string(repository("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let named = |section: &str| -> Vec<String> {
        let table = manifest[section].as_table().unwrap();
        table.keys().cloned().collect()
    };
    let (own, mut of_tests) = (named("dependencies"), named("dev-dependencies"));
    // What the tests need with more features is explained with the server's.
    of_tests.retain(|name| !own.contains(name));
    let document = fs::read_to_string(repository("docs/dependencies.md")).unwrap();
    let (in_binary, in_tests) = document.split_once("\n## In the tests\n").unwrap();
    for (text, mut expected) in [(in_binary, own), (in_tests, of_tests)] {
        let mut explained = first_column(text);
        explained.sort();
        expected.sort();
        assert_eq!(explained, expected);
    }
}

#[test]
fn the_page_on_the_api_has_every_call_and_every_errcode_and_no_other_call() {
    let document = fs::read_to_string(repository("docs/api.md")).unwrap();
    let (_, calls) = document.split_once("\n## Calls\n").unwrap();
    let (calls, _) = calls.split_once("\n## ").unwrap();
    let written = first_column(calls);
    let mut expected = Vec::new();
    for (version, method, path, _) in bindery::http::listing() {
        let bare = path.strip_prefix(version.prefix()).unwrap();
        let is_page = version == bindery::http::Version::None && !path.starts_with("/_matrix");
        if is_page {
            assert!(document.contains(&format!("`{path}`")), "{path}");
        } else if bare.is_empty() {
            expected.push(method.to_string());
        } else {
            expected.push(format!("{method} {bare}"));
        }
    }
    for call in &expected {
        assert!(written.contains(call), "{call} is not in docs/api.md");
    }
    for call in &written {
        let named_inside = matches!(call.as_str(), "api/v1" | "v2");
        assert!(
            named_inside || expected.contains(call),
            "there is no {call}"
        );
    }
    let source = fs::read_to_string(repository("src/http/error.rs")).unwrap();
    let errcodes = source.split('"').skip(1).step_by(2);
    let errcodes: Vec<&str> = errcodes.filter(|text| text.starts_with("M_")).collect();
    assert!(errcodes.len() > 15, "{errcodes:?}");
    for errcode in errcodes {
        assert!(document.contains(&format!("`{errcode}`")), "{errcode}");
    }
}

/// The versions of the specification that links to it name.
fn linked_versions(text: &str) -> Vec<String> {
    text.split("https://spec.matrix.org/")
        .skip(1)
        .map(|rest| {
            rest.split(|c: char| c == '/' || c.is_whitespace())
                .next()
                .unwrap_or("")
                .to_owned()
        })
        .collect()
}

#[test]
fn all_links_to_the_specification_are_at_the_same_version() {
    let mut files = documents();
    let mut folders = vec![repository("src"), repository("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path != repository("tests/docs.rs") {
                files.push(path);
            }
        }
    }
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        for version in linked_versions(&text) {
            assert_eq!(version, "v1.19", "in {}", file.display());
        }
    }
    let example = "see https://spec.matrix.org/latest/x and (https://spec.matrix.org/v1.19/)";
    assert_eq!(linked_versions(example), ["latest", "v1.19"]);
}
