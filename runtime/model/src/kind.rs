//! The kinds of entity that the store keeps.

use serde::{Deserialize, Serialize};

/// One kind of entity. The number is the one in the store's keys and must never be reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Where requests go.
    Service = 1,
    /// Which requests, and to which service.
    Route = 2,
    /// Who calls.
    Consumer = 3,
    /// A key of a consumer.
    KeyAuth = 4,
    /// A plugin with its configuration, at a scope.
    Plugin = 5,
    /// An uploaded wasm component: its digest, manifest and settings.
    Component = 6,
}

impl Kind {
    /// All kinds, in the order in which a parent comes before its children.
    pub const ALL: [Kind; 6] = [Kind::Service, Kind::Route, Kind::Consumer, Kind::KeyAuth, Kind::Plugin, Kind::Component];

    /// Kong's name of the schema: `services`, `keyauth_credentials`, …
    pub fn name(self) -> &'static str {
        match self {
            Kind::Service => "services",
            Kind::Route => "routes",
            Kind::Consumer => "consumers",
            Kind::KeyAuth => "keyauth_credentials",
            Kind::Plugin => "plugins",
            Kind::Component => "components",
        }
    }
    /// The number in the store's keys.
    pub fn number(self) -> u8 {
        self as u8
    }
    /// The kind of that number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}
