//! Compiles the parser of shell text and the built-in policies, so that none is committed as a binary and none is stale.

use portcullis_policy_build::{Package, embed};

fn main() {
    embed(&[
        Package { name: "portcullis-shell", dir: "shell" },
        Package { name: "portcullis-allowlist", dir: "policies/allowlist" },
        Package { name: "portcullis-harden", dir: "policies/harden" },
        Package { name: "portcullis-redact", dir: "policies/redact" },
        Package { name: "portcullis-tidy", dir: "policies/tidy" },
    ]);
}
