//! Checks what fjall 3.1 takes on trust when it opens: a manifest that was damaged makes it assert,
//! and assert again while it unwinds, which would end the host's process.

use std::io;
use std::path::Path;

use super::store::StoreError;

/// Checks the current manifest of every keyspace below a database's directory against the checksum
/// in its `current` file: version number (u64), XXH3-128 of the file `v<number>` (u128), both little
/// endian. A file of another shape is left to fjall.
pub(super) fn verify(database: &Path) -> Result<(), StoreError> {
    let keyspaces = match std::fs::read_dir(database.join("keyspaces")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for keyspace in keyspaces {
        let dir = keyspace?.path();
        let current = match std::fs::read(dir.join("current")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let (Some(version), Some(expected)) = (
            current.get(..8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes),
            current.get(8..24).and_then(|b| b.try_into().ok()).map(u128::from_le_bytes),
        ) else {
            return Err(damaged(&dir));
        };
        let manifest = match std::fs::read(dir.join(format!("v{version}"))) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(damaged(&dir)),
            other => other?,
        };
        if xxhash_rust::xxh3::xxh3_128(&manifest) != expected {
            return Err(damaged(&dir));
        }
    }
    Ok(())
}

fn damaged(keyspace: &Path) -> StoreError {
    StoreError::Damaged(format!("the manifest in {} is not what was written", keyspace.display()))
}
