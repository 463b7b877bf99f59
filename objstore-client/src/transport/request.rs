use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use reqwest::Url;

use super::Outgoing;
use crate::error::{Error, ErrorKind};
use crate::wire::headers;

/// A request to whichever node, as often as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    path: String,
    fields: Vec<(HeaderName, HeaderValue)>,
    /// What may be done when it is not known whether a node did what it asks for.
    pub(crate) repeat: Repeat,
    /// The node to ask before the others, while it is well.
    pub(crate) prefer: Option<usize>,
}

/// Whether a request does the same when it is sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It does, or changes nothing at all.
    Safe,
    /// It does not: only where it is certain that no node did it may it be sent again.
    Unsafe,
}

impl Request {
    /// A read.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, Repeat::Safe)
    }

    pub(crate) fn new(method: Method, path: impl Into<String>, repeat: Repeat) -> Self {
        Self { method, path: path.into(), fields: Vec::new(), repeat, prefer: None }
    }

    /// Whether it changes nothing.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Whether 304 can be an answer (RFC 9110 §15.4.5).
    pub(crate) fn is_conditional_read(&self) -> bool {
        let conditions = [IF_NONE_MATCH, IF_MODIFIED_SINCE];
        self.is_read() && self.fields.iter().any(|(name, _)| conditions.contains(name))
    }

    /// With a field of ours, whose value needs no check.
    pub(crate) fn flag(mut self, name: &'static str) -> Self {
        self.push(HeaderName::from_static(name), HeaderValue::from_static("1"));
        self
    }

    /// The answer is to hold all that is known about the version it is about.
    pub(crate) fn describing(self) -> Self {
        self.flag(headers::JSON)
    }

    pub(crate) fn push(&mut self, name: HeaderName, value: HeaderValue) {
        self.fields.push((name, value));
    }

    /// A field whose value comes from a caller.
    pub(crate) fn set(&mut self, name: HeaderName, value: impl Into<Vec<u8>>) -> Result<(), Error> {
        let value = value.into();
        if value.trim_ascii().len() != value.len() {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                format!("HTTP does not keep the spaces around {name}; leave them out"),
            ));
        }
        let value = HeaderValue::from_maybe_shared(Bytes::from(value)).map_err(|e| {
            Error::new(ErrorKind::InvalidRequest, format!("{name} has a control character"))
                .with_source(e)
        })?;
        self.push(name, value);
        Ok(())
    }

    /// Instead of what was said before.
    pub(crate) fn replace(&mut self, name: &HeaderName, value: HeaderValue) {
        self.fields.retain(|(other, _)| other != name);
        self.push(name.clone(), value);
    }

    pub(crate) fn remove(&mut self, name: &HeaderName) {
        self.fields.retain(|(other, _)| other != name);
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// For one sending of it.
    pub(super) fn to_send(
        &self,
        url: Url,
        common: &HeaderMap,
        body: Option<Outgoing>,
    ) -> reqwest::Request {
        let mut request = reqwest::Request::new(self.method.clone(), url);
        *request.body_mut() = body.map(reqwest::Body::wrap);
        let fields = request.headers_mut();
        fields.reserve(self.fields.len() + common.len() + 1);
        fields.extend(common.iter().map(|(name, value)| (name.clone(), value.clone())));
        for (name, value) in &self.fields {
            fields.append(name, value.clone());
        }
        request
    }
}
