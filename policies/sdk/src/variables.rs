//! The variables that a policy's entry grants it.

/// Every variable that the policy's entry grants and the server has, with its value. Ask in `configure`, which is called for each
/// decision anew where there are any: no image is kept that could hold them. In native tests: those of
/// `harness::with_variables`, never the process's own.
#[cfg(target_family = "wasm")]
pub fn variables() -> Vec<(String, String)> {
    std::env::vars().collect()
}

#[cfg(not(target_family = "wasm"))]
pub use crate::harness::variables;
