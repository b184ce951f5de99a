//! The Admin API over real HTTP, on a real embedded store, with a catalog of plugins that the tests control.

#![allow(clippy::panic, reason = "a test ends so, with the answer that it did not expect")]

mod bodies;
mod clients;
mod cluster;
mod components;
mod conditions;
mod door;
mod entities;
mod export;
mod information;
mod lists;
mod outage;
mod plugins;
mod support;
mod transactions;
mod wrapped;
