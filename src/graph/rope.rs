//! Which rotation table applies to which sequence length.
//!
//! LongRoPE models hold two tables and choose by the sequence's length: through an `If` node, or by one table after the
//! other and a shift of the positions. Both spellings become [`Rope::variants`] and one switch length.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::onnx::{AttributeValue, Graph, Node, Tensor};

use super::control::{Call, Evaluation, branch_taken};
use super::program::{Rope, RopeVariant};
use super::view::GraphView;

/// The rotations of a graph, each resolved once.
#[derive(Debug, Default)]
pub(crate) struct Rotations {
    ropes: Vec<Rope>,
    by_names: HashMap<(String, String, Option<String>), usize>,
    switch_length: Option<usize>,
}

/// What selects a table row: the branch of an `If`, and the shift of the positions.
type Selection = (Option<bool>, usize);

impl Rotations {
    pub(crate) fn get(&self, index: usize) -> Option<&Rope> {
        self.ropes.get(index)
    }

    pub(crate) fn finish(self) -> (Vec<Rope>, Option<usize>, Option<usize>) {
        let switch = self.switch_length;
        let positions = self
            .ropes
            .iter()
            .filter_map(|rope| rope.variants.last())
            .map(|variant| variant.rows - variant.row_offset);
        let positions = positions.min();
        (self.ropes, switch, positions)
    }

    pub(crate) fn resolve<'a>(
        &mut self,
        view: &GraphView<'a>,
        context_length: usize,
        cosines: &'a str,
        sines: &'a str,
        positions: Option<&'a str>,
    ) -> Result<usize> {
        let key = (cosines.to_owned(), sines.to_owned(), positions.map(str::to_owned));
        if let Some(index) = self.by_names.get(&key) {
            return Ok(*index);
        }
        let source = Source { view, cosines, sines, positions };
        let longest = context_length.max(2);
        let (first, last) = (source.select(1)?, source.select(longest)?);
        let mut variants = vec![source.variant(first)?];
        if first != last {
            let (mut same, mut different) = (1, longest);
            while different - same > 1 {
                let middle = same + (different - same) / 2;
                if source.select(middle)? == first { same = middle } else { different = middle }
            }
            if source.select(different)? != last
                || self.switch_length.is_some_and(|length| length != different)
            {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "the rotation tables switch at more than one length",
                )
                .with_node(cosines));
            }
            self.switch_length = Some(different);
            variants.push(source.variant(last)?);
        }
        let dimensions =
            variants.first().map_or(0, |variant| 2 * variant.cosines.len() / variant.rows.max(1));
        if variants.iter().any(|variant| 2 * variant.cosines.len() / variant.rows.max(1) != dimensions) {
            return Err(
                Error::new(ErrorKind::InvalidModel, "the rotation tables differ in width").with_node(cosines)
            );
        }
        self.ropes.push(Rope { dimensions, variants });
        self.by_names.insert(key, self.ropes.len() - 1);
        Ok(self.ropes.len() - 1)
    }
}

struct Source<'v, 'a> {
    view: &'v GraphView<'a>,
    cosines: &'a str,
    sines: &'a str,
    positions: Option<&'a str>,
}

impl<'a> Source<'_, 'a> {
    /// What a sequence of `length` positions selects.
    fn select(&self, length: usize) -> Result<Selection> {
        let call = Call { past: length - 1, new: 1 };
        let branch = match self.branching() {
            Some(node) => Some(branch_taken(self.view, node, call)?),
            None => None,
        };
        let Some(positions) = self.positions else { return Ok((branch, 0)) };
        let offset = self.offset(positions, call)?;
        // The same selection must follow from a longer call: prefill in one pass.
        let prefill = Call { past: length - length.min(3), new: length.min(3) };
        if self.offset(positions, prefill)? != offset {
            return Err(self.odd_positions());
        }
        Ok((branch, offset))
    }

    /// The shift that `positions` adds to the positions of `call`.
    fn offset(&self, positions: &str, call: Call) -> Result<usize> {
        let value = Evaluation::new(self.view, call).value(positions)?;
        let expected = value.elements.len() == call.new || value.elements.len() == 1;
        let first = value.elements.first().copied().unwrap_or(-1);
        let offset = usize::try_from(first).ok().and_then(|row| row.checked_sub(call.past));
        let consecutive = value.elements.iter().zip(first..).all(|(element, wanted)| *element == wanted);
        offset.filter(|_| expected && consecutive).ok_or_else(|| self.odd_positions())
    }

    fn odd_positions(&self) -> Error {
        Error::new(ErrorKind::Unsupported, "the positions are not those of consecutive tokens")
            .with_node(self.positions.unwrap_or(""))
    }

    /// The `If` node that chooses the tables, if there is one.
    fn branching(&self) -> Option<&'a Node<'a>> {
        self.view.producer(self.cosines).filter(|node| node.op_type == "If" && node.domain.is_empty())
    }

    fn variant(&self, (branch, row_offset): Selection) -> Result<RopeVariant> {
        let cosines = self.table(self.cosines, branch)?;
        let sines = self.table(self.sines, branch)?;
        let [rows, width] = cosines.dims[..] else {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!("a rotation table of shape {:?}", cosines.dims),
            )
            .with_node(self.cosines));
        };
        if sines.dims != cosines.dims || width == 0 || rows == 0 {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!("tables of shapes {:?} and {:?}", cosines.dims, sines.dims),
            )
            .with_node(self.cosines));
        }
        let rows = usize::try_from(rows).ok().filter(|rows| *rows > row_offset).ok_or_else(|| {
            Error::new(ErrorKind::InvalidModel, format!("{rows} rows do not reach the positions"))
                .with_node(self.cosines)
        })?;
        Ok(RopeVariant {
            cosines: self.view.floats(&cosines)?,
            sines: self.view.floats(&sines)?,
            rows,
            row_offset,
        })
    }

    fn table(&self, name: &str, branch: Option<bool>) -> Result<Tensor<'a>> {
        if let Some(tensor) = self.view.constant(name)? {
            return Ok(tensor.into_owned());
        }
        let found = match (self.branching(), branch) {
            (Some(node), Some(taken)) => {
                let attribute = if taken { "then_branch" } else { "else_branch" };
                let output = node.outputs.iter().position(|output| *output == name);
                match (node.attribute(attribute), output) {
                    (Some(AttributeValue::Graph(graph)), Some(output)) => self.branch_table(graph, output),
                    _ => None,
                }
            }
            _ => None,
        };
        found.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("the rotation table {name} is not a constant"))
        })
    }

    /// Output `index` of a branch, if it is a constant.
    fn branch_table(&self, graph: &Graph<'a>, index: usize) -> Option<Tensor<'a>> {
        let name = graph.outputs.get(index)?.name;
        if let Some(tensor) = graph.initializers.iter().find(|tensor| tensor.name == name) {
            return Some(tensor.clone());
        }
        let node = graph.nodes.iter().find(|node| node.outputs.contains(&name))?;
        match (node.op_type, node.attribute("value"), node.inputs.first()) {
            ("Constant", Some(AttributeValue::Tensor(tensor)), _) => Some(tensor.clone()),
            ("Identity", _, Some(input)) => {
                self.view.constant(input).ok().flatten().map(std::borrow::Cow::into_owned)
            }
            _ => None,
        }
    }
}
