//! A store that cannot be read or written: 503 and what to do, never a wrong answer.

use crate::support::{Admin, Setting};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::watch;
use weir_model::{Digest, Revision, Transaction, TransactionId, View};
use weir_store::{BoxFuture, NodeState, Outcome, OwnState, Plan, Store, StoreError, StoreStatus, WriteError, Written};

struct Broken {
    moves: watch::Sender<Revision>,
}

fn away() -> StoreError {
    StoreError::Unavailable { cause: "the disk is full; make room".to_owned() }
}

impl Store for Broken {
    fn view(&self) -> Result<Arc<dyn View>, StoreError> {
        Err(away())
    }
    fn write(&self, _: Plan) -> BoxFuture<'_, Result<Written, WriteError>> {
        Box::pin(async { Err(WriteError::Unavailable { cause: "the disk is full; make room".to_owned() }) })
    }
    fn revisions(&self) -> watch::Receiver<Revision> {
        self.moves.subscribe()
    }
    fn transactions(&self, _: Revision, _: usize) -> Result<Vec<Transaction>, StoreError> {
        Err(away())
    }
    fn put_blob(&self, _: Vec<u8>) -> BoxFuture<'_, Result<Digest, WriteError>> {
        Box::pin(async { Err(WriteError::Busy { waiting: 1000 }) })
    }
    fn blob(&self, _: Digest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async { Err(away()) })
    }
    fn status(&self) -> StoreStatus {
        StoreStatus {
            kind: "broken",
            cluster: String::new(),
            revision: Revision(0),
            head: String::new(),
            state: String::new(),
            confirmed_ms: None,
            floor: Revision(0),
            file_bytes: 0,
            path: String::new(),
            writes_waiting: 0,
            holding: Some("the disk is full; make room".to_owned()),
        }
    }
    fn outcome(&self, _: TransactionId) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        Box::pin(async { Err(away()) })
    }
    fn tell(&self, _: &OwnState) {}
    fn nodes(&self) -> Vec<NodeState> {
        Vec::new()
    }
    fn adopt(&self) -> BoxFuture<'_, Result<Revision, WriteError>> {
        Box::pin(async { Err(WriteError::Unavailable { cause: "the disk is full; make room".to_owned() }) })
    }
    fn republish(&self) -> BoxFuture<'_, Result<Revision, WriteError>> {
        self.adopt()
    }
    fn nodes_moved(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_503_with_the_way_out() {
    let (moves, _) = watch::channel(Revision(0));
    let admin = Admin::with(Setting { store: Some(Arc::new(Broken { moves })), ..Setting::default() }).await;
    let outcome = "/transactions/1-0f4c8b26-0000-4000-8000-000000000001";
    for path in ["/", "/services", "/services/x", "/tags", "/routes/r/chain", outcome, "/endpoints?min_revision=0"] {
        assert!(admin.get(path).await.message(503).contains("make room"), "{path}");
    }
    assert!(admin.post("/consumers", json!({"username": "u"})).await.message(503).contains("make room"));
    assert!(admin.post("/plugins", json!({"name": "key-auth"})).await.message(503).contains("make room"));
    assert!(admin.delete("/consumers/u").await.message(503).contains("make room"));
    let transaction = json!({"operations": [{"method": "PUT", "path": "/consumers/u"}]});
    assert!(admin.post("/transactions", transaction).await.message(503).contains("make room"));
    let component = json!({"name": "x", "version": "1", "config": {"type": "object"}}).to_string();
    let busy = admin.raw(http::Method::POST, "/components", &[("content-type", "application/wasm")], component).await;
    assert_eq!(busy.header("retry-after"), Some("1"));
    busy.expect(503);
    // What needs no store still answers, and says what is wrong.
    let status = admin.get("/status").await.expect(200);
    assert_eq!((&status["database"]["reachable"], &status["store"]["kind"]), (&json!(false), &json!("broken")));
    assert_eq!(status["database"]["holding"], json!("the disk is full; make room"));
    admin.get("/schemas/services").await.expect(200);
    assert_eq!(admin.get("/cluster/nodes").await.expect(200), json!({"data": [], "revision": 0}));
    admin.post("/services", json!({})).await.expect(503);
}
