//! Compiles the two guests.

use portcullis_policy_build::{Package, embed};

fn main() {
    embed(&[
        Package { name: "portcullis-guest-misbehaving", dir: "tests/guests/misbehaving" },
        Package { name: "portcullis-guest-surplus", dir: "tests/guests/surplus" },
    ]);
}
