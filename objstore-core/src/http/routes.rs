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
    Messages,
    Uploads,
    List,
    Version,
    Ping,
    Stats,
    OpenApi,
    Health,
    Ready,
    Metrics,
}

/// A row of the table: a path and what it asks for. Where the path ends in `/`, the rest of it is
/// given to that.
pub(super) type Row = (&'static str, fn(&str) -> Route<'_>);

/// The table of routes, the hot ones first. `openapi.json` describes each.
pub(super) const TABLE: [Row; 21] = [
    (routes::GET, |id| Route::Object(id)),
    (routes::PUT, |_| Route::Put),
    (routes::KEY, |key| Route::Key(key)),
    (routes::META, |id| Route::Meta(id)),
    (routes::ID, |_| Route::Id),
    (routes::DELETE, |id| Route::Delete(id)),
    (routes::LEVEL, |id| Route::Level(id)),
    (routes::LIST, |_| Route::List),
    (routes::KEYS, |_| Route::Keys),
    (routes::UPLOADS, |_| Route::Uploads),
    (routes::RETRY_UPLOAD, |id| Route::RetryUpload(id)),
    (routes::DROP_UPLOAD, |id| Route::DropUpload(id)),
    (routes::FORGET, |node| Route::Forget(node)),
    (routes::MESSAGES, |_| Route::Messages),
    (routes::VERSION, |_| Route::Version),
    (routes::PING, |_| Route::Ping),
    (routes::STATS, |_| Route::Stats),
    (routes::OPENAPI, |_| Route::OpenApi),
    (routes::HEALTHZ, |_| Route::Health),
    (routes::READYZ, |_| Route::Ready),
    (routes::METRICS, |_| Route::Metrics),
];

/// What a path asks for, if anything.
pub(super) fn route(path: &str) -> Option<Route<'_>> {
    TABLE.iter().find_map(|(prefix, of)| {
        let rest = path.strip_prefix(prefix)?;
        (rest.is_empty() || prefix.ends_with('/')).then(|| of(rest))
    })
}

impl Route<'_> {
    /// The methods it takes, as an `Allow` field.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Put => "POST, PUT",
            Self::Object(_) => "GET, HEAD, DELETE",
            Self::Key(_) => "GET, HEAD, PUT, DELETE",
            Self::Messages => "GET, HEAD, POST",
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
            Self::Id | Self::Version | Self::Ping | Self::OpenApi => Needs::AnyToken,
            Self::RetryUpload(_) | Self::DropUpload(_) | Self::Forget(_) => {
                Needs::Scope(Scope::Admin)
            }
            Self::Put | Self::Delete(_) | Self::Level(_) => Needs::Scope(Scope::Write),
            Self::Messages if *method == Method::POST => Needs::Scope(Scope::Write),
            Self::Object(_) | Self::Key(_) if changes => Needs::Scope(Scope::Write),
            Self::Object(_)
            | Self::Key(_)
            | Self::Meta(_)
            | Self::Keys
            | Self::List
            | Self::Messages
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
pub(crate) enum Op {
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
    pub(crate) const ALL: [Self; 8] = [
        Self::Get,
        Self::Head,
        Self::Put,
        Self::Delete,
        Self::Meta,
        Self::Level,
        Self::List,
        Self::Other,
    ];

    pub(crate) fn name(self) -> &'static str {
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
