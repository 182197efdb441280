//! Graphs made by hand, field by field.

mod facts;
mod golden;

use super::*;
use crate::error::ErrorKind;

/// A varint.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A varint field.
fn number(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value as u64)].concat()
}

/// A length-delimited field.
fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

/// A message from its fields.
fn message(fields: &[Vec<u8>]) -> Vec<u8> {
    fields.concat()
}

fn model_with_graph(fields: &[Vec<u8>]) -> Vec<u8> {
    message(&[number(1, 10), bytes(7, &message(fields))])
}

fn model_with_initializer(fields: &[Vec<u8>]) -> Vec<u8> {
    model_with_graph(&[bytes(5, &message(fields))])
}

fn model_with_attribute(fields: &[Vec<u8>]) -> Vec<u8> {
    model_with_graph(&[bytes(1, &message(&[bytes(4, b"Op"), bytes(5, &message(fields))]))])
}

fn first_attribute(file: &[u8]) -> AttributeValue<'_> {
    Model::parse(file).unwrap().graph.nodes[0].attributes[0].value.clone()
}

fn first_content(file: &[u8]) -> TensorContent<'_> {
    Model::parse(file).unwrap().graph.initializers[0].content.clone()
}

#[test]
fn attributes_of_every_kind() {
    let name = bytes(1, b"a");
    let tensor = message(&[number(1, 2), number(2, 7), bytes(9, &[0; 16]), bytes(8, b"t")]);
    let zeros = Tensor {
        name: "t",
        data_type: DataType::Int64,
        dims: vec![2],
        content: TensorContent::Inline(&[0; 16]),
    };
    let float = [vec![2 << 3 | 5], 1.5_f32.to_le_bytes().to_vec()].concat();
    let floats = [1.0_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat();
    let one_float = [vec![7 << 3 | 5], 3.0_f32.to_le_bytes().to_vec()].concat();
    let cases: Vec<(Vec<Vec<u8>>, AttributeValue<'_>)> = vec![
        (vec![float.clone(), number(20, 1)], AttributeValue::Float(1.5)),
        (vec![float], AttributeValue::Float(1.5)),
        (vec![number(3, -5), number(20, 2)], AttributeValue::Int(-5)),
        (vec![number(3, 7)], AttributeValue::Int(7)),
        (vec![number(20, 2)], AttributeValue::Int(0)),
        (vec![number(20, 1)], AttributeValue::Float(0.0)),
        (vec![bytes(4, b"\xff"), number(20, 3)], AttributeValue::String(b"\xff")),
        (vec![bytes(4, b"x")], AttributeValue::String(b"x")),
        (vec![bytes(5, &tensor), number(20, 4)], AttributeValue::Tensor(zeros.clone())),
        (vec![bytes(5, &tensor)], AttributeValue::Tensor(zeros)),
        (vec![bytes(6, &[]), number(20, 5)], AttributeValue::Graph(Box::default())),
        (vec![bytes(7, &floats), number(20, 6)], AttributeValue::Floats(vec![1.0, -2.0])),
        (vec![one_float.clone(), one_float], AttributeValue::Floats(vec![3.0, 3.0])),
        (vec![bytes(8, &[varint(300), varint(u64::MAX)].concat())], AttributeValue::Ints(vec![300, -1])),
        (vec![number(8, 1), number(8, i64::MIN)], AttributeValue::Ints(vec![1, i64::MIN])),
        (vec![number(20, 7)], AttributeValue::Ints(vec![])),
        (vec![bytes(9, b"p"), bytes(9, b"")], AttributeValue::Strings(vec![b"p", b""])),
        (vec![number(20, 11)], AttributeValue::Other),
        (vec![bytes(14, &[])], AttributeValue::Other),
    ];
    for (fields, expected) in cases {
        let file = model_with_attribute(&[std::slice::from_ref(&name), &fields].concat());
        assert_eq!(first_attribute(&file), expected, "{fields:?}");
    }
}

#[test]
fn tensor_content_in_every_field() {
    let tensor = |data_type: i64, dims: &[i64], content: Vec<u8>| {
        let dims: Vec<Vec<u8>> = dims.iter().map(|dim| number(1, *dim)).collect();
        model_with_initializer(&[bytes(8, b"w"), number(2, data_type), dims.concat(), content])
    };
    let pair =
        |key: &str, value: &str| bytes(13, &message(&[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())]));
    let external = |length| TensorContent::External { location: "w.data", offset: 64, length };
    let cases: Vec<(Vec<u8>, TensorContent<'_>)> = vec![
        (tensor(1, &[2], bytes(9, &[1; 8])), TensorContent::Inline(&[1; 8])),
        (tensor(21, &[3], bytes(9, &[1; 2])), TensorContent::Inline(&[1; 2])),
        (tensor(1, &[0, 4], Vec::new()), TensorContent::Inline(&[])),
        (tensor(999, &[5], bytes(9, &[1])), TensorContent::Inline(&[1])),
        (tensor(1, &[1], bytes(4, &1.0_f32.to_le_bytes())), TensorContent::Float32(vec![1.0])),
        (tensor(11, &[], bytes(10, &1.0_f64.to_le_bytes())), TensorContent::Float64(vec![1.0])),
        (tensor(6, &[2], bytes(5, &[1, 2])), TensorContent::Int32(vec![1, 2])),
        (tensor(6, &[2], [number(5, 1), number(5, -2)].concat()), TensorContent::Int32(vec![1, -2])),
        (tensor(6, &[1], number(5, i64::from(u32::MAX))), TensorContent::Int32(vec![-1])),
        (tensor(10, &[1], number(5, 0x3c00)), TensorContent::Int32(vec![0x3c00])),
        (tensor(22, &[3], bytes(5, &[1, 2])), TensorContent::Int32(vec![1, 2])),
        (tensor(7, &[2], bytes(7, &[1, 2])), TensorContent::Int64(vec![1, 2])),
        (tensor(8, &[1], bytes(6, b"text")), TensorContent::Other),
        (tensor(13, &[1], bytes(11, &[1])), TensorContent::Other),
        (
            tensor(
                1,
                &[2],
                [
                    number(14, 1),
                    bytes(9, &[]),
                    pair("location", "w.data"),
                    pair("offset", "64"),
                    pair("length", "8"),
                    pair("checksum", "x"),
                ]
                .concat(),
            ),
            external(Some(8)),
        ),
        (
            tensor(1, &[2], [pair("offset", "64"), pair("location", "w.data"), number(14, 1)].concat()),
            external(None),
        ),
        (tensor(2, &[1], [pair("location", "w"), bytes(9, &[7])].concat()), TensorContent::Inline(&[7])),
    ];
    for (file, expected) in cases {
        assert_eq!(first_content(&file), expected);
    }
}

#[test]
fn damage_is_an_error_that_names_its_place() {
    let pair =
        |key: &str, value: &str| bytes(13, &message(&[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())]));
    let external = |pairs: Vec<u8>| {
        model_with_initializer(&[bytes(8, b"w"), number(2, 1), number(1, 2), number(14, 1), pairs])
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "has no graph"),
        (number(1, 10), "has no graph"),
        (vec![0x80; 3], "ends where 1 more"),
        (vec![0xff; 12], "more than 64 bits"),
        (vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02], "more than 64 bits"),
        (vec![0x00, 0x00], "field number 0"),
        (vec![0x0b], "unknown wire type 3"),
        (vec![0x0f], "unknown wire type 7"),
        (vec![7 << 3 | 2, 5, 0], "is 5 bytes long but only 1 follow"),
        (bytes(1, b"x"), "ir_version: field 1 holds a length-delimited value in place of an integer"),
        (number(7, 1), "graph: field 7 holds a varint in place of a message"),
        (bytes(2, b"\xff"), "producer_name: field 2 is not UTF-8"),
        (message(&[bytes(7, &[]), bytes(7, &[])]), "graph: the field occurs twice"),
        (model_with_graph(&[bytes(1, &[])]), "graph.node[0]: a node has no op_type, at byte 6"),
        (
            model_with_graph(&[
                bytes(1, &bytes(4, b"A")),
                bytes(1, &message(&[bytes(4, b"B"), number(1, 0)])),
            ]),
            "graph.node[1].input: field 1 holds a varint in place of bytes",
        ),
        (model_with_attribute(&[number(3, 1)]), "graph.node[0].attribute[0]: an attribute has no name"),
        (model_with_attribute(&[bytes(1, b"a")]), "\"a\": it has neither a type nor a value"),
        (model_with_attribute(&[bytes(1, b"a"), number(20, 4)]), "it holds no tensor"),
        (model_with_attribute(&[bytes(1, b"a"), number(20, 5)]), "it holds no graph"),
        (model_with_attribute(&[bytes(1, b"a"), number(20, 1), number(3, 1)]), "its type is Float but"),
        (model_with_attribute(&[bytes(1, b"a"), bytes(4, b"x"), number(3, 1)]), "both Int and String"),
        (model_with_attribute(&[bytes(1, b"a"), bytes(7, &[0; 3])]), "attribute[0].floats: the message ends"),
        (
            model_with_initializer(&[number(2, 1), number(1, 0)]),
            "graph.initializer[0]: an initializer has no",
        ),
        (model_with_initializer(&[bytes(8, b"w"), number(2, 1), number(1, -1)]), "\"w\" has a negative dim"),
        (model_with_initializer(&[bytes(8, b"w"), bytes(3, &[])]), "segments are not supported"),
        (
            model_with_initializer(&[bytes(8, b"w"), number(2, 1), number(1, 3), bytes(9, &[0; 8])]),
            "Float32 of dims [3] takes 12 bytes but it holds 8",
        ),
        (
            model_with_initializer(&[bytes(8, b"w"), number(2, 1), number(1, i64::MAX), number(1, 3)]),
            "overflow",
        ),
        (model_with_initializer(&[bytes(8, b"w"), number(2, 11), number(1, i64::MAX)]), "overflow"),
        (
            model_with_initializer(&[bytes(8, b"w"), number(2, 1), number(1, 1), number(5, 1)]),
            "in a field that Float32 does not use",
        ),
        (
            model_with_initializer(&[bytes(8, b"w"), number(2, 6), number(5, 1), bytes(9, &[0; 4])]),
            "more than one kind of data",
        ),
        (
            model_with_initializer(&[bytes(8, b"w"), number(2, 6), number(5, 1 << 40)]),
            "initializer[0].int32_data: 1099511627776 does not fit 32 bits",
        ),
        (external(Vec::new()), "no location is given"),
        (external(pair("location", "")), "no location is given"),
        (external([pair("location", "a"), pair("location", "b")].concat()), "location occurs twice"),
        (external([pair("location", "a"), pair("offset", "-1")].concat()), "offset is \"-1\", not a decimal"),
        (external([pair("location", "a"), pair("length", "+1")].concat()), "length is \"+1\", not a decimal"),
        (external([pair("location", "a"), pair("length", "99999999999999999999")].concat()), "not a decimal"),
        (model_with_initializer(&[bytes(8, b"w"), number(14, 2)]), "data_location is 2"),
        (
            model_with_graph(&[
                bytes(5, &message(&[bytes(8, b"w"), number(1, 0)])),
                bytes(5, &message(&[bytes(8, b"w"), number(1, 0)])),
            ]),
            "graph.initializer[1]: two initializers are called \"w\"",
        ),
    ];
    for (file, expected) in cases {
        let error = Model::parse(&file).expect_err(expected);
        assert_eq!(error.kind(), ErrorKind::InvalidModel);
        assert!(error.to_string().contains(expected), "expected {expected:?} in {error}");
    }
}

#[test]
fn graphs_may_be_nested_sixteen_deep() {
    let nested = |depth: usize| {
        let mut graph = Vec::new();
        for _ in 1..depth {
            let attribute = message(&[bytes(1, b"then_branch"), bytes(6, &graph), number(20, 5)]);
            graph = bytes(1, &message(&[bytes(4, b"If"), bytes(5, &attribute)]));
        }
        bytes(7, &graph)
    };
    assert!(Model::parse(&nested(16)).is_ok());
    let error = Model::parse(&nested(17)).unwrap_err();
    assert!(error.message().contains("more than 16 deep"), "{error}");
    // Deep enough to overflow the stack of a reader without a limit.
    assert!(Model::parse(&nested(5_000)).is_err());
}

#[test]
fn unknown_fields_are_skipped() {
    let fixed64 = [varint(31 << 3 | 1), vec![0; 8]].concat();
    let fixed32 = [varint(100 << 3 | 5), vec![0; 4]].concat();
    let file = message(&[fixed64, number(99, 5), bytes(7, &[]), bytes(4000, b"skipped"), fixed32]);
    assert_eq!(Model::parse(&file).unwrap(), Model::default());
}

#[test]
fn declared_shapes() {
    let shape = message(&[
        bytes(1, &number(1, 5)),
        bytes(1, &bytes(2, b"batch")),
        bytes(1, &[]),
        bytes(1, &number(1, -1)),
        bytes(1, &number(1, 0)),
    ]);
    let tensor_type = message(&[number(1, 10), bytes(2, &shape)]);
    let file = model_with_graph(&[
        bytes(11, &message(&[bytes(1, b"x"), bytes(2, &bytes(1, &tensor_type))])),
        bytes(12, &message(&[bytes(1, b"y"), bytes(2, &bytes(4, &[]))])),
        bytes(13, &bytes(1, b"z")),
    ]);
    let graph = Model::parse(&file).unwrap().graph;
    assert_eq!(
        graph.inputs,
        [ValueInfo {
            name: "x",
            data_type: Some(DataType::Float16),
            shape: Some(vec![
                Dimension::Fixed(5),
                Dimension::Symbol("batch"),
                Dimension::Symbol(""),
                Dimension::Symbol(""),
                Dimension::Fixed(0),
            ]),
        }]
    );
    assert_eq!(graph.outputs, [ValueInfo { name: "y", data_type: None, shape: None }]);
    assert_eq!(graph.value_info, [ValueInfo { name: "z", data_type: None, shape: None }]);
}

#[test]
fn too_many_messages_are_refused() {
    let node = bytes(1, &bytes(4, b"A"));
    let file = bytes(7, &node.repeat((1 << 20) + 1));
    let error = Model::parse(&file).unwrap_err();
    assert!(error.message().contains("more than 1048576"), "{error}");
}

#[test]
fn too_many_integers_are_refused() {
    let packed = vec![1; (1 << 24) + 1];
    let error = Model::parse(&model_with_attribute(&[bytes(1, b"a"), bytes(8, &packed)])).unwrap_err();
    assert!(error.to_string().contains("attribute[0].ints: the model has more than 16777216"), "{error}");
    let file = model_with_attribute(&[bytes(1, b"a"), bytes(8, &packed[1..])]);
    assert!(Model::parse(&file).is_ok());
}

#[test]
fn inline_data_is_borrowed() {
    let file = model_with_initializer(&[bytes(8, b"w"), number(2, 2), number(1, 1000), bytes(9, &[7; 1000])]);
    let TensorContent::Inline(data) = first_content(&file) else { panic!("not inline") };
    assert!(file.as_ptr_range().contains(&data.as_ptr()));
}
