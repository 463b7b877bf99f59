//! Who may ask, and over what: tokens and certificates from files that are read again when they
//! change.

mod file;
mod tls;
mod tokens;

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use objstore_client::Error;
use rustls::ServerConfig;

use self::file::Followed;
pub(super) use self::tokens::Scope;
use self::tokens::{Holder, Tokens};
use crate::env;
use crate::node::Inner;
use crate::settings::HttpSettings;
use crate::state_dir::configuration;

/// How often the files are looked at. What changed is in force after two looks at most.
const LOOK: Duration = Duration::from_secs(1);

/// What the files say at the moment.
#[derive(Debug)]
pub(crate) struct Access {
    tokens: Option<Arc<Followed<Tokens>>>,
    tls: Option<Arc<Followed<ServerConfig>>>,
}

/// Who a request is from.
#[derive(Debug)]
pub(super) enum Asker {
    /// Nobody has to say who they are.
    Anyone,
    /// Who shows this token.
    Holder(Arc<Holder>),
    /// Who shows no token.
    Nameless,
    /// Who shows one that is not valid.
    Stranger,
}

impl Access {
    /// Reads the files that the settings name. Blocks.
    pub(crate) fn new(settings: &HttpSettings) -> Result<Self, Error> {
        let tokens = match &settings.token_file {
            Some(path) => Some(Followed::new("file of tokens", vec![path.clone()], Tokens::read)?),
            None => None,
        };
        let tls = match (&settings.tls_cert, &settings.tls_key) {
            (Some(cert), Some(key)) => {
                let paths = vec![cert.clone(), key.clone()];
                Some(Followed::new("certificate and key", paths, tls::read)?)
            }
            (None, None) => None,
            _ => {
                return Err(configuration(
                    "TLS takes a certificate and its key; give both, tls-cert and tls-key"
                        .to_owned(),
                ));
            }
        };
        Ok(Self { tokens: tokens.map(Arc::new), tls: tls.map(Arc::new) })
    }

    /// Whether requests need a token.
    pub(super) fn has_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// The certificate to serve with; none in the clear.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(|tls| tls.current())
    }

    /// Who a request with these fields is from.
    pub(super) fn asker(&self, fields: &HeaderMap) -> Asker {
        let Some(tokens) = &self.tokens else { return Asker::Anyone };
        let mut given = fields.get_all(AUTHORIZATION).iter();
        let (Some(first), None) = (given.next(), given.next()) else {
            let given = fields.contains_key(AUTHORIZATION);
            return if given { Asker::Stranger } else { Asker::Nameless };
        };
        // RFC 6750 §2.1; the name of a scheme has no case (RFC 9110 §11.1).
        let token = first.as_bytes().split_at_checked(7).and_then(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
        });
        let holder = token.and_then(|token| tokens.current().find(token));
        holder.map_or(Asker::Stranger, Asker::Holder)
    }
}

impl Asker {
    /// What the log calls them.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Holder(holder) => Some(holder.name()),
            _ => None,
        }
    }
}

/// Looks at the files for as long as the node lives.
pub(crate) async fn run(node: Weak<Inner>) {
    let Some(inner) = node.upgrade() else { return };
    let (tokens, tls) = (inner.access.tokens.clone(), inner.access.tls.clone());
    let blocking = Arc::clone(&inner.env.blocking);
    drop(inner);
    if tokens.is_none() && tls.is_none() {
        return;
    }
    let mut last = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let (tokens, tls) = (tokens.clone(), tls.clone());
        let looked = env::run(blocking.as_ref(), move || {
            let tokens = tokens.map_or(Ok(()), |tokens| tokens.renew());
            let tls = tls.map_or(Ok(()), |tls| tls.renew());
            tokens.and(tls)
        });
        let failure = match looked.await {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => return,
        };
        if !failure.is_empty() && failure != last {
            tracing::error!("{failure}; what was in force stays so");
        }
        last = failure;
    }
}
