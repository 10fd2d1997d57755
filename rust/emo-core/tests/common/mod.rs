//! Small stores for the tests.
#![allow(dead_code, reason = "each test file uses its own share")]

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use emo_core::dtype::{Dtype, Float};
use emo_core::error::Result;
use emo_core::kernels::simd::Tier;
use emo_core::scan::{Control, Io, Rows, pool};
use emo_core::shard::write::{TensorData, write_shard};
use half::{bf16, f16};
use proptest::prelude::*;

/// A matrix as it is stored, with the exact values that come out again.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    pub(crate) dtype: Float,
    pub(crate) width: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) values: Vec<f64>,
}

impl Matrix {
    pub(crate) fn new(dtype: Float, width: usize, raw: &[f32]) -> Self {
        let mut bytes = Vec::new();
        let mut values = Vec::new();
        for value in raw {
            let stored = match dtype {
                Float::Bf16 => {
                    bytes.extend(bf16::from_f32(*value).to_le_bytes());
                    bf16::from_f32(*value).to_f32()
                }
                Float::F16 => {
                    bytes.extend(f16::from_f32(*value).to_le_bytes());
                    f16::from_f32(*value).to_f32()
                }
                Float::F32 => {
                    bytes.extend(value.to_le_bytes());
                    *value
                }
            };
            values.push(f64::from(stored));
        }
        Self { dtype, width, bytes, values }
    }

    /// Deterministic noise around a mean, with some zeros of both signs.
    pub(crate) fn noise(dtype: Float, rows: usize, width: usize, mean: f32) -> Self {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let value = |_| match next() {
            low if low < 0.02 => 0.0,
            low if low < 0.04 => -0.0,
            _ => mean + next() + next() + next() - 1.5,
        };
        Self::new(dtype, width, &(0..rows * width).map(value).collect::<Vec<_>>())
    }

    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.width..(row + 1) * self.width]
    }
}

/// Shards in a folder of their own, with the chunk hashes of tensor `x`.
pub(crate) struct Store {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) chunks: Vec<Vec<String>>,
}

impl Store {
    /// Cut `matrix` before the rows of `cuts`; `x` begins `shift` bytes after a page.
    pub(crate) fn new(matrix: &Matrix, cuts: &[usize], shift: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let size = matrix.width * matrix.dtype.size();
        let dtype = match matrix.dtype {
            Float::Bf16 => Dtype::BF16,
            Float::F16 => Dtype::F16,
            Float::F32 => Dtype::F32,
        };
        let mut ends = cuts.to_vec();
        ends.push(matrix.rows());
        ends.sort_unstable();
        let mut store = Self { folder, paths: Vec::new(), chunks: Vec::new() };
        let mut begin = 0;
        for end in ends {
            let path = store.folder.path().join(format!("{}.safetensors", store.paths.len()));
            let shape = vec![(end - begin) as u64, matrix.width as u64];
            let bytes = &matrix.bytes[begin * size..end * size];
            let pad = TensorData {
                name: "pad".into(),
                dtype: Dtype::U8,
                shape: vec![shift as u64],
                bytes: &vec![7; shift],
            };
            let x = TensorData { name: "x".into(), dtype, shape, bytes };
            let written = write_shard(&path, &[pad, x], &AtomicBool::new(false)).unwrap();
            store.paths.push(path);
            store.chunks.push(written.chunks[1].1.clone());
            begin = end;
        }
        store
    }

    pub(crate) fn rows(&self, io: Io) -> Result<Rows> {
        Rows::open(&self.paths, "x", io, Some(self.chunks.clone()))
    }
}

/// Run a kernel on its own pool.
pub(crate) fn with<T: Send>(
    threads: usize,
    tier: Tier,
    task: impl FnOnce(&Control) -> T + Send,
) -> T {
    let cancel = AtomicBool::new(false);
    pool::run(threads, || task(&Control { threads, tier, cancel: &cancel }), || ()).unwrap()
}

/// Every way of running that must leave the same bits.
pub(crate) fn ways() -> Vec<(usize, Tier, Io)> {
    let mut ways = Vec::new();
    for tier in Tier::available_tiers() {
        for (threads, io) in [(1, Io::Mmap), (2, Io::Pread), (4, Io::Auto)] {
            ways.push((threads, tier, io));
        }
    }
    ways
}

pub(crate) fn dtypes() -> impl Strategy<Value = Float> {
    prop_oneof![Just(Float::Bf16), Just(Float::F16), Just(Float::F32)]
}

pub(crate) fn close(found: &[f64], wanted: &[f64], relative: f64, absolute: f64) {
    assert_eq!(found.len(), wanted.len());
    for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let gap = (found - wanted).abs();
        assert!(gap <= relative * wanted.abs() + absolute, "{index}: {found} is not {wanted}");
    }
}
