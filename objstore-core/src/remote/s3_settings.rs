use objstore_client::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

/// Which bucket, and how to talk to it, as plain data. Credentials are not among it: they come
/// from where the AWS SDK looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct S3Settings {
    /// The bucket's name. Required.
    pub bucket: String,
    /// What stands before every key, as it is: a directory needs its `/`. At most 512 bytes, which
    /// are missing from the 1,024 of a key. Default: nothing.
    pub prefix: String,
    /// The bucket's region. Default: `AWS_REGION`, `AWS_DEFAULT_REGION` or the profile's; with an
    /// endpoint, `us-east-1`.
    pub region: Option<String>,
    /// The URL of a server that is not AWS, `http://host:port`. Default: `AWS_ENDPOINT_URL_S3`,
    /// `AWS_ENDPOINT_URL` or the profile's, else AWS itself.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path instead of the host name; most servers that are not
    /// AWS want it. Default false.
    pub path_style: bool,
    /// Checksums beyond the signature, which covers every body sent. Default
    /// [`S3Checksums::WhenRequired`].
    pub checksums: S3Checksums,
    /// Which changes the server makes on condition only. Default: of AWS all, of an endpoint
    /// [`S3Conditions::Writes`].
    pub conditions: Option<S3Conditions>,
}

/// Which changes a server makes on condition only. A server that knows nothing of a condition
/// ignores it and overwrites, so what is not among these is not sent and fails as
/// [`Unsupported`](crate::remote::RemoteErrorKind::Unsupported).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum S3Conditions {
    /// None.
    None,
    /// Storing an object, whole or in parts: what most servers have learned.
    Writes,
    /// Copying and deleting too, as AWS does.
    All,
}

/// When the SDK adds and checks its own checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum S3Checksums {
    /// Only where S3 demands one. Headers that some compatible servers refuse are not sent.
    #[default]
    WhenRequired,
    /// Wherever S3 takes one.
    WhenSupported,
}

const PREFIX_MAX: usize = 512;

impl S3Settings {
    /// A bucket, everything else by default.
    #[must_use]
    pub fn bucket(name: impl Into<String>) -> Self {
        Self { bucket: name.into(), ..Self::default() }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let named = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if self.bucket.is_empty() || self.bucket.len() > 255 || !self.bucket.chars().all(named) {
            return Err(wrong("the bucket needs a name of letters, digits, - and ."));
        }
        if self.prefix.len() > PREFIX_MAX || self.prefix.chars().any(char::is_control) {
            return Err(wrong("the bucket's prefix has control characters or over 512 bytes"));
        }
        self.endpoint.as_deref().map_or(Ok(()), check_endpoint)
    }
}

/// An endpoint is part of the identity, which is shown and sent to peers: no secret may be in it.
pub(super) fn check_endpoint(endpoint: &str) -> Result<(), Error> {
    let parsed = endpoint.parse::<http::Uri>().ok();
    let host = parsed.as_ref().filter(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.query().is_none()
            && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    });
    match host {
        Some(_) => Ok(()),
        None => Err(wrong(
            "the bucket's endpoint must be http://host:port or https://host, with no user, password or query in it",
        )),
    }
}

/// One spelling for each endpoint: scheme and host in lower case, no `/` at the end.
pub(super) fn spell_endpoint(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let (host, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    format!("{}://{}{path}", scheme.to_ascii_lowercase(), host.to_ascii_lowercase())
}

pub(super) fn wrong(message: &'static str) -> Error {
    Error::new(ErrorKind::Configuration, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_with_a_password_is_refused() {
        for bad in ["http://user:secret@host", "host:9000", "ftp://host", "http://host?x=1", ""] {
            let error = check_endpoint(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(!error.to_string().contains("secret"));
        }
        for good in ["http://127.0.0.1:9000", "https://s3.example.com/", "http://[::1]:9000/base"] {
            check_endpoint(good).expect(good);
        }
    }

    #[test]
    fn an_endpoint_has_one_spelling() {
        assert_eq!(spell_endpoint("HTTP://Host:9000/"), "http://host:9000");
        assert_eq!(spell_endpoint("https://Host/Base/"), "https://host/Base");
    }

    #[test]
    fn a_bucket_needs_a_name() {
        assert!(S3Settings::default().check().is_err());
        assert!(S3Settings::bucket("a/b").check().is_err());
        S3Settings::bucket("photos-2026").check().expect("a good name");
    }
}
