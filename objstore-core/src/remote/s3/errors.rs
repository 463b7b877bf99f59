use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::remote::{RemoteError, RemoteErrorKind as Kind};

/// Which operation failed: a status means different things to different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Get,
    Head,
    Put,
    Begin,
    PutPart,
    Complete,
    Abort,
    Uploads,
    Delete,
    Copy,
    List,
}

impl Call {
    /// As S3 calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::Get => "GetObject",
            Self::Head => "HeadObject",
            Self::Put => "PutObject",
            Self::Begin => "CreateMultipartUpload",
            Self::PutPart => "UploadPart",
            Self::Complete => "CompleteMultipartUpload",
            Self::Abort => "AbortMultipartUpload",
            Self::Uploads => "ListMultipartUploads",
            Self::Delete => "DeleteObject",
            Self::Copy => "CopyObject",
            Self::List => "ListObjectsV2",
        }
    }
}

/// What went wrong, and whether fresh credentials may help.
pub(super) struct Failure {
    pub(super) error: RemoteError,
    pub(super) stale: bool,
    /// S3's own word for it, where there was one.
    pub(super) code: Option<String>,
}

/// The SDK's error itself is not kept as the source: its `Debug` shows the reply, in which S3
/// repeats signatures.
pub(super) fn failure<E>(call: Call, error: &SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::ServiceError(reply) => answered(call, reply.err().code(), reply.raw()),
        SdkError::ResponseError(reply) if reply.raw().status().as_u16() >= 400 => {
            answered(call, None, reply.raw())
        }
        _ => unanswered(call, error),
    }
}

/// A reply that is not what was asked for.
pub(super) fn broken(call: Call, what: &str) -> RemoteError {
    RemoteError::new(
        Kind::Unavailable,
        format!("the bucket's answer to {} makes no sense: {what}", call.name()),
    )
}

fn unanswered<E: StdError + 'static>(call: Call, error: &SdkError<E>) -> Failure {
    let name = call.name();
    let (kind, message) = match (credentials(error), error) {
        (Some(CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)), _) => (
            Kind::Unavailable,
            format!("{name} was not sent: the credentials could not be read; see the AWS settings"),
        ),
        (Some(_), _) => (
            Kind::Forbidden,
            format!("{name} was not sent: no credentials were found where the AWS SDK looks"),
        ),
        (None, SdkError::ConstructionFailure(_)) => {
            (Kind::Refused, format!("{name} was not sent: {}", innermost(error)))
        }
        (None, SdkError::ResponseError(_)) => (
            Kind::Unavailable,
            format!("the bucket's answer to {name} could not be read: {}", innermost(error)),
        ),
        _ => (Kind::Unavailable, format!("the bucket did not answer {name}: {}", innermost(error))),
    };
    Failure { error: RemoteError::new(kind, message), stale: false, code: None }
}

fn answered(call: Call, code: Option<&str>, reply: &HttpResponse) -> Failure {
    let status = reply.status().as_u16();
    if status < 300 && code.is_none() {
        let error = broken(call, "it is not what S3 says to it");
        return Failure { error, stale: false, code: None };
    }
    let kind = kind(call, status, code);
    let mut message = format!("the bucket answered {status}");
    // Both come from the network, and this line ends in logs.
    let word = code.map(plain).filter(|word| !word.is_empty());
    if let Some(word) = &word {
        message = format!("{message} {word}");
    }
    message = format!("{message} to {}", call.name());
    if let Some(region) = reply.headers().get("x-amz-bucket-region")
        && (status < 400 || matches!(code, Some("AuthorizationHeaderMalformed")))
    {
        message = format!("{message}; the bucket's region is {}", plain(region));
    }
    if let Some(id) = reply.headers().get("x-amz-request-id") {
        message = format!("{message} (request {})", plain(id));
    }
    let mut error = RemoteError::new(kind, message);
    if kind == Kind::RangeNotSatisfiable
        && let Some(size) = size(reply)
    {
        error = error.with_size(size);
    }
    if kind.is_retryable()
        && let Some(delay) = retry_after(reply)
    {
        error = error.with_retry_after(delay);
    }
    Failure { error, stale: is_stale(call, status, code), code: word }
}

/// Codes of
/// [S3's list](https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList)
/// first, because a reply of 200 may carry one; then the status.
fn kind(call: Call, status: u16, code: Option<&str>) -> Kind {
    if code.is_some_and(|code| STALE.contains(&code)) {
        return Kind::Forbidden;
    }
    match code {
        // If-Match on a key that has no object.
        Some("NoSuchKey") if matches!(call, Call::Put | Call::Complete) => Kind::PreconditionFailed,
        Some("NoSuchKey") => Kind::NotFound,
        // It may be made, or made again; until then nothing is known about its objects.
        Some("NoSuchBucket") => Kind::Forbidden,
        Some("NoSuchUpload") => Kind::Refused,
        Some("PreconditionFailed") => Kind::PreconditionFailed,
        // Another change of this key was under way, and this one was not made. The upload is
        // spent then, so completing it again cannot help.
        Some("ConditionalRequestConflict" | "OperationAborted") => match call {
            Call::Complete => Kind::PreconditionFailed,
            _ => Kind::Throttled,
        },
        Some(
            "SlowDown"
            | "SlowDownRead"
            | "SlowDownWrite"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequests"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded",
        ) => Kind::Throttled,
        // Damaged or stalled on the way: sent again it may arrive.
        Some(
            "InternalError"
            | "ServiceUnavailable"
            | "RequestTimeout"
            | "IncompleteBody"
            | "BadDigest"
            | "XAmzContentSHA256Mismatch"
            | "XAmzContentChecksumMismatch",
        ) => Kind::Unavailable,
        Some("AccessDenied" | "SignatureDoesNotMatch" | "RequestTimeTooSkewed") => Kind::Forbidden,
        Some("InvalidRange") => Kind::RangeNotSatisfiable,
        Some("NotImplemented") => Kind::Unsupported,
        _ => match status {
            401 | 403 => Kind::Forbidden,
            404 if matches!(call, Call::Get | Call::Head | Call::Copy | Call::Delete) => {
                Kind::NotFound
            }
            412 => Kind::PreconditionFailed,
            416 => Kind::RangeNotSatisfiable,
            429 => Kind::Throttled,
            501 => Kind::Unsupported,
            300..=499 => Kind::Refused,
            _ => Kind::Unavailable,
        },
    }
}

/// What S3 answers to credentials that were good once or may be good soon.
const STALE: [&str; 6] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "TokenRefreshRequired",
];

/// A HEAD has no body, so its 400 (an expired token) and 403 do not say why.
fn is_stale(call: Call, status: u16, code: Option<&str>) -> bool {
    code.is_some_and(|code| STALE.contains(&code))
        || (call == Call::Head && matches!(status, 400 | 401 | 403))
}

fn credentials<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a CredentialsError> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The last cause, which names the trouble; the ones above it only say where.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let last = causes(error).last().map(ToString::to_string).unwrap_or_default();
    last.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause: &&'a (dyn StdError + 'static)| (*cause).source())
}

fn plain(word: &str) -> String {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || "-_.+/=".contains(*c);
    word.chars().filter(allowed).take(80).collect()
}

/// RFC 9110 §10.2.3. A date counts from the reply's own, so that our clock does not matter.
fn retry_after(reply: &HttpResponse) -> Option<Duration> {
    let value = reply.headers().get("retry-after")?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| -> Option<SystemTime> { httpdate::parse_http_date(text).ok() };
    date(value)?.duration_since(date(reply.headers().get("date")?)?).ok()
}

/// From `Content-Range: bytes */SIZE`, or from the element S3 itself sends.
fn size(reply: &HttpResponse) -> Option<u64> {
    let header = reply.headers().get("content-range");
    if let Some(size) = header.and_then(|range| range.strip_prefix("bytes */")) {
        return size.parse().ok();
    }
    let body = std::str::from_utf8(reply.body().bytes()?).ok()?;
    let (_, rest) = body.split_once("<ActualObjectSize>")?;
    rest.split_once('<')?.0.trim().parse().ok()
}
