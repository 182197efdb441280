use super::test_file::{File, text_value};
use super::*;

fn sample() -> File {
    let mut file = File::new(3, 2, 4);
    let strings =
        [&8_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &text_value("a"), &text_value("é")].concat();
    file.key("name", 8, &text_value("model"))
        .key("count", 4, &7_u32.to_le_bytes())
        .key("signed", 5, &(-7_i32).to_le_bytes())
        .key("list", 9, &strings)
        .tensor("v", &[2], 0, 0)
        .tensor("m", &[32, 3], 2, 32)
        .data(&[1.0_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat());
    file.bytes.resize(file.bytes.len() + 24, 0);
    file.put(&(0..54).collect::<Vec<u8>>());
    file
}

#[test]
fn metadata_and_tensors_are_views_of_the_file() {
    let file = sample();
    let gguf = Gguf::parse(&file.bytes).unwrap();
    assert_eq!(gguf.string("name"), Some("model"));
    assert_eq!(gguf.unsigned("count"), Some(7));
    assert_eq!((gguf.unsigned("signed"), gguf.value("signed")), (None, Some(Value::Signed(-7))));
    assert_eq!((gguf.string("count"), gguf.value("absent")), (None, None));
    let list = gguf.array("list").unwrap();
    assert_eq!((list.len(), list.strings().unwrap().collect::<Vec<_>>()), (2, vec!["a", "é"]));

    let vector = gguf.tensor("v").unwrap().unwrap();
    assert_eq!((vector.tensor_type, vector.rows, vector.columns), (TensorType::F32, 1, 2));
    let matrix = gguf.tensor("m").unwrap().unwrap();
    assert_eq!((matrix.tensor_type, matrix.rows, matrix.columns), (TensorType::Q4_0, 3, 32));
    assert_eq!(matrix.row(2).unwrap(), (36..54).collect::<Vec<u8>>());
    assert_eq!(matrix.row(3).unwrap_err().kind(), ErrorKind::Internal);
    assert!(gguf.tensor("absent").unwrap().is_none());
}

#[test]
fn a_truncated_file_is_an_error_wherever_it_ends() {
    let file = sample();
    for length in 0..file.bytes.len() {
        let result = Gguf::parse(&file.bytes[..length]).and_then(|gguf| gguf.tensor("m").map(|_| ()));
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidModel, "{length} bytes");
    }
}

#[test]
fn no_flipped_byte_causes_a_panic() {
    let file = sample();
    for position in 0..file.bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = file.bytes.clone();
            bytes[position] ^= flip;
            if let Ok(gguf) = Gguf::parse(&bytes) {
                let names: Vec<&str> = gguf.tensor_names().collect();
                for name in names {
                    let _either = gguf.tensor(name);
                }
            }
        }
    }
}

#[test]
fn damage_is_named() {
    let refused = |file: &File| Gguf::parse(&file.bytes).map(|_| ()).unwrap_err();
    let huge = u64::MAX.to_le_bytes();
    let nested = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
    let cases: Vec<(File, ErrorKind, &str)> = vec![
        (File { bytes: b"GGML\x03\0\0\0".to_vec() }, ErrorKind::InvalidModel, "not a GGUF file"),
        (File::new(1, 0, 0), ErrorKind::Unsupported, "version 1"),
        (File::new(3_u32.swap_bytes(), 0, 0), ErrorKind::Unsupported, "big-endian"),
        (File::new(3, u64::MAX, 0), ErrorKind::InvalidModel, "missing"),
        (File::new(3, 0, u64::MAX), ErrorKind::InvalidModel, "missing"),
    ];
    for (file, kind, text) in &cases {
        let error = refused(file);
        assert!(error.kind() == *kind && error.to_string().contains(text), "{error}");
    }
    let keys = |code: u32, value: &[u8]| {
        let mut file = File::new(3, 0, 1);
        file.key("k", code, value);
        refused(&file).to_string()
    };
    assert!(keys(13, &[]).contains("unknown metadata type 13"));
    assert!(keys(8, &huge).contains("missing"));
    assert!(keys(8, &[&1_u64.to_le_bytes()[..], &[0xff]].concat()).contains("UTF-8"));
    assert!(keys(9, &[&10_u32.to_le_bytes()[..], &huge].concat()).contains("address space"));
    assert!(keys(9, &[&8_u32.to_le_bytes()[..], &huge].concat()).contains("missing"));
    assert!(keys(9, &nested.repeat(10)).contains("nested"));

    let mut twice = File::new(3, 0, 2);
    twice.key("k", 0, &[1]).key("k", 0, &[1]);
    assert!(refused(&twice).to_string().contains("appears twice"));
    let mut alignment = File::new(3, 0, 1);
    alignment.key("general.alignment", 4, &24_u32.to_le_bytes());
    assert_eq!(refused(&alignment).node(), Some("general.alignment"));
}

#[test]
fn impossible_tensors_are_named() {
    let cases: [(&[u64], u32, u64, ErrorKind); 7] = [
        (&[33], 2, 0, ErrorKind::InvalidModel),
        (&[u64::MAX, u64::MAX], 0, 0, ErrorKind::InvalidModel),
        (&[1 << 40, 1 << 40], 0, 0, ErrorKind::InvalidModel),
        (&[4], 0, u64::MAX, ErrorKind::InvalidModel),
        (&[4], 0, 1, ErrorKind::InvalidModel),
        (&[128], 14, 0, ErrorKind::InvalidModel),
        (&[256], 16, 0, ErrorKind::Unsupported),
    ];
    for (dims, code, offset, kind) in cases {
        let mut file = File::new(3, 1, 0);
        file.tensor("t", dims, code, offset).data(&[0; 16]);
        let error = Gguf::parse(&file.bytes).unwrap().tensor("t").unwrap_err();
        assert_eq!((error.kind(), error.node()), (kind, Some("t")), "{dims:?}");
    }
    let mut unaligned = File::new(3, 1, 0);
    unaligned.tensor("t", &[2], 0, 8).data(&[0; 64]);
    let error = Gguf::parse(&unaligned.bytes).unwrap().tensor("t").unwrap_err();
    assert!(error.to_string().contains("offset 8 is no multiple of 32"), "{error}");
    let mut five = File::new(3, 1, 0);
    five.tensor("t", &[1; 5], 0, 0);
    assert_eq!(Gguf::parse(&five.bytes).unwrap_err().kind(), ErrorKind::InvalidModel);
}
