//! The exact values of the variables that are granted: as they are, and as they are written in base64, addresses and JSON.

use portcullis_sdk::{SettingsError, SettingsErrors};

use crate::colours;
use crate::filter::REACH;
use crate::text::Text;

/// The shortest value that is looked for, in bytes: a shorter one would be found in ordinary text.
const MIN: usize = 8;

/// The longest line of a value, in bytes: in each of its forms it must be recognised before a cut line is given on.
const MAX: usize = 2048;

/// Most forms of all values together: each is a trigger.
const MAX_FORMS: usize = 640;

/// How much of a form's beginning is a trigger, in bytes.
const TRIGGER: usize = MIN;

/// How `base64` and `openssl` break lines.
const WRAPPED: [usize; 2] = [76, 64];

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const FOR_URLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The signs that different programs leave as they are in addresses, besides letters, digits and `-._~`.
const LEFT_IN_URLS: [&[u8]; 4] = [b"", b"/", b"!*'()", b"!*'();,/?:@&=+$#"];

/// One way in which a value may be written.
pub struct Form {
    /// What it is called in replacements: `env-` and the variable's name.
    kind: String,
    text: Vec<u8>,
    /// Its last character may hold bits of the value that its neighbour decides with.
    is_base64: bool,
}

impl Form {
    /// How it begins.
    pub fn trigger(&self) -> &[u8] {
        &self.text[..self.text.len().min(TRIGGER)]
    }

    /// What is called so in replacements.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// How much of the form stands at `at`.
    pub fn stand(&self, text: Text, at: usize) -> Stand {
        let there = text.between(at, text.0.len().min(at + self.text.len()));
        if !self.text.starts_with(there) {
            return Stand::Nothing;
        }
        if there.len() < self.text.len() {
            return Stand::Beginning;
        }
        let mut end = at + there.len();
        if self.is_base64 {
            end = text.run_within(end, 1, |byte| STANDARD.contains(&byte) || b"-_".contains(&byte));
            end = text.run_within(end, 2, |byte| byte == b'=');
        }
        Stand::All(end)
    }
}

/// How much of a form stands somewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    Nothing,
    /// As much as there is text.
    Beginning,
    /// All, up to here.
    All(usize),
}

/// All forms of the values of these variables. One that is empty counts as not set.
pub fn forms(variables: Vec<(String, String)>, errors: &mut SettingsErrors) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    for (name, value) in variables.into_iter().filter(|(_, value)| !value.is_empty()) {
        let lines = value.lines().map(str::trim_end).filter(|line| line.len() >= MIN);
        let of_lines = lines.clone().filter(|line| line.len() <= MAX).flat_map(|line| forms_of(&name, line));
        forms.extend(of_lines);
        let is_long = |form: &Form| form.text.len() > REACH;
        let message = match () {
            () if lines.clone().next().is_none() => format!(
                "the variable {name} is granted, so that its value is redacted, but that has fewer than {MIN} bytes (in each of its lines), which \
                 would be found in ordinary text; do not grant it, or give it a longer value"
            ),
            () if lines.clone().any(|line| line.len() > MAX) || forms.iter().any(is_long) => {
                format!(
                    "a line of the variable {name} has more than {MAX} bytes, or more than {REACH} as JSON may write it, too many to be found \
                     where output is cut; do not grant it"
                )
            }
            () => continue,
        };
        errors.push(SettingsError::new("", message));
    }
    if forms.len() > MAX_FORMS {
        errors.push(SettingsError::new("", "too many variables are granted, or they have too many lines; grant fewer"));
    }
    forms
}

fn forms_of(name: &str, line: &str) -> Vec<Form> {
    let (kind, value) = (kind(name), line.as_bytes());
    let mut forms: Vec<Form> = Vec::new();
    // What a line is looked through without may stand in a value too.
    let mut add = |text: Vec<u8>, is_base64| {
        let text = colours::without(&text);
        if text.len() >= MIN && !forms.iter().any(|form| form.text == text) {
            forms.push(Form { kind: kind.clone(), text, is_base64 });
        }
    };
    add(value.to_vec(), false);
    for alphabet in [STANDARD, FOR_URLS] {
        (0..3).for_each(|shift| add(base64(value, shift, alphabet), true));
        for width in WRAPPED {
            base64(value, 0, alphabet).chunks(width).for_each(|line| add(line.to_vec(), true));
        }
    }
    for left in LEFT_IN_URLS {
        for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
            for blank in [&b"%20"[..], b"+"] {
                add(percent(value, left, digits, blank), false);
            }
        }
    }
    for json in JSON {
        add(json.write(line), false);
    }
    for quote in ["\"", "'"] {
        add(line.replace(quote, &quote.repeat(2)).into_bytes(), false);
    }
    forms
}

/// `DEPLOY_TOKEN` is `env-deploy-token`.
fn kind(name: &str) -> String {
    const MAX_KIND: usize = 64;
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    "env-".chars().chain(name.chars().map(letter)).take(MAX_KIND).collect()
}

/// Those characters of the base64 of any text, with `value` in it behind `shift` bytes of a group of three, that `value` alone
/// decides.
fn base64(value: &[u8], shift: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let bit = |at: usize| value.get((at - 8 * shift) / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let first = (8 * shift).div_ceil(6);
    let end = 8 * (shift + value.len()) / 6;
    let digit = |at: usize| (6 * at..6 * at + 6).fold(0, |digit, at| digit << 1 | bit(at));
    (first..end).map(|at| alphabet[usize::from(digit(at))]).collect()
}

fn percent(value: &[u8], left: &[u8], digits: &[u8; 16], blank: &[u8]) -> Vec<u8> {
    let written = |byte: &u8| match byte {
        b' ' => blank.to_vec(),
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || left.contains(byte) => vec![*byte],
        byte => vec![b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]],
    };
    value.iter().flat_map(written).collect()
}

/// What programs write as `\u….` in JSON beyond what they must.
struct Json {
    signs: &'static str,
    /// All that is no ASCII.
    foreign: bool,
    /// `/` as `\/`.
    slashes: bool,
    /// The digits as `0123456789ABCDEF`.
    capitals: bool,
}

/// What must be, PHP and Python with their options, Go and Ruby, Gson, Jackson, and .NET.
const JSON: &[Json] = &[
    Json { signs: "", foreign: false, slashes: false, capitals: false },
    Json { signs: "", foreign: false, slashes: true, capitals: false },
    Json { signs: "", foreign: true, slashes: false, capitals: false },
    Json { signs: "\x7f", foreign: true, slashes: false, capitals: false },
    Json { signs: "", foreign: true, slashes: true, capitals: false },
    Json { signs: "<>&\u{2028}\u{2029}", foreign: false, slashes: false, capitals: false },
    Json { signs: "<>&='\u{2028}\u{2029}", foreign: false, slashes: false, capitals: false },
    Json { signs: "", foreign: true, slashes: false, capitals: true },
    Json { signs: "\"<>&'+`\x7f", foreign: true, slashes: false, capitals: false },
    Json { signs: "\"<>&'+`\x7f", foreign: true, slashes: false, capitals: true },
];

impl Json {
    fn write(&self, value: &str) -> Vec<u8> {
        value.chars().flat_map(|sign| self.sign(sign).into_bytes()).collect()
    }

    fn sign(&self, sign: char) -> String {
        match sign {
            _ if self.signs.contains(sign) || (self.foreign && !sign.is_ascii()) => self.number(sign),
            '"' | '\\' => format!("\\{sign}"),
            '/' if self.slashes => r"\/".to_owned(),
            '\t' => r"\t".to_owned(),
            '\x08' => r"\b".to_owned(),
            '\x0c' => r"\f".to_owned(),
            '\r' => r"\r".to_owned(),
            '\0'..='\x1f' => self.number(sign),
            _ => sign.to_string(),
        }
    }

    fn number(&self, sign: char) -> String {
        let unit = |unit: &u16| if self.capitals { format!(r"\u{unit:04X}") } else { format!(r"\u{unit:04x}") };
        sign.encode_utf16(&mut [0; 2]).iter().map(unit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_value_decides_of_its_base64() {
        assert_eq!(base64(b"hunter2!", 0, STANDARD), b"aHVudGVyMi");
        assert_eq!(base64(b"hunter2!", 1, STANDARD), b"h1bnRlcjIh");
        assert_eq!(base64(b"hunter2!", 2, STANDARD), b"odW50ZXIyI");
        assert_eq!(base64(b"\xff\xff\xfe", 0, FOR_URLS), b"___-");
    }

    #[test]
    fn a_plain_value_has_few_forms() {
        assert_eq!(forms_of("A", "hunter2hunter2").len(), 4);
        assert_eq!(percent(b"a/b c", b"", b"0123456789abcdef", b"+"), b"a%2fb+c");
        assert_eq!(kind("DEPLOY_TOKEN"), "env-deploy-token");
    }
}
