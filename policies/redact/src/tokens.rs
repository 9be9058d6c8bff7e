//! Secrets that show what they are: a fixed beginning and a run of certain characters.

use crate::text::{Found, Run, Text};

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
    /// Like `Dotted`, and `/ + = : % @`.
    Path,
    /// Capitals, digits and `-`.
    Dashed,
    /// Letters, digits and `./$=,`.
    Crypt,
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
    /// Eight digits or more.
    Digits,
}

/// One kind of token.
pub struct Token {
    /// Stands in the replacement.
    pub rule: &'static str,
    /// How it begins; at least 3 bytes.
    pub text: &'static str,
    before: Before,
    chars: Chars,
    /// Fewest and most characters behind the beginning.
    min: usize,
    max: usize,
}

const fn token(rule: &'static str, text: &'static str, before: Before, chars: Chars, min: usize) -> Token {
    Token { rule, text, before, chars, min, max: usize::MAX }
}

/// For short beginnings that may stand in any base64: it is one only of this very length.
const fn exactly(rule: &'static str, text: &'static str, chars: Chars, length: usize) -> Token {
    Token { rule, text, before: NoWord, chars, min: length, max: length }
}

use Before::{Anything, Digits, Exactly, NoWord, Registry, ThreeOfTilde};
use Chars::{Alnum, Crypt, Dashed, Dotted, Hex, Path, Tilde, Upper, Word};

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
    token("gitlab-token", "glwt-", Anything, Dotted, 20),
    token("gitlab-token", "GR1348941", NoWord, Word, 20),
    token("gitlab-session", "_gitlab_session=", Anything, Alnum, 20),
    token("github-token", "ghp_", Anything, Alnum, 20),
    token("github-token", "gho_", Anything, Alnum, 20),
    token("github-token", "ghu_", Anything, Alnum, 20),
    token("github-token", "ghs_", Anything, Dotted, 20),
    token("github-token", "ghr_", Anything, Alnum, 20),
    token("access-token", "_pat_", Registry, Word, 20),
    token("access-token", "_oat_", Registry, Word, 20),
    token("alibaba-access-key", "LTAI", NoWord, Alnum, 12),
    token("aws-bedrock-key", "ABSK", NoWord, Path, 100),
    token("aws-bedrock-key", "bedrock-api-key-", NoWord, Path, 20),
    token("signed-url", "X-Amz-Signature=", Anything, Hex, 64),
    token("signed-url", "X-Goog-Signature=", Anything, Hex, 64),
    token("gcp-refresh-token", "1//0", NoWord, Word, 30),
    token("tencent-secret-id", "AKID", NoWord, Alnum, 30),
    token("yandex-api-key", "AQVN", NoWord, Word, 35),
    token("yandex-token", "y0_A", NoWord, Word, 50),
    token("scaleway-access-key", "SCW", NoWord, Upper, 17),
    token("openshift-token", "sha256~", NoWord, Word, 40),
    token("digitalocean-spaces-key", "DO00", NoWord, Upper, 16),
    token("supabase-token", "sb_secret_", NoWord, Word, 20),
    token("neon-api-key", "napi_", NoWord, Alnum, 40),
    token("bitbucket-token", "ATBB", NoWord, Alnum, 24),
    token("bitbucket-token", "ATCTT3", NoWord, Path, 40),
    token("sourcegraph-token", "sgp_", NoWord, Word, 40),
    token("sonarqube-token", "squ_", NoWord, Hex, 40),
    token("sonarqube-token", "sqp_", NoWord, Hex, 40),
    token("sonarqube-token", "sqa_", NoWord, Hex, 40),
    token("buildkite-token", "bkua_", NoWord, Hex, 40),
    token("circleci-token", "CCIPRJ_", NoWord, Word, 40),
    token("octopus-api-key", "API-", NoWord, Upper, 26),
    token("prefect-api-key", "pnu_", NoWord, Alnum, 36),
    token("slack-app-token", "xwfp-", NoWord, Word, 20),
    token("slack-webhook-url", "hooks.slack-gov.com/", Anything, Path, 20),
    token("teams-webhook-url", "webhook.office.com/", Anything, Path, 40),
    token("zapier-webhook-url", "hooks.zapier.com/", Anything, Path, 15),
    token("discord-token", "mfa.", NoWord, Word, 60),
    token("telegram-bot-token", ":AA", Digits, Word, 32),
    exactly("crates-io-token", "cio", Alnum, 32),
    exactly("nuget-api-key", "oy2", Alnum, 43),
    token("jfrog-token", "AKCp", NoWord, Alnum, 60),
    token("jfrog-token", "cmVmd", NoWord, Alnum, 55),
    token("clojars-token", "CLOJARS_", NoWord, Alnum, 60),
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
    token("stripe-key", "k_prod_", Anything, Alnum, 10),
    token("square-access-token", "EAAA", NoWord, Word, 55),
    token("easypost-api-key", "EZAK", NoWord, Alnum, 50),
    token("easypost-api-key", "EZTK", NoWord, Alnum, 50),
    token("duffel-token", "duffel_", NoWord, Path, 40),
    token("shippo-token", "shippo_", NoWord, Word, 40),
    token("flutterwave-key", "FLWSECK", NoWord, Word, 12),
    token("plaid-token", "access-production-", NoWord, Word, 30),
    token("plaid-token", "access-sandbox-", NoWord, Word, 30),
    token("brevo-api-key", "xkeysib-", NoWord, Word, 60),
    token("brevo-api-key", "xsmtpsib-", NoWord, Word, 60),
    token("huggingface-token", "api_org_", NoWord, Alnum, 30),
    token("replicate-token", "r8_", NoWord, Alnum, 35),
    token("together-token", "tgp_v1_", NoWord, Word, 30),
    token("cerebras-api-key", "csk-", NoWord, Alnum, 30),
    token("langsmith-api-key", "lsv2_", NoWord, Word, 32),
    token("pinecone-api-key", "pcsk_", NoWord, Word, 40),
    token("notion-token", "secret_", NoWord, Alnum, 43),
    token("figma-token", "figu_", NoWord, Word, 38),
    token("adobe-client-secret", "p8e-", NoWord, Alnum, 32),
    token("contentful-token", "CFPAT-", NoWord, Word, 40),
    token("dropbox-token", "sl.B", NoWord, Word, 100),
    token("dropbox-token", "sl.u.", NoWord, Word, 100),
    token("grafana-token", "glc_", NoWord, Path, 32),
    token("grafana-token", "eyJrIjoi", NoWord, Alnum, 60),
    token("1password-secret-key", "A3-", NoWord, Dashed, 28),
    token("readme-api-key", "rdme_", NoWord, Alnum, 60),
    token("typeform-token", "tfp_", NoWord, Word, 40),
    token("trello-token", "ATTA", NoWord, Alnum, 60),
    token("infracost-api-key", "ico-", NoWord, Alnum, 32),
    token("frameio-token", "fio-u-", NoWord, Word, 60),
    token("newrelic-api-key", "NRII-", NoWord, Word, 32),
    token("facebook-token", "EAAM", NoWord, Alnum, 60),
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
    token("docker-swarm-token", "SWMTKN-1-", NoWord, Word, 40),
    token("k3s-token", "::server:", Anything, Word, 32),
    token("session-id", "PHPSESSID=", NoWord, Word, 20),
    token("session-id", "JSESSIONID=", NoWord, Dotted, 20),
    token("session-id", "sessionid=", NoWord, Word, 20),
    token("session-id", "connect.sid=", NoWord, Path, 20),
    token("crypt-hash", ":$6$", Anything, Crypt, 40),
    token("crypt-hash", ":$y$", Anything, Crypt, 40),
    token("crypt-hash", "$2y$", Anything, Crypt, 50),
    token("crypt-hash", "$2b$", Anything, Crypt, 50),
    token("crypt-hash", "$apr1$", Anything, Crypt, 25),
];

impl Chars {
    fn has(self, byte: u8) -> bool {
        let more: &[u8] = match self {
            Self::Hex => return byte.is_ascii_hexdigit(),
            Self::Upper => return byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Dashed => return byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-',
            Self::Alnum => b"",
            Self::Word => b"_-",
            Self::Dotted => b"_-.",
            Self::Tilde => b"_-.~",
            Self::Path => b"_-./+=:%@",
            Self::Crypt => b"./$=,",
        };
        byte.is_ascii_alphanumeric() || more.contains(&byte)
    }
}

impl Token {
    /// The token whose beginning stands at `at`.
    pub fn find(&self, text: Text, at: usize) -> Option<Found<'static>> {
        if !self.fits_behind(text, at) {
            return None;
        }
        let behind = at + self.text.len();
        // Zeros in base64, of any file.
        if text.from(behind).starts_with(b"AAAAA") && self.text.ends_with("AAA") {
            return None;
        }
        // No further than to see that it is too long: it may begin again behind each colour.
        let end = text.run_within(behind, self.max.saturating_add(1), |byte| self.chars.has(byte));
        (self.min..=self.max).contains(&(end - behind)).then_some(Found { start: at, end, rule: self.rule })
    }

    fn fits_behind(&self, text: Text, at: usize) -> bool {
        let before = text.before(at);
        match self.before {
            Anything => true,
            NoWord => is_boundary(text, at),
            ThreeOfTilde => before.len() >= 3 && before.iter().rev().take(3).all(|byte| Tilde.has(*byte)),
            Exactly(bytes) => before.ends_with(bytes.as_bytes()),
            Digits => before.len() >= 8 && before.iter().rev().take(8).all(u8::is_ascii_digit),
            Registry => [&b"github"[..], b"dckr"].iter().any(|name| before.ends_with(name)),
        }
    }
}

/// Whether a word may begin at `at`: what stands before it is no part of one, or an escape, or sets a colour.
fn is_boundary(text: Text, at: usize) -> bool {
    let before = text.before(at);
    let in_word = before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    !in_word || text.is_parted(at) || is_escape(before)
}

/// Ends in `\n`, `%3D`, `\x3d`, `\u003d` or a terminal's sequence.
fn is_escape(before: &[u8]) -> bool {
    let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match before {
        [.., b'\\', b'n' | b'r' | b't'] => true,
        // A tab as `cat -A` shows it.
        [.., b'^', b'@'..=b'_'] => true,
        [.., b'%' | b'=', a, b] | [.., b'\\', b'x', a, b] if hex(&[*a, *b]) => true,
        [.., b'\\', b'u', a, b, c, d] if hex(&[*a, *b, *c, *d]) => true,
        [start @ .., letter] if letter.is_ascii_alphabetic() => is_open_sequence(start),
        _ => false,
    }
}

/// Ends in a terminal's control sequence that lacks its letter, written as it is or escaped.
pub fn is_open_sequence(before: &[u8]) -> bool {
    const LONGEST: usize = 24;
    const OPENINGS: [&[u8]; 5] = [b"\x1b[", b"\\x1b[", b"u001b[", b"\\033[", b"\\e["];
    let start = Text::of(before).run_back_within(before.len(), LONGEST, |byte| byte.is_ascii_digit() || b";:".contains(&byte));
    OPENINGS.iter().any(|opening| before[..start].ends_with(opening))
}

/// What was looked through for JSON Web Tokens: the first and the second part of the last.
pub type Parts = [Run; 2];

/// A JSON Web Token, signed or encrypted, whose `eyJ` stands at `at`: two parts with a dot between them, and what follows.
pub fn json_web_token(text: Text, at: usize, [first, second]: &mut Parts) -> Option<Found<'static>> {
    // Longer first parts are data, such as a source map in one line of base64.
    const LONGEST_HEADER: usize = 2048;
    let first = first.end(at, || text.run(at, |byte| Word.has(byte)));
    let has_header = (10..=LONGEST_HEADER).contains(&(first - at)) && text.byte(first) == Some(b'.');
    if !has_header || (!is_boundary(text, at) && !text.before(at).ends_with(b"_")) {
        return None;
    }
    let second = second.end(first + 1, || text.run(first + 1, |byte| Word.has(byte)));
    let is_part = |byte: u8| Dotted.has(byte) || byte == b'=';
    // Of an encrypted one the second of five parts may be empty.
    let is_encrypted =
        || text.from(first).iter().take_while(|byte| is_part(**byte)).filter(|byte| **byte == b'.').take(5).count() == 4;
    (second - first > 10 || is_encrypted()).then(|| Found { start: at, end: text.run(at, is_part), rule: "jwt" })
}

/// A private key in one run of base64, as kubeconfig files and secrets hold it, whose `-----BEGIN` is encoded at `at`; and whether
/// the run is one line of many.
pub fn encoded_key(text: Text, at: usize) -> Option<(usize, bool)> {
    const WRAPPED: [usize; 2] = [76, 64];
    let begins = decoded(text.until(at + 64).from(at));
    let is_key = begins.windows(11).any(|part| part == b"PRIVATE KEY");
    let end = || text.run(at, |byte| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte));
    is_key.then(end).map(|end| (end, WRAPPED.contains(&(end - at)) && text.is_end(end)))
}

/// The bytes that are written in base64; as many as there are before the first sign that is none of it.
pub fn decoded(written: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = written.iter().map_while(digit).collect();
    let group = |digits: &[u8]| {
        let bits = digits.iter().fold(0, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - digits.len()));
        bits.to_be_bytes().into_iter().skip(1).take(digits.len() - 1)
    };
    digits.chunks(4).flat_map(group).collect()
}
