//! Compiled policies on disk, so that a start costs a page fault where it cost a compiler.
//!
//! A compiled policy is code that the host will run, so the folder must belong to the user alone, and whatever in it does not is
//! refused. The key is the hash of all that went into the artifact.

use std::{
    cmp::Reverse,
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::engine::Engine;

/// Length of the digest in front of each artifact.
const DIGEST_BYTES: usize = 32;
/// What names of artifacts end with.
const SUFFIX: &str = ".cwasm";
/// Most artifacts that are kept besides those in use; changed policies and settings leave theirs behind.
const MOST_OTHERS: usize = 500;
/// Most bytes of them.
const MOST_OTHER_BYTES: u64 = 1 << 30;
/// How long they are kept after they were last used.
const LONGEST_UNUSED: Duration = Duration::from_hours(30 * 24);

/// Names a compiled policy: what it was made from and by what.
pub(super) struct Key(String);

impl Key {
    /// Hashes the parts, each with its length, together with the version of this program and the engine's own fingerprint.
    pub(super) fn of(engine: &Engine, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        hash.update(env!("CARGO_PKG_VERSION"));
        hash.update(fingerprint(engine).to_le_bytes());
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn fingerprint(engine: &Engine) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    engine.wasmtime().precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Whether the artifact starts from a configured memory image or must be configured each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `configure` has run; its memory is part of the artifact.
    Frozen,
    /// As compiled from the component.
    Plain,
}

impl Form {
    fn suffix(self) -> &'static str {
        match self {
            Self::Frozen => "frozen.cwasm",
            Self::Plain => "plain.cwasm",
        }
    }
}

/// The folder. Checked when it is opened, and each file again when it is read.
pub struct Cache {
    folder: PathBuf,
    /// What was found or written by this.
    used: Mutex<HashSet<PathBuf>>,
}

/// Why the cache can not be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It could not be made, read or written.
    #[error("could not use the cache of compiled policies at {path}")]
    Io {
        /// Folder or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else could have put code there.
    #[error(
        "the cache of compiled policies at {path} {fault}; it holds code that portcullis runs, so make it yours alone: `chmod 700 {path}`, or remove it"
    )]
    Unsafe {
        /// Folder or file.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
}

impl Cache {
    /// Opens the folder, making it with access for its owner alone if there is none.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| io_error(folder, source))?;
        let found = fs::symlink_metadata(folder).map_err(|source| io_error(folder, source))?;
        if !found.is_dir() {
            return Err(CacheError::Unsafe { path: folder.to_owned(), fault: "is not a directory" });
        }
        owned(folder, &found, 0o077)?;
        Ok(Self { folder: folder.to_owned(), used: Mutex::default() })
    }

    /// The artifact for this key, if there is one that this engine accepts.
    pub(super) fn find(&self, engine: &Engine, key: &Key) -> Result<Option<(Component, Form)>, CacheError> {
        for form in [Form::Frozen, Form::Plain] {
            let path = self.path(key, form);
            let found = match fs::symlink_metadata(&path) {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(io_error(&path, source)),
            };
            owned(&path, &found, 0o022)?;
            if let Some(component) = load(engine, &path) {
                // By this time it is told what was not used for long. If that can not be set, it is compiled again one day.
                _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                self.uses(path);
                return Ok(Some((component, form)));
            }
        }
        Ok(None)
    }

    /// Writes an artifact, whole or not at all.
    pub(super) fn keep(&self, key: &Key, form: Form, component: &Component) -> Result<(), CacheError> {
        let path = self.path(key, form);
        let artifact = component.serialize().map_err(|error| io_error(&path, io::Error::other(error.to_string())))?;
        let bytes = [Sha256::digest(&artifact).as_slice(), &artifact].concat();
        let draft = self.folder.join(format!("{}.{}", uuid::Uuid::new_v4(), form.suffix()));
        write_new(&draft, &bytes)
            .and_then(|()| fs::rename(&draft, &path))
            .inspect_err(|_| _ = fs::remove_file(&draft))
            .map_err(|source| io_error(&path, source))?;
        self.uses(path);
        Ok(())
    }

    /// Removes what was used longest ago, as far as it is too old or too much. What was found or written by this stays, and so does
    /// what others use: they have loaded it.
    pub(super) fn sweep(&self) {
        let used = self.used.lock().expect("no holder of this lock panics");
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut others: Vec<Artifact> =
            entries.filter(|entry| !used.contains(&entry.path())).filter_map(|entry| Artifact::of(&entry)).collect();
        others.sort_unstable_by_key(|artifact| Reverse(artifact.last_used));
        let (oldest, mut bytes) = (SystemTime::now() - LONGEST_UNUSED, 0_u64);
        for (index, artifact) in others.iter().enumerate() {
            bytes = bytes.saturating_add(artifact.bytes);
            if index >= MOST_OTHERS || bytes > MOST_OTHER_BYTES || artifact.last_used < oldest {
                // Another server may have been faster.
                _ = fs::remove_file(&artifact.path);
            }
        }
    }

    fn uses(&self, path: PathBuf) {
        self.used.lock().expect("no holder of this lock panics").insert(path);
    }

    fn path(&self, key: &Key, form: Form) -> PathBuf {
        self.folder.join(format!("{}.{}", key.0, form.suffix()))
    }
}

/// A file of the cache.
struct Artifact {
    path: PathBuf,
    bytes: u64,
    last_used: SystemTime,
}

impl Artifact {
    fn of(entry: &fs::DirEntry) -> Option<Self> {
        let is_one = entry.file_name().to_str().is_some_and(|name| name.ends_with(SUFFIX));
        let found = entry.metadata().ok().filter(|found| is_one && found.is_file())?;
        Some(Self { path: entry.path(), bytes: found.len(), last_used: found.modified().ok()? })
    }
}

fn io_error(path: &Path, source: io::Error) -> CacheError {
    CacheError::Io { path: path.to_owned(), source }
}

fn owned(path: &Path, found: &fs::Metadata, forbidden: u32) -> Result<(), CacheError> {
    let fault = match found {
        found if !found.is_dir() && !found.is_file() => "is not an ordinary file",
        found if found.uid() != rustix::process::geteuid().as_raw() => "belongs to another user",
        found if found.mode() & forbidden != 0 => "is open to other users",
        _ => return Ok(()),
    };
    Err(CacheError::Unsafe { path: path.to_owned(), fault })
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()
}

/// An artifact of another version or a damaged one is as good as none: it is compiled again.
fn load(engine: &Engine, path: &Path) -> Option<Component> {
    let bytes = fs::read(path).ok()?;
    let (digest, artifact) = bytes.split_first_chunk::<DIGEST_BYTES>()?;
    if Sha256::digest(artifact).as_slice() != digest {
        tracing::warn!(path = %path.display(), "a cached policy is damaged and is compiled again");
        return None;
    }
    #[expect(unsafe_code, reason = "an artifact is machine code: the one thing wasmtime can not verify")]
    // SAFETY: the file and its folder belong to this user and nobody else can write them (checked by the caller), what this
    // program writes there is the output of `Component::serialize`, and it is whole, as its digest shows.
    let component = unsafe { Component::deserialize(engine.wasmtime(), artifact) };
    component.inspect_err(|error| tracing::debug!(%error, "a cached policy is of no use")).ok()
}
