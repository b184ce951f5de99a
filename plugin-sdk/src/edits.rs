//! Header changes that are the same in every exchange: prepared once, made in one call.

use crate::backing;

/// One change of a head. Names are taken in any case; what a name and a value may be: [`crate::check_header_name`] and
/// [`crate::check_header_value`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HeaderEdit {
    /// Replaces all headers of that name.
    Set(String, Vec<u8>),
    /// Replaces all headers of that name, if there is one.
    SetIfPresent(String, Vec<u8>),
    /// Adds one more header of that name.
    Add(String, Vec<u8>),
    /// Adds the header, if there is none of that name.
    AddIfAbsent(String, Vec<u8>),
    /// Removes all headers of that name.
    Remove(String),
    /// Gives all headers of the first name the second one, in place of those that had it.
    Rename(String, String),
}

/// Edits of requests, from [`crate::Request::prepare`]. Those of `default()` change nothing.
#[derive(Default, Debug)]
pub struct RequestEdits(pub(crate) Option<backing::Prepared>);

/// Edits of responses, from [`crate::Response::prepare`]. Those of `default()` change nothing.
#[derive(Default, Debug)]
pub struct ResponseEdits(pub(crate) Option<backing::Prepared>);
