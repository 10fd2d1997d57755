//! The Python module `emo._core`: a list of what it exports. The work is done in `emo-core`.

mod arrays;
mod cross;
mod error;
mod functions;
mod overlap;
mod pca;
mod rsa;
mod run;

/// Native kernels of `emo`; arrays in, small arrays out.
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
    use crate::rsa::{dissimilarity, rsa_grid, rsa_pair, rsa_permutations};
}
