//! What is generated from `wit/`: the shared types with what every policy exports, and one world per hook, so that a
//! component exports the hooks it names and no others. The linker joins the worlds of a component.
#![allow(unsafe_code, missing_docs, clippy::all, reason = "generated code")]

/// What every policy has: types, log and settings.
pub mod common {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package portcullis:sdk;
            world common {
                import portcullis:policy/types@0.1.0;
                import portcullis:policy/log@0.1.0;
                export portcullis:policy/settings@0.1.0;
            }
        ",
        world: "portcullis:sdk/common",
        generate_all,
        pub_export_macro: true,
        additional_derives: [PartialEq],
        export_macro_name: "export_settings",
        default_bindings_module: "portcullis_sdk::bindings::common",
    });
}

/// The hook that judges commands.
pub mod command {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package portcullis:sdk; world command-hook { export portcullis:policy/command@0.1.0; }",
        world: "portcullis:sdk/command-hook",
        with: { "portcullis:policy/types@0.1.0": crate::bindings::common::portcullis::policy::types },
        pub_export_macro: true,
        additional_derives: [PartialEq],
        export_macro_name: "export_command",
        default_bindings_module: "portcullis_sdk::bindings::command",
    });
}

/// The hook that judges input.
pub mod input {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package portcullis:sdk; world input-hook { export portcullis:policy/input@0.1.0; }",
        world: "portcullis:sdk/input-hook",
        with: { "portcullis:policy/types@0.1.0": crate::bindings::common::portcullis::policy::types },
        pub_export_macro: true,
        additional_derives: [PartialEq],
        export_macro_name: "export_input",
        default_bindings_module: "portcullis_sdk::bindings::input",
    });
}

/// The hook that filters output.
pub mod output {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package portcullis:sdk; world output-hook { export portcullis:policy/output@0.1.0; }",
        world: "portcullis:sdk/output-hook",
        with: { "portcullis:policy/types@0.1.0": crate::bindings::common::portcullis::policy::types },
        pub_export_macro: true,
        additional_derives: [PartialEq],
        export_macro_name: "export_output",
        default_bindings_module: "portcullis_sdk::bindings::output",
    });
}
