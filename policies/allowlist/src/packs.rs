//! The rule packs of `packs/`, which the build script turns into JSON.

use crate::settings::Settings;

include!(concat!(env!("OUT_DIR"), "/packs.rs"));

/// The rules of a pack.
///
/// # Errors
///
/// There is none of this name.
pub fn read(name: &str) -> Result<Settings, String> {
    let Some((_, json)) = PACKS.iter().find(|(known, _)| *known == name) else {
        let names: Vec<_> = PACKS.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no pack `{name}`; there are {}", names.join(", ")));
    };
    portcullis_sdk::read_settings(json).map_err(|errors| format!("the pack `{name}` is broken: {errors:?}"))
}

/// The names of all packs.
#[cfg(test)]
pub fn names() -> impl Iterator<Item = &'static str> {
    PACKS.iter().map(|(name, _)| *name)
}
