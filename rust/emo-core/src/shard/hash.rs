//! Hashes of a shard: xxh3 per 8 MiB chunk of each tensor, blake3 of the whole file.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use twox_hash::XxHash3_64;

use super::open_regular;
use crate::error::{Error, Result};
use crate::scan::check_cancel;

/// Bytes of a tensor under one chunk hash; the last chunk may be shorter.
pub const CHUNK: usize = 8 << 20;

/// Hash of one chunk as 16 hexadecimal digits.
///
/// ```
/// assert_eq!(emo_core::shard::hash::chunk_hash(b""), "2d06800538d394c2");
/// ```
#[must_use]
pub fn chunk_hash(bytes: &[u8]) -> String {
    chunk_hex(XxHash3_64::oneshot(bytes))
}

/// How a chunk hash is written.
#[must_use]
pub fn chunk_hex(hash: u64) -> String {
    format!("{hash:016x}")
}

/// Hashes of all chunks of one tensor.
#[must_use]
pub fn chunk_hashes(bytes: &[u8]) -> Vec<String> {
    bytes.chunks(CHUNK).map(chunk_hash).collect()
}

/// Blake3 of a file as 64 hexadecimal digits; runs on the rayon pool it is called from.
pub fn hash_file(path: &Path, cancel: &AtomicBool) -> Result<String> {
    let mut file = open_regular(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        check_cancel(cancel)?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().to_hex().to_string()),
            Ok(count) => hasher.update_rayon(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io("read", path, &error)),
        };
    }
}

/// Check a shard's header and compare its blake3 with the one recorded for it.
pub fn verify_shard(path: &Path, expected: &str, cancel: &AtomicBool) -> Result<()> {
    if expected.len() != 64 || !expected.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::usage(format!("{expected:?} is no blake3 hash: 64 hexadecimal digits")));
    }
    super::Shard::open(path)?;
    let found = hash_file(path, cancel)?;
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(Error::artifact(format!(
        "{} is damaged: blake3 {found}, recorded {expected}",
        path.display()
    ))
    .hint("restore the file from a copy or capture the store again"))
}
