//! The examples of `docs/router.md`, run.
//!
//! Tables are told apart by their first column: `route` defines the routes of the example, `request` asks them, `path` gives
//! normal forms, `handling` upstream paths, `Host` parsed hosts. A table of another kind is prose; one that cannot be read
//! fails.

use super::{Request, found, route, router, texts};
use crate::route::{HostHeader, PathHandling, Scheme, normalise, upstream_path};
use std::collections::BTreeMap;
use weir_model::{Id, Route};

const PAGE: &str = include_str!("../../../../../docs/router.md");

/// A table: for each row, its cells by column.
type Table = Vec<BTreeMap<String, String>>;

fn tables() -> Vec<(String, Table)> {
    let mut tables: Vec<(String, Vec<String>, Table)> = Vec::new();
    let mut inside = false;
    for line in PAGE.lines() {
        let Some(row) = line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            inside = false;
            continue;
        };
        // A `|` within a cell is written as `\|`, as Markdown wants it.
        let row = row.replace("\\|", "\u{1}");
        let cells: Vec<String> = row.split('|').map(|cell| cell.trim().replace('`', "").replace('\u{1}', "|")).collect();
        if !inside {
            tables.push((cells[0].clone(), cells, Vec::new()));
            inside = true;
        } else if !cells.iter().all(|cell| cell.chars().all(|char| char == '-')) || cells[0].is_empty() {
            let (_, columns, rows) = tables.last_mut().unwrap();
            assert_eq!(columns.len(), cells.len(), "cells missing: {line}");
            rows.push(columns.iter().cloned().zip(cells).collect());
        }
    }
    tables.into_iter().map(|(first, _, rows)| (first, rows)).collect()
}

fn list(cell: &str) -> Vec<&str> {
    cell.split(", ").filter(|item| !item.is_empty()).collect()
}

fn pairs(cell: &str) -> impl Iterator<Item = (String, String)> {
    list(cell).into_iter().map(|pair| {
        let (name, value) = pair.split_once(": ").expect("headers are written `name: value`");
        (name.to_owned(), value.to_owned())
    })
}

fn read_route(number: usize, row: &BTreeMap<String, String>) -> Route {
    let mut route = route(number as u128 + 1);
    for (column, cell) in row {
        match column.as_str() {
            "route" => route.name = Some(cell.clone()),
            "methods" => route.methods = texts(&list(cell)),
            "hosts" => route.hosts = texts(&list(cell)),
            "paths" => route.paths = texts(&list(cell)),
            "protocols" => route.protocols = texts(&list(cell)).unwrap(),
            "regex_priority" => route.regex_priority = cell.parse().unwrap_or(0),
            "created_at" => route.created_at = cell.parse().unwrap(),
            "headers" => {
                let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
                pairs(cell).for_each(|(name, value)| headers.entry(name).or_default().push(value));
                route.headers = Some(headers);
            }
            other => panic!("no field {other}"),
        }
    }
    route
}

fn read_request(row: &BTreeMap<String, String>) -> Request {
    let (method, url) = row["request"].split_once(' ').expect("requests are written `METHOD URL`");
    let (scheme, rest) = url.split_once("://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    Request {
        scheme: if scheme == "https" { Scheme::Https } else { Scheme::Http },
        method: method.to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        headers: row.get("headers").map(|cell| pairs(cell).collect()).unwrap_or_default(),
    }
}

#[test]
fn every_request_on_the_page_gets_the_route_that_the_page_says() {
    let mut routes: Vec<Route> = Vec::new();
    let mut asked = 0;
    for (kind, rows) in tables() {
        match kind.as_str() {
            "route" => routes = rows.iter().enumerate().map(|(number, row)| read_route(number, row)).collect(),
            "request" => {
                let router = router(&routes);
                for row in &rows {
                    let request = read_request(row);
                    let name = |id: Id| routes.iter().find(|route| route.id == id).and_then(|route| route.name.clone());
                    let answer = found(&router, &request).and_then(name).unwrap_or_else(|| "none".to_owned());
                    assert_eq!(answer, row["gets"], "{}", row["request"]);
                    asked += 1;
                }
            }
            _ => {}
        }
    }
    assert!(asked >= 40, "only {asked} requests were found on the page");
}

#[test]
fn every_path_on_the_page_has_the_normal_form_that_the_page_says() {
    let rows: Vec<_> = tables().into_iter().filter(|(kind, _)| kind == "path").flat_map(|(_, rows)| rows).collect();
    for row in &rows {
        let normal = normalise(&row["path"]);
        let answer = normal.as_deref().unwrap_or("refused");
        assert_eq!(answer, row["normal form"], "{}", row["path"]);
    }
    assert!(rows.len() >= 15);
}

#[test]
fn every_upstream_path_on_the_page_is_made_as_the_page_says() {
    let rows: Vec<_> = tables().into_iter().filter(|(kind, _)| kind == "handling").flat_map(|(_, rows)| rows).collect();
    for row in &rows {
        let handling = if row["handling"] == "v1" { PathHandling::V1 } else { PathHandling::V0 };
        let request = &row["request path"];
        let matched = Some(row["route path"].len()).filter(|length| *length > 0);
        assert!(request.starts_with(&row["route path"]), "{request} is not matched");
        let upstream = upstream_path(handling, row["strip_path"] == "true", &row["service path"], request, matched);
        assert_eq!(upstream.as_deref().unwrap_or("refused"), row["upstream path"], "{row:?}");
    }
    assert!(rows.len() >= 20);
}

#[test]
fn every_host_on_the_page_is_read_as_the_page_says() {
    let rows: Vec<_> = tables().into_iter().filter(|(kind, _)| kind == "Host").flat_map(|(_, rows)| rows).collect();
    for row in &rows {
        let parsed = HostHeader::parse(row["Host"].as_bytes());
        let answer = match &parsed {
            Ok(host) => (host.name.to_string(), host.port.map(|port| port.to_string()).unwrap_or_default()),
            Err(_) => ("refused".to_owned(), String::new()),
        };
        assert_eq!(answer, (row["name"].clone(), row["port"].clone()), "{}", row["Host"]);
    }
    assert!(rows.len() >= 8);
}
