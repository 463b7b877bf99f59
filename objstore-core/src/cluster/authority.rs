//! Certificates: the authority that each node derives from a cluster key, and what it issues.

use std::time::Duration;

use objstore_client::Error;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, Error as TlsError};

use super::key::ClusterKey;
use crate::journal::NodeId;
use crate::state_dir::configuration;

/// How a certificate names its node: as a URI, because an id is no host name.
const NODE_NAME: &str = "urn:objstore:node:";
/// How far from its making, in either direction, a certificate is valid: clocks that are off by
/// months keep no node out.
pub(super) const VALID: Duration = Duration::from_secs(365 * 24 * 3600);
/// What stands before the 32 bytes of an Ed25519 private key in PKCS #8 (RFC 8410 §7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The authority of a cluster key. Ed25519 signs deterministically, so each node that has the key
/// derives the same authority, certificate and all, without asking anybody.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    anchor: TrustAnchor<'static>,
}

/// A node's certificate and its private key.
pub(super) struct Issued {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Authority {
    pub(super) fn of(key: &ClusterKey) -> Result<Self, Error> {
        let mut pkcs8 = ED25519_PKCS8.to_vec();
        pkcs8.extend_from_slice(&key.authority_seed());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &PKCS_ED25519);
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&format!("objstore cluster {}", key.fingerprint()));
        params.serial_number = Some(SerialNumber::from(1));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(9999, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer =
            pair.and_then(|pair| CertifiedIssuer::self_signed(params, pair)).map_err(unmade)?;
        let anchor = webpki::anchor_from_trusted_cert(issuer.der()).map_err(unmade)?.to_owned();
        Ok(Self { issuer, anchor })
    }

    /// A certificate for a node with a private key of its own, made at this time.
    pub(super) fn issue(&self, node: NodeId, now: UnixTime) -> Result<Issued, Error> {
        let epoch = date_time_ymd(1970, 1, 1);
        // Within the years that a certificate can name.
        let now = Duration::from_secs(now.as_secs().min(200 * 365 * 24 * 3600));
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&node.to_string());
        params.not_before = epoch + now.saturating_sub(VALID);
        params.not_after = epoch + now + VALID;
        params.subject_alt_names =
            vec![SanType::URI(format!("{NODE_NAME}{node}").try_into().map_err(unmade)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let pair = KeyPair::generate().map_err(unmade)?;
        let certificate = params.signed_by(&pair, &self.issuer).map_err(unmade)?;
        let key = PrivatePkcs8KeyDer::from(pair.serialize_der()).into();
        Ok(Issued { certificate: certificate.der().clone(), key })
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn unmade(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    configuration("no certificate can be made from the cluster key".to_owned()).with_source(error)
}

/// Whose certificate this is, if one of the authorities issued it and it is valid at this time.
pub(super) fn verify(
    certificate: &CertificateDer<'_>,
    authorities: &[Authority],
    algorithms: &[&dyn rustls::pki_types::SignatureVerificationAlgorithm],
    usage: webpki::KeyUsage,
    now: UnixTime,
) -> Result<NodeId, TlsError> {
    let refused = |e: webpki::Error| TlsError::InvalidCertificate(reason(e));
    let certificate = webpki::EndEntityCert::try_from(certificate).map_err(refused)?;
    let anchors: Vec<_> = authorities.iter().map(|authority| authority.anchor.clone()).collect();
    certificate
        .verify_for_usage(algorithms, &anchors, &[], now, usage, None, None)
        .map_err(refused)?;
    let mut names = certificate.valid_uri_names().filter_map(|name| name.strip_prefix(NODE_NAME));
    match (names.next().and_then(|text| text.parse().ok()), names.next()) {
        (Some(node), None) => Ok(node),
        _ => Err(TlsError::InvalidCertificate(CertificateError::NotValidForName)),
    }
}

fn reason(error: webpki::Error) -> CertificateError {
    match error {
        webpki::Error::BadDer | webpki::Error::TrailingData(_) => CertificateError::BadEncoding,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::InvalidCertValidity => CertificateError::Expired,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        other => CertificateError::Other(rustls::OtherError(std::sync::Arc::new(other))),
    }
}
