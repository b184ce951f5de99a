//! Write a plugin for the Weir gateway: a struct that is its configuration, and a method per phase.
//!
//! ```
//! use plugin_sdk::{Exchange, Flow, Plugin, Result};
//!
//! /// Sets a request header.
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct HeaderInject {
//!     /// Name of the header.
//!     name: String,
//!     /// Its value.
//!     value: String,
//! }
//! impl Plugin for HeaderInject {
//!     fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
//!         exchange.request.set_header(&self.name, &self.value)?;
//!         Ok(Flow::Proceed)
//!     }
//! }
//! plugin_sdk::export!(HeaderInject: on_request);
//!
//! // Its test, in plain `cargo test`: no gateway, no wasm.
//! let plugin = plugin_sdk::testing::configure::<HeaderInject>(r#"{"name": "x-env", "value": "prod"}"#).unwrap();
//! let mut exchange = plugin_sdk::testing::get("/orders");
//! assert_eq!(plugin.on_request(&mut exchange), Ok(Flow::Proceed));
//! assert_eq!(exchange.request.header("x-env").unwrap(), "prod");
//! ```
//!
//! The same types have two backings, chosen by the target: inside the gateway (wasm32) every method asks the host about the
//! exchange that is being served; anywhere else they are plain data, which a test fills and reads ([`testing`]).
//!
//! What this crate never does: I/O of its own, or keeping anything of an exchange from one call to the next.

/// The examples of the pages are run as this crate's.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/plugins.md")]
    struct WritingAPlugin;
}

mod backing;
mod counters;
mod edits;
mod exchange;
mod findings;
mod flow;
mod header;
pub mod log;
mod manifest;
pub mod query;
pub mod steps;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod exported;

pub use counters::{
    Announcement, Counters, Figure, Limit, Period, PreparedRule, Rule, Scope, Subject, Taken, Usage, Verdict, Window,
};
pub use edits::{HeaderEdit, RequestEdits, ResponseEdits};
pub use exchange::{
    Clock, Credential, Credentials, Exchange, Facts, Fault, Identity, LookedUp, Lookup, NamedEntity, Random, Request, Response,
};
pub use findings::Findings;
pub use flow::{Error, Flow, Reply, Result};
pub use header::{HeaderFault, HeaderValue, check_header_name, check_header_value, check_request_header_name};
pub use manifest::Phase;
pub use {schemars, serde, serde_json};

/// A plugin. The struct is its configuration: the gateway decodes it before the first call, so it never starts half-configured.
///
/// Doc comments of the fields become descriptions in the schema that operators see; serde defaults become its defaults. Each
/// phase has a default that changes nothing; a phase that is implemented must also be listed in [`export!`].
pub trait Plugin: serde::de::DeserializeOwned + schemars::JsonSchema + 'static {
    /// The name that configuration uses; by default the Cargo package's.
    const NAME: Option<&'static str> = None;
    /// Place in the chain: higher runs first, in every phase. Authentication is above 1000, transformation around 800.
    const PRIORITY: i64 = 0;
    /// The kinds of credential that it looks up with [`Credentials::find`].
    const CREDENTIALS: &'static [&'static str] = &[];

    /// Runs once, after the configuration was decoded: notes what the type alone cannot refuse, each with its field, and may
    /// prepare what the phases need (in fields marked `#[serde(skip)]`), so that they do not compute it in each call.
    fn check(&mut self, findings: &mut Findings) {
        let _ = findings;
    }

    /// When a request's head is there, before the upstream is chosen. [`Flow::Proceed`]: the next plugin. [`Flow::Respond`]: this
    /// is the reply, the upstream is not called. `Err` means "I failed", not "denied": the operator's `on_failure` decides.
    fn on_request(&self, exchange: &mut Exchange) -> Result<Flow> {
        let _ = exchange;
        Ok(Flow::Proceed)
    }

    /// When a response's head is there, from the upstream, another plugin, or the gateway. [`Flow::Respond`] replaces it.
    fn on_response(&self, exchange: &mut Exchange) -> Result<Flow> {
        let _ = exchange;
        Ok(Flow::Proceed)
    }

    /// After the last byte, for every accepted request, refused and broken ones too. Changes nothing.
    fn on_log(&self, exchange: &Exchange) {
        let _ = exchange;
    }
}

/// Makes a type the plugin of this crate, with the phases that it handles: `export!(KeyAuth: on_request, on_log);`
///
/// Only the listed phases exist for the gateway; the others cost nothing. Tests fail when they call one that is not listed.
/// One `export!` per crate, whose `crate-type` is `["cdylib", "rlib"]`.
#[macro_export]
macro_rules! export {
    ($plugin:ty : $($phase:ident),+ $(,)?) => {
        impl $crate::exported::Exported for $plugin {
            const PHASES: &'static [$crate::Phase] = &[$($crate::__phase!($phase)),+];
            const PACKAGE_NAME: &'static str = env!("CARGO_PKG_NAME");
            const PACKAGE_VERSION: &'static str = env!("CARGO_PKG_VERSION");
        }

        // Off wasm nothing calls the plugin but its tests; this use keeps "never constructed" away from the author.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&[u8]) -> ::core::result::Result<$plugin, $crate::Findings> = $crate::exported::decode::<$plugin>;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Configurations = $crate::exported::Configurations<$plugin>;
            ::std::thread_local! {
                static CONFIGURATIONS: Configurations = const { Configurations::new() };
            }
            struct Shim;

            impl $crate::bindings::base::exports::weir::plugin::plugin::Guest for Shim {
                fn describe() -> ::std::string::String {
                    $crate::exported::describe::<$plugin>()
                }
                fn configure(json: ::std::vec::Vec<u8>) -> ::core::result::Result<u32, ::std::string::String> {
                    CONFIGURATIONS.with(|all| all.configure(&json))
                }
                fn release(config: u32) {
                    CONFIGURATIONS.with(|all| all.release(config));
                }
            }
            $crate::bindings::base::export_base!(Shim with_types_in $crate::bindings::base);
            $($crate::__export_phase!($phase);)+
        };
    };
}

/// A phase by the name of its method.
#[doc(hidden)]
#[macro_export]
macro_rules! __phase {
    (on_request) => {
        $crate::Phase::Request
    };
    (on_response) => {
        $crate::Phase::Response
    };
    (on_log) => {
        $crate::Phase::Log
    };
    ($other:ident) => {
        compile_error!(concat!("`", stringify!($other), "` is not a phase; the phases are on_request, on_response, on_log"))
    };
}

/// The component's export of one phase. Names `Shim` and `CONFIGURATIONS` of the `export!` that it is in.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_phase {
    (on_request) => {
        impl $crate::bindings::request_phase::exports::weir::plugin::request_phase::Guest for Shim {
            fn on_request(config: u32) -> ::core::result::Result<$crate::bindings::Flow, ::std::string::String> {
                CONFIGURATIONS.with(|all| all.on_request(config))
            }
        }
        $crate::bindings::request_phase::export_request!(Shim with_types_in $crate::bindings::request_phase);
    };
    (on_response) => {
        impl $crate::bindings::response_phase::exports::weir::plugin::response_phase::Guest for Shim {
            fn on_response(config: u32) -> ::core::result::Result<$crate::bindings::Flow, ::std::string::String> {
                CONFIGURATIONS.with(|all| all.on_response(config))
            }
        }
        $crate::bindings::response_phase::export_response!(Shim with_types_in $crate::bindings::response_phase);
    };
    (on_log) => {
        impl $crate::bindings::log_phase::exports::weir::plugin::log_phase::Guest for Shim {
            fn on_log(config: u32) {
                CONFIGURATIONS.with(|all| all.on_log(config));
            }
        }
        $crate::bindings::log_phase::export_log!(Shim with_types_in $crate::bindings::log_phase);
    };
    ($other:ident) => {};
}
