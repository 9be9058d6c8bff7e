//! Opening files for policies. WASI's own way waits until somebody writes to a pipe, or gives up a lease, in the middle of a thread that
//! others need; and an agent can put a pipe in the place of what a policy has just looked at.

use std::{fs::File, io, os::fd::AsFd};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::{
    OpenMode, WasiView,
    filesystem::{self, Descriptor, Dir},
    p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags, PathFlags},
};

use super::limits::Guest;

/// The interface and its function, as WASI's own come into the linker.
const INTERFACE: &str = "wasi:filesystem/types@0.2.12";
const OPEN: &str = "[method]descriptor.open-at";
/// How often it is tried while somebody moves directories on the way about.
const MOST_TRIES: usize = 8;

/// What `open-at` takes.
type Wanted = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

/// Has policies open files and directories without waiting, to read them, and nothing else that has a name.
pub(super) fn open_without_waiting(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(INTERFACE)?.func_wrap(OPEN, |mut store, wanted: Wanted| {
        let table = store.data_mut().ctx().table;
        let Descriptor::Dir(directory) = table.get(&wanted.0)? else { return Ok((Err(ErrorCode::NotDirectory),)) };
        Ok((match opened(directory, &wanted) {
            Ok(descriptor) => Ok(table.push(descriptor)?),
            Err(error) => Err(error),
        },))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

fn opened(directory: &Dir, (_, follow, path, kind, access): &Wanted) -> Result<Descriptor, ErrorCode> {
    let writes = DescriptorFlags::WRITE | DescriptorFlags::MUTATE_DIRECTORY;
    let makes = OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE;
    if access.intersects(writes) || kind.intersects(makes) {
        return Err(ErrorCode::NotPermitted);
    }
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    flags.set(OFlags::NOFOLLOW, !follow.contains(PathFlags::SYMLINK_FOLLOW));
    flags.set(OFlags::DIRECTORY, kind.contains(OpenFlags::DIRECTORY));
    let file = below(&*directory.dir, path, flags)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        Ok(Descriptor::Dir(Dir::new(file, directory.perms, OpenMode::READ, true)))
    } else if meta.is_file() {
        Ok(Descriptor::File(filesystem::File::new(file, directory.perms, OpenMode::READ, true)))
    } else {
        Err(ErrorCode::Unsupported)
    }
}

fn below(directory: impl AsFd, path: &str, flags: OFlags) -> io::Result<File> {
    let mut tries = 1..=MOST_TRIES;
    loop {
        let stays = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match openat2(&directory, path, flags, Mode::empty(), stays) {
            Ok(file) => return Ok(file.into()),
            // Or somebody has a lease on it.
            Err(Errno::AGAIN) if tries.next().is_some() => {}
            // As WASI says that it leads out.
            Err(Errno::XDEV) => return Err(io::ErrorKind::PermissionDenied.into()),
            Err(error) => return Err(error.into()),
        }
    }
}
