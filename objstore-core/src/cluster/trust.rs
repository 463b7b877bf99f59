//! Who may be a node of this cluster: whoever has one of its keys. Without a key, whatever runs on
//! this very machine.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use objstore_client::Error;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, ServerConfig,
    SignatureScheme,
};
use tokio::sync::watch;

use super::authority::{self, Authority, Issued};
use super::key::{ClusterKey, read_keys};
use crate::env::{self, Clock};
use crate::journal::NodeId;
use crate::node::Inner;
use crate::settings::ClusterSettings;
use crate::state_dir::configuration;

/// How often the file of keys is looked at. What changed is in force after two looks at most.
const LOOK: Duration = Duration::from_secs(1);
/// A certificate is replaced when half of its time has passed.
const RENEW: Duration = Duration::from_secs(authority::VALID.as_secs() / 2);
/// The longest file of keys, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// What a node proves itself with, and what it believes others by. All of it changes together, when
/// the keys do.
pub(crate) struct Trust {
    node: NodeId,
    clock: Arc<dyn Clock>,
    /// Where the keys come from, if not from the settings.
    file: Option<PathBuf>,
    /// Without a key, nodes on other machines are served too.
    insecure: bool,
    /// None without a key.
    current: watch::Sender<Option<Arc<Credentials>>>,
}

/// The keys in force, and what was made from them.
pub(super) struct Credentials {
    keys: Vec<ClusterKey>,
    made: UnixTime,
    authorities: Arc<Verifier>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

impl Trust {
    /// From the settings, the file of keys included. Blocks.
    pub(crate) fn new(
        settings: &ClusterSettings,
        node: NodeId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let file = settings.cluster_key_file.clone();
        let mut keys = settings.keys.clone();
        if let Some(path) = &file {
            if !keys.is_empty() {
                return Err(configuration(
                    "cluster keys are given and a file of them too; give one of them".to_owned(),
                ));
            }
            keys = read_file(path)?;
        }
        let trust = Self {
            node,
            clock,
            file,
            insecure: settings.insecure,
            current: watch::Sender::default(),
        };
        if !keys.is_empty() {
            trust.take(keys)?;
            trust.file.as_deref().into_iter().for_each(warn_of_readers);
        } else if settings.insecure && settings.private_addr.is_some() {
            tracing::warn!(
                "without a cluster key, whoever reaches the private address can read, change and delete everything (insecure-cluster)"
            );
        }
        Ok(trust)
    }

    /// The keys in force and what was made from them; none without a key.
    pub(super) fn credentials(&self) -> Option<Arc<Credentials>> {
        self.current.borrow().clone()
    }

    /// Follows the changes of the keys.
    pub(super) fn watch(&self) -> watch::Receiver<Option<Arc<Credentials>>> {
        self.current.subscribe()
    }

    /// Whether nodes on other machines are served without a key.
    pub(super) fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// From now on these keys are in force.
    fn take(&self, keys: Vec<ClusterKey>) -> Result<(), Error> {
        let credentials = Credentials::new(keys, self.node, &self.clock)?;
        self.current.send_replace(Some(Arc::new(credentials)));
        Ok(())
    }

    /// Puts the keys of a file in force if they are others than before, or if the certificate has
    /// become old. Blocks.
    pub(super) fn renew(&self) -> Result<(), Error> {
        let Some(old) = self.credentials() else { return Ok(()) };
        let keys = match &self.file {
            Some(path) => read_file(path)?,
            None => old.keys.clone(),
        };
        let changed = keys != old.keys;
        let age = now(self.clock.as_ref()).as_secs().abs_diff(old.made.as_secs());
        if !changed && age < RENEW.as_secs() {
            return Ok(());
        }
        if changed {
            let prints: Vec<_> = keys.iter().map(ClusterKey::fingerprint).collect();
            tracing::info!(keys = prints.join(", "), "other cluster keys are in force");
            self.file.as_deref().into_iter().for_each(warn_of_readers);
        }
        self.take(keys)
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").field("current", &self.credentials()).finish_non_exhaustive()
    }
}

/// Watches the file of keys and the age of the certificate for as long as the node lives.
pub(super) async fn run(node: &Weak<Inner>) {
    let Some(inner) = node.upgrade() else { return };
    let (trust, blocking) = (Arc::clone(&inner.trust), Arc::clone(&inner.env.blocking));
    drop(inner);
    let mut last_failure = String::new();
    // Without a key there is none to be exchanged.
    while trust.credentials().is_some() {
        tokio::time::sleep(LOOK).await;
        let trust = Arc::clone(&trust);
        let renewed = env::run(blocking.as_ref(), move || trust.renew()).await;
        let failure = match renewed {
            Ok(Ok(())) => String::new(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => return,
        };
        if !failure.is_empty() && failure != last_failure {
            tracing::error!("{failure}; the keys stay as they were");
        }
        last_failure = failure;
    }
}

fn read_file(path: &Path) -> Result<Vec<ClusterKey>, Error> {
    let failed = |why: &dyn std::fmt::Display| {
        configuration(format!("the file of cluster keys {}: {why}", path.display()))
    };
    // A path of the operator's, which may well be a link.
    #[allow(clippy::disallowed_methods)]
    let file = std::fs::File::open(path).map_err(|e| failed(&e).with_source(e))?;
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).map_err(|e| failed(&e).with_source(e))?;
    read_keys(&text).map_err(|e| failed(&e))
}

/// Whoever reads the file can be any node of the cluster.
fn warn_of_readers(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    #[allow(clippy::disallowed_methods)]
    let mode = std::fs::metadata(path).map_or(0, |found| found.permissions().mode());
    if mode & 0o007 != 0 {
        tracing::warn!(
            path = %path.display(),
            "every user of this machine may read the cluster key; take that away (chmod o= FILE)"
        );
    }
}

impl Credentials {
    fn new(keys: Vec<ClusterKey>, node: NodeId, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let made = now(clock.as_ref());
        let accepted = keys.iter().map(Authority::of).collect::<Result<Vec<_>, _>>()?;
        let Some(issuer) = accepted.first() else {
            return Err(configuration("there is no cluster key".to_owned()));
        };
        let Issued { certificate, key } = issuer.issue(node, made)?;
        let chain = vec![certificate];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Arc::new(Verifier {
            authorities: accepted,
            provider: Arc::clone(&provider),
            hints: Vec::new(),
        });
        let time = Arc::new(Time(Arc::clone(clock)));
        let versions = &[&rustls::version::TLS13];
        let unusable = |e: TlsError| {
            configuration("the certificate of this node cannot be used".to_owned()).with_source(e)
        };

        let mut server =
            ServerConfig::builder_with_details(Arc::clone(&provider), Arc::clone(&time) as _)
                .with_protocol_versions(versions)
                .map_err(unusable)?
                .with_client_cert_verifier(Arc::clone(&verifier) as _)
                .with_single_cert(chain.clone(), key.clone_key())
                .map_err(unusable)?;
        // A session that is resumed shows no certificate, so a key that was withdrawn would go on
        // being good for it.
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let mut client = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(versions)
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_auth_cert(chain, key)
            .map_err(unusable)?;
        client.resumption = rustls::client::Resumption::disabled();
        client.enable_sni = false;
        Ok(Self {
            keys,
            made,
            authorities: verifier,
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    /// Whose certificate this is, shown by a node that was called or that calls.
    pub(super) fn node_of(
        &self,
        certificates: Option<&[CertificateDer<'_>]>,
        clock: &dyn Clock,
    ) -> Option<NodeId> {
        let usage = webpki::KeyUsage::client_auth();
        self.authorities.verify(certificates?.first()?, usage, now(clock)).ok()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("keys", &self.keys).finish_non_exhaustive()
    }
}

fn now(clock: &dyn Clock) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_nanos(clock.wall_nanos()))
}

/// Tells rustls the time.
#[derive(Debug)]
struct Time(Arc<dyn Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(now(self.0.as_ref()))
    }
}

/// Believes certificates of the authorities of the keys in force. Which node it is, is looked at
/// behind the handshake: whoever calls a seed does not know yet.
struct Verifier {
    authorities: Vec<Authority>,
    provider: Arc<CryptoProvider>,
    /// None: a node has one certificate and shows it to everybody.
    hints: Vec<DistinguishedName>,
}

impl Verifier {
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        usage: webpki::KeyUsage,
        now: UnixTime,
    ) -> Result<NodeId, TlsError> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        authority::verify(certificate, &self.authorities, algorithms, usage, now)
    }

    fn signed(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    /// TLS 1.2 is not offered.
    fn not_spoken() -> TlsError {
        TlsError::General("TLS 1.2 is not spoken here".to_owned())
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("authorities", &self.authorities.len()).finish()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.verify(end_entity, webpki::KeyUsage::server_auth(), now)
            .map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(Self::not_spoken())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.signed(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.verify(end_entity, webpki::KeyUsage::client_auth(), now)
            .map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(Self::not_spoken())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.signed(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
