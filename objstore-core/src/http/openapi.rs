use std::sync::LazyLock;

use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use objstore_client::Body;

/// The public API in [OpenAPI](https://spec.openapis.org/oas/v3.1.0). Kept by hand; the tests below
/// hold it against the table of routes, the kinds of errors and answers of a running node.
const DOCUMENT: &str = include_str!("openapi.json");

/// The same where no token is asked for.
static WITHOUT_TOKENS: LazyLock<String> =
    LazyLock::new(|| DOCUMENT.replace(r#""security": [{"token": []}]"#, r#""security": []"#));

/// `GET /api/v1/openapi.json`.
pub(super) fn document(asks_for_tokens: bool) -> Response<Body> {
    let document = if asks_for_tokens { DOCUMENT } else { WITHOUT_TOKENS.as_str() };
    let mut response = Response::new(document.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use http::Method;
    use objstore_client::ErrorKind;
    use serde_json::Value;

    use super::super::routes::{Needs, TABLE};
    use super::DOCUMENT;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    fn methods(path: &Value) -> BTreeMap<String, &Value> {
        let known = ["get", "head", "put", "post", "delete"];
        let described = path.as_object().unwrap().iter();
        let operations = described.filter(|(name, _)| known.contains(&name.as_str()));
        operations.map(|(name, operation)| (name.to_uppercase(), operation)).collect()
    }

    fn operations(document: &Value) -> Vec<(String, &Value)> {
        let paths = document["paths"].as_object().unwrap().iter();
        let all = paths.flat_map(|(path, item)| {
            let named = move |(method, operation)| (format!("{method} {path}"), operation);
            methods(item).into_iter().map(named)
        });
        all.collect()
    }

    /// What a reference stands for.
    fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            None => value,
            Some(at) => document.pointer(at.strip_prefix('#').unwrap()).expect(at),
        }
    }

    fn codes(schema: &Value) -> Vec<&str> {
        let codes = schema["enum"].as_array().unwrap_or_else(|| panic!("no codes in {schema}"));
        codes.iter().map(|code| code.as_str().unwrap()).collect()
    }

    #[test]
    fn the_document_is_of_this_version() {
        assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = document();
        let described: BTreeMap<&str, &Value> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, item)| (path.split('{').next().unwrap(), item))
            .collect();
        let routes: BTreeSet<&str> = TABLE.iter().map(|(path, _)| *path).collect();
        assert_eq!(described.keys().copied().collect::<BTreeSet<_>>(), routes);
        for (path, of) in TABLE {
            let route = of("");
            let methods = methods(described[path]);
            let allowed: BTreeSet<String> = route.allow().split(", ").map(str::to_owned).collect();
            assert_eq!(methods.keys().cloned().collect::<BTreeSet<_>>(), allowed, "{path}");
            for (method, operation) in methods {
                let (scope, asks) = match route.needs(&Method::try_from(method.as_str()).unwrap()) {
                    Needs::Nothing => (Value::Null, 0),
                    Needs::AnyToken => ("any".into(), 1),
                    Needs::Scope(scope) => (scope.name().into(), 1),
                };
                assert_eq!(operation["x-scope"], scope, "{method} {path}");
                assert_eq!(
                    operation["security"].as_array().unwrap().len(),
                    asks,
                    "{method} {path}"
                );
                let has_401 = !operation["responses"]["401"].is_null();
                assert_eq!(has_401, asks == 1, "{method} {path}");
            }
        }
    }

    #[test]
    fn every_status_and_code_is_one_that_a_node_answers_with() {
        let document = document();
        let mut told = BTreeSet::new();
        for (name, operation) in operations(&document) {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let status: u16 = status.parse().unwrap();
                let response = resolve(&document, response);
                if status < 400 {
                    assert!([200, 202, 206, 304].contains(&status), "{name}: {status}");
                    continue;
                }
                let field = &response["headers"]["X-Meta-Error"]["schema"];
                let is_head = name.starts_with("HEAD");
                let schema = if is_head {
                    assert!(response["content"].is_null(), "{name}: a HEAD has no body");
                    field
                } else {
                    assert!(field.is_null(), "{name}: {status}");
                    &response["content"]["application/json"]["schema"]["properties"]["error"]
                };
                for code in codes(schema) {
                    let kind = ErrorKind::from_code(code).expect(code);
                    assert_eq!(kind.status(), status, "{name}: {code}");
                    told.insert(code.to_owned());
                }
            }
        }
        let kinds = ErrorKind::ALL.iter().filter(|kind| (400..598).contains(&kind.status()));
        let all: BTreeSet<String> = kinds.map(|kind| kind.code().to_owned()).collect();
        let listed = codes(&document["components"]["schemas"]["Error"]["properties"]["error"]);
        assert_eq!(listed.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), all);
        // What no operation answers, but every path does.
        told.insert("method-not-allowed".to_owned());
        assert_eq!(told, all);
    }

    #[test]
    fn every_part_is_there_and_used() {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) => fields.iter().for_each(|(name, field)| match field {
                    Value::String(at) if name == "$ref" => drop(found.insert(at.clone())),
                    field => references(field, found),
                }),
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let document = document();
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        let parts = document["components"].as_object().unwrap().iter();
        let parts =
            parts.filter(|(kind, _)| *kind != "securitySchemes").flat_map(|(kind, parts)| {
                let names = parts.as_object().unwrap().keys();
                names.map(move |name| format!("#/components/{kind}/{name}"))
            });
        assert_eq!(used, parts.collect::<BTreeSet<_>>());
        let ids = operations(&document);
        let ids: BTreeSet<&str> =
            ids.iter().map(|(_, o)| o["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), operations(&document).len(), "an operationId is there twice");
    }
}
