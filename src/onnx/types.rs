//! The parts of an ONNX model that inference needs, as views into the file.

/// The element type of a tensor (`TensorProto.DataType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataType {
    /// 32-bit IEEE float (1).
    Float32,
    /// Unsigned byte (2).
    Uint8,
    /// Signed byte (3).
    Int8,
    /// 32-bit integer (6).
    Int32,
    /// 64-bit integer (7).
    Int64,
    /// One byte per truth value (9).
    Bool,
    /// 16-bit IEEE float (10).
    Float16,
    /// 64-bit IEEE float (11).
    Float64,
    /// The upper half of a 32-bit float (16).
    Bfloat16,
    /// Two unsigned 4-bit values a byte, the low nibble first (21).
    Uint4,
    /// Two signed 4-bit values a byte, the low nibble first (22).
    Int4,
    /// Any other code of `TensorProto.DataType`.
    Other(i32),
}

impl DataType {
    /// The type with the given code in `TensorProto.DataType`.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        match code {
            1 => Self::Float32,
            2 => Self::Uint8,
            3 => Self::Int8,
            6 => Self::Int32,
            7 => Self::Int64,
            9 => Self::Bool,
            10 => Self::Float16,
            11 => Self::Float64,
            16 => Self::Bfloat16,
            21 => Self::Uint4,
            22 => Self::Int4,
            other => Self::Other(other),
        }
    }

    /// The type's code in `TensorProto.DataType`.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Float32 => 1,
            Self::Uint8 => 2,
            Self::Int8 => 3,
            Self::Int32 => 6,
            Self::Int64 => 7,
            Self::Bool => 9,
            Self::Float16 => 10,
            Self::Float64 => 11,
            Self::Bfloat16 => 16,
            Self::Uint4 => 21,
            Self::Int4 => 22,
            Self::Other(code) => code,
        }
    }

    /// Bits of one element, or `None` for a type this reader does not know.
    #[must_use]
    pub fn bits(self) -> Option<u64> {
        Some(match self {
            Self::Float64 | Self::Int64 => 64,
            Self::Float32 | Self::Int32 => 32,
            Self::Float16 | Self::Bfloat16 => 16,
            Self::Uint8 | Self::Int8 | Self::Bool => 8,
            Self::Uint4 | Self::Int4 => 4,
            Self::Other(_) => return None,
        })
    }
}

/// One dimension of a declared shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension<'a> {
    /// A fixed extent.
    Fixed(i64),
    /// A name that stands for an extent known at run time; empty when the file gives neither.
    Symbol(&'a str),
}

/// A graph input or output, or the declared type of an intermediate value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueInfo<'a> {
    /// The value's name.
    pub name: &'a str,
    /// Its element type, where the file declares one.
    pub data_type: Option<DataType>,
    /// Its shape, where the file declares one.
    pub shape: Option<Vec<Dimension<'a>>>,
}

/// Where the elements of a tensor lie.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorContent<'a> {
    /// Little-endian elements inside this file, at any alignment.
    Inline(&'a [u8]),
    /// Elements in another file of the same directory.
    External {
        /// The other file, relative to the directory of this one.
        location: &'a str,
        /// The first byte.
        offset: u64,
        /// How many bytes, where the file says so.
        length: Option<u64>,
    },
    /// `int32_data`: 32-bit and narrower integers, booleans, and 16-bit floats as bit patterns.
    Int32(Vec<i32>),
    /// `int64_data`.
    Int64(Vec<i64>),
    /// `float_data`.
    Float32(Vec<f32>),
    /// `double_data`.
    Float64(Vec<f64>),
    /// `string_data` or `uint64_data`, whose types no supported operator reads; the elements are skipped.
    Other,
}

/// A constant tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<'a> {
    /// The tensor's name; empty for attribute values without one.
    pub name: &'a str,
    /// Its element type.
    pub data_type: DataType,
    /// Its shape; empty for a scalar. Never negative.
    pub dims: Vec<u64>,
    /// Its elements.
    pub content: TensorContent<'a>,
}

impl Tensor<'_> {
    /// The product of the dims, 1 for a scalar; `None` when it overflows.
    #[must_use]
    pub fn element_count(&self) -> Option<u64> {
        // A zero makes the product zero whatever the others are.
        if self.dims.contains(&0) {
            return Some(0);
        }
        self.dims.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim))
    }

    /// How many bytes the elements take, packed without gaps and rounded up to whole bytes; `None` when that
    /// overflows or when the type's size is unknown.
    #[must_use]
    pub fn byte_length(&self) -> Option<u64> {
        let bits = self.data_type.bits()?;
        let elements = self.element_count()?;
        if bits < 8 { Some(elements.div_ceil(8 / bits)) } else { elements.checked_mul(bits / 8) }
    }
}

/// The value of a node's attribute.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum AttributeValue<'a> {
    /// FLOAT.
    Float(f32),
    /// INT.
    Int(i64),
    /// STRING, any bytes.
    String(&'a [u8]),
    /// TENSOR.
    Tensor(Tensor<'a>),
    /// GRAPH, as in the branches of `If`.
    Graph(Box<Graph<'a>>),
    /// FLOATS.
    Floats(Vec<f32>),
    /// INTS.
    Ints(Vec<i64>),
    /// STRINGS.
    Strings(Vec<&'a [u8]>),
    /// A kind of attribute that no supported operator has.
    Other,
}

/// A named attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute<'a> {
    /// The attribute's name.
    pub name: &'a str,
    /// Its value.
    pub value: AttributeValue<'a>,
}

/// One operator call.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'a> {
    /// The node's name; may be empty and need not be unique.
    pub name: &'a str,
    /// The operator.
    pub op_type: &'a str,
    /// The operator's domain: empty for `ai.onnx`.
    pub domain: &'a str,
    /// Names of the inputs; an empty name is an omitted optional input.
    pub inputs: Vec<&'a str>,
    /// Names of the outputs; an empty name is an unused one.
    pub outputs: Vec<&'a str>,
    /// The attributes in file order.
    pub attributes: Vec<Attribute<'a>>,
}

impl<'a> Node<'a> {
    /// The value of the attribute called `name`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&AttributeValue<'a>> {
        self.attributes.iter().find(|attribute| attribute.name == name).map(|attribute| &attribute.value)
    }

    /// Operator and name as error messages show them, such as `MatMulNBits /lm_head/MatMul`.
    #[must_use]
    pub fn label(&self) -> String {
        let place =
            if self.name.is_empty() { self.outputs.first().copied().unwrap_or("") } else { self.name };
        format!("{} {place}", self.op_type)
    }
}

/// A graph: the main one or a branch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph<'a> {
    /// The graph's name.
    pub name: &'a str,
    /// The nodes in file order, which need not be an order of execution.
    pub nodes: Vec<Node<'a>>,
    /// The constant tensors.
    pub initializers: Vec<Tensor<'a>>,
    /// The inputs.
    pub inputs: Vec<ValueInfo<'a>>,
    /// The outputs.
    pub outputs: Vec<ValueInfo<'a>>,
    /// Declared types of intermediate values.
    pub value_info: Vec<ValueInfo<'a>>,
}

/// A version of an operator domain that the model uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorSet<'a> {
    /// The domain: empty for `ai.onnx`.
    pub domain: &'a str,
    /// Its version.
    pub version: i64,
}

/// A parsed ONNX file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model<'a> {
    /// Version of the ONNX intermediate representation.
    pub ir_version: i64,
    /// The tool that wrote the file, such as `onnxruntime-genai`.
    pub producer_name: &'a str,
    /// That tool's version.
    pub producer_version: &'a str,
    /// The operator sets in use.
    pub operator_sets: Vec<OperatorSet<'a>>,
    /// Key and value pairs of metadata.
    pub metadata: Vec<(&'a str, &'a str)>,
    /// The main graph.
    pub graph: Graph<'a>,
}
