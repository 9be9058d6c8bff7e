//! Under what conditions policies work: those of production, or such as make tests and measurements repeatable.

use std::{
    collections::{BTreeMap, BTreeSet},
    env::{self, VarError},
    sync::{Arc, Mutex},
    time::Duration,
};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder, random::Deterministic};

use super::coverage::Functions;

/// What a fixed clock shows, in seconds since 1970: noon on the first day of 2026, in UTC.
const FIXED_SECONDS: u64 = 1_767_268_800;
/// What fixed random numbers come from.
const SEED: [u8; 16] = *b"portcullis tests";
/// Most rules that are noted: a flood would be a policy that names a new one each time.
const MOST_NOTED: usize = 100_000;
/// Longest name of a rule that is noted, in bytes.
const MOST_NAME_BYTES: usize = 1024;

/// Under what conditions policies work. By default those of production.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// Which clocks and random numbers policies see.
    pub world: World,
    /// Whether decisions start from the image that `configure` left.
    pub image: Image,
    /// The variables that can be granted; none: those of this process.
    pub variables: Option<BTreeMap<String, String>>,
    /// Where the rules are noted that policies name; none: nowhere.
    pub reached: Option<Reached>,
    /// Where it is noted which functions of policies run; none: nowhere, and nothing is added to them.
    pub functions: Option<Functions>,
}

impl Conditions {
    /// The value of a variable that is granted.
    pub(super) fn variable(&self, name: &str) -> Result<String, VarError> {
        match &self.variables {
            None => env::var(name),
            Some(variables) => variables.get(name).cloned().ok_or(VarError::NotPresent),
        }
    }
}

/// Which clocks and random numbers policies see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum World {
    /// Those of the system.
    #[default]
    Real,
    /// Clocks that stand still, and the same numbers each time.
    Fixed,
}

/// Whether decisions start from the image that `configure` left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Image {
    /// Where there can be one.
    #[default]
    Frozen,
    /// Never: each instance is configured.
    Never,
}

/// The rules that policies named as applying, each with the policy's name. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Reached(Arc<Mutex<BTreeSet<(String, String)>>>);

impl Reached {
    /// Policy and place of each rule, sorted.
    pub fn all(&self) -> BTreeSet<(String, String)> {
        self.0.lock().expect("no holder of this lock panics").clone()
    }

    pub(super) fn note(&self, policy: &str, mut place: String) {
        place.truncate(place.floor_char_boundary(MOST_NAME_BYTES));
        let mut all = self.0.lock().expect("no holder of this lock panics");
        if all.len() < MOST_NOTED {
            all.insert((policy.to_owned(), place));
        }
    }
}

impl World {
    /// Gives a guest its clocks and random numbers.
    pub(super) fn furnish(self, wasi: &mut WasiCtxBuilder) {
        if self == Self::Fixed {
            wasi.wall_clock(Still).monotonic_clock(Still);
            wasi.secure_random(Deterministic::new(SEED.to_vec())).insecure_random(Deterministic::new(SEED.to_vec()));
            wasi.insecure_random_seed(u128::from_le_bytes(SEED));
        }
    }
}

/// A clock that stands still.
struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(FIXED_SECONDS)
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}
