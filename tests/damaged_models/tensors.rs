//! Tensors with absurd shapes, and external data in absurd places.

use edgeslm::ErrorKind;
use edgeslm::onnx::{DataType, Tensor, TensorContent};

use super::cases::{Cases, LIMITS, Limits};
use super::fixtures::{
    Copy, GRAPH, Outcome, WEIGHTS, answered, outcome, refused, refused_at, right_answer, tensor,
};

const MODEL: &str = "models/llama-3.2-1b-int4";

/// A tensor of each kind: codes, scales, a norm's row, a table, a rotation table. The head of this model reads the first layer, so that
/// tensors of the others are not looked at.
const TENSORS: [&str; 5] = [
    "layers.0.attn.qkv_proj.MatMul.weight_Q4",
    "layers.0.attn.o_proj.MatMul.weight_scales",
    "layers.0.input_layernorm.weight",
    "lm_head.MatMul.weight_Q4",
    "cos_cache",
];

const REFUSALS: [ErrorKind; 2] = [ErrorKind::InvalidModel, ErrorKind::Unsupported];

fn changed(part: &str, change: impl FnOnce(&mut Tensor<'_>)) -> Result<Outcome, String> {
    let copy = Copy::of(MODEL);
    copy.edit_graph(|graph| change(tensor(graph, part)));
    outcome(copy.path())
}

#[test]
fn absurd_shapes() {
    const MOST: u64 = i64::MAX as u64;
    let shapes: [(&str, Vec<u64>); 12] = [
        ("the largest extent", vec![MOST]),
        ("the largest extents", vec![MOST, MOST]),
        ("a negative extent", vec![u64::MAX, 8, 16]),
        ("an extent of 0", vec![0]),
        ("no element, and a product that overflows before it", vec![1 << 40, 1 << 40, 0]),
        ("no element, and a product that overflows after it", vec![0, 1 << 40, 1 << 40]),
        ("a product that overflows", vec![1 << 40, 1 << 40]),
        ("a product that overflows in bytes only", vec![1 << 31, (1 << 31) - 1]),
        ("a scalar", vec![]),
        ("one element too many", vec![49_153]),
        ("a wide row", vec![1, 1 << 50]),
        ("a high column", vec![1 << 50, 1]),
    ];
    let mut cases = Cases::new("absurd shapes");
    for part in TENSORS {
        for (what, dims) in &shapes {
            cases.run(format!("{part} has {what}"), || {
                let outcome = changed(part, |tensor| tensor.dims = dims.clone())?;
                refused(outcome, &REFUSALS, "", "").map(drop)
            });
            cases.run(format!("{part} has {what}, and states no length"), || {
                let outcome = changed(part, |tensor| {
                    tensor.dims = dims.clone();
                    if let TensorContent::External { length, .. } = &mut tensor.content {
                        *length = None;
                    }
                })?;
                refused(outcome, &REFUSALS, "", "").map(drop)
            });
        }
        // As many elements in another shape: of codes and scales only the number counts.
        cases.run(format!("{part} has a thousand axes"), || {
            changed(part, |tensor| tensor.dims.extend([1; 1_000])).map(drop)
        });
    }
    cases.finish();
}

#[test]
fn absurd_places() {
    let right = right_answer(MODEL);
    let file = std::fs::metadata(Copy::of(MODEL).file(WEIGHTS)).unwrap().len();
    let place = |location: &'static str, offset, length| TensorContent::External { location, offset, length };
    let long: &'static str = Box::leak("d/".repeat(50_000).into_boxed_str());
    let mut cases = Cases::new("absurd places");
    for part in TENSORS {
        let place_of =
            |content: TensorContent<'static>| move |tensor: &mut Tensor<'_>| tensor.content = content;
        for (what, content) in [
            ("begins at the end of the file", place(WEIGHTS, file, None)),
            ("begins a byte before the end", place(WEIGHTS, file - 1, None)),
            ("begins beyond the file", place(WEIGHTS, file + 1, None)),
            ("begins at the largest offset", place(WEIGHTS, u64::MAX, None)),
            ("ends beyond the largest offset", place(WEIGHTS, u64::MAX - 16, None)),
            ("is longer than the file", place(WEIGHTS, 0, Some(u64::MAX))),
            ("has no length", place(WEIGHTS, 0, Some(0))),
            ("has a length of one byte", place(WEIGHTS, 0, Some(1))),
            ("lies in a short file", place("chat_template.jinja", 0, None)),
            ("lies in a file that is not there", place("nowhere", 0, None)),
            ("lies above the directory", place("../model.onnx.data", 0, None)),
            ("lies at an absolute path", place("/etc/passwd", 0, None)),
            ("lies in the directory itself", place(".", 0, None)),
            ("lies below a file", place("model.onnx.data/data", 0, None)),
            ("lies at a path with a zero byte", place("model\0", 0, None)),
            ("lies at a path of 100,000 bytes", place(long, 0, None)),
        ] {
            cases.run(format!("{part} {what}"), || {
                let outcome = changed(part, place_of(content))?;
                let kinds = [ErrorKind::InvalidModel, ErrorKind::NotFound, ErrorKind::Io];
                refused_at(outcome, &kinds, "", part)
            });
        }
        // Any bytes are weights: the answer is another one, or there is none.
        for (what, content) in [
            ("overlaps others", place(WEIGHTS, 3, None)),
            ("lies in the graph's own file", place(GRAPH, 0, None)),
        ] {
            cases.run(format!("{part} {what}"), || changed(part, place_of(content)).map(drop));
        }
    }
    cases.run("the same file by another name", || {
        answered(
            changed(TENSORS[0], |tensor| {
                if let TensorContent::External { location, .. } = &mut tensor.content {
                    *location = "././model.onnx.data";
                }
            })?,
            &right,
        )
    });
    cases.finish();
}

/// Offsets and lengths are texts in the file, which the writer cannot write wrongly.
#[test]
fn offsets_that_are_no_numbers() {
    let mut cases = Cases::new("odd offsets");
    // The offset and the length of the first codes; each text is replaced by one as long.
    for (number, texts) in [
        ("138240", &["-13824", "0x2180", "1.38e5", "13824 ", " 13824", "+13824", "13\u{0}240", "１３"][..]),
        ("49152", &["-4915", "0xc00", "4e005", "4915 ", " 4915", "+4915", "99999", "4\u{0}152", "４1a"]),
    ] {
        for text in texts {
            cases.run(format!("{text:?} in place of {number}"), || {
                let copy = Copy::of(MODEL);
                let mut bytes = copy.read(GRAPH);
                let place = bytes.windows(number.len()).position(|window| window == number.as_bytes());
                let place = place.ok_or("the graph does not have the number")?;
                bytes[place..place + number.len()].copy_from_slice(text.as_bytes());
                copy.write(GRAPH, bytes);
                refused(outcome(copy.path())?, &[ErrorKind::InvalidModel], "", "").map(drop)
            });
        }
    }
    cases.finish();
}

/// Every spelling of a file's name would be another copy of it.
#[test]
fn spellings_of_one_file_share_its_memory() {
    // The weights and the graph, once.
    let limits = Limits { largest: 2 << 20, peak: 3 << 20, ..LIMITS };
    let mut cases = Cases::within("spellings of one file", limits);
    let copy = Copy::of(MODEL);
    copy.edit_graph(|graph| {
        for (index, tensor) in graph.initializers.iter_mut().enumerate() {
            if let TensorContent::External { location, .. } = &mut tensor.content {
                *location = Box::leak(format!("{}{WEIGHTS}", "./".repeat(index)).into_boxed_str());
            }
        }
    });
    let right = right_answer(MODEL);
    cases.run("copied", || {
        let options =
            edgeslm::LoadOptions { load: edgeslm::model::Load::Copy, ..super::fixtures::load_options() };
        let model = edgeslm::Model::load(copy.path(), &options).map_err(|error| error.to_string())?;
        let answer = super::fixtures::answer(&model).map_err(|error| error.to_string())?;
        if answer.tokens == right { Ok(()) } else { Err(format!("answers {:?}", answer.tokens)) }
    });
    cases.finish();
}

/// Types that the elements do not have.
#[test]
fn other_types() {
    let types = [
        DataType::Float32,
        DataType::Uint8,
        DataType::Int8,
        DataType::Int32,
        DataType::Int64,
        DataType::Bool,
        DataType::Float16,
        DataType::Float64,
        DataType::Bfloat16,
        DataType::Uint4,
        DataType::Int4,
        DataType::Other(0),
        DataType::Other(8),
        DataType::Other(-1),
        DataType::Other(i32::MAX),
    ];
    let mut cases = Cases::new("other types");
    for part in TENSORS {
        for data_type in types {
            cases.run(format!("{part} of {data_type:?}"), || {
                changed(part, |tensor| {
                    tensor.data_type = data_type;
                    if let TensorContent::External { length, .. } = &mut tensor.content {
                        *length = None;
                    }
                })
                .map(drop)
            });
        }
    }
    cases.finish();
}
