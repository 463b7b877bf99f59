use http::Method;
use objstore_client::wire::routes;

use super::access::Scope;

/// What a path asks for. The rest of the path, an id that is yet to be checked, comes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Id,
    Put,
    Object(&'a str),
    Meta(&'a str),
    Delete(&'a str),
    Level(&'a str),
    Key(&'a str),
    Keys,
    RetryUpload(&'a str),
    DropUpload(&'a str),
    Forget(&'a str),
    Uploads,
    List,
    Version,
    Ping,
    Stats,
    Health,
    Ready,
    Metrics,
}

/// The table of routes.
pub(super) fn route(path: &str) -> Option<Route<'_>> {
    // The hot one first.
    if let Some(id) = path.strip_prefix(routes::GET) {
        return Some(Route::Object(id));
    }
    Some(match path {
        routes::ID => Route::Id,
        routes::PUT => Route::Put,
        routes::LIST => Route::List,
        routes::KEYS => Route::Keys,
        routes::UPLOADS => Route::Uploads,
        routes::VERSION => Route::Version,
        routes::PING => Route::Ping,
        routes::STATS => Route::Stats,
        routes::HEALTHZ => Route::Health,
        routes::READYZ => Route::Ready,
        routes::METRICS => Route::Metrics,
        _ => {
            if let Some(id) = path.strip_prefix(routes::META) {
                Route::Meta(id)
            } else if let Some(id) = path.strip_prefix(routes::DELETE) {
                Route::Delete(id)
            } else if let Some(id) = path.strip_prefix(routes::LEVEL) {
                Route::Level(id)
            } else if let Some(key) = path.strip_prefix(routes::KEY) {
                Route::Key(key)
            } else if let Some(id) = path.strip_prefix(routes::RETRY_UPLOAD) {
                Route::RetryUpload(id)
            } else if let Some(id) = path.strip_prefix(routes::DROP_UPLOAD) {
                Route::DropUpload(id)
            } else if let Some(node) = path.strip_prefix(routes::FORGET) {
                Route::Forget(node)
            } else {
                return None;
            }
        }
    })
}

impl Route<'_> {
    /// The methods it takes, as an `Allow` field.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Put => "POST, PUT",
            Self::Object(_) => "GET, HEAD, DELETE",
            Self::Key(_) => "GET, HEAD, PUT, DELETE",
            Self::Delete(_)
            | Self::Level(_)
            | Self::RetryUpload(_)
            | Self::DropUpload(_)
            | Self::Forget(_) => "POST",
            _ => "GET, HEAD",
        }
    }

    pub(super) fn allows(self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }

    /// What a request needs where tokens are asked for.
    pub(super) fn needs(self, method: &Method) -> Needs {
        let changes = *method == Method::PUT || *method == Method::DELETE;
        match self {
            // Whatever balances load has no token.
            Self::Health | Self::Ready => Needs::Nothing,
            Self::Id | Self::Version | Self::Ping => Needs::AnyToken,
            Self::RetryUpload(_) | Self::DropUpload(_) | Self::Forget(_) => {
                Needs::Scope(Scope::Admin)
            }
            Self::Put | Self::Delete(_) | Self::Level(_) => Needs::Scope(Scope::Write),
            Self::Object(_) | Self::Key(_) if changes => Needs::Scope(Scope::Write),
            Self::Object(_)
            | Self::Key(_)
            | Self::Meta(_)
            | Self::Keys
            | Self::List
            | Self::Uploads
            | Self::Stats
            | Self::Metrics => Needs::Scope(Scope::Read),
        }
    }

    /// Its name in metrics and logs.
    pub(super) fn op(self, method: &Method) -> Op {
        match self {
            Self::Put => Op::Put,
            Self::Key(_) if method == Method::PUT => Op::Put,
            Self::Key(_) if method == Method::DELETE => Op::Delete,
            Self::Key(_) if method == Method::HEAD => Op::Head,
            Self::Key(_) => Op::Get,
            Self::Delete(_) => Op::Delete,
            Self::Object(_) if method == Method::DELETE => Op::Delete,
            Self::Object(_) if method == Method::HEAD => Op::Head,
            Self::Object(_) => Op::Get,
            Self::Meta(_) => Op::Meta,
            Self::Level(_) => Op::Level,
            Self::List | Self::Keys => Op::List,
            _ => Op::Other,
        }
    }
}

/// What a request needs where tokens are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    AnyToken,
    Scope(Scope),
}

/// Kinds of requests, as metrics tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Get,
    Head,
    Put,
    Delete,
    Meta,
    Level,
    List,
    Other,
}

impl Op {
    pub(super) const ALL: [Self; 8] = [
        Self::Get,
        Self::Head,
        Self::Put,
        Self::Delete,
        Self::Meta,
        Self::Level,
        Self::List,
        Self::Other,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Head => "head",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Meta => "meta",
            Self::Level => "level",
            Self::List => "list",
            Self::Other => "other",
        }
    }
}
