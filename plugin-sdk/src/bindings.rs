//! What wit-bindgen makes of `wit/`: one module per world, so that `export!` can add up the phases that a plugin lists.
//!
//! The generated code passes pointers to the host, which is what `unsafe` is allowed for; nothing here is written by hand.
#![allow(unsafe_code, missing_docs, clippy::all)]

pub mod base {
    wit_bindgen::generate!({
        world: "base",
        path: "../wit",
        pub_export_macro: true,
        export_macro_name: "export_base",
        default_bindings_module: "plugin_sdk::bindings::base",
        generate_unused_types: true,
    });
}

pub mod request_phase {
    wit_bindgen::generate!({
        world: "handles-request",
        path: "../wit",
        pub_export_macro: true,
        export_macro_name: "export_request",
        default_bindings_module: "plugin_sdk::bindings::request_phase",
        with: { "weir:plugin/types@0.1.0": crate::bindings::base::weir::plugin::types },
    });
}

pub mod response_phase {
    wit_bindgen::generate!({
        world: "handles-response",
        path: "../wit",
        pub_export_macro: true,
        export_macro_name: "export_response",
        default_bindings_module: "plugin_sdk::bindings::response_phase",
        with: { "weir:plugin/types@0.1.0": crate::bindings::base::weir::plugin::types },
    });
}

pub mod log_phase {
    wit_bindgen::generate!({
        world: "handles-log",
        path: "../wit",
        pub_export_macro: true,
        export_macro_name: "export_log",
        default_bindings_module: "plugin_sdk::bindings::log_phase",
        with: { "weir:plugin/types@0.1.0": crate::bindings::base::weir::plugin::types },
    });
}

pub use base::weir::plugin::types::{Field, Flow, Reply};
