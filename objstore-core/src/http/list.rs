use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use objstore_client::options::ListOptions;
use objstore_client::{Body, Error};

use super::{answer, query};
use crate::node::Node;

/// `GET /api/v1/list?after=ID&limit=N&deleted=1`: one page, a line of JSON for each object.
pub(super) async fn list(
    node: &Node,
    head: &http::request::Parts,
) -> Result<Response<Body>, Error> {
    let mut options = ListOptions::default();
    options.after = query::value(head, "after").map(|id| id.parse()).transpose()?;
    if let Some(limit) = query::value(head, "limit") {
        options.limit = query::limit(&limit)?;
    }
    options.include_deleted = query::value(head, "deleted")
        .is_some_and(|value| matches!(value.as_str(), "" | "1" | "true"));
    let mut lines = Vec::new();
    for meta in node.list(options).await? {
        // A type of ours, which serialises.
        serde_json::to_writer(&mut lines, meta.as_ref()).unwrap_or_default();
        lines.push(b'\n');
    }
    let mut response = answer::text("");
    *response.body_mut() = lines.into();
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}
