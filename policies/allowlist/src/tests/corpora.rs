//! The default rules against the corpora and their relatives, behind what `harden` makes of a command.

use portcullis_sdk::Verdict;

use super::{code, defaults, harden, hardened_code, split, verdict};

const BYPASSES: &str = include_str!("../../../../tests/corpora/bypasses.tsv");
const BENIGN: &str = include_str!("../../../../tests/corpora/benign.txt");

#[test]
fn every_benign_command_passes() {
    let rules = defaults();
    let simple: Vec<_> = BENIGN.lines().filter_map(|line| Some((line, split(line)?))).collect();
    assert!(simple.len() >= 25, "{} lines", simple.len());
    for (line, words) in simple {
        assert_eq!(verdict(&rules, &harden(&rules, words)), Verdict::Allow, "{line}");
    }
}

#[test]
fn no_bypass_passes() {
    /// What becomes harmless by hardening, where the planted file is what would have run.
    const HARDENED: [&str; 2] = ["git diff HEAD~1", "git log -p"];
    /// Judged by other means: it prints without end, and to itself.
    const OTHERS: [&str; 1] = ["cat /dev/zero"];
    let rules = defaults();
    let mut judged = 0;
    for row in BYPASSES.lines().skip(1) {
        let line = row.split('\t').nth(1).expect("three columns");
        let Some(words) = split(line) else { continue };
        if HARDENED.contains(&line) || words.len() == 1 && words[0].contains('=') {
            continue;
        }
        judged += 1;
        assert_ne!(verdict(&rules, &harden(&rules, words.clone())), Verdict::Allow, "{line}");
        assert!(OTHERS.contains(&line) || verdict(&rules, &words) != Verdict::Allow, "{line}");
    }
    assert!(judged >= 80, "{judged} rows");
}

#[test]
fn relatives_of_the_bypasses_do_not_pass_either() {
    let rules = defaults();
    for line in [
        "sort -o PWNED a.txt",
        "sort --output=PWNED a.txt",
        "sort -nro PWNED a.txt",
        "sort --compress-program=./x a.txt",
        "sort -T /tmp a.txt",
        "sort --files0-from=x",
        "wc --files0-from=../outside/x",
        "uniq a.txt PWNED",
        "grep -e x ../outside/secret",
        "grep -f a.txt b.txt",
        "grep -rf a.txt b.txt",
        "grep -R x .",
        "find -L .",
        "find . -fprint PWNED",
        "find . -fprintf PWNED x",
        "find . -okdir x",
        "find -files0-from a.txt",
        "find . -follow",
        "find . -newer ../outside/secret",
        "find -- . -maxdepth 0 -exec sh -c x",
        "find -- -delete",
        "git blame -- a.txt --output=PWNED",
        "git blame -- a.txt -O/etc/passwd",
        "git log -- --output=PWNED",
        "cat -- -n",
        "git status -v",
        "tar tf -- x",
        "tar tvf x:y",
        "tar -xf t.tar",
        "tar tvIf x t.tar",
        "tar tvf t.tar -I x",
        "tar tvf ../outside/t.tar",
        "date 01010000",
        "date -s now",
        "date -f ../outside/secret",
        "file -f a.txt",
        "file -m x a.txt",
        "sha256sum -c a.txt",
        "diff -r . x",
        "diff --to-file=/etc/passwd a.txt",
        "ls -L lnk",
        "ls ../outside",
        "head -n5 /etc/passwd",
        "tail -F a.txt",
        "cat -- ../outside/secret",
        "stat -L lnk",
        "rg --pre ./x y .",
        "rg -f ../x y",
        "npm --version install",
        "cargo +x --version",
        "python3 --version -c x",
        "node --version -e x",
        "which ../x",
        "./ls",
        "/work/ls",
        "tr a b c",
        "rg --hostname-bin=x y",
        "git --no-pager log --output=PWNED",
        "git diff --no-index a.txt /etc/passwd",
        "git branch -D main",
        "git tag -d x",
        "git remote add x y",
        "git remote show origin",
        "git log --ext-diff",
        "git log --textconv",
        "git show --show-signature",
        "git blame --contents=x a.txt",
        "git ls-files -X ../outside/x",
        "git grep -Ox y",
        "git diff --outp=PWNED",
        "git log --outp=x",
        "git rev-parse --parseopt",
        "git ls-files --exclude-from=/etc/passwd",
        "git diff /etc/passwd a.txt",
        "git log -O../x",
        "git cat-file --textconv HEAD:a.txt",
        "git status --column",
        "git --no-pager --exec-path=x status",
        "GIT_DIR=x git status",
        "LD_PRELOAD=x ls",
    ] {
        let words = split(line).unwrap_or_else(|| panic!("{line} is simple"));
        let verdict = verdict(&rules, &harden(&rules, words));
        assert!(matches!(verdict, Verdict::Deny(_) | Verdict::Abstain), "{line}");
    }
}

#[test]
fn git_passes_only_in_the_hardened_form() {
    let rules = defaults();
    assert_eq!(code(&rules, "git status"), "abstain");
    let hardened = harden(&rules, split("git status").unwrap());
    assert_eq!(verdict(&rules, &hardened), Verdict::Allow);
    for at in 0..hardened.len() - 2 {
        let mut words = hardened.clone();
        words.remove(at);
        assert_ne!(verdict(&rules, &words), Verdict::Allow, "without {}", hardened[at]);
    }
    assert_eq!(hardened_code(&rules, "GIT_PAGER=evil git status"), "allow", "harden replaces it");
    assert_eq!(hardened_code(&rules, "GIT_ALLOW_PROTOCOL=ext git status"), "allow", "the same");
    assert_eq!(hardened_code(&rules, "GIT_EXTERNAL_DIFF=evil git status"), "assignment-not-allowed");
}
