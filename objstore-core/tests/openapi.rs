//! What `openapi.json` says of answers, held against those of a running node. That it describes all
//! routes is tested beside the table of routes; the node's package has schemathesis run against it.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]

mod support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use objstore_core::remote::MemoryRemote;
use serde_json::Value;
use support::{Ask, Reply, Running, node_before};

/// The document as a node serves it.
struct Document(Value);

impl Document {
    async fn of(node: &Running) -> Self {
        let reply = node.get("/api/v1/openapi.json").await;
        assert_eq!((reply.status, reply.must("content-type")), (200, "application/json"));
        Self(reply.json())
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            None => value,
            Some(at) => self.0.pointer(&at[1..]).expect(at),
        }
    }

    /// Insists that an answer is one that an operation is said to give.
    fn check(&self, path: &str, method: &str, reply: &Reply) {
        let place = format!("{method} {path}: {reply:?}");
        let operation = &self.0["paths"][path][method.to_lowercase()];
        let response = self.resolve(&operation["responses"][reply.status.to_string()]);
        assert!(response.is_object(), "a status that is not described: {place}");
        let fields = response["headers"].as_object().unwrap();
        for (name, field) in fields {
            let field = self.resolve(field);
            match reply.header(name) {
                Some(text) => self.field(&field["schema"], text, &format!("{name} of {place}")),
                None => assert_ne!(field["required"], true, "no {name}: {place}"),
            }
        }
        // Those of any answer of HTTP.
        let usual = ["content-type", "content-length", "cache-control", "connection", "date"];
        for (name, _) in &reply.fields {
            let described = fields.keys().any(|known| known.eq_ignore_ascii_case(name));
            assert!(
                described || usual.contains(&name.as_str()),
                "{name} is not described: {place}"
            );
        }
        if method == "HEAD" || reply.status == 304 {
            return;
        }
        let Some(content) = response["content"].as_object() else {
            return assert!(reply.body.is_empty(), "a body that is not described: {place}");
        };
        let kind = reply.must("content-type").split(';').next().unwrap();
        let described = content.get(kind).or_else(|| content.get("*/*"));
        let described = described.unwrap_or_else(|| panic!("{kind} is not described: {place}"));
        match kind {
            "application/json" => self.fits(&described["schema"], &reply.json(), &place),
            "application/x-ndjson" => {
                for line in reply.text().lines() {
                    self.fits(&described["x-line"], &serde_json::from_str(line).unwrap(), &place);
                }
            }
            _ => {}
        }
    }

    fn field(&self, schema: &Value, text: &str, place: &str) {
        let number = self.resolve(schema)["type"] == "integer";
        let value = if number { text.parse::<u64>().expect(place).into() } else { text.into() };
        self.fits(schema, &value, place);
    }

    /// Insists that a value fits a schema, and that the schema names all its properties. Of JSON
    /// Schema this knows what the document needs, but for patterns.
    fn fits(&self, schema: &Value, value: &Value, place: &str) {
        if let Some(at) = schema["$ref"].as_str() {
            self.fits(self.0.pointer(&at[1..]).expect(at), value, place);
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.iter().collect(),
            Value::Null => Vec::new(),
            one => vec![one],
        };
        let is = |name: &Value| match name.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            other => panic!("the type {other}"),
        };
        assert!(types.is_empty() || types.into_iter().any(is), "{value} is no {schema}: {place}");
        if let Some(values) = schema["enum"].as_array() {
            assert!(values.contains(value), "{value} is none of {values:?}: {place}");
        }
        if !schema["const"].is_null() {
            assert_eq!(&schema["const"], value, "{place}");
        }
        if let Some(ways) = schema["oneOf"].as_array() {
            let names: BTreeSet<&String> = value.as_object().unwrap().keys().collect();
            let way = ways.iter().find(|way| {
                way["properties"].as_object().unwrap().keys().collect::<BTreeSet<_>>() == names
            });
            self.fits(way.unwrap_or_else(|| panic!("{value} is none of {ways:?}")), value, place);
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(value.get(name.as_str().unwrap()).is_some(), "no {name} in {value}: {place}");
        }
        if let Some(items) = value.as_array() {
            items.iter().for_each(|item| self.fits(&schema["items"], item, place));
        }
        let (Some(fields), Some(properties)) =
            (value.as_object(), schema["properties"].as_object())
        else {
            return;
        };
        for (name, field) in fields {
            match properties.get(name) {
                Some(property) => self.fits(property, field, &format!("{name} of {place}")),
                None => assert!(schema["$ref"].is_string(), "{name} is not described: {place}"),
            }
        }
    }
}

#[tokio::test]
async fn answers_are_what_the_document_says() {
    let node = node_before(Arc::new(MemoryRemote::new("a bucket")), |_| {}).await;
    let node = Running::serve(node, Ipv4Addr::LOCALHOST).await;
    let document = Document::of(&node).await;
    let (id, unknown) = (node.fresh_id(), node.fresh_id());
    let of = |path: &str| path.replace("{id}", &id).replace("{key}", "docs/a");
    let mut asked = BTreeSet::new();
    let mut expect = async |status: u16, path: &str, ask: Ask| {
        let method = ask.head().split(|b| *b == b' ').next().unwrap().to_vec();
        let method = String::from_utf8(method).unwrap();
        let reply = node.ask(ask.field("X-Request-Id", "r1")).await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        document.check(path, &method, &reply);
        asked.insert(format!("{method} {path}"));
    };

    let put = "/api/v1/put";
    let full = Ask::put(&id)
        .field("X-Meta-Name", "test.html")
        .field("X-Meta-UserMeta", r#"{"Author":"bob"}"#)
        .field("X-Meta-ConsistencyLevel", "2")
        .field("X-Meta-Json", "1")
        .field("Content-Type", "text/plain")
        .field("Content-Encoding", "x-none");
    expect(200, put, full.clone().body(b"It works!")).await;
    expect(200, put, full.clone().method("PUT").body(b"It works!")).await;
    let other = node.fresh_id();
    let back = Ask::put(&other).field("X-Meta-Write", "back").field("X-Meta-ConsistencyLevel", "1");
    expect(202, put, back.body(b"Later.")).await;
    expect(400, put, Ask::new("POST", put)).await;
    expect(412, put, full.field("If-None-Match", "*").body(b"")).await;
    for path in ["/api/v1/get/{id}", "/api/v1/key/{key}"] {
        if path.ends_with("{key}") {
            expect(200, path, Ask::new("PUT", &of(path)).body(b"It works!")).await;
            let invalid = Ask::new("PUT", &of(path)).field("Content-Encoding", "x".repeat(256));
            expect(400, path, invalid.body(b"")).await;
        }
        for method in ["GET", "HEAD"] {
            let ask = Ask::new(method, &of(path));
            expect(200, path, ask.clone().field("X-Meta-Json", "1")).await;
            expect(304, path, ask.clone().field("If-None-Match", "*")).await;
            expect(412, path, ask.clone().field("If-Match", "\"x\"")).await;
            expect(400, path, ask.clone().field("If-Match", "x")).await;
            expect(417, path, ask.clone().field("Expect", "x")).await;
            expect(404, path, Ask::new(method, &path.replace("{id}", &unknown))).await;
        }
        let ranged = |range: &str| Ask::new("GET", &of(path)).field("Range", range);
        expect(206, path, ranged("bytes=3-7")).await;
        expect(206, path, ranged("bytes=0-1,3-7")).await;
        expect(416, path, ranged("bytes=9-")).await;
    }
    for method in ["GET", "HEAD"] {
        for path in [
            "/api/v1/id",
            "/api/v1/meta/{id}",
            "/api/v1/list",
            "/api/v1/keys",
            "/api/v1/uploads",
            "/api/v1/messages",
            "/api/v1/version",
            "/api/v1/ping",
            "/api/v1/stats",
            "/api/v1/openapi.json",
            "/healthz",
            "/readyz",
        ] {
            expect(200, path, Ask::new(method, &of(path))).await;
        }
        expect(404, "/metrics", Ask::new(method, "/metrics")).await;
        expect(400, "/api/v1/list", Ask::new(method, "/api/v1/list?limit=0")).await;
        expect(200, "/api/v1/keys", Ask::new(method, "/api/v1/keys?delimiter=/&limit=1")).await;
    }
    let level = "/api/v1/level/{id}";
    let raise = Ask::new("POST", &of(level));
    expect(200, level, raise.clone().field("X-Meta-ConsistencyLevel", "2")).await;
    expect(400, level, raise.field("X-Meta-ConsistencyLevel", "3")).await;
    for what in ["retry", "drop"] {
        let path = format!("/api/v1/uploads/{what}/{{id}}");
        expect(404, &path, Ask::new("POST", &of(&path))).await;
    }
    let messages = "/api/v1/messages";
    expect(200, messages, Ask::new("POST", messages).body(b"hello")).await;
    expect(413, messages, Ask::new("POST", messages).body(&[0; 8193])).await;
    let forget = "/api/v1/forget/{node}";
    expect(404, forget, Ask::new("POST", &forget.replace("{node}", &unknown))).await;
    expect(400, forget, Ask::new("POST", &forget.replace("{node}", "x"))).await;
    for (method, path) in [
        ("DELETE", "/api/v1/get/{id}"),
        ("POST", "/api/v1/delete/{id}"),
        ("DELETE", "/api/v1/key/{key}"),
    ] {
        expect(200, path, Ask::new(method, &of(path))).await;
    }
    for method in ["GET", "HEAD"] {
        expect(404, "/api/v1/get/{id}", Ask::new(method, &of("/api/v1/get/{id}"))).await;
        expect(200, "/api/v1/meta/{id}", Ask::new(method, &of("/api/v1/meta/{id}"))).await;
    }

    // None is left out.
    let mut described = BTreeSet::new();
    for (path, item) in document.0["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|name| *name != "parameters");
        described.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    assert_eq!(asked, described);
}

/// Found by schemathesis.
#[tokio::test]
async fn a_head_that_is_refused_says_why() {
    let node = Running::start().await;
    for (ask, status, code) in [
        (Ask::new("HEAD", "/api/v1/id").host("example.com"), 403, "forbidden"),
        (Ask::new("HEAD", "/api/v1/put"), 405, "method-not-allowed"),
        (Ask::new("HEAD", "/nowhere"), 404, "no-such-route"),
    ] {
        let reply = node.ask(ask).await;
        assert_eq!((reply.status, reply.must("x-meta-error")), (status, code), "{reply:?}");
    }
}

/// Found by schemathesis.
#[tokio::test]
async fn what_is_asked_of_what_is_known_is_checked_all_the_same() {
    let node = Running::start().await;
    let id = node.stored(b"It works!").await;
    let meta = Ask::new("GET", &format!("/api/v1/meta/{id}")).field("X-Meta-Fetch", "maybe");
    node.ask(meta).await.is_error(400, "invalid-request");
    // RFC 9110 §5.6.1.2: empty elements of a list are passed over.
    let got = node.ask(Ask::get(&id).field("If-None-Match", ", ,W/\"a\" ,, \"b\",")).await;
    assert_eq!(got.status, 200, "{got:?}");
    for bad in ["\"a\" \"b\"", "\"a\", b", "a"] {
        node.ask(Ask::get(&id).field("If-None-Match", bad)).await.is_error(400, "invalid-request");
    }
    // RFC 9651 §3.2: an empty field is an empty dictionary.
    let put = node.ask(Ask::put(&id).field("Repr-Digest", "").body(b"")).await;
    assert_eq!(put.status, 200, "{put:?}");
    // More than any number is more than a page.
    let list = node.get(&format!("/api/v1/list?limit={}", "9".repeat(30))).await;
    assert_eq!((list.status, list.text().lines().count()), (200, 1), "{list:?}");
    node.get("/api/v1/list?limit=%2B5").await.is_error(400, "invalid-request");
    // Known to HTTP, and to no route.
    let query = node.ask(Ask::new("QUERY", "/api/v1/list")).await;
    query.is_error(405, "method-not-allowed");
}
