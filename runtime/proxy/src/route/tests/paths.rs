//! Properties of the normal form and of upstream paths.

use crate::route::{PathHandling, normalise, upstream_path};
use proptest::prelude::*;

/// Pieces that meet in attacks, and plain ones.
fn any_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("."),
        Just(".."),
        Just("%2e"),
        Just("%2E"),
        Just("%2f"),
        Just("%5c"),
        Just("%25"),
        Just("%41"),
        Just("%c3%A9"),
        Just(";"),
        Just("%3b"),
        Just("a"),
        Just("b1"),
        Just("~"),
        Just("é"),
        Just(" "),
        Just("{"),
        Just("%"),
        Just("\\"),
        Just("%00"),
    ];
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// What an upstream makes of a path that decodes everything, separators too, before it resolves dot segments.
fn climbs_when_decoded(path: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy().replace('\\', "/");
    decoded.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn the_normal_form_is_a_fixed_point_and_cannot_be_misread(path in any_path()) {
        let Ok(normal) = normalise(&path) else { return Ok(()) };
        let again = normalise(&normal);
        prop_assert_eq!(again.as_deref(), Ok(&*normal), "not a fixed point");
        prop_assert!(normal.starts_with('/') && normal.is_ascii());
        prop_assert!(!normal.contains("//"));
        prop_assert!(!climbs_when_decoded(&normal), "{} climbs", normal);
    }

    #[test]
    fn the_normal_form_grows_by_escapes_only(path in any_path()) {
        let Ok(normal) = normalise(&path) else { return Ok(()) };
        let escaped = path.bytes().filter(|byte| !byte.is_ascii() || matches!(byte, b' ' | b'{')).count();
        prop_assert!(normal.len() <= path.len() + 2 * escaped, "{} grew to {}", path, normal);
    }

    #[test]
    fn escaping_what_needs_no_escape_changes_nothing(path in "/[a-z/._~-]{0,12}") {
        let escaped: String = path.bytes().map(|byte| if byte == b'/' { "/".to_owned() } else { format!("%{byte:02x}") }).collect();
        prop_assert_eq!(normalise(&escaped), normalise(&path));
    }

    #[test]
    fn no_string_makes_it_fail_otherwise_than_with_an_error(path in any::<String>()) {
        let _ = normalise(&path);
        let _ = normalise(&format!("/{path}"));
    }

    #[test]
    fn an_upstream_path_stays_below_the_services_path(
        path in any_path(), base in select_base(), cut in 0..20_usize, strip: bool, v1: bool,
    ) {
        let Ok(path) = normalise(&path) else { return Ok(()) };
        // A route can match any number of bytes, since a prefix may end within a segment.
        let matched = cut.min(path.len());
        let handling = if v1 { PathHandling::V1 } else { PathHandling::V0 };
        let Ok(upstream) = upstream_path(handling, strip, base, &path, Some(matched)) else { return Ok(()) };
        prop_assert!(upstream.starts_with('/'), "{}", upstream);
        prop_assert!(upstream.starts_with(base.trim_end_matches('/')), "{} left {}", upstream, base);
        prop_assert!(!climbs_when_decoded(&upstream), "{} climbs", upstream);
    }
}

fn select_base() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&["/", "/s", "/s/", "/s/t"][..])
}

#[test]
fn a_dot_segment_that_cutting_uncovers_is_cut_too_or_refused() {
    let upstream = |path: &'static str, matched| upstream_path(PathHandling::V0, true, "/s", path, Some(matched));
    assert_eq!(upstream("/a../x", 2).as_deref(), Ok("/s/x"));
    assert_eq!(upstream("/a./x", 2).as_deref(), Ok("/s/x"));
    assert_eq!(upstream("/a..", 2).as_deref(), Ok("/s"));
    assert_eq!(upstream("/a...", 2).as_deref(), Ok("/s/..."));
    assert!(upstream("/a..%2Fx", 2).is_err());
    assert!(upstream("/a..;/x", 2).is_err());
    let kept = upstream_path(PathHandling::V0, false, "/s", "/a..%2Fx", Some(2));
    assert_eq!(kept.as_deref(), Ok("/s/a..%2Fx"), "nothing is cut, so nothing is uncovered");
}
