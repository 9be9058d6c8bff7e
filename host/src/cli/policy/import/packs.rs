//! The rule packs of the allowlist, as grammars of programs: what an open rule is narrowed to.

use std::sync::LazyLock;

use toml::{Table, Value};

/// Name and text of each pack that has rules of programs.
macro_rules! packs {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../../../policies/allowlist/packs/", $name, ".toml")))),*]
    };
}

/// In the order in which they add to each other.
const PACKS: [(&str, &str); 12] = packs![
    "coreutils-read",
    "git-read",
    "git-write",
    "versions",
    "cargo",
    "npm",
    "python",
    "go",
    "make",
    "docker-read",
    "kubectl-read",
    "terraform-plan"
];

/// What `harden` sets in front of commands where it is told to; it takes powers away.
const SET_BY_HARDEN: [&str; 1] = ["npm_config_ignore_scripts"];

struct Pack {
    name: &'static str,
    programs: Table,
}

static ALL: LazyLock<Vec<Pack>> =
    LazyLock::new(|| PACKS.iter().map(|(name, text)| Pack { name, programs: programs(text) }).collect());

/// The rule that all packs together have for a program, without the variables that may be set in front: no source allows those.
pub fn rule(program: &str) -> Option<Table> {
    let rules = ALL.iter().filter_map(|pack| pack.programs.get(program)?.as_table());
    let mut all: Option<Table> = None;
    for rule in rules {
        add(all.get_or_insert_default(), rule);
    }
    all
}

/// The packs that have a rule for a program; the one for versions only where there is no other.
pub fn names(program: &str) -> String {
    let having = || ALL.iter().filter(|pack| pack.programs.contains_key(program)).map(|pack| pack.name);
    let most: Vec<_> = having().filter(|name| *name != "versions").collect();
    let names = if most.is_empty() { having().collect() } else { most };
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn programs(text: &str) -> Table {
    let mut pack: Table = text.parse().expect("the packs are TOML, which their own tests read");
    let parts = taken_table(&mut pack, "parts");
    let mut programs = taken_table(&mut pack, "programs");
    for (_, program) in &mut programs {
        resolve(program, &parts);
    }
    programs
}

/// Puts the parts that `with` names into their places.
fn resolve(rule: &mut Value, parts: &Table) {
    let Value::Table(rule) = rule else { return };
    let with = match rule.remove("with") {
        Some(Value::Array(names)) => names,
        _ => Vec::new(),
    };
    let mut whole = Table::new();
    for part in with.iter().filter_map(|name| parts.get(name.as_str()?)?.as_table()) {
        add(&mut whole, part);
    }
    add(&mut whole, rule);
    if let Some(Value::Table(env)) = whole.get_mut("env") {
        env.retain(|name, _| SET_BY_HARDEN.contains(&name));
    }
    for (_, command) in whole.get_mut("commands").and_then(Value::as_table_mut).into_iter().flatten() {
        resolve(command, parts);
    }
    *rule = whole;
}

/// Adds a later rule as the allowlist does: lists and tables grow, single values are replaced, and whether an option takes a value
/// is as the later one says.
fn add(rule: &mut Table, later: &Table) {
    for (key, others) in [("flags", &["options"][..]), ("equals", &["options"]), ("options", &["flags", "equals"])] {
        let goes = |name: &str| others.iter().any(|other| option_names(later, other).any(|known| known == name));
        retain_options(rule, key, |name| !goes(name));
    }
    for (key, value) in later {
        match (rule.get_mut(key), value) {
            (Some(Value::Array(all)), Value::Array(more)) if key != "prefix" => {
                let new: Vec<_> = more.iter().filter(|value| !all.contains(value)).cloned().collect();
                all.extend(new);
            }
            (Some(Value::Table(all)), Value::Table(more)) if key == "commands" => add_commands(all, more),
            (Some(Value::Table(all)), Value::Table(more)) if !matches!(key.as_str(), "operands" | "input") => {
                all.extend(more.clone());
            }
            _ => _ = rule.insert(key.clone(), value.clone()),
        }
    }
}

fn add_commands(commands: &mut Table, later: &Table) {
    for (name, command) in later {
        match (commands.get_mut(name), command) {
            (Some(Value::Table(known)), Value::Table(command)) => add(known, command),
            _ => _ = commands.insert(name.clone(), command.clone()),
        }
    }
}

/// Keeps some of the options in one of the keys that hold them.
pub fn retain_options(rule: &mut Table, key: &str, stays: impl Fn(&str) -> bool) {
    match rule.get_mut(key) {
        Some(Value::Array(names)) => names.retain(|name| name.as_str().is_some_and(&stays)),
        Some(Value::Table(options)) => options.retain(|name, _| stays(name)),
        _ => {}
    }
}

/// The names in one of the keys that hold options.
pub fn option_names<'a>(rule: &'a Table, key: &str) -> impl Iterator<Item = &'a str> {
    let (list, table) = match rule.get(key) {
        Some(Value::Array(names)) => (Some(names), None),
        Some(Value::Table(options)) => (None, Some(options)),
        _ => (None, None),
    };
    let listed = list.into_iter().flatten().filter_map(Value::as_str);
    listed.chain(table.into_iter().flatten().map(|(name, _)| name.as_str()))
}

fn taken_table(table: &mut Table, key: &str) -> Table {
    match table.remove(key) {
        Some(Value::Table(inner)) => inner,
        _ => Table::new(),
    }
}
