//! The path that the upstream is asked for.
//!
//! Pure. Kong's two ways of putting the service's path and the request's together; `docs/router.md` has the table.

use super::PathHandling;
use std::borrow::Cow;
use weir_model::path::{PathError, normalise};

/// Joins the service's path (`base`, begins with `/`) and the request's (in normal form), of which the route matched
/// `matched` bytes, or which it did not look at. Borrows where the result is a part of the request's path.
///
/// An error means that cutting the matched prefix would uncover a dot segment behind an encoded separator (`/a` cut from
/// `/a..%2Fb`): that is the client's mistake, as it would be at the beginning of any segment.
pub fn upstream_path<'p>(
    handling: PathHandling,
    strip: bool,
    base: &str,
    path: &'p str,
    matched: Option<usize>,
) -> Result<Cow<'p, str>, PathError> {
    // A route without paths matches the root. What is not cut uncovers nothing.
    let tail = if strip { tail(path.get(matched.unwrap_or(1)..).unwrap_or_default())? } else { "" };
    let rest = path.strip_prefix('/').unwrap_or(path);
    let joined = match (handling, strip) {
        (PathHandling::V0, true) => return Ok(replace_prefix(base, path, tail)),
        (PathHandling::V0, false) if base == "/" => Cow::Borrowed(path),
        (PathHandling::V0, false) if path == "/" => Cow::Owned(base.to_owned()),
        (PathHandling::V0, false) => join_with_slash(base, rest),
        (PathHandling::V1, true) => match base.strip_suffix('/') {
            Some("") if tail.starts_with('/') => Cow::Borrowed(tail),
            Some(base) if tail.starts_with('/') => Cow::Owned([base, tail].concat()),
            _ => Cow::Owned([base, tail].concat()),
        },
        (PathHandling::V1, false) if base == "/" => Cow::Borrowed(path),
        (PathHandling::V1, false) => Cow::Owned([base, rest].concat()),
    };
    Ok(joined)
}

/// Version 0 with the matched prefix cut.
fn replace_prefix<'p>(base: &str, path: &str, tail: &'p str) -> Cow<'p, str> {
    if !tail.is_empty() {
        return match tail.starts_with('/') {
            true if base == "/" => Cow::Borrowed(tail),
            _ => join_with_slash(base, tail.strip_prefix('/').unwrap_or(tail)),
        };
    }
    // Nothing is left: the client's final slash, or its absence, is kept.
    let bare = base.strip_suffix('/').unwrap_or(base);
    let client_ends_in_slash = path.ends_with('/');
    Cow::Owned(match base.ends_with('/') {
        _ if bare.is_empty() => "/".to_owned(),
        true if client_ends_in_slash => base.to_owned(),
        true => bare.to_owned(),
        false if client_ends_in_slash && path.len() > 1 => [base, "/"].concat(),
        false => base.to_owned(),
    })
}

fn join_with_slash<'p>(base: &str, rest: &str) -> Cow<'p, str> {
    let slash = if base.ends_with('/') { "" } else { "/" };
    Cow::Owned([base, slash, rest].concat())
}

/// What follows the matched prefix. If the prefix ended within a segment, the rest of that segment may be a dot segment now.
fn tail(tail: &str) -> Result<&str, PathError> {
    if !tail.starts_with('.') {
        return Ok(tail);
    }
    let first = tail.split('/').next().unwrap_or_default();
    if first == "." || first == ".." {
        let rest = tail.get(first.len()..).unwrap_or_default();
        return Ok(rest.strip_prefix('/').unwrap_or(rest));
    }
    normalise(&["/", first].concat())?;
    Ok(tail)
}
