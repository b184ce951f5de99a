use super::*;
use crate::effective::effective;
use crate::{Autos, Page, Phase, Revision, ViewError};
use std::collections::BTreeMap;

/// A view over a plain map.
#[derive(Default)]
struct Plain(BTreeMap<(Kind, Id), Entity>);

impl View for Plain {
    fn revision(&self) -> Revision {
        Revision(0)
    }
    fn get(&self, kind: Kind, id: Id) -> Result<Option<Entity>, ViewError> {
        Ok(self.0.get(&(kind, id)).cloned())
    }
    fn revision_of(&self, kind: Kind, id: Id) -> Result<Option<Revision>, ViewError> {
        Ok(self.0.get(&(kind, id)).map(|_| Revision(0)))
    }
    fn find(&self, kind: Kind, index: &str, key: &str) -> Result<Option<Id>, ViewError> {
        let holds =
            |entity: &&Entity| entity.kind == kind && entity.unique_keys().contains(&(static_name(index), key.to_owned()));
        Ok(self.0.values().find(holds).map(|entity| entity.id))
    }
    fn list(&self, kind: Kind, selection: &Selection, after: Option<Id>, limit: usize) -> Result<Page, ViewError> {
        let fits = |entity: &&Entity| match selection {
            Selection::All => true,
            Selection::Foreign { field, id } => entity.foreign(field) == Some(*id),
            Selection::AllTags(_) | Selection::AnyTag(_) => false,
        };
        let all = self.0.values().filter(|entity| entity.kind == kind && Some(entity.id) > after).filter(fits);
        let mut entities: Vec<Entity> = all.take(limit + 1).cloned().collect();
        let more = entities.len() > limit;
        entities.truncate(limit);
        let next = entities.last().map(|last| last.id).filter(|_| more);
        Ok(Page { entities, next })
    }
    fn tags(&self, _: Option<&str>, _: Option<(String, Kind, Id)>, _: usize) -> Result<Vec<(String, Kind, Id)>, ViewError> {
        Ok(Vec::new())
    }
    fn count(&self, kind: Kind) -> Result<u64, ViewError> {
        Ok(self.0.keys().filter(|(of, _)| *of == kind).count() as u64)
    }
}

fn static_name(index: &str) -> &'static str {
    ["name", "username", "custom_id", "key", "instance_name", "scope", "name_version"]
        .into_iter()
        .find(|name| *name == index)
        .expect("a known index")
}

const CONTEXT: Context<'static> = Context { now: 1_000, plugin: None };

impl Plain {
    fn entity(&self, kind: Kind, body: Value) -> Entity {
        let autos = Autos { now: 1_000, id: Id::random(), secret: Id::random().to_string() };
        let schema = Schema::of(kind);
        // Configurations are judged by their plugin's schema, which these tests do not have.
        let mut body = body.as_object().cloned().expect("an object");
        let config = body.remove("config");
        let mut entity = schema.process_insert(body, &autos).unwrap_or_else(|findings| panic!("{findings}"));
        if let Some(config) = config {
            entity.body.insert("config".to_owned(), config);
        }
        entity
    }
    fn put(&mut self, kind: Kind, body: Value) -> Result<Entity, Refusal> {
        let change = put(self, self.entity(kind, body), None, CONTEXT)?;
        self.apply(change.ops);
        Ok(change.entity)
    }
    fn good(&mut self, kind: Kind, body: Value) -> Entity {
        self.put(kind, body).expect("must be taken")
    }
    fn apply(&mut self, ops: Vec<Op>) {
        let mut keys: Vec<_> = ops.iter().map(Op::key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), ops.len(), "one op per entity");
        for op in ops {
            match op {
                Op::Put(entity) => drop(self.0.insert((entity.kind, entity.id), entity)),
                Op::Delete { kind, id } => drop(self.0.remove(&(kind, id))),
            }
        }
    }
    fn delete(&mut self, entity: &Entity) -> Result<usize, Refusal> {
        let ops = delete(self, entity.kind, entity.id)?;
        let count = ops.len();
        self.apply(ops);
        Ok(count)
    }
}

fn to(entity: &Entity) -> Value {
    json!({"id": entity.id.to_string()})
}

fn plugin(name: &str, priority: i64, authenticates: bool) -> PluginInfo {
    PluginInfo {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        priority,
        origin: "stock",
        phases: vec![Phase::Request],
        authenticates,
        config_schema: json!({"type": "object"}),
    }
}

fn component(version: &str, active: bool, schema: Value) -> Value {
    json!({"name": "p", "version": version, "digest": "00", "size": 1, "priority": 5, "phases": ["request"],
        "config_schema": schema, "active": active})
}

#[test]
fn unique_values_collide_with_their_fields_named() {
    let mut plain = Plain::default();
    plain.good(Kind::Consumer, json!({"username": "u", "custom_id": "c"}));
    let Err(Refusal::Unique(fields)) = plain.put(Kind::Consumer, json!({"username": "x", "custom_id": "c"})) else {
        panic!("must collide")
    };
    assert_eq!(Value::Object(fields), json!({"custom_id": "c"}));
    let route = plain.good(Kind::Route, json!({"paths": ["/"]}));
    plain.good(Kind::Plugin, json!({"name": "p", "route": to(&route)}));
    plain.good(Kind::Plugin, json!({"name": "p"}));
    let Err(Refusal::Unique(fields)) = plain.put(Kind::Plugin, json!({"name": "p", "route": to(&route)})) else {
        panic!("must collide")
    };
    assert_eq!(Value::Object(fields), json!({"consumer": null, "name": "p", "route": to(&route), "service": null}));
}

#[test]
fn a_primary_key_is_taken_once() {
    let mut plain = Plain::default();
    let first = plain.good(Kind::Consumer, json!({"username": "u"}));
    let again = plain.put(Kind::Consumer, json!({"id": first.id.to_string(), "username": "x"}));
    assert!(matches!(again, Err(Refusal::PrimaryKey(Kind::Consumer, id)) if id == first.id));
}

#[test]
fn references_lead_somewhere() {
    let mut plain = Plain::default();
    let service = plain.good(Kind::Service, json!({"host": "h", "name": "s"}));
    let route = plain.good(Kind::Route, json!({"paths": ["/"], "service": {"name": "s"}}));
    assert_eq!(route.foreign("service"), Some(service.id));
    for value in [json!({"name": "none"}), json!({"id": Id::random().to_string()})] {
        let refused = plain.put(Kind::Route, json!({"paths": ["/"], "service": value}));
        let Err(Refusal::ForeignKey { field, kind: Kind::Service, value: shown }) = refused else { panic!("must be refused") };
        assert_eq!((field.as_str(), shown), ("service", value));
    }
}

#[test]
fn deletion_takes_children_or_is_refused() {
    let mut plain = Plain::default();
    let service = plain.good(Kind::Service, json!({"host": "h"}));
    let route = plain.good(Kind::Route, json!({"paths": ["/"], "service": to(&service)}));
    let consumer = plain.good(Kind::Consumer, json!({"username": "u"}));
    plain.good(Kind::KeyAuth, json!({"consumer": to(&consumer)}));
    // Hangs on both: it must go once.
    plain.good(Kind::Plugin, json!({"name": "p", "route": to(&route), "consumer": to(&consumer)}));
    let refused = plain.delete(&service);
    assert!(matches!(refused, Err(Refusal::Referenced { kind: Kind::Service, by: Kind::Route })));
    assert_eq!(plain.delete(&consumer).expect("goes"), 3);
    assert_eq!(plain.delete(&route).expect("goes"), 1);
    assert_eq!(plain.delete(&service).expect("goes"), 1);
    assert!(plain.0.is_empty());
    assert!(matches!(plain.delete(&service), Err(Refusal::NotFound)));
}

#[test]
fn the_key_of_a_dead_credential_is_free() {
    let mut plain = Plain::default();
    let consumer = plain.good(Kind::Consumer, json!({"username": "u"}));
    let dead = plain.good(Kind::KeyAuth, json!({"consumer": to(&consumer), "key": "k", "ttl": 1}));
    let body = json!({"consumer": to(&consumer), "key": "k"});
    let entity = plain.entity(Kind::KeyAuth, body);
    assert!(matches!(put(&plain, entity.clone(), None, CONTEXT), Err(Refusal::Unique(_))));
    let change = put(&plain, entity, None, Context { now: 1_001, plugin: None }).expect("free");
    assert_eq!(change.ops.first(), Some(&Op::Delete { kind: Kind::KeyAuth, id: dead.id }));
    assert_eq!(change.ops.len(), 2);
}

#[test]
fn a_new_credential_takes_the_dead_ones_of_its_consumer_along() {
    let mut plain = Plain::default();
    let consumer = plain.good(Kind::Consumer, json!({"username": "u"}));
    let other = plain.good(Kind::Consumer, json!({"username": "v"}));
    for key in ["a", "b"] {
        plain.good(Kind::KeyAuth, json!({"consumer": to(&consumer), "key": key, "ttl": 1}));
    }
    let alive = plain.good(Kind::KeyAuth, json!({"consumer": to(&consumer), "key": "c", "ttl": 100}));
    let others = plain.good(Kind::KeyAuth, json!({"consumer": to(&other), "key": "d", "ttl": 1}));
    // Its own value is one of a dead one's: that one goes once.
    let fresh = plain.entity(Kind::KeyAuth, json!({"consumer": to(&consumer), "key": "a"}));
    let change = put(&plain, fresh.clone(), None, Context { now: 1_001, plugin: None }).expect("free");
    assert_eq!(change.ops.len(), 3);
    plain.apply(change.ops);
    let left: Vec<_> = plain.0.keys().filter(|(kind, _)| *kind == Kind::KeyAuth).map(|(_, id)| *id).collect();
    assert_eq!(left.len(), 3);
    assert!([fresh.id, alive.id, others.id].iter().all(|id| left.contains(id)));
}

#[test]
fn what_is_so_already_needs_no_transaction() {
    let mut plain = Plain::default();
    let service = plain.good(Kind::Service, json!({"host": "h"}));
    let later = Autos { now: 9_000, id: Id::random(), secret: String::new() };
    let again = Schema::of(Kind::Service).process_update(&service, Map::new(), &later).expect("fine");
    let change = put(&plain, again, Some(&service), CONTEXT).expect("fine");
    assert_eq!((change.ops.len(), change.entity), (0, service));
}

#[test]
fn what_authenticates_cannot_depend_on_the_consumer() {
    let mut plain = Plain::default();
    let consumer = plain.good(Kind::Consumer, json!({"username": "u"}));
    let entry = plain.entity(Kind::Plugin, json!({"name": "key-auth", "consumer": to(&consumer)}));
    let info = plugin("key-auth", 1250, true);
    let refused = put(&plain, entry, None, Context { plugin: Some(&info), ..CONTEXT });
    let Err(Refusal::Schema(findings)) = refused else { panic!("must be refused") };
    assert_eq!(findings.message(), "schema violation (consumer: value must be null)");
}

#[test]
fn one_version_of_a_component_serves() {
    let mut plain = Plain::default();
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "default": 1}}});
    let first = plain.good(Kind::Component, component("1.0.0", true, json!({"type": "object"})));
    let entry = plain.good(Kind::Plugin, json!({"name": "p", "config": {}}));
    let second = plain.good(Kind::Component, component("2.0.0", true, schema));
    assert_eq!(plain.0[&(Kind::Component, first.id)].body["active"], json!(false));
    assert_eq!(plain.0[&(Kind::Plugin, entry.id)].body["config"], json!({"a": 1}), "new defaults are filled in");
    // The one that serves cannot go; the other can.
    let Err(Refusal::Conflict(message)) = plain.delete(&second) else { panic!("must be refused") };
    assert!(message.contains("p@2.0.0 serves 1 plugin entries"), "{message}");
    plain.delete(&first).expect("goes");
    // A version that the entries do not fit is refused, unless it does not serve.
    let strict = json!({"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]});
    let Err(Refusal::Conflict(message)) = plain.put(Kind::Component, component("3.0.0", true, strict.clone())) else {
        panic!("must be refused")
    };
    assert!(message.contains("do not fit version 3.0.0") && message.contains("b: required field missing"), "{message}");
    plain.good(Kind::Component, component("3.0.0", false, strict));
    let unknown = json!({"type": "object", "patternProperties": {}});
    assert!(matches!(plain.put(Kind::Component, component("4.0.0", true, unknown)), Err(Refusal::Schema(_))));
}

#[test]
fn the_effective_chain_says_where_each_entry_comes_from() {
    let mut plain = Plain::default();
    let service = plain.good(Kind::Service, json!({"host": "h"}));
    let route = plain.good(Kind::Route, json!({"paths": ["/"], "service": to(&service)}));
    let consumer = plain.good(Kind::Consumer, json!({"username": "u"}));
    let global = plain.good(Kind::Plugin, json!({"name": "limit"}));
    let on_route = plain.good(Kind::Plugin, json!({"name": "limit", "route": to(&route), "enabled": false}));
    let on_service = plain.good(Kind::Plugin, json!({"name": "limit", "service": to(&service)}));
    let on_consumer = plain.good(Kind::Plugin, json!({"name": "limit", "consumer": to(&consumer)}));
    let auth = plain.good(Kind::Plugin, json!({"name": "auth"}));
    plain.good(Kind::Plugin, json!({"name": "off", "enabled": false}));
    let plugins = [plugin("limit", 10, false), plugin("auth", 20, true), plugin("off", 1, false), plugin("unused", 1, false)];

    let nobody = effective(&plain, &route, None, &plugins).expect("readable");
    let names: Vec<_> = nobody.chain.iter().map(|link| (link.plugin.as_str(), link.entry.id, link.entry.scope)).collect();
    assert_eq!(names, [("auth", auth.id, "global"), ("limit", on_service.id, "service")]);
    let shadowed: Vec<_> = nobody.chain[1].shadowed.iter().map(|source| (source.id, source.reason)).collect();
    assert_eq!(shadowed, [(global.id, Some("less specific")), (on_route.id, Some("disabled"))]);
    assert_eq!(nobody.disabled.len(), 1);

    let known = effective(&plain, &route, Some(consumer.id), &plugins).expect("readable");
    assert_eq!((known.chain[1].entry.id, known.chain[1].entry.scope), (on_consumer.id, "consumer"));
}

#[test]
fn a_path_names_an_entity_by_id_or_key() {
    let mut plain = Plain::default();
    let service = plain.good(Kind::Service, json!({"host": "h", "name": "s"}));
    let component = plain.good(Kind::Component, component("1.0.0", true, json!({"type": "object"})));
    assert_eq!(find(&plain, Kind::Service, "s").expect("readable"), Some(service.clone()));
    assert_eq!(find(&plain, Kind::Service, &service.id.to_string()).expect("readable"), Some(service));
    assert_eq!(find(&plain, Kind::Service, "none").expect("readable"), None);
    assert_eq!(find(&plain, Kind::Component, "p@1.0.0").expect("readable"), Some(component));
}
