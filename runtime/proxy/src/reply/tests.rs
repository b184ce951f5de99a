use super::*;

/// One of each kind. `index` has no wildcard, so that a new variant does not compile before it stands here too.
fn every_error() -> Vec<ProxyError> {
    use ProxyError::*;
    let text = String::new;
    let mut all = vec![
        RequestParser(text()),
        RequestHeadTimeout,
        ConnectionNamesProtected(text()),
        UnderscoreHeader(text()),
        RequestPath,
        RequestBodyTooLarge,
        RequestBodyTimeout,
        RequestBodyBroken(text()),
        ClientGone,
        NoRoute,
        NoService,
        HttpsRequired { status: 426, location: None },
        Overloaded,
        UpstreamName { host: text(), cause: text() },
        UpstreamConnect { address: text(), cause: text() },
        UpstreamConnectTimeout,
        UpstreamTls(text()),
        UpstreamWriteTimeout,
        UpstreamReadTimeout,
        UpstreamClosed { reused: true, sent: true, cause: text() },
        UpstreamResponse(""),
        UpstreamBodyBroken(text()),
        Plugin { plugin: text(), kill: None },
        PluginMissing { plugin: text() },
        Stopped,
        Internal(""),
    ];
    let heads =
        [HeadFault::RequestLine, HeadFault::TargetTooLong, HeadFault::TooLarge, HeadFault::MethodNotServed, HeadFault::Version];
    all.extend(heads.map(RequestHead));
    for error in &all {
        match error {
            RequestHead(_)
            | RequestParser(_)
            | RequestHeadTimeout
            | ConnectionNamesProtected(_)
            | UnderscoreHeader(_)
            | RequestPath
            | RequestBodyTooLarge
            | RequestBodyTimeout
            | RequestBodyBroken(_)
            | ClientGone
            | NoRoute
            | NoService
            | HttpsRequired { .. }
            | Overloaded
            | UpstreamName { .. }
            | UpstreamConnect { .. }
            | UpstreamConnectTimeout
            | UpstreamTls(_)
            | UpstreamWriteTimeout
            | UpstreamReadTimeout
            | UpstreamClosed { .. }
            | UpstreamResponse(_)
            | UpstreamBodyBroken(_)
            | Plugin { .. }
            | PluginMissing { .. }
            | Stopped
            | Internal(_) => {}
        }
    }
    all
}

#[test]
fn the_table_in_the_documentation_is_the_one_in_the_code() {
    let page = include_str!("../../../../docs/errors.md");
    let documented: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let mut coded: Vec<String> = every_error()
        .iter()
        .map(|error| {
            let Shown { status, message, keep } = shown(error);
            let connection = if keep { "kept" } else { "closed" };
            let (kind, fault, retry) = (error.kind(), error.fault().name(), error.retry().name());
            format!("| `{kind}` | {status} | {message} | {fault} | {retry} | {connection} |")
        })
        .collect();
    coded.sort();
    let mut sorted = documented.clone();
    sorted.sort();
    assert_eq!(sorted, coded, "\n{}\n", coded.join("\n"));
}

#[test]
fn the_body_is_json_unless_the_client_asks_for_something_else() {
    let body = |accept: Option<&'static str>| {
        let accept = accept.map(HeaderValue::from_static);
        let (head, body) = error_reply(&ProxyError::NoRoute, "id", accept.as_ref());
        (head.headers[header::CONTENT_TYPE].to_str().unwrap().to_owned(), String::from_utf8(body.to_vec()).unwrap())
    };
    let json = (
        "application/json; charset=utf-8".to_owned(),
        r#"{"message":"no Route matched with those values","request_id":"id"}"#.to_owned(),
    );
    for accept in [None, Some("*/*"), Some("application/json"), Some("image/png"), Some("text/html;q=0.5, */*"), Some("\"")] {
        assert_eq!(body(accept), json, "{accept:?}");
    }
    assert_eq!(body(Some("text/html,application/xhtml+xml,*/*;q=0.8")).0, "text/html; charset=utf-8");
    assert_eq!(body(Some("text/plain")).1, "no Route matched with those values\nrequest_id: id\n");
}

#[test]
fn a_route_that_wants_https_says_how() {
    let error = ProxyError::HttpsRequired { status: 301, location: Some("https://a/b?c".to_owned()) };
    let (head, _) = error_reply(&error, "id", None);
    assert_eq!((head.status.as_u16(), head.headers[header::LOCATION].to_str().unwrap()), (301, "https://a/b?c"));
    let (head, _) = error_reply(&ProxyError::HttpsRequired { status: 426, location: None }, "id", None);
    assert_eq!(head.headers[header::UPGRADE], "TLS/1.2, HTTP/1.1");
}
