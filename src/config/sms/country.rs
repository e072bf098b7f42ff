use toml::Value;

use crate::config::values;
use crate::types::Invalid;

/// What has a numbering plan, by ISO 3166-1 (and `XK` for Kosovo, which has none there).
const KNOWN: &str = "\
    AC AD AE AF AG AI AL AM AO AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BW BY BZ CA CC CD CF \
    CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG \
    GH GI GL GM GN GP GQ GR GT GU GW GY HK HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW \
    KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF \
    NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM \
    SN SO SR SS ST SV SX SY SZ TA TC TD TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG US UY UZ VA VC VE VG VI VN VU WF WS XK \
    YE YT ZA ZM ZW";

/// Countries, by their two letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Countries(Option<Vec<String>>);

impl Countries {
    /// All there are.
    pub const fn all() -> Self {
        Self(None)
    }

    /// One country, given as two capital letters.
    pub fn only(country: &str) -> Self {
        Self(Some(vec![country.to_owned()]))
    }

    /// Whether a country, given as two capital letters, is one of them.
    pub fn contain(&self, country: &str) -> bool {
        let named = self.0.as_ref();
        named.is_none_or(|countries| countries.iter().any(|named| named == country))
    }
}

/// Two letters, in either case, as two capital ones.
pub(super) fn parse(text: &str) -> Option<String> {
    let capital = text.to_ascii_uppercase();
    let known = KNOWN.split_whitespace().any(|country| country == capital);
    known.then_some(capital)
}

pub(super) fn one(value: &Value) -> Result<String, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "the two letters of a country such as \"DE\" or \"GB\" (ISO 3166), in quotes",
    );
    values::text(value, |text| parse(text).ok_or(EXPECTED), EXPECTED)
}

/// Some countries, or `["*"]` for all of them.
pub(super) fn list(value: &Value) -> Result<Countries, Invalid> {
    const EXPECTED: Invalid = Invalid::expecting(
        "a list of the two letters of countries such as [\"DE\", \"GB\"] (ISO 3166), or [\"*\"] for all",
    );
    let words = values::list(value, |text| Ok(text.to_owned()), EXPECTED)?;
    if words == ["*"] {
        return Ok(Countries::all());
    }
    let countries: Option<Vec<String>> = words.iter().map(|word| parse(word)).collect();
    countries
        .filter(|countries| !countries.is_empty())
        .map(|countries| Countries(Some(countries)))
        .ok_or(EXPECTED)
}
