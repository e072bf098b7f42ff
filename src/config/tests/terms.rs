use super::*;

const PRIVACY: &str =
    "[terms.privacy]\nversion = \"1.0\"\n[terms.privacy.en]\nname = \"Privacy\"\n";

#[track_caller]
fn policy(text: &str) -> Policy {
    let Terms { mut policies } = accepted(text).terms;
    assert_eq!(policies.len(), 1);
    policies.pop_first().unwrap().1
}

#[test]
fn a_policy_has_a_version_and_languages_each_with_a_name_and_a_url() {
    let text = format!(
        "{PRIVACY}url = \"https://example.org/Privacy?a=%20b\"\n\
         [terms.privacy.pt-BR]\nname = \"Privacidade\"\nurl = \"https://example.org/pt\"\n"
    );
    let policy = policy(&text);
    assert_eq!(policy.version, "1.0");
    let read: Vec<(&str, &str)> = policy
        .languages
        .iter()
        .map(|(language, document)| (language.as_str(), document.name.as_str()))
        .collect();
    assert_eq!(read, [("en", "Privacy"), ("pt-BR", "Privacidade")]);
    assert_eq!(
        policy.languages["en"].text,
        PolicyText::Url("https://example.org/Privacy?a=%20b".to_owned())
    );
}

#[test]
fn a_file_is_read_with_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("privacy.md");
    fs::write(&file, "We keep *little*.").unwrap();
    let policy = policy(&format!("{PRIVACY}file = \"{}\"\n", file.display()));
    assert_eq!(
        policy.languages["en"].text,
        PolicyText::Markdown("We keep *little*.".to_owned())
    );
    assert!(!format!("{policy:?}").contains("little"));
}

#[test]
fn keys_of_a_policy_that_stands_in_the_file_can_come_from_the_environment() {
    let text = format!("{PRIVACY}url = \"https://example.org/\"\n");
    let config = resolve(&text, &[("BINDERY_TERMS__PRIVACY__VERSION", "\"2.0\"")]).unwrap();
    assert_eq!(config.terms.policies["privacy"].version, "2.0");
    assert_eq!(
        refused_variable("BINDERY_TERMS__PRIVACY__VERSION", "2.0"),
        "BINDERY_TERMS__PRIVACY__VERSION: this variable stands for no key"
    );
}

#[test]
fn what_is_wrong_with_a_policy_is_told_with_file_and_key() {
    let english = "[terms.privacy.en]\nname = \"P\"\nurl = \"https://example.org/\"\n";
    for (text, complaint) in [
        (
            "[terms.privacy]\nversion = \"1\"\n".to_owned(),
            "identity.toml:1: `terms.privacy` needs a language: write `[terms.privacy.en]`, and its keys below",
        ),
        (
            english.to_owned(),
            "identity.toml:1: `terms.privacy` needs `version`",
        ),
        (
            format!("[terms.privacy]\nversion = 1.0\n{english}"),
            "identity.toml:2: `terms.privacy.version` must be a text of 1 to 64 of a-z A-Z 0-9 . _ - \
             such as \"1.0\", in quotes",
        ),
        (
            format!("[terms.privacy]\nversion = \"..\"\n{english}"),
            "identity.toml:2: `terms.privacy.version` must be a text of 1 to 64 of a-z A-Z 0-9 . _ - \
             such as \"1.0\", in quotes",
        ),
        (
            PRIVACY.to_owned(),
            "identity.toml:3: `terms.privacy.en` must have `url` or `file`, one of the two",
        ),
        (
            format!("{PRIVACY}url = \"https://example.org/\"\nfile = \"p.md\"\n"),
            "identity.toml:3: `terms.privacy.en` must have `url` or `file`, one of the two",
        ),
        (
            format!("{PRIVACY}url = \"javascript:alert(1)\"\n"),
            "identity.toml:5: `terms.privacy.en.url` must be an http or https URL, in quotes",
        ),
        (
            format!("{PRIVACY}file = \"/no/such/file.md\"\n"),
            "identity.toml:5: `terms.privacy.en.file` is /no/such/file.md: cannot read it: \
             No such file or directory (os error 2)",
        ),
        (
            "[terms.privacy]\nversion = \"1\"\n[terms.privacy.en]\nurl = \"https://e.org/\"\n"
                .to_owned(),
            "identity.toml:3: `terms.privacy.en` needs `name`",
        ),
        (
            format!("{PRIVACY}url = \"https://example.org/\"\nnmae = \"x\"\n"),
            "identity.toml:6: `terms.privacy.en.nmae` is not a key; did you mean `terms.privacy.en.name`?",
        ),
        (
            format!("[terms.privacy]\nversion = \"1\"\n{english}")
                .replace("privacy.en", "privacy.english-"),
            "identity.toml:3: `terms.privacy.english-` must be named by a language tag such as `en` or `pt-BR`",
        ),
        (
            format!("[terms.privacy]\nversion = \"1\"\n{english}").replace("privacy", "\"a b\""),
            "identity.toml:1: `terms.a b`: a policy is named with 1 to 64 of a-z A-Z 0-9 _ -",
        ),
        (
            "[terms]\nprivacy = \"https://example.org/\"\n".to_owned(),
            "identity.toml:2: `terms.privacy` is not a key",
        ),
    ] {
        let complaints = resolve(&text, &[]).unwrap_err();
        assert!(
            complaints[0].starts_with(complaint),
            "{complaints:#?}\nnot {complaint}"
        );
        assert_eq!(complaints.len(), 1, "{complaints:#?}");
    }
}
