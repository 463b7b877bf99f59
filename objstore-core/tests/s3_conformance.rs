//! The suite of every remote store, on S3: the server of this process, and any other.
#![cfg(feature = "s3")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, clippy::print_stdout)]
#![allow(clippy::disallowed_methods)]

#[path = "support/s3_server.rs"]
mod s3_server;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use objstore_core::remote::{S3Checksums, S3Conditions, S3Remote, S3Settings};
use objstore_core::testing::remote_suite;
use s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_passes_the_suite() {
    let server = S3Server::start().await;
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"));
    let client = aws_sdk_s3::Client::from_conf(config.build());
    // Below a prefix the longest key of the suite does not fit; other tests have one.
    let mut settings = S3Settings::bucket(BUCKET);
    settings.conditions = Some(S3Conditions::All);
    let remote = S3Remote::with_client(client, settings).expect("a store");
    remote_suite(Arc::new(remote), "suite/").await;
}

/// `OBJSTORE_TEST_S3=http://host:port/bucket`, with credentials where the AWS SDK looks;
/// `OBJSTORE_TEST_S3_CHECKSUMS=1` sends the SDK's checksums too,
/// `OBJSTORE_TEST_S3_CONDITIONS=none|writes|all` says what the server knows of conditions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_s3_passes_the_suite() {
    let Ok(place) = std::env::var("OBJSTORE_TEST_S3") else {
        println!("OBJSTORE_TEST_S3 names no bucket: nothing was tested");
        return;
    };
    let (endpoint, bucket) = place.rsplit_once('/').expect("http://host:port/bucket");
    let mut settings = S3Settings::bucket(bucket);
    settings.endpoint = Some(endpoint.to_owned());
    settings.path_style = true;
    if std::env::var_os("OBJSTORE_TEST_S3_CHECKSUMS").is_some() {
        settings.checksums = S3Checksums::WhenSupported;
    }
    settings.conditions = match std::env::var("OBJSTORE_TEST_S3_CONDITIONS").as_deref() {
        Ok("none") => Some(S3Conditions::None),
        Ok("writes") => Some(S3Conditions::Writes),
        Ok("all") => Some(S3Conditions::All),
        _ => None,
    };
    let remote = S3Remote::connect(settings).await.expect("a store");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let prefix = format!("objstore-suite-{}/", now.as_nanos());
    remote_suite(Arc::new(remote), &prefix).await;
}
