//! Data for the benches: activations of realistic widths, in memory or in a passing store.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use emo_core::dtype::{Dtype, Float};
use emo_core::error::Result;
use emo_core::shard::write::{TensorData, write_shard};

/// Widths of a residual stream and of an MLP.
pub const WIDTHS: [usize; 2] = [3072, 8192];
/// Types of stored activations.
pub const DTYPES: [(Float, Dtype); 3] =
    [(Float::Bf16, Dtype::BF16), (Float::F16, Dtype::F16), (Float::F32, Dtype::F32)];

/// Finite values of either sign in any of the three types, as bytes.
#[must_use]
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let half = |index: usize, value: u8| if index % 2 == 1 { value & 0x80 | 0x3c } else { value };
    (0..bytes).map(|index| half(index, next())).collect()
}

/// A passing store of one tensor `x` in several shards.
#[derive(Debug)]
pub struct Store {
    /// Shards in row order.
    pub paths: Vec<PathBuf>,
    /// Chunk hashes of each shard.
    pub chunks: Vec<Vec<String>>,
    /// Rows over all shards.
    pub n_rows: usize,
    folder: tempfile::TempDir,
}

impl Store {
    /// Write `n_shards` shards of about `bytes` each.
    ///
    /// # Panics
    /// When there is no temporary folder.
    pub fn new(dtype: (Float, Dtype), width: usize, n_shards: usize, bytes: usize) -> Result<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let row = width * dtype.0.size();
        let data = noise(bytes / row * row);
        let mut store = Self { paths: Vec::new(), chunks: Vec::new(), n_rows: 0, folder };
        for index in 0..n_shards {
            let path = store.folder.path().join(format!("{index}.safetensors"));
            let shape = vec![(data.len() / row) as u64, width as u64];
            let x = TensorData { name: "x".into(), dtype: dtype.1, shape, bytes: &data };
            let written = write_shard(&path, &[x], &AtomicBool::new(false))?;
            store.paths.push(path);
            store.chunks.extend(written.chunks.into_iter().map(|(_, hashes)| hashes));
            store.n_rows += data.len() / row;
        }
        Ok(store)
    }
}
