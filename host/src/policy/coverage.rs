//! Which functions of a policy's own code ran, for tests.
//!
//! At its beginning each function gets instructions that tell the host its number when it runs for the first time in an instance.
//! Core modules call out only by imports, and to add one to a component moves everything that is counted after it; so the number
//! travels as a request for more memory than 32 bits can address. No program makes such a one, and it is refused, as it would be
//! anyway.
//!
//! A component's own code is that of the Rust crate it was made of, by the names that the linker left. Compilers put small
//! functions into those that call them: what is not there as a function is not counted.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex},
};

use wasm_encoder::{
    BlockType, CodeSection, Component, ConstExpr, GlobalSection, GlobalType, InstructionSink, Module, RawSection, ValType,
};
use wasmparser::{
    Error, FunctionBody, GlobalSectionReader, ImportSectionReader, KnownCustom, Name, Naming, Parser, Payload, TypeRef, Validator,
};

/// Most functions of a component that are counted.
const MOST_FUNCTIONS: usize = 10_000;
/// The request for memory that tells of the function with the number 0, in pages; the next ask for a page more each.
const FIRST_REQUEST: u32 = 1 << 31;
/// Bytes of a page, as a power of two.
const PAGE_BITS: u32 = 16;

/// The functions of policies' own code, and which of them ran. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Functions(Arc<Mutex<BTreeMap<String, Vec<Function>>>>);

/// One function, or all that are made of one generic function.
#[derive(Debug)]
struct Function {
    /// With its crate and modules.
    name: String,
    is_reached: bool,
}

impl Functions {
    /// The names of each policy's, with their crates and modules, and whether they ran; none where a component has no names of its
    /// own functions.
    pub fn all(&self) -> BTreeMap<String, BTreeMap<String, bool>> {
        let all = self.0.lock().expect("no holder of this lock panics");
        let named = |functions: &Vec<Function>| functions.iter().map(|one| (one.name.clone(), one.is_reached)).collect();
        all.iter().map(|(policy, functions)| (policy.clone(), named(functions))).collect()
    }

    /// The component with instructions in it that tell which of its functions run; none if it has no names of its own functions.
    pub(super) fn counted(&self, policy: &str, component: &[u8]) -> Option<Vec<u8>> {
        // What can not be read is told when it is compiled.
        let (counted, names) = counted(component).unwrap_or_default();
        let is_counted = !names.is_empty() && Validator::new().validate_all(&counted).is_ok();
        let names = if is_counted { names } else { Vec::new() };
        let functions = names.into_iter().map(|name| Function { name, is_reached: false }).collect();
        self.0.lock().expect("no holder of this lock panics").insert(policy.to_owned(), functions);
        is_counted.then_some(counted)
    }

    /// Whether a request for so many bytes more is one that tells of a function; then it is noted.
    pub(super) fn hears(&self, policy: &str, bytes: usize) -> bool {
        let Some(number) = (bytes >> PAGE_BITS).checked_sub(FIRST_REQUEST as usize) else { return false };
        let mut all = self.0.lock().expect("no holder of this lock panics");
        let function = all.get_mut(policy).and_then(|functions| functions.get_mut(number));
        function.map(|function| function.is_reached = true).is_some()
    }
}

/// A component whose functions tell that they run, and their names, by their numbers.
fn counted(component: &[u8]) -> Result<(Vec<u8>, Vec<String>), Error> {
    let (mut out, mut names) = (Component::new(), Vec::new());
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        if let (0, Some((id, range))) = (depth, payload.as_section()) {
            let is_module = matches!(payload, Payload::ModuleSection { .. });
            // What is cut short is found to be so where it is parsed.
            let data = component.get(range).unwrap_or_default();
            let data = if is_module { counted_module(data, &mut names)? } else { data.to_vec() };
            out.section(&RawSection { id, data: &data });
        }
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) if depth > 0 => depth -= 1,
            _ => {}
        }
    }
    Ok((out.finish(), names))
}

/// The same for a module of it; its names come behind those of the modules before it.
fn counted_module(module: &[u8], names: &mut Vec<String>) -> Result<Vec<u8>, Error> {
    let mut own = Own::of(module, names)?;
    let (mut out, mut code) = (Module::new(), CodeSection::new());
    let mut bodies = 0;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload?;
        match &payload {
            Payload::ImportSection(imports) => own.pass_imports(imports.clone())?,
            Payload::GlobalSection(globals) => {
                out.section(&own.with_flags(globals.clone(), module)?);
                continue;
            }
            Payload::CodeSectionStart { count, .. } => {
                bodies = *count;
                continue;
            }
            Payload::CodeSectionEntry(body) => {
                code.raw(&own.telling(body)?);
                if code.len() == bodies {
                    out.section(&code);
                }
            }
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            out.section(&RawSection { id, data: module.get(range).unwrap_or_default() });
        }
    }
    Ok(out.finish())
}

/// The functions of a module's own code, and how far its functions and globals have been passed.
struct Own {
    /// Their numbers by their indices; those that are made of one generic function share one.
    numbers: BTreeMap<u32, u32>,
    /// The first number of this module, and the one behind its last.
    range: Range<u32>,
    functions: u32,
    globals: u32,
}

impl Own {
    fn of(module: &[u8], names: &mut Vec<String>) -> Result<Self, Error> {
        let index = |length: usize| u32::try_from(length).expect("fewer than MOST_FUNCTIONS");
        let first = index(names.len());
        let (mut numbers, mut by_name) = (BTreeMap::new(), BTreeMap::new());
        for (function, name) in own_names(module)? {
            if names.len() < MOST_FUNCTIONS && !by_name.contains_key(&name) {
                by_name.insert(name.clone(), index(names.len()));
                names.push(name.clone());
            }
            numbers.extend(by_name.get(&name).map(|number| (function, *number)));
        }
        Ok(Self { numbers, range: first..index(names.len()), functions: 0, globals: 0 })
    }

    /// Imports are counted before what the module defines.
    fn pass_imports(&mut self, imports: ImportSectionReader<'_>) -> Result<(), Error> {
        for import in imports.into_imports() {
            match import?.ty {
                TypeRef::Func(_) | TypeRef::FuncExact(_) => self.functions += 1,
                TypeRef::Global(_) => self.globals += 1,
                TypeRef::Table(_) | TypeRef::Memory(_) | TypeRef::Tag(_) => {}
            }
        }
        Ok(())
    }

    /// The module's globals, and behind them one for each function, which says whether it ran.
    fn with_flags(&mut self, globals: GlobalSectionReader<'_>, module: &[u8]) -> Result<GlobalSection, Error> {
        self.globals += globals.count();
        let end = globals.range().end;
        let mut edges = globals.into_iter_with_offsets().map(|one| Ok(one?.0)).collect::<Result<Vec<_>, Error>>()?;
        edges.push(end);
        let mut section = GlobalSection::new();
        for edge in edges.windows(2) {
            section.raw(&module[edge[0]..edge[1]]);
        }
        let flag = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        self.range.clone().for_each(|_| _ = section.global(flag, &ConstExpr::i32_const(0)));
        Ok(section)
    }

    /// The next function's body.
    fn telling(&mut self, body: &FunctionBody<'_>) -> Result<Vec<u8>, Error> {
        let number = self.numbers.get(&self.functions);
        self.functions += 1;
        let Some(number) = number else { return Ok(body.as_bytes().to_vec()) };
        let flag = self.globals + number - self.range.start;
        let locals = body.get_binary_reader_for_operators()?.original_position() - body.range().start;
        let (locals, operators) = body.as_bytes().split_at(locals);
        let mut bytes = locals.to_vec();
        let mut out = InstructionSink::new(&mut bytes);
        out.global_get(flag).i32_eqz().if_(BlockType::Empty).i32_const(1).global_set(flag);
        out.i32_const((FIRST_REQUEST + number).cast_signed()).memory_grow(0).drop().end();
        bytes.extend_from_slice(operators);
        Ok(bytes)
    }
}

/// The names of a module's own functions, by their indices, without what the compiler derived.
fn own_names(module: &[u8]) -> Result<BTreeMap<u32, String>, Error> {
    let (mut package, mut names) = (String::new(), BTreeMap::new());
    for payload in Parser::new(0).parse_all(module) {
        let Payload::CustomSection(section) = payload? else { continue };
        let KnownCustom::Name(section) = section.as_known() else { continue };
        for name in section {
            match name? {
                Name::Module { name, .. } => package = name.trim_end_matches(".wasm").replace('-', "_"),
                Name::Function(functions) => {
                    for function in functions {
                        let Naming { index, name } = function?;
                        names.extend(rustc_demangle::try_demangle(name).ok().map(|name| (index, format!("{name:#}"))));
                    }
                }
                _ => {}
            }
        }
    }
    let package = format!("{package}::");
    names.retain(|_, name| name.trim_start_matches('<').starts_with(&package) && !name.contains("::_::"));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use wasm_encoder::{
        ExportKind, ExportSection, Function, FunctionSection, ImportSection, MemorySection, MemoryType, ModuleSection, NameMap,
        NameSection, TypeSection,
    };

    use super::*;

    const LEGACY: [&str; 4] = [
        "_ZN3own4used17h0123456789abcdefE",
        "_ZN4core3fmt5write17h0123456789abcdefE",
        "_ZN3own4used17hfedcba9876543210E",
        "_ZN49_$LT$own..Rules$u20$as$u20$sdk..CommandPolicy$GT$8evaluate17h0123456789abcdefE",
    ];

    /// A component of one module, whose functions have these names and do nothing.
    fn component(module: &str, names: &[&str], memory: bool) -> Vec<u8> {
        let (mut types, mut imports, mut functions) = (TypeSection::new(), ImportSection::new(), FunctionSection::new());
        let (mut globals, mut exports, mut code) = (GlobalSection::new(), ExportSection::new(), CodeSection::new());
        types.ty().function([], []);
        imports.import("a", "b", wasm_encoder::EntityType::Function(0));
        let mut memories = MemorySection::new();
        memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
        globals.global(GlobalType { val_type: ValType::I32, mutable: true, shared: false }, &ConstExpr::i32_const(7));
        let mut named = NameMap::new();
        for (index, name) in (1..).zip(names) {
            functions.function(0);
            named.append(index, name);
            let mut function = Function::new([(2, ValType::I64)]);
            function.instructions().end();
            code.function(&function);
        }
        exports.export("first", ExportKind::Func, 1);
        let mut section = NameSection::new();
        section.module(module);
        section.functions(&named);
        let mut out = Module::new();
        out.section(&types).section(&imports).section(&functions);
        if memory {
            out.section(&memories);
        }
        out.section(&globals).section(&exports).section(&code).section(&section);
        let mut component = Component::new();
        component.section(&ModuleSection(&out));
        component.finish()
    }

    #[test]
    fn functions_of_the_own_crate_are_counted_by_their_names() {
        let (functions, component) = (Functions::default(), component("own.wasm", &LEGACY, true));
        let counted = functions.counted("p", &component).unwrap();
        assert!(counted.len() > component.len());
        let names = |functions: &Functions| functions.all()["p"].clone().into_iter().collect::<Vec<_>>();
        let evaluate = "<own::Rules as sdk::CommandPolicy>::evaluate".to_owned();
        assert_eq!(names(&functions), [(evaluate.clone(), false), ("own::used".to_owned(), false)]);
        let pages = |number: usize| (FIRST_REQUEST as usize + number) << PAGE_BITS;
        assert!(functions.hears("p", pages(1)));
        assert_eq!(names(&functions), [(evaluate, true), ("own::used".to_owned(), false)]);
        for bytes in [0, 1 << 16, 65_536 << 16, pages(2)] {
            assert!(!functions.hears("p", bytes), "{bytes}");
        }
        assert!(!functions.hears("another", pages(0)));
    }

    #[rstest]
    #[case::of_another_crate(component("other.wasm", &LEGACY, true))]
    #[case::in_another_language(component("own.wasm", &["own::used", "main"], true))]
    #[case::without_memory(component("own.wasm", &LEGACY, false))]
    #[case::none(b"no component".to_vec())]
    #[case::cut_short(component("own.wasm", &LEGACY, true)[..100].to_vec())]
    fn what_can_not_be_counted_is_left_as_it_is(#[case] component: Vec<u8>) {
        let functions = Functions::default();
        assert_eq!(functions.counted("p", &component), None);
        assert!(functions.all()["p"].is_empty());
    }
}
