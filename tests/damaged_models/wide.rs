//! Graphs whose values are as wide, as many or as often used as their files allow: memory must not multiply.

use edgeslm::engine::{Engine, LogitsAt, RunControl, SequenceInput};
use edgeslm::onnx::{
    AttributeValue, DataType, Graph, Model, Node, OperatorSet, Tensor, TensorContent, ValueInfo, write,
};
use edgeslm::session::{GenerateOptions, SessionOptions};
use edgeslm::{ErrorKind, LoadOptions};

use super::cases::{Cases, LIMITS, Limits};
use super::fixtures::{CONFIG, Copy, GRAPH, TOKENIZER, WEIGHTS, load_options, outcome, refused, set};
use super::programs::{REFUSALS, chain, integers, leak, new_node};

const MODEL: &str = "models/llama-3.2-1b-int4";

/// A model of a table of zeros with `entries` rows and `width` columns, then `nodes`, whose last output is the logits.
fn wide_model(entries: u64, width: u64, nodes: Vec<Node<'static>>, constants: Vec<Tensor<'static>>) -> Copy {
    let copy = Copy::of("variants/llama-3-layers");
    let input = |name| ValueInfo { name, data_type: Some(DataType::Int64), shape: None };
    let table = Tensor {
        name: "table",
        data_type: DataType::Float16,
        dims: vec![entries, width],
        content: TensorContent::External { location: WEIGHTS, offset: 0, length: None },
    };
    let mut all = vec![new_node("Gather", &["table", "input_ids"], "rows")];
    all.extend(nodes);
    let graph = Graph {
        name: "wide",
        nodes: all,
        initializers: std::iter::once(table).chain(constants).collect(),
        inputs: vec![input("input_ids"), input("attention_mask")],
        outputs: vec![ValueInfo { name: "logits", data_type: None, shape: None }],
        value_info: Vec::new(),
    };
    let operator_sets = vec![OperatorSet { domain: "", version: 21 }];
    let model = Model { ir_version: 10, operator_sets, graph, ..Model::default() };
    copy.write(GRAPH, write(&model).unwrap());
    let data = std::fs::File::create(copy.file(WEIGHTS)).unwrap();
    data.set_len(entries * width * 2).unwrap();
    copy
}

/// Constants that are repeated over wide rows, thousands of times.
#[test]
fn wide_rows_of_constants() {
    let mut cases = Cases::within("wide constants", Limits { largest: 64 << 20, peak: 512 << 20, ..LIMITS });
    let one = || Tensor {
        name: "one",
        data_type: DataType::Float32,
        dims: vec![1],
        content: TensorContent::Float32(vec![1.0]),
    };
    cases.run("a million columns, 5,000 sums", || {
        let mut nodes = chain("Add", "rows", "one", 5_000);
        nodes.last_mut().unwrap().outputs = vec!["logits"];
        let copy = wide_model(160, 1 << 20, nodes, vec![one()]);
        refused(outcome(copy.path())?, &REFUSALS, GRAPH, "").map(drop)
    });
    cases.finish();
}

/// Buffers do not grow with rows times tokens beyond 256 MiB: fewer tokens go through a pass.
#[test]
fn wide_rows_in_long_prompts() {
    let mut cases = Cases::within("wide rows", Limits { largest: 256 << 20, peak: 384 << 20, ..LIMITS });
    cases.run("a million columns, 200 tokens", || {
        let mut nodes = chain("Add", "rows", "", 3);
        nodes.last_mut().unwrap().outputs = vec!["logits"];
        let copy = wide_model(160, 1 << 20, nodes, vec![]);
        // Where no rotation table bounds the context, the configuration does.
        copy.edit_json(CONFIG, |json| json["model"]["context_length"] = serde_json::json!(1_000));
        let model = super::fixtures::load(copy.path()).map_err(|error| error.to_string())?;
        let engine = model.cpu_engine().unwrap();
        let tokens = engine.maximum_batch_tokens();
        assert!(tokens < 100 && engine.scratch_bytes(1) <= 256 << 20, "{tokens} tokens a pass");
        // Every row of a pass in use.
        let mut cache = engine.new_cache();
        engine.prepare(cache.as_mut(), tokens).map_err(|error| error.to_string())?;
        let prompt = vec![7; tokens];
        let input = SequenceInput {
            cache: cache.as_mut(),
            tokens: &prompt,
            parents: None,
            logits: LogitsAt::All,
            vocabulary: Some(&[3, 5]),
        };
        let logits =
            engine.forward(&mut [input], &RunControl::default()).map_err(|error| error.to_string())?;
        assert_eq!(logits[0].dim(), (tokens, 2));
        let mut session = model.session(SessionOptions::default()).map_err(|error| error.to_string())?;
        let options =
            GenerateOptions { max_tokens: 1, ignore_stop_tokens: true, ..GenerateOptions::default() };
        let answer = session.generate(vec![7; 200], &options).map_err(|error| error.to_string())?;
        // All logits are equal, and of equals the first is chosen.
        if answer.tokens == [0] { Ok(()) } else { Err(format!("answers {:?}", answer.tokens)) }
    });
    cases.run("a row of 400 MiB", || {
        let mut nodes = chain("Add", "rows", "", 3);
        nodes.last_mut().unwrap().outputs = vec!["logits"];
        let copy = wide_model(8, 100 << 20, nodes, vec![]);
        refused(outcome(copy.path())?, &[ErrorKind::MemoryBudget], GRAPH, "").map(drop)
    });
    cases.finish();
}

/// A cache has a list for each key and value head of each layer, before any position is in it.
#[test]
fn heads_by_the_hundred_thousand() {
    let mut cases = Cases::within("heads", Limits { largest: 64 << 20, peak: 128 << 20, ..LIMITS });
    cases.run("131,072 key and value heads in 50 layers", || {
        let with = |node: Node<'static>, name: &'static str, value: i64| {
            let mut node = node;
            set(&mut node, name, AttributeValue::Int(value));
            node
        };
        let heads = 1 << 17;
        let mut nodes = vec![
            with(new_node("ReduceSum", &["attention_mask", "axis"], "sum"), "keepdims", 0),
            new_node("Sub", &["sum", "axis"], "lengths"),
            new_node("Shape", &["attention_mask"], "shape"),
            new_node("Gather", &["shape", "one"], "total"),
        ];
        let mut from = "rows";
        for layer in 0..50 {
            let to = if layer == 49 { "logits" } else { leak(format!("attention {layer}")) };
            let inputs = [from, from, from, "", "", "lengths", "total"];
            let node = Node { domain: "com.microsoft", ..new_node("GroupQueryAttention", &inputs, to) };
            nodes.push(with(with(node, "num_heads", heads), "kv_num_heads", heads));
            from = to;
        }
        let constants = vec![integers("axis", &[1], vec![1]), integers("one", &[], vec![1])];
        let copy = wide_model(8, 1 << 20, nodes, constants);
        let error = refused(outcome(copy.path())?, &[ErrorKind::Unsupported], GRAPH, "key and value heads")?;
        assert!(error.node().is_some_and(|node| node.starts_with("GroupQueryAttention")));
        Ok(())
    });
    cases.finish();
}

/// Lists of numbers in the graph are copied when they are read; thousands of readers must not multiply them.
#[test]
fn lists_with_many_readers() {
    let mut cases = Cases::within("lists with many readers", Limits { peak: 256 << 20, ..LIMITS });
    cases.run("a million numbers, 2,000 tables", || {
        let list: Vec<i32> = vec![0; 1 << 20];
        let table = Tensor {
            name: "list",
            data_type: DataType::Float16,
            dims: vec![1 << 17, 8],
            content: TensorContent::Int32(list),
        };
        let mut nodes = Vec::new();
        let mut sum = "rows";
        for index in 0..2_000 {
            let (looked_up, next) = (leak(format!("looked up {index}")), leak(format!("sum {index}")));
            nodes.push(new_node("Gather", &["list", "input_ids"], looked_up));
            nodes.push(new_node("Add", &[sum, looked_up], next));
            sum = next;
        }
        nodes.last_mut().unwrap().outputs = vec!["logits"];
        let copy = wide_model(160, 8, nodes, vec![table]);
        copy.write(WEIGHTS, vec![0; 160 * 8 * 2]);
        refused(outcome(copy.path())?, &REFUSALS, GRAPH, "").map(drop)
    });
    cases.finish();
}

/// The budget is that of the KV caches; what else a model needs is bounded by its files.
#[test]
fn tiny_memory_budgets() {
    let mut cases = Cases::new("tiny budgets");
    for budget in [0, 1, 4_096, 16_000] {
        for model in [MODEL, "models/phi-4-mini-int4"] {
            cases.run(format!("{budget} bytes for {model}"), || {
                let options = LoadOptions { memory_budget: Some(budget), ..load_options() };
                let model = edgeslm::Model::load(super::fixtures::data(model), &options);
                match super::fixtures::answer(&model.map_err(|error| error.to_string())?) {
                    Err(error) if error.kind() == ErrorKind::MemoryBudget && error.hint().is_some() => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
        }
    }
    // A block of 64 positions of the one layer that the head reads: 2 heads of 32 elements, keys and values of 2 bytes.
    let block = 64 * 2 * 32 * 2 * 2;
    cases.run("a budget of one block", || {
        let options = LoadOptions { memory_budget: Some(block), ..load_options() };
        let model = edgeslm::Model::load(super::fixtures::data(MODEL), &options).unwrap();
        super::fixtures::answer(&model).map(drop).map_err(|error| error.to_string())?;
        let mut session = model.session(SessionOptions::default()).unwrap();
        match session.generate(vec![7; 65], &GenerateOptions::default()) {
            Err(error) if error.kind() == ErrorKind::MemoryBudget => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    cases.finish();
}

/// The tokenizer of a wide model is a real one: what it does not know is never chosen.
#[test]
fn a_vocabulary_larger_than_the_tokenizers() {
    let mut cases = Cases::new("large vocabularies");
    cases.run("a thousand entries and 99 tokens", || {
        let mut nodes = chain("Add", "rows", "", 1);
        nodes.last_mut().unwrap().outputs = vec!["logits"];
        let copy = wide_model(160, 1_000, nodes, vec![]);
        // Entry 7 of the table prefers tokens that the tokenizer does not have.
        let mut weights = vec![0_u8; 160 * 1_000 * 2];
        for column in 0..1_000 {
            let value = half::f16::from_f32(column as f32 / 64.0).to_le_bytes();
            weights[(7 * 1_000 + column) * 2..][..2].copy_from_slice(&value);
        }
        copy.write(WEIGHTS, weights);
        let model = super::fixtures::load(copy.path()).map_err(|error| error.to_string())?;
        let known = model.text().tokenizer().vocabulary_size();
        assert!(known < 160, "{TOKENIZER} is a small one");
        let mut session = model.session(SessionOptions::default()).unwrap();
        let options = GenerateOptions { max_tokens: 1, ..GenerateOptions::default() };
        let answer = session.generate(vec![7], &options).map_err(|error| error.to_string())?;
        let expected = u32::try_from(known - 1).unwrap();
        if answer.tokens == [expected] { Ok(()) } else { Err(format!("answers {:?}", answer.tokens)) }
    });
    cases.finish();
}
