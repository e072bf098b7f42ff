//! `bindery rename`: a store changes its name only when it is meant to, and everything in it stays.

use std::fs;

use serde_json::Value;

use super::operator::{says, stop};
use super::{Site, bound, call, complaint};

const NEW: &str = "id.example.org";

#[test]
fn a_store_changes_its_name_when_that_is_confirmed() {
    let site = Site::new();
    let mut server = site.serve();
    let address = [
        "associations",
        "add",
        "email",
        "alice@example.org",
        "@alice:hs.example",
    ];
    says(&site, &address);
    let running = complaint(&site.run(&["rename", NEW, "--confirm"]));
    assert!(running.contains("stop it first"), "{running}");
    stop(&mut server);

    let output = site.run(&["rename", NEW]);
    let meaning = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(meaning.contains("server.aliases"), "{meaning}");
    let refused = complaint(&output);
    assert!(
        refused.contains("--confirm") && refused.contains("nothing was changed"),
        "{refused}"
    );
    drop(site.serve());

    let done = says(&site, &["rename", NEW, "--confirm"]);
    assert!(done.contains(NEW) && done.contains("`localhost`"), "{done}");
    let refused = complaint(&site.run(&[]));
    assert!(refused.contains("belongs to `id.example.org`"), "{refused}");
    assert!(refused.contains("bindery rename localhost"), "{refused}");

    let text = fs::read_to_string(site.config()).unwrap();
    let name = format!("[server]\nname = \"{NEW}\"\naliases = [\"localhost\"]");
    fs::write(site.config(), text.replace("[server]", &name)).unwrap();
    let mut server = site.serve();
    assert_eq!(
        bound(server.address, "alice@example.org").as_deref(),
        Some("@alice:hs.example")
    );
    let path = "/_matrix/identity/api/v1/lookup?medium=email&address=alice@example.org";
    let (_, signed) = call(server.address, "GET", path, &Value::Null).unwrap();
    assert!(
        signed["signatures"][NEW]["ed25519:1"].is_string(),
        "{signed}"
    );
    stop(&mut server);
    // With the new name in the configuration it works as well, and says that there is nothing to do.
    let again = says(&site, &["rename", NEW, "--confirm"]);
    assert!(again.contains("already"), "{again}");
}

#[test]
fn a_name_that_is_none_and_a_store_that_is_none_are_refused() {
    let site = Site::new();
    let output = site.run(&["rename", "https://id.example.org", "--confirm"]);
    assert!(complaint(&output).contains("without scheme or path"));
    let missing = complaint(&site.run(&["rename", NEW, "--confirm"]));
    assert!(missing.contains("there is no store"), "{missing}");
    assert!(!site.store().exists());
}
