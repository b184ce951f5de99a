//! Checks that an arm does the work that its row claims, before anything is measured.
//!
//! One list of probes for all proxies: what differs between them is only how they were told to do it.

use std::net::SocketAddr;

use crate::arms::Running;
use crate::error::{BenchError, Result};
use crate::http::{Answer, exchange};
use crate::work::{ECHO_PATH, FORWARDED_HEADERS, IDENTITY_HEADERS, KEY_HEADER, LIMIT_HEADERS, LOAD_LIMIT, LOAD_PATH, Work, head};

/// All probes of an arm that was started with `work`. With a limit that cannot be reached, the one about 429 is left out.
pub fn check(running: &Running, work: &Work) -> Result<()> {
    let target = running.address;
    let fail = |said: String| BenchError::Probe { arm: running.arm.title().to_owned(), said };
    if running.arm.plain().is_none() {
        return served(target, work).and_then(|_| forwarded(target, work)).map(drop).map_err(|e| fail(e.to_string()));
    }
    (|| {
        refused_without_a_key(target)?;
        headers_reach_the_caller(&served(target, work)?, work)?;
        identity_reaches_the_origin(&forwarded(target, work)?, work)?;
        another_caller_has_a_count_of_its_own(target, work)?;
        if work.hourly_limit < LOAD_LIMIT { refused_past_the_limit(target, work) } else { Ok(()) }
    })()
    .map_err(|e| fail(e.to_string()))
}

fn ask(target: SocketAddr, path: &str, key: Option<&str>) -> Result<Answer> {
    exchange(target, head(path, key).as_bytes())
}

fn key(work: &Work, caller: usize) -> Result<&str> {
    work.callers.get(caller).map(|c| c.key.as_str()).ok_or_else(|| unlike("no callers".to_owned()))
}

/// The origin's own body arrives, unchanged and with its own headers.
fn served(target: SocketAddr, work: &Work) -> Result<Answer> {
    let answer = ask(target, LOAD_PATH, Some(key(work, 0)?))?;
    want(answer.status == 200, || format!("a good request was answered {}: {}", answer.status, answer.body))?;
    want(answer.body.starts_with("{\"order\":4711") && answer.header("etag").is_some(), || {
        "the answer is not the origin's".to_owned()
    })?;
    Ok(answer)
}

/// The head that reached the origin says who asked, and how.
fn forwarded(target: SocketAddr, work: &Work) -> Result<Answer> {
    let echo = ask(target, ECHO_PATH, Some(key(work, 0)?))?;
    want(echo.status == 200, || format!("the echo was answered {}", echo.status))?;
    for name in FORWARDED_HEADERS {
        want(at_origin(&echo, name).is_some(), || format!("{name} did not reach the origin: {}", echo.body))?;
    }
    for name in ["Host", "Cookie", "traceparent", KEY_HEADER] {
        want(at_origin(&echo, name).is_some(), || format!("{name} was lost on the way to the origin"))?;
    }
    want(at_origin(&echo, "Host") == Some(crate::work::HOST), || "the origin saw another host".to_owned())?;
    Ok(echo)
}

fn refused_without_a_key(target: SocketAddr) -> Result<()> {
    for (key, which) in [(None, "no key"), (Some("00000000000000000000000000000000"), "an unknown key")] {
        let answer = ask(target, LOAD_PATH, key)?;
        want(answer.status == 401, || format!("{which} was answered {}", answer.status))?;
    }
    Ok(())
}

fn headers_reach_the_caller(answer: &Answer, work: &Work) -> Result<()> {
    for name in LIMIT_HEADERS {
        let value = answer.header(name).and_then(|value| value.parse::<u64>().ok());
        want(value.is_some(), || format!("{name} is {:?}", answer.header(name)))?;
    }
    let number = |name| answer.header(name).and_then(|v| v.parse::<u64>().ok()).unwrap_or_default();
    want(number("RateLimit-Limit") == work.hourly_limit, || format!("RateLimit-Limit is {}", number("RateLimit-Limit")))?;
    want(number("RateLimit-Remaining") < work.hourly_limit, || "the request was not counted".to_owned())?;
    want((1..=3600).contains(&number("RateLimit-Reset")), || format!("RateLimit-Reset is {}", number("RateLimit-Reset")))?;
    for (name, value) in &work.injected {
        want(answer.header(name) == Some(value), || format!("{name} is {:?} and not {value:?}", answer.header(name)))?;
    }
    Ok(())
}

fn identity_reaches_the_origin(echo: &Answer, work: &Work) -> Result<()> {
    let Some(caller) = work.callers.first() else { return Ok(()) };
    for (name, value) in IDENTITY_HEADERS.into_iter().zip([&caller.id, &caller.username, &caller.credential]) {
        want(at_origin(echo, name) == Some(value), || format!("{name} at the origin is {:?}", at_origin(echo, name)))?;
    }
    Ok(())
}

fn another_caller_has_a_count_of_its_own(target: SocketAddr, work: &Work) -> Result<()> {
    let answer = ask(target, LOAD_PATH, Some(key(work, 1)?))?;
    let left = answer.header("RateLimit-Remaining").and_then(|v| v.parse::<u64>().ok());
    want(left == Some(work.hourly_limit - 1), || format!("after one request {left:?} are left to another caller"))
}

/// The first caller has made two requests; he may make the rest, and not one more.
fn refused_past_the_limit(target: SocketAddr, work: &Work) -> Result<()> {
    for number in 3..=work.hourly_limit {
        let answer = ask(target, LOAD_PATH, Some(key(work, 0)?))?;
        want(answer.status == 200, || format!("request {number} of {} was answered {}", work.hourly_limit, answer.status))?;
    }
    let answer = ask(target, LOAD_PATH, Some(key(work, 0)?))?;
    want(answer.status == 429, || format!("the request past the limit was answered {}", answer.status))?;
    want(answer.header("Retry-After").is_some(), || "429 without Retry-After".to_owned())
}

/// A header in the head that the origin echoed.
fn at_origin<'a>(echo: &'a Answer, name: &str) -> Option<&'a str> {
    crate::response::header(echo.body.as_bytes(), name)
}

fn want(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(unlike(otherwise())) }
}

fn unlike(said: String) -> BenchError {
    BenchError::Response(said)
}
