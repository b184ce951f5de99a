//! The router's rules read naively: every route is split as Kong splits it, every part is tried, the highest number wins.
//!
//! Shares nothing with the router but the configuration types, so that a mistake would have to be made twice. The fuzz target
//! of the router includes this file too.

use regex::Regex;
use weir_model::{Id, Route};

/// A request in plain parts: host in lower case without port, path in normal form.
pub struct Question<'a> {
    pub method: &'a str,
    pub host: &'a str,
    pub port: u16,
    pub path: &'a str,
    pub headers: &'a [(String, String)],
}

/// The route that the request gets.
pub fn decide(routes: &[Route], question: &Question<'_>) -> Option<Id> {
    let mut best: Option<(u64, u64, Id)> = None;
    for route in routes {
        for paths in split(route) {
            if !matches(route, &paths, question) {
                continue;
            }
            let priority = priority(route, &paths);
            let better = best.is_none_or(|(other, created_at, id)| {
                priority > other || (priority == other && (route.created_at, route.id) < (created_at, id))
            });
            if better {
                best = Some((priority, route.created_at, route.id));
            }
        }
    }
    best.map(|(_, _, id)| id)
}

/// One part for each length of prefix and one for all regexes; a route without paths is one part without paths.
fn split(route: &Route) -> Vec<Vec<&str>> {
    let paths: Vec<&str> = route.paths.iter().flatten().map(String::as_str).collect();
    if paths.is_empty() {
        return vec![Vec::new()];
    }
    let (regexes, prefixes): (Vec<&str>, Vec<&str>) = paths.into_iter().partition(|path| path.starts_with('~'));
    let mut lengths: Vec<usize> = prefixes.iter().map(|path| path.len()).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let of_length = |length| prefixes.iter().copied().filter(|path| path.len() == length).collect();
    let mut parts: Vec<Vec<&str>> = lengths.into_iter().map(of_length).collect();
    if !regexes.is_empty() {
        parts.push(regexes);
    }
    parts
}

fn is_set<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn priority(route: &Route, paths: &[&str]) -> u64 {
    let header_names = route.headers.as_ref().map_or(0, |headers| headers.len()) as u64;
    let mut weight = 0;
    for set in [is_set(&route.methods), is_set(&route.hosts), header_names > 0, !paths.is_empty()] {
        weight += u64::from(set);
    }
    let plain_hosts = is_set(&route.hosts) && !route.hosts.iter().flatten().any(|host| host.contains('*'));
    let mut priority = weight << 61 | u64::from(plain_hosts) << 60 | header_names.min(255) << 52;
    match paths.first() {
        None => {}
        Some(first) if first.starts_with('~') => {
            // Kong says nothing about negative priorities; ours come after zero.
            priority |= 1 << 51 | ((route.regex_priority + (1 << 31)) as u64) << 19;
        }
        Some(first) => priority |= first.len() as u64 & 0x7FFFF,
    }
    priority
}

fn matches(route: &Route, paths: &[&str], question: &Question<'_>) -> bool {
    let any =
        |list: &Option<Vec<String>>, fits: &dyn Fn(&str) -> bool| !is_set(list) || list.iter().flatten().any(|one| fits(one));
    any(&route.methods, &|method| method == question.method)
        && any(&route.hosts, &|host| host_matches(host, question))
        && (paths.is_empty() || paths.iter().any(|path| path_matches(path, question.path)))
        && route.headers.iter().flatten().all(|(name, values)| {
            let sent = || question.headers.iter().filter(|(sent, _)| sent.eq_ignore_ascii_case(name));
            values.iter().any(|value| sent().any(|(_, sent)| header_matches(value, sent)))
        })
}

fn host_matches(pattern: &str, question: &Question<'_>) -> bool {
    let (name, port) = match pattern.split_once(':') {
        Some((name, port)) => (name, port.parse().ok()),
        None => (pattern, None),
    };
    if port.is_some_and(|port: u16| port != question.port) {
        return false;
    }
    let name = name.to_lowercase();
    if let Some(ending) = name.strip_prefix('*') {
        return question.host.ends_with(ending);
    }
    match name.strip_suffix('*') {
        Some(beginning) => question.host.starts_with(beginning),
        None => question.host == name,
    }
}

fn path_matches(rule: &str, path: &str) -> bool {
    match rule.strip_prefix('~') {
        Some(pattern) => Regex::new(&format!("^(?:{pattern})")).is_ok_and(|regex| regex.is_match(path)),
        None => path.starts_with(rule),
    }
}

fn header_matches(rule: &str, sent: &str) -> bool {
    let sent = sent.to_lowercase();
    match rule.strip_prefix("~*") {
        Some(pattern) => Regex::new(&format!("(?i){pattern}")).is_ok_and(|regex| regex.is_match(&sent)),
        None => sent == rule.to_lowercase(),
    }
}
