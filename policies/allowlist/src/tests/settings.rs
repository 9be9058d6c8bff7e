//! What holds of rules from several places, and what is wrong with rules.

use portcullis_sdk::harness::configure;

use super::{code, hardened_code, rules};
use crate::Allowlist;

#[test]
fn own_rules_add_to_those_of_packs() {
    let rules = rules(
        r#"
        include = ["coreutils-read", "git-read"]
        [programs.ls]
        flags = ["-L"]
        [programs.head]
        replace = true
        options = { "-n" = "integer" }
        [programs.cat]
        forbid = true
        [programs.git.commands.show]
        forbid = true
        [programs.git.commands.fetch]
        flags = ["--all"]
        [programs.date]
        flags = ["-d"]
        [programs.tool]
        "#,
    );
    for (line, expected) in [
        ("ls -lL", "allow"),
        ("head -n 3", "allow"),
        ("head -n 3 a.txt", "operand-not-allowed"),
        ("head -c 3", "flag-not-allowed"),
        ("cat a.txt", "forbidden"),
        ("git show", "forbidden"),
        ("git fetch --all", "allow"),
        ("git fetch", "allow"),
        ("git push", "sub-command-not-allowed"),
        ("git log", "allow"),
        ("date -d now", "value-not-allowed"),
        ("date -d", "allow"),
        ("tool", "allow"),
    ] {
        assert_eq!(hardened_code(&rules, line), expected, "{line}");
    }
}

#[test]
fn a_later_pack_adds_to_an_earlier_one() {
    let rules = rules("include = ['git-write', 'git-read', 'versions', 'cargo']");
    for line in ["git branch new", "git branch --list x", "git log", "git commit -m x", "cargo --version", "cargo test"] {
        assert_eq!(hardened_code(&rules, line), "allow", "{line}");
    }
    assert_eq!(code(&rules, "cargo --version"), "abstain", "harden has not set the toolchain");
}

#[test]
fn parts_are_put_where_they_are_named() {
    let rules = rules(
        r#"
        [parts.quiet]
        flags = ["-q"]
        operands = { kind = "any", max = 1 }
        [programs.a]
        with = ["quiet"]
        flags = ["-v"]
        [programs.b.commands.go]
        with = ["quiet"]
        operands = { kind = "any", max = 2 }
        "#,
    );
    for (line, expected) in
        [("a -qv x", "allow"), ("a x y", "operand-not-allowed"), ("b go -q x y", "allow"), ("b -q go", "flag-not-allowed")]
    {
        assert_eq!(code(&rules, line), expected, "{line}");
    }
}

#[test]
fn mistakes_in_rules_are_named() {
    let errors = |toml: &str| {
        let settings: serde_json::Value = toml::from_str(toml).expect("TOML");
        let errors = configure::<Allowlist>(&settings.to_string()).err().unwrap_or_else(|| panic!("{toml} is wrong"));
        errors.into_iter().map(|error| error.path).collect::<Vec<_>>().join(" ")
    };
    for (toml, expected) in [
        ("programs.a.flag = []", "programs.a.flag"),
        ("programs.a.options.-n = 'number'", "programs.a.options.-n"),
        ("programs.a.operands.kind.pattern = '('", "programs.a.operands.kind.pattern"),
        ("programs.a.operands.kind.pattern = 'a)|(?:b'", "programs.a.operands.kind.pattern"),
        ("programs = { 'a/b' = {}, './../x' = {}, c.options.n = 'any' }", "programs../../x programs.a/b programs.c.options.n"),
        ("programs.a = { flags = ['-n'], options = { '-n' = 'any' } }", "programs.a.options.-n"),
        ("programs.a = { terminator = true, passed-on = 'any' }", "programs.a.passed-on"),
        ("include = ['shell', 'shel']", "include.1"),
        ("programs.a.with = ['x']", "programs.a.with"),
        ("parts.a.with = ['b']\nparts.b = {}", "parts.a.with"),
        ("scripts.constructs = ['pipes']", "scripts.constructs.0"),
        ("scripts.variables = ['[']", "scripts.variables.0"),
        ("scripts.builtins.export.env.PATH = 'any'", "scripts.builtins.export.env.PATH"),
        ("programs.a.input = 'yes'", "programs.a.input"),
        ("programs.a.input.lines = ['(']", "programs.a.input.lines.0"),
        ("programs.a.input.line = []", "programs.a.input"),
    ] {
        assert_eq!(errors(toml), expected, "{toml}");
    }
}

#[test]
fn the_schema_beside_the_policy_is_that_of_its_settings() {
    portcullis_sdk::harness::check_schema::<crate::settings::Settings>(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/settings.schema.json"
    ));
}
