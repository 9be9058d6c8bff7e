//! The misbehaving components, compiled, for tests of the host.

/// A policy that exports all hooks and misbehaves as its settings say; see `misbehaving/src/lib.rs` for what it can do.
pub const MISBEHAVING: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/portcullis-guest-misbehaving.wasm"));

/// A policy for commands that imports `evil:host/shell@1.0.0`, which nobody grants.
pub const SURPLUS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/portcullis-guest-surplus.wasm"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_components() {
        for guest in [MISBEHAVING, SURPLUS] {
            assert_eq!(guest.get(..8), Some(&b"\0asm\x0d\0\x01\0"[..]));
        }
    }
}
