//! Secrets that show what they are: a fixed beginning and a run of certain characters.

use crate::text::{Found, Text};

/// The characters a token is made of, behind its beginning.
#[derive(Clone, Copy)]
enum Chars {
    Hex,
    Upper,
    Alnum,
    /// Letters, digits, `_` and `-`.
    Word,
    /// Like `Word`, and dots.
    Dotted,
    /// Like `Dotted`, and `~`.
    Tilde,
    /// Like `Dotted`, and `/ + = : %`.
    Path,
}

/// What must stand before a token.
#[derive(Clone, Copy)]
enum Before {
    Anything,
    /// No letter, digit or `_`.
    NoWord,
    /// Three letters, digits or `_~.`.
    ThreeOfTilde,
    /// These bytes.
    Exactly(&'static str),
    /// One of the names of registries whose tokens look alike.
    Registry,
}

/// One kind of token.
pub struct Token {
    /// Stands in the replacement.
    pub rule: &'static str,
    /// How it begins; at least 3 bytes.
    pub text: &'static str,
    before: Before,
    chars: Chars,
    /// Fewest characters behind the beginning.
    min: usize,
}

const fn token(rule: &'static str, text: &'static str, before: Before, chars: Chars, min: usize) -> Token {
    Token { rule, text, before, chars, min }
}

use Before::{Anything, Exactly, NoWord, Registry, ThreeOfTilde};
use Chars::{Alnum, Dotted, Hex, Path, Tilde, Upper, Word};

/// All tokens. Where the first characters vary, the beginning is what comes next and up to three characters stay visible.
/// Beginnings avoid letters that ordinary logs are full of, since each costs the host a look (hence `n_api_` for `lin_api_`).
pub const TOKENS: &[Token] = &[
    token("aws-access-token", "AKIA", NoWord, Upper, 16),
    token("aws-access-token", "ASIA", NoWord, Upper, 16),
    token("aws-access-token", "ABIA", NoWord, Upper, 16),
    token("aws-access-token", "ACCA", NoWord, Upper, 16),
    token("aws-access-token", "A3T", NoWord, Upper, 17),
    token("azure-ad-client-secret", "0Q~", ThreeOfTilde, Tilde, 31),
    token("azure-ad-client-secret", "1Q~", ThreeOfTilde, Tilde, 31),
    token("azure-ad-client-secret", "2Q~", ThreeOfTilde, Tilde, 31),
    token("azure-ad-client-secret", "3Q~", ThreeOfTilde, Tilde, 31),
    token("azure-ad-client-secret", "4Q~", ThreeOfTilde, Tilde, 31),
    token("azure-ad-client-secret", "5Q~", ThreeOfTilde, Tilde, 31),
    token("azure-ad-client-secret", "6Q~", ThreeOfTilde, Tilde, 31),
    token("azure-ad-client-secret", "7Q~", ThreeOfTilde, Tilde, 31),
    token("azure-ad-client-secret", "8Q~", ThreeOfTilde, Tilde, 31),
    token("azure-ad-client-secret", "9Q~", ThreeOfTilde, Tilde, 31),
    token("twilio-api-key", "SK0", NoWord, Hex, 31),
    token("twilio-api-key", "SK1", NoWord, Hex, 31),
    token("twilio-api-key", "SK2", NoWord, Hex, 31),
    token("twilio-api-key", "SK3", NoWord, Hex, 31),
    token("twilio-api-key", "SK4", NoWord, Hex, 31),
    token("twilio-api-key", "SK5", NoWord, Hex, 31),
    token("twilio-api-key", "SK6", NoWord, Hex, 31),
    token("twilio-api-key", "SK7", NoWord, Hex, 31),
    token("twilio-api-key", "SK8", NoWord, Hex, 31),
    token("twilio-api-key", "SK9", NoWord, Hex, 31),
    token("twilio-api-key", "SKa", NoWord, Hex, 31),
    token("twilio-api-key", "SKb", NoWord, Hex, 31),
    token("twilio-api-key", "SKc", NoWord, Hex, 31),
    token("twilio-api-key", "SKd", NoWord, Hex, 31),
    token("twilio-api-key", "SKe", NoWord, Hex, 31),
    token("twilio-api-key", "SKf", NoWord, Hex, 31),
    token("gcp-api-key", "AIza", NoWord, Word, 30),
    token("gcp-oauth-token", "ya29.", NoWord, Dotted, 20),
    token("gcp-client-secret", "GOCSPX-", Anything, Word, 20),
    token("planetscale-token", "pscale_", Anything, Dotted, 32),
    token("vault-token", "hvs.", NoWord, Word, 20),
    token("vault-token", "hvb.", NoWord, Word, 20),
    token("vault-token", "hvr.", NoWord, Word, 20),
    token("slack-token", "xox", NoWord, Dotted, 12),
    token("slack-app-token", "xapp-", NoWord, Word, 20),
    token("slack-webhook-url", "hooks.slack.com/", Anything, Path, 20),
    token("discord-webhook-url", "api/webhooks/", Anything, Path, 40),
    token("gitlab-token", "glpat-", Anything, Dotted, 20),
    token("gitlab-token", "glptt-", Anything, Dotted, 20),
    token("gitlab-token", "glrt-", Anything, Dotted, 20),
    token("gitlab-token", "glrtr-", Anything, Dotted, 20),
    token("gitlab-token", "gldt-", Anything, Dotted, 20),
    token("gitlab-token", "glft-", Anything, Dotted, 20),
    token("gitlab-token", "glsoat-", Anything, Dotted, 20),
    token("gitlab-token", "glcbt-", Anything, Dotted, 20),
    token("gitlab-token", "glimt-", Anything, Dotted, 20),
    token("gitlab-token", "glagent-", Anything, Dotted, 20),
    token("gitlab-token", "glffct-", Anything, Dotted, 20),
    token("gitlab-token", "gloas-", Anything, Dotted, 20),
    token("github-token", "ghp_", Anything, Alnum, 20),
    token("github-token", "gho_", Anything, Alnum, 20),
    token("github-token", "ghu_", Anything, Alnum, 20),
    token("github-token", "ghs_", Anything, Dotted, 20),
    token("github-token", "ghr_", Anything, Alnum, 20),
    token("access-token", "_pat_", Registry, Word, 20),
    token("shopify-token", "shp", NoWord, Word, 30),
    token("heroku-api-key", "HRKU-", Anything, Word, 30),
    token("rubygems-api-token", "rubygems_", Anything, Hex, 40),
    token("linear-api-key", "n_api_", Exactly("li"), Alnum, 30),
    token("linear-api-key", "n_oauth_", Exactly("li"), Alnum, 30),
    token("doppler-api-token", "dp.", NoWord, Dotted, 40),
    token("databricks-api-token", "dapi", NoWord, Word, 32),
    token("digitalocean-token", "dop_v1_", Anything, Hex, 40),
    token("digitalocean-token", "doo_v1_", Anything, Hex, 40),
    token("digitalocean-token", "dor_v1_", Anything, Hex, 40),
    token("flyio-access-token", "fo1_", NoWord, Word, 40),
    token("flyio-access-token", "fm1", NoWord, Path, 40),
    token("flyio-access-token", "fm2_", NoWord, Path, 40),
    token("square-access-token", "sq0", NoWord, Word, 20),
    token("mailgun-token", "key-", NoWord, Hex, 32),
    token("pulumi-api-token", "pul-", NoWord, Hex, 40),
    token("sendgrid-api-token", "SG.", NoWord, Dotted, 40),
    token("age-secret-key", "AGE-SECRET-KEY-1", Anything, Alnum, 40),
    token("api-key", "sk-", NoWord, Word, 20),
    token("stripe-key", "k_live_", Anything, Alnum, 10),
    token("stripe-key", "k_test_", Anything, Alnum, 10),
    token("webhook-secret", "whsec_", Anything, Path, 20),
    token("npm-access-token", "npm_", NoWord, Alnum, 30),
    token("pypi-upload-token", "pypi-A", Anything, Word, 40),
    token("huggingface-token", "hf_", NoWord, Alnum, 30),
    token("nvidia-api-key", "nvapi-", NoWord, Word, 30),
    token("groq-api-key", "gsk_", NoWord, Alnum, 30),
    token("terraform-token", "atlasv1.", Exactly("."), Word, 40),
    token("atlassian-token", "ATATT3", NoWord, Path, 40),
    token("newrelic-api-key", "NRAK-", NoWord, Alnum, 20),
    token("postman-api-key", "PMAK-", NoWord, Word, 40),
    token("dynatrace-token", "dt0c01.", NoWord, Dotted, 40),
    token("sentry-token", "sntry", NoWord, Path, 40),
    token("grafana-token", "glsa_", Anything, Word, 30),
    token("render-token", "rnd_", NoWord, Alnum, 28),
    token("supabase-token", "sbp_", NoWord, Hex, 40),
    token("xai-api-key", "xai-", NoWord, Alnum, 40),
    token("perplexity-api-key", "pplx-", NoWord, Alnum, 40),
    token("figma-token", "figd_", NoWord, Word, 38),
    token("notion-token", "ntn_", NoWord, Alnum, 40),
    token("netlify-token", "nfp_", NoWord, Alnum, 36),
    token("1password-token", "ops_ey", NoWord, Path, 100),
    token("posthog-api-key", "phx_", NoWord, Alnum, 32),
    token("facebook-token", "EAAC", NoWord, Alnum, 60),
    token("dynatrace-token", "dt0s16.", NoWord, Dotted, 40),
    token("circleci-token", "CCIPAT_", NoWord, Word, 40),
    token("tailscale-key", "tskey-", NoWord, Word, 20),
];

impl Chars {
    fn has(self, byte: u8) -> bool {
        let more: &[u8] = match self {
            Self::Hex => return byte.is_ascii_hexdigit(),
            Self::Upper => return byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Alnum => b"",
            Self::Word => b"_-",
            Self::Dotted => b"_-.",
            Self::Tilde => b"_-.~",
            Self::Path => b"_-./+=:%",
        };
        byte.is_ascii_alphanumeric() || more.contains(&byte)
    }
}

impl Token {
    /// The token whose beginning stands at `at`.
    pub fn find(&self, text: Text, at: usize) -> Option<Found<'static>> {
        if !self.before_fits(text.before(at)) {
            return None;
        }
        let end = text.run(at + self.text.len(), |byte| self.chars.has(byte));
        (end - at >= self.text.len() + self.min).then_some(Found { start: at, end, rule: self.rule })
    }

    fn before_fits(&self, before: &[u8]) -> bool {
        match self.before {
            Anything => true,
            NoWord => is_boundary(before),
            ThreeOfTilde => before.len() >= 3 && before.iter().rev().take(3).all(|byte| Tilde.has(*byte)),
            Exactly(bytes) => before.ends_with(bytes.as_bytes()),
            Registry => [&b"github"[..], b"dckr"].iter().any(|name| before.ends_with(name)),
        }
    }
}

/// Whether a word may begin behind this: what stands there is no part of one, or an escape.
fn is_boundary(before: &[u8]) -> bool {
    let in_word = before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    !in_word || is_escape(before)
}

/// Ends in `\n`, `%3D`, `\x3d`, `\u003d` or a sequence that sets a colour.
fn is_escape(before: &[u8]) -> bool {
    let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match before {
        [.., b'\\', b'n' | b'r' | b't'] => true,
        [.., b'%', a, b] | [.., b'\\', b'x', a, b] if hex(&[*a, *b]) => true,
        [.., b'\\', b'u', a, b, c, d] if hex(&[*a, *b, *c, *d]) => true,
        [start @ .., letter] if letter.is_ascii_alphabetic() => is_open_sequence(start),
        _ => false,
    }
}

/// Ends in a terminal's control sequence that lacks its letter, written as it is or escaped.
fn is_open_sequence(before: &[u8]) -> bool {
    const LONGEST: usize = 12;
    const OPENINGS: [&[u8]; 5] = [b"\x1b[", b"\\x1b[", b"u001b[", b"\\033[", b"\\e["];
    let start = Text(before).run_back_within(before.len(), LONGEST, |byte| byte.is_ascii_digit() || byte == b';');
    OPENINGS.iter().any(|opening| before[..start].ends_with(opening))
}

/// A JSON Web Token, signed or encrypted, whose `eyJ` stands at `at`: two parts with a dot between them, and what follows.
pub fn json_web_token(text: Text, at: usize) -> Option<Found<'static>> {
    // Longer first parts are data, such as a source map in one line of base64.
    const LONGEST_HEADER: usize = 2048;
    let first = text.run_within(at, LONGEST_HEADER, |byte| Word.has(byte));
    let has_header = first - at >= 10 && text.byte(first) == Some(b'.');
    if !has_header || (!is_boundary(text.before(at)) && !text.before(at).ends_with(b"_")) {
        return None;
    }
    let second = text.run(first + 1, |byte| Word.has(byte));
    let end = text.run(at, |byte| Dotted.has(byte) || byte == b'=');
    (second - first > 10).then_some(Found { start: at, end, rule: "jwt" })
}
