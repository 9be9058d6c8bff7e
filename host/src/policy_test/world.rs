//! What commands of cases find: a root of their own, and a stand-in for every program they name.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink},
    path::{Component, Path, PathBuf},
};

use portcullis_shell::{Kind, Tree};

use super::cases;

/// What a stand-in begins with; nothing runs it.
const STAND_IN: &[u8] = b"\x7fELF";
/// Stands for the root in commands and in what is expected.
const ROOT: &str = "{root}";

/// A directory of its own, which is gone when this is dropped:
/// ```text
/// root/   where commands start, and the only root
/// bin/    where programs are looked up
/// home/   the user's
/// ```
pub struct World {
    base: PathBuf,
    missing: Vec<String>,
}

impl World {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// What could not be made.
    pub fn new(wanted: &cases::World) -> Result<Self, String> {
        let base = std::env::temp_dir().join(format!("portcullis-test-{}", uuid::Uuid::new_v4().simple()));
        let failed = |error: io::Error| format!("could not make {}: {error}", base.display());
        fs::DirBuilder::new().mode(0o700).create(&base).map_err(failed)?;
        let mut world = Self { base: base.clone(), missing: wanted.missing.clone() };
        world.base = base.canonicalize().map_err(failed)?;
        for folder in [world.root(), world.bin(), world.home()] {
            fs::DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        }
        // Without a shell there are no scripts.
        world.plant("bash").map_err(failed)?;
        for (name, content) in &wanted.files {
            world.file(name, content).map_err(|error| format!("world.files.{:?}: {error}", name.display()))?;
        }
        for (name, target) in &wanted.links {
            let link = |name: &Path| symlink(target, world.place(name)?);
            link(name).map_err(|error| format!("world.links.{:?}: {error}", name.display()))?;
        }
        Ok(world)
    }

    /// Where commands start.
    pub fn root(&self) -> PathBuf {
        self.base.join("root")
    }

    /// Where programs are looked up.
    pub fn bin(&self) -> PathBuf {
        self.base.join("bin")
    }

    /// The user's directory.
    pub fn home(&self) -> PathBuf {
        self.base.join("home")
    }

    /// Puts a stand-in in place for each program that a script names, unless there is to be none.
    ///
    /// # Errors
    ///
    /// What could not be written.
    pub fn plant_programs(&self, tree: &Tree) -> Result<(), String> {
        for node in &tree.nodes {
            let Kind::Command { words, .. } = &node.kind else { continue };
            let Some(name) = words.first().and_then(|word| word.text()) else { continue };
            if !self.missing.iter().any(|missing| missing == name) && is_name(name) {
                self.plant(name).map_err(|error| format!("could not put a stand-in for {name:?} in place: {error}"))?;
            }
        }
        Ok(())
    }

    /// A text of a case as it is put to the policies.
    pub fn placed(&self, text: &str) -> String {
        text.replace(ROOT, &self.root().to_string_lossy())
    }

    /// A text of the host's as cases expect it: programs by their names, paths from the root.
    pub fn shown(&self, text: &str) -> String {
        let text = text.replace(&format!("{}/", self.bin().display()), "");
        text.replace(&*self.root().to_string_lossy(), ROOT)
    }

    fn file(&self, name: &Path, content: &str) -> io::Result<()> {
        if name.to_string_lossy().ends_with('/') {
            return self.folder(name).map(drop);
        }
        let path = self.place(name)?;
        let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(content.as_bytes())
    }

    /// Where a file of this name lies: below the root, whose directories on the way are made.
    fn place(&self, name: &Path) -> io::Result<PathBuf> {
        let (Some(folder), Some(file)) = (name.parent(), name.file_name()) else { return Err(not_below()) };
        Ok(self.folder(folder)?.join(file))
    }

    /// A directory below the root, which is made with those on the way. None of them is a link, which would lead to places that are
    /// nobody's to fill.
    fn folder(&self, name: &Path) -> io::Result<PathBuf> {
        let mut path = self.root();
        for part in name.components() {
            let Component::Normal(part) = part else { return Err(not_below()) };
            path.push(part);
            match path.symlink_metadata() {
                Ok(found) if found.is_dir() => {}
                Ok(_) => return Err(io::Error::other(format!("{} is no directory", part.display()))),
                Err(_) => fs::create_dir(&path)?,
            }
        }
        Ok(path)
    }

    fn plant(&self, name: &str) -> io::Result<()> {
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(self.bin().join(name));
        match opened {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            opened => opened?.write_all(STAND_IN),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A directory of nobody's is left behind at worst.
        _ = fs::remove_dir_all(&self.base);
    }
}

fn not_below() -> io::Error {
    io::Error::other("must be a path below the root, without `..`")
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() < 256 && name != "." && name != ".." && !name.contains(['/', '\0'])
}
