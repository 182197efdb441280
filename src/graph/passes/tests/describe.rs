//! Programs as text, every field of every step.

use super::builder::{LETTERS, element};
use crate::graph::{Activation, Attention, Matrix, MatrixRows, NormKind, Operand, Operation, Program};

/// A line a step, such as `v2 = v0 @ b + [1, 2]`, and a line a layer of the cache.
pub(super) fn describe(program: &Program) -> Vec<String> {
    let steps = program
        .steps
        .iter()
        .map(|step| format!("v{} = {}", step.output.0, operation(program, &step.operation)));
    let layers = program
        .layers
        .iter()
        .enumerate()
        .map(|(index, layer)| format!("cache {index}: {} x {}", layer.kv_heads, layer.head_size));
    steps.chain(layers).collect()
}

fn operation(program: &Program, operation: &Operation) -> String {
    let name = |operand: &Operand| operand_name(program, *operand);
    let product = |input: &Operand, weights: &MatrixRows, bias: &Option<std::sync::Arc<[f32]>>| {
        let bias = bias.as_ref().map(|bias| format!(" + {}", row(bias))).unwrap_or_default();
        format!("{} @ {}{bias}", name(input), rows_name(weights))
    };
    match operation {
        Operation::Embed { table } => format!("embed {}", letter(&table.matrix)),
        Operation::Multiply { input, weights, bias, residual } => {
            let residual = residual.as_ref().map(|residual| format!(" + {}", name(residual)));
            product(input, weights, bias) + &residual.unwrap_or_default()
        }
        Operation::GatedMultiply { input, gate, gate_bias, up, up_bias, activation } => format!(
            "{}({}) * ({})",
            function(*activation),
            product(input, gate, gate_bias),
            product(input, up, up_bias)
        ),
        Operation::Gated { gate, up, activation } => {
            format!("{}({}) * {}", function(*activation), name(gate), name(up))
        }
        Operation::Norm { input, kind, weight, epsilon } => {
            let kind = match kind {
                NormKind::Rms => "rms".to_owned(),
                NormKind::Layer { bias } => format!("layer, bias {bias:?}"),
            };
            format!("norm({}, {kind}, weight {}, epsilon {epsilon})", name(input), row(weight))
        }
        Operation::Activate { input, activation } => format!("{}({})", function(*activation), name(input)),
        Operation::Add { left, right } => format!("{} + {}", name(left), name(right)),
        Operation::Mul { left, right } => format!("{} * {}", name(left), name(right)),
        Operation::AddRow { input, row: added } => format!("{} + {}", name(input), row(added)),
        Operation::MulRow { input, row: factors } => format!("{} * {}", name(input), row(factors)),
        Operation::Scale { input, factor } => format!("{} * {factor}", name(input)),
        Operation::Rotate { input, head_size, rope, interleaved } => {
            format!("rotate({}, heads of {head_size}{})", name(input), rotation(*rope, *interleaved))
        }
        Operation::Attend(attention) => attend(program, attention),
    }
}

fn attend(program: &Program, attention: &Attention) -> String {
    let Attention { query, key, value, heads, cache, scale, softcap, window, rope, sinks } = attention;
    let [query, key, value] = [query, key, value].map(|operand| operand_name(program, *operand));
    let rope = rope.map(|(rope, interleaved)| rotation(rope, interleaved)).unwrap_or_default();
    let softcap = softcap.map(|softcap| format!(", softcap {softcap}")).unwrap_or_default();
    let window = window.map(|window| format!(", window {window}")).unwrap_or_default();
    let sinks = sinks.as_ref().map(|sinks| format!(", sinks {}", row(sinks))).unwrap_or_default();
    format!(
        "attend({query}, {key}, {value}, {heads} heads, cache {cache}, scale {scale}{rope}{softcap}{window}{sinks})"
    )
}

fn rotation(rope: usize, interleaved: bool) -> String {
    format!(", rope {rope}{}", if interleaved { " interleaved" } else { "" })
}

fn function(activation: Activation) -> String {
    format!("{activation:?}").to_lowercase()
}

fn operand_name(program: &Program, operand: Operand) -> String {
    let Operand { value, start, width } = operand;
    if operand == program.whole(value) {
        format!("v{}", value.0)
    } else {
        format!("v{}[{start}..{}]", value.0, start + width)
    }
}

fn rows_name(weights: &MatrixRows) -> String {
    let letter = letter(&weights.matrix);
    if weights.rows == weights.matrix.rows() && weights.start == 0 {
        letter.to_string()
    } else {
        format!("{letter}[{}..{}]", weights.start, weights.start + weights.rows)
    }
}

fn letter(matrix: &Matrix) -> char {
    let Matrix::Dense(weights) = matrix else { panic!("the builder makes dense matrices only") };
    let first = weights.elements.view().get(0).unwrap();
    LETTERS.into_iter().find(|letter| element(*letter, 0) == first).unwrap()
}

fn row(row: &[f32]) -> String {
    let elements: Vec<String> = row.iter().map(ToString::to_string).collect();
    format!("[{}]", elements.join(", "))
}
