//! Any text: the parser panics on nothing, what it takes is rendered as a text that it takes for the same tree, and edits that drop
//! words leave a sound tree.
//!
//! The parser runs outside of its sandbox here, so that coverage guides the inputs. What is known to keep it busy without end
//! or to eat memory without measure (odd here-documents, deep brackets), and what makes the parser it is built on panic (long
//! numbers), is left out: there the sandbox is the answer, and the tests of the host show it.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use portcullis_shell::{Kind, Renderer, Resolved, parse, refuse_double_reading};

fuzz_target!(|text: &str| -> Corpus {
    let brackets = text.bytes().filter(|byte| b"([{`".contains(byte)).count();
    let has_long_number = text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 9);
    if has_long_number
        || text.len() > 512
        || brackets > 10
        || text.matches("case").count() > 4
        || text.replace("<<<", "").contains("<<")
    {
        return Corpus::Reject;
    }
    let Ok(tree) = parse(text) else { return Corpus::Keep };
    if refuse_double_reading(&tree).is_err() {
        return Corpus::Keep;
    }
    assert!(tree.is_sound());
    let rendered = Renderer::new(&tree, |_| Resolved::AsWritten).script();
    let again = parse(&rendered).unwrap_or_else(|refusal| panic!("{text:?} ⇒ {rendered:?}: {}", refusal.message));
    assert_eq!(again, tree, "{text:?} ⇒ {rendered:?}");
    let mut smaller = tree;
    if let Some(Kind::Command { words, .. }) =
        smaller.nodes.iter_mut().map(|node| &mut node.kind).find(|kind| !kind.args().is_empty())
    {
        words.truncate(1);
    }
    smaller.compact();
    assert!(smaller.is_sound());
    Corpus::Keep
});
