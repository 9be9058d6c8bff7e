//! Shell text to a tree, and the tree back to text.
//!
//! The parser of text that an attacker wrote is not trusted to end, to stay in its stack or to be free of panics: `parse` is
//! compiled to a component that exports it, and the host runs that in the sandbox of the policies. The host itself links
//! only the tree and its rendering. What runs is always rendered from the tree, so a parser that understands a text otherwise than
//! the shell would can mislead nobody: the shell never sees that text.

#[cfg(any(test, target_family = "wasm", feature = "unconfined"))]
mod parse;
mod quote;
mod refuse;
mod render;
mod tree;
mod variables;

#[cfg(any(test, target_family = "wasm", feature = "unconfined"))]
pub use parse::parse;
pub use quote::quote;
pub use refuse::refuse_double_reading;
pub use render::{Renderer, Resolved};
pub use tree::*;
pub use variables::{is_shells_own, is_variable_name};

/// Reads the tree that the sandboxed parser wrote; none if these bytes are no tree.
pub fn decode(bytes: &[u8]) -> Option<Tree> {
    postcard::from_bytes(bytes).ok().filter(Tree::is_sound)
}

#[cfg(target_family = "wasm")]
#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated code")]
mod component {
    wit_bindgen::generate!({ path: "wit", world: "parser" });

    /// Every script is taken apart in an instance of its own.
    #[global_allocator]
    static ARENA: portcullis_arena::Arena = portcullis_arena::Arena::new();

    struct Component;
    export!(Component);

    impl Guest for Component {
        fn parse(text: String) -> Result<Vec<u8>, Refusal> {
            let tree = crate::parse(&text).map_err(|refusal| Refusal { code: refusal.code, message: refusal.message })?;
            Ok(postcard::to_allocvec(&tree).expect("a tree holds nothing that can not be written"))
        }
    }
}

#[cfg(test)]
mod tests;
