//! Whether an entity of a file is the one that a gateway shows.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A ttl is shown as what remains of it, by a clock that need not be this machine's. Ends that are closer are the same.
const TTL_SLACK_SECONDS: u64 = 60;

/// The fields in which two bodies differ, both as a client sees them. The time of the last write is each store's own.
pub fn differences(one: &Map<String, Value>, other: &Map<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).filter(|name| *name != "updated_at").collect();
    let differs = |name: &str| {
        // A version that does not know a field shows none where another shows that it is unset.
        let of = |body: &Map<String, Value>| body.get(name).cloned().unwrap_or_default();
        match (name, of(one).as_u64(), of(other).as_u64()) {
            ("ttl", Some(one), Some(other)) => one.abs_diff(other) > TTL_SLACK_SECONDS,
            _ => of(one) != of(other),
        }
    };
    names.into_iter().filter(|name| differs(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::differences;
    use serde_json::{Value, json};

    fn of(one: Value, other: Value) -> Vec<String> {
        differences(one.as_object().unwrap(), other.as_object().unwrap())
    }

    #[test]
    fn the_time_of_a_write_and_seconds_of_a_ttl_make_no_difference() {
        let one = json!({ "id": "x", "updated_at": 1, "ttl": 1000, "tags": null, "config": { "a": 1 } });
        assert!(of(one.clone(), json!({ "id": "x", "updated_at": 9, "ttl": 990, "config": { "a": 1 } })).is_empty());
        assert_eq!(of(one.clone(), json!({ "id": "x", "ttl": 10, "config": { "a": 1 } })), ["ttl"]);
        assert_eq!(of(one.clone(), json!({ "id": "x", "ttl": null, "config": { "a": 1 } })), ["ttl"]);
        assert_eq!(of(one, json!({ "id": "x", "ttl": 1000, "config": { "a": 2 }, "host": "b" })), ["config", "host"]);
    }
}
