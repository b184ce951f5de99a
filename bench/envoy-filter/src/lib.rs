//! The benchmark's chain as one filter for Envoy: key check, hourly limit per caller, response headers.
//!
//! Counts are in the host's shared data, where all workers see them: a count of its own per worker would be cheaper and would not be
//! the same limit. Written as one would for speed: the configuration is parsed once, requests allocate only what the interface forces.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, Status};

const WINDOW_SECONDS: u64 = 3600;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

struct Caller {
    id: String,
    name: String,
    credential: String,
}

#[derive(Default)]
struct Settings {
    limit: u64,
    limit_text: String,
    callers: HashMap<String, Caller>,
    injected: Vec<(String, String)>,
}

impl Settings {
    /// Lines of tab-separated fields, the first of which says what the line is.
    fn parse(text: &str) -> Option<Self> {
        let mut settings = Self::default();
        for line in text.lines() {
            let mut fields = line.split('\t').map(str::to_owned);
            match fields.next()?.as_str() {
                "limit" => {
                    settings.limit_text = fields.next()?;
                    settings.limit = settings.limit_text.parse().ok()?;
                }
                "caller" => {
                    let key = fields.next()?;
                    let caller = Caller { id: fields.next()?, name: fields.next()?, credential: fields.next()? };
                    settings.callers.insert(key, caller);
                }
                "inject" => settings.injected.push((fields.next()?, fields.next()?)),
                _ => return None,
            }
        }
        Some(settings)
    }
}

#[derive(Default)]
struct Root {
    settings: Rc<Settings>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let text = self.get_plugin_configuration().and_then(|bytes| String::from_utf8(bytes).ok());
        match text.as_deref().and_then(Settings::parse) {
            Some(settings) => {
                self.settings = Rc::new(settings);
                true
            }
            None => false,
        }
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Gate { settings: Rc::clone(&self.settings), left: None, reset: 0 }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Gate {
    settings: Rc<Settings>,
    /// Requests left in the window, once the request was counted.
    left: Option<u64>,
    /// Seconds until the window ends.
    reset: u64,
}

impl Context for Gate {}

impl HttpContext for Gate {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        let settings = Rc::clone(&self.settings);
        let key = self.get_http_request_header("apikey");
        let Some(caller) = key.and_then(|key| settings.callers.get(&key)) else {
            let headers = vec![("www-authenticate", "Key"), ("content-type", "application/json")];
            self.send_http_response(401, headers, Some(br#"{"message":"No API key found in request"}"#));
            return Action::Pause;
        };
        self.set_http_request_header("x-consumer-id", Some(&caller.id));
        self.set_http_request_header("x-consumer-username", Some(&caller.name));
        self.set_http_request_header("x-credential-identifier", Some(&caller.credential));

        let now = self.get_current_time().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.reset = WINDOW_SECONDS - now % WINDOW_SECONDS;
        let used = self.count(&caller.id, now - now % WINDOW_SECONDS);
        self.left = Some(settings.limit.saturating_sub(used));
        if used > settings.limit {
            let reset = self.reset.to_string();
            let limit = settings.limit_text.as_str();
            let headers = vec![
                ("content-type", "application/json"),
                ("retry-after", reset.as_str()),
                ("ratelimit-limit", limit),
                ("ratelimit-remaining", "0"),
                ("ratelimit-reset", reset.as_str()),
                ("x-ratelimit-limit-hour", limit),
                ("x-ratelimit-remaining-hour", "0"),
            ];
            self.left = None;
            self.send_http_response(429, headers, Some(br#"{"message":"API rate limit exceeded"}"#));
            return Action::Pause;
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        let settings = Rc::clone(&self.settings);
        if let Some(left) = self.left {
            let left = left.to_string();
            self.set_http_response_header("ratelimit-limit", Some(&settings.limit_text));
            self.set_http_response_header("ratelimit-remaining", Some(&left));
            self.set_http_response_header("ratelimit-reset", Some(&self.reset.to_string()));
            self.set_http_response_header("x-ratelimit-limit-hour", Some(&settings.limit_text));
            self.set_http_response_header("x-ratelimit-remaining-hour", Some(&left));
        }
        for (name, value) in &settings.injected {
            self.set_http_response_header(name, Some(value));
        }
        Action::Continue
    }
}

impl Gate {
    /// Counts one request of this caller in this window and says how many there are now.
    fn count(&self, caller: &str, window: u64) -> u64 {
        loop {
            let (kept, version) = self.get_shared_data(caller);
            let used = 1 + kept.as_deref().and_then(read).filter(|(of, _)| *of == window).map_or(0, |(_, used)| used);
            let mut value = [0; 16];
            value[..8].copy_from_slice(&window.to_le_bytes());
            value[8..].copy_from_slice(&used.to_le_bytes());
            match self.set_shared_data(caller, Some(&value), version) {
                // Another worker counted in between: read again.
                Err(Status::CasMismatch) => {}
                Ok(()) | Err(_) => return used,
            }
        }
    }
}

fn read(value: &[u8]) -> Option<(u64, u64)> {
    let (window, used) = value.split_at_checked(8)?;
    Some((u64::from_le_bytes(window.try_into().ok()?), u64::from_le_bytes(used.try_into().ok()?)))
}
