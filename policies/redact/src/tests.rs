use std::sync::LazyLock;

use portcullis_sdk::harness::{configure, filter, with_variables};
use portcullis_sdk::{Boundary, Emission, Filter, OutputPolicy, StreamKind};
use proptest::prelude::*;

use crate::Redact;
use crate::text::LOOKED_AT;

static REDACT: LazyLock<Redact> = LazyLock::new(|| configure("{}").expect("no settings are good settings"));
const SAMPLES: &str = include_str!("../../../tests/corpora/secrets.tsv");

fn redacted(text: &str) -> String {
    String::from_utf8(filter(&*REDACT, &[text.as_bytes()])).expect("text stays text")
}

/// `{x*3}` is `xxx`, `\n` a newline.
fn expand(sample: &str) -> String {
    let mut out = String::new();
    let mut rest = sample;
    while let Some(at) = rest.find('{') {
        let repeat = rest[at..].split_once('}').and_then(|(inside, behind)| {
            let (text, count) = inside[1..].rsplit_once('*').filter(|(text, _)| !text.contains('{'))?;
            Some((text.repeat(count.parse().ok()?), behind))
        });
        out.push_str(&rest[..at]);
        match repeat {
            Some((text, behind)) => {
                out.push_str(&text);
                rest = behind;
            }
            None => {
                out.push('{');
                rest = &rest[at + 1..];
            }
        }
    }
    (out + rest).replace("\\n", "\n")
}

fn samples() -> impl Iterator<Item = (&'static str, String)> {
    SAMPLES.lines().skip(1).filter_map(|line| line.split_once('\t')).map(|(rule, sample)| (rule, expand(sample)))
}

/// Rows of our own corpus: what stands between `«` and `»` is the secret.
fn families() -> impl Iterator<Item = (&'static str, String)> {
    let rows = include_str!("../../../tests/corpora/families.tsv").lines().skip(1).filter_map(|line| line.split_once('\t'));
    rows.map(|(kind, text)| (kind, expand(text).replace("{e}", "\x1b")))
}

#[test]
fn every_family_is_redacted_and_nothing_around_it() {
    let mut kinds = std::collections::BTreeMap::<_, usize>::new();
    for (kind, marked) in families() {
        *kinds.entry(kind).or_default() += 1;
        let text = marked.replace(['«', '»'], "") + "\n";
        let mut expected = String::new();
        for (at, part) in marked.split(['«', '»']).enumerate() {
            expected += &if at % 2 == 0 { part.to_owned() } else { format!("[redacted: {kind}]") };
        }
        let out = redacted(&text);
        assert_eq!(out, expected + "\n", "{kind}: {text:?}");
        assert_eq!(redacted(&out), out, "{kind}: filtered text filters to itself");
    }
    for (kind, samples) in kinds {
        assert!(samples >= 3, "{kind} has {samples} samples");
    }
}

#[test]
fn ordinary_text_stays_as_it_is() {
    let text = include_str!("../../../tests/corpora/ordinary.txt");
    for (out, line) in redacted(text).lines().zip(text.lines()) {
        assert_eq!(out, line);
    }
    assert_eq!(redacted(text), text);
}

#[test]
fn no_sample_survives_wherever_it_stands() {
    for (rule, sample) in samples() {
        for (before, behind) in
            [("", ""), ("", "\n"), ("+ ", " and more\n"), ("value: ", "\nnext\n"), ("(", ")\n"), ("log \"", "\"\n")]
        {
            let text = format!("first line\n{before}{sample}{behind}");
            let out = redacted(&text);
            assert!(out.contains("[redacted: "), "{rule}: {out}");
            assert!(!out.contains(&sample), "{rule}: {out}");
            assert!(
                !["xxxxxxxx", "00000000", "AAAAAAAAA", "QQQQQQQQ", "QUFBQ"].iter().any(|part| out.contains(part)),
                "{rule}: {out}"
            );
            assert_eq!(redacted(&out), out, "{rule}: filtered text filters to itself");
        }
    }
}

#[test]
fn members_of_the_families_do_not_survive() {
    let x = |count: usize| "x7".repeat(count / 2);
    let cases = [
        format!("ASIA{}", "Z".repeat(16)),
        format!("ghp_{}", x(36)),
        format!("github_pat_{}", x(82)),
        format!("glcbt-64_{}", x(20)),
        format!("sk-ant-api03-{}", x(90)),
        format!("sk-proj-{}", x(40)),
        format!("npm_{}", x(36)),
        format!("rnd_{}", x(32)),
        format!("sbp_{}", "a1".repeat(20)),
        format!("xai-{}", x(80)),
        format!("pplx-{}", x(48)),
        format!("figd_{}", x(40)),
        format!("ntn_{}", x(46)),
        format!("nfp_{}", x(36)),
        format!("ops_ey{}", x(200)),
        format!("phx_{}", x(42)),
        format!("EAAC{}", x(100)),
        format!("dt0s16.{}", x(60)),
        format!("CCIPAT_{}", x(60)),
        format!("pypi-AgEIcHlwaS5vcmc{}", x(60)),
        format!("SKf{}", "a1".repeat(16)),
        format!("\"password\": \"{}\"", x(8)),
        format!("{{\\\"password\\\": \\\"{}\\\"}}", x(8)),
        format!("  password: {}", x(8)),
        format!("export GITHUB_TOKEN={}", x(8)),
        format!("API_KEY={}", x(12)),
        format!("apiKey: '{}',", x(12)),
        format!("mysql --password={} db", x(8)),
        format!("login --token {} now", x(20)),
        format!("<password>{}</password>", x(8)),
        format!("Authorization: Basic {}", x(20)),
        format!("\"authorization\": \"Bearer {}\"", x(20)),
        format!("redis://:{}@h:6379", x(8)),
        format!("https://u:p@{}@h/", x(8)),
        format!("curl -su u:{} h", x(8)),
        format!("curl --user \"u:{}\" h", x(8)),
        format!("-----BEGIN PRIVATE KEY-----\\n{}\\n-----END PRIVATE KEY-----\\n", x(64)),
        format!("\"-----BEGIN PRIVATE KEY-----\\\\n{}\\\\nAg==\\\\n-----END PRIVATE KEY-----\"", x(64)),
        format!("1:-----BEGIN PRIVATE KEY-----\n2:{}\n3:x7x=\n4:-----END PRIVATE KEY-----", x(64)),
        format!(
            "+-----BEGIN PGP PRIVATE KEY BLOCK-----\n+Version: 1\n+\n+{}\n+=x7x7\n+-----END PGP PRIVATE KEY BLOCK-----",
            x(64)
        ),
        format!("machine h\nlogin u\npassword {}\n", x(12)),
        format!("_auth = {}", x(24)),
        format!("//r.invalid/:_authToken={}", x(24)),
        format!("password: str = \"{}\"", x(8)),
        format!("PASS={}", x(8)),
        format!("DB_PASS={}", x(8)),
        format!("db_pass: {}", x(8)),
        format!("Server=h;Uid=u;Pwd={};", x(8)),
        format!("Server=h;UID=u;PWD={};", x(8)),
        format!("https://h/?pwd={}", x(8)),
        format!("https://h/?pass={}", x(8)),
        format!("https://h/?sv=1&sig={}%3D", x(30)),
        format!("password = b\"{}\"", x(8)),
        format!("password = r'{}'", x(8)),
        format!("password = f\"{}\"", x(8)),
        format!("\"password\":[\"{}\"]", x(8)),
        format!("DB_PASSWORD=ab\"{}", x(8)),
        format!("export DB_PASSWORD=ab {}", x(8)),
        format!("DB_PASSWORD=<{}", x(8)),
        format!("DB_PASSWORD=${{{}", x(8)),
        format!("DB_PASSWORD=$({}", x(8)),
        format!("DB_PASSWORD={{{{{}", x(8)),
        format!("password: abc({}", x(8)),
        format!("https://{}@h.invalid/r.git", x(20)),
        format!("https://{}:@h.invalid/r.git", x(20)),
        format!("https://{}:x-oauth-basic@h.invalid/r.git", x(20)),
        format!(r"https:\/\/u:{}@h.invalid\/", x(8)),
        format!(r"https:\/\/{}@h.invalid\/", x(20)),
        format!("default login u password {}\n", x(8)),
        format!("machine h login u\ndefault login u password {}\n", x(8)),
        format!("PASS: {}", x(8)),
        format!("PASS: \"{}\"", x(8)),
        format!("Pwd: {}", x(8)),
        format!("\"password\": [\"{}\", \"{}\",\"{}\"]", x(8), x(10), x(12)),
        format!("{{\\\"password\\\": [\\\"{}\\\", \\\"{}\\\"]}}", x(8), x(10)),
    ];
    for case in cases {
        let out = redacted(&case);
        assert!(!out.contains("x7x") && !out.contains("ZZZZ") && !out.contains("a1a1"), "{case} -> {out}");
        assert_eq!(redacted(&out), out, "filtered text filters to itself");
    }
}

#[test]
fn ordinary_text_survives() {
    let text = "\
drwxr-xr-x 2 root root 4096 Nov 20 21:29 /usr/share/keyrings/archive.gpg
commit 3f2504e04f8964e3b0c0f1d5a7c6e5d4c3b2a190
id 6fa459ea-ee8a-3ca4-894e-db77e160355e
Enter password: 
error: expected one of `;` or `}`, found token `x`
error: unexpected token: identifier
the password must be at least 8 characters; your password: must be changed
key-value stores and key=value pairs, \"key\": \"value\", primary_key: created_at
max_tokens: 4096, \"tokens\": 120345, tokens = 12
let token = lexer.next_token();
    pub password: String,
    token: &str,
password = os.environ[\"PASSWORD\"]
PASSWORD=$PASSWORD TOKEN=${TOKEN} run
Compiling tokio v1.44.0 (https://github.com/tokio-rs/tokio?rev=1#abc)
https://h.invalid:8080/a@b and mailto:user@h.invalid
   Compiling task-local v0.1.0 (/home/u/src/task-local-storage-implementation)
PWD=/work/secret/path
curl -sSf https://h.invalid/install.sh | sh
the machine is down, login later
grep: -----BEGIN RSA PRIVATE KEY is what to look for
test result: ok. 5 passed; 0 failed; finished in 0.00s
author: A. Nobody <a@h.invalid>
--token <TOKEN>  the token to use
--password string  password of the user
secret_name: db-credentials
tokenizer: whitespace
const FOO_KEY: SomeIdentifier = 1i32;
const FOO_KEY: SomeIdentifierThatIsLong = 1i32;
#define X_TOKEN = IDENT(0x8)
X_TOKEN=IDENT(0x8)
eq_token: input.parse()?,
let tokens = quote!(
test_pass: ok, 3 passed; --- PASS: TestX (0.00s)
PASSWORD=$(cat /run/x) DB_PASS=<pass> run
PWD=/work pwd=/work OLDPWD=/x1
sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
eyJhbGciOiJIUzI1NiJ9
";
    for (out, line) in redacted(text).lines().zip(text.lines()) {
        assert_eq!(out, line);
    }
}

#[test]
fn docker_keeps_names_and_passwords_in_base64() {
    let cases = [("u:p", "dTpw"), ("user:pa", "dXNlcjpwYQ=="), ("user:hunter2", "dXNlcjpodW50ZXIy"), ("aa:b", "YWE6Yg==")];
    for (pair, encoded) in cases {
        let out = redacted(&format!("{{\"auths\":{{\"h\":{{\"auth\":\"{encoded}\"}}}}}}"));
        assert_eq!(out, "{\"auths\":{\"h\":{\"auth\":\"[redacted: assignment]\"}}}", "{pair}");
    }
}

#[test]
fn what_developers_see_every_day_survives() {
    let text = "\
--- PASS: TestBase64Encode2 (0.00s)
PASS: TestBase64Encode2
PASS: test-strtod
PASS: t0001-init.sh 12
# PASS:  34
PASS: gdb.base/break1234.exp: continue
Pwd: /home/u/src
https://git@h.invalid/a/b.git and ssh://git@h.invalid:22/a/b.git
https://first.last@h.invalid/team/repo.git
https://organisation-name-2024@h.invalid/p/_git/p
https://internationalization@h.invalid/p
docker://alpine@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
https://h.invalid/npm/@scope/package@1.2.3 and https:\\/\\/h.invalid\\/a@1.0.0
  Resolved \"https:\\/\\/h.invalid\\/repository\\/abcdefabcdef1234567890abcdef@x\"
default login shell: /bin/bash
the default login page of the site
default login u
\"auth\": \"required\", \"auth\": \"bearer\", \"auth\":\"none\", auth: oauth2
Author: A. Nobody <a@h.invalid>
added 212 packages, and audited 213 packages in 4s
npm warn deprecated glob@7.2.3: versions before v9 are not supported
password: [\"string\", \"null\"]
\"required\": [\"password\", \"token1234\"]
    let passed = results.iter().filter(|result| result.pass).count();
    Finished `dev` profile [unoptimized + debuginfo] target(s) in 3.21s
";
    for (out, line) in redacted(text).lines().zip(text.lines()) {
        assert_eq!(out, line);
    }
}

#[test]
fn a_first_line_alone_swallows_nothing_behind_it() {
    let out = redacted("a:-----BEGIN RSA PRIVATE KEY-----\nb is no key\nc:-----BEGIN RSA PRIVATE KEY-----\nd: neither is this\n");
    assert_eq!(out, "a:-----[redacted: private-key]\nb is no key\nc:-----[redacted: private-key]\nd: neither is this\n");
}

#[test]
fn what_surrounds_a_key_survives() {
    let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{0}\n{0}\nAg==\n-----END RSA PRIVATE KEY-----\n", "A".repeat(64));
    assert_eq!(redacted(&format!("before\n{key}after\n")), "before\n-----[redacted: private-key]\nafter\n");
    let json = format!("{{\"k\": \"{}\", \"n\": 1}}\n", key.replace('\n', "\\n"));
    assert_eq!(redacted(&json), "{\"k\": \"-----[redacted: private-key]\\n\", \"n\": 1}\n");
}

#[test]
fn a_token_behind_an_escape_does_not_survive() {
    for before in
        ["\"\\n", "\\t", "\\r", "%3D", "x\\u003d", "\\x3d", "\x1b[32m", "\x1b[1;32m", "\x1b[m\x1b[K", "\\u001b[32m", "\\033[0m"]
    {
        for token in [format!("AKIA{}", "Z".repeat(16)), format!("sk-ant-{}", "ZZZZ".repeat(20))] {
            let out = redacted(&format!("{before}{token}\n"));
            assert_eq!(out.find("[redacted: "), Some(before.len()), "{out:?}");
        }
    }
    let word = format!("nAKIA{} 3DAKIA{0} [32mAKIA{0}\n", "Z".repeat(16));
    assert_eq!(redacted(&word), word);
}

#[test]
fn what_stands_before_a_secret_in_a_name_does_not_excuse_it() {
    for name in [
        "REDIS_CACHE_PASSWORD",
        "CACHE_PASSWORD",
        "FILE_PASSWORD",
        "GROUP_PASSWORD",
        "LDAP_DIR_PASSWORD",
        "PROVIDER_SECRET",
        "PRIMARY_API_KEY",
        "INDEX_API_KEY",
        "NEXT_AUTH_SECRET",
        "PAYMENT_METHOD_SECRET",
        "primaryKey",
    ] {
        for joint in ["=", ": ", "\": \""] {
            let out = redacted(&format!("{name}{joint}hunter2hunter2\n"));
            assert!(!out.contains("hunter2"), "{out}");
        }
    }
    let text = "PASSWORD_FILE=/run/x1\nSECRET_NAME=abc12345\npublic_key: abcd12345678\nNEXT_PUBLIC_KEY=abcd1234\ncache_key: node12345678\n";
    assert_eq!(redacted(text), text);
}

#[test]
fn a_key_in_the_place_of_a_value_is_a_key() {
    let body = "x7".repeat(32);
    for (before, behind) in [
        ("PRIVATE_KEY=", ""),
        ("PRIVATE_KEY=\"", "\""),
        ("SECRET=\"", "\""),
        ("declare -x TLS_KEY=\"", "\""),
        ("private_key: '", "'"),
    ] {
        for newline in ["\n", " ", "\\n", "\\\\n", "\r\n"] {
            let key = ["-----BEGIN RSA PRIVATE KEY-----", &body, &body, "x7x=", "-----END RSA PRIVATE KEY-----"].join(newline);
            let out = redacted(&format!("{before}{key}{behind}\nafter\n"));
            assert!(out.contains("[redacted: private-key]") && !out.contains("x7"), "{out}");
            assert!(out.ends_with("after\n"), "{out}");
            assert_eq!(redacted(&out), out);
        }
    }
}

#[test]
fn a_key_goes_on_behind_what_does_not_belong_to_it() {
    let body = "x7".repeat(32);
    for between in ["", "X-Foo: bar", "\n\n\n\n\n", "12:01:07 INFO listening on port 80", "one line\nand another\nand a third"] {
        for last in ["x7", "x7x", "x7x7x7x", "x7x=", "x7=="] {
            let key =
                format!("-----BEGIN PRIVATE KEY-----\n{between}\n{body}\n{between}\n{body}\n{last}\n-----END PRIVATE KEY-----\n");
            for text in [key.clone(), key.replace('\n', "$\n"), key.replace('\n', "^M$\n")] {
                let out = redacted(&format!("{text}after\n"));
                assert!(!out.contains("x7"), "{text} -> {out}");
                assert!(out.ends_with("after\n"), "{out}");
                assert_eq!(redacted(&out), out);
            }
        }
    }
}

#[test]
fn a_key_without_an_end_does_not_swallow_the_rest() {
    let text = "-----BEGIN PRIVATE KEY-----\nQUFBQUFBQUFBQUFBQUFBQUFB\na line of text\n\nand one more\na third\na fourth\nQUFBQUFBQUFBQUFBQUFBQUFB\n";
    let out = redacted(text);
    assert_eq!(
        out,
        "-----[redacted: private-key]\na line of text\n\nand one more\na third\na fourth\nQUFBQUFBQUFBQUFBQUFBQUFB\n"
    );
    let long = format!("-----BEGIN PRIVATE KEY-----\n{}", "word\n".repeat(300));
    assert!(redacted(&long).lines().count() > 50);
}

#[test]
fn a_value_longer_than_the_reach_does_not_leak() {
    for long in [
        format!("DB_PASSWORD=\"{}\" tail", "s3 ".repeat(50_000)),
        format!("ghp_{}", "s3".repeat(100_000)),
        format!("postgres://u:{}@h", "s3".repeat(60_000)),
    ] {
        let out = redacted(&format!("{long}\nnext\n"));
        assert!(out.len() < 200 || !out.contains("s3s3s3") && !out.contains("s3 s3"), "{} bytes", out.len());
        assert!(out.ends_with("\nnext\n"));
    }
}

#[test]
fn a_secret_over_a_cut_is_found() {
    for shift in 0..80 {
        let text = format!("token {} ghp_{} end\n", "a ".repeat(32 * 1024 - 60 + shift), "x7".repeat(18));
        let out = redacted(&text);
        assert!(out.ends_with("[redacted: github-token] end\n"), "{shift}");
    }
}

/// What looked through the rest of the line at each trigger would look at each byte ten thousand times.
#[test]
fn each_byte_of_a_line_is_looked_at_a_few_times_at_most() {
    const LENGTH: usize = 256 * 1024;
    const MOST: usize = 400;
    const PARTS: &[&str] = &[
        "password=x ",
        "password=(",
        "token=$(x ",
        "authorization: digest $(x ",
        "auth:$(",
        "password:",
        "Bearer:",
        "|password",
        "key=[",
        "token: [x7x7x7x7x7",
        "token: [x ",
        "password: Some(String::from(",
        "password !!str ",
        "password: !!aaaaaaaaaaaaaaaa",
        "password string = ",
        "+set password ",
        "password: [-x ",
        "password: {+x+} ",
        "password: [-x-]{+",
        "password: \"[-x\"-]{+",
        "password: x-]{+",
        "password=\"\"",
        "password: \"\"\"x ",
        "password='''x'",
        "password || ",
        "(password') || \"",
        ".password(\"",
        ">password</td>",
        ">password</td><td><td>",
        " key=\"password\" ",
        "type=\"password\" ",
        "(setq password ",
        "char password[",
        "**password**",
        "password:</b>",
        "password=\\",
        "\0p\0",
        "1:token ",
        ":_authToken ",
        "key_key_key_key_key_key_key_key_key_key_key_key_key_key_key_file=x ",
        "eyJ-",
        "eyJaaaaaaaaaa..",
        "\x1b[mcio",
        "=ookie: ",
        "curl -u x\"' ",
        "://u:${x@ ",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY----- x -----END PRIVATE KEY----- ",
        "-----BEGIN PRIVATE KEY-----\\nfoo bar\\n",
        "Private-Lines: 1 x",
        "LS0tLS1CRUdJTi",
        "xox",
        "key",
        "x_key_key_key_key_token=[- [- [- [- [- [- -]{+ [- [-+} -]{+ [- [-+} ",
    ];
    for part in PARTS {
        let line = part.repeat(LENGTH / part.len()) + "\n";
        let before = LOOKED_AT.get();
        REDACT.filter(None, StreamKind::Stdout).push(b"", line.as_bytes(), Boundary::Line);
        let times = (LOOKED_AT.get() - before) / LENGTH;
        assert!(times <= MOST, "{part:?}: each byte was looked at {times} times");
    }
}

#[test]
fn a_line_of_nothing_but_secrets_does_not_grow_beyond_what_the_host_takes() {
    for part in ["://u:x@", "a PASS=x ", "://:x@"] {
        let line = format!("x {}\nnext\n", part.repeat(30_000));
        let out = redacted(&line);
        assert!(out.ends_with("\nnext\n") && !out.contains(part), "{part}");
        let mut filter = REDACT.filter(None, StreamKind::Stdout);
        match filter.push(b"", &line.as_bytes()[..72 * 1024], Boundary::Cut).emit {
            Emission::Replace(bytes) => assert!(bytes.len() < 256 * 1024, "{part}: {}", bytes.len()),
            other => panic!("{part}: {other:?}"),
        }
    }
}

#[test]
fn a_key_that_begins_in_what_is_left_out_is_a_key() {
    let body = "x7".repeat(32);
    let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{body}\n{body}\n-----END RSA PRIVATE KEY-----\n");
    let long = "a1".repeat(40_000);
    for before in [
        format!("\"password\":\"{long}\", "),
        format!("\"password\":\"{}\", ", &long[..65_536 - 30]),
        format!("\"password\":\"{}\", ", &long[..65_536 - 40]),
        "DB_PASSWORD=abc def ".to_owned(),
        "password: \"abc ".to_owned(),
        "Authorization: Digest a=b, ".to_owned(),
        "://u:x@ ".repeat(20_000),
        "-----BEGIN PRIVATE KEY----- x ".repeat(40),
    ] {
        let out = redacted(&format!("{before}{key}after\n"));
        assert!(!out.contains("x7x7"), "{} bytes: {}", before.len(), &out[out.len() - 300..]);
        assert!(out.ends_with("after\n"));
    }
}

#[test]
fn exceptions_and_own_patterns_are_heard() {
    let settings = r#"{"allow":["hunter22"],"patterns":[{"name":"acme","triggers":["acme-"],"regex":"acme-[0-9]{6}"}]}"#;
    let policy: &'static Redact = Box::leak(Box::new(configure(settings).unwrap()));
    let out = filter(policy, &[b"PASSWORD=hunter22\nPASSWORD=hunter23\nid acme-123456, acme-12\n"]);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "PASSWORD=hunter22\nPASSWORD=[redacted: assignment]\nid [redacted: acme], acme-12\n"
    );
}

#[test]
fn of_what_begins_at_one_place_the_longest_is_taken_out() {
    let settings = r#"{"patterns":[{"name":"pair","triggers":["AKIA"],"regex":"AKIA[A-Z]{16}:[a-z]{8}"}]}"#;
    let policy: &'static Redact = Box::leak(Box::new(configure(settings).unwrap()));
    let text = format!("AKIA{0}:abcdefgh AKIA{0}:abc\n", "Z".repeat(16));
    assert_eq!(filter(policy, &[text.as_bytes()]), b"[redacted: pair] [redacted: aws-access-token]:abc\n");
}

#[test]
fn exceptions_can_be_patterns_of_whole_values() {
    let settings = r#"{"allow":["AKIAIOSFODNN7EXAMPLE"],"allow_matching":["AKIA[A-Z0-9]{9}EXAMPLE", "test-[a-z]+"]}"#;
    let policy: &'static Redact = Box::leak(Box::new(configure(settings).unwrap()));
    let text = "AKIAIOSFODNN7EXAMPLE AKIAI44QH8DHBEXAMPLE AKIAI44QH8DHBEXAMPLF\nPASSWORD=test-abc\nPASSWORD=test-abc1\n";
    assert_eq!(
        String::from_utf8(filter(policy, &[text.as_bytes()])).unwrap(),
        "AKIAIOSFODNN7EXAMPLE AKIAI44QH8DHBEXAMPLE [redacted: aws-access-token]\nPASSWORD=test-abc\nPASSWORD=[redacted: assignment]\n"
    );
}

fn granted(variables: &[(&str, &str)]) -> &'static Redact {
    Box::leak(Box::new(with_variables(variables, || configure(r#"{"allow":["Zebra/9 of \"x\"?"]}"#)).expect("good variables")))
}

#[test]
fn values_of_variables_are_redacted_in_all_forms() {
    let value = "Zebra/9 of \"x\"?";
    let policy = granted(&[("DEPLOY_TOKEN", value), ("EMPTY", "")]);
    // Behind none, one and two bytes more, as `base64` of it alone and within other text gives it.
    let forms = [
        value,
        "WmVicmEvOSBvZiAieCI/",
        "WmVicmEvOSBvZiAieCI_",
        "IFplYnJhLzkgb2YgIngiPw==",
        "IFplYnJhLzkgb2YgIngiPyA=",
        "ICBaZWJyYS85IG9mICJ4Ij8gIA==",
        "Zebra%2F9%20of%20%22x%22%3F",
        "Zebra%2f9%20of%20%22x%22%3f",
        "Zebra/9%20of%20%22x%22%3F",
        "Zebra%2F9+of+%22x%22%3F",
        "Zebra/9%20of%20%22x%22?",
        "Zebra/9 of \\\"x\\\"?",
        "Zebra\\/9 of \\\"x\\\"?",
        "Zebra/9 of \"\"x\"\"?",
        "Zebra/9 \x1b[01;31m\x1b[Kof\x1b[m\x1b[K \"x\"?",
        "Zebra/9 \x1b[1mof\x1b(B\x1b[m \"x\"\x1b]0;title\x07?",
    ];
    for form in forms {
        for (before, behind) in [("", ""), ("it is ", " and more"), ("x=\"", "\"")] {
            let out = String::from_utf8(filter(policy, &[format!("{before}{form}{behind}\n").as_bytes()])).unwrap();
            assert!(out.contains("[redacted: env-deploy-token]"), "{form}: {out}");
            assert!(out.starts_with(before) && out.ends_with(&format!("{behind}\n")), "{form}: {out}");
            assert!(
                !out.contains("bra") && !out.contains("cmEv") && !out.contains("nJhL") && !out.contains("WJyY"),
                "{form}: {out}"
            );
        }
    }
    let cut = format!("{}{value} behind\n", "a ".repeat(32 * 1024 - 5));
    assert!(filter(policy, &[b"token ", cut.as_bytes()]).ends_with(b"a [redacted: env-deploy-token] behind\n"));
}

#[test]
fn a_value_that_another_secret_begins_with_is_not_shown_in_part() {
    let policy = granted(&[("DEPLOY_TOKEN", "correct horse battery staple&a=b")]);
    for before in ["password=", "Authorization: Bearer ", "curl -u me:", "token: ", "--password "] {
        let out = String::from_utf8(filter(policy, &[format!("{before}correct horse battery staple&a=b behind\n").as_bytes()]))
            .unwrap();
        assert!(!out.contains("horse") && !out.contains("a=b") && out.ends_with("behind\n"), "{out}");
    }
}

#[test]
fn a_colour_within_a_name_or_a_beginning_hides_nothing() {
    const WORDS: &[&str] =
        &["DB_PASSWORD=x7x7x7x7x7", "\"api_key\": \"x7x7x7x7x7\"", "t=ghp_x7x7x7x7x7x7x7x7x7x7x7x7", "https://u:x7x7x7@h"];
    let colours = [("\x1b[01;31m\x1b[K", "\x1b[m\x1b[K"), ("\x1b[1;38:2::1:2:3m", "\x1b[0m"), ("\x1b[31m", "\x1b[m")];
    for text in WORDS {
        for (on, off) in colours {
            for (from, to) in (0..text.len()).flat_map(|from| (from + 1..text.len().min(from + 5)).map(move |to| (from, to))) {
                let line = format!("{}{on}{}{off}{}\n", &text[..from], &text[from..to], &text[to..]);
                let out = redacted(&line);
                assert!(!out.contains("x7x7x7"), "{line:?} -> {out:?}");
                assert_eq!(redacted(&out), out, "filtered text filters to itself");
            }
        }
    }
    let plain = "\x1b[1m   Compiling\x1b[0m token v1.0\n\x1b[01;31m\x1b[Kkey\x1b[m\x1b[K-value\n";
    assert_eq!(redacted(plain), plain);
}

/// What programs put around what they point out, and behind it.
const COLOURS: &[(&str, &str)] = &[
    ("\x1b[01;31m\x1b[K", "\x1b[m\x1b[K"),
    ("\x1b[38;2;255;255;255;48;2;255;255;255m", "\x1b[0K"),
    ("\x1b]8;;file://h/a%20b\x1b\\", "\x1b]8;;\x1b\\"),
    ("\x1b[1;38:2::1:2:3m", "\x1b(B\x1b[m"),
    ("\x1b[m", "\x1b[m\x0f"),
];

/// A text with colours around as many bytes as `width` says, at each place.
fn coloured(text: &str, width: usize, (on, off): (&str, &str)) -> impl Iterator<Item = String> {
    let from = (0..text.len()).map(move |from| (from, text.len().min(from + width)));
    let from = from.filter(|(from, to)| text.is_char_boundary(*from) && text.is_char_boundary(*to));
    from.map(move |(from, to)| format!("{}{on}{}{off}{}", &text[..from], &text[from..to], &text[to..]))
}

fn uncoloured(text: &str) -> String {
    String::from_utf8(crate::colours::without(text.as_bytes())).expect("text stays text")
}

/// What becomes of lines that the filter is given whole.
fn judged(text: &str) -> String {
    let (mut filter, mut out) = (REDACT.filter(None, StreamKind::Stdout), Vec::new());
    for line in text.split_inclusive('\n') {
        match filter.push(b"", line.as_bytes(), Boundary::Line).emit {
            Emission::Replace(bytes) => out.extend(bytes),
            Emission::Pass => out.extend(line.bytes()),
            Emission::Drop => {}
            Emission::Stop(_) => panic!("nothing stops it"),
        }
    }
    String::from_utf8(out).expect("text stays text")
}

#[test]
fn colours_change_nothing_of_what_is_taken_out_wherever_they_stand() {
    for (at, (kind, marked)) in families().enumerate() {
        let text = uncoloured(&marked.replace(['«', '»'], "")) + "\n";
        let expected = uncoloured(&judged(&text));
        for (width, colours) in [(1, COLOURS[0]), (2, COLOURS[at % COLOURS.len()]), (4, COLOURS[(at + 2) % COLOURS.len()])] {
            for (place, line) in coloured(&text, width, colours).enumerate() {
                let out = judged(&line);
                assert_eq!(uncoloured(&out), expected, "{kind}: {line:?}");
                // As a host gives it, which is slow here.
                if (at + place).is_multiple_of(89) {
                    assert_eq!(redacted(&line), out, "{kind}: {line:?}");
                    assert_eq!(redacted(&out), out, "filtered text filters to itself");
                }
            }
        }
    }
}

#[test]
fn a_key_is_one_wherever_colours_stand_in_its_first_line() {
    let body = "x7".repeat(32);
    for label in [
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ] {
        for prefix in [
            "",
            "\x1b[35m\x1b[Kk3\x1b[m\x1b[K\x1b[36m\x1b[K:\x1b[m\x1b[K",
            "\x1b[32m\x1b[K1\x1b[m\x1b[K\x1b[36m\x1b[K:\x1b[m\x1b[K",
        ] {
            for (width, colours) in [1, 2, 4].into_iter().zip(COLOURS.iter().cycle()) {
                for first in coloured(&format!("-----BEGIN {label}-----"), width, *colours) {
                    let text = format!("{prefix}{first}\n{prefix}{body}\n{prefix}x7x=\n{prefix}-----END {label}-----\nafter\n");
                    let out = judged(&text);
                    assert!(!out.contains("x7") && out.ends_with("after\n"), "{text:?} -> {out:?}");
                    assert_eq!(judged(&out), out, "filtered text filters to itself");
                }
            }
        }
    }
}

#[test]
fn a_key_ends_wherever_colours_stand_in_its_last_line() {
    let body = "x7".repeat(32);
    for last in coloured("-----END PRIVATE KEY-----", 2, COLOURS[0]) {
        let out = redacted(&format!("-----BEGIN PRIVATE KEY-----\n{body}\n{last}\nafter\n"));
        assert_eq!(uncoloured(&out), "-----[redacted: private-key]\nafter\n", "{last:?}");
    }
}

#[test]
fn nothing_of_a_value_is_shown_wherever_colours_stand_in_it() {
    for value in ["Zx9q7LmK", "Zx9q7Lm-battery staple", "Zx9q\x1b[1m7LmKvw"] {
        let policy = granted(&[("V", value)]);
        let value = uncoloured(value);
        for colours in COLOURS {
            for line in (1..4).flat_map(|width| coloured(&value, width, *colours)) {
                for chunks in
                    [vec![format!("v {line} w\n")], line.split_inclusive(char::is_alphanumeric).map(str::to_owned).collect()]
                {
                    let chunks: Vec<_> = chunks.iter().map(String::as_bytes).collect();
                    let out = uncoloured(&String::from_utf8(filter(policy, &chunks)).unwrap());
                    assert_eq!(out.trim_matches(['v', 'w', ' ', '\n']), "[redacted: env-v]", "{line:?}");
                }
            }
        }
    }
}

#[test]
fn what_titles_and_links_say_is_judged_by_itself() {
    let out = redacted("\x1b[1mx\x1b[m \x1b]8;;https://u:x7x7x7@h\x1b\\key\x1b]8;;\x1b\\ \x1b]0;ls --password=x7x7x7\x07: y\n");
    assert_eq!(
        out,
        "\x1b[1mx\x1b[m \x1b]8;;https://u:[redacted: url-password]@h\x1b\\key\x1b]8;;\x1b\\ \x1b]0;ls --password=[redacted: assignment]\x07: y\n"
    );
    let mut filter = REDACT.filter(None, StreamKind::Stdout);
    let action = filter.push(b"", b"\x1b]8;;https://u:x7x7x7@h\x1b\\key\x1b]8;;\x1b\\\n", Boundary::Line);
    assert_eq!(action.findings.iter().map(|found| (found.kind.as_str(), found.count)).collect::<Vec<_>>(), [("url-password", 1)]);
}

#[test]
fn a_colour_over_a_cut_hides_nothing() {
    let secret = "gh\x1b[01;31mp_x7x7x7\x1b[mx7x7x7x7\x1b]8;;file://a\x1b\\x7x7x7\x1b]8;;\x1b\\x7x7x7x7";
    for shift in (0..secret.len() + 4).step_by(3) {
        let text = format!("token {}{secret} end\n", "a ".repeat(32 * 1024 - 40) + &" ".repeat(shift));
        let out = redacted(&text);
        assert!(out.ends_with("[redacted: github-token] end\n"), "{shift}: {:?}", &out[out.len() - 120..]);
    }
}

#[test]
fn a_line_of_nothing_but_colours_is_no_burden() {
    for part in ["\x1b[1m", "\x1b[38;2;1;2;3mx", "\x1b]8;;://u:x@\x07", "\x1b]8;;a", "\x1b[1;1", "\x1b]8;;\x1b\\pass"] {
        let line = format!("{}\nnext\n", part.repeat(140_000 / part.len()));
        let out = redacted(&line);
        assert!(out.ends_with("\nnext\n") && !out.contains(":x@"), "{part:?}");
    }
}

#[test]
fn lines_below_a_name_are_found_in_listings() {
    let texts = [
        "tokens:\n  - x7x7x7x7\n  - x7x7x7x7x7\nname: y\n",
        "\"password\": [\n  \"x7x7x7x7\",\n  \"x7x7x7x7\"\n]\n",
        "secret: |\n  x7x7x7x7 x7\nname: y\n",
        "- name: DB_PASSWORD\n  value: x7x7x7x7\n- name: y\n",
        "{\n  \"name\": \"DB_PASSWORD\",\n  \"value\": \"x7x7x7x7\"\n}\n",
        "C {\n  password: Some(\n    \"x7x7x7x7\",\n  ),\n}\n",
    ];
    for text in texts {
        for prefix in ["", "+", "12:", "    12\t", "#", "      1 "] {
            let text: String = text.lines().map(|line| format!("{prefix}{line}\n")).collect();
            let out = redacted(&text);
            assert!(!out.contains("x7x7"), "{out}");
            assert_eq!(redacted(&out), out, "filtered text filters to itself");
        }
    }
    let plain = "- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef: x\n- name: TOKEN_TTL\n  value: \"3600\"\n- name: PASSWORD\n  key: a\n  value: b1234567\n";
    assert_eq!(redacted(plain), plain);
}

#[test]
fn what_other_programs_make_of_a_line_hides_nothing() {
    for text in [
        "a:^IAKIAZZZZZZZZZZZZZZZZ",
        "a=3DAKIAZZZZZZZZZZZZZZZZ",
        "\x1b[38:2::1:2:3mAKIAZZZZZZZZZZZZZZZZ",
        "set password x7x7x7x7x7",
        "npm config set token x7x7x7x7x7x7x7x7",
        "setenv DB_PASSWORD x7x7x7x7",
        "set -x DB_PASSWORD x7x7x7x7",
        "ENV DB_PASSWORD x7x7x7x7",
        "[\"--password\",\"x7x7x7x7\"]",
        "['mysql', '--password', 'x7x7x7x7']",
        "{\"name\":\"DB_PASSWORD\",\"value\":\"x7x7x7x7\"}",
        "https://h/?next=%2F%3Fpassword%3Dx7x7x7x7",
        "https://h/?sv=1&sig=x7x7/x7x7x7",
        "-----BEGIN  RSA  PRIVATE  KEY-----\nx7x7x7x7x7x7x7x7x7x7\nx7x=\n-----END  RSA  PRIVATE  KEY-----",
    ] {
        let out = redacted(&format!("{text}\n"));
        assert!(!out.contains("x7x7") && !out.contains("ZZZZ"), "{out}");
        assert_eq!(redacted(&out), out, "filtered text filters to itself");
    }
}

#[test]
fn a_value_and_what_it_was_changed_into_are_taken_out_in_colours() {
    let (old, new, off) = ("\x1b[31m", "\x1b[32m", "\x1b[m");
    for (text, expected) in [
        (format!("password: {old}\"x7x7x7x7\"{off}{new}\"y8y8y8y8\"{off}\n"), "password: \"[redacted: assignment]\"\n"),
        (
            format!("{{\"password\": {old}\"x7x7x7x7\",{off}{new}\"y8y8y8y8\",{off} \"a\": 1}}\n"),
            "{\"password\": \"[redacted: assignment]\", \"a\": 1}\n",
        ),
        (format!("  secret = {old}'x7x7x7x7';{off}{new}'plainword';{off}\n"), "  secret = '[redacted: assignment]';\n"),
        (format!("password: {old}\"x7x7x7x7\"{off}{new}y8y8y8y8{off}\n"), "password: \"[redacted: assignment]\n"),
        (format!("password: {old}x7x7x7x7{off}{new}\"y8y8y8y8\"{off}\n"), "password: [redacted: assignment]\"\n"),
        (format!("password: {old}\"\"{off}{new}\"y8y8y8y8\"{off}\n"), "password: \"\"\"[redacted: assignment]\"\n"),
        (
            format!("token: {old}\"{}\"{off}{new}\"{}\"{off}\n", "x7".repeat(10), "y8".repeat(10)),
            "token: \"[redacted: assignment]\"\n",
        ),
    ] {
        let out = redacted(&text);
        assert_eq!(uncoloured(&out), expected, "{text:?}");
        assert_eq!(redacted(&out), out, "filtered text filters to itself");
    }
    let (old, new) = ("\x1b[31mK_TOKEN=\"x7x7x7x7\x1b[m", "\x1b[32mK_TOKEN=\"y8y8y8y8\x1b[m");
    let out = uncoloured(&redacted(&format!("export {old}{new} a\"\n")));
    assert_eq!(out, "export K_TOKEN=\"[redacted: assignment]K_TOKEN=\"[redacted: assignment]\"\n");
    // What `grep` points out is in the value too, or is the next name.
    for text in [
        "{\"\x1b[1mpassword\x1b[m\": \"my\x1b[1mpassword\x1b[mx7x7\"}\n",
        "{password:\"x7x7x7x7\",\x1b[1mtoken\x1b[m:\"x7x7x7x7x7\"}\n",
    ] {
        assert!(!redacted(text).contains("x7"), "{}", redacted(text));
    }
    // As `jq` colours an object: the next string is a name.
    let object = "{\x1b[34;1m\"password\"\x1b[0m\x1b[1;39m:\x1b[0m\x1b[0;32m\"x7x7x7x7\"\x1b[0m\x1b[1;39m,\x1b[0m\x1b[34;1m\"user\"\x1b[0m\x1b[1;39m:\x1b[0m\x1b[0;32m\"bob\"\x1b[0m}\n";
    assert_eq!(uncoloured(&redacted(object)), "{\"password\":\"[redacted: assignment]\",\"user\":\"bob\"}\n");
}

/// A text in UTF-16, the lower byte first or last.
fn wide(text: &str, is_low_first: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|unit| if is_low_first { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
}

fn narrow(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes.iter().copied().filter(|byte| *byte != 0).collect::<Vec<_>>()).into_owned()
}

#[test]
fn text_in_utf_16_is_judged_like_any_other() {
    for is_low_first in [true, false] {
        for (kind, marked) in families().step_by(3) {
            let text = format!("\u{feff}first\r\n{}\r\nlast\r\n", uncoloured(&marked.replace(['«', '»'], "")));
            let out = filter(&*REDACT, &[&wide(&text, is_low_first)]);
            assert!(narrow(&out).ends_with(&redacted(&text)[3..]), "{kind}: {text:?} -> {:?}", narrow(&out));
            assert_eq!(filter(&*REDACT, &[&out]), out, "{kind}: filtered text filters to itself");
        }
        let plain = wide("\u{feff}the task-local-storage-of-the-implementation, and the password\r\n", is_low_first);
        assert_eq!(filter(&*REDACT, &[&plain]), plain);
        let value = filter(granted(&[("V", "Zebra/9 of it")]), &[&wide("\u{feff}a Zebra/9 of it b\r\n", is_low_first)]);
        assert!(narrow(&value).contains("a [redacted: env-v] b\r\n"));
    }
    let zeros = b"a\0b\0token\0PATH=/x\0HOME=/y\0\0\0p\0\0\0";
    assert_eq!(filter(&*REDACT, &[zeros]), zeros);
}

/// What a filter of these variables and exceptions makes of a text.
fn shown(variables: &[(&str, &str)], settings: &str, text: &str) -> String {
    let policy: &'static Redact = Box::leak(Box::new(with_variables(variables, || configure(settings)).expect("good variables")));
    String::from_utf8(filter(policy, &[text.as_bytes()])).expect("text stays text")
}

#[test]
fn of_values_that_begin_with_one_another_all_is_taken_out() {
    let variables = [("USER", "correct-horse"), ("DB_URL", "correct-horse-battery-staple"), ("OTHER", "staple=and+more")];
    for (text, expected) in [
        ("x correct-horse y", "x [redacted: env-user] y"),
        ("x correct-horse-battery-staple y", "x [redacted: env-db-url] y"),
        ("x correct-horse-battery-staple=and+more y", "x [redacted: env-db-url] y"),
        ("x correct-horse-battery y", "x [redacted: env-user]-battery y"),
        ("x Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ== y", "x [redacted: env-db-url] y"),
    ] {
        assert_eq!(shown(&variables, "{}", text), expected);
    }
    let cut = "a ".repeat(32 * 1024 - 20);
    for shift in (0..60).step_by(5) {
        let text = format!("token {cut}{} correct-horse-battery-staple=and+more y\n", "b".repeat(shift));
        assert!(shown(&variables, "{}", &text).ends_with(" [redacted: env-db-url] y\n"), "{shift}");
    }
}

#[test]
fn a_value_is_found_beside_and_within_other_secrets() {
    let (variables, allow) = ([("DEPLOY", "correct-horse")], r#"{"allow":["correct-horse","correct-horse-and"]}"#);
    for text in [
        "Cookie: a=correct-horse; sid=0123456789abcdef77",
        "mysql -h correct-horse -phunter22",
        "curl -u correct-horse:hunter22 h",
        "postgres://correct-horse:hunter22@h",
        "Temporary password for correct-horse: hunter22",
        "password=correct-horse",
        "password=correct-horse-and",
        "PASSWORD=a correct-horse b",
    ] {
        let out = shown(&variables, allow, text);
        assert!(!out.contains("correct") && !out.contains("hunter22"), "{out}");
    }
}

#[test]
fn values_are_found_as_programs_write_them_in_json() {
    let (value, control) = ("Zq&<é\t/>=\"'+€😀\u{2028}\\x1", "Zebra9\u{8}\u{c}\u{1b}\u{7f}x");
    for (value, form) in [
        (value, r#"Zq&<é\t/>=\"'+€😀"#.to_owned() + "\u{2028}\\\\x1"),
        (value, r#"Zq\u0026\u003cé\t/\u003e=\"'+€😀\u2028\\x1"#.to_owned()),
        (value, r#"Zq&<\u00e9\t/>=\"'+\u20ac\ud83d\ude00\u2028\\x1"#.to_owned()),
        (value, r#"Zq&<\u00e9\t\/>=\"'+\u20ac\ud83d\ude00\u2028\\x1"#.to_owned()),
        (value, r#"Zq\u0026\u003cé\t/\u003e\u003d\"\u0027+€😀\u2028\\x1"#.to_owned()),
        (value, r#"Zq\u0026\u003c\u00e9\t/\u003e=\u0022\u0027\u002b\u20ac\ud83d\ude00\u2028\\x1"#.to_owned()),
        (value, r#"Zq\u0026\u003C\u00E9\t/\u003E=\u0022\u0027\u002B\u20AC\uD83D\uDE00\u2028\\x1"#.to_owned()),
        (control, r"Zebra9\b\f\u001b".to_owned() + "\u{7f}x"),
        (control, r"Zebra9\b\f\u001b\u007fx".to_owned()),
    ] {
        assert_eq!(shown(&[("V", value)], "{}", &format!("a \"{form}\" b")), "a \"[redacted: env-v]\" b", "{form}");
    }
}

#[test]
fn values_of_many_lines_are_redacted_line_by_line() {
    let policy = granted(&[("CERT", "first line\n\nshort\nthird line\r\n")]);
    let out = filter(policy, &[b"first line\nshort\n> third line <\nZmlyc3QgbGluZQoKc2hvcnQKdGhpcmQgbGluZQ==\n"]);
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("[redacted: env-cert]\nshort\n> [redacted: env-cert] <\n[redacted: env-cert]"), "{out}");
    assert!(out.ends_with("[redacted: env-cert]\n"), "{out}");
    let long: &'static str = Box::leak("x7Q-".repeat(50).into_boxed_str());
    let wrapped = portcullis_sdk::harness::filter(granted(&[("LONG", long)]), &[b"eDdRLXg3US14N1EteDdRLXg3US14N1EteDdRLXg3US14N1EteDdRLXg3US14N1EteDdRLXg3US14\nN1EteDdRLXg3US14N1EteDdRLXg3US14N1EteDdRLXg3US14N1EteDdRLXg3US14N1EteDdRLXg3\n"]);
    assert_eq!(wrapped, b"[redacted: env-long]\n[redacted: env-long]\n");
}

#[test]
fn values_that_can_not_be_found_are_mistakes() {
    let error = |value: &str| {
        let errors = with_variables(&[("DEPLOY_TOKEN", value)], || configure::<Redact>("{}")).err().expect("it is wrong");
        assert!(errors[0].message.contains("DEPLOY_TOKEN") || value.len() > 3000, "{errors:?}");
        assert!(!errors[0].message.contains(value), "{errors:?}");
        errors[0].message.clone()
    };
    assert!(error("short77").contains("fewer than 8 bytes"));
    assert!(error("a\nb\nshort77").contains("fewer than 8 bytes"));
    assert!(error(&"x".repeat(2049)).contains("more than 2048 bytes"));
    assert!(error(&(0..400).map(|line| format!("line {line} of it\n")).collect::<String>()).contains("grant fewer"));
}

#[test]
fn what_is_taken_out_is_counted_by_kind() {
    let mut filter = REDACT.filter(None, StreamKind::Stdout);
    let line = format!("PASSWORD=hunter22 and ghp_{0} ghp_{0}\n", "x7".repeat(18));
    let action = filter.push(b"", line.as_bytes(), Boundary::Line);
    let found: Vec<_> = action.findings.iter().map(|finding| (finding.kind.as_str(), finding.count)).collect();
    assert_eq!(found, [("assignment", 1)]);
    let line = format!("a ghp_{0} ghp_{0} b PASS: x7x7x7x7\n", "x7".repeat(18));
    let action = filter.push(b"", line.as_bytes(), Boundary::Line);
    let found: Vec<_> = action.findings.iter().map(|finding| (finding.kind.as_str(), finding.count)).collect();
    assert_eq!(found, [("github-token", 2), ("assignment", 1)]);
    assert!(filter.push(b"", b"token: none\n", Boundary::Line).findings.is_empty());
}

#[test]
fn all_mistakes_in_settings_are_named() {
    let settings = r#"{"allow":[""],"allow_matching":["ok","(","x*"],"patterns":[{"name":"A","triggers":["acme"],"regex":"x"},{"name":"b","triggers":["ab"],"regex":"x"},{"name":"c","triggers":["abc"],"regex":"("}]}"#;
    let errors = configure::<Redact>(settings).err().expect("they are wrong");
    let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        ["allow.0", "allow_matching.1", "allow_matching.2", "patterns.0.name", "patterns.1.triggers", "patterns.2.regex"]
    );
}

#[test]
fn pauses_change_nothing() {
    let lines = [
        "password: hunter22,more33 x\n",
        "token=abc12345)def678 \"x\"\n",
        "set requirepass hunter22 more words\n",
        "Cookie: a=b; sid=0123456789abcdef77; c=d; s=0123456789abcdef78; e=f\n",
        "sshpass -p hunter22 ssh h; mysql -u root -phunter22 db\n",
        "self.token = next_token; a(prompt='Password: ', b)\n",
        "| password | hunter22 | x\n",
        "Temporary password for u: hunter22 is told\n",
        "<add key=\"ApiKey\" value=\"hunter22\" />\n",
        "ALTER USER u IDENTIFIED BY 'hunter 22' x\n",
        "define('DB_PASSWORD', 'hunter22'); x\n",
        "password: [-hunter22-]{+hunter33+} x\n",
        "{\"password\": \x1b[31m\"hunter22\",\x1b[m\x1b[32m\"hunter33\",\x1b[m \"a\": 1}\n",
        "process.env.DB_PASSWORD || \"hunter22\"; x\n",
        "<tr><td>password</td><td>hunter22</td></tr>\n",
        "password = \"\"\"hunter22\"\"\" x\n",
        "password = \"hunter22\"\"hunter33\" x\n",
        "- **Password**: `hunter22` x\n",
    ];
    for line in lines {
        for cut in 1..line.len() {
            let mut filter = REDACT.filter(None, StreamKind::Stdout);
            let mut out = Vec::new();
            let mut held = line.as_bytes()[..cut].to_vec();
            for (rest, boundary) in [(&b""[..], Boundary::Silence), (&line.as_bytes()[cut..], Boundary::Line)] {
                held.extend_from_slice(rest);
                let action = filter.push(b"", &held, boundary);
                let left = held.split_off(held.len() - action.hold as usize);
                match action.emit {
                    Emission::Pass => out.extend(&held),
                    Emission::Replace(bytes) => out.extend(bytes),
                    Emission::Drop => {}
                    Emission::Stop(_) => panic!("nothing stops it"),
                }
                held = left;
            }
            let mut whole = REDACT.filter(None, StreamKind::Stdout);
            let expected = match whole.push(b"", line.as_bytes(), Boundary::Line).emit {
                Emission::Replace(bytes) => bytes,
                _ => line.as_bytes().to_vec(),
            };
            assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(expected).unwrap(), "{cut}");
        }
    }
}

#[test]
fn triggers_are_few_and_valid() {
    let triggers = REDACT.triggers();
    assert!(triggers.len() <= 320, "{}", triggers.len());
    assert!(triggers.iter().all(|trigger| (3..=64).contains(&trigger.text.len())));
    assert!(triggers.iter().filter(|trigger| trigger.ignore_case).count() <= 10);
}

proptest! {
    #[test]
    fn any_split_filters_to_the_same_bytes(order in prop::collection::vec(0usize..60, 1..12), cuts in prop::collection::vec(1usize..40, 1..80)) {
        let all: Vec<_> = samples().map(|(_, sample)| sample).chain(["plain\n".to_owned(), "{\"a\": ".to_owned(), "curl ".to_owned(), "\n".to_owned()]).collect();
        let text: String = order.iter().map(|at| format!("{} ", all[at % all.len()])).collect();
        let whole = filter(&*REDACT, &[text.as_bytes()]);
        let (mut pieces, mut rest) = (Vec::new(), text.as_bytes());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, next) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = next;
        }
        prop_assert_eq!(&filter(&*REDACT, &pieces), &whole);
        prop_assert_eq!(filter(&*REDACT, &[&whole]), whole);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), word in "[ -~]{0,80}") {
        let mut text = bytes.clone();
        text.extend(b"password=");
        text.extend(word.bytes());
        text.extend(b"://u:\\");
        text.extend(&bytes);
        filter(&*REDACT, &[&text]);
    }
}

#[test]
fn the_schema_beside_the_policy_is_that_of_its_settings() {
    portcullis_sdk::harness::check_schema::<crate::Settings>(concat!(env!("CARGO_MANIFEST_DIR"), "/settings.schema.json"));
}
