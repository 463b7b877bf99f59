//! SQL over Parquet in a bucket, with DataFusion, through two nodes of one cluster: what the first
//! query had to bring from the bucket, and what the next ones had not to.
//!
//! Run it in this directory with `cargo run`. The bucket is in memory and counts what is asked of
//! it; with `Builder::s3` in place of `Builder::remote` it would be one of S3.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::SessionContext;
use objstore_core::object_store_0_13::KeyStore;
use objstore_core::remote::MemoryRemote;
use objstore_core::testing::CountingRemote;
use objstore_core::types::PeerState;
use objstore_core::{Node, Settings};

const WRITE: &str = "
    COPY (
        SELECT value AS trip, value % 97 AS zone, value * 7919 % 10007 AS metres
        FROM generate_series(1, 4000000)
    )
    TO 'objstore://bucket/trips/2026.parquet'
    STORED AS PARQUET OPTIONS (compression 'uncompressed')";
const TABLE: &str =
    "CREATE EXTERNAL TABLE trips STORED AS PARQUET LOCATION 'objstore://bucket/trips/'";
const QUERY: &str = "
    SELECT zone, count(*) AS trips, avg(metres) AS metres
    FROM trips WHERE zone < 4 GROUP BY zone ORDER BY zone";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bucket = Arc::new(CountingRemote::new(Arc::new(MemoryRemote::new("bucket"))));

    // Somebody else, who is in no cluster, fills the bucket.
    let somebody = Node::builder().in_memory().remote(bucket.clone()).start().await?;
    session(&somebody)?.sql(WRITE).await?.collect().await?;
    somebody.shutdown().await?;

    let first = start(&bucket, None).await?;
    let second = start(&bucket, first.private_addr()).await?;
    while [&first, &second].iter().any(|node| !knows_another(node)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    println!("{:<24}{:>8}{:>22}{:>20}", "query", "ms", "requests to bucket", "bytes from bucket");
    let mut answers = Vec::new();
    for (name, node) in [
        ("on the first node", &first),
        ("there again", &first),
        ("on the second node", &second),
        ("there again", &second),
    ] {
        bucket.reset();
        // A session of its own each time: nothing is remembered but by the nodes.
        let (session, started) = (session(node)?, Instant::now());
        session.sql(TABLE).await?.collect().await?;
        let answer = session.sql(QUERY).await?.collect().await?;
        let took = started.elapsed().as_millis();
        println!("{name:<24}{took:>8}{:>22}{:>20}", bucket.all_calls(), bucket.bytes_out());
        answers.push(pretty_format_batches(&answer)?.to_string());
    }
    if answers.windows(2).any(|two| two[0] != two[1]) {
        return Err("two queries had different answers".into());
    }
    println!("{}", answers[0]);

    second.shutdown().await?;
    first.shutdown().await?;
    Ok(())
}

async fn start(
    bucket: &Arc<CountingRemote>,
    seed: Option<String>,
) -> Result<Node, objstore_core::Error> {
    let mut settings = Settings::default();
    settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
    settings.cluster.nodes = seed.into_iter().collect();
    Node::builder().settings(settings).in_memory().remote(bucket.clone()).start().await
}

fn knows_another(node: &Node) -> bool {
    node.peers().iter().any(|peer| peer.state == PeerState::Alive)
}

fn session(node: &Node) -> Result<SessionContext, Box<dyn Error>> {
    let session = SessionContext::new();
    let url = ObjectStoreUrl::parse("objstore://bucket")?;
    session.register_object_store(url.as_ref(), Arc::new(KeyStore::new(node.clone())));
    Ok(session)
}
