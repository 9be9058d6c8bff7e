//! What lies in the directories that the policy was granted: reading, and nothing that opens what it has not looked at.
//!
//! Paths are absolute texts, as the host writes them. Links on the way are followed as long as they stay in the same grant.

/// What is at a path, a link not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Missing,
    /// A regular file of this many bytes.
    File(u64),
    /// A directory; its own size in bytes, which grows with the number of its entries.
    Directory(u64),
    /// A symbolic link.
    Link,
    /// A pipe, a device, a socket: opening one may never return.
    Other,
}

/// Why something could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// No grant holds the path.
    NotGranted,
    /// A link or `..` on the way leads out of the grant.
    Escapes,
    /// It has more bytes or entries than is looked at.
    TooLarge,
    /// The system's word for anything else.
    Failed(String),
}

/// Read access to the granted directories.
pub trait Files {
    /// What is at the path.
    fn kind(&self, path: &str) -> Result<Kind, Trouble>;

    /// All bytes of a regular file, if they are at most `most`.
    fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, Trouble>;

    /// The entries of a directory, if they are at most `most`.
    fn entries(&self, path: &str, most: usize) -> Result<Vec<(String, Kind)>, Trouble>;
}

/// What the host granted.
#[cfg(target_family = "wasm")]
pub fn granted() -> impl Files {
    wasi::Grants::new()
}

/// Outside a sandbox nothing is granted.
#[cfg(not(target_family = "wasm"))]
pub fn granted() -> impl Files {
    native::Grants::new(Vec::new())
}

/// What is left of `path` behind the grant that holds it, for the longest such grant.
fn below<'a, T>(grants: impl Iterator<Item = (T, &'a str)>, path: &str) -> Result<(T, String), Trouble> {
    let behind = |root: &str| {
        let rest = path.strip_prefix(root.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/').to_owned())
    };
    grants
        .filter_map(|(grant, root)| Some((grant, behind(root)?)))
        .min_by_key(|(_, rest)| rest.len())
        .map(|(grant, rest)| (grant, if rest.is_empty() { ".".to_owned() } else { rest }))
        .ok_or(Trouble::NotGranted)
}

#[cfg(target_family = "wasm")]
mod wasi {
    //! The host's files, by its own interface: what std has on top costs several times the calls and hides why one failed.

    use wasip2::filesystem::{
        preopens::get_directories,
        types::{Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, OpenFlags, PathFlags},
    };

    use super::{Files, Kind, Trouble, below};

    const NO_FOLLOW: PathFlags = PathFlags::empty();
    const READ: DescriptorFlags = DescriptorFlags::READ;

    pub struct Grants(Vec<(Descriptor, String)>);

    impl Grants {
        pub fn new() -> Self {
            Self(get_directories())
        }

        fn below(&self, path: &str) -> Result<(&Descriptor, String), Trouble> {
            below(self.0.iter().map(|(directory, root)| (directory, root.as_str())), path)
        }
    }

    impl Files for Grants {
        fn kind(&self, path: &str) -> Result<Kind, Trouble> {
            let (grant, path) = self.below(path)?;
            match grant.stat_at(NO_FOLLOW, &path) {
                Ok(stat) => Ok(kind(&stat)),
                Err(ErrorCode::NoEntry) => Ok(Kind::Missing),
                Err(error) => Err(trouble(error)),
            }
        }

        fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, Trouble> {
            let (grant, path) = self.below(path)?;
            let file = grant.open_at(NO_FOLLOW, &path, OpenFlags::empty(), READ).map_err(trouble)?;
            let mut bytes = Vec::new();
            while bytes.len() <= most {
                let (more, is_end) = file.read((most + 1 - bytes.len()) as u64, bytes.len() as u64).map_err(trouble)?;
                bytes.extend(more);
                if is_end {
                    return Ok(bytes);
                }
            }
            Err(Trouble::TooLarge)
        }

        fn entries(&self, path: &str, most: usize) -> Result<Vec<(String, Kind)>, Trouble> {
            let (grant, path) = self.below(path)?;
            let directory = grant.open_at(NO_FOLLOW, &path, OpenFlags::DIRECTORY, READ).map_err(trouble)?;
            let stream = directory.read_directory().map_err(trouble)?;
            let mut entries = Vec::new();
            while let Some(DirectoryEntry { type_, name }) = stream.read_directory_entry().map_err(trouble)? {
                entries.push((name, of_type(type_, 0)));
                if entries.len() > most {
                    return Err(Trouble::TooLarge);
                }
            }
            Ok(entries)
        }
    }

    fn kind(stat: &DescriptorStat) -> Kind {
        of_type(stat.type_, stat.size)
    }

    fn of_type(type_: DescriptorType, bytes: u64) -> Kind {
        match type_ {
            DescriptorType::RegularFile => Kind::File(bytes),
            DescriptorType::Directory => Kind::Directory(bytes),
            DescriptorType::SymbolicLink => Kind::Link,
            _ => Kind::Other,
        }
    }

    fn trouble(error: ErrorCode) -> Trouble {
        match error {
            // What the sandbox says to a way out of it.
            ErrorCode::NotPermitted => Trouble::Escapes,
            error => Trouble::Failed(error.name().to_owned()),
        }
    }
}

#[cfg(not(target_family = "wasm"))]
pub mod native {
    //! The same with the system's own files, for tests.

    use std::{
        fs, io,
        path::{Path, PathBuf},
    };

    use super::{Files, Kind, Trouble, below};

    /// Directories that count as granted, without links.
    pub struct Grants(Vec<String>);

    impl Grants {
        /// Grants these.
        pub fn new(roots: Vec<String>) -> Self {
            Self(roots)
        }

        /// The path if it stays in its grant; its last part is not followed.
        fn inside(&self, path: &str) -> Result<PathBuf, Trouble> {
            let (root, rest) = below(self.0.iter().map(|root| (root, root.as_str())), path)?;
            let path = Path::new(root).join(rest);
            let parent = if path == Path::new(root) { &path } else { path.parent().unwrap_or(&path) };
            match parent.canonicalize() {
                Ok(parent) if !parent.starts_with(root) => Err(Trouble::Escapes),
                _ => Ok(path),
            }
        }
    }

    impl Files for Grants {
        fn kind(&self, path: &str) -> Result<Kind, Trouble> {
            match self.inside(path)?.symlink_metadata() {
                Ok(found) => Ok(kind(&found)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kind::Missing),
                Err(error) => Err(trouble(error)),
            }
        }

        fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, Trouble> {
            let bytes = fs::read(self.inside(path)?).map_err(trouble)?;
            if bytes.len() > most { Err(Trouble::TooLarge) } else { Ok(bytes) }
        }

        fn entries(&self, path: &str, most: usize) -> Result<Vec<(String, Kind)>, Trouble> {
            let mut entries = Vec::new();
            for entry in fs::read_dir(self.inside(path)?).map_err(trouble)? {
                let entry = entry.map_err(trouble)?;
                let name = entry.file_name().into_string().map_err(|_| Trouble::Failed("illegal byte sequence".to_owned()))?;
                entries.push((name, kind(&entry.metadata().map_err(trouble)?)));
            }
            if entries.len() > most { Err(Trouble::TooLarge) } else { Ok(entries) }
        }
    }

    fn kind(found: &fs::Metadata) -> Kind {
        let is = found.file_type();
        match found.len() {
            bytes if is.is_file() => Kind::File(bytes),
            bytes if is.is_dir() => Kind::Directory(bytes),
            _ if is.is_symlink() => Kind::Link,
            _ => Kind::Other,
        }
    }

    fn trouble(error: io::Error) -> Trouble {
        Trouble::Failed(error.to_string())
    }
}
