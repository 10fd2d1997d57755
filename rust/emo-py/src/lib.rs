//! The Python module `emo._core`: a list of what it exports. The work is done in `emo-core`.
#![allow(clippy::doc_markdown, reason = "docstrings are Python's: numpydoc")]

mod arrays;
mod cross;
mod error;
mod functions;
mod overlap;
mod pca;
mod rsa;
mod run;

/// Native kernels of `emo`: arrays in, small arrays out.
///
/// Rows of a tensor are counted over all `shards` in the given order and cut into fixed tiles,
/// whose partial results are merged in order: the number of threads, the split into shards, the way
/// of reading and the instruction set (environment variable ``EMO_SIMD``: ``scalar``, ``avx2``,
/// ``avx512``, ``neon``) leave the same bits. Array arguments must be C-contiguous and of the stated
/// dtype; they are used in place, without a copy. Every call releases the interpreter and ends
/// within 0.2 s of Ctrl-C.
///
/// Common arguments
/// ----------------
/// threads : int
///     Number of threads; 0 takes ``EMO_NUM_THREADS``, or what affinity and control group allow.
/// io : {"auto", "mmap", "pread"}
///     Map the shards, read them by position, or do what a trial of both finds faster.
/// chunks : list of list of str, optional
///     Recorded xxh3 of each 8 MiB chunk of the tensor, one list per shard; checked in passing.
#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use crate::cross::cross_moments;
    #[pymodule_export]
    use crate::error::InternalError;
    #[pymodule_export]
    use crate::functions::{
        build_info, grouped_contributions, hash_file, inspect_shard, moments, project, read_rows,
        verify_shard, weight_product, write_shard,
    };
    #[pymodule_export]
    use crate::overlap::subspace_overlaps;
    #[pymodule_export]
    use crate::pca::{gram_product, gram_product_array};
    #[pymodule_export]
    use crate::rsa::{dissimilarity, permutations, rsa_grid, rsa_pair};
}
