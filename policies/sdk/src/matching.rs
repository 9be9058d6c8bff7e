//! Finding the commands of a script that a rule is about.

use crate::{Job, Node, NodeKind, Request, Word, literal};

/// Whether a command is one that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// It is not, whatever the shell makes of its words.
    No,
    /// It is if the shell makes that of its words. A rule that forbids must not let it pass.
    Perhaps,
    /// It is.
    Yes,
}

/// A command of a script that starts a program, or that the shell runs itself.
#[derive(Debug, Clone, Copy)]
pub struct Invocation<'a> {
    /// Its index in the nodes, for edits.
    pub index: u32,
    /// All that is known of it.
    pub node: &'a Node,
}

impl Request {
    /// Every command in it that starts a program or is a builtin, wherever it stands: in pipelines, loops, substitutions.
    pub fn invocations(&self) -> impl Iterator<Item = Invocation<'_>> {
        invocations(&self.nodes)
    }
}

impl Job {
    /// Every command in it that starts a program or is a builtin, wherever it stands.
    pub fn invocations(&self) -> impl Iterator<Item = Invocation<'_>> {
        invocations(&self.nodes)
    }
}

fn invocations(nodes: &[Node]) -> impl Iterator<Item = Invocation<'_>> {
    let all = (0..).zip(nodes).map(|(index, node)| Invocation { index, node });
    all.filter(|one| one.node.kind == NodeKind::Command && one.node.program.is_some())
}

impl<'a> Invocation<'a> {
    /// Names of the program, without directories: as written, as it was found, and of the file that links lead to. For rules that
    /// forbid; one that allows asks [`Simple::is_program`](crate::Simple::is_program), since `./git` is called `git` too.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let written = self.node.program.as_ref().and_then(literal);
        let found = self.node.resolved.as_ref();
        let all = [written, found.map(|file| file.name.as_str()), found.map(|file| file.path.as_str())];
        all.into_iter().flatten().map(|name| name.rsplit('/').next().unwrap_or(name))
    }

    /// Whether it is the program that `words` begins with, with the other words among its arguments in this order: `git push`
    /// is found in `git -C web push origin`, and perhaps in `git "$verb"`. Nothing matches no words.
    ///
    /// It does not look into words: `env git push` is the program `env`, and `sh -c 'git push'` is `sh`. What may start other
    /// programs is for the allowlist to know.
    pub fn matches(&self, words: &[impl AsRef<str>]) -> Match {
        let Some((program, rest)) = words.split_first() else { return Match::No };
        let is_dynamic = matches!(self.node.program, Some(Word::Dynamic(_)));
        if !is_dynamic && !self.names().any(|name| name == program.as_ref()) {
            return Match::No;
        }
        let literals = self.node.args.iter().filter_map(|arg| arg.text());
        let found = literals.fold(0, |at, text| at + usize::from(rest.get(at).is_some_and(|word| word.as_ref() == text)));
        if found == rest.len() && !is_dynamic {
            return Match::Yes;
        }
        if self.may_hold(rest) { Match::Perhaps } else { Match::No }
    }

    /// Whether the shell may make these words, in this order, of the arguments.
    fn may_hold(&self, words: &[impl AsRef<str>]) -> bool {
        let mut at = 0;
        for arg in &self.node.args {
            let Some(word) = words.get(at) else { break };
            match &arg.word {
                Word::Literal(text) => at += usize::from(text == word.as_ref()),
                Word::Dynamic(expansion) if !expansion.one_word => return true,
                Word::Dynamic(expansion) => at += usize::from(word.as_ref().starts_with(&expansion.prefix)),
            }
        }
        at == words.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Item, World, dynamic, dynamic_words};

    fn git(item: Item) -> Match {
        World::new().script(item).invocations().map(|one| one.matches(&["git", "push"])).max().unwrap()
    }

    #[test]
    fn words_are_found_in_their_order() {
        for words in [&["git", "push"][..], &["/usr/bin/git", "-C", "web", "push", "origin"], &["./git", "push"]] {
            assert_eq!(git(Item::command(words)), Match::Yes, "{words:?}");
        }
        for words in [&["git"][..], &["git", "log"], &["push", "git"], &["got", "push"]] {
            assert_eq!(git(Item::command(words)), Match::No, "{words:?}");
        }
    }

    #[test]
    fn what_only_the_shell_can_tell_may_be_it() {
        for (word, expected) in [
            (dynamic("", "\"$x\""), Match::Perhaps),
            (dynamic("pu", "pu\"$x\""), Match::Perhaps),
            (dynamic("--", "--\"$x\""), Match::No),
            (dynamic_words("--", "--$x"), Match::Perhaps),
        ] {
            assert_eq!(git(Item::command(&["git"]).word(word.clone())), expected, "{word:?}");
            assert_eq!(git(Item::command(&["git", "push"]).word(word)), Match::Yes);
        }
        let unknown = Item::command(&["x", "push"]).program(dynamic("", "$x"));
        assert_eq!(git(unknown), Match::Perhaps);
    }

    #[test]
    fn commands_are_found_wherever_they_stand() {
        let inner = Item::command(&["git", "push"]);
        let script = Item::pipeline([Item::command(&["ls"]), Item::command(&["echo"]).substituted(dynamic("", "$(…)"), inner)]);
        assert_eq!(git(script), Match::Yes);
    }

    #[test]
    fn a_link_does_not_hide_a_program() {
        let world = World::new().link("/work/innocent", "/usr/bin/git");
        let request = world.request(&["./innocent", "push"]);
        assert_eq!(request.invocations().next().unwrap().matches(&["git", "push"]), Match::Yes);
        assert_eq!(request.invocations().next().unwrap().matches(&[""; 0]), Match::No);
    }
}
