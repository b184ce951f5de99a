//! Memory that ended exchanges leave behind, for the next ones of the same worker: an exchange that finds some allocates little.
//!
//! Only memory is handed on: everything is emptied before it is kept.

use http::HeaderMap;
use weir_plugin_host::exchange::{Exchange, RequestHead};

/// Spares of each kind that a worker keeps: more are in use at once only under a load that pays for new ones.
const SPARES_LIMIT: usize = 64;
/// Texts that have grown beyond this, together, are not kept: long targets are rare.
const TEXT_BYTES_LIMIT: usize = 4 << 10;
/// Header maps with room for more than this are not kept: about 100 bytes each.
const HEADERS_LIMIT: usize = 64;
/// Hexadecimal digits of a request id.
const ID_DIGITS: usize = 32;

/// The texts of an exchange, empty.
#[derive(Default)]
pub(crate) struct Texts {
    pub id: String,
    pub host: String,
    pub path: String,
    pub query: String,
}

/// See the module's head.
#[derive(Default)]
pub(crate) struct Spares {
    texts: Vec<Texts>,
    headers: Vec<HeaderMap>,
}

impl Spares {
    /// Texts for an exchange that begins.
    pub fn take_texts(&mut self) -> Texts {
        self.texts.pop().unwrap_or_else(|| Texts { id: String::with_capacity(ID_DIGITS), ..Texts::default() })
    }
    /// An empty map.
    pub fn take_headers(&mut self) -> HeaderMap {
        self.headers.pop().unwrap_or_default()
    }
    /// Takes what is worth it out of an exchange that has ended.
    pub fn keep(&mut self, exchange: &mut Exchange) {
        let RequestHead { host, path, query, headers, .. } = &mut exchange.request;
        if self.texts.len() < SPARES_LIMIT {
            let query = query.take().unwrap_or_default();
            let mut texts =
                Texts { id: std::mem::take(&mut exchange.id), host: std::mem::take(host), path: std::mem::take(path), query };
            let mut bytes = 0;
            for text in [&mut texts.id, &mut texts.host, &mut texts.path, &mut texts.query] {
                text.clear();
                bytes += text.capacity();
            }
            if bytes <= TEXT_BYTES_LIMIT {
                self.texts.push(texts);
            }
        }
        if self.headers.len() < SPARES_LIMIT && (1..=HEADERS_LIMIT).contains(&headers.capacity()) {
            let mut headers = std::mem::take(headers);
            headers.clear();
            self.headers.push(headers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, Method, header};
    use std::net::IpAddr;

    fn exchange(path: String, headers: HeaderMap) -> Exchange {
        let request = RequestHead {
            method: Method::GET,
            scheme: "http",
            host: "a.example".to_owned(),
            path,
            query: Some("key=secret".to_owned()),
            headers,
            sent: true,
            routed_path: None,
        };
        Exchange::new("id".to_owned(), request, IpAddr::from([127, 0, 0, 1]))
    }

    #[test]
    fn nothing_of_an_exchange_is_handed_on_but_its_memory() {
        let mut spares = Spares::default();
        let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static("secret"))]);
        spares.keep(&mut exchange("/secret".to_owned(), headers));
        let Texts { id, host, path, query } = spares.take_texts();
        for text in [id, host, path, query] {
            assert!(text.is_empty() && text.capacity() > 0);
        }
        let headers = spares.take_headers();
        assert!(headers.is_empty() && headers.capacity() > 0);
        assert_eq!(headers.get(header::COOKIE), None);
    }

    #[test]
    fn what_is_large_or_too_much_is_not_kept() {
        let mut spares = Spares::default();
        spares.keep(&mut exchange("/".repeat(8 << 10), HeaderMap::with_capacity(200)));
        assert_eq!((spares.texts.len(), spares.headers.len()), (0, 0));
        for _ in 0..2 * SPARES_LIMIT {
            spares.keep(&mut exchange("/".to_owned(), HeaderMap::with_capacity(8)));
        }
        assert_eq!((spares.texts.len(), spares.headers.len()), (SPARES_LIMIT, SPARES_LIMIT));
    }
}
