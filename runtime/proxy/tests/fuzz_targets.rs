//! Runs the fuzz targets' functions on random bytes, so that they compile, and hold, in every test run.

#[path = "../fuzz/targets.rs"]
mod targets;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_bytes_as_a_path(text in "/[a./%2;\\\\Fe-]{0,20}") {
        targets::path(text.as_bytes());
    }

    #[test]
    fn any_bytes_as_a_host(text in "[aB.:0-9\\[\\]-]{0,12}", bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
        targets::host(text.as_bytes());
        targets::host(&bytes);
    }

    #[test]
    fn any_bytes_as_routes_and_requests(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        targets::router(&bytes);
    }
}
