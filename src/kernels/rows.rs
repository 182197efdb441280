//! One row of kernels an instruction set: the generic kernels compiled for its instructions.

use super::activations::{ActivationsMut, BlockActivations};
use super::attention::{AttentionScale, AttentionState, KvBlock, KvBlockMut};
use super::columns::ColumnsMut;
use super::lanes::scalar::Scalar;
use super::matrix::{BlockMatrix, DenseMatrix, Floats, Rows};
use super::multiply_panel::WeightPanel;
use super::table::KernelTable;
use super::{attention, dequantise, multiply_f32, multiply_int8, multiply_kn, quantise, vector};

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
pub(super) struct Kernels {
    pub(super) quantise: unsafe fn(&[f32], &mut ActivationsMut<'_>),
    pub(super) multiply_int8:
        unsafe fn(&BlockMatrix<'_>, Rows<'_>, &BlockActivations, &mut WeightPanel, &mut ColumnsMut<'_>),
    pub(super) multiply_f32: unsafe fn(multiply_f32::Source<'_>, Rows<'_>, &[f32], &mut ColumnsMut<'_>),
    pub(super) multiply_kn: unsafe fn(multiply_kn::Source<'_>, Rows<'_>, &[f32], &mut ColumnsMut<'_>),
    pub(super) block_row: unsafe fn(&BlockMatrix<'_>, usize, usize, &mut [f32]),
    pub(super) dense_row: unsafe fn(&DenseMatrix<'_>, usize, usize, &mut [f32]),
    pub(super) convert: unsafe fn(Floats<'_>, &mut [f32]),
    pub(super) to_f16: unsafe fn(&[f32], &mut [u8]),
    pub(super) add: unsafe fn(&mut [f32], &[f32]),
    pub(super) add_scaled: unsafe fn(&mut [f32], &[f32], f32),
    pub(super) mul: unsafe fn(&mut [f32], &[f32]),
    pub(super) scale: unsafe fn(&mut [f32], f32),
    pub(super) silu: unsafe fn(&mut [f32]),
    pub(super) silu_mul: unsafe fn(&mut [f32], &[f32]),
    pub(super) gelu_tanh: unsafe fn(&mut [f32]),
    pub(super) gelu_erf: unsafe fn(&mut [f32]),
    pub(super) quick_gelu: unsafe fn(&mut [f32], f32),
    pub(super) sigmoid: unsafe fn(&mut [f32]),
    pub(super) tanh: unsafe fn(&mut [f32]),
    pub(super) relu: unsafe fn(&mut [f32]),
    pub(super) exp: unsafe fn(&mut [f32]),
    pub(super) softcap: unsafe fn(&mut [f32], f32),
    pub(super) rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    pub(super) layer_norm: unsafe fn(&[f32], &[f32], Option<&[f32]>, f32, &mut [f32]),
    pub(super) rope_half: unsafe fn(&mut [f32], &[f32], &[f32]),
    pub(super) rope_interleaved: unsafe fn(&mut [f32], &[f32], &[f32]),
    pub(super) softmax: unsafe fn(&mut [f32]),
    pub(super) log_softmax: unsafe fn(&mut [f32]),
    pub(super) log_sum_exp: unsafe fn(&[f32]) -> f32,
    pub(super) argmax: unsafe fn(&[f32]) -> usize,
    pub(super) store_key: unsafe fn(&[f32], KvBlockMut<'_>, usize),
    pub(super) store_value: unsafe fn(&[f32], KvBlockMut<'_>, usize),
    pub(super) attend_block:
        unsafe fn(&[f32], KvBlock<'_>, KvBlock<'_>, &[u64], AttentionScale, &mut AttentionState),
    pub(super) finish_attention: unsafe fn(&AttentionState, Option<&[f32]>, &mut [f32]),
}

row!(scalar, [], Scalar::<false>);
#[cfg(test)]
row!(scalar_tiles, [], Scalar::<true>);

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
    #[cfg(target_os = "linux")]
    use crate::lanes::amx;
    use crate::lanes::{avx2::Avx2, avx512::Avx512};

    row!(
        avx512vnni,
        [#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]],
        proof!(Avx512<false>)
    );
    #[cfg(target_os = "linux")]
    kernel! {
        [#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")]]
        proof!(Avx512<true>),
        multiply_with_tiles = multiply_int8::multiply, (matrix: &BlockMatrix<'_>, rows: Rows<'_>, x: &BlockActivations,
            panel: &mut WeightPanel, out: &mut ColumnsMut<'_>) -> ()
    }
    row!(avx_vnni, [#[target_feature(enable = "avxvnni,avx2,fma,f16c")]], proof!(Avx2<true>));
    row!(avx2, [#[target_feature(enable = "avx2,fma,f16c")]], proof!(Avx2<false>));

    pub(super) const AVX512VNNI: KernelTable = KernelTable {
        name: "avx512vnni",
        missing: missing!(is_x86_feature_detected: "avx512f" "avx512bw" "avx512vl" "avx512vnni" "avx2" "fma" "f16c"),
        groups_tokens: true,
        kernels: avx512vnni::KERNELS,
    };
    /// AVX-512, and the matrix unit for products of many tokens.
    #[cfg(target_os = "linux")]
    pub(super) const AMX_INT8: KernelTable = KernelTable {
        name: "amx-int8",
        missing: || (AVX512VNNI.missing)().or_else(amx::missing),
        kernels: Kernels { multiply_int8: multiply_with_tiles, ..avx512vnni::KERNELS },
        ..AVX512VNNI
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
pub(super) static ROWS: &[KernelTable] = &[
    #[cfg(target_arch = "aarch64")]
    aarch64::NEON_I8MM,
    #[cfg(target_arch = "aarch64")]
    aarch64::NEON_DOTPROD,
    #[cfg(target_arch = "aarch64")]
    aarch64::NEON,
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    x86_64::AMX_INT8,
    #[cfg(target_arch = "x86_64")]
    x86_64::AVX512VNNI,
    #[cfg(target_arch = "x86_64")]
    x86_64::AVX_VNNI,
    #[cfg(target_arch = "x86_64")]
    x86_64::AVX2,
    #[cfg(test)]
    KernelTable {
        name: "scalar-tiles",
        missing: || None,
        groups_tokens: true,
        kernels: Kernels { multiply_int8: scalar_tiles::KERNELS.multiply_int8, ..scalar::KERNELS },
    },
    KernelTable { name: "scalar", missing: || None, groups_tokens: true, kernels: scalar::KERNELS },
];
