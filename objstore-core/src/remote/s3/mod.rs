//! An S3 bucket, through the AWS SDK.

mod errors;
mod names;
mod reply;
mod store;

use std::fmt;
use std::future::Future;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use objstore_client::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::s3_settings::{check_endpoint, spell_endpoint, wrong};
use super::{S3Checksums, S3Conditions, S3Settings};
use errors::{Call, Failure, failure};

/// An S3 bucket, or a part of one below a prefix.
///
/// The SDK's retries and its stalled-stream protection are off: a reader under back-pressure looks
/// like a stalled one, and retries and deadlines are the caller's. Only connecting is bounded, to
/// 3.1 s. When S3 refuses the credentials as expired or unknown, they are read again from where the
/// SDK looks, at most every 5 s, and the call is made once more.
///
/// [`copy`](super::RemoteStore::copy) takes objects of up to 5 GiB, as `CopyObject` does. A
/// [`head`](super::RemoteStore::head) in a bucket that is not there is answered with `NotFound`,
/// because S3 says no more to it.
pub struct S3Remote {
    settings: S3Settings,
    identity: String,
    conditions: S3Conditions,
    current: RwLock<Current>,
    /// When credentials were last read again. Held while it is done.
    renewed: Mutex<Option<Instant>>,
    from_chain: bool,
}

#[derive(Clone)]
struct Current {
    client: Client,
    generation: u64,
}

/// Like the SDK's own default, and more than the 3 s after which a lost SYN is sent twice.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// What SDKs sign with for servers that know no regions.
const ANY_REGION: &str = "us-east-1";

impl S3Remote {
    /// With endpoint, region, profile and credentials from where the AWS SDK looks, as far as the
    /// settings do not say. Reads files and variables but makes no request: the bucket may be down.
    ///
    /// # Errors
    /// [`Configuration`](objstore_client::ErrorKind::Configuration) for settings that cannot work,
    /// and when no region is to be found.
    pub async fn connect(settings: S3Settings) -> Result<Self, Error> {
        settings.check()?;
        let loaded = load(&settings).await;
        let endpoint = endpoint(&loaded);
        if let Some(endpoint) = &endpoint {
            check_endpoint(endpoint)?;
        }
        let region = loaded.region().map(ToString::to_string);
        let conditions = default_conditions(&settings, endpoint.is_some());
        let place = match (endpoint, region) {
            (Some(endpoint), _) => spell_endpoint(&endpoint),
            (None, Some(region)) => region,
            (None, None) => {
                return Err(wrong(
                    "the bucket's region is not known; give it, or set AWS_REGION or the profile's",
                ));
            }
        };
        let client = client(Builder::from(&loaded), Some(&settings));
        Ok(Self::new(client, settings, &place, conditions, true))
    }

    /// With a client of the host's own, whose endpoint, region, credentials, addressing and
    /// checksums stay as they are; of the settings only `bucket`, `prefix` and
    /// `conditions` count, and `endpoint` or `region` for the
    /// [`identity`](super::RemoteStore::identity). The client's own provider is asked again for
    /// credentials that S3 refuses.
    ///
    /// # Errors
    /// [`Configuration`](objstore_client::ErrorKind::Configuration) for settings that cannot work.
    pub fn with_client(client: Client, settings: S3Settings) -> Result<Self, Error> {
        settings.check()?;
        let region = || client.config().region().map(ToString::to_string);
        let place = match &settings.endpoint {
            Some(endpoint) => spell_endpoint(endpoint),
            None => settings.region.clone().or_else(region).unwrap_or_else(|| ANY_REGION.into()),
        };
        let client = self::client(client.config().to_builder(), None);
        let conditions = default_conditions(&settings, settings.endpoint.is_some());
        Ok(Self::new(client, settings, &place, conditions, false))
    }

    fn new(
        client: Client,
        settings: S3Settings,
        place: &str,
        conditions: S3Conditions,
        from_chain: bool,
    ) -> Self {
        Self {
            conditions,
            identity: format!("s3:{place}/{}/{}", settings.bucket, settings.prefix),
            settings,
            current: RwLock::new(Current { client, generation: 0 }),
            renewed: Mutex::default(),
            from_chain,
        }
    }

    /// Makes a call, and once more with fresh credentials if those it was made with are refused.
    async fn call<T, E, F>(&self, call: Call, send: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let current = self.current();
        let first = match send(current.client).await {
            Ok(reply) => return Ok(reply),
            Err(error) => failure(call, &error),
        };
        if !first.stale {
            return Err(first);
        }
        match self.renew(current.generation).await {
            Some(client) => send(client).await.map_err(|error| failure(call, &error)),
            None => Err(first),
        }
    }

    /// A client with other credentials than that generation had, unless they were read just now.
    async fn renew(&self, refused: u64) -> Option<Client> {
        let mut renewed = self.renewed.lock().await;
        let current = self.current();
        if current.generation != refused {
            return Some(current.client);
        }
        if renewed.is_some_and(|at| at.elapsed() < RENEW_EVERY) {
            return None;
        }
        let old = current.client.config();
        let builder = if self.from_chain {
            // The profile's provider keeps what it once read, so the chain is made anew.
            let mut builder = Builder::from(&load(&self.settings).await);
            // With its connections.
            builder.set_http_client(old.http_client());
            builder
        } else {
            old.to_builder().identity_cache(IdentityCache::lazy().build())
        };
        let client = client(builder, self.from_chain.then_some(&self.settings));
        let next = Current { client: client.clone(), generation: refused + 1 };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        *renewed = Some(Instant::now());
        tracing::info!(remote = %self.identity, "the bucket refused the credentials; read them again");
        Some(client)
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.settings.prefix)
    }
}

fn default_conditions(settings: &S3Settings, endpoint: bool) -> S3Conditions {
    settings.conditions.unwrap_or(match endpoint {
        true => S3Conditions::Writes,
        false => S3Conditions::All,
    })
}

/// The SDK's configuration: its chain of providers, none of which is asked yet. Of the regions'
/// providers the instance's is left out, because it makes requests.
async fn load(settings: &S3Settings) -> SdkConfig {
    let region = RegionProviderChain::first_try(settings.region.clone().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        // Without one the SDK would ask the network, for a server that knows no regions.
        .or_else(settings.endpoint.as_ref().map(|_| Region::new(ANY_REGION)));
    let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest()).region(region);
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let loaded = loader.load().await;
    if loaded.region().is_none() && endpoint(&loaded).is_some() {
        return loaded.into_builder().region(Region::new(ANY_REGION)).build();
    }
    loaded
}

/// What the S3 client makes of the variables and the profile; it does not tell itself.
fn endpoint(loaded: &SdkConfig) -> Option<String> {
    let general = || loaded.endpoint_url().map(str::to_owned);
    if loaded.get_origin("endpoint_url").is_client_config() {
        return general();
    }
    let of_s3 = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok();
    let of_s3 = of_s3.and_then(|key| loaded.service_config()?.load_config(key));
    of_s3.or_else(general)
}

fn client(builder: Builder, settings: Option<&S3Settings>) -> Client {
    let mut builder = builder
        .interceptor(names::Names)
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .disable_read_timeout()
                .disable_operation_timeout()
                .disable_operation_attempt_timeout()
                .build(),
        );
    if let Some(settings) = settings {
        let (request, response) = match settings.checksums {
            S3Checksums::WhenRequired => {
                (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired)
            }
            S3Checksums::WhenSupported => (
                RequestChecksumCalculation::WhenSupported,
                ResponseChecksumValidation::WhenSupported,
            ),
        };
        builder = builder
            .force_path_style(settings.path_style)
            .request_checksum_calculation(request)
            .response_checksum_validation(response);
    }
    Client::from_conf(builder.build())
}

impl fmt::Debug for S3Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Remote").field("identity", &self.identity).finish_non_exhaustive()
    }
}
