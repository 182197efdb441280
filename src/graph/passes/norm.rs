//! A constant row that multiplies a norm without weight becomes its weight, and one that is then added its bias.

use super::rewrite_each;
use crate::graph::program::{NormKind, Operation, Program};

pub(super) fn run(program: &mut Program) {
    rewrite_each(program, |uses, step| {
        let (normed, row, is_weight) = match &step.operation {
            Operation::MulRow { input, row } => (*input, row, true),
            Operation::AddRow { input, row } => (*input, row, false),
            _ => return None,
        };
        let Operation::Norm { input, kind, weight, epsilon } = &uses.only(normed)?.operation else {
            return None;
        };
        // The same row for every group of columns.
        let group = row.get(..weight.len())?;
        if row.chunks(weight.len()).any(|other| other != group) {
            return None;
        }
        let (kind, weight) = match kind {
            NormKind::Rms | NormKind::Layer { bias: None } if is_weight => {
                if weight.iter().any(|weight| *weight != 1.0) {
                    return None;
                }
                (kind.clone(), group.into())
            }
            NormKind::Layer { bias: None } if !is_weight => {
                (NormKind::Layer { bias: Some(group.into()) }, weight.clone())
            }
            _ => return None,
        };
        Some(Operation::Norm { input: *input, kind, weight, epsilon: *epsilon })
    });
}

#[cfg(test)]
pub(super) mod tests {
    use crate::graph::passes::tests::{Case, becomes, columns, stays};

    pub(in crate::graph::passes) fn cases() -> Vec<Case> {
        let row = [0.5, -2.0, 0.25, 4.0];
        vec![
            becomes(
                "norm, weight",
                move |b| {
                    let x = b.embed('a', 4);
                    let normed = b.norm(x);
                    b.mul_row(normed, &row)
                },
                &["v0 = embed a", "v2 = norm(v0, rms, weight [0.5, -2, 0.25, 4], epsilon 0.5)"],
            ),
            becomes(
                "norm, weight, bias",
                move |b| {
                    let x = b.embed('a', 4);
                    let normed = b.layer_norm(x, &[1.0; 4]);
                    let weighted = b.mul_row(normed, &row);
                    b.add_row(weighted, &[1.0, 2.0, 3.0, 4.0])
                },
                &[
                    "v0 = embed a",
                    "v3 = norm(v0, layer, bias Some([1.0, 2.0, 3.0, 4.0]), weight [0.5, -2, 0.25, 4], epsilon 0.5)",
                ],
            ),
            stays("the norm is read by another step too", move |b| {
                let x = b.embed('a', 4);
                let normed = b.norm(x);
                let weighted = b.mul_row(normed, &row);
                b.add(weighted, normed)
            }),
            stays("some columns of the norm", move |b| {
                let x = b.embed('a', 4);
                let normed = b.norm(x);
                b.mul_row(columns(normed, 0, 2), &row[..2])
            }),
            stays("a norm that has a weight", move |b| {
                let x = b.embed('a', 4);
                let normed = b.layer_norm(x, &row);
                b.mul_row(normed, &row)
            }),
            stays("a root mean square with a bias", move |b| {
                let x = b.embed('a', 4);
                let normed = b.norm(x);
                b.add_row(normed, &row)
            }),
            stays("a row that multiplies no norm", move |b| {
                let x = b.embed('a', 4);
                b.mul_row(x, &row)
            }),
        ]
    }
}
