//! Values with templates: `$(headers.name)`, `$(query_params.name)`, `$(uri_captures.name)`, names also as `["name"]` and captures
//! by number. In Kong a template is Lua; what is more than a look-up is refused when the configuration is written.

use plugin_sdk::Exchange;
use plugin_sdk::query::Query;
use std::borrow::Cow;

/// A value, taken apart once.
#[derive(Default)]
pub struct Template {
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Header(String),
    Argument(String),
    Capture(String),
}

impl Template {
    /// Takes a value apart; the error says what is not understood.
    pub fn parse(value: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = value;
        while let Some((text, after)) = rest.split_once("$(") {
            let Some((expression, after)) = after.split_once(')') else {
                return Err("a template has no closing parenthesis".to_owned());
            };
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            let part = part(expression.trim());
            parts.push(part.ok_or_else(|| {
                format!("$({expression}) is not built; use $(headers.name), $(query_params.name) or $(uri_captures.name), and $(headers[\"a-name\"]) for a name with dashes")
            })?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The text, if there is no template in it.
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The value for this exchange; what is not there is empty.
    pub fn render(&self, exchange: &Exchange) -> Cow<'_, [u8]> {
        if let Some(text) = self.literal() {
            return Cow::Borrowed(text.as_bytes());
        }
        let mut value = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => value.extend_from_slice(text.as_bytes()),
                Part::Header(name) => {
                    value.extend(exchange.request.header(name).map(|value| value.into_bytes()).unwrap_or_default());
                }
                Part::Argument(name) => {
                    let query = Query::parse(&exchange.request.query().unwrap_or_default());
                    value.extend_from_slice(query.values(name).next().as_deref().unwrap_or_default());
                }
                Part::Capture(name) => value.extend(exchange.capture(name).unwrap_or_default().into_bytes()),
            }
        }
        Cow::Owned(value)
    }
}

fn part(expression: &str) -> Option<Part> {
    let end = expression.find(['.', '['])?;
    let (table, key) = (expression.get(..end)?, name(expression.get(end..)?)?);
    match table {
        "headers" => Some(Part::Header(key)),
        "query_params" => Some(Part::Argument(key)),
        "uri_captures" => Some(Part::Capture(key)),
        _ => None,
    }
}

/// The name in `.name`, `["name"]`, `['name']` or `[1]`.
fn name(key: &str) -> Option<String> {
    if let Some(name) = key.strip_prefix('.') {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        return (!name.is_empty() && name.bytes().all(plain)).then(|| name.to_owned());
    }
    let inner = key.strip_prefix('[')?.strip_suffix(']')?.trim();
    let quoted = |quote: char| inner.strip_prefix(quote)?.strip_suffix(quote).filter(|name| !name.contains(quote));
    let number = || Some(inner).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    quoted('"').or_else(|| quoted('\'')).or_else(number).filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_sdk::testing::get;

    fn rendered(value: &str) -> String {
        let exchange = get("/orders?who=a%20b").with_header("x-tenant", "t").with_capture("id", "7").with_capture("1", "first");
        String::from_utf8(Template::parse(value).unwrap().render(&exchange).into_owned()).unwrap()
    }

    #[test]
    fn templates_are_replaced_and_the_rest_is_text() {
        assert_eq!(rendered("plain $x (text)"), "plain $x (text)");
        assert_eq!(rendered("a$(headers[\"x-tenant\"])b$( headers['x-tenant'] )"), "atbt");
        assert_eq!(rendered("$(query_params.who)/$(uri_captures.id)/$(uri_captures[1])"), "a b/7/first");
        assert_eq!(rendered("<$(headers.none)>"), "<>");
    }

    #[test]
    fn what_is_more_than_a_look_up_is_refused() {
        for value in
            ["$(shared.x)", "$(headers.a or 'b')", "$(", "$()", "$(headers)", "$(headers[])", "$(headers.a", "$(os.time())"]
        {
            assert!(Template::parse(value).is_err(), "{value}");
        }
    }
}
