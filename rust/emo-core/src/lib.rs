//! Native core of `emo`: reads shards of activations and does the arithmetic.
//!
//! Nothing here knows Python, prints, or panics on data. Rows of a tensor are counted over all its
//! shards and cut into fixed tiles; partial results are merged in tile order, so that threads,
//! shard splits, the way of reading and the instruction set leave the same bits.

pub mod dtype;
pub mod error;
pub mod kernels;
pub mod scan;
pub mod shard;
