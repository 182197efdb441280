//! Which kernels run on which CPU: a row of [`ROWS`], chosen once at load, and the checks before each is called.

use std::fmt;

use super::activations::{ActivationLayout, ActivationsMut, BlockActivations};
use super::attention::{AttentionScale, AttentionState, BLOCK_POSITIONS, KvBlock, KvBlockMut};
use super::columns::ColumnsMut;
use super::matrix::{BlockMatrix, BlockMatrixKn, DenseLayout, DenseMatrix, Floats, Rows};
use super::multiply_panel::{FEWEST_TOKENS, WeightPanel};
use super::rows::{Kernels, ROWS};
use super::{multiply_f32, multiply_kn};
use crate::error::{Error, ErrorKind, Result};

/// The environment variable that forces a row, for tests and support.
pub const ROW_VARIABLE: &str = "EDGESLM_KERNELS";

/// The kernels of one instruction set that this CPU has.
///
/// All rows give the same bits. The methods panic when lengths do not fit together, which is a defect of the
/// caller; numbers may be anything.
pub struct KernelTable {
    pub(super) name: &'static str,
    /// What the CPU lacks, if anything.
    pub(super) missing: fn() -> Option<&'static str>,
    /// Whether products of 4-bit weights with many tokens read [`ActivationLayout::Grouped`].
    pub(super) groups_tokens: bool,
    pub(super) kernels: Kernels,
}

impl fmt::Debug for KernelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KernelTable").field(&self.name).finish()
    }
}

/// Calls a kernel of the row.
macro_rules! call {
    ($table:ident.$kernel:ident($($argument:expr),*)) => {
        // SAFETY: only `supported` and `by_name` lend out a row, after asking the CPU for its instructions.
        unsafe { ($table.kernels.$kernel)($($argument),*) }
    };
}

impl KernelTable {
    /// The best row for this CPU, or the one that the environment variable `EDGESLM_KERNELS` names.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name), for the name in the variable.
    pub fn select() -> Result<&'static Self> {
        match std::env::var(ROW_VARIABLE) {
            Ok(name) if !name.is_empty() => Self::by_name(&name),
            // The last row, the scalar one, needs nothing.
            _ => Ok(Self::supported().next().unwrap_or(&ROWS[ROWS.len() - 1])),
        }
    }

    /// The row called `name`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an unknown name, [`ErrorKind::Unsupported`] when the CPU lacks an instruction set.
    pub fn by_name(name: &str) -> Result<&'static Self> {
        let Some(row) = ROWS.iter().find(|row| row.name == name) else {
            let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
            return Err(Error::new(ErrorKind::InvalidArgument, format!("no kernels are called {name:?}"))
                .with_hint(format!("{ROW_VARIABLE} may be {}", names.join(", "))));
        };
        match (row.missing)() {
            None => Ok(row),
            Some(missing) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("the {name} kernels need {missing}, which this CPU lacks"),
            )
            .with_hint(format!("unset {ROW_VARIABLE}"))),
        }
    }

    /// The rows that this CPU can run, the best first.
    pub fn supported() -> impl Iterator<Item = &'static Self> {
        ROWS.iter().filter(|row| (row.missing)().is_none())
    }

    /// Every row of this build with what this CPU lacks for it, if anything.
    pub fn all() -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
        ROWS.iter().map(|row| (row.name, (row.missing)()))
    }

    /// The row's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The layout of activations that [`multiply_int8`](Self::multiply_int8) reads for `tokens` tokens and weights of `bits` bits; a
    /// token in two planes counts twice.
    #[must_use]
    pub fn layout(&self, bits: u32, tokens: usize) -> ActivationLayout {
        match bits {
            8 => ActivationLayout::Natural,
            _ if self.groups_tokens && tokens >= FEWEST_TOKENS => ActivationLayout::Grouped,
            _ => ActivationLayout::Split,
        }
    }

    /// Quantises `x` into `out`.
    pub fn quantise(&self, x: &[f32], out: &mut ActivationsMut<'_>) {
        assert_eq!(x.len(), out.columns(), "activations to quantise");
        call!(self.quantise(x, out));
    }

    /// `out[token][i]` = product of weight row `rows[i]` with token's activations, plus bias, in integers. `panel` is
    /// working memory. The products of two planes are added before the bias.
    pub fn multiply_int8<'r>(
        &self,
        matrix: &BlockMatrix<'_>,
        rows: impl Into<Rows<'r>>,
        x: &BlockActivations,
        panel: &mut WeightPanel,
        out: &mut ColumnsMut<'_>,
    ) {
        let rows = rows.into();
        assert_eq!(x.columns(), matrix.columns(), "columns of the activations and of the matrix");
        assert_eq!(x.layout(), self.layout(matrix.shape.bits, x.rows()), "layout of the activations");
        check_product(rows, matrix.rows(), x.tokens(), out);
        if rows.is_empty() || x.rows() == 0 {
            return;
        }
        if x.planes() == 1 {
            call!(self.multiply_int8(matrix, rows, x, panel, out));
        } else {
            self.multiply_planes(matrix, rows, x, panel, out);
        }
    }

    /// The products of both planes, added, plus bias.
    fn multiply_planes(
        &self,
        matrix: &BlockMatrix<'_>,
        rows: Rows<'_>,
        x: &BlockActivations,
        panel: &mut WeightPanel,
        out: &mut ColumnsMut<'_>,
    ) {
        let mut planes = std::mem::take(&mut panel.planes);
        let (width, length) = (rows.len(), x.rows() * rows.len());
        if planes.len() < length {
            planes.reserve_exact(length - planes.len());
            planes.resize(length, 0.0);
        }
        let unbiased = BlockMatrix { bias: None, ..*matrix };
        let products = &mut ColumnsMut::new(&mut planes[..length], width);
        call!(self.multiply_int8(&unbiased, rows, x, panel, products));
        for (token, of_token) in planes[..length].chunks(2 * width).enumerate() {
            let (first, second) = of_token.split_at(width);
            let out = out.row_mut(token);
            for ((out, first), second) in out.iter_mut().zip(first).zip(second) {
                *out = first + second;
            }
            if let Some(bias) = matrix.bias {
                for (position, out) in out.iter_mut().enumerate() {
                    *out += bias[rows.at(position)];
                }
            }
        }
        panel.planes = planes;
    }

    /// `out[token][i]` = product of dequantised weight row `rows[i]` with row `token` of `x`, plus bias, in f32.
    pub fn multiply_f32<'r>(
        &self,
        matrix: &BlockMatrix<'_>,
        rows: impl Into<Rows<'r>>,
        x: &[f32],
        out: &mut ColumnsMut<'_>,
    ) {
        let rows = rows.into();
        check_product(rows, matrix.rows(), tokens(x, matrix.columns()), out);
        if !rows.is_empty() {
            call!(self.multiply_f32(multiply_f32::Source::Block(matrix), rows, x, out));
        }
    }

    /// `out[token][i]` = product of the weights of output feature `rows[i]` with row `token` of `x`, plus bias.
    pub fn multiply_dense<'r>(
        &self,
        matrix: &DenseMatrix<'_>,
        rows: impl Into<Rows<'r>>,
        x: &[f32],
        out: &mut ColumnsMut<'_>,
    ) {
        let rows = rows.into();
        check_product(rows, matrix.rows(), tokens(x, matrix.columns()), out);
        if rows.is_empty() {
            return;
        }
        match matrix.layout() {
            DenseLayout::Nk => call!(self.multiply_f32(multiply_f32::Source::Dense(matrix), rows, x, out)),
            DenseLayout::Kn => call!(self.multiply_kn(multiply_kn::Source::Dense(matrix), rows, x, out)),
        }
    }

    /// `out[token][i]` = product of the weights of output feature `rows[i]` with row `token` of `x`, plus bias.
    pub fn multiply_kn<'r>(
        &self,
        matrix: &BlockMatrixKn<'_>,
        rows: impl Into<Rows<'r>>,
        x: &[f32],
        out: &mut ColumnsMut<'_>,
    ) {
        let rows = rows.into();
        check_product(rows, matrix.rows(), tokens(x, matrix.columns()), out);
        if !rows.is_empty() {
            call!(self.multiply_kn(multiply_kn::Source::Block(matrix), rows, x, out));
        }
    }

    /// Row `row` of a quantised table, such as an embedding.
    pub fn dequantise_row(&self, matrix: &BlockMatrix<'_>, row: usize, out: &mut [f32]) {
        assert!(row < matrix.rows() && out.len() == matrix.columns(), "a row of the table");
        call!(self.block_row(matrix, row, 0, out));
    }

    /// The weights of output feature `row` of a dense matrix.
    pub fn dense_row(&self, matrix: &DenseMatrix<'_>, row: usize, out: &mut [f32]) {
        assert!(row < matrix.rows() && out.len() == matrix.columns(), "a row of the table");
        call!(self.dense_row(matrix, row, 0, out));
    }

    /// Converts to f32.
    pub fn convert(&self, floats: Floats<'_>, out: &mut [f32]) {
        assert_eq!(floats.len(), out.len(), "numbers to convert");
        call!(self.convert(floats, out));
    }

    /// Converts to little-endian f16, to nearest even.
    pub fn to_f16(&self, x: &[f32], out: &mut [u8]) {
        assert_eq!(2 * x.len(), out.len(), "numbers to convert");
        call!(self.to_f16(x, out));
    }

    /// x += y
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "lengths of vectors");
        call!(self.add(x, y));
    }

    /// x += factor * y, rounded once
    pub fn add_scaled(&self, x: &mut [f32], y: &[f32], factor: f32) {
        assert_eq!(x.len(), y.len(), "lengths of vectors");
        call!(self.add_scaled(x, y, factor));
    }

    /// x *= y
    pub fn mul(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "lengths of vectors");
        call!(self.mul(x, y));
    }

    /// x *= factor
    pub fn scale(&self, x: &mut [f32], factor: f32) {
        call!(self.scale(x, factor));
    }

    /// x = x * sigmoid(x)
    pub fn silu(&self, x: &mut [f32]) {
        call!(self.silu(x));
    }

    /// x = silu(x) * y
    pub fn silu_mul(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "lengths of vectors");
        call!(self.silu_mul(x, y));
    }

    /// GELU in its tanh approximation.
    pub fn gelu_tanh(&self, x: &mut [f32]) {
        call!(self.gelu_tanh(x));
    }

    /// GELU by the normal distribution function.
    pub fn gelu_erf(&self, x: &mut [f32]) {
        call!(self.gelu_erf(x));
    }

    /// x = x * sigmoid(alpha * x)
    pub fn quick_gelu(&self, x: &mut [f32], alpha: f32) {
        call!(self.quick_gelu(x, alpha));
    }

    /// x = 1 / (1 + exp(-x))
    pub fn sigmoid(&self, x: &mut [f32]) {
        call!(self.sigmoid(x));
    }

    /// x = tanh(x)
    pub fn tanh(&self, x: &mut [f32]) {
        call!(self.tanh(x));
    }

    /// x = max(x, 0)
    pub fn relu(&self, x: &mut [f32]) {
        call!(self.relu(x));
    }

    /// x = exp(x), within 2 units in the last place.
    pub fn exp(&self, x: &mut [f32]) {
        call!(self.exp(x));
    }

    /// x = cap * tanh(x / cap)
    pub fn softcap(&self, x: &mut [f32], cap: f32) {
        call!(self.softcap(x, cap));
    }

    /// out = x / sqrt(mean(x^2) + epsilon) * weight
    pub fn rms_norm(&self, x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
        assert!(x.len() == weight.len() && x.len() == out.len(), "lengths of vectors");
        call!(self.rms_norm(x, weight, epsilon, out));
    }

    /// out = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias
    pub fn layer_norm(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>, epsilon: f32, out: &mut [f32]) {
        assert!(x.len() == weight.len() && x.len() == out.len(), "lengths of vectors");
        assert!(bias.is_none_or(|bias| bias.len() == x.len()), "length of the bias");
        call!(self.layer_norm(x, weight, bias, epsilon, out));
    }

    /// Rotary embedding of the first R = 2 * cos.len() numbers in pairs (i, i + R / 2); the others stay.
    pub fn rope_half(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert!(cos.len() == sin.len() && 2 * cos.len() <= x.len(), "lengths of the rotation");
        call!(self.rope_half(x, cos, sin));
    }

    /// Rotary embedding of the first R = 2 * cos.len() numbers in pairs (2i, 2i + 1); the others stay.
    pub fn rope_interleaved(&self, x: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert!(cos.len() == sin.len() && 2 * cos.len() <= x.len(), "lengths of the rotation");
        call!(self.rope_interleaved(x, cos, sin));
    }

    /// x = exp(x) / sum(exp(x))
    pub fn softmax(&self, x: &mut [f32]) {
        call!(self.softmax(x));
    }

    /// x = x - ln(sum(exp(x)))
    pub fn log_softmax(&self, x: &mut [f32]) {
        call!(self.log_softmax(x));
    }

    /// ln(sum(exp(x))), negative infinity for no numbers.
    #[must_use]
    pub fn log_sum_exp(&self, x: &[f32]) -> f32 {
        call!(self.log_sum_exp(x))
    }

    /// The index of the first maximum; NaN never wins. 0 when there is no number but NaN.
    #[must_use]
    pub fn argmax(&self, x: &[f32]) -> usize {
        call!(self.argmax(x))
    }

    /// Writes the key of `position` into its block `[head_dim][64]`.
    pub fn store_key(&self, row: &[f32], block: KvBlockMut<'_>, position: usize) {
        assert!(block.fits(row.len()) && position < BLOCK_POSITIONS, "a block of keys");
        call!(self.store_key(row, block, position));
    }

    /// Writes the value of `position` into its block `[64][head_dim]`.
    pub fn store_value(&self, row: &[f32], block: KvBlockMut<'_>, position: usize) {
        assert!(block.fits(row.len()) && position < BLOCK_POSITIONS, "a block of values");
        call!(self.store_value(row, block, position));
    }

    /// Attends from `queries` `[state.queries()][head_dim]` to one block. Bit p of `visible[q]` says whether
    /// query q sees position p; other positions may hold anything.
    ///
    /// What a query gets does not depend on the queries beside it.
    pub fn attend_block(
        &self,
        queries: &[f32],
        keys: KvBlock<'_>,
        values: KvBlock<'_>,
        visible: &[u64],
        scale: AttentionScale,
        state: &mut AttentionState,
    ) {
        let head_dim = state.head_dim();
        assert_eq!(visible.len(), state.queries(), "masks");
        assert_eq!(queries.len(), state.queries() * head_dim, "queries");
        assert!(keys.fits(head_dim) && values.fits(head_dim), "a block of keys and values");
        assert!(keys.is_like(&values), "precision of keys and values");
        call!(self.attend_block(queries, keys, values, visible, scale, state));
    }

    /// The attention outputs `[state.queries()][head_dim]`; zeros for a query that saw nothing.
    ///
    /// `sinks` holds one more logit a query that takes part in the softmax and has no value (0 for a
    /// smooth softmax).
    pub fn finish_attention(&self, state: &AttentionState, sinks: Option<&[f32]>, out: &mut [f32]) {
        assert_eq!(out.len(), state.queries() * state.head_dim(), "attention outputs");
        assert!(sinks.is_none_or(|sinks| sinks.len() == state.queries()), "sinks");
        call!(self.finish_attention(state, sinks, out));
    }
}

fn tokens(x: &[f32], columns: usize) -> usize {
    assert!(x.len().is_multiple_of(columns), "activations of whole tokens");
    x.len() / columns
}

fn check_product(rows: Rows<'_>, all: usize, tokens: usize, out: &ColumnsMut<'_>) {
    assert!(rows.fits(all), "output features of the matrix");
    assert_eq!((out.tokens(), out.columns()), (tokens, rows.len()), "tokens and columns of the output");
}
