//! Pages, tags, filters.

use crate::support::{Admin, id};
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn pages(admin: &Admin, path: &str, size: usize) -> Vec<Vec<Value>> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let mut pages = Vec::new();
    let mut offset = String::new();
    loop {
        let page = admin.get(&format!("{path}{separator}size={size}{offset}")).await.expect(200);
        pages.push(page["data"].as_array().expect("data").clone());
        match page.get("offset").and_then(Value::as_str) {
            Some(next) => {
                assert!(page["next"].as_str().is_some_and(|link| link.contains(next)), "{page}");
                offset = format!("&offset={next}");
            }
            None => {
                assert_eq!(page["next"], json!(null));
                assert!(page.get("offset").is_none());
                return pages;
            }
        }
    }
}

#[tokio::test]
async fn pages_cover_everything_once() {
    let admin = Admin::start().await;
    assert_eq!(admin.get("/consumers").await.expect(200), json!({"data": [], "next": null}));
    let mut made = BTreeSet::new();
    for n in 0..7 {
        made.insert(id(&admin.create("/consumers", json!({"username": n.to_string()})).await).to_owned());
    }
    for size in [1, 2, 7, 1000] {
        let pages = pages(&admin, "/consumers", size).await;
        let ids: Vec<String> = pages.iter().flatten().map(|entity| id(entity).to_owned()).collect();
        assert_eq!((ids.len(), ids.into_iter().collect::<BTreeSet<_>>()), (7, made.clone()), "size {size}");
        assert!(pages.iter().all(|page| page.len() <= size));
    }
    // `next` carries what it takes to go on.
    let page = admin.get("/consumers?size=3&tags=").await.expect(400);
    assert_eq!(page["message"], json!("invalid option (tags: cannot be null)"));
    let page = admin.get("/consumers?size=3").await.expect(200);
    let next = admin.get(page["next"].as_str().expect("a link")).await.expect(200);
    assert_eq!(next["data"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn wrong_sizes_and_offsets_are_refused() {
    let admin = Admin::start().await;
    for size in ["0", "1001", "x", "-1", "1.5", ""] {
        let body = admin.get(&format!("/services?size={size}")).await.expect(400);
        assert_eq!(
            body,
            json!({"code": 9, "name": "invalid size", "message": "size must be an integer between 1 and 1000"}),
            "{size}"
        );
    }
    for offset in ["x", "", "AAAA", "e30", "%C3%A4"] {
        let body = admin.get(&format!("/services?offset={offset}")).await.expect(400);
        assert_eq!((&body["code"], &body["name"]), (&json!(7), &json!("invalid offset")), "{offset}");
    }
    admin.get("/tags?offset=AA").await.expect(400);
}

#[tokio::test]
async fn tags_filter_with_and_and_or() {
    let admin = Admin::start().await;
    for (name, tags) in [("a", json!(["x", "y"])), ("b", json!(["y", "ü z"])), ("c", json!(null))] {
        admin.create("/services", json!({"name": name, "host": "h", "tags": tags})).await;
    }
    let names = async |tags: &str| -> BTreeSet<String> {
        let pages = pages(&admin, &format!("/services?tags={tags}"), 1).await;
        pages.iter().flatten().map(|entity| entity["name"].as_str().expect("a name").to_owned()).collect()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(names("y").await, set(&["a", "b"]));
    assert_eq!(names("x,y").await, set(&["a"]));
    assert_eq!(names("x/%C3%BC%20z").await, set(&["a", "b"]));
    assert_eq!(names("none").await, set(&[]));
    let body = admin.get("/services?tags=a,b/c").await.expect(400);
    assert_eq!(
        body,
        json!({
            "code": 11, "name": "invalid options", "message": "invalid option (tags: invalid filter syntax)",
            "options": {"tags": "invalid filter syntax"}
        })
    );
}

#[tokio::test]
async fn tags_are_listed_with_their_entities() {
    let admin = Admin::start().await;
    let service = admin.create("/services", json!({"host": "h", "tags": ["x", "y"]})).await;
    let consumer = admin.create("/consumers", json!({"username": "u", "tags": ["x"]})).await;
    let row = |tag: &str, name: &str, entity: &Value| json!({"tag": tag, "entity_name": name, "entity_id": id(entity)});
    let all: Vec<Value> = pages(&admin, "/tags", 1).await.into_iter().flatten().collect();
    assert_eq!(all, [row("x", "services", &service), row("x", "consumers", &consumer), row("y", "services", &service)]);
    let page = admin.get("/tags/y").await.expect(200);
    assert_eq!(page, json!({"data": [row("y", "services", &service)], "next": null}));
    assert_eq!(admin.get("/tags/none").await.expect(200), json!({"data": [], "next": null}));
}

#[tokio::test]
async fn lists_below_a_parent_ignore_tags_and_link_to_themselves() {
    let admin = Admin::start().await;
    admin.create("/services", json!({"name": "s", "host": "h"})).await;
    admin.create("/services", json!({"name": "t", "host": "h"})).await;
    for n in 0..3 {
        admin.create("/services/s/routes", json!({"paths": [format!("/{n}")]})).await;
    }
    assert_eq!(pages(&admin, "/services/s/routes", 2).await.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(pages(&admin, "/services/t/routes", 2).await.iter().map(Vec::len).collect::<Vec<_>>(), [0]);
    let page = admin.get("/services/s/routes?size=2&tags=none").await.expect(200);
    let link = page["next"].as_str().expect("a link");
    assert!(link.starts_with("/services/s/routes?offset=") && !link.contains("size") && !link.contains("tags"), "{link}");
}

#[tokio::test]
async fn consumers_are_found_by_custom_id() {
    let admin = Admin::start().await;
    let consumer = admin.create("/consumers", json!({"username": "u", "custom_id": "c 1"})).await;
    assert_eq!(admin.get("/consumers?custom_id=c%201").await.expect(200), json!({"data": [consumer], "next": null}));
    assert_eq!(admin.get("/consumers?custom_id=none").await.expect(200), json!({"data": [], "next": null}));
}
