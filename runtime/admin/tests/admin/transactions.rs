//! Several writes, all or nothing: each judged as its own request would be, after those before it.

use crate::support::{Admin, Answer, id, to};
use http::Method;
use serde_json::{Value, json};
use weir_model::{Kind, Op, Revision};

async fn send(admin: &Admin, operations: Value) -> Answer {
    admin.post("/transactions", json!({ "operations": operations })).await
}
fn revision(admin: &Admin) -> u64 {
    admin.store.view().expect("readable").revision().0
}
fn statuses(answer: &Value) -> Vec<u64> {
    answer["results"].as_array().expect("a list").iter().filter_map(|result| result["status"].as_u64()).collect()
}

#[tokio::test]
async fn what_is_no_transaction_is_refused_and_says_why() {
    let admin = Admin::start().await;
    let refused = |body: Value| {
        let admin = &admin;
        async move { admin.post("/transactions", body).await.message(400) }
    };
    for (body, reason) in [
        (json!({}), "'operations', a list"),
        (json!({"operations": {}}), "'operations', a list"),
        (json!({"operations": [], "dryrun": true}), "no 'dryrun'"),
        (json!({"operations": [], "dry_run": 1}), "true or false"),
        (json!({"operations": vec![json!({}); 10_001]}), "at most 10000 operations, as many as the store takes at once"),
    ] {
        let message = refused(body).await;
        assert!(message.contains(reason), "{message}");
    }
    let put = |changes: Value| {
        let mut operation = json!({"method": "PUT", "path": "/consumers/u", "body": {}});
        operation.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        operation
    };
    for (operation, status, reason) in [
        (json!(1), 400, "an object"),
        (put(json!({"method": "GET"})), 400, "POST, PUT, PATCH or DELETE"),
        (put(json!({"method": "put"})), 400, "POST, PUT, PATCH or DELETE"),
        (put(json!({"path": null})), 400, "has a 'path'"),
        (put(json!({"path": "/consumers/u?wait=applied"})), 400, "has no query"),
        (put(json!({"path": "/nothing/u"})), 404, "Not found"),
        (put(json!({"path": "/status"})), 400, "is no path of an entity"),
        (put(json!({"path": "/transactions", "method": "POST"})), 400, "is no path of an entity"),
        (put(json!({"path": "/schemas/routes/validate", "method": "POST"})), 400, "is no path of an entity"),
        (put(json!({"path": "/consumers"})), 405, "Method not allowed"),
        (put(json!({"path": "/components", "method": "POST"})), 400, "components are not part of a transaction"),
        (put(json!({"path": "/components/x@1", "method": "DELETE"})), 400, "components are not part of a transaction"),
        (put(json!({"body": []})), 400, "'body' of an operation is an object"),
        (put(json!({"if_match": 1})), 400, "'if_match' of an operation is text"),
        (put(json!({"if_match": "x"})), 400, "If-Match must be"),
        (put(json!({"if-match": "1"})), 400, "no 'if-match'"),
    ] {
        let answer = send(&admin, json!([put(json!({})), operation.clone()])).await;
        let allow = answer.header("allow").map(str::to_owned);
        let body = answer.expect(status);
        assert_eq!(body["operation"], json!(1), "{operation}");
        assert!(body["message"].as_str().is_some_and(|text| text.contains(reason)), "{operation}: {body}");
        assert_eq!(allow.is_some(), status == 405);
    }
    admin.raw(Method::POST, "/transactions", &[("content-type", "application/x-www-form-urlencoded")], "a=1").await.expect(415);
    admin.raw(Method::POST, "/transactions", &[("content-type", "application/json")], "{").await.expect(400);
    admin.post("/transactions?dry_run=maybe", json!({"operations": []})).await.expect(400);
    admin.get("/transactions").await.expect(405);
    assert_eq!(revision(&admin), 0);
}

#[tokio::test]
async fn a_refused_operation_leaves_nothing_of_the_others() {
    let admin = Admin::start().await;
    admin.create("/services", json!({"name": "taken", "host": "h"})).await;
    let good = json!({"method": "PUT", "path": "/consumers/u", "body": {"custom_id": "c"}});
    let after = json!({"method": "PUT", "path": "/consumers/v"});
    let post = |path: &str, body: Value| json!({"method": "POST", "path": path, "body": body});
    for (middle, status, code) in [
        (post("/services", json!({"name": "taken", "host": "h"})), 409, json!(5)),
        (post("/services", json!({"host": 7})), 400, json!(2)),
        (post("/consumers", json!({"custom_id": "c"})), 409, json!(5)),
        (post("/routes", json!({"paths": ["/"], "service": {"name": "none"}})), 400, json!(13)),
        (post("/consumers/nobody/key-auth", json!({})), 404, json!(null)),
        (json!({"method": "PATCH", "path": "/services/none", "body": {}}), 404, json!(null)),
        (json!({"method": "PUT", "path": "/services/taken", "body": {"host": "x"}, "if_match": "9"}), 412, json!(null)),
        (json!({"method": "PUT", "path": "/services/taken", "body": {"host": "x"}, "if_none_match": "*"}), 412, json!(null)),
        (post("/plugins", json!({"name": "nope"})), 400, json!(2)),
        (post("/plugins", json!({"name": "rate-limiting", "config": {"minute": 666}})), 400, json!(2)),
        (
            post("/plugins", json!({"name": "rate-limiting", "route": {"id": "0f4c8b26-0000-4000-8000-000000000001"}})),
            400,
            json!(4),
        ),
    ] {
        let single = send(&admin, json!([good, middle, after])).await;
        let body = single.expect(status);
        assert_eq!((&body["operation"], &body["code"]), (&json!(1), &code), "{middle}: {body}");
        assert!(body["message"].is_string());
    }
    assert_eq!(revision(&admin), 1);
    admin.get("/consumers/u").await.expect(404);
}

#[tokio::test]
async fn each_operation_sees_those_before_it_and_all_are_one_revision() {
    let admin = Admin::start().await;
    let gone = admin.create("/consumers", json!({"username": "gone"})).await;
    let answer = send(
        &admin,
        json!([
            {"method": "POST", "path": "/services", "body": {"name": "s", "host": "h"}},
            {"method": "PUT", "path": "/services/s/routes/r", "body": {"paths": ["/"]}},
            {"method": "POST", "path": "/routes/r/plugins", "body": {"name": "rate-limiting", "config": {"minute": 5}}},
            {"method": "PATCH", "path": "/routes/r", "body": {"tags": ["t"]}, "if_match": "*"},
            {"method": "PUT", "path": "/routes/r/service", "body": {"name": "s2", "host": "i"}},
            {"method": "DELETE", "path": "/consumers/gone", "if_match": "1"},
            {"method": "POST", "path": "/consumers", "body": {"username": "gone"}},
            {"method": "POST", "path": "/consumers/gone/key-auth", "body": {"key": "k"}},
            {"method": "DELETE", "path": "/consumers/nobody"},
        ]),
    )
    .await;
    assert_eq!(answer.header("weir-revision"), Some("2"));
    let answer = answer.expect(200);
    assert_eq!(answer["revision"], json!(2));
    assert_eq!(statuses(&answer), [201, 200, 201, 200, 200, 204, 201, 201, 204]);
    let result = |index: usize| &answer["results"][index]["body"];
    assert_eq!(result(1)["service"], to(result(0)));
    assert_eq!(result(2)["config"]["policy"], json!("local"));
    assert!(answer["results"][5].get("body").is_none());
    assert_eq!(revision(&admin), 2);
    // The last result of each is what stands.
    assert_eq!(admin.get("/services/s2").await.expect(200), *result(4));
    admin.get("/services/s").await.expect(404);
    assert_eq!(id(result(4)), id(result(0)));
    assert_eq!(admin.get("/routes/r").await.expect(200)["tags"], json!(["t"]));
    assert_ne!(id(&admin.get("/consumers/gone").await.expect(200)), id(&gone));
    let transaction = &admin.store.transactions(Revision(1), 10).expect("readable")[0];
    let puts = transaction.ops.iter().filter(|op| matches!(op, Op::Put(_))).count();
    assert_eq!((puts, transaction.ops.len()), (5, 6), "one per entity: {:?}", transaction.ops);
    for path in ["/services/s2", "/routes/r", "/consumers/gone"] {
        assert_eq!(admin.get(path).await.header("etag"), Some("\"2\""), "{path}");
    }
}

#[tokio::test]
async fn what_comes_and_goes_in_one_transaction_leaves_nothing() {
    let admin = Admin::start().await;
    let answer = send(
        &admin,
        json!([
            {"method": "PUT", "path": "/consumers/u"},
            {"method": "POST", "path": "/consumers/u/key-auth", "body": {"key": "k"}},
            {"method": "DELETE", "path": "/consumers/u"},
        ]),
    )
    .await
    .expect(200);
    assert_eq!((&answer["revision"], statuses(&answer)), (&json!(0), vec![200, 201, 204]));
    // A new entity may take the names of one that went, and two may swap theirs.
    admin.create("/services", json!({"name": "a", "host": "one"})).await;
    admin.create("/services", json!({"name": "b", "host": "two"})).await;
    let body = |name: &str| json!({ "name": name });
    send(
        &admin,
        json!([
            {"method": "PATCH", "path": "/services/a", "body": body("c")},
            {"method": "PATCH", "path": "/services/b", "body": body("a")},
            {"method": "PATCH", "path": "/services/c", "body": body("b")},
        ]),
    )
    .await
    .expect(200);
    assert_eq!(admin.get("/services/a").await.expect(200)["host"], json!("two"));
    assert_eq!(admin.get("/services/b").await.expect(200)["host"], json!("one"));
    // An entity that an earlier operation has written is no longer at the revision that the client knows.
    let twice = json!([
        {"method": "PATCH", "path": "/services/a", "body": {"host": "x"}, "if_match": "3"},
        {"method": "PATCH", "path": "/services/a", "body": {"host": "y"}, "if_match": "3"},
    ]);
    assert_eq!(send(&admin, twice).await.expect(412)["operation"], json!(1));
    assert_eq!(send(&admin, json!([])).await.expect(200), json!({"revision": 3, "results": []}));
}

#[tokio::test]
async fn a_dry_run_answers_the_same_and_writes_nothing() {
    let admin = Admin::start().await;
    admin.create("/consumers", json!({"username": "u"})).await;
    let operations = json!([
        {"method": "PUT", "path": "/services/s", "body": {"host": "h"}},
        {"method": "POST", "path": "/services/s/plugins", "body": {"name": "rate-limiting", "config": {"minute": 5}}},
        {"method": "DELETE", "path": "/consumers/u"},
    ]);
    for (path, body) in [
        ("/transactions?dry_run=true", json!({"operations": operations})),
        ("/transactions", json!({"operations": operations, "dry_run": true})),
        ("/transactions?dry_run=false", json!({"operations": operations, "dry_run": true})),
    ] {
        let answer = admin.post(path, body).await.expect(200);
        assert_eq!((&answer["dry_run"], &answer["revision"]), (&json!(true), &json!(1)));
        assert_eq!(statuses(&answer), [200, 201, 204]);
        assert_eq!(revision(&admin), 1);
    }
    admin.get("/services/s").await.expect(404);
    let wrong = json!({"operations": [{"method": "PUT", "path": "/services/s", "body": {"host": 1}}], "dry_run": true});
    assert_eq!(admin.post("/transactions", wrong).await.expect(400)["operation"], json!(0));
    let answer = admin.post("/transactions", json!({ "operations": operations })).await.expect(200);
    assert_eq!((answer.get("dry_run"), &answer["revision"]), (None, &json!(2)));
}

#[tokio::test]
async fn transactions_that_race_each_hold_whole_or_not_at_all() {
    let admin = std::sync::Arc::new(Admin::start().await);
    admin.create("/services", json!({"name": "s", "host": "h"})).await;
    let writers: Vec<_> = (0..12)
        .map(|number| {
            let admin = admin.clone();
            tokio::spawn(async move {
                let operations = json!([
                    {"method": "PUT", "path": format!("/consumers/c{number}")},
                    {"method": "PATCH", "path": "/services/s", "body": {"host": format!("h{number}")}, "if_match": "1"},
                    {"method": "PUT", "path": format!("/consumers/d{number}")},
                ]);
                send(&admin, operations).await.status.as_u16()
            })
        })
        .collect();
    let mut won = 0;
    for writer in writers {
        match writer.await.expect("no panic") {
            200 => won += 1,
            412 => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!((won, revision(&admin)), (1, 2));
    assert_eq!(admin.store.view().expect("readable").count(Kind::Consumer).expect("readable"), 2);
}

#[tokio::test]
async fn a_full_transaction_is_taken() {
    let admin = Admin::start().await;
    let operations: Vec<Value> =
        (0..10_000).map(|number| json!({"method": "PUT", "path": format!("/consumers/c{number}")})).collect();
    let answer = send(&admin, json!(operations)).await.expect(200);
    assert_eq!((answer["revision"].as_u64(), statuses(&answer).len()), (Some(1), 10_000));
    assert_eq!(admin.store.view().expect("readable").count(Kind::Consumer).expect("readable"), 10_000);
}
