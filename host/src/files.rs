//! Files, and nothing that only looks like one: opened without waiting, read whole and bounded, replaced in one step.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::Path,
};

use rustix::{fs::OFlags, io::Errno};

/// Opens a regular file, and nothing else: the opening of a pipe could wait for ever, and a device have no end. `also` are further
/// flags.
///
/// # Errors
///
/// It can not be opened so, or is no regular file.
pub fn open(options: &mut OpenOptions, also: OFlags, path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | also;
    let file =
        options.custom_flags(flags.bits().cast_signed()).open(path).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::LOOP) if also.contains(OFlags::NOFOLLOW) => io::Error::other("it is a link"),
            _ => error,
        })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// The bytes of a regular file, read once: what is checked is what is used.
///
/// # Errors
///
/// It can not be read, is a link or no regular file, or has more than `most` bytes
/// ([`io::ErrorKind::FileTooLarge`]).
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open(OpenOptions::new().read(true), OFlags::NOFOLLOW, path)?;
    let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes"));
    if file.metadata()?.len() > most {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // It may grow meanwhile.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large()) } else { Ok(bytes) }
}

/// Puts other bytes in the place of a file, whole or not at all: with the same mode and owner, and where the path is a link, in the
/// place of what it leads to.
///
/// # Errors
///
/// What the system says; the file is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let folder = path.parent().ok_or(io::ErrorKind::IsADirectory)?;
    let draft = folder.join(format!(".{}.draft", uuid::Uuid::new_v4()));
    write_like(&fs::metadata(&path)?, &draft, bytes)
        .and_then(|()| fs::rename(&draft, &path))
        .inspect_err(|_| _ = fs::remove_file(&draft))?;
    File::open(folder)?.sync_all()
}

fn write_like(model: &fs::Metadata, draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(bytes)?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (model.uid(), model.gid()) {
        fchown(&file, Some(model.uid()), Some(model.gid()))?;
    }
    file.set_permissions(model.permissions())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::fits(4, Some("four"))]
    #[case::is_too_large(3, None)]
    fn what_is_read_is_bounded(#[case] most: u64, #[case] expected: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "four").unwrap();
        let read = read(&path, most);
        assert_eq!(read.as_deref().ok(), expected.map(str::as_bytes));
        assert!(read.err().is_none_or(|error| error.kind() == io::ErrorKind::FileTooLarge));
    }

    #[test]
    fn neither_pipes_nor_directories_nor_links_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        symlink("/etc/hostname", at("link")).unwrap();
        for path in [at("pipe"), at("link"), folder.path().to_owned()] {
            assert!(read(&path, 1 << 20).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("file", &link).unwrap();
        replace(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
