//! What is parsed is rendered as what bash reads the same way.

use std::process::Command;

use proptest::prelude::*;
use rstest::rstest;

use crate::{Refusal, Renderer, Resolved, Tree, refuse_double_reading};

/// As the host has it: parsed, then looked at.
fn parse(source: &str) -> Result<Tree, Refusal> {
    let tree = crate::parse(source)?;
    refuse_double_reading(&tree).map(|()| tree)
}

fn rendered(tree: &Tree) -> String {
    Renderer::new(tree, |_| Resolved::AsWritten).script()
}

/// The canonical text, after it was shown that it is a tree's only one.
#[track_caller]
fn canonical(source: &str) -> String {
    let tree = parse(source).unwrap_or_else(|refusal| panic!("{source:?}: {}", refusal.message));
    let text = rendered(&tree);
    let again = parse(&text).unwrap_or_else(|refusal| panic!("{source:?} ⇒ {text:?}: {}", refusal.message));
    assert_eq!(again, tree, "{source:?} ⇒ {text:?}");
    text
}

#[rstest]
#[case("ls -la  # listing", "ls -la")]
#[case("cd web && npm test 2>&1 | tail -20", "cd web && npm test 2>&1 | tail -20")]
#[case("a\nb;c", "a; b; c")]
#[case("a & b", "a & b")]
#[case("a; b &", "a; b &")]
#[case("a || b && c", "a || b && c")]
#[case("! a | b", "! a | b")]
#[case("time -p a", "time -p a")]
#[case("a |& b", "a 2>&1 | b")]
#[case("a &> f", "a >f 2>&1")]
#[case("a &>> f", "a >>f 2>&1")]
#[case("a >& f", "a >f 2>&1")]
#[case("a 2>/dev/null <in >>out", "a 2>/dev/null <in >>out")]
#[case("{ a; b; } > f", "{ a; b; } >f")]
#[case("(a; b)", "( a; b )")]
#[case("((1+2))", "(( (1 + 2) ))")]
#[case("if a; then b; elif c; then d; else e; fi", "if a; then b; else if c; then d; else e; fi; fi")]
#[case("while a; do b; done < f", "while a; do b; done <f")]
#[case("until a\ndo b\ndone", "until a; do b; done")]
#[case("for x in 1 'a b' *.c; do echo \"$x\"; done", "for x in 1 'a b' *.c; do echo \"${x}\"; done")]
#[case("case \"$1\" in a|b*) x;; *) y;; esac", "case \"${1}\" in ('a' | 'b'*) x;; (*) y;; esac")]
#[case("(case x in a) b;; esac;)", "( case x in ('a') b;; esac; )")]
#[case("[[ -f a && $x == b* ]]", "[[ -f 'a' && \"${x}\" == 'b'* ]]")]
#[case("[[ ! ( a == b || -z $c ) ]]", "[[ ! ( 'a' == 'b' || -z \"${c}\" ) ]]")]
#[case("echo $(ls) `ls`", "echo $( ls ) $( ls )")]
#[case("echo \"a $(ls -l 'x y') b\"", "echo 'a '\"$( ls -l 'x y' )\"' b'")]
#[case("cat <(ls) > >(wc)", "cat <( ls ) > >( wc )")]
#[case("cat <<E\na $x\n  b\nE", "cat <<<'a '\"${x}\"'\n  b'")]
#[case("cat <<'E'\na $x\nE\n", "cat <<<'a $x'")]
#[case("cat <<E\n'a'\nE", r"cat <<<''\''a'\'''")]
#[case("cat <<E\n\"a\"\nE", "cat <<<'\"a\"'")]
#[case(r#"echo '' "" 'a' "b" '~' "*" '{a,b}' "{a,b}""#, "echo '' '' a b '~' '*' '{a,b}' '{a,b}'")]
#[case(r#"echo '$x `y` \ "' "it's" 'a'"b" "a"'b'"#, r#"echo '$x `y` \ "' 'it'\''s' ab ab"#)]
#[case(r#"echo "a\"b" "\$x" 'a'\''b' "a\\""#, r#"echo 'a"b' '$x' 'a'\''b' 'a\'"#)]
#[case("cat <<-E\n\ta\n\tE\n", "cat <<<a")]
#[case("cat <<E\nE\n", "cat </dev/null")]
#[case("cat <<< \"$x\"", "cat <<<\"${x}\"")]
#[case("A=1 B=$x c", "A=1 B=\"${x}\" c")]
#[case("A=$(ls)", "A=\"$( ls )\"")]
#[case("export A=$x B C='~d'", "export A=\"${x}\" B 'C=~d'")]
#[case("echo {a,b}{1..3} x{,y}", "echo a1 a2 a3 b1 b2 b3 x xy")]
#[case("echo ~ ~/x ~u/'y z'", "echo ~ ~/'x' ~u/'y z'")]
#[case(
    "echo ${x:-a} ${#x} ${x%.c} ${x##*/} ${x//a/b} ${x:1:2} ${x: -3} ${x^^}",
    "echo ${x:-a} ${#x} ${x%.c} ${x##*/} ${x//a/b} ${x:1:2} ${x: -3} ${x^^}"
)]
#[case("echo \"${x:-a b}\" \"${x%' '}\"", "echo \"${x:-a b}\" \"${x%\\ }\"")]
#[case("i=0; i=$((i+1)); echo $((i*2))", "i=0; i=\"$(( (i + 1) ))\"; echo $(( (i * 2) ))")]
#[case(r"echo $'a\n\x41\u00e9' a\ b", "echo 'a\nAé' 'a b'")]
#[case("echo \"a\\\nb\" c\\\nd", "echo ab cd")]
#[case("<f", "<f")]
#[case("echo $(<f)", "echo $( <f )")]
#[case("echo é* [é]x", "echo 'é'* ['é']x")]
#[case("set -euo pipefail; a", "set -euo pipefail; a")]
fn scripts_have_one_canonical_text(#[case] source: &str, #[case] expected: &str) {
    assert_eq!(canonical(source), expected);
}

#[rstest]
#[case("", "empty-command")]
#[case("# nothing", "empty-command")]
#[case("\n \n", "empty-command")]
#[case("ls 'x", "syntax-error")]
#[case("ls;;ls", "syntax-error")]
#[case("ls &&", "syntax-error")]
#[case("(ls", "syntax-error")]
#[case("if ls; then", "syntax-error")]
#[case("echo \"${ x}\"", "syntax-error")]
#[case("echo ${}", "syntax-error")]
#[case("eval ls", "never-allowed")]
#[case("ls; echo \"$_\"", "construct-not-supported")]
#[case("ls \"${x:-$_}\"", "construct-not-supported")]
#[case("ls ${#BASH_COMMAND}", "construct-not-supported")]
#[case("echo $BASH_EXECUTION_STRING", "construct-not-supported")]
#[case("'ev'al ls", "never-allowed")]
#[case(". x", "never-allowed")]
#[case("source x", "never-allowed")]
#[case("trap ls EXIT", "never-allowed")]
#[case("let x=1", "never-allowed")]
#[case("alias ls=rm", "never-allowed")]
#[case("declare -i x=1", "never-allowed")]
#[case("f() { ls; }", "never-allowed")]
#[case("function f { ls; }", "never-allowed")]
#[case("coproc ls", "never-allowed")]
#[case("$x y", "never-allowed")]
#[case("\"$x\"", "never-allowed")]
#[case("$(echo ls)", "never-allowed")]
#[case("l* x", "never-allowed")]
#[case("~/x", "never-allowed")]
#[case("echo ${!x}", "never-allowed")]
#[case("echo ${!x*}", "never-allowed")]
#[case("echo ${x@P}", "never-allowed")]
#[case("echo ${a[$(ls)]}", "never-allowed")]
#[case("echo ${a[i]}", "never-allowed")]
#[case("echo ${x:y}", "never-allowed")]
#[case("echo $((x))", "never-allowed")]
#[case("x=$(ls); echo $((x))", "never-allowed")]
#[case("x=1; read x; echo $((x))", "never-allowed")]
#[case("echo $((a[$(ls)]))", "never-allowed")]
#[case("echo $(( $(ls) ))", "never-allowed")]
#[case("echo $[ $(ls)0 ]", "never-allowed")]
#[case("((x++))", "never-allowed")]
#[case("[[ -v x ]]", "never-allowed")]
#[case("[[ $x -eq 1 ]]", "never-allowed")]
#[case("[[ a -eq 1 ]]", "never-allowed")]
#[case("PS4='$(ls)' ls", "never-allowed")]
#[case("SECONDS='a[$(ls)]'", "never-allowed")]
#[case("for IFS in a; do ls; done", "never-allowed")]
#[case("export BASH_ENV=x", "never-allowed")]
#[case("IFS=: ls", "never-allowed")]
#[case("IFS=:", "never-allowed")]
#[case("PS4=x read y", "never-allowed")]
#[case("TEXTDOMAIN=bash; TEXTDOMAINDIR=/tmp/here; echo $((1/0))", "never-allowed")]
#[case("TEXTDOMAINDIR=here ls", "never-allowed")]
#[case("read PATH IFS", "never-allowed")]
#[case("set -x", "construct-not-supported")]
#[case("set -- a", "construct-not-supported")]
#[case("read 'a[$(ls)]'", "construct-not-supported")]
#[case("unset 'a[$(ls)]'", "construct-not-supported")]
#[case("export 'a[$(ls)]=1'", "construct-not-supported")]
#[case("command ls", "construct-not-supported")]
#[case("y=${x:-\"'\"}", "construct-not-supported")]
#[case("echo \"${x:->(}\"", "construct-not-supported")]
#[case("echo ${x:-'<('}", "construct-not-supported")]
#[case("echo \"${x:-$$(}\"", "syntax-error")]
#[case("echo ${x%\"'\"}", "construct-not-supported")]
#[case("echo ${x//}", "construct-not-supported")]
#[case("for x$(ls) in c; do ls; done", "construct-not-supported")]
#[case("exit $x", "construct-not-supported")]
#[case("unset cd", "never-allowed")]
#[case("a=(1 2)", "construct-not-supported")]
#[case("a[0]=1", "construct-not-supported")]
#[case("a+=1", "construct-not-supported")]
#[case("for ((i=0;i<1;i++)); do ls; done", "construct-not-supported")]
#[case("echo ${x:=$(ls)}", "construct-not-supported")]
#[case("case x in a) b;;& esac", "construct-not-supported")]
#[case("[[ $x =~ a ]]", "construct-not-supported")]
#[case("dd if=~/x", "construct-not-supported")]
#[case("ls 10>f", "construct-not-supported")]
#[case("ls >&$x", "construct-not-supported")]
#[case("ls > *.c", "construct-not-supported")]
#[case("echo {01..3}", "construct-not-supported")]
#[case("echo {1..99999999}", "too-long")]
#[case("echo $'\\0'", "nul-byte")]
#[case("echo $\"x\"", "construct-not-supported")]
#[case("echo `ls \\\\`", "construct-not-supported")]
fn what_can_not_be_judged_is_refused(#[case] source: &str, #[case] code: &str) {
    let refusal = parse(source).expect_err("it is refused");
    assert_eq!(refusal.code, code, "{source:?}: {}", refusal.message);
}

/// What bash prints for a script, with its exit code; none where it complains.
fn in_bash(script: &str) -> Option<(Vec<u8>, Option<i32>)> {
    let bash = Command::new("bash")
        .args(["--norc", "--noprofile", "-p", "-c", script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", "/nowhere")
        .env("LC_ALL", "C.UTF-8")
        .current_dir("src")
        .output()
        .ok()?;
    bash.stderr.is_empty().then_some((bash.stdout, bash.status.code()))
}

const SCRIPTS: &[&str] = &[
    "printf '<%s>' a{b,c}d {1..5..2} {c..a} x{1,2}{y,z} {a,b{c,d}} {} {a} '{a,b}' {a,} {,}",
    "x='a  b'; printf '<%s>' $x \"$x\" a$x\"$x\"b ''$x ${x} \"${x}\" ${#x}",
    "x=/a/b.c.d; printf '<%s>' ${x%.*} ${x%%.*} ${x#*/} ${x##*/} ${x/b/X} ${x//./_} ${x/#\\//r} \"${x%.d}\" ${x:1:3} ${x: -2} ${x^^} ${x@Q}",
    "x='a b*'; printf '<%s>' \"${x%\\*}\" \"${x% b*}\" \"${x#a?}\" \"${x#'a '}\" ${x%\"*\"}",
    "x='a b*f'; printf '<%s>' ${x%*\"f\"} \"${x%?'*f'}\" ${x#?\" \"*'*'} ${x%%[a-c]'_'} ${x/?\"b\"/r} ${x%*'é'}",
    "x=a%%; printf '<%s>' ${x%\"%\"} ${x%%%} \"${x%'%'}\"; x='#a/b'; printf '<%s>' ${x#\"#\"} ${x/\"#\"/r} ${x//'/'/s}",
    "printf '<%s>' ${u:-d} \"${u:-d e}\" ${u-x} ${u:+y} \"${u:-$v$w}\" \"${u:-}\" ${u:-'a b'}",
    "set -e; false || printf x; true && printf y",
    "printf '<%s>' \"$@\" a\"$@\"b \"$*\" $# $?",
    "for x in 1 2 'a b' {4..5}; do printf '<%s>' \"$x\"; done",
    "for x in *.rs; do printf '<%s>' $x; done; printf '<%s>' pa*/[a-c]*.rs no*such '*'.rs \"*\"",
    "case abc in a*) printf 1;; *) printf 2;; esac; case 'a*' in 'a*') printf 3;; esac; case x in y|x) printf 4;; esac; case q in [[:alpha:]]) printf 5;; esac",
    "if false; then printf 1; elif true; then printf 2; else printf 3; fi",
    "i=0; while [[ $i -lt 3 ]]; do i=$((i+1)); printf $i; done; until false; do printf z; break; done",
    "printf '%s' $((1+2*3)) $(( (1+2)*3 )) $((7%4)) $((2**10)) $((1<<4|3)) $((5>3?1:0)) $((-3)) $((!0)) $((~5)) $((1,2))",
    "i=5; printf '%s ' $((i++)) $((++i)) $((i--)) $((i+=3)) $((i*=2)) $i; ((i>3)) && printf big; ((0)) || printf no",
    "[[ a == a ]] && printf 1; [[ ab == a* ]] && printf 2; [[ 'a*' == 'a*' && -n x ]] && printf 3; [[ -d parse || -z x ]] && printf 4; [[ ! -e nope ]] && printf 5; [[ a < b ]] && printf 6; [[ ! ( a == b || c == d ) ]] && printf 7; [[ x ]] && printf 8",
    "cat <<E\na $((1+1)) \\$x `printf q` \"quoted\" 'single'\n  indented \\\\ \nE",
    "cat <<'E' | cat -A\n$x `y` \\z\n\ttab\nE",
    "cat <<-E\n\ttabs\n\t\tgone\nE",
    "cat <<A; cat <<B\none\nA\ntwo\nB",
    "cat <<< 'a  b'; x='c  d'; cat <<< $x; cat <<< \"\"",
    "printf '<%s>' $'a\\tb\\'c\\x41\\101\\u00e9' \"a\\$b\\\"c\\\\d\\e\" a\\ b\\'c \"a'b\" 'a\"b'",
    "printf '<%s>' $(printf 'a b') \"$(printf 'a b')\" `printf c` a$(printf b)c \"x$(printf \"y\")z\"",
    "printf a | { cat; printf b; } | cat; (printf c; exit 3) || printf $?",
    "! true; printf $?; ! false | true; printf $?",
    "x=1; (x=2; printf $x); { x=3; }; printf $x",
    "A=1 B=2 env | sort | grep -v ^_ | grep -v SHLVL | grep -v PWD",
    "export A=1 B='x y'; A=2; env | grep ^[AB]= | sort",
    "cat <(printf a) <(printf b); printf x | tee >(cat >/dev/null) | cat",
    "printf out; printf err 2>/dev/null >&2",
    "{ printf a; printf b >&2; } 2>&1 | cat",
    "cat <tests.rs | head -1; cat 0<tests.rs | wc -l",
    "printf '<%s>' a#b '#c' \\#d e=f --g=h i:j a~b x=y",
    "true && { printf 1; false; } || printf 2; true; true & wait",
    "x=5; unset x; printf '<%s>' ${x-unset}; readonly y=3; printf $y",
    "printf '%s\\n' a b c | while read -r line; do printf '[%s]' \"$line\"; done",
    "[[ ~/q == */nowhere/q ]] && printf tilde; [[ ~ == /nowhere ]] && printf home",
    "printf '<%s>' ~/x ~ \"~\" a~ '~'/x",
    "printf 'a:b c\n' | while IFS=: read -r x y; do printf '<%s>' \"$x\" \"$y\"; done; printf '%s ' $? $# $((1+1))",
    "printf '<%s>' \"\" '' \"\"'' a\"\" $nothing \"$nothing\" $nothing\"\"",
    "printf '<%s>' [a [ ] a] '[a]' \\[a\\]",
    "for x in a b; do for y in 1 2; do [[ $y == 2 ]] && continue; printf $x$y; done; done",
    "if true; then if false; then printf 1; else printf 2; fi; fi; { { printf 3; }; }; (printf 4; (printf 5))",
    "printf a; # comment ; printf b\nprintf c # d",
    "printf '%s ' \"${x:-a}b\" ${x:+c}d ${y:?} || true",
    "printf '[%s]' ${x:-} ${x:-''} \"${x:-}\" ${x+} a${x:-}b; x=1; printf '[%s]' ${x:+} ${x:+''}",
    "command -v printf >/dev/null && printf yes",
    "printf '<%s>' \"$(cat <<'E'\nhi 'there\nE\n)\"",
    "echo a; echo b &\nwait; echo c",
];

#[test]
fn the_canonical_text_does_what_the_source_does() {
    for source in SCRIPTS {
        let Some(expected) = in_bash(source) else {
            assert!(source.contains(":?"), "bash complains about {source:?}");
            continue;
        };
        let text = canonical(source);
        assert_eq!(in_bash(&text), Some(expected), "{source:?} ⇒ {text:?}");
    }
}

/// Scripts, from small pieces that mean something together.
fn script() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b c",
        "'d e'",
        "\"f\"",
        "\\g",
        "$x",
        "\"$x\"",
        "${x:-y}",
        "\"${x:-y z}\"",
        "$(printf p)",
        "\"$(printf 'p q')\"",
        "`printf r`",
        "{a,b}",
        "{1..3}",
        "*",
        "?",
        "[ab]",
        "~",
        "''",
        "\"\"",
        "$'\\t'",
        "=",
        "-",
        "--",
        ":",
        "#",
        "!",
        "\\\n",
        "$((1+2))",
        "é",
        "\\\\",
        "\\'",
        "${x%a}",
        "${x#?}",
        "\"${x%b*}\"",
        "$?",
        "%",
        "^",
        "@",
        ",",
        "{",
        "}",
        "[",
        "]",
        "\"$@\"",
        "$",
    ]);
    let word = prop::collection::vec(piece, 1..5).prop_map(|pieces| pieces.concat());
    let command = prop::collection::vec(word.clone(), 0..4).prop_map(|words| format!("printf '<%s>' {}", words.join(" ")));
    let joined = (command.clone(), prop::sample::select(vec![" && ", " || ", "; ", " | cat; ", "\n", " && ! "]), command.clone())
        .prop_map(|(left, between, right)| format!("{left}{between}{right}"));
    (joined, 0..7).prop_map(|(inner, kind)| match kind {
        0 => format!("{{ {inner}; }}"),
        1 => format!("( {inner} )"),
        2 => format!("if true; then {inner}; fi"),
        3 => format!("for x in 1 2; do {inner}; done"),
        4 => format!("x='a b'; {inner}"),
        5 => format!("cat <<E\n$x {inner}\nE"),
        _ => inner,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is not refused does in its canonical form what bash does with the source.
    #[test]
    fn any_script_does_the_same(source in script()) {
        if source.replace("\\\n", "").contains("$$") { return Ok(()); }
        if let (Ok(tree), Some(expected)) = (parse(&source), in_bash(&source)) {
            let text = rendered(&tree);
            prop_assert_eq!(parse(&text), Ok(tree), "{} ⇒ {}", source, text);
            prop_assert_eq!(in_bash(&text), Some(expected), "{} ⇒ {}", source, text);
        }
    }

    #[test]
    fn words_are_those_of_bash(words in "[ab '\"\\\\$~=:,.{}#!%*?\\[\\]()<>`-]{0,16}") {
        let source = format!("printf '<%s>' {words}");
        if source.contains("$$") || source.contains(['<', '>']) { return Ok(()); }
        if let (Ok(tree), Some(expected)) = (parse(&source), in_bash(&source)) {
            let text = rendered(&tree);
            prop_assert_eq!(parse(&text), Ok(tree), "{} ⇒ {}", source, text);
            prop_assert_eq!(in_bash(&text), Some(expected), "{} ⇒ {}", source, text);
        }
    }
}

/// Every character inside every form of `${x…}`, in every place, leaves what stands behind it alone.
#[test]
fn no_character_inside_an_expansion_reaches_beyond_it() {
    const SIGNS: [&str; 12] = [":-", "-", ":+", "+", "%", "%%", "#", "##", "/", "//", "/#", "/%"];
    let characters = (b' '..=b'~').map(char::from).filter(|c| !c.is_ascii_alphanumeric()).map(String::from);
    let pairs = ["<(", ">(", "$(", "${", "$'", "\\'", "\"'", "'}", "$$(", "!(", "*("].map(str::to_owned);
    let mut scripts = 0;
    for text in characters.chain(pairs) {
        for sign in SIGNS {
            let quoted = [format!("\"{text}\""), format!("'{text}'"), format!("\\{text}"), text.clone()];
            for inner in quoted {
                let expansion = format!("${{x{sign}{inner}}}");
                for place in [
                    "printf '<%s>' E",
                    "printf '<%s>' \"E\"",
                    "y=E",
                    "y=\"E\"",
                    "cat <<< E",
                    "[[ E == a ]]",
                    "case E in b) ;; esac",
                ] {
                    let script = format!("x=aba; {}; printf ' ) }}\"; %s #' 'sentinel`'", place.replace('E', &expansion));
                    let Ok(tree) = parse(&script) else { continue };
                    let text = rendered(&tree);
                    let (stdout, _) = in_bash(&text).unwrap_or_else(|| panic!("bash complains: {script} ⇒ {text}"));
                    assert!(stdout.ends_with(b" ) }\"; sentinel` #"), "{script} ⇒ {text}");
                    scripts += 1;
                }
            }
        }
    }
    assert!(scripts > 1000, "{scripts}");
}
