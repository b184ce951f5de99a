//! The README's tour: `curl` lines, each with what it must show, read and carried out as printed.
//!
//! The tour stands in a fenced block that begins with ```` ```sh tour ````. A line is `curl … # STATUS: text, text`: the last answer
//! has that status, and head and body together hold each text. Understands the few options of curl that a reader types.

use crate::http::{Request, Response, send};

/// The fence before the tour.
const FENCE: &str = "```sh tour";

/// One line of the tour.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// As it is printed.
    pub line: String,
    /// One request, or several when the URL has a range such as `[1-11]`.
    pub requests: Vec<Request>,
    /// What the last answer's status must be.
    pub status: u16,
    /// What it must hold, without regard to case.
    pub shows: Vec<String>,
}

/// The steps of a text such as the README.
pub fn steps(text: &str) -> Result<Vec<Step>, String> {
    let block = text.split_once(FENCE).and_then(|(_, rest)| rest.split_once("```")).ok_or("there is no tour in this text")?.0;
    block.lines().filter(|line| line.trim_start().starts_with("curl ")).map(step).collect()
}

/// Carries out one step; `authority` says where the README's addresses are this time.
pub fn carry_out(step: &Step, authority: &dyn Fn(&str) -> String) -> Result<Response, String> {
    let fail = |reason: String| format!("{}\n  {reason}", step.line);
    let mut last = None;
    for request in &step.requests {
        let request = Request { authority: authority(&request.authority), ..request.clone() };
        last = Some(send(&request).map_err(|error| fail(format!("{}: {error}", request.authority)))?);
    }
    let last = last.ok_or_else(|| fail("sends nothing".to_owned()))?;
    let shown = format!("{}{}", last.head, last.body).to_lowercase();
    if last.status != step.status {
        return Err(fail(format!("answered {} instead of {}:\n{}{}", last.status, step.status, last.head, last.body)));
    }
    match step.shows.iter().find(|text| !shown.contains(&text.to_lowercase())) {
        Some(missing) => Err(fail(format!("does not show `{missing}`:\n{}{}", last.head, last.body))),
        None => Ok(last),
    }
}

fn step(line: &str) -> Result<Step, String> {
    let fail = |reason: &str| format!("{line}\n  {reason}");
    let (command, expected) = line.rsplit_once(" # ").ok_or_else(|| fail("has no `# STATUS: text`"))?;
    let (status, shows) = expected.split_once(':').unwrap_or((expected, ""));
    let status = status.trim().parse().map_err(|_| fail("has no status after #"))?;
    let shows = shows.split(", ").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect();
    let (request, url) = request(words(command)).map_err(|reason| fail(&reason))?;
    let requests = expand(&url).into_iter().map(|url| aimed(&request, &url)).collect();
    Ok(Step { line: line.trim().to_owned(), requests, status, shows })
}

/// Options to a request, and the URL.
fn request(words: Vec<String>) -> Result<(Request, String), String> {
    let mut request =
        Request { method: String::new(), authority: String::new(), target: String::new(), headers: Vec::new(), body: Vec::new() };
    let (mut url, mut body, mut file) = (String::new(), Vec::new(), None);
    let mut words = words.into_iter().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} has no value"));
        match word.as_str() {
            "-i" | "-s" | "-si" | "-is" => {}
            "-X" => request.method = value()?,
            "-H" => {
                let header = value()?;
                let (name, text) = header.split_once(':').ok_or("a header has no colon")?;
                request.headers.push((name.trim().to_owned(), text.trim().to_owned()));
            }
            "-d" => body.push(value()?),
            "--data-binary" => file = Some(contents(&value()?)?),
            option if option.starts_with('-') => return Err(format!("{option} is not an option that the tour knows")),
            _ => url = word,
        }
    }
    request.body = file.unwrap_or_else(|| body.join("&").into_bytes());
    let has_type = request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if !request.body.is_empty() && !has_type {
        request.headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
    }
    if request.method.is_empty() {
        request.method = if request.body.is_empty() { "GET" } else { "POST" }.to_owned();
    }
    Ok((request, url))
}

/// The file behind `@`.
fn contents(value: &str) -> Result<Vec<u8>, String> {
    let file = value.strip_prefix('@').ok_or("--data-binary needs @FILE")?;
    std::fs::read(file).map_err(|error| format!("{file}: {error}"))
}

fn aimed(request: &Request, url: &str) -> Request {
    let url = url.strip_prefix("http://").unwrap_or(url);
    let (authority, target) = url.split_once('/').unwrap_or((url, ""));
    Request { authority: authority.to_owned(), target: format!("/{target}"), ..request.clone() }
}

/// `a[1-3]` to `a1`, `a2`, `a3`.
fn expand(url: &str) -> Vec<String> {
    let range = || {
        let (before, rest) = url.split_once('[')?;
        let (range, after) = rest.split_once(']')?;
        let (first, last) = range.split_once('-')?;
        Some((before, first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?, after))
    };
    match range() {
        Some((before, range, after)) => range.map(|number| format!("{before}{number}{after}")).collect(),
        None => vec![url.to_owned()],
    }
}

/// Words of a command line, quotes taken off.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    for c in line.trim().chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => (quote, open) = (Some(c), true),
            None if c.is_whitespace() => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            None => word.push(c),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_the_shell_and_curl_would() {
        let text = "x\n```sh tour\ncurl -i -H 'apikey: a b' 'localhost:8000/x?n=[1-2]' # 429: limit, reset\n```\n";
        let step = steps(text).unwrap().remove(0);
        assert_eq!((step.status, step.shows), (429, vec!["limit".to_owned(), "reset".to_owned()]));
        let targets: Vec<_> = step.requests.iter().map(|request| request.target.as_str()).collect();
        assert_eq!(targets, ["/x?n=1", "/x?n=2"]);
        assert_eq!(step.requests[0].headers, [("apikey".to_owned(), "a b".to_owned())]);
        assert_eq!(step.requests[0].authority, "localhost:8000");
    }

    #[test]
    fn data_makes_a_form_and_a_post() {
        let step = step("curl localhost:8001/plugins -d name=x -d config.a=b # 201").unwrap();
        let request = &step.requests[0];
        assert_eq!((request.method.as_str(), request.body.as_slice()), ("POST", &b"name=x&config.a=b"[..]));
        assert_eq!(request.headers[0].1, "application/x-www-form-urlencoded");
    }

    #[test]
    fn a_line_without_an_expectation_is_refused() {
        assert!(step("curl localhost:8000/").unwrap_err().contains("# STATUS"));
        assert!(step("curl --weird localhost:8000/ # 200").unwrap_err().contains("--weird"));
    }
}
