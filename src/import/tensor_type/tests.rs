use safetensors::SafeTensors;

use super::*;

/// Rows of every type with the weights that the gguf package finds in them.
fn expected() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/import/tensor_types.safetensors")).unwrap()
}

/// The rows and weights of a type, where the file has them.
fn rows<'a>(file: &'a SafeTensors<'_>, name: &str) -> Option<Vec<(&'a [u8], Vec<f32>)>> {
    let bytes = file.tensor(&format!("{name}.bytes")).ok()?;
    let weights = file.tensor(&format!("{name}.weights")).unwrap();
    let &[count, columns] = weights.shape() else { panic!("{name}") };
    let floats: Vec<f32> =
        weights.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    assert_eq!(bytes.shape()[0], count);
    Some(bytes.data().chunks(bytes.shape()[1]).zip(floats.chunks(columns).map(<[f32]>::to_vec)).collect())
}

fn quantised_types() -> impl Iterator<Item = TensorType> {
    TYPES.into_iter().map(|(_, tensor_type)| tensor_type).filter(|kind| kind.block_format().is_some())
}

fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|weight| weight.to_bits()).collect()
}

#[test]
fn every_type_dequantises_to_the_bits_of_another_implementation() {
    let file = expected();
    let file = SafeTensors::deserialize(&file).unwrap();
    let mut weights = Vec::new();
    for (_, tensor_type) in TYPES {
        let name = tensor_type.name();
        let any = rows(&file, &format!("{name}.any")).unwrap_or_default();
        assert_eq!(any.is_empty(), tensor_type.block_format().is_none(), "{name}");
        for (row, expected) in rows(&file, name).into_iter().flatten().chain(any) {
            assert_eq!(tensor_type.row_bytes(expected.len()), Some(row.len()), "{name}");
            tensor_type.dequantise(row, &mut weights).unwrap();
            assert_eq!(bits(&weights), bits(&expected), "{name}");
        }
    }
    assert_eq!(quantised_types().count(), 13);
}

#[test]
fn blocks_hold_the_weights_of_the_row() {
    let file = expected();
    let file = SafeTensors::deserialize(&file).unwrap();
    for tensor_type in quantised_types() {
        let name = tensor_type.name();
        for (row, expected) in
            [name.to_owned(), format!("{name}.any")].iter().flat_map(|key| rows(&file, key).unwrap())
        {
            let mut blocks = BlockRow::default();
            let format = tensor_type.read_blocks(row, &mut blocks).unwrap();
            assert_eq!(blocks.quants.len(), expected.len(), "{name}");
            assert!(blocks.quants.iter().all(|quant| u16::from(*quant) < 1 << format.bits), "{name}");
            let mut zero_points = vec![format.middle(); blocks.scales.len()];
            if format.zero_points == ZeroPoints::Float {
                blocks.resolve_constant_blocks(format.block_size);
                zero_points.clear();
                blocks.append_float_zero_points(&mut zero_points);
            }
            let each = blocks.quants.chunks(format.block_size).zip(expected.chunks(format.block_size));
            for (index, (quants, expected)) in each.enumerate() {
                let largest =
                    expected.iter().fold(0.0_f64, |largest, weight| largest.max(f64::from(weight.abs())));
                // As `MatMulNBits` is defined, in 64 bits: what is left is the rounding of the zero point, and that of
                // the weights that are compared with.
                let restored = quants.iter().map(|&quant| {
                    (f64::from(quant) - f64::from(zero_points[index])) * f64::from(blocks.scales[index])
                });
                for (restored, &expected) in restored.zip(expected) {
                    let error = (restored - f64::from(expected)).abs();
                    assert!(error <= largest * 3.0 / f64::from(1 << 24), "{name}: {restored} for {expected}");
                    if format.zero_points == ZeroPoints::Symmetric {
                        assert_eq!((restored as f32).to_bits(), expected.to_bits(), "{name}");
                    }
                }
            }
        }
    }
}

fn half_bytes(value: f32) -> [u8; 2] {
    f16::from_f32(value).to_le_bytes()
}

fn block(head: &[f32], tail: &[u8]) -> Vec<u8> {
    head.iter().flat_map(|&value| half_bytes(value)).chain(tail.iter().copied()).collect()
}

fn weights_of(tensor_type: TensorType, row: &[u8]) -> Vec<f32> {
    let mut weights = Vec::new();
    tensor_type.dequantise(row, &mut weights).unwrap();
    weights
}

#[test]
fn blocks_of_32_by_hand() {
    // Element i has q = i mod 16: low halves first, then high halves.
    let ascending: Vec<u8> = (0..16).map(|index| index | index << 4).collect();
    let weights = weights_of(TensorType::Q4_0, &block(&[0.5], &ascending));
    assert_eq!(weights[..16], std::array::from_fn::<f32, 16, _>(|index| (index as f32 - 8.0) * 0.5));
    assert_eq!(weights[16..], weights[..16]);
    let weights = weights_of(TensorType::Q4_1, &block(&[0.25, -3.0], &ascending));
    assert_eq!((weights[0], weights[15], weights[17]), (-3.0, 0.75, -2.75));
    // The fifth bits of elements 1 and 31.
    let weights = weights_of(TensorType::Q5_0, &block(&[2.0], &[&[2, 0, 0, 128], &ascending[..]].concat()));
    assert_eq!((weights[0], weights[1], weights[30], weights[31]), (-32.0, 2.0, -4.0, 30.0));
    let signed: Vec<u8> =
        (0..32_i8).map(|index| (if index == 0 { -128 } else { index * 4 - 1 }).cast_unsigned()).collect();
    let weights = weights_of(TensorType::Q8_0, &block(&[-2.0], &signed));
    assert_eq!((weights[0], weights[1], weights[31]), (256.0, -6.0, -246.0));
    // 2^(128 − 127) times 0, 0.5, 1, 1.5 …
    let weights = weights_of(TensorType::Mxfp4, &[&[128], &ascending[..]].concat());
    assert_eq!(weights[..8], [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]);
    assert_eq!(weights[9], -1.0);
}

#[test]
fn floats_are_widened() {
    assert_eq!(weights_of(TensorType::F32, &1.25_f32.to_le_bytes()), [1.25]);
    assert_eq!(weights_of(TensorType::F16, &half_bytes(-0.375)), [-0.375]);
    assert_eq!(weights_of(TensorType::Bf16, &[0x80, 0x3f]), [1.0]);
}

#[test]
fn float_zero_points_restore_extreme_blocks_within_float_rounding() {
    // A deterministic walk over scales and minimums, as extreme as 16-bit floats go.
    for step in 1_u16..2000 {
        let scale = f16::from_bits(step.wrapping_mul(31) % 0x7c00);
        let minimum = f16::from_bits((step.wrapping_mul(17_389) % 0x7c00) | 0x8000);
        let codes: Vec<u8> = (0..16).map(|index| index | index << 4).collect();
        let row = block(&[scale.to_f32(), minimum.to_f32()], &codes);
        let expected = weights_of(TensorType::Q4_1, &row);
        let mut blocks = BlockRow::default();
        TensorType::Q4_1.read_blocks(&row, &mut blocks).unwrap();
        blocks.resolve_constant_blocks(32);
        let mut zero_points = Vec::new();
        blocks.append_float_zero_points(&mut zero_points);
        let bound = minimum.to_f32().abs().max(scale.to_f32().abs() * 15.0) * 3e-7;
        for (&quant, expected) in blocks.quants.iter().zip(expected) {
            let restored = (f32::from(quant) - zero_points[0]) * blocks.scales[0];
            assert!((restored - expected).abs() <= bound, "{scale} {minimum}: {restored} for {expected}");
        }
    }
}

#[test]
fn what_is_not_finite_is_refused() {
    let infinite = block(&[f32::INFINITY], &[0; 16]);
    for result in [
        TensorType::Q4_0.read_blocks(&infinite, &mut BlockRow::default()).map(|_| ()),
        TensorType::Q4_0.dequantise(&infinite, &mut Vec::new()),
        TensorType::F32.dequantise(&f32::NAN.to_le_bytes(), &mut Vec::new()),
        // 2^127 times 12.
        TensorType::Mxfp4.dequantise(&[&[255][..], &[0x77; 16]].concat(), &mut Vec::new()),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidModel);
    }
}

#[test]
fn other_types_are_named() {
    for (code, name) in [(16, "IQ2_XXS"), (35, "TQ2_0"), (9, "unknown"), (u32::MAX, "unknown")] {
        let error = TensorType::from_code(code).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(name) && error.hint().is_some_and(|hint| hint.contains("Q6_K")));
    }
    assert_eq!(TensorType::Q4_1.row_bytes(64), Some(40));
    assert_eq!(TensorType::Q4_1.row_bytes(33), None);
    assert_eq!(TensorType::Q6K.row_bytes(128), None);
    assert_eq!(TensorType::F16.row_bytes(33), Some(66));
}
