//! What a request waits for: that this node, or every node, serves what was written; that this node has what a read asks for.
//!
//! Asks the store who there is and what each serves; does not know how they learn of it. Every wait has a deadline, after which
//! the answer says what is missing: the write stands all the same.

use crate::answer::{self, SERVED};
use crate::context::AdminContext;
use crate::error::Fault;
use crate::query::Query;
use axum::body::Body;
use http::{HeaderValue, Response};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use weir_model::Revision;
use weir_store::NodeState;

/// Seconds that `?timeout=` may say. Less is no wait; more outlasts the proxies and clients on the way.
const TIMEOUT: std::ops::RangeInclusive<f64> = 0.1..=60.0;
/// How often the nodes are looked at although nothing has moved: that one has fallen silent is only seen by looking.
const LOOK: Duration = Duration::from_millis(500);
/// Nodes that a header names. With ids of 36 bytes twice this many fit what clients take as a header.
const NAMED: usize = 50;
/// The longest name that is shown; beyond this a host's name is none.
const NAME_LENGTH: usize = 64;

/// What a write waits for before it is answered.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Wait {
    /// That this node serves it.
    Own,
    /// That every live node serves it, for this long at most.
    Everywhere(Duration),
}

impl Wait {
    /// What `?wait=applied&timeout=` ask for.
    pub(crate) fn of(query: &Query, default: Duration) -> Result<Self, Fault> {
        let wrong = |option, message: String| Err(Fault::InvalidOption { option, message });
        match (query.get("wait"), query.get("timeout")) {
            (None, None) => Ok(Wait::Own),
            (Some("applied"), None) => Ok(Wait::Everywhere(default)),
            (Some("applied"), Some(text)) => match text.parse::<f64>().ok().filter(|seconds| TIMEOUT.contains(seconds)) {
                Some(seconds) => Ok(Wait::Everywhere(Duration::from_secs_f64(seconds))),
                None => wrong("timeout", format!("expected seconds between {} and {}", TIMEOUT.start(), TIMEOUT.end())),
            },
            (None, Some(_)) => wrong("timeout", "goes with wait=applied only".to_owned()),
            (Some(_), _) => wrong("wait", "expected 'applied'".to_owned()),
        }
    }
}

/// Waits until the write is served, so that the client's next request through a proxy meets it. Says what was not served in time.
pub(crate) async fn served(context: &AdminContext, response: Response<Body>, revision: Revision, wait: Wait) -> Response<Body> {
    let mut response = answer::at(response, revision);
    let text = match wait {
        Wait::Own => {
            let mut serving = context.node.serving();
            let reached = serving.wait_for(|serving| *serving >= revision);
            match tokio::time::timeout(context.serving_wait, reached).await {
                Ok(Ok(_)) => return response,
                Ok(Err(_)) | Err(_) => "pending".to_owned(),
            }
        }
        Wait::Everywhere(timeout) => everywhere(context, revision, timeout).await.text(),
    };
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(SERVED, value);
    }
    response
}

async fn everywhere(context: &AdminContext, revision: Revision, timeout: Duration) -> Served {
    let deadline = Instant::now() + timeout;
    // Before the first look, so that nothing moves between the two.
    let (mut moved, mut own) = (context.store.nodes_moved(), context.node.serving());
    loop {
        moved.mark_unchanged();
        let serving = *own.borrow_and_update();
        // Each time anew: nodes come and go meanwhile.
        let served = Served::of(&context.store.nodes(), serving, revision);
        if served.missing.is_empty() || Instant::now() >= deadline {
            return served;
        }
        let changed = async {
            tokio::select! {
                changed = moved.changed() => changed,
                changed = own.changed() => changed,
            }
        };
        // A sender that has gone away ends the wait: nothing will move any more.
        if let Ok(Err(_)) = timeout_at(deadline.min(Instant::now() + LOOK), changed).await {
            return Served::of(&context.store.nodes(), *own.borrow(), revision);
        }
    }
}

/// Who serves a revision.
#[derive(PartialEq, Debug)]
struct Served {
    /// Live nodes.
    live: usize,
    /// Live nodes that do not serve it.
    missing: Vec<String>,
    /// Nodes of which nothing was heard lately.
    silent: Vec<String>,
}

impl Served {
    /// `own` is what this node serves: it knows that before the store does.
    fn of(nodes: &[NodeState], own: Revision, revision: Revision) -> Self {
        let mut served = Served { live: 0, missing: Vec::new(), silent: Vec::new() };
        for node in nodes {
            let serving = if node.own { node.serving.max(own) } else { node.serving };
            if !node.live && !node.own {
                served.silent.push(shown(node, nodes));
                continue;
            }
            served.live += 1;
            if serving < revision {
                served.missing.push(shown(node, nodes));
            }
        }
        served
    }
    /// `2/3; missing=b; silent=c`
    fn text(&self) -> String {
        let mut text = format!("{}/{}", self.live - self.missing.len(), self.live);
        for (what, names) in [("missing", &self.missing), ("silent", &self.silent)] {
            if names.is_empty() {
                continue;
            }
            let some: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
            text.push_str(&format!("; {what}={}", some.join(",")));
            if let Some(more) = names.len().checked_sub(NAMED).filter(|more| *more > 0) {
                text.push_str(&format!(",+{more}"));
            }
        }
        text
    }
}

/// A node's name, where that is safe in a header and no other node has it; its id otherwise.
fn shown(node: &NodeState, nodes: &[NodeState]) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let usable = !node.name.is_empty() && node.name.len() <= NAME_LENGTH && node.name.bytes().all(safe);
    if usable && nodes.iter().filter(|other| other.name == node.name).count() == 1 {
        return node.name.clone();
    }
    node.id.bytes().take(NAME_LENGTH).map(|byte| if safe(byte) { char::from(byte) } else { '_' }).collect()
}

/// Waits until reads of this node show at least what `?min_revision=` asks for.
pub(crate) async fn reached(context: &AdminContext, query: &Query) -> Result<(), Fault> {
    let Some(text) = query.get("min_revision") else { return Ok(()) };
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(asked) = digits.and_then(|text| text.parse().ok()).map(Revision) else {
        let message = "expected a whole number, as Weir-Revision gives it".to_owned();
        return Err(Fault::InvalidOption { option: "min_revision", message });
    };
    let mut revisions = context.store.revisions();
    // How it ended shows in the view; a store that has gone away says why.
    drop(tokio::time::timeout(context.serving_wait, revisions.wait_for(|revision| *revision >= asked)).await);
    let has = context.store.view()?.revision();
    if has >= asked { Ok(()) } else { Err(Fault::Behind { has, asked }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, serving: u64, live: bool) -> NodeState {
        NodeState {
            id: format!("id-of-{name}"),
            name: name.to_owned(),
            version: String::new(),
            applied: Revision(serving),
            serving: Revision(serving),
            lag: 0,
            trouble: None,
            live,
            silent_ms: 0,
            own: name == "own",
        }
    }
    fn text(nodes: &[NodeState]) -> String {
        Served::of(nodes, Revision(0), Revision(5)).text()
    }

    #[test]
    fn the_header_counts_the_live_and_names_the_others() {
        assert_eq!(text(&[node("own", 5, true), node("b", 6, true)]), "2/2");
        assert_eq!(text(&[node("own", 5, true), node("b", 4, true), node("c", 9, false)]), "1/2; missing=b; silent=c");
        assert_eq!(Served::of(&[node("own", 0, true)], Revision(5), Revision(5)).text(), "1/1");
    }

    #[test]
    fn a_name_that_is_unsafe_or_taken_twice_gives_way_to_the_id() {
        for bad in ["", "a b", "a,b", "ä", "x\r\nEvil: 1", &"n".repeat(65)] {
            let mut bad = node(bad, 0, true);
            bad.id = "7;\r\n".to_owned();
            assert_eq!(text(&[bad]), "0/1; missing=7___");
        }
        let mut twin = node("a", 0, true);
        twin.id = "other".to_owned();
        assert_eq!(text(&[node("a", 0, true), twin]), "0/2; missing=id-of-a,other");
        let many: Vec<_> = (0..NAMED + 3).map(|number| node(&format!("n{number}"), 0, true)).collect();
        assert!(text(&many).ends_with(",n49,+3"));
    }
}
