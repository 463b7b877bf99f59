// temporary
use super::store::{RemoteAttributes, RemoteHead};
use crate::journal::{Live, Record, Stamp, decode_record, encode_record};
use objstore_client::types::*;
use objstore_client::*;
pub(crate) fn to_attributes(record: &Record) -> Result<RemoteAttributes, Error> {
    let mut a = RemoteAttributes::default();
    a.metadata
        .insert("rec".into(), encode_record(record).iter().map(|b| format!("{b:02x}")).collect());
    Ok(a)
}
pub(crate) fn from_head(id: ObjectId, head: &RemoteHead) -> Result<Record, Error> {
    let t = head.attributes.metadata.get("rec").cloned().unwrap_or_default();
    let b: Vec<u8> =
        (0..t.len() / 2).map(|i| u8::from_str_radix(&t[2 * i..2 * i + 2], 16).unwrap()).collect();
    let mut r = decode_record(&b).map_err(|_| Error::new(ErrorKind::Corrupt, "x"))?;
    if let Some(l) = &mut r.live {
        l.remote_etag = Some(head.etag.clone());
    }
    let _ = (id, None::<Live>, None::<Stamp>);
    Ok(r)
}
