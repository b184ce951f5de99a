//! Speaks version 0.2.0 of the interface, which this gateway does not.
//! The gateway refuses it when it is uploaded, and names both versions.

#[cfg(target_arch = "wasm32")]
mod guest {
    // The generated code passes pointers to the host.
    #![allow(unsafe_code, missing_docs)]

    wit_bindgen::generate!({
        inline: "
            package weir:plugin@0.2.0;
            interface plugin {
                describe: func() -> string;
                configure: func(json: list<u8>) -> result<u32, string>;
                release: func(config: u32);
            }
            interface request-phase {
                variant flow { proceed }
                on-request: func(config: u32) -> result<flow, string>;
            }
            world later { export plugin; export request-phase; }
        ",
        world: "later",
    });

    struct Later;

    impl exports::weir::plugin::plugin::Guest for Later {
        fn describe() -> String {
            r#"{"name": "wrong-interface-version", "version": "0.1.0", "priority": 0, "config": {"type": "object"}}"#.to_owned()
        }
        fn configure(_: Vec<u8>) -> Result<u32, String> {
            Ok(0)
        }
        fn release(_: u32) {}
    }

    impl exports::weir::plugin::request_phase::Guest for Later {
        fn on_request(_: u32) -> Result<exports::weir::plugin::request_phase::Flow, String> {
            Ok(exports::weir::plugin::request_phase::Flow::Proceed)
        }
    }

    export!(Later);
}
