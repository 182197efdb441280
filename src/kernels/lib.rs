//! Numeric kernels: one generic source, one row of [`KernelTable`] an instruction set, the same bits from each.
//!
//! # The order of floating-point operations
//! Each result is defined to the bit, whichever row computes it and however many tokens or output features are
//! computed together. So a prompt fed at once, in parts or token by token gives the same numbers.
//! "Tree" is the sum of 16 lanes that adds the upper half to the lower four times.
//!
//! - Quantised activations: per block of 16 k, t = max|a| / 127 and q = a / t rounded to nearest even.
//! - [`KernelTable::multiply_int8`]: a chunk is 256 k for 4-bit and 64 k for 8-bit weights; lane l of 16 covers 16 or 4
//!   consecutive k of it. Per chunk i = sum((w - middle) * q) exactly, then acc = fma(i, scale * t, acc) in
//!   order of chunks, then the tree. Zero points other than the middle: block b adds
//!   fma(scale * (zero point - middle), u, c) to lane b modulo 16 of c, in order of b; u is t * sum(q) over 16 k, added
//!   pairwise up to 128 k and from there in order. The tree of c is subtracted. The bias comes last.
//!   In two planes the second has the q and t of a - q * t of the first, the product rounded, and the products of both are added before
//!   the bias.
//! - [`KernelTable::multiply_f32`] and dense `[N][K]`: w = (q - zero point) * scale rounded once; lane l sums k = l modulo 16
//!   by fma in order; tree; bias.
//! - [`KernelTable::multiply_kn`] and dense `[K][N]`: one fma chain over k; bias.
//! - [`KernelTable::attend_block`]: one fma chain over the head dimension a score, and one over visible
//!   positions a value; from 8-bit codes a chain over each 32 elements of the head dimension, which one fma each adds with its scale
//!   in order, and values are weighted with weight * scale rounded once; the sum of 64 softmax weights is ((0+1)+(2+3)) over
//!   vectors of 16, then the tree.

#![allow(clippy::needless_range_loop, reason = "kernels index several arrays by one lane or row")]
#![allow(clippy::too_many_arguments, reason = "a kernel takes its operands apart")]

mod activations;
mod attention;
mod columns;
mod dequantise;
mod error;
mod lanes;
mod math;
mod matrix;
mod multiply_f32;
mod multiply_few;
#[cfg(target_arch = "aarch64")]
mod multiply_i8mm;
mod multiply_int8;
mod multiply_kn;
mod multiply_panel;
mod quantise;
#[cfg(test)]
mod reference;
mod rows;
mod scheduling;
mod table;
mod team;
#[cfg(test)]
mod tests;
mod unpacking;
mod vector;
mod zero_points;

pub use activations::{
    ActivationColumnsMut, ActivationLayout, ActivationsMut, BlockActivations, COLUMN_UNIT, GROUP_TOKENS,
};
pub use attention::{AttentionScale, AttentionState, BLOCK_POSITIONS, KvBlock, KvBlockMut, SCALE_COLUMNS};
pub use columns::ColumnsMut;
pub use error::{Error, ErrorKind, Result};
pub use matrix::{
    BlockMatrix, BlockMatrixKn, BlockShape, DenseLayout, DenseMatrix, Floats, Rows, ZeroPoints,
};
pub use multiply_panel::WeightPanel;
pub use scheduling::{ThreadPriority, schedule_this_thread};
pub use table::{KernelTable, ROW_VARIABLE};
pub use team::{Scope, Team, TeamOptions};
