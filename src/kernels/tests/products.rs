//! Products of every row of the table with the bits of the scalar reference.

mod case;

use proptest::prelude::*;

use self::case::{Case, FORMATS, Format, Matrix, ZEROS, Zero, transpose};
use super::{Random, assert_same_bits, rows_under_test};
use crate::ErrorKind;
use crate::reference::{self, chains, quantise};
use crate::{
    ActivationLayout, BlockActivations, BlockMatrix, BlockMatrixKn, BlockShape, ColumnsMut, DenseLayout,
    DenseMatrix, Floats, Rows, WeightPanel, ZeroPoints,
};

const CANARY: f32 = 1234.5;

/// Runs a product into the middle columns of a wider table and checks every number of the table.
fn check_product(
    what: &str,
    rows: Rows<'_>,
    tokens: usize,
    expected: impl Fn(usize, usize) -> f32,
    product: impl FnOnce(&mut ColumnsMut<'_>),
) {
    let width = rows.len() + 5;
    let mut table = vec![CANARY; tokens * width];
    let (_, right) = ColumnsMut::new(&mut table, width).split_at(2);
    let (mut middle, _) = right.split_at(rows.len());
    product(&mut middle);
    let mut wanted = vec![CANARY; tokens * width];
    for token in 0..tokens {
        for index in 0..rows.len() {
            wanted[token * width + 2 + index] = expected(token, rows.at(index));
        }
    }
    assert_same_bits(what, &table, &wanted);
}

/// Some selections of rows: all, a part, and an unordered list with repetitions.
fn selections(rows: usize, list: &[u32]) -> [Rows<'_>; 3] {
    [(0..rows).into(), (rows / 3..rows).into(), list.into()]
}

fn check(case: Case) {
    let mut matrix = Matrix::new(case);
    let columns = case.shape.columns;
    let rows = case.shape.rows;
    let mut random = Random(case.seed ^ 3);
    let list: Vec<_> = (0..1 + random.below(6)).map(|_| random.below(rows) as u32).collect();
    let x = matrix.x.clone();
    let token = |token: usize| &x[token * columns..][..columns];
    let selections = selections(rows, &list);

    let unpacked = matrix.unpacked.clone();
    matrix.nk();
    let view = matrix.block_matrix();
    for kernels in rows_under_test() {
        let what = format!("{} int8 {case:?}", kernels.name());
        let activations = matrix.activations(kernels, &view);
        // Used again, so that what an earlier product left behind would show.
        let mut panel = WeightPanel::new();
        for rows in selections {
            check_product(
                &what,
                rows,
                case.tokens,
                |index, row| unpacked.multiply_int8(row, token(index)),
                |out| kernels.multiply_int8(&view, rows, &activations, &mut panel, out),
            );
            check_product(
                &what,
                rows,
                case.tokens,
                |index, row| unpacked.multiply_f32(row, token(index)),
                |out| kernels.multiply_f32(&view, rows, &x, out),
            );
        }
        let row = random.below(rows);
        let mut weights = vec![CANARY; columns];
        kernels.dequantise_row(&view, row, &mut weights);
        let expected: Vec<_> = (0..columns).map(|k| unpacked.weight(row, k)).collect();
        assert_same_bits(&what, &weights, &expected);
    }

    matrix.kn();
    let view = matrix.block_matrix_kn();
    for kernels in rows_under_test() {
        for rows in selections {
            check_product(
                &format!("{} kn {case:?}", kernels.name()),
                rows,
                case.tokens,
                |index, row| unpacked.multiply_kn(row, token(index)),
                |out| kernels.multiply_kn(&view, rows, &x, out),
            );
        }
    }
}

#[test]
fn block_products_have_the_bits_of_the_reference() {
    let mut random = Random(7);
    let mut count = 0;
    for columns in [1, 16, 31, 33, 64, 65, 100, 127, 128, 129, 255, 256, 257, 288, 400, 576, 1090] {
        for block_size in [16, 32, 64, 128, 256, 384, 512] {
            for bits in [4, 8] {
                for signed in [false, true] {
                    count += 1;
                    check(Case {
                        shape: BlockShape {
                            rows: random.pick(&[1, 2, 3, 4, 5, 8, 9, 17]),
                            columns,
                            bits,
                            block_size,
                            signed,
                        },
                        scales: FORMATS[count % 3],
                        zero: ZEROS[count / 2 % 6],
                        tight: random.below(2) == 0,
                        bias: random.below(2) == 0,
                        tokens: random.pick(&[1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17]),
                        shift: random.below(4),
                        seed: random.next(),
                    });
                }
            }
        }
    }
}

#[test]
fn every_form_of_zero_points_and_scales_is_read() {
    let mut random = Random(8);
    for zero in ZEROS {
        for scales in FORMATS {
            for bits in [4, 8] {
                for signed in [false, true] {
                    for (columns, block_size) in [(96, 32), (560, 16), (640, 128), (2100, 32)] {
                        check(Case {
                            shape: BlockShape { rows: 5, columns, bits, block_size, signed },
                            scales,
                            zero,
                            tight: false,
                            bias: true,
                            tokens: random.pick(&[1, 3, 10]),
                            shift: 1,
                            seed: random.next(),
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn no_tokens_have_no_products() {
    for bits in [4, 8] {
        let shape = BlockShape { rows: 5, columns: 32, bits, block_size: 32, signed: false };
        let (codes, scales) = (vec![0; 5 * 4 * bits as usize], [0; 10]);
        let matrix = BlockMatrix::new(shape, &codes, Floats::F16(&scales), ZeroPoints::None, None).unwrap();
        for kernels in rows_under_test() {
            for planes in [1, 2] {
                let mut activations = BlockActivations::new();
                activations.reset_planes(0, planes, 32, kernels.layout(bits, 0));
                let out = &mut ColumnsMut::new(&mut [], 5);
                kernels.multiply_int8(&matrix, 0..5, &activations, &mut WeightPanel::new(), out);
            }
        }
    }
}

#[test]
fn many_tokens_cross_the_blocks_of_every_product() {
    for tokens in [31, 32, 33, 63, 64, 65, 66, 67, 130] {
        for (bits, columns) in [(4, 96), (8, 80), (4, 1030)] {
            check(Case {
                shape: BlockShape { rows: 70, columns, bits, block_size: 32, signed: false },
                scales: Format::F16,
                zero: Zero::None,
                tight: false,
                bias: false,
                tokens: if columns > 1000 { tokens.min(33) } else { tokens },
                shift: 1,
                seed: tokens as u64,
            });
        }
    }
}

/// The activations of 80 tokens are more than the second-level cache keeps beside a panel of rows this long.
#[test]
fn long_rows_of_many_tokens_have_the_bits_of_the_reference() {
    for columns in [6_656, 8_192 + 32] {
        check(Case {
            shape: BlockShape { rows: 3, columns, bits: 4, block_size: 32, signed: false },
            scales: Format::F32,
            zero: Zero::None,
            tight: false,
            bias: true,
            tokens: 80,
            shift: 1,
            seed: columns as u64,
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn random_products_have_the_bits_of_the_reference(
        rows in 1_usize..20, columns in 1_usize..800, bits in prop::sample::select(vec![4_u32, 8]),
        block in 0_usize..7, signed: bool, scales in 0_usize..3, zero in 0_usize..6, tight: bool, bias: bool,
        tokens in 1_usize..10, shift in 0_usize..9, seed: u64,
    ) {
        check(Case {
            shape: BlockShape { rows, columns, bits, block_size: [16, 32, 64, 128, 256, 512, 640][block], signed },
            scales: FORMATS[scales], zero: ZEROS[zero], tight, bias, tokens, shift, seed,
        });
    }
}

#[test]
fn dense_products_have_the_bits_of_the_reference() {
    let mut random = Random(9);
    for (rows, columns) in
        [(1, 1), (3, 15), (4, 16), (5, 17), (16, 64), (63, 65), (64, 130), (65, 511), (9, 513), (130, 1040)]
    {
        for format in FORMATS {
            for tokens in [1, 2, 4, 5, 33] {
                let weights: Vec<_> =
                    random.vector(rows * columns).iter().map(|&weight| format.round(weight)).collect();
                let x = random.vector(tokens * columns);
                let bias = (tokens % 2 == 0).then(|| random.vector(rows));
                let bias_of = |row: usize, sum: f32| bias.as_ref().map_or(sum, |bias| sum + bias[row]);
                let list: Vec<_> = (0..5).map(|_| random.below(rows) as u32).collect();
                let shift = random.below(4);
                for layout in [DenseLayout::Nk, DenseLayout::Kn] {
                    let mut bytes = vec![0xa5; shift];
                    bytes.extend(format.bytes(&match layout {
                        DenseLayout::Nk => weights.clone(),
                        DenseLayout::Kn => transpose(&weights, columns),
                    }));
                    let values = format.floats(&bytes[shift..]);
                    let matrix = DenseMatrix::new(layout, rows, columns, values, bias.as_deref()).unwrap();
                    let expected = |token: usize, row: usize| {
                        let x = &x[token * columns..][..columns];
                        let weight = |k: usize| weights[row * columns + k];
                        bias_of(
                            row,
                            match layout {
                                DenseLayout::Nk => chains(x, weight),
                                DenseLayout::Kn => {
                                    (0..columns).fold(0.0, |sum: f32, k| x[k].mul_add(weight(k), sum))
                                }
                            },
                        )
                    };
                    for kernels in rows_under_test() {
                        let what = format!("{} {layout:?} {rows}x{columns}", kernels.name());
                        for rows in selections(rows, &list) {
                            check_product(&what, rows, tokens, expected, |out| {
                                kernels.multiply_dense(&matrix, rows, &x, out);
                            });
                        }
                        let mut row = vec![CANARY; columns];
                        kernels.dense_row(&matrix, rows - 1, &mut row);
                        assert_same_bits(&what, &row, &weights[(rows - 1) * columns..]);
                    }
                }
            }
        }
    }
}

/// A case of plain 4-bit weights.
fn plain(rows: usize, columns: usize, tokens: usize, seed: u64) -> Case {
    Case {
        shape: BlockShape { rows, columns, bits: 4, block_size: 32, signed: false },
        scales: Format::F32,
        zero: Zero::Packed,
        tight: false,
        bias: false,
        tokens,
        shift: 0,
        seed,
    }
}

#[test]
fn the_reference_agrees_with_f64() {
    for seed in 0..40 {
        let mut case = plain(6, 33 + 50 * seed as usize, 1, seed);
        case.shape.bits = [4, 8][seed as usize % 2];
        let matrix = Matrix::new(case);
        let (_, scales) = quantise(&matrix.x);
        for row in 0..6 {
            let (mut exact, mut magnitude, mut quantisation) = (0.0, 0.0, 0.0);
            for (k, &value) in matrix.x.iter().enumerate() {
                let weight = f64::from(matrix.unpacked.weight(row, k));
                exact += weight * f64::from(value);
                magnitude += (weight * f64::from(value)).abs();
                quantisation += weight.abs() * f64::from(scales[k / 16]) * 0.5;
            }
            let rounding = 1e-6 * magnitude + 1e-6;
            let strict = f64::from(matrix.unpacked.multiply_f32(row, &matrix.x));
            assert!((strict - exact).abs() <= rounding, "{strict} {exact}");
            let sequential = f64::from(matrix.unpacked.multiply_kn(row, &matrix.x));
            assert!((sequential - exact).abs() <= 10.0 * rounding, "{sequential} {exact}");
            let int8 = f64::from(matrix.unpacked.multiply_int8(row, &matrix.x));
            assert!((int8 - exact).abs() <= 1.001 * quantisation + 20.0 * rounding, "{int8} {exact}");
        }
    }
}

#[test]
fn small_products_are_as_computed_by_hand() {
    // Codes 0 to 15 twice, less 8 and times 0.5; activations are 127 at k = 3 and -2 at k = 20, so t = 1 and 2 / 127.
    let codes: Vec<u8> = (0..16).map(|index| (2 * index % 16) | (2 * index % 16 + 1) << 4).collect();
    let mut x = vec![0.0; 32];
    (x[3], x[20]) = (127.0, -2.0);
    let shape = BlockShape { rows: 1, columns: 32, bits: 4, block_size: 32, signed: false };
    let scale = 0.5_f32.to_le_bytes();
    // 0.5 * (127 * (3 - 8) - 2 * (4 - 8)) and, with zero point 1, 0.5 * (127 * (3 - 1) - 2 * (4 - 1)).
    for (zero_points, expected) in [(ZeroPoints::None, -313.5), (ZeroPoints::Packed(&[1]), 124.0)] {
        let matrix = BlockMatrix::new(shape, &codes, Floats::F32(&scale), zero_points, None).unwrap();
        for kernels in rows_under_test() {
            let mut activations = BlockActivations::new();
            activations.reset(1, 32, ActivationLayout::Split);
            kernels.quantise(&x, &mut activations.token_mut(0));
            let mut out = [0.0; 2];
            let (mut panel, out_of_one) = (WeightPanel::new(), &mut out[..1]);
            kernels.multiply_int8(
                &matrix,
                0..1,
                &activations,
                &mut panel,
                &mut ColumnsMut::new(out_of_one, 1),
            );
            kernels.multiply_f32(&matrix, 0..1, &x, &mut ColumnsMut::new(&mut out[1..], 1));
            assert_eq!(out, [expected, expected], "{}", kernels.name());
        }
    }
}

#[test]
fn two_planes_are_two_products_with_one_bias_and_come_near_exact_activations() {
    for (bits, tokens, zero) in [
        (4, 1, Zero::None),
        (4, 6, Zero::Packed),
        (4, 7, Zero::None),
        (4, 21, Zero::Packed),
        (8, 3, Zero::Packed),
    ] {
        let mut case = plain(9, 1090, tokens, 5);
        (case.shape.bits, case.zero, case.bias) = (bits, zero, true);
        let mut matrix = Matrix::new(case);
        let mut unbiased = matrix.unpacked.clone();
        let bias = unbiased.bias.take().unwrap();
        matrix.nk();
        let view = matrix.block_matrix();
        let list = [8, 0, 3, 3];
        let token = |token: usize| &matrix.x[token * 1090..][..1090];
        for kernels in rows_under_test() {
            let what = format!("{} {case:?}", kernels.name());
            let activations = matrix.planes(kernels, &view);
            assert_eq!((activations.tokens(), activations.planes()), (tokens, 2));
            for rows in selections(9, &list) {
                let expected = |index: usize, row: usize| {
                    let (x, left) = (token(index), reference::remainder(token(index)));
                    unbiased.multiply_int8(row, x) + unbiased.multiply_int8(row, &left) + bias[row]
                };
                check_product(&what, rows, tokens, expected, |out| {
                    kernels.multiply_int8(&view, rows, &activations, &mut WeightPanel::new(), out);
                });
            }
            let mut products = [vec![0.0; 9 * tokens], vec![0.0; 9 * tokens], vec![0.0; 9 * tokens]];
            let [exact, two, one] = &mut products;
            let panel = &mut WeightPanel::new();
            kernels.multiply_f32(&view, 0..9, &matrix.x, &mut ColumnsMut::new(exact, 9));
            kernels.multiply_int8(&view, 0..9, &activations, panel, &mut ColumnsMut::new(two, 9));
            let activations = matrix.activations(kernels, &view);
            kernels.multiply_int8(&view, 0..9, &activations, panel, &mut ColumnsMut::new(one, 9));
            let error = |found: &[f32]| -> f32 {
                found.iter().zip(&*exact).map(|(found, exact)| (found - exact).powi(2)).sum::<f32>().sqrt()
            };
            assert!(error(two) < error(one) / 50.0, "{what}: {} and {}", error(two), error(one));
        }
    }
}

#[test]
fn activations_can_be_quantised_in_ranges_of_columns() {
    for (bits, tokens) in [(4, 3), (4, 19), (8, 3)] {
        let mut case = plain(7, 1090, tokens, 5);
        case.shape.bits = bits;
        let mut matrix = Matrix::new(case);
        matrix.nk();
        let view = matrix.block_matrix();
        for kernels in rows_under_test() {
            let whole = matrix.activations(kernels, &view);
            let mut parts = BlockActivations::new();
            parts.reset(tokens, 1090, kernels.layout(bits, tokens));
            for (range, mut part) in parts.column_chunks(256) {
                for token in 0..tokens {
                    let x = &matrix.x[token * 1090..][range.clone()];
                    kernels.quantise(x, part.row_mut(token));
                }
            }
            let mut products = [vec![0.0; 7 * tokens], vec![0.0; 7 * tokens]];
            for (activations, out) in [whole, parts].iter().zip(&mut products) {
                let mut out = ColumnsMut::new(out, 7);
                kernels.multiply_int8(&view, 0..7, activations, &mut WeightPanel::new(), &mut out);
            }
            assert_same_bits(kernels.name(), &products[0], &products[1]);
        }
    }
}

#[test]
fn numbers_that_are_not_finite_spoil_their_token_only() {
    for (bits, tokens) in [(4, 2), (8, 2), (4, 9)] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut case = plain(5, 200, tokens, 5);
            case.shape.bits = bits;
            let mut matrix = Matrix::new(case);
            matrix.nk();
            let good = matrix.x.clone();
            matrix.x[77] = bad;
            let view = matrix.block_matrix();
            for kernels in rows_under_test() {
                let activations = matrix.activations(kernels, &view);
                let mut out = vec![0.0; 5 * tokens];
                let mut columns = ColumnsMut::new(&mut out, 5);
                kernels.multiply_int8(&view, 0..5, &activations, &mut WeightPanel::new(), &mut columns);
                assert!(out[..5].iter().all(|value| value.is_nan()), "{} {out:?}", kernels.name());
                let expected: Vec<_> = good[200..]
                    .chunks(200)
                    .flat_map(|token| (0..5).map(|row| matrix.unpacked.multiply_int8(row, token)))
                    .collect();
                assert_same_bits(kernels.name(), &out[5..], &expected);
            }
        }
    }
}

#[test]
fn lengths_that_do_not_fit_the_shape_are_refused() {
    let shape = BlockShape { rows: 3, columns: 96, bits: 4, block_size: 32, signed: false };
    let codes = [0; 144];
    let scales = [0; 36];
    let build = |codes: &[u8], scales: &[u8], zero_points: ZeroPoints<'_>, bias: Option<&[f32]>| {
        BlockMatrix::new(shape, codes, Floats::F32(scales), zero_points, bias)
            .map(|_| ())
            .map_err(|e| e.kind())
    };
    assert_eq!(build(&codes, &scales, ZeroPoints::None, None), Ok(()));
    assert_eq!(build(&codes, &scales, ZeroPoints::Packed(&[0; 6]), None), Ok(()), "rows padded");
    assert_eq!(build(&codes, &scales, ZeroPoints::Packed(&[0; 5]), None), Ok(()), "rows not padded");
    let invalid = Err(ErrorKind::InvalidMatrix);
    assert_eq!(build(&codes[1..], &scales, ZeroPoints::None, None), invalid);
    assert_eq!(build(&codes, &scales[1..], ZeroPoints::None, None), invalid);
    assert_eq!(build(&codes, &scales, ZeroPoints::Packed(&[0; 7]), None), invalid);
    assert_eq!(build(&codes, &scales, ZeroPoints::Floats(Floats::F16(&[0; 16])), None), invalid);
    assert_eq!(build(&codes, &scales, ZeroPoints::None, Some(&[0.0; 2])), invalid);
    for (rows, columns, bits, block_size, kind) in [
        (3, 96, 3, 32, ErrorKind::Unsupported),
        (3, 96, 4, 8, ErrorKind::Unsupported),
        (3, 96, 4, 48, ErrorKind::Unsupported),
        (3, 96, 4, 0, ErrorKind::Unsupported),
        (0, 96, 4, 32, ErrorKind::InvalidMatrix),
        (3, 0, 4, 32, ErrorKind::InvalidMatrix),
        (usize::MAX, usize::MAX, 4, 32, ErrorKind::InvalidMatrix),
        (3, usize::MAX, 8, 1 << 63, ErrorKind::InvalidMatrix),
    ] {
        let shape = BlockShape { rows, columns, bits, block_size, signed: false };
        let error = BlockMatrix::new(shape, &codes, Floats::F32(&scales), ZeroPoints::None, None);
        assert_eq!(error.unwrap_err().kind(), kind, "{shape:?}");
        let error = BlockMatrixKn::new(shape, &codes, Floats::F32(&scales), ZeroPoints::None, None);
        assert_eq!(error.unwrap_err().kind(), kind, "{shape:?}");
    }
    assert!(DenseMatrix::new(DenseLayout::Nk, 2, usize::MAX, Floats::F32(&[]), None).is_err());
}
