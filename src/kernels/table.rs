//! Which kernels run on which CPU: one row an instruction set, chosen once at load.

use std::fmt;

use super::activations::{ActivationLayout, ActivationsMut, BlockActivations};
use super::attention::{AttentionScale, AttentionState, BLOCK_POSITIONS, KvBlock, KvBlockMut};
use super::columns::ColumnsMut;
use super::lanes::scalar::Scalar;
use super::matrix::{BlockMatrix, BlockMatrixKn, DenseLayout, DenseMatrix, Floats, Rows};
use super::multiply_panel::{FEWEST_TOKENS, WeightPanel};
use super::{attention, dequantise, multiply_f32, multiply_int8, multiply_kn, quantise, vector};
use crate::error::{Error, ErrorKind, Result};

/// The environment variable that forces a row, for tests and support.
pub const ROW_VARIABLE: &str = "EDGESLM_KERNELS";

/// Defines one kernel of a row: the generic kernel compiled for the row's instructions.
macro_rules! kernel {
    ([$($attribute:tt)*] $lanes:expr,
     $name:ident = $kernel:path, ($($argument:ident: $type:ty),*) -> $result:ty) => {
        $($attribute)*
        unsafe fn $name($($argument: $type),*) -> $result {
            $kernel($lanes, $($argument),*)
        }
    };
}

macro_rules! kernels {
    ($attributes:tt $lanes:expr;
     $($name:ident = $kernel:path, ($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(kernel! { $attributes $lanes, $name = $kernel, ($($argument: $type),*) -> $result })*
        pub(super) const KERNELS: Kernels = Kernels { $($name),* };
    };
}

/// Defines a row. A new kernel is a line here, a field of [`Kernels`] and a method of [`KernelTable`].
macro_rules! row {
    ($row:ident, $attributes:tt, $lanes:expr) => {
        row!($row, $attributes, $lanes, multiply_int8 = multiply_int8::multiply);
    };
    ($row:ident, $attributes:tt, $lanes:expr, multiply_int8 = $multiply_int8:path) => {
        mod $row {
            use super::*;
            kernels! { $attributes $lanes;
                quantise = quantise::quantise, (x: &[f32], out: &mut ActivationsMut<'_>) -> ();
                multiply_int8 = $multiply_int8, (matrix: &BlockMatrix<'_>, rows: Rows<'_>,
                    x: &BlockActivations, panel: &mut WeightPanel, out: &mut ColumnsMut<'_>) -> ();
                multiply_f32 = multiply_f32::multiply, (source: multiply_f32::Source<'_>, rows: Rows<'_>,
                    x: &[f32], out: &mut ColumnsMut<'_>) -> ();
                multiply_kn = multiply_kn::multiply, (source: multiply_kn::Source<'_>, rows: Rows<'_>,
                    x: &[f32], out: &mut ColumnsMut<'_>) -> ();
                block_row = dequantise::block_row, (matrix: &BlockMatrix<'_>, row: usize, start: usize,
                    out: &mut [f32]) -> ();
                dense_row = dequantise::dense_row, (matrix: &DenseMatrix<'_>, row: usize, start: usize,
                    out: &mut [f32]) -> ();
                convert = dequantise::convert, (floats: Floats<'_>, out: &mut [f32]) -> ();
                to_f16 = dequantise::to_f16, (x: &[f32], out: &mut [u8]) -> ();
                add = vector::add, (x: &mut [f32], y: &[f32]) -> ();
                add_scaled = vector::add_scaled, (x: &mut [f32], y: &[f32], factor: f32) -> ();
                mul = vector::mul, (x: &mut [f32], y: &[f32]) -> ();
                scale = vector::scale, (x: &mut [f32], factor: f32) -> ();
                silu = vector::silu, (x: &mut [f32]) -> ();
                silu_mul = vector::silu_mul, (x: &mut [f32], y: &[f32]) -> ();
                gelu_tanh = vector::gelu_tanh, (x: &mut [f32]) -> ();
                gelu_erf = vector::gelu_erf, (x: &mut [f32]) -> ();
                quick_gelu = vector::quick_gelu, (x: &mut [f32], alpha: f32) -> ();
                sigmoid = vector::sigmoid_of, (x: &mut [f32]) -> ();
                tanh = vector::tanh_of, (x: &mut [f32]) -> ();
                relu = vector::relu, (x: &mut [f32]) -> ();
                exp = vector::exp_of, (x: &mut [f32]) -> ();
                softcap = vector::softcap, (x: &mut [f32], cap: f32) -> ();
                rms_norm = vector::rms_norm, (x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) -> ();
                layer_norm = vector::layer_norm, (x: &[f32], weight: &[f32], bias: Option<&[f32]>,
                    epsilon: f32, out: &mut [f32]) -> ();
                rope_half = vector::rope_half, (x: &mut [f32], cos: &[f32], sin: &[f32]) -> ();
                rope_interleaved = vector::rope_interleaved, (x: &mut [f32], cos: &[f32], sin: &[f32]) -> ();
                softmax = vector::softmax, (x: &mut [f32]) -> ();
                log_softmax = vector::log_softmax, (x: &mut [f32]) -> ();
                log_sum_exp = vector::log_sum_exp, (x: &[f32]) -> f32;
                argmax = vector::argmax, (x: &[f32]) -> usize;
                store_key = attention::store_key, (row: &[f32], block: KvBlockMut<'_>,
                    position: usize) -> ();
                store_value = attention::store_value, (row: &[f32], block: KvBlockMut<'_>,
                    position: usize) -> ();
                attend_block = attention::attend_block, (queries: &[f32], keys: KvBlock<'_>,
                    values: KvBlock<'_>, visible: &[u64], scale: AttentionScale,
                    state: &mut AttentionState) -> ();
                finish_attention = attention::finish, (state: &AttentionState, sinks: Option<&[f32]>,
                    out: &mut [f32]) -> ();
            }
        }
    };
}

#[expect(clippy::type_complexity, reason = "the type of a kernel is its signature")]
/// The kernels of a row. Each may be called only on a CPU that has the row's instructions.
struct Kernels {
    quantise: unsafe fn(&[f32], &mut ActivationsMut<'_>),
    multiply_int8:
        unsafe fn(&BlockMatrix<'_>, Rows<'_>, &BlockActivations, &mut WeightPanel, &mut ColumnsMut<'_>),
    multiply_f32: unsafe fn(multiply_f32::Source<'_>, Rows<'_>, &[f32], &mut ColumnsMut<'_>),
    multiply_kn: unsafe fn(multiply_kn::Source<'_>, Rows<'_>, &[f32], &mut ColumnsMut<'_>),
    block_row: unsafe fn(&BlockMatrix<'_>, usize, usize, &mut [f32]),
    dense_row: unsafe fn(&DenseMatrix<'_>, usize, usize, &mut [f32]),
    convert: unsafe fn(Floats<'_>, &mut [f32]),
    to_f16: unsafe fn(&[f32], &mut [u8]),
    add: unsafe fn(&mut [f32], &[f32]),
    add_scaled: unsafe fn(&mut [f32], &[f32], f32),
    mul: unsafe fn(&mut [f32], &[f32]),
    scale: unsafe fn(&mut [f32], f32),
    silu: unsafe fn(&mut [f32]),
    silu_mul: unsafe fn(&mut [f32], &[f32]),
    gelu_tanh: unsafe fn(&mut [f32]),
    gelu_erf: unsafe fn(&mut [f32]),
    quick_gelu: unsafe fn(&mut [f32], f32),
    sigmoid: unsafe fn(&mut [f32]),
    tanh: unsafe fn(&mut [f32]),
    relu: unsafe fn(&mut [f32]),
    exp: unsafe fn(&mut [f32]),
    softcap: unsafe fn(&mut [f32], f32),
    rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    layer_norm: unsafe fn(&[f32], &[f32], Option<&[f32]>, f32, &mut [f32]),
    rope_half: unsafe fn(&mut [f32], &[f32], &[f32]),
    rope_interleaved: unsafe fn(&mut [f32], &[f32], &[f32]),
    softmax: unsafe fn(&mut [f32]),
    log_softmax: unsafe fn(&mut [f32]),
    log_sum_exp: unsafe fn(&[f32]) -> f32,
    argmax: unsafe fn(&[f32]) -> usize,
    store_key: unsafe fn(&[f32], KvBlockMut<'_>, usize),
    store_value: unsafe fn(&[f32], KvBlockMut<'_>, usize),
    attend_block: unsafe fn(&[f32], KvBlock<'_>, KvBlock<'_>, &[u64], AttentionScale, &mut AttentionState),
    finish_attention: unsafe fn(&AttentionState, Option<&[f32]>, &mut [f32]),
}

row!(scalar, [], Scalar);

/// Makes the proof that a row's instructions are there, inside a kernel of that row.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! proof {
    ($lanes:ty) => {
        // SAFETY: who calls a kernel of this row has made sure of its instructions.
        unsafe { <$lanes>::assume() }
    };
}

/// A function that names the first feature that the CPU lacks.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! missing {
    ($detected:ident: $($feature:tt)*) => {
        || {
            $(if !std::arch::$detected!($feature) {
                return Some($feature);
            })*
            None
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::*;
    use crate::lanes::{avx2::Avx2, avx512::Avx512};

    row!(
        avx512vnni,
        [#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]],
        proof!(Avx512)
    );
    row!(avx_vnni, [#[target_feature(enable = "avxvnni,avx2,fma,f16c")]], proof!(Avx2<true>));
    row!(avx2, [#[target_feature(enable = "avx2,fma,f16c")]], proof!(Avx2<false>));

    pub(super) const AVX512VNNI: KernelTable = KernelTable {
        name: "avx512vnni",
        missing: missing!(is_x86_feature_detected: "avx512f" "avx512bw" "avx512vl" "avx512vnni" "avx2" "fma" "f16c"),
        groups_tokens: true,
        kernels: avx512vnni::KERNELS,
    };
    pub(super) const AVX_VNNI: KernelTable = KernelTable {
        name: "avx-vnni",
        missing: missing!(is_x86_feature_detected: "avxvnni" "avx2" "fma" "f16c"),
        groups_tokens: true,
        kernels: avx_vnni::KERNELS,
    };
    pub(super) const AVX2: KernelTable = KernelTable {
        name: "avx2",
        missing: missing!(is_x86_feature_detected: "avx2" "fma" "f16c"),
        groups_tokens: true,
        kernels: avx2::KERNELS,
    };
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use super::*;
    use crate::lanes::neon::{DOTPROD, I8MM, Neon, PLAIN};
    use crate::multiply_i8mm;

    row!(
        neon_i8mm,
        [#[target_feature(enable = "neon,dotprod,i8mm")]],
        proof!(Neon<I8MM>),
        multiply_int8 = multiply_i8mm::multiply
    );
    row!(neon_dotprod, [#[target_feature(enable = "neon,dotprod")]], proof!(Neon<DOTPROD>));
    row!(neon, [#[target_feature(enable = "neon")]], proof!(Neon<PLAIN>));

    pub(super) const NEON_I8MM: KernelTable = KernelTable {
        name: "neon-i8mm",
        missing: missing!(is_aarch64_feature_detected: "neon" "dotprod" "i8mm"),
        groups_tokens: false,
        kernels: neon_i8mm::KERNELS,
    };
    pub(super) const NEON_DOTPROD: KernelTable = KernelTable {
        name: "neon-dotprod",
        missing: missing!(is_aarch64_feature_detected: "neon" "dotprod"),
        groups_tokens: true,
        kernels: neon_dotprod::KERNELS,
    };
    pub(super) const NEON: KernelTable = KernelTable {
        name: "neon",
        missing: missing!(is_aarch64_feature_detected: "neon"),
        groups_tokens: true,
        kernels: neon::KERNELS,
    };
}

/// Every row of this build, the best first.
static ROWS: &[KernelTable] = &[
    #[cfg(target_arch = "aarch64")]
    aarch64::NEON_I8MM,
    #[cfg(target_arch = "aarch64")]
    aarch64::NEON_DOTPROD,
    #[cfg(target_arch = "aarch64")]
    aarch64::NEON,
    #[cfg(target_arch = "x86_64")]
    x86_64::AVX512VNNI,
    #[cfg(target_arch = "x86_64")]
    x86_64::AVX_VNNI,
    #[cfg(target_arch = "x86_64")]
    x86_64::AVX2,
    KernelTable { name: "scalar", missing: || None, groups_tokens: true, kernels: scalar::KERNELS },
];

/// The kernels of one instruction set that this CPU has.
///
/// All rows give the same bits. The methods panic when lengths do not fit together, which is a defect of the
/// caller; numbers may be anything.
pub struct KernelTable {
    name: &'static str,
    /// What the CPU lacks, if anything.
    missing: fn() -> Option<&'static str>,
    /// Whether products of 4-bit weights with many tokens read [`ActivationLayout::Grouped`].
    groups_tokens: bool,
    kernels: Kernels,
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
        if rows.is_empty() {
            return;
        }
        if x.planes() == 1 {
            call!(self.multiply_int8(matrix, rows, x, panel, out));
            return;
        }
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
