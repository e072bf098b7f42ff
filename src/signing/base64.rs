use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const INDIFFERENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, INDIFFERENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, INDIFFERENT);

/// Reads either alphabet, with padding or without; keys in the wild have non-zero trailing bits.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    // Not one after the other: a try that fails would leave half a seed in freed memory.
    let engine = if text.contains(['-', '_']) {
        URL_SAFE
    } else {
        STANDARD
    };
    engine.decode(text).ok()
}

/// Unpadded base64 as the specification writes it (appendix "Unpadded Base64").
pub fn encode_base64(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base64_is_unpadded_as_the_specification_shows() {
        let words = ["f", "fo", "foo", "foob", "fooba", "foobar"];
        let encoded = ["Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"];
        for (word, expected) in words.iter().zip(encoded) {
            assert_eq!(encode_base64(word.as_bytes()), expected);
            assert_eq!(decode_base64(expected).as_deref(), Some(word.as_bytes()));
        }
        assert_eq!(decode_base64("Zg=="), Some(b"f".to_vec()));
        for broken in ["Z g", "Z", "Zm8===", "Z=g", "+-+-", "Zg\n"] {
            assert_eq!(decode_base64(broken), None, "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn every_spelling_reads_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = encode_base64(&bytes);
            let url_safe = text.replace('+', "-").replace('/', "_");
            let padding = "=".repeat((4 - text.len() % 4) % 4);
            for spelling in [text.clone(), url_safe.clone(), text + &padding, url_safe + &padding] {
                prop_assert_eq!(decode_base64(&spelling), Some(bytes.clone()));
            }
        }
    }
}
