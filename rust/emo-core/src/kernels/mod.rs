//! One module per kernel: formula, shapes and cost at its head.

pub mod basis;
pub mod components;
pub mod cross;
pub mod grouped;
pub mod labels;
pub mod moments;
pub mod overlap;
pub mod partial;
pub mod philox;
pub mod project;
pub mod read;
pub mod rsa;
pub mod simd;
pub mod weight;
