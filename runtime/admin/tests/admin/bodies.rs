//! How bodies are read: types, forms, limits, ambiguity.

use crate::support::Admin;
use http::Method;
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

#[tokio::test]
async fn only_known_types_of_body_are_taken() {
    let admin = Admin::start().await;
    for kind in ["text/plain", "multipart/form-data; boundary=x", "application/xml", "application/jsonx"] {
        let answer = admin.raw(Method::POST, "/consumers", &[("content-type", kind)], "username=u").await;
        let message = answer.message(415);
        assert!(message.contains("send application/json"), "{message}");
    }
    admin.raw(Method::POST, "/consumers", &[], "{\"username\":\"u\"}").await.expect(415);
    let message = admin.raw(Method::POST, "/consumers", &[JSON, JSON], "{}").await.message(400);
    assert_eq!(message, "More than one Content-Type header");
    // Without type and body it is an empty one; what is missing is said.
    let body = admin.raw(Method::POST, "/services", &[], "").await.expect(400);
    assert_eq!(body["fields"], json!({"host": "required field missing"}));
    admin
        .raw(Method::POST, "/consumers", &[("content-type", "Application/JSON; charset=utf-8")], "{\"username\":\"u\"}")
        .await
        .expect(201);
}

#[tokio::test]
async fn broken_and_ambiguous_json_is_refused() {
    let admin = Admin::start().await;
    for (text, reason) in [
        ("{", "EOF"),
        ("", "EOF"),
        ("[]", "an object was expected"),
        ("{\"username\":\"a\",\"username\":\"b\"}", "the key 'username' is there twice"),
        ("{\"username\":\"a\"}}", "trailing"),
    ] {
        let message = admin.raw(Method::POST, "/consumers", &[JSON], text).await.message(400);
        assert!(message.starts_with("Cannot parse JSON body") && message.contains(reason), "{text}: {message}");
    }
}

#[tokio::test]
async fn forms_are_read_with_the_types_of_the_schema() {
    let admin = Admin::start().await;
    let form = "name=s&host=h&port=81&enabled=false&tags[]=a&tags[]=b&path=";
    let service = admin.raw(Method::POST, "/services", &[FORM], form).await.expect(201);
    assert_eq!((&service["port"], &service["enabled"], &service["tags"]), (&json!(81), &json!(false), &json!(["a", "b"])));
    let form = "name=r&paths=/a&hosts[1]=a.b&hosts[2]=c.d&headers.x-a[]=1&strip_path=false&service.name=s";
    let route = admin.raw(Method::POST, "/routes", &[FORM], form).await.expect(201);
    assert_eq!((&route["paths"], &route["hosts"]), (&json!(["/a"]), &json!(["a.b", "c.d"])));
    assert_eq!((&route["headers"], &route["strip_path"]), (&json!({"x-a": ["1"]}), &json!(false)));
    let form = "name=rate-limiting&config.minute=5&config.redis.port=1";
    let plugin = admin.raw(Method::POST, "/routes/r/plugins", &[FORM], form).await.expect(201);
    assert_eq!((&plugin["config"]["minute"], &plugin["config"]["redis"]["port"]), (&json!(5), &json!(1)));
    // What is not UTF-8 is refused, not stored as something else.
    let message = admin.raw(Method::POST, "/consumers", &[FORM], "username=%ff").await.message(400);
    assert_eq!(message, "Cannot parse form body: it is not UTF-8");
    let message = admin.get("/consumers?tags=%ff").await.message(400);
    assert_eq!(message, "Cannot parse the query: it is not UTF-8");
    // No coercion where the text is no such value.
    let body = admin.raw(Method::POST, "/services", &[FORM], "host=h&port=x").await.expect(400);
    assert_eq!(body["fields"], json!({"port": "expected an integer"}));
    let message = admin.raw(Method::POST, "/services", &[FORM], "a=1&a.b=2").await.message(400);
    assert!(message.starts_with("Cannot parse form body"), "{message}");
    // JSON is never coerced.
    admin.post("/services", json!({"host": "h", "port": "81"})).await.expect(400);
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let admin = Admin::start().await;
    let large = format!("{{\"username\":\"{}\"}}", "a".repeat(3 << 20));
    let message = admin.raw(Method::POST, "/consumers", &[JSON], large).await.message(413);
    assert!(message.contains("larger than 2097152 bytes"), "{message}");
}
