//! The paths of the Admin API. Those of entities follow from the schemas: a collection, an entity, an entity's parent, the
//! children of a parent.

use http::Method;
use percent_encoding::percent_decode_str;
use weir_model::{Kind, Schema};

/// What a path names.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Endpoint {
    /// `/`
    Root,
    /// `/status`
    Status,
    /// `/config`
    Config,
    /// `/endpoints`
    Endpoints,
    /// `/transactions`
    Transactions,
    /// `/transactions/{id}`
    Transaction(String),
    /// `/plugins/enabled`
    PluginsEnabled,
    /// `/tags`, `/tags/{tag}`
    Tags(Option<String>),
    /// `/schemas/{entity}`
    Schema(String),
    /// `/schemas/{entity}/validate`
    Validate(String),
    /// `/schemas/plugins/{name}`
    PluginSchema(String),
    /// `/plugins/schema/{name}`: the configuration only.
    ConfigSchema(String),
    /// `/routes/{route}/chain`
    Chain(String),
    /// `/cluster/nodes`
    ClusterNodes,
    /// `/cluster/adopt`
    Adopt,
    /// `/cluster/republish`
    Republish,
    /// `/upstreams`: a kind of Kong's that Weir does not have.
    Absent,
    /// `/services`
    Collection(Kind),
    /// `/services/{service}`
    Entity(Kind, String),
    /// `/routes/{route}/service`
    Foreign(Via),
    /// `/services/{service}/routes`
    Nested(Parent, Kind),
    /// `/services/{service}/routes/{route}`
    NestedEntity(Parent, Kind, String),
}

/// An entity that points to the one that is meant.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Via {
    /// Kind of the one that points.
    pub(crate) kind: Kind,
    /// Its key.
    pub(crate) key: String,
    /// The field that points.
    pub(crate) field: String,
    /// What it points to.
    pub(crate) target: Kind,
}

/// The entity that children of a path point to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Parent {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its key.
    pub(crate) key: String,
    /// The children's field.
    pub(crate) field: String,
}

/// Collections of Kong's that Weir does not have yet. There are none of those entities, and a list says so: decK lists these first
/// and gives up on anything but 200.
const ABSENT: [&str; 3] = ["certificates", "snis", "upstreams"];

/// Reads a path. A trailing slash makes no difference.
pub(crate) fn endpoint(path: &str) -> Option<Endpoint> {
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some(Endpoint::Root);
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let decode = |segment: &str| percent_decode_str(segment).decode_utf8().ok().map(|text| text.into_owned());
    let segments: Option<Vec<String>> = path.split('/').map(decode).collect();
    let segments = segments?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        return None;
    }
    fixed(&segments).or_else(|| of_entities(&segments))
}

fn fixed(segments: &[&str]) -> Option<Endpoint> {
    let own = |text: &&str| (**text).to_owned();
    Some(match segments {
        ["status"] => Endpoint::Status,
        ["config"] => Endpoint::Config,
        ["endpoints"] => Endpoint::Endpoints,
        ["cluster", "nodes"] => Endpoint::ClusterNodes,
        ["cluster", "adopt"] => Endpoint::Adopt,
        ["cluster", "republish"] => Endpoint::Republish,
        ["transactions"] => Endpoint::Transactions,
        ["transactions", id] => Endpoint::Transaction(own(id)),
        ["tags"] => Endpoint::Tags(None),
        ["tags", tag] => Endpoint::Tags(Some(own(tag))),
        [kind] if ABSENT.contains(kind) => Endpoint::Absent,
        ["plugins", "enabled"] => Endpoint::PluginsEnabled,
        ["plugins", "schema", name] => Endpoint::ConfigSchema(own(name)),
        ["schemas", entity] => Endpoint::Schema(own(entity)),
        ["schemas", entity, "validate"] => Endpoint::Validate(own(entity)),
        ["schemas", "plugins", name] => Endpoint::PluginSchema(own(name)),
        ["routes", route, "chain"] => Endpoint::Chain(own(route)),
        _ => return None,
    })
}

fn of_entities(segments: &[&str]) -> Option<Endpoint> {
    let (first, rest) = segments.split_first()?;
    let schema = Schema::at_path(first)?;
    let (kind, key) = (schema.kind, rest.first().map(|key| (*key).to_owned()));
    match (key, rest) {
        (None, _) => Some(Endpoint::Collection(kind)),
        (Some(key), [_]) => Some(Endpoint::Entity(kind, key)),
        (Some(key), [_, below]) => match schema.foreign_fields().find(|(field, ..)| field == below) {
            Some((field, target, _)) => Some(Endpoint::Foreign(Via { kind, key, field: field.to_owned(), target })),
            None => {
                let (child, field) = child(kind, below)?;
                Some(Endpoint::Nested(Parent { kind, key, field }, child))
            }
        },
        (Some(key), [_, below, child_key]) => {
            let (child, field) = child(kind, below)?;
            Some(Endpoint::NestedEntity(Parent { kind, key, field }, child, (*child_key).to_owned()))
        }
        _ => None,
    }
}

/// The kind of children that a parent has under that name, and their field that points to it.
fn child(parent: Kind, name: &str) -> Option<(Kind, String)> {
    Kind::ALL.map(Schema::of).into_iter().filter(|schema| schema.nested_path == name).find_map(|schema| {
        let (field, ..) = schema.foreign_fields().find(|(_, target, _)| *target == parent)?;
        Some((schema.kind, field.to_owned()))
    })
}

impl Endpoint {
    /// The methods that it has, besides HEAD and OPTIONS.
    pub(crate) fn methods(&self) -> Vec<Method> {
        let (get, put, patch, post, delete) = (Method::GET, Method::PUT, Method::PATCH, Method::POST, Method::DELETE);
        match self {
            Endpoint::Validate(_) | Endpoint::Transactions | Endpoint::Adopt | Endpoint::Republish => vec![post],
            Endpoint::Collection(_) | Endpoint::Nested(..) => vec![get, post],
            // What a component is comes from its bytes alone.
            Endpoint::Entity(Kind::Component, _) => vec![get, patch, delete],
            Endpoint::Entity(..) | Endpoint::NestedEntity(..) => vec![get, put, patch, delete],
            Endpoint::Foreign(_) => vec![get, put, patch],
            Endpoint::Root
            | Endpoint::Status
            | Endpoint::Config
            | Endpoint::Endpoints
            | Endpoint::Transaction(_)
            | Endpoint::PluginsEnabled
            | Endpoint::Absent
            | Endpoint::Tags(_)
            | Endpoint::Schema(_)
            | Endpoint::PluginSchema(_)
            | Endpoint::ConfigSchema(_)
            | Endpoint::ClusterNodes
            | Endpoint::Chain(_) => vec![get],
        }
    }
    /// The kind of the entity that a write to this path writes, if it is the path of one.
    pub(crate) fn written(&self) -> Option<Kind> {
        match self {
            Endpoint::Collection(kind)
            | Endpoint::Entity(kind, _)
            | Endpoint::Nested(_, kind)
            | Endpoint::NestedEntity(_, kind, _) => Some(*kind),
            Endpoint::Foreign(via) => Some(via.target),
            Endpoint::Root
            | Endpoint::Status
            | Endpoint::Config
            | Endpoint::Endpoints
            | Endpoint::ClusterNodes
            | Endpoint::Adopt
            | Endpoint::Republish
            | Endpoint::Transactions
            | Endpoint::Transaction(_)
            | Endpoint::PluginsEnabled
            | Endpoint::Absent
            | Endpoint::Tags(_)
            | Endpoint::Schema(_)
            | Endpoint::Validate(_)
            | Endpoint::PluginSchema(_)
            | Endpoint::ConfigSchema(_)
            | Endpoint::Chain(_) => None,
        }
    }
    /// The value of `Allow`.
    pub(crate) fn allow(&self) -> String {
        let methods = self.methods();
        let head = methods.contains(&Method::GET).then_some("HEAD");
        let names: Vec<&str> = methods.iter().map(Method::as_str).chain(head).chain(["OPTIONS"]).collect();
        names.join(", ")
    }
}

/// All paths, with placeholders, sorted.
pub(crate) fn all() -> Vec<String> {
    let mut paths: Vec<String> = [
        "/",
        "/cluster/adopt",
        "/cluster/nodes",
        "/cluster/republish",
        "/config",
        "/endpoints",
        "/plugins/enabled",
        "/plugins/schema/{name}",
        "/routes/{routes}/chain",
        "/schemas/plugins/{name}",
        "/schemas/{db_entity_name}/validate",
        "/schemas/{name}",
        "/status",
        "/tags",
        "/tags/{tags}",
        "/transactions",
        "/transactions/{id}",
    ]
    .map(str::to_owned)
    .to_vec();
    for schema in Kind::ALL.map(Schema::of) {
        let entity = format!("/{0}/{{{0}}}", schema.path);
        paths.push(format!("/{}", schema.path));
        for (field, target, _) in schema.foreign_fields() {
            let parent = Schema::of(target).path;
            paths.push(format!("{entity}/{field}"));
            paths.push(format!("/{parent}/{{{parent}}}/{}", schema.nested_path));
            paths.push(format!("/{parent}/{{{parent}}}/{}/{{{}}}", schema.nested_path, schema.path));
        }
        paths.push(entity);
    }
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_entities_follow_from_the_schemas() {
        let own = str::to_owned;
        let parent = |kind, field| Parent { kind, key: own("p"), field: own(field) };
        assert_eq!(endpoint("/"), Some(Endpoint::Root));
        assert_eq!(endpoint("/services"), Some(Endpoint::Collection(Kind::Service)));
        assert_eq!(endpoint("/services/"), Some(Endpoint::Collection(Kind::Service)));
        assert_eq!(endpoint("/services/a%20b"), Some(Endpoint::Entity(Kind::Service, own("a b"))));
        assert_eq!(endpoint("/services/p/routes"), Some(Endpoint::Nested(parent(Kind::Service, "service"), Kind::Route)));
        assert_eq!(
            endpoint("/consumers/p/key-auth/k"),
            Some(Endpoint::NestedEntity(parent(Kind::Consumer, "consumer"), Kind::KeyAuth, own("k")))
        );
        let via = Via { kind: Kind::Route, key: own("r"), field: own("service"), target: Kind::Service };
        assert_eq!(endpoint("/routes/r/service"), Some(Endpoint::Foreign(via)));
        assert_eq!(endpoint("/plugins/enabled"), Some(Endpoint::PluginsEnabled));
        assert_eq!(endpoint("/schemas/plugins/validate"), Some(Endpoint::Validate(own("plugins"))));
        assert_eq!(endpoint("/schemas/plugins/cors"), Some(Endpoint::PluginSchema(own("cors"))));
        for unknown in
            ["", "/x", "//", "/services//x", "/routes/r/routes", "/consumers/c/routes", "/services/s/routes/r/x", "/%ff"]
        {
            assert_eq!(endpoint(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn every_listed_path_is_one() {
        for path in all() {
            assert!(endpoint(&path.replace(['{', '}'], "")).is_some(), "{path}");
        }
    }
}
