//! Which server wrote a record, and whether it still lives.

use std::fs;

/// This server: the boot it runs in, its process id, and when that process began. No other process is ever named so.
pub(super) fn this() -> String {
    identity(std::process::id()).unwrap_or_default()
}

/// Whether the server of this name is still there.
pub(super) fn is_alive(name: &str) -> bool {
    let pid = name.split(':').nth(1).and_then(|pid| pid.parse().ok());
    pid.and_then(identity).is_some_and(|now| now == name)
}

fn identity(pid: u32) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name of the program, which may hold anything: the state, and the 20th is the start.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let is_dead = matches!(fields.next()?, "Z" | "X");
    let start = fields.nth(18).filter(|_| !is_dead)?;
    Some(format!("{}:{pid}:{start}", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_server_lives_and_others_do_not() {
        assert!(is_alive(&this()));
        let other = this().replace(':', ":0");
        assert!(!is_alive(&other) && !is_alive("") && !is_alive("gone:1:1"));
    }
}
