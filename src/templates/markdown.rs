//! Markdown of the operator as HTML that can stand in a page.

use minijinja::Value;
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// HTML without scripts, styles, forms and pictures, whose links lead to the web, to mail addresses or within the page.
#[derive(Clone, PartialEq, Eq)]
pub struct Html(String);

impl std::fmt::Debug for Html {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Html({} bytes)", self.0.len())
    }
}

impl Html {
    /// Renders Markdown (`CommonMark` with tables and ~~strikethrough~~). HTML in it is left out, of pictures the text that
    /// describes them stays, and links to anything else lead nowhere. Headings are one level lower than written, since the
    /// page has its own.
    pub fn from_markdown(text: &str) -> Self {
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
        let mut rendered = String::new();
        html::push_html(
            &mut rendered,
            Parser::new_ext(text, options).filter_map(harmless),
        );
        Self(rendered)
    }

    /// For a template, which does not escape it.
    pub(super) fn to_value(&self) -> Value {
        Value::from_safe_string(self.0.clone())
    }
}

/// What may stay of an event.
fn harmless(mut event: Event<'_>) -> Option<Event<'_>> {
    match &mut event {
        Event::Html(_)
        | Event::InlineHtml(_)
        | Event::Start(Tag::HtmlBlock | Tag::Image { .. })
        | Event::End(TagEnd::HtmlBlock | TagEnd::Image) => return None,
        Event::Start(Tag::Link { dest_url, .. }) if !is_harmless(dest_url) => {
            *dest_url = CowStr::Borrowed("");
        }
        Event::Start(Tag::Heading { level, .. }) | Event::End(TagEnd::Heading(level)) => {
            *level = lower(*level);
        }
        _ => {}
    }
    Some(event)
}

/// Schemes by what is allowed; what has none leads to a place of this server. Browsers skip control characters and
/// spaces in a scheme, so that none may stand in a link at all.
fn is_harmless(link: &str) -> bool {
    if link.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return false;
    }
    match link.split_once(':') {
        Some((scheme, _)) if !scheme.contains(['/', '?', '#']) => ["http", "https", "mailto"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known)),
        _ => true,
    }
}

const fn lower(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H2,
        HeadingLevel::H2 => HeadingLevel::H3,
        HeadingLevel::H3 => HeadingLevel::H4,
        HeadingLevel::H4 => HeadingLevel::H5,
        HeadingLevel::H5 | HeadingLevel::H6 => HeadingLevel::H6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn becomes(markdown: &str, expected: &str) {
        assert_eq!(Html::from_markdown(markdown).0.trim(), expected);
    }

    #[test]
    fn markdown_becomes_html_below_the_heading_of_the_page() {
        becomes(
            "# What we keep\n\nOnly *little*, see [more](https://example.org/a?b&c).",
            "<h2>What we keep</h2>\n<p>Only <em>little</em>, see \
             <a href=\"https://example.org/a?b&amp;c\">more</a>.</p>",
        );
        becomes("###### x", "<h6>x</h6>");
        becomes(
            "- a\n- ~~b~~",
            "<ul>\n<li>a</li>\n<li><del>b</del></li>\n</ul>",
        );
    }

    #[test]
    fn html_is_left_out() {
        for markdown in [
            "<script>alert(1)</script>",
            "a <script>alert(1)</script> b",
            "<img src=x onerror=alert(1)>",
            "a <b onclick=\"x\">b</b>",
            "<div>\n\n*a*\n\n</div>",
            "<!-- <script> -->",
            "<style>body { display: none }</style>",
            "<iframe src=\"https://evil.example\"></iframe>",
            "&lt;script&gt;",
            "`<script>`",
            "# a {onclick=x}",
            "```\" onclick=\"x\n<script>\n```",
            "| <script> |\n|---|\n| <img onerror=x> |",
        ] {
            let Html(html) = Html::from_markdown(markdown);
            for evil in ["<script", "<img", "<b", "<div", "<!--", "<style", "<iframe"] {
                let is_evil = html.contains(evil) && !html.contains("<blockquote");
                assert!(!is_evil, "{markdown}: {html}");
            }
            assert!(!html.contains("\" onclick"), "{markdown}: {html}");
        }
    }

    #[test]
    fn links_lead_to_the_web_to_mail_or_within_the_server() {
        for link in [
            "https://example.org/",
            "HTTP://example.org:80/a:b",
            "mailto:a@example.org",
            "/policies/terms/en/1",
            "#top",
            "more?a=b:c",
        ] {
            let Html(html) = Html::from_markdown(&format!("[a]({link})"));
            assert!(html.contains(&format!("href=\"{link}\"")), "{html}");
        }
        for link in [
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "<java\tscript:alert(1)>",
            "&#106;avascript:alert(1)",
            "java&Tab;script:alert(1)",
            "java&NewLine;script:alert(1)",
            "&#1;javascript:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:x",
        ] {
            for markdown in [
                format!("[a]({link})"),
                format!("[a][b]\n\n[b]: {link}"),
                format!("<{link}>"),
                format!("![a]({link})"),
            ] {
                let Html(html) = Html::from_markdown(&markdown);
                let is_empty = !html.contains("href=") || html.contains("href=\"\"");
                assert!(is_empty && !html.contains("src="), "{markdown}: {html}");
            }
        }
        becomes("![a *b*](https://example.org/x.png)", "<p>a <em>b</em></p>");
    }
}
