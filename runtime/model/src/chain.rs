//! Which entry of a plugin runs: Kong's precedence of scopes.
//!
//! A route's chain is the plugin *names* in order. Each name has its candidate entries; the one that runs is picked when the
//! walk reaches it, because an earlier plugin of the same walk decides who the consumer is.

use crate::Id;

/// Where an entry applies. All unset: everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Scope {
    /// Only on this route.
    pub route: Option<Id>,
    /// Only on routes of this service.
    pub service: Option<Id>,
    /// Only for this consumer.
    pub consumer: Option<Id>,
}

impl Scope {
    /// Higher wins: route+service+consumer, route+consumer, service+consumer, route+service, consumer, route, service, global.
    pub fn specificity(&self) -> u8 {
        match (self.route.is_some(), self.service.is_some(), self.consumer.is_some()) {
            (true, true, true) => 7,
            (true, false, true) => 6,
            (false, true, true) => 5,
            (true, true, false) => 4,
            (false, false, true) => 3,
            (true, false, false) => 2,
            (false, true, false) => 1,
            (false, false, false) => 0,
        }
    }
    /// Whether an entry of this scope applies to an exchange on that route and service by that consumer.
    pub fn applies(&self, route: Option<Id>, service: Option<Id>, consumer: Option<Id>) -> bool {
        let fits = |scope: Option<Id>, actual: Option<Id>| scope.is_none() || scope == actual;
        fits(self.route, route) && fits(self.service, service) && fits(self.consumer, consumer)
    }
    /// In words, as `GET /routes/{route}/chain` shows it: `global`, `route`, `service+consumer`, …
    pub fn name(&self) -> &'static str {
        [
            "global",
            "service",
            "route",
            "consumer",
            "route+service",
            "service+consumer",
            "route+consumer",
            "route+service+consumer",
        ][usize::from(self.specificity())]
    }
}

/// The order of two plugins in a chain: descending priority, then name descending (Kong's).
pub fn order(a: (i64, &str), b: (i64, &str)) -> std::cmp::Ordering {
    b.0.cmp(&a.0).then_with(|| b.1.cmp(a.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_rank_as_in_kong() {
        let id = Some(Id::random());
        let scope =
            |r: bool, s: bool, c: bool| Scope { route: id.filter(|_| r), service: id.filter(|_| s), consumer: id.filter(|_| c) };
        let ranked = [
            scope(true, true, true),
            scope(true, false, true),
            scope(false, true, true),
            scope(true, true, false),
            scope(false, false, true),
            scope(true, false, false),
            scope(false, true, false),
            scope(false, false, false),
        ];
        assert!(ranked.windows(2).all(|pair| pair[0].specificity() > pair[1].specificity()));
        assert_eq!(scope(false, true, true).name(), "service+consumer");
    }
}
