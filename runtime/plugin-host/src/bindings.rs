//! The host's side of `wit/`, generated. One world with every phase: which of them a component really exports is asked of it.

// The generated code calls into wasmtime's unchecked typed functions after it has checked the types itself.
#![allow(missing_docs)]

wasmtime::component::bindgen!({
    inline: "
        package weir:host;
        world every-phase {
            include weir:plugin/base@0.1.0;
            export weir:plugin/request-phase@0.1.0;
            export weir:plugin/response-phase@0.1.0;
            export weir:plugin/log-phase@0.1.0;
        }
    ",
    path: "../../wit",
    world: "weir:host/every-phase",
    imports: { default: trappable },
});
