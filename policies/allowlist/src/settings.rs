//! The rules as an operator writes them, and how those of packs and of the operator become one.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_sdk::{Constructs, SettingsError, SettingsErrors};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    input::Input,
    packs,
    value::{Pattern, Value},
    variable,
};

/// Most mistakes that are told at once.
const MOST_MISTAKES: usize = 64;

/// The settings of this policy's entry.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// Names of rule packs, in the order in which they add to each other; the rules beside them add to all.
    pub include: Vec<String>,
    /// Pieces of rules that `with` names, in this file only.
    #[schemars(extend("x-rules" = false))]
    pub parts: BTreeMap<String, Program>,
    /// Per program, by the name of its file or by a path: what it may be told. A program that is not here is denied.
    #[schemars(extend("x-rules" = true))]
    pub programs: BTreeMap<String, Program>,
    /// What scripts may do besides running programs.
    pub scripts: Scripts,
}

/// What scripts may do besides running programs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Scripts {
    /// Constructs of the shell's grammar that may occur.
    pub constructs: BTreeSet<Construct>,
    /// Names that scripts may give values to: patterns of whole names.
    pub variables: Vec<Pattern>,
    /// What the shell itself may be told to run, by rules like those of programs.
    #[schemars(extend("x-rules" = true))]
    pub builtins: BTreeMap<String, Program>,
}

/// What one program may be told. What is not given is taken from the same rule in the packs that are included.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case")]
pub struct Program {
    /// Parts this rule begins with, in their order.
    pub with: Vec<String>,
    /// Whether the rule stands for itself, and what packs say of the same does not count.
    pub replace: bool,
    /// Whether it is denied, whatever packs say.
    pub forbid: Option<bool>,
    /// Variables that may be set in front of the command, and to what.
    pub env: BTreeMap<String, Value>,
    /// Words that must stand directly behind the program or sub-command, exactly; without them the policy has no opinion, so that
    /// another may put them there.
    pub prefix: Option<Vec<String>>,
    /// Variables that must be set in front of the command, exactly so; without them the policy has no opinion.
    pub prefix_env: BTreeMap<String, String>,
    /// What may be sent to its standard input.
    pub input: Option<Input>,
    /// Flags without a value, as written: `-l`, `--all`, or a word such as `!`.
    pub flags: BTreeSet<String>,
    /// Options with a value: `-n 5`, `-n5`, `--lines 5`, `--lines=5`.
    pub options: BTreeMap<String, Value>,
    /// Options whose value is joined to them and nothing else: `--pretty=oneline`. Where it may be missing, the name is a flag too.
    pub equals: BTreeMap<String, Value>,
    /// Options of which one must be there.
    pub requires: BTreeSet<String>,
    /// Words that begin with a dash and are operands all the same, since the program knows no such option.
    pub dashed: Option<Value>,
    /// Whether long options begin with one dash and take their value behind `=` too: `-count=1`. Go's and Terraform's do.
    pub single_dash: Option<bool>,
    /// Whether `-5` is a flag.
    pub number: Option<bool>,
    /// Whether flags of one letter may be written together; say `false` for programs that read `-name` as one option.
    pub combine: Option<bool>,
    /// Whether `--` ends the options. Not all programs agree: `find` reads its tests behind it.
    pub terminator: Option<bool>,
    /// What may stand behind `--` where that is handed on to another program, words that look like options among it.
    pub passed_on: Option<Value>,
    /// Words that are no options; without this none may stand there.
    pub operands: Option<Operands>,
    /// What to say where a word is refused, by the word; by nothing, of all others.
    pub instead: BTreeMap<String, String>,
    /// Whether the words are a condition as `[` reads it; then nothing else of the grammar counts.
    pub condition: Option<bool>,
    /// Sub-commands, or options that act as one (`--version`); what is neither must be an operand.
    #[schemars(extend("x-rules" = true))]
    pub commands: BTreeMap<String, Program>,
}

/// Words that are no options.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case")]
pub struct Operands {
    /// What the first one must be, if not the same as the others.
    pub first: Option<Value>,
    /// Options in whose presence the first one is like the others: `-e` of `grep`.
    pub first_unless: BTreeSet<String>,
    /// What they must be.
    pub kind: Value,
    /// What all words behind the first operand must be, where the program reads no options there any more: the arguments of a
    /// script.
    pub rest: Option<Value>,
    /// Fewest.
    pub min: usize,
    /// Most; no limit if this is not given.
    pub max: Option<usize>,
}

/// A construct of the shell's grammar; the contract's `constructs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Construct {
    /// `a; b`.
    Sequence,
    /// `a && b`, `a || b`.
    AndOr,
    /// `a | b`.
    Pipeline,
    /// `a &`.
    Background,
    /// `! a`.
    Negation,
    /// `time a`.
    Timing,
    /// `( a )`.
    Subshell,
    /// `{ a; }`.
    Group,
    /// `< file`, inside the roots. From `/dev/null` is always allowed.
    RedirectRead,
    /// `> file` and its like, inside the roots and not in a `.git`. To `/dev/null` is always allowed.
    RedirectWrite,
    /// `<< END`, `<<< text`.
    HereDocument,
    /// `$x`, `${x:-y}`.
    Parameter,
    /// `$(a)`.
    CommandSubstitution,
    /// `<(a)`, `>(a)`.
    ProcessSubstitution,
    /// `$((1 + 2))`, `((…))`.
    Arithmetic,
    /// `*.txt`, and what becomes patterns all the same: unquoted `$x`.
    Glob,
    /// `~`.
    Tilde,
    /// `x=1` as a command.
    Assignment,
    /// `if`.
    Conditional,
    /// `while`, `until`, `for`.
    Loop,
    /// `case`.
    Case,
    /// `[[ … ]]`.
    Test,
}

impl Construct {
    /// All that the host's flags tell of the whole script and no node, word or redirection tells better. Patterns do: those of a
    /// `case` are flagged too, and become no names of files.
    pub const FLAGGED: [(Self, Constructs); 4] = [
        (Self::Parameter, Constructs::PARAMETER),
        (Self::Arithmetic, Constructs::ARITHMETIC),
        (Self::Tilde, Constructs::TILDE),
        (Self::ProcessSubstitution, Constructs::PROCESS_SUBSTITUTION),
    ];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sequence => "sequence",
            Self::AndOr => "and-or",
            Self::Pipeline => "pipeline",
            Self::Background => "background",
            Self::Negation => "negation",
            Self::Timing => "timing",
            Self::Subshell => "subshell",
            Self::Group => "group",
            Self::RedirectRead => "redirect-read",
            Self::RedirectWrite => "redirect-write",
            Self::HereDocument => "here-document",
            Self::Parameter => "parameter",
            Self::CommandSubstitution => "command-substitution",
            Self::ProcessSubstitution => "process-substitution",
            Self::Arithmetic => "arithmetic",
            Self::Glob => "glob",
            Self::Tilde => "tilde",
            Self::Assignment => "assignment",
            Self::Conditional => "conditional",
            Self::Loop => "loop",
            Self::Case => "case",
            Self::Test => "test",
        }
    }
}

impl Settings {
    /// The rules that hold: of all packs in their order, then of these settings.
    ///
    /// # Errors
    ///
    /// All that is wrong although it has the right shape, with the place of each.
    pub fn compose(self) -> Result<Self, SettingsErrors> {
        let mut errors = Vec::new();
        let mut all = Self::default();
        for (at, name) in self.include.iter().enumerate() {
            match packs::read(name) {
                Ok(pack) => all.add(pack.resolved(&mut errors)),
                Err(message) => errors.push(SettingsError::new(format!("include.{at}"), message)),
            }
        }
        let own = self.resolved(&mut errors);
        own.mistakes(&mut errors);
        all.add(own);
        errors.truncate(MOST_MISTAKES);
        if errors.is_empty() { Ok(all) } else { Err(errors) }
    }

    /// With the parts that `with` names put into their places.
    fn resolved(mut self, errors: &mut SettingsErrors) -> Self {
        let parts = std::mem::take(&mut self.parts);
        for (name, part) in &parts {
            if !part.with.is_empty() || !part.commands.values().all(|command| command.with.is_empty()) {
                errors.push(SettingsError::new(format!("parts.{name}.with"), "a part can not be made of parts"));
            }
        }
        for (name, program) in &mut self.programs {
            program.resolve(&parts, &format!("programs.{name}"), errors);
        }
        for (name, builtin) in &mut self.scripts.builtins {
            builtin.resolve(&parts, &format!("scripts.builtins.{name}"), errors);
        }
        self
    }

    fn add(&mut self, later: Self) {
        add_all(&mut self.programs, later.programs);
        self.scripts.constructs.extend(later.scripts.constructs);
        self.scripts.variables.extend(later.scripts.variables);
        add_all(&mut self.scripts.builtins, later.scripts.builtins);
    }

    fn mistakes(&self, errors: &mut SettingsErrors) {
        for (name, program) in &self.programs {
            let path = format!("programs.{name}");
            let is_path = name.starts_with('/') || name.starts_with("./") && !name.contains("/../");
            if name.is_empty() || name.contains('/') && !is_path {
                errors.push(SettingsError::new(
                    path.as_str(),
                    "must be the name of a program's file, an absolute path, or a path from where it is called, such as `./gradlew`",
                ));
            }
            program.mistakes(&path, errors);
        }
        for (name, builtin) in &self.scripts.builtins {
            let path = format!("scripts.builtins.{name}");
            builtin.mistakes(&path, errors);
            let lasts = matches!(name.as_str(), "export" | "readonly");
            for variable in builtin.env.keys().filter(|name| lasts && variable::is_of_the_shell(name)) {
                let message = "can not be allowed: it changes what the rest of the script means";
                errors.push(SettingsError::new(format!("{path}.env.{variable}"), message));
            }
        }
    }
}

impl Program {
    /// Adds what a later rule says of the same program: lists and tables grow, single values are replaced, and whether an option
    /// takes a value is as the later rule says.
    fn add(&mut self, later: Self) {
        if later.replace {
            *self = later;
            return;
        }
        self.forbid = later.forbid.or(self.forbid);
        self.prefix = later.prefix.or(self.prefix.take());
        self.input = later.input.or(self.input.take());
        self.dashed = later.dashed.or(self.dashed.take());
        self.single_dash = later.single_dash.or(self.single_dash);
        self.number = later.number.or(self.number);
        self.combine = later.combine.or(self.combine);
        self.terminator = later.terminator.or(self.terminator);
        self.passed_on = later.passed_on.or(self.passed_on.take());
        self.operands = later.operands.or(self.operands.take());
        self.condition = later.condition.or(self.condition);
        self.requires.extend(later.requires);
        self.instead.extend(later.instead);
        self.env.extend(later.env);
        self.prefix_env.extend(later.prefix_env);
        self.options.retain(|name, _| !later.flags.contains(name) && !later.equals.contains_key(name));
        self.flags.retain(|name| !later.options.contains_key(name));
        self.equals.retain(|name, _| !later.options.contains_key(name));
        self.flags.extend(later.flags);
        self.options.extend(later.options);
        self.equals.extend(later.equals);
        add_all(&mut self.commands, later.commands);
    }

    fn resolve(&mut self, parts: &BTreeMap<String, Self>, path: &str, errors: &mut SettingsErrors) {
        for (name, command) in &mut self.commands {
            command.resolve(parts, &format!("{path}.commands.{name}"), errors);
        }
        let mut whole = Self::default();
        for name in std::mem::take(&mut self.with) {
            match parts.get(&name) {
                Some(part) => whole.add(part.clone()),
                None => errors.push(SettingsError::new(format!("{path}.with"), format!("there is no `parts.{name}` beside it"))),
            }
        }
        let replace = self.replace;
        self.replace = false;
        whole.add(std::mem::take(self));
        *self = Self { replace, ..whole };
    }

    fn mistakes(&self, path: &str, errors: &mut SettingsErrors) {
        let mut complain = |at: String, message: &str| errors.push(SettingsError::new(format!("{path}.{at}"), message));
        let tables = self.options.keys().map(|name| ("options", name)).chain(self.equals.keys().map(|name| ("equals", name)));
        for (key, name) in tables {
            if !name.starts_with('-') || name.len() < 2 || name.contains('=') {
                complain(format!("{key}.{name}"), "must be an option as it is written, such as `-n` or `--lines`");
            }
            if key == "options" && self.flags.contains(name) {
                complain(format!("{key}.{name}"), "stands in `flags` too; say whether it takes a value");
            }
        }
        if self.passed_on.is_some() && self.terminator == Some(true) {
            complain("passed-on".to_owned(), "stands beside `terminator`; say whether what follows `--` is for another program");
        }
        for (name, command) in &self.commands {
            command.mistakes(&format!("{path}.commands.{name}"), errors);
        }
    }

    /// Whether any word may follow that is no option.
    pub fn takes_operands(&self) -> bool {
        self.operands.is_some()
    }
}

/// Adds the later rules to those of the same name.
fn add_all(rules: &mut BTreeMap<String, Program>, later: BTreeMap<String, Program>) {
    for (name, rule) in later {
        rules.entry(name).or_default().add(rule);
    }
}
