//! What an import asks of the gateway that it writes to: its entities in the order of the file.

use super::Stop;
use crate::admin_api::{AdminApi, Answer, Sent};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use weir_model::{Entity, Id, Kind, Schema};

/// Entities of a page: an entry of a plugin may have a megabyte, others are small.
fn page_size(kind: Kind) -> usize {
    if kind == Kind::Plugin { 20 } else { 100 }
}

/// What an entity is called in messages, and where it is: `consumers/7f3a…`.
pub fn place(kind: Kind, id: Id) -> String {
    format!("{}/{id}", Schema::of(kind).path)
}

/// Asks; what is wrong with the connection may be mended, and the import goes on then.
pub fn ask(api: &AdminApi, method: &str, path: &str, sent: Sent) -> Result<Answer, Stop> {
    api.ask(method, path, sent).map_err(|error| {
        Stop::Again(format!(
            "{} does not answer: {error}; when it does, the same command goes on where this one ended",
            api.url()
        ))
    })
}

/// Asks for what must be there.
pub fn get(api: &AdminApi, path: &str) -> Result<Value, Stop> {
    let answer = ask(api, "GET", path, Sent::Nothing)?;
    match answer.status {
        200 => Ok(answer.body),
        _ => Err(Stop::Again(format!("{}{path}: {}", api.url(), answer.message()))),
    }
}

/// The gateway's entities, looked up in the order of the file: by kind, and within a kind by id.
pub struct Target<'a> {
    api: &'a AdminApi,
    listed: Option<(Kind, Listed<'a>)>,
}

impl<'a> Target<'a> {
    /// Nothing is read yet.
    pub fn new(api: &'a AdminApi) -> Self {
        Self { api, listed: None }
    }
    /// What the gateway has under the entity's id.
    pub fn find(&mut self, entity: &Entity) -> Result<Option<Map<String, Value>>, Stop> {
        let listed = match self.listed.take() {
            Some(listed) if listed.0 == entity.kind => listed,
            _ => (entity.kind, Listed::new(self.api, entity.kind)),
        };
        self.listed.insert(listed).1.find(entity.id)
    }
}

/// The entities of a kind, by id, a page at a time.
pub struct Listed<'a> {
    api: &'a AdminApi,
    page: VecDeque<(Id, Map<String, Value>)>,
    /// The path of the next page.
    next: Option<String>,
}

impl<'a> Listed<'a> {
    /// Nothing is read yet.
    pub fn new(api: &'a AdminApi, kind: Kind) -> Self {
        let next = Some(format!("/{}?size={}", Schema::of(kind).path, page_size(kind)));
        Self { api, page: VecDeque::new(), next }
    }
    /// The entity with that id. Asked for in the order of ids: what is before it is forgotten.
    fn find(&mut self, id: Id) -> Result<Option<Map<String, Value>>, Stop> {
        loop {
            while self.page.front().is_some_and(|(first, _)| *first < id) {
                self.page.pop_front();
            }
            if !self.page.is_empty() {
                let found = self.page.pop_front_if(|(first, _)| *first == id);
                return Ok(found.map(|(_, body)| body));
            }
            if !self.fetch()? {
                return Ok(None);
            }
        }
    }
    /// The next entity, whichever it is.
    pub fn next_one(&mut self) -> Result<Option<Map<String, Value>>, Stop> {
        while self.page.is_empty() && self.fetch()? {}
        Ok(self.page.pop_front().map(|(_, body)| body))
    }
    fn fetch(&mut self) -> Result<bool, Stop> {
        let Some(path) = self.next.take() else { return Ok(false) };
        let mut body = get(self.api, &path)?;
        let unreadable = || Stop::Again(format!("{}{path}: the answer is no page of entities", self.api.url()));
        let Some(Value::Array(entities)) = body.get_mut("data").map(Value::take) else { return Err(unreadable()) };
        for entity in entities {
            let Value::Object(entity) = entity else { return Err(unreadable()) };
            let id = entity.get("id").and_then(Value::as_str).and_then(Id::parse).ok_or_else(unreadable)?;
            self.page.push_back((id, entity));
        }
        self.next = body.get("next").and_then(Value::as_str).map(str::to_owned);
        Ok(true)
    }
}
