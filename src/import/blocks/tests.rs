use super::*;

fn half(value: f32) -> [u8; 2] {
    f16::from_f32(value).to_le_bytes()
}

/// Element i has q = i mod 16, by ggml's order: low nibbles first, then high nibbles.
fn ascending_nibbles() -> Vec<u8> {
    (0..16).map(|index| index | index << 4).collect()
}

fn block(head: &[f32], tail: &[u8]) -> Vec<u8> {
    head.iter().flat_map(|&value| half(value)).chain(tail.iter().copied()).collect()
}

fn blocks_of(tensor_type: TensorType, row: &[u8]) -> BlockRow {
    let mut blocks = BlockRow::default();
    tensor_type.read_blocks(row, &mut blocks).unwrap();
    blocks
}

fn weights_of(tensor_type: TensorType, row: &[u8]) -> Vec<f32> {
    let mut weights = Vec::new();
    tensor_type.dequantise(row, &mut weights).unwrap();
    weights
}

#[test]
fn q4_0_is_centred_on_eight() {
    let row = block(&[0.5], &ascending_nibbles());
    let weights = weights_of(TensorType::Q4_0, &row);
    assert_eq!(weights[..16], std::array::from_fn::<f32, 16, _>(|index| (index as f32 - 8.0) * 0.5));
    assert_eq!(weights[16..], weights[..16]);
    assert_eq!(TensorType::Q4_0.block_format().unwrap().zero_points, ZeroPoints::Symmetric);
}

#[test]
fn q4_1_adds_its_minimum() {
    let row = block(&[0.25, -3.0], &ascending_nibbles());
    let weights = weights_of(TensorType::Q4_1, &row);
    assert_eq!((weights[0], weights[15], weights[17]), (-3.0, 0.75, -2.75));
    let blocks = blocks_of(TensorType::Q4_1, &row);
    let mut zero_points = Vec::new();
    blocks.append_float_zero_points(&mut zero_points);
    assert_eq!((blocks.scales.as_slice(), zero_points.as_slice()), ([0.25].as_slice(), [12.0].as_slice()));
}

#[test]
fn q8_0_is_centred_on_128() {
    let signed: Vec<i8> = (0..32).map(|index| if index == 0 { -128 } else { index * 4 - 1 }).collect();
    let row = block(&[-2.0], &signed.iter().map(|&value| value as u8).collect::<Vec<_>>());
    let weights = weights_of(TensorType::Q8_0, &row);
    assert_eq!((weights[0], weights[1], weights[31]), (256.0, -6.0, -246.0));
    assert_eq!(blocks_of(TensorType::Q8_0, &row).quants[..3], [0, 131, 135]);
}

#[test]
fn floats_are_widened() {
    assert_eq!(weights_of(TensorType::F32, &1.25_f32.to_le_bytes()), [1.25]);
    assert_eq!(weights_of(TensorType::F16, &half(-0.375)), [-0.375]);
    assert_eq!(weights_of(TensorType::Bf16, &[0x80, 0x3f]), [1.0]);
}

#[test]
fn packing_puts_even_elements_into_low_nibbles() {
    // ggml: byte j holds elements j and j + 16. ONNX: byte j holds elements 2j and 2j + 1.
    let row = block(&[1.0], &ascending_nibbles());
    let mut packed = Vec::new();
    pack(&blocks_of(TensorType::Q4_0, &row).quants, 4, &mut packed);
    let half_block = [0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe];
    assert_eq!(packed, [half_block, half_block].concat());
    packed.clear();
    pack(&[1, 2, 3], 4, &mut packed);
    assert_eq!(packed, [0x21, 0x03]);
    packed.clear();
    pack(&[200, 3], 8, &mut packed);
    assert_eq!(packed, [200, 3]);
}

#[test]
fn a_block_without_scale_keeps_its_minimum() {
    let row = [block(&[0.0, -1.5], &ascending_nibbles()), block(&[0.0, 0.0], &[0; 16])].concat();
    let mut blocks = blocks_of(TensorType::Q4_1, &row);
    blocks.resolve_constant_blocks(32);
    let mut zero_points = Vec::new();
    blocks.append_float_zero_points(&mut zero_points);
    assert_eq!(
        (blocks.scales.as_slice(), zero_points.as_slice()),
        ([-1.5, 0.0].as_slice(), [0.0, 0.0].as_slice())
    );
    assert!(blocks.quants[..32].iter().all(|&quant| f32::from(quant) * -1.5 == -1.5));
}

#[test]
fn float_zero_points_restore_q4_1_within_float_rounding() {
    // A deterministic walk over scales and minimums, as extreme as 16-bit floats go.
    for step in 1_u16..2000 {
        let scale = f16::from_bits(step.wrapping_mul(31) % 0x7c00);
        let minimum = f16::from_bits((step.wrapping_mul(17_389) % 0x7c00) | 0x8000);
        let head = [scale.to_le_bytes(), minimum.to_le_bytes()].concat();
        let row = [head, ascending_nibbles()].concat();
        let expected = weights_of(TensorType::Q4_1, &row);
        let mut blocks = blocks_of(TensorType::Q4_1, &row);
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
    let infinite = block(&[f32::INFINITY], &ascending_nibbles());
    for result in [
        TensorType::Q4_0.read_blocks(&infinite, &mut BlockRow::default()),
        TensorType::Q4_0.dequantise(&infinite, &mut Vec::new()),
        TensorType::F32.dequantise(&f32::NAN.to_le_bytes(), &mut Vec::new()),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidModel);
    }
}

#[test]
fn other_types_are_named() {
    let error = TensorType::from_code(14).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("Q6_K"), "{error}");
    assert_eq!(TensorType::Q4_1.row_bytes(64), Some(40));
    assert_eq!(TensorType::Q4_1.row_bytes(33), None);
    assert_eq!(TensorType::F16.row_bytes(33), Some(66));
}
