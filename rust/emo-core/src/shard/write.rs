//! Writes a shard that appears whole or not at all, hashing while it writes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::hash::{CHUNK, chunk_hash};
use super::header::{MAX_HEADER, PREFIX, check_name, tensor_bytes};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::scan::check_cancel;

/// The data of a shard begin at a multiple of this many bytes.
pub const ALIGNMENT: usize = 4096;

/// One tensor to write, as little-endian bytes.
#[derive(Clone, Debug)]
pub struct TensorData<'a> {
    /// Name, printable ASCII without spaces.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Shape, outermost dimension first.
    pub shape: Vec<u64>,
    /// All elements.
    pub bytes: &'a [u8],
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Size of the file.
    pub bytes: u64,
    /// Blake3 of the file, hexadecimal.
    pub blake3: String,
    /// Name and chunk hashes of each tensor, in the given order.
    pub chunks: Vec<(String, Vec<String>)>,
}

/// Write `tensors` to `path` in the given order; a file that is there already is never replaced.
///
/// ```
/// use emo_core::{dtype::Dtype, shard::write::{TensorData, write_shard}};
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("0.safetensors");
/// let x = TensorData { name: "x".into(), dtype: Dtype::F32, shape: vec![1, 2], bytes: &[0; 8] };
/// let written = write_shard(&path, &[x], &false.into())?;
/// assert_eq!(written.bytes, 4096 + 8);
/// # Ok::<(), emo_core::error::Error>(())
/// ```
pub fn write_shard(path: &Path, tensors: &[TensorData], cancel: &AtomicBool) -> Result<Written> {
    let header = header_bytes(tensors)?;
    if path.symlink_metadata().is_ok() {
        return Err(taken(path));
    }
    let mut temporary = Temporary::create(path)?;
    let written = temporary.fill(&header, tensors, cancel)?;
    temporary.publish(path)?;
    Ok(written)
}

fn taken(path: &Path) -> Error {
    Error::resource(format!("{} is there already; shards are never replaced", path.display()))
        .hint("choose another name, or delete the file if it is not needed")
}

/// Length prefix and JSON header, padded with spaces to the alignment.
fn header_bytes(tensors: &[TensorData]) -> Result<Vec<u8>> {
    let mut entries = serde_json::Map::new();
    let mut at = 0u64;
    for tensor in tensors {
        check_name(&tensor.name).map_err(|error| Error::usage(error.to_string()))?;
        let wanted = tensor_bytes(tensor.dtype, &tensor.shape);
        if wanted != Some(tensor.bytes.len() as u64) {
            return Err(Error::usage(format!(
                "tensor {:?} has {} bytes, its shape {:?} of {} needs {}",
                tensor.name,
                tensor.bytes.len(),
                tensor.shape,
                tensor.dtype.name(),
                wanted.map_or("another size".into(), |bytes| bytes.to_string()),
            )));
        }
        let end = at + tensor.bytes.len() as u64;
        let entry = serde_json::json!({
            "dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [at, end],
        });
        if entries.insert(tensor.name.clone(), entry).is_some() {
            return Err(Error::usage(format!("tensor {:?} is given twice", tensor.name)));
        }
        at = end;
    }
    let json = serde_json::Value::Object(entries).to_string();
    let total = (PREFIX as usize + json.len()).next_multiple_of(ALIGNMENT);
    let length = (total - PREFIX as usize) as u64;
    if length > MAX_HEADER {
        return Err(Error::usage(format!(
            "the header takes {length} bytes, the limit is {MAX_HEADER}"
        )));
    }
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(total, b' ');
    Ok(bytes)
}

/// A file under a passing name beside the final one; removed when dropped unpublished.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn create(target: &Path) -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name = target
            .file_name()
            .ok_or_else(|| Error::usage(format!("{} names no file", target.display())))?
            .to_string_lossy();
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = target.with_file_name(format!(".{name}.{}-{count}.tmp", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { path, file }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", &path, &error)),
            }
        }
    }

    fn fill(
        &mut self,
        header: &[u8],
        tensors: &[TensorData],
        cancel: &AtomicBool,
    ) -> Result<Written> {
        let mut whole = blake3::Hasher::new();
        let mut chunks = Vec::with_capacity(tensors.len());
        let mut bytes = 0;
        self.append(header, &mut whole, &mut bytes)?;
        for tensor in tensors {
            let mut hashes = Vec::with_capacity(tensor.bytes.len().div_ceil(CHUNK));
            for chunk in tensor.bytes.chunks(CHUNK) {
                check_cancel(cancel)?;
                hashes.push(chunk_hash(chunk));
                self.append(chunk, &mut whole, &mut bytes)?;
            }
            chunks.push((tensor.name.clone(), hashes));
        }
        self.file.sync_all().map_err(|error| Error::io("flush", &self.path, &error))?;
        Ok(Written { bytes, blake3: whole.finalize().to_hex().to_string(), chunks })
    }

    fn append(&mut self, part: &[u8], whole: &mut blake3::Hasher, bytes: &mut u64) -> Result<()> {
        whole.update_rayon(part);
        *bytes += part.len() as u64;
        self.file.write_all(part).map_err(|error| Error::io("write", &self.path, &error))
    }

    /// Give the file its final name without replacing another, and make the name durable.
    ///
    /// A link fails where the name is taken; file systems without links get a checked rename.
    /// The permissions are those of a new file under the process's umask.
    fn publish(self, target: &Path) -> Result<()> {
        match std::fs::hard_link(&self.path, target) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(taken(target));
            }
            Err(_) if target.symlink_metadata().is_ok() => return Err(taken(target)),
            Err(_) => {
                std::fs::rename(&self.path, target)
                    .map_err(|error| Error::io("name", target, &error))?;
            }
        }
        drop(self);
        sync_folder(target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Already gone after a rename; a leftover after a crash is only a hidden file.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(unix)]
fn sync_folder(target: &Path) -> Result<()> {
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Error::io("flush the folder", folder, &error))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the twin of the one above")]
fn sync_folder(_target: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::shard::Shard;
    use crate::shard::hash::{hash_file, verify_shard};

    fn write(path: &Path, bytes: &[u8]) -> Result<Written> {
        let shape = vec![1, bytes.len() as u64];
        let x = TensorData { name: "x".into(), dtype: Dtype::U8, shape, bytes };
        write_shard(path, &[x], &false.into())
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let data: Vec<u8> = (0..CHUNK + 5).map(|i| (i * 31 % 251) as u8).collect();
        let written = write(&path, &data).unwrap();
        assert_eq!(written.chunks[0].1, [chunk_hash(&data[..CHUNK]), chunk_hash(&data[CHUNK..])]);
        assert_eq!(written.bytes, std::fs::metadata(&path).unwrap().len());
        assert_eq!(hash_file(&path, &false.into()).unwrap(), written.blake3);
        verify_shard(&path, &written.blake3, &false.into()).unwrap();
        let shard = Shard::open(&path).unwrap();
        let tensor = shard.tensor("x").unwrap();
        assert_eq!(tensor.begin % ALIGNMENT as u64, 0);
        assert_eq!(&shard.mapping().unwrap().bytes()[tensor.begin as usize..], &data[..]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_replaced_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        write(&path, b"one").unwrap();
        assert_eq!(write(&path, b"two").unwrap_err().kind(), Kind::Resource);
        let cancelled = write_shard(
            &folder.path().join("b.safetensors"),
            &[TensorData { name: "x".into(), dtype: Dtype::U8, shape: vec![1], bytes: b"1" }],
            &true.into(),
        );
        assert_eq!(cancelled.unwrap_err().kind(), Kind::Interrupted);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_flipped_bit_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let written = write(&path, b"some data").unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = verify_shard(&path, &written.blake3, &false.into()).unwrap_err();
        assert_eq!(error.kind(), Kind::Artifact);
    }

    #[test]
    fn sizes_and_names_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensor = |name: &str, shape| TensorData {
            name: name.into(),
            dtype: Dtype::BF16,
            shape,
            bytes: &[0; 4],
        };
        for tensors in [
            vec![tensor("x", vec![1, 3])],
            vec![tensor("x", vec![u64::MAX, 2])],
            vec![tensor("a b", vec![1, 2])],
            vec![tensor("x", vec![1, 2]), tensor("x", vec![2, 1])],
        ] {
            let error = write_shard(&path, &tensors, &false.into()).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{error}");
        }
    }
}
