//! The import rule and other habits of the house, checked by reading `src/`.
//!
//! Modules form rows, and a module names only modules of lower rows; the table in `src/lib.rs` says
//! which. Reading is by words and not by a compiler, so it sees what is written: `crate::x`, groups
//! in braces, and paths that climb out of a module by `super`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, its helpers too"
)]

use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

#[path = "architecture/source.rs"]
mod source;

/// How long a file may be; longer ones have more than one reason to exist.
const LONGEST_FILE: usize = 600;

/// The modules at the top, from the lowest row to the highest. The clock tells the time in a type of
/// ours, whoever has settings names a section of `config`, and the program names its command line, so
/// these stand apart from their rows.
const ROWS: [&[&str]; 10] = [
    &["types"],
    &["clock"],
    &["config"],
    &["random", "signing", "templates", "net", "metrics"],
    &["storage", "mail", "sms", "federation", "limits"],
    &["services"],
    &["http"],
    &["app"],
    &["cli"],
    &["main"],
];

/// What of the rows below a module may not name after all: to HTTP, only services and limits exist.
const EXCEPT: [(&str, &[&str]); 1] = [("http", &["storage", "mail", "sms", "federation"])];

/// What of `config` is whose: modules below the services know no other setting.
const SECTIONS: [(&str, &[&str]); 9] = [
    ("random", &[]),
    ("metrics", &[]),
    ("signing", &[]),
    ("templates", &["Templates"]),
    ("net", &["Federation"]),
    ("storage", &["Store"]),
    (
        "mail",
        &[
            "Email",
            "MailTransport",
            "Mailbox",
            "Secret",
            "Smtp",
            "SmtpSecurity",
        ],
    ),
    (
        "sms",
        &[
            "Secret",
            "Sms",
            "SmsBody",
            "SmsCondition",
            "SmsMethod",
            "SmsPreset",
            "SmsProvider",
            "SmsSender",
            "SmsWebhook",
        ],
    ),
    ("limits", &["Limits", "Rate"]),
];

/// Crates and paths that are named only in these modules.
const KEPT_IN: [(&str, &[&str]); 13] = [
    ("pulldown_cmark", &["templates"]),
    ("prometheus", &["metrics"]),
    ("sled", &["storage"]),
    ("lettre", &["mail"]),
    ("reqwest", &["net"]),
    ("hickory_resolver", &["net"]),
    ("actix_web", &["http", "app"]),
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("toml", &["config"]),
    (
        "ring",
        &["random", "signing", "types", "storage", "limits", "sms"],
    ),
    ("std::env", &["config"]),
];

fn row_of(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// What a source does that the house does not.
fn violations(source: &Source) -> Vec<String> {
    let mut violations = Vec::new();
    let top = source.top();
    let Some(row) = row_of(top) else {
        if top != "lib" {
            violations.push(format!("{}: `{top}` has no row", source.path));
        }
        return violations;
    };
    let below_app = Some(row) < row_of("app");
    let service = (top == "services").then(|| source.module.get(1)).flatten();
    let mut paths = source.paths();
    // After `use crate::config;`, `config::Config` is the same as if it were written out.
    let imported: Vec<String> = paths
        .iter()
        .filter_map(|path| path.strip_prefix("crate::"))
        .filter(|module| !module.contains("::"))
        .map(|module| format!("{module}::"))
        .collect();
    let written_out = |path: &String| {
        let short = imported.iter().any(|module| path.starts_with(module));
        short.then(|| format!("crate::{path}"))
    };
    let long: Vec<String> = paths.iter().filter_map(written_out).collect();
    paths.extend(long);
    for path in paths {
        let mut parts = path.split("::");
        let first = parts.next().unwrap_or_default();
        let ours = matches!(first, "crate" | "bindery");
        let (module, item) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let mut complain = |why: &str| {
            violations.push(format!("{}: `{path}`: {why}", source.path));
        };
        for (kept, modules) in KEPT_IN {
            let named = path == kept || path.starts_with(&format!("{kept}::"));
            if named && !modules.contains(&top) {
                complain(&format!("only in {}", modules.join(", ")));
            }
        }
        if !ours || module == top {
            let other = item != service.map_or("", String::as_str);
            let is_module = item.starts_with(|c: char| c.is_ascii_lowercase());
            if ours && service.is_some() && other && is_module {
                complain("no service names another service");
            }
            continue;
        }
        match row_of(module) {
            Some(named) if named >= row => complain("a module names only lower rows"),
            _ if EXCEPT
                .iter()
                .any(|(who, what)| *who == top && what.contains(&module)) =>
            {
                complain("this row may not name it");
            }
            _ => {}
        }
        let sections = SECTIONS.iter().find(|(who, _)| *who == top);
        let others = match sections {
            Some((_, own)) => !item.is_empty() && !own.contains(&item),
            None => below_app && matches!(item, "Config" | "*"),
        };
        if module == "config" && others {
            complain("of the configuration only an own section");
        }
    }
    violations
}

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(sources.len() > 5, "src/ was not found");
    sources.sort();
    sources
}

/// True for files that hold nothing but unit tests.
fn is_tests(path: &Path) -> bool {
    path.components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

#[test]
fn modules_name_only_what_their_row_allows() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|(path, _)| !is_tests(path))
        .flat_map(|(path, text)| violations(&Source::new(path.to_str().unwrap(), text)))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_file_is_longer_than_one_reason_to_exist() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(
            lines <= LONGEST_FILE,
            "{} has {lines} lines",
            path.display()
        );
    }
}

#[test]
fn no_module_is_called_mod() {
    for (path, _) in sources() {
        assert!(!path.ends_with("mod.rs"), "{}", path.display());
    }
}

#[track_caller]
fn complaints(path: &str, text: &str) -> Vec<String> {
    let prefix = format!("{path}: ");
    violations(&Source::new(path, text))
        .iter()
        .map(|line| {
            line.strip_prefix(&prefix)
                .unwrap_or_else(|| panic!("{line}"))
                .to_owned()
        })
        .collect()
}

#[test]
fn a_violation_is_seen_however_it_is_written() {
    for text in [
        "use crate::services::lookup;",
        "use crate::{types::Email, services::lookup};",
        "use crate::{\n    types::{Email, Sid},\n    services::{self as s, lookup},\n};",
        "fn f() { let x: crate::services::lookup::X = y; }",
        "use super::services::lookup;",
        "mod inner { use super::super::services::lookup; }",
        "mod a { mod b { fn f() {} } fn g() { super::super::services::lookup() } }",
        "use super::{services::lookup, types};",
        "pub(crate) use crate::services::lookup as other;",
        "impl From<crate::services::lookup::X> for Y {}",
        "use bindery::services::lookup;",
        "const A: &str = \"// \\\" \"; use crate::services::lookup;",
        "const A: char = '\"'; use crate::services::lookup; const B: char = '\\'';",
        "fn f<'a>(x: &'a str) -> crate::services::lookup::X<'a> {}",
        "const A: &str = r#\"x\"y\"#; use crate::services::lookup;",
        "/* use */ use crate::services::lookup;",
    ] {
        let found = complaints("src/storage.rs", text);
        assert!(!found.is_empty(), "not seen: {text}");
        assert!(
            found.iter().all(|line| line.contains("services")),
            "{text}: {found:?}"
        );
    }
    let found = complaints(
        "src/storage/writer.rs",
        "use super::super::services::lookup;",
    );
    assert_eq!(
        found,
        ["`crate::services::lookup`: a module names only lower rows"]
    );
}

#[test]
fn what_is_allowed_is_left_alone() {
    for (path, text) in [
        (
            "src/storage.rs",
            "use crate::types::{Email, Sid}; use crate::config; use sled::Db;",
        ),
        (
            "src/storage/writer.rs",
            "use super::{codec, Store}; use super::super::types::Sid;",
        ),
        (
            "src/storage.rs",
            "// use crate::services::lookup;\n/// [`crate::http`]\nfn f() {}",
        ),
        (
            "src/storage.rs",
            "const A: &str = \"crate::services::lookup\";",
        ),
        (
            "src/storage.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n use crate::services::lookup;\n}",
        ),
        (
            "src/services/lookup.rs",
            "use super::lookup::X; use crate::services::Error; use super::Y;",
        ),
        ("src/services.rs", "pub mod lookup;\npub mod bind;\n"),
        (
            "src/http/error.rs",
            "use crate::services::lookup; use crate::limits::Limited;",
        ),
        (
            "src/app.rs",
            "use crate::{http, config::Config, storage::Store}; use actix_web::App;",
        ),
        ("src/lib.rs", "pub mod types;"),
        ("src/main.rs", "fn main() { bindery::cli::run() }"),
    ] {
        assert_eq!(complaints(path, text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn each_rule_can_fail() {
    for (path, text, complaint) in [
        (
            "src/mail.rs",
            "use crate::limits::Limits;",
            "`crate::limits::Limits`: a module names only lower rows",
        ),
        (
            "src/types/email.rs",
            "use crate::clock::Clock;",
            "`crate::clock::Clock`: a module names only lower rows",
        ),
        (
            "src/services/lookup.rs",
            "use super::bind::X;",
            "`crate::services::bind::X`: no service names another service",
        ),
        (
            "src/services/lookup.rs",
            "use crate::services::bind;",
            "`crate::services::bind`: no service names another service",
        ),
        (
            "src/services/lookup.rs",
            "use crate::config::Config;",
            "`crate::config::Config`: of the configuration only an own section",
        ),
        (
            "src/mail.rs",
            "use crate::config; fn f(c: &config::Config, e: &config::Email) {}",
            "`crate::config::Config`: of the configuration only an own section",
        ),
        (
            "src/services/lookup.rs",
            "use crate::{services::{self}, types::Sid}; fn f() { services::bind::g() }",
            "`crate::services::bind::g`: no service names another service",
        ),
        (
            "src/limits.rs",
            "use crate::config::{Limits, Rate, Sessions};",
            "`crate::config::Sessions`: of the configuration only an own section",
        ),
        (
            "src/mail.rs",
            "use crate::config::*;",
            "`crate::config::*`: of the configuration only an own section",
        ),
        (
            "src/http.rs",
            "use crate::storage::Store;",
            "`crate::storage::Store`: this row may not name it",
        ),
        (
            "src/services/lookup.rs",
            "use actix_web::web;",
            "`actix_web::web`: only in http, app",
        ),
        ("src/services.rs", "use sled;", "`sled`: only in storage"),
        (
            "src/http.rs",
            "fn f(e: sled::Error) {}",
            "`sled::Error`: only in storage",
        ),
        (
            "src/app.rs",
            "use lettre::Message;",
            "`lettre::Message`: only in mail",
        ),
        (
            "src/http.rs",
            "fn f() { ring::rand::x() }",
            "`ring::rand::x`: only in random, signing, types, storage, limits, sms",
        ),
        (
            "src/mail.rs",
            "use std::{env, fs};",
            "`std::env`: only in config",
        ),
        (
            "src/app.rs",
            "fn f() { std::env::vars_os() }",
            "`std::env::vars_os`: only in config",
        ),
        (
            "src/federation.rs",
            "use reqwest::Client;",
            "`reqwest::Client`: only in net",
        ),
        ("src/news.rs", "", "`news` has no row"),
    ] {
        assert_eq!(complaints(path, text), [complaint], "{path}: {text}");
    }
}
