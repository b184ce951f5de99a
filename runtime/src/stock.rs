//! The stock plugins: ordinary components, which the build script made of `plugins/` and put into the binary.
//!
//! They go through the same door as every other component; nothing here knows what they do.

/// The plugins that ship with this binary: package name and component, in the order of the names.
pub fn components() -> &'static [(&'static str, &'static [u8])] {
    include!(concat!(env!("OUT_DIR"), "/stock.rs"))
}

#[cfg(test)]
mod tests {
    use super::components;

    /// A component's header: the wasm magic, then version 13 of layer 1.
    const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 13, 0, 1, 0];

    #[test]
    fn every_stock_plugin_is_a_component() {
        let names: Vec<&str> = components().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["ip-restriction", "key-auth", "rate-limiting", "request-transformer", "response-transformer"]);
        for (name, bytes) in components() {
            assert!(bytes.starts_with(&COMPONENT), "{name}");
        }
    }
}
