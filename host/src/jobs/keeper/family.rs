//! Who descends from a process, as the process table says.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgid, getpgrp, getpid, kill_process_group, waitid};

/// A line of the process table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    id: Pid,
    parent: Pid,
    group: Pid,
    /// Whether it has ended, and nobody has asked yet how.
    is_over: bool,
}

/// Sends a signal to all that descend from this process, whatever sessions and groups they made, but for `spared` children and what
/// descends from them. Says to how many groups.
///
/// By groups, since that is one step for the kernel: nobody can fork out of it, and no process that came by an id in between is
/// hit. Whoever is in the caller's own group is left out; what jobs run never is.
///
/// # Errors
///
/// There is no process table.
pub fn signal(signal: Signal, spared: &HashSet<Pid>) -> io::Result<usize> {
    let own = getpgrp();
    let mut table = table()?;
    let seen: HashSet<Pid> = table.iter().map(|member| member.id).collect();
    table.extend(children().into_iter().filter(|child| !seen.contains(&child.id)));
    let table: Vec<Member> = table.into_iter().filter(|member| !spared.contains(&member.id)).collect();
    let reached = descendants(getpid(), &table).filter(|member| !member.is_over && member.group != own);
    let groups: HashSet<Pid> = reached.map(|member| member.group).collect();
    // A group that is gone by now, or belongs to somebody else's processes, takes nothing; the next look tells.
    groups.iter().for_each(|group| _ = kill_process_group(*group, signal));
    Ok(groups.len())
}

fn descendants(ancestor: Pid, table: &[Member]) -> impl Iterator<Item = &Member> {
    let mut children = HashMap::<Pid, Vec<&Member>>::new();
    for member in table {
        children.entry(member.parent).or_default().push(member);
    }
    let mut todo = children.remove(&ancestor).unwrap_or_default();
    std::iter::from_fn(move || {
        let next = todo.pop()?;
        todo.extend(children.remove(&next.id).unwrap_or_default());
        Some(next)
    })
}

fn table() -> io::Result<Vec<Member>> {
    let entries = fs::read_dir("/proc")?.flatten();
    let processes = entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    // Whoever is gone between the two looks is gone.
    Ok(processes.filter_map(|process| member(&fs::read(process.path().join("stat")).ok()?)).collect())
}

/// The children of this process, also those that the table hides from it: where `/proc` is mounted with `hidepid`, processes of the
/// same user that nobody may trace. Whatever descends from a hidden one becomes a child when that is killed. None where the kernel
/// does not list children.
fn children() -> Vec<Member> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let ids: Vec<Pid> = lists.flat_map(|list| list.split_ascii_whitespace().filter_map(pid).collect::<Vec<_>>()).collect();
    ids.into_iter().filter_map(child).collect()
}

fn child(id: Pid) -> Option<Member> {
    // Only looked at: whoever is the one to ask how it ended still can.
    let looking = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let is_over = waitid(WaitId::Pid(id), looking).is_ok_and(|ended| ended.is_some());
    Some(Member { id, parent: getpid(), group: getpgid(Some(id)).ok()?, is_over })
}

fn pid(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}

/// Reads `id (name) state parent group …`; the name can hold anything, brackets too.
fn member(stat: &[u8]) -> Option<Member> {
    let (id, _) = stat.split_at_checked(stat.iter().position(|byte| *byte == b' ')?)?;
    let behind = stat.get(memchr::memrchr(b')', stat)? + 1..)?;
    let mut fields = std::str::from_utf8(behind).ok()?.split_ascii_whitespace();
    let is_over = matches!(fields.next()?, "Z" | "X");
    let id = pid(std::str::from_utf8(id).ok()?)?;
    Some(Member { id, is_over, parent: pid(fields.next()?)?, group: pid(fields.next()?)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number).unwrap()
    }

    fn of(id: i32, parent: i32) -> Member {
        Member { id: pid(id), parent: pid(parent), group: pid(id), is_over: false }
    }

    #[test]
    fn children_are_listed_without_the_table() {
        let mut process = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let id = pid(i32::try_from(process.id()).unwrap());
        let listed = || children().into_iter().find(|child| child.id == id);
        assert_eq!(listed(), Some(Member { id, parent: getpid(), group: getpgrp(), is_over: false }));
        process.kill().unwrap();
        while listed().is_some_and(|child| !child.is_over) {}
        process.wait().unwrap();
        assert_eq!(listed(), None);
    }

    #[test]
    fn a_line_is_read_whatever_the_name() {
        let line = b"17 (a) Z 1 (\xff\n) R 5 6 7 0 -1";
        assert_eq!(member(line), Some(Member { id: pid(17), parent: pid(5), group: pid(6), is_over: false }));
        assert!(member(b"17 (a) Z 5 6").unwrap().is_over);
        assert_eq!(member(b"17 (a"), None);
        assert_eq!(member(b""), None);
    }

    #[test]
    fn descendants_are_children_and_theirs() {
        let table = [of(2, 1), of(3, 2), of(4, 3), of(5, 1), of(6, 4), of(7, 7)];
        let mut found: Vec<_> = descendants(pid(2), &table).map(|member| member.id.as_raw_nonzero().get()).collect();
        found.sort_unstable();
        assert_eq!(found, [3, 4, 6]);
    }

    #[test]
    fn a_table_that_changed_while_it_was_read_ends_the_walk() {
        let table = [of(2, 3), of(3, 2)];
        assert_eq!(descendants(pid(2), &table).count(), 2);
    }
}
