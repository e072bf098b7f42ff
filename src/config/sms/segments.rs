/// What one septet stands for (3GPP TS 23.038, section 6.2.1), but for the capital and small letters and digits of ASCII.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà";

/// What two septets stand for (section 6.2.1.1).
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// How many SMS a text takes: 160 septets in one, or 153 in each of several; with characters that the alphabet of phones
/// has not, 70 UTF-16 units in one, or 67 in each of several (3GPP TS 23.040, section 9.2.3.24.1).
pub(super) fn count(text: &str) -> usize {
    let (length, one, of_several) = match septets(text) {
        Some(septets) => (septets, 160, 153),
        None => (text.encode_utf16().count(), 70, 67),
    };
    if length <= one {
        1
    } else {
        length.div_ceil(of_several)
    }
}

/// The length in the alphabet of phones, if it has all of the characters.
fn septets(text: &str) -> Option<usize> {
    let septets = |c: char| match c {
        c if c.is_ascii_alphanumeric() || BASIC.contains(c) => Some(1),
        c if EXTENDED.contains(c) => Some(2),
        _ => None,
    };
    text.chars().map(septets).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_take_as_many_sms_as_phones_count() {
        for (text, expected) in [
            ("Your code is 123456".to_owned(), 1),
            ("Ünïcödé".to_owned(), 1),
            ("x".repeat(160), 1),
            ("x".repeat(161), 2),
            ("x".repeat(306), 2),
            ("x".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            ("ж".repeat(70), 1),
            ("ж".repeat(71), 2),
            ("ж".repeat(135), 3),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
            (format!("’{}", "x".repeat(70)), 2),
        ] {
            assert_eq!(count(&text), expected, "{text}");
        }
    }
}
