//! From a program's name to the file that will be started.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::io::Errno;

use super::{
    Lookups, PROGRAM_NOT_FOUND, Refusal, Site,
    held::{self, Identity},
};
use crate::{fence::if_there, policy::types::Program};

/// How much of a file's first line is read to find its interpreter: what Linux reads.
const SHEBANG_BYTES: u64 = 256;

/// A program's file, held open from the moment its name was resolved, so that what was judged is what is started.
#[derive(Debug)]
pub struct ProgramFile {
    name: PathBuf,
    handle: File,
    identity: Identity,
    kind: ProgramKind,
}

/// How the system executes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// An ELF binary, which can be executed by its handle.
    Binary,
    /// `#!`: the kernel hands its path to the interpreter, so it can only be executed by that.
    Interpreted,
}

/// How many files the kernel goes through to execute one: interpreters of interpreters, and a loader.
const MOST_INTERPRETERS: usize = 5;
/// Most parts of a binary that are looked through for the name of its loader, and longest such name, in bytes.
const MOST_PARTS: u16 = 128;
const MOST_NAME_BYTES: u64 = 4096;

/// A program as policies see it, and its file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) program: Program,
    pub(super) file: Arc<ProgramFile>,
}

impl ProgramFile {
    /// The file at a path that is no word of a command, such as the shell's.
    ///
    /// # Errors
    ///
    /// There is no file, or it can not be executed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let Opened { handle, kind, identity, .. } = open(path)?;
        Ok(Self { name: path.to_owned(), handle, identity, kind })
    }

    /// The path it was found under: absolute, links not followed. What it is told as its own name.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// How it is executed.
    pub fn kind(&self) -> ProgramKind {
        self.kind
    }

    /// What it was when it was judged: who executes it by its name compares this with [`Identity::at`] just before.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// All that the kernel opens to execute it: itself, the interpreter that it names (`#!`), its loader. What nobody can find is
    /// left out, and then not to be executed by what is confined.
    ///
    /// # Errors
    ///
    /// It can not be read.
    pub fn executed(&self) -> io::Result<Vec<File>> {
        let mut files = vec![self.handle.try_clone()?];
        while let Some(last) = files.last().filter(|_| files.len() <= MOST_INTERPRETERS) {
            let named = match interpreter(&head(last)?) {
                Some(interpreter) => Some(interpreter),
                None => loader(last)?,
            };
            let Some(path) = named.filter(|path| path.starts_with('/')) else { break };
            match if_there(held::open(Path::new(&path)))? {
                Some(file) => files.push(file),
                None => break,
            }
        }
        Ok(files)
    }
}

impl AsFd for ProgramFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl PartialEq for ProgramFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.identity) == (&other.name, other.identity)
    }
}

/// Finds the file: a name is looked up in the configured directories, a path is taken from `cwd`.
pub(super) fn resolve(name: &str, site: &Lookups, cwd: &Path) -> Result<Found, Refusal> {
    if name.contains('\0') {
        return Err(Refusal::new("nul-byte", "the program's name holds a NUL byte"));
    }
    let candidates: Vec<PathBuf> =
        if name.contains('/') { vec![cwd.join(name)] } else { site.path.iter().map(|directory| directory.join(name)).collect() };
    // The second: on its way is a link that leads the job elsewhere.
    if name.is_empty() || name.contains('/') && site.place_of(name, cwd).is_none() {
        return Err(not_found(name));
    }
    let mut found = first(&candidates, site)?
        .ok_or_else(|| if candidates.iter().any(|file| file.is_file()) { no_program(name) } else { not_found(name) })?;
    found.program.looked_up = !name.contains('/') || is_looked_up(&found.program, site)?;
    Ok(found)
}

fn is_looked_up(program: &Program, site: &Site) -> Result<bool, Refusal> {
    let Some(name) = Path::new(&program.name).file_name() else { return Ok(false) };
    let candidates: Vec<PathBuf> = site.path.iter().map(|directory| directory.join(name)).collect();
    Ok(first(&candidates, site)?.is_some_and(|found| found.program.name == program.name))
}

/// The first of these that is a program. What could not be looked at is not passed over: a later one may be another program.
fn first(candidates: &[PathBuf], site: &Site) -> Result<Option<Found>, Refusal> {
    for candidate in candidates {
        match open(candidate) {
            Ok(opened) => {
                if let Some(found) = describe(opened, candidate, site) {
                    return Ok(Some(found));
                }
            }
            Err(error) if is_no_program(&error) => {}
            Err(error) => return Err(Refusal::new("can-not-open", format!("could not open {}: {error}", candidate.display()))),
        }
    }
    Ok(None)
}

/// Whether this says of a file that it can not be run, and not of the system that it could not look.
fn is_no_program(error: &io::Error) -> bool {
    match Errno::from_io_error(error) {
        Some(errno) => {
            [Errno::NOENT, Errno::NOTDIR, Errno::ACCESS, Errno::PERM, Errno::LOOP, Errno::NAMETOOLONG].contains(&errno)
        }
        None => true,
    }
}

fn describe(opened: Opened, candidate: &Path, site: &Site) -> Option<Found> {
    let Opened { handle, path, identity, kind, head } = opened;
    let interpreter = interpreter(&head);
    // An interpreter that an agent could write is as good as a program that it could write.
    let is_inside = |file: &str| Path::new(file).canonicalize().is_ok_and(|file| site.contains(&file));
    let program = Program {
        inside_roots: site.contains(&path) || site.contains(candidate) || interpreter.as_deref().is_some_and(is_inside),
        interpreter,
        path: path.to_str()?.to_owned(),
        name: candidate.to_str()?.to_owned(),
        looked_up: false,
    };
    let file = ProgramFile { name: candidate.to_owned(), handle, identity, kind };
    Some(Found { program, file: Arc::new(file) })
}

/// A file that can be executed, and what there is to know of it.
struct Opened {
    handle: File,
    path: PathBuf,
    identity: Identity,
    kind: ProgramKind,
    head: Vec<u8>,
}

/// Opens a file once; everything else is asked of the handle, so that all of it is of the same file.
fn open(candidate: &Path) -> io::Result<Opened> {
    let not_executable = || io::Error::other("it is no file that can be executed");
    let handle = held::open(candidate)?;
    let meta = handle.metadata()?;
    if !meta.is_file() {
        return Err(not_executable());
    }
    rustix::fs::access(held::in_proc(&handle), rustix::fs::Access::EXEC_OK)?;
    let head = head(&handle)?;
    let kind = match &*head {
        [0x7f, b'E', b'L', b'F', ..] => ProgramKind::Binary,
        [b'#', b'!', ..] => ProgramKind::Interpreted,
        // The C library would have a shell run such a file.
        _ => return Err(not_executable()),
    };
    Ok(Opened { path: held::path_of(&handle)?, identity: Identity::of(&meta), kind, head, handle })
}

/// The beginning of a file that can be read; what can not be read can not be told apart from what a shell would run.
fn head(handle: &File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(held::in_proc(handle))?.take(SHEBANG_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    Some(line.split_ascii_whitespace().next().unwrap_or("/bin/sh").to_owned())
}

/// The loader that a binary names: of 64 bits and this machine's order of bytes; none in others and in what is linked statically.
fn loader(handle: &File) -> io::Result<Option<String>> {
    const CLASS_64: u8 = 2;
    const ORDER: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };
    const PART_BYTES: u64 = 56;
    const LOADER: u32 = 3;
    let file = File::open(held::in_proc(handle))?;
    let mut header = [0; 64];
    let is_known = file.read_exact_at(&mut header, 0).is_ok() && header[..6] == [0x7f, b'E', b'L', b'F', CLASS_64, ORDER];
    if !is_known {
        return Ok(None);
    }
    let parts = number(&header, 32);
    for at in 0..u64::from(u16::from_ne_bytes([header[56], header[57]]).min(MOST_PARTS)) {
        let mut part = [0; PART_BYTES as usize];
        let Some(place) = parts.checked_add(at * PART_BYTES) else { return Ok(None) };
        file.read_exact_at(&mut part, place)?;
        if u32::from_ne_bytes([part[0], part[1], part[2], part[3]]) == LOADER {
            let mut name = vec![0; usize::try_from(number(&part, 32).min(MOST_NAME_BYTES)).map_err(io::Error::other)?];
            file.read_exact_at(&mut name, number(&part, 8))?;
            return Ok(name.split(|byte| *byte == 0).next().and_then(|name| String::from_utf8(name.to_vec()).ok()));
        }
    }
    Ok(None)
}

/// Eight bytes as a number.
fn number(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map(|bytes| u64::from_ne_bytes(*bytes)).unwrap_or_default()
}

fn no_program(name: &str) -> Refusal {
    Refusal::new(
        "not-a-program",
        format!("{name} is a file that can not be run: it must be executable, readable, and a binary or begin with `#!`"),
    )
}

fn not_found(name: &str) -> Refusal {
    let message = if name.contains('/') {
        format!("there is no program that can be run at {name}")
    } else {
        format!("there is no program {name} in the directories that programs are looked up in (`jobs.path`)")
    };
    Refusal::new(PROGRAM_NOT_FOUND, message)
}
