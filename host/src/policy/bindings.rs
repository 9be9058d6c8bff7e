//! The host's side of `wit/policy.wit`, generated. The only place that calls `bindgen!`.

#![allow(missing_docs, reason = "generated; the WIT file is the documentation")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "policy",
    imports: { default: trappable },
    exports: { default: async },
    additional_derives: [PartialEq, Clone],
});

/// Of the sandboxed parser, which is no policy.
pub mod parser {
    wasmtime::component::bindgen!({ path: "../shell/wit", world: "parser", exports: { default: async } });
}

pub use self::portcullis::policy::{log, types};
pub use exports::portcullis::policy::{command, input, output, settings};
