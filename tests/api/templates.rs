//! Mails and pages as users see them, and what an operator may change about them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bindery::config;
use bindery::templates::{Code, Failure, Message, Page, RenderedMail, TemplateError, Templates};
use bindery::types::{ServerName, Sid, Token};
use tempfile::TempDir;

const LINK: &str = "https://id.example/verify/email?sid=1&token=2";

fn load(directory: Option<&Path>) -> Result<Templates, TemplateError> {
    let directory = directory.map(Path::to_path_buf);
    Templates::load(&config::Templates {
        directory,
        ..config::Templates::default()
    })
}

fn built_in() -> Templates {
    load(None).unwrap()
}

/// A folder with these files, and what comes of loading it.
fn overridden(files: &[(&str, &str)]) -> (TempDir, Result<Templates, TemplateError>) {
    let folder = TempDir::new().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let loaded = load(Some(folder.path()));
    (folder, loaded)
}

fn server() -> ServerName {
    ServerName::parse("id.example").unwrap()
}

fn mail(
    templates: &Templates,
    lifetime: Duration,
    language: Option<&str>,
    brand: Option<&str>,
) -> RenderedMail {
    let message = Message::Verification {
        server: &server(),
        link: LINK,
        lifetime,
    };
    templates.render_mail(message, language, brand).unwrap()
}

const DAY: Duration = Duration::from_hours(24);

fn confirm(templates: &Templates, address: &str, token: &str) -> String {
    let page = Page::Confirm {
        server: &server(),
        address,
        action: "/verify/email",
        sid: &Sid::parse("abc").unwrap(),
        token: &Token::parse(token).unwrap(),
    };
    templates.render_page(page, None, None).unwrap()
}

fn home(templates: &Templates, language: Option<&str>, brand: Option<&str>) -> String {
    templates
        .render_page(Page::Home { server: &server() }, language, brand)
        .unwrap()
}

#[test]
fn a_verification_mail_says_who_asks_what_to_do_and_for_how_long_in_both_parts() {
    let rendered = mail(&built_in(), DAY, None, None);
    assert_eq!(
        rendered.subject,
        "Confirm your e-mail address for id.example"
    );
    assert!(rendered.text.lines().any(|line| line == LINK));
    assert_eq!(rendered.html.matches("sid=1&amp;token=2\"").count(), 2);
    for part in [&rendered.text, &rendered.html] {
        for words in [
            "id.example",
            "The link works for one day.",
            "If it was not you",
        ] {
            assert!(part.contains(words), "{part}");
        }
    }
    assert!(!rendered.html.contains("<img") && !rendered.html.contains("src="));
    assert_eq!(rendered.html.matches("<html lang=\"en\"").count(), 1);
}

#[test]
fn a_lifetime_is_told_in_its_largest_whole_unit() {
    let templates = built_in();
    let expected = [
        (10, "one minute"),
        (15 * 60, "15 minutes"),
        (90 * 60, "90 minutes"),
        (3600, "one hour"),
        (36 * 3600, "36 hours"),
        (72 * 3600, "3 days"),
    ];
    for (seconds, words) in expected {
        let text = mail(&templates, Duration::from_secs(seconds), None, None).text;
        assert!(
            text.contains(&format!("The link works for {words}.")),
            "{text}"
        );
    }
}

#[test]
fn whatever_a_value_holds_stays_text() {
    let page = confirm(
        &built_in(),
        "\"'><script>alert(1)</script>\u{202e}gro.elpmaxe\r\n",
        "a\"b<c>",
    );
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;"));
    assert!(page.contains("name=\"token\" value=\"a&quot;b&lt;c&gt;\""));
    assert!(!page.contains('\u{202e}') && !page.contains('\r'));

    let link = "https://id.example/\r\nBcc: eve@example.net\u{2028}\u{2066}";
    let message = Message::Verification {
        server: &server(),
        link,
        lifetime: DAY,
    };
    let text = built_in().render_mail(message, None, None).unwrap().text;
    assert!(!text.contains("\nBcc") && !text.contains('\u{2028}') && !text.contains('\u{2066}'));
}

#[test]
fn the_confirming_page_shows_the_address_and_posts_the_session_and_token() {
    let page = confirm(&built_in(), "alice@example.org", "secret");
    assert!(page.contains("<bdi>alice@example.org</bdi>"));
    assert!(page.contains("<form method=\"post\" action=\"&#x2f;verify&#x2f;email\">"));
    assert!(page.contains("<input type=\"hidden\" name=\"sid\" value=\"abc\">"));
    assert!(page.contains("<input type=\"hidden\" name=\"token\" value=\"secret\">"));
    assert_eq!(page.matches("<button").count(), 1);
}

#[test]
fn a_page_offers_to_continue_only_to_the_web() {
    let templates = built_in();
    let verified = |next_link| {
        templates
            .render_page(
                Page::Verified {
                    server: &server(),
                    next_link,
                },
                None,
                None,
            )
            .unwrap()
    };
    assert!(verified(Some("https://app.example/?a=1&b=2")).contains("a=1&amp;b=2\""));
    for none in [
        None,
        Some("javascript:alert(1)"),
        Some("//example.net"),
        Some("data:text/html,x"),
    ] {
        let page = verified(none);
        assert!(!page.contains("href"), "{page}");
        assert!(page.contains("You can close this page"));
    }
}

#[test]
fn every_page_is_a_whole_document_without_scripts_or_foreign_content() {
    let templates = built_in();
    let server = server();
    let mut pages = vec![
        confirm(&templates, "alice@example.org", "t"),
        home(&templates, None, None),
        templates
            .render_page(
                Page::Verified {
                    server: &server,
                    next_link: None,
                },
                None,
                None,
            )
            .unwrap(),
    ];
    let mut told = std::collections::HashSet::new();
    for reason in [
        Failure::Expired,
        Failure::UnknownLink,
        Failure::TooManyTries,
        Failure::Temporary,
    ] {
        let page = templates
            .render_page(
                Page::Failed {
                    server: &server,
                    reason,
                },
                None,
                None,
            )
            .unwrap();
        assert!(told.insert(page.clone()));
        pages.push(page);
    }
    for page in pages {
        assert!(
            page.starts_with("<!DOCTYPE html>\n<html lang=\"en\" dir=\"ltr\">"),
            "{page}"
        );
        for once in [
            "<title>",
            "<h1>",
            "name=\"viewport\"",
            "color-scheme: light dark",
            "</html>",
        ] {
            assert_eq!(page.matches(once).count(), 1, "{once} in {page}");
        }
        for never in ["<script", "http://", "https://", "src=", "@import", "&lt;"] {
            assert!(!page.contains(never), "{never} in {page}");
        }
        assert!(page.contains("id.example"));
    }
}

#[test]
fn a_brand_overrides_file_by_file_and_falls_back_to_the_default_folder() {
    let (_folder, templates) = overridden(&[
        ("acme/home.html", "<p>Acme at {{ server }}</p>"),
        ("default/verified.html", "house style"),
    ]);
    let templates = templates.unwrap();
    assert_eq!(
        home(&templates, None, Some("acme")),
        "<p>Acme at id.example</p>"
    );
    assert!(home(&templates, None, None).contains("identity server for Matrix"));
    for brand in [None, Some("acme"), Some("../acme"), Some("unknown")] {
        let page = Page::Verified {
            server: &server(),
            next_link: None,
        };
        assert_eq!(
            templates.render_page(page, None, brand).unwrap(),
            "house style"
        );
    }
    assert_eq!(
        home(&templates, None, Some("../acme")),
        home(&templates, None, None)
    );
}

#[test]
fn a_catalogue_overrides_text_by_text_and_adds_languages() {
    let (_folder, templates) = overridden(&[
        ("en.ftl", "home-title = Our own title\n"),
        (
            "de.ftl",
            "verification-subject = Adresse für { $server } bestätigen\n",
        ),
    ]);
    let templates = templates.unwrap();
    assert!(home(&templates, None, None).contains("<h1>Our own title</h1>"));
    let german = mail(&templates, DAY, Some("de"), None);
    assert_eq!(german.subject, "Adresse für id.example bestätigen");
    assert!(german.text.contains("The link works for one day."));
    assert!(german.html.contains("<html lang=\"de\""));
    assert_eq!(
        mail(&templates, DAY, Some("xx"), None).subject,
        mail(&templates, DAY, None, None).subject
    );
}

#[test]
fn the_language_follows_the_weights_of_accept_language() {
    let (_folder, templates) = overridden(&[
        ("de.ftl", "home-title = Titel\n"),
        ("pt-BR.ftl", "home-title = Título\n"),
    ]);
    let templates = templates.unwrap();
    let expected = [
        (None, "en"),
        (Some(""), "en"),
        (Some("*"), "en"),
        (Some("xx, yy;q=0.3"), "en"),
        (Some("de"), "de"),
        (Some("de-AT, en;q=0.5"), "de"),
        (Some("en;q=0.2, de;q=0.9"), "de"),
        (Some("de;q=0, en"), "en"),
        (Some("pt-BR,pt;q=0.9,de;q=0.1"), "pt-BR"),
        (Some("fr, de ; q=0.4"), "de"),
        (Some("de;q=NaN, \u{0}, ;;;,=,"), "en"),
    ];
    for (header, language) in expected {
        assert_eq!(templates.language(header), language, "{header:?}");
    }
    let long = "xx,".repeat(100_000) + "de";
    assert_eq!(templates.language(Some(&long)), "en");
}

#[test]
fn a_broken_override_stops_the_start_and_names_file_and_line() {
    let broken: [(&str, &str, &str); 8] = [
        (
            "acme/home.html",
            "fine\n{% if %}\n",
            "acme/home.html, line 2: ",
        ),
        (
            "acme/home.html",
            "\n\n{{ unknown }}\n",
            "acme/home.html, line 3: ",
        ),
        (
            "default/home.html",
            "{{ text(\"no-such-text\") }}",
            "there is no text `no-such-text` in `en.ftl`",
        ),
        (
            "acme/home.html",
            "{{ text(\"home-intro\") }}",
            "acme/home.html, line 1: text `home-intro` of `en.ftl`",
        ),
        ("en.ftl", "good = text\n\nbad bad\n", "en.ftl, line 3: "),
        ("acme/hoem.html", "", "hoem.html` overrides no template"),
        ("Acme Inc/home.html", "", "Acme Inc` is not a brand"),
        ("german!.ftl", "", "german!.ftl` is not a catalogue"),
    ];
    for (file, content, expected) in broken {
        let (_folder, loaded) = overridden(&[(file, content)]);
        let message = loaded.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn defaults_that_do_not_exist_stop_the_start() {
    let folder = TempDir::new().unwrap();
    let with = |change: fn(&mut config::Templates)| {
        let directory = Some(folder.path().to_path_buf());
        let mut settings = config::Templates {
            directory,
            ..config::Templates::default()
        };
        change(&mut settings);
        Templates::load(&settings).unwrap_err().to_string()
    };
    assert!(
        with(|s| s.default_brand = "acme".to_owned()).contains("templates.default_brand is `acme`")
    );
    assert!(
        with(|s| s.default_language = "de".to_owned()).contains("there is no catalogue `de.ftl`")
    );
    assert!(with(|s| s.directory = Some("/no/such/folder".into())).contains("/no/such/folder"));
}

#[test]
fn a_default_language_must_be_complete() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("de.ftl"), "home-title = Titel\n").unwrap();
    let error = Templates::load(&config::Templates {
        directory: Some(folder.path().to_path_buf()),
        default_language: "de".to_owned(),
        ..config::Templates::default()
    });
    assert!(error.unwrap_err().to_string().contains("in `de.ftl`"));
}

/// The text of an SMS with the code 012345.
#[track_caller]
fn sms(templates: &Templates, language: Option<&str>, brand: Option<&str>) -> String {
    let code = Code {
        server: &ServerName::parse("id.example").unwrap(),
        token: &Token::from_derived("012345"),
        lifetime: Duration::from_mins(15),
    };
    templates.render_sms(code, language, brand).unwrap()
}

#[test]
fn an_sms_says_its_code_in_as_many_characters_as_one_has_room_for() {
    let text = sms(&built_in(), None, None);
    assert_eq!(text, "Your code is 012345");
    assert!(text.len() <= 160);
}

#[test]
fn an_sms_comes_in_the_language_of_the_user_and_from_the_folder_of_the_brand() {
    let (_folder, loaded) = overridden(&[
        ("de.ftl", "sms-code = Dein Code: { $token }\n"),
        (
            "acme/sms.txt",
            "ACME {{ server }} <{{ token }}> {{ count }} {{ unit }}\n\n",
        ),
    ]);
    let templates = loaded.unwrap();
    assert_eq!(sms(&templates, Some("de"), None), "Dein Code: 012345");
    assert_eq!(sms(&templates, Some("fr"), None), "Your code is 012345");
    let expected = "ACME id.example <012345> 15 minutes";
    assert_eq!(sms(&templates, Some("de"), Some("acme")), expected);

    let (_folder, loaded) = overridden(&[("acme/sms.txt", "{{ link }}")]);
    let message = loaded.unwrap_err().to_string();
    assert!(message.contains("acme/sms.txt, line 1: "), "{message}");
}

#[test]
fn the_text_of_the_configuration_takes_the_place_of_all_templates_of_sms() {
    let templates = Templates::load(&config::Templates {
        sms_message: Some("{token} <- {server} {{ token }}\n#{token}".to_owned()),
        ..config::Templates::default()
    });
    let text = sms(&templates.unwrap(), Some("de"), Some("acme"));
    assert_eq!(
        text,
        "012345 <- {server} {012345 }\n#012345".replace("{012345 }", "{{ token }}")
    );
}
