//! Rotations of queries and keys move into the attention step that reads them.

use super::rewrite_each;
use crate::graph::program::{Attention, Operation, Program};

pub(super) fn run(program: &mut Program) {
    rewrite_each(program, |uses, step| {
        let Operation::Attend(attention) = &step.operation else { return None };
        if attention.rope.is_some() {
            return None;
        }
        let head_size = uses.program.layers.get(attention.cache)?.head_size;
        let rotation = |operand| match uses.only(operand)?.operation {
            Operation::Rotate { input, head_size: size, rope, interleaved } if size == head_size => {
                Some((input, (rope, interleaved)))
            }
            _ => None,
        };
        let (query, of_query) = rotation(attention.query)?;
        let (key, of_key) = rotation(attention.key)?;
        (of_query == of_key).then(|| {
            Operation::Attend(Box::new(Attention {
                query,
                key,
                rope: Some(of_query),
                ..(**attention).clone()
            }))
        })
    });
}

#[cfg(test)]
pub(super) mod tests {
    use crate::graph::passes::tests::{Builder, Case, becomes, columns, stays};
    use crate::graph::{Attention, Operand};

    /// Queries, keys and values of one head each.
    fn packed(b: &mut Builder) -> [Operand; 3] {
        let x = b.embed('a', 24);
        [0, 8, 16].map(|start| columns(x, start, 8))
    }

    pub(in crate::graph::passes) fn cases() -> Vec<Case> {
        vec![
            becomes(
                "rotated queries and keys, two heads each",
                |b| {
                    let (q, k, v) = (b.embed('a', 16), b.embed('b', 16), b.embed('c', 16));
                    let (q, k) = (b.rotate(q, 8, 1, false), b.rotate(k, 8, 1, false));
                    let attention = b.attention(q, k, v);
                    b.attend(attention)
                },
                &[
                    "v0 = embed a",
                    "v1 = embed b",
                    "v2 = embed c",
                    "v5 = attend(v0, v1, v2, 2 heads, cache 0, scale 0.5, rope 1)",
                    "cache 0: 2 x 8",
                ],
            ),
            becomes(
                "what else the attention does stays",
                |b| {
                    let [q, k, v] = packed(b);
                    let (q, k) = (b.rotate(q, 8, 0, true), b.rotate(k, 8, 0, true));
                    let attention = b.attention(q, k, v);
                    b.attend(Attention {
                        softcap: Some(1.5),
                        window: Some(2),
                        sinks: Some([0.25].into()),
                        ..attention
                    })
                },
                &[
                    "v0 = embed a",
                    "v3 = attend(v0[0..8], v0[8..16], v0[16..24], 1 heads, cache 0, scale 0.5, \
                     rope 0 interleaved, softcap 1.5, window 2, sinks [0.25])",
                    "cache 0: 1 x 8",
                ],
            ),
            stays("only the queries are rotated", |b| {
                let [q, k, v] = packed(b);
                let q = b.rotate(q, 8, 0, false);
                let attention = b.attention(q, k, v);
                b.attend(attention)
            }),
            stays("only the keys are rotated", |b| {
                let [q, k, v] = packed(b);
                let k = b.rotate(k, 8, 0, false);
                let attention = b.attention(q, k, v);
                b.attend(attention)
            }),
            stays("keys and values are rotated", |b| {
                let [q, k, v] = packed(b);
                let (k, v) = (b.rotate(k, 8, 0, false), b.rotate(v, 8, 0, false));
                let attention = b.attention(q, k, v);
                b.attend(attention)
            }),
            stays("queries and keys are rotated by different tables", |b| {
                let [q, k, v] = packed(b);
                let (q, k) = (b.rotate(q, 8, 0, false), b.rotate(k, 8, 1, false));
                let attention = b.attention(q, k, v);
                b.attend(attention)
            }),
            stays("queries and keys are paired differently", |b| {
                let [q, k, v] = packed(b);
                let (q, k) = (b.rotate(q, 8, 0, false), b.rotate(k, 8, 0, true));
                let attention = b.attention(q, k, v);
                b.attend(attention)
            }),
            stays("heads of another size are rotated", |b| {
                let [q, k, v] = packed(b);
                let (q, k) = (b.rotate(q, 4, 0, false), b.rotate(k, 4, 0, false));
                let attention = b.attention(q, k, v);
                b.attend(attention)
            }),
            stays("the rotated keys are read by another step too", |b| {
                let [q, k, v] = packed(b);
                let (q, k) = (b.rotate(q, 8, 0, false), b.rotate(k, 8, 0, false));
                let attention = b.attention(q, k, v);
                let attended = b.attend(attention);
                b.add(attended, k)
            }),
            stays("some columns of a rotated value", |b| {
                let x = b.embed('a', 24);
                let rotated = b.rotate(columns(x, 0, 16), 8, 0, false);
                let (q, k) = (columns(rotated, 0, 8), columns(rotated, 8, 8));
                let attention = b.attention(q, k, columns(x, 16, 8));
                b.attend(attention)
            }),
            stays("the attention rotates already", |b| {
                let [q, k, v] = packed(b);
                let (q, k) = (b.rotate(q, 8, 0, false), b.rotate(k, 8, 0, false));
                let attention = b.attention(q, k, v);
                b.attend(Attention { rope: Some((0, false)), ..attention })
            }),
        ]
    }
}
