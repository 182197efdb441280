//! Which rotation table applies to which sequence length.
//!
//! LongRoPE models hold two tables and choose by the sequence's length: through an `If` node, by one table after the
//! other and a shift of the positions, or by one after the other and an option of the execution provider. All spellings
//! become [`Rope::variants`] and one switch length.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::onnx::{AttributeValue, Graph, Node, Tensor};

use super::control::{Call, Control};
use super::program::{Rope, RopeVariant};
use super::view::{GraphView, MAXIMUM_CHAIN};

/// Where configuration files say which row begins the second of two tables in one.
const OFFSET_OPTION: &str = "multi_rotary_cache_concat_offset";

/// What the configuration tells of rotation tables.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RotationOptions {
    /// The most positions of a sequence, where stated.
    pub(crate) context_length: Option<usize>,
    /// The row at which a second table begins, where stated.
    pub(crate) second_table: Option<usize>,
}

/// The rotations of a graph, each resolved once.
#[derive(Debug, Default)]
pub(crate) struct Rotations {
    options: RotationOptions,
    ropes: Vec<Rope>,
    by_names: HashMap<(String, String, Option<String>), usize>,
    switch_length: Option<usize>,
}

/// What selects a table row: the branch of each table's `If`, and the shift of the positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Selection {
    cosines: Option<bool>,
    sines: Option<bool>,
    row_offset: usize,
}

impl Rotations {
    pub(crate) fn new(options: RotationOptions) -> Self {
        Self { options, ..Self::default() }
    }

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
        control: &mut Control<'_, 'a>,
        cosines: &'a str,
        sines: &'a str,
        positions: Option<&'a str>,
    ) -> Result<usize> {
        let key = (cosines.to_owned(), sines.to_owned(), positions.map(str::to_owned));
        if let Some(index) = self.by_names.get(&key) {
            return Ok(*index);
        }
        let source = Source {
            view,
            cosines: Table::find(view, cosines)?,
            sines: Table::find(view, sines)?,
            positions,
        };
        let mut variants = match source.switch(control, self.options.context_length)? {
            (first, Some((length, last))) => {
                self.set_switch(length, cosines)?;
                vec![source.variant(first)?, source.variant(last)?]
            }
            (only, None) => {
                let variant = source.variant(only)?;
                match second_table(&variant, only, self.options, cosines)? {
                    Some(row_offset) => {
                        self.set_switch(row_offset + 1, cosines)?;
                        let second = RopeVariant { row_offset, ..variant.clone() };
                        vec![variant, second]
                    }
                    None => vec![variant],
                }
            }
        };
        let width = |variant: &RopeVariant| 2 * variant.cosines.len() / variant.rows.max(1);
        let dimensions = variants.first().map_or(0, width);
        if variants.iter().any(|variant| width(variant) != dimensions) {
            return Err(
                Error::new(ErrorKind::InvalidModel, "the rotation tables differ in width").with_node(cosines)
            );
        }
        if let ([first, _], Some(switch)) = (&mut variants[..], self.switch_length) {
            let (rows, used) = (first.rows - first.row_offset, switch - 1);
            if rows < used {
                let message =
                    format!("the first rotation table has {rows} rows but is used for {used} positions");
                return Err(Error::new(ErrorKind::InvalidModel, message).with_node(cosines));
            }
            first.rows = first.row_offset + used;
        }
        self.ropes.push(Rope { dimensions, variants });
        self.by_names.insert(key, self.ropes.len() - 1);
        Ok(self.ropes.len() - 1)
    }

    fn set_switch(&mut self, length: usize, cosines: &str) -> Result<()> {
        if self.switch_length.is_some_and(|other| other != length) {
            return Err(several_switches(cosines));
        }
        self.switch_length = Some(length);
        Ok(())
    }
}

fn several_switches(cosines: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "the rotation tables switch at more than one length")
        .with_node(cosines)
}

/// The row of `table` at which a second table begins although nothing in the graph chooses it: execution providers whose
/// attention rotates by two tables in one get that row as an option, and it is the one row but the first that does
/// not rotate.
fn second_table(
    table: &RopeVariant,
    selection: Selection,
    options: RotationOptions,
    name: &str,
) -> Result<Option<usize>> {
    if selection != (Selection { cosines: None, sines: None, row_offset: 0 }) {
        return Ok(None);
    }
    let width = table.sines.len() / table.rows.max(1);
    let sines = table.sines.view();
    let is_still = |row: &usize| (row * width..(row + 1) * width).all(|index| sines.get(index) == Some(0.0));
    if let Some(row) = options.second_table {
        if row == 0 || row >= table.rows || !is_still(&row) {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!(
                    "row {row} of {name} does not begin a second rotation table, as {OFFSET_OPTION} says"
                ),
            )
            .with_hint("the provider options in genai_config.json belong to another graph"));
        }
        return Ok(Some(row));
    }
    // A table that is no longer than the context is one table.
    if options.context_length.is_some_and(|context| table.rows <= context) {
        return Ok(None);
    }
    let mut still = (1..table.rows).filter(is_still);
    match (still.next(), still.next()) {
        (None, _) => Ok(None),
        (Some(row), None) => Ok(Some(row)),
        (Some(row), Some(other)) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("rows {row} and {other} of {name} could each begin a second rotation table"),
        )
        .with_hint(format!("the provider option {OFFSET_OPTION} in genai_config.json must say which does"))),
    }
}

/// Cosines or sines: a constant, or chosen by an `If`.
struct Table<'a> {
    name: &'a str,
    /// The value behind casts.
    origin: &'a str,
    branching: Option<&'a Node<'a>>,
}

impl<'a> Table<'a> {
    fn find(view: &GraphView<'a>, name: &'a str) -> Result<Self> {
        let origin = view.origin(name)?;
        let branching = view.producer(origin).filter(|node| node.op_type == "If" && node.domain.is_empty());
        Ok(Self { name, origin, branching })
    }

    fn branch_taken(&self, control: &mut Control<'_, 'a>, call: Call) -> Result<Option<bool>> {
        self.branching.map(|node| control.branch_taken(call, node)).transpose()
    }

    fn tensor(&self, view: &GraphView<'a>, branch: Option<bool>) -> Result<Tensor<'a>> {
        if let Some(tensor) = view.constant(self.name)? {
            return Ok(tensor.into_owned());
        }
        let mut found = None;
        if let (Some(node), Some(taken)) = (self.branching, branch) {
            let attribute = if taken { "then_branch" } else { "else_branch" };
            let output = node.outputs.iter().position(|output| *output == self.origin);
            if let (Some(AttributeValue::Graph(graph)), Some(output)) = (node.attribute(attribute), output) {
                found = branch_table(view, graph, output)?;
            }
        }
        found.ok_or_else(|| {
            let name = self.name;
            Error::new(ErrorKind::Unsupported, format!("the rotation table {name} is not a constant"))
        })
    }

    /// The most rows that the table has in any branch.
    fn rows(&self, view: &GraphView<'a>) -> Result<usize> {
        let branches: &[Option<bool>] =
            if self.branching.is_some() { &[Some(true), Some(false)] } else { &[None] };
        let mut most = 0;
        for branch in branches {
            let rows = self.tensor(view, *branch)?.dims.first().copied().unwrap_or(0);
            most = most.max(usize::try_from(rows).unwrap_or(usize::MAX));
        }
        Ok(most)
    }
}

/// Output `index` of a branch, if it is a constant.
fn branch_table<'a>(view: &GraphView<'a>, graph: &Graph<'a>, index: usize) -> Result<Option<Tensor<'a>>> {
    let Some(output) = graph.outputs.get(index) else { return Ok(None) };
    let mut name = output.name;
    for _ in 0..MAXIMUM_CHAIN {
        if let Some(tensor) = graph.initializers.iter().find(|tensor| tensor.name == name) {
            return Ok(Some(tensor.clone()));
        }
        let Some(node) = graph.nodes.iter().find(|node| node.outputs.contains(&name)) else {
            return Ok(view.constant(name)?.map(std::borrow::Cow::into_owned));
        };
        match (node.op_type, node.attribute("value"), node.inputs.first()) {
            ("Constant", Some(AttributeValue::Tensor(tensor)), _) => return Ok(Some(tensor.clone())),
            ("Identity" | "Cast", _, Some(input)) => name = input,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

struct Source<'v, 'a> {
    view: &'v GraphView<'a>,
    cosines: Table<'a>,
    sines: Table<'a>,
    positions: Option<&'a str>,
}

impl<'a> Source<'_, 'a> {
    /// The selection for short sequences, and where there is another, the length from which it applies.
    fn switch(
        &self,
        control: &mut Control<'_, 'a>,
        context_length: Option<usize>,
    ) -> Result<(Selection, Option<(usize, Selection)>)> {
        let rows = self.cosines.rows(self.view)?.max(self.sines.rows(self.view)?);
        let longest = context_length.map_or(rows, |context| rows.min(context)).max(2);
        let (first, last) = (self.select(control, 1)?, self.select(control, longest)?);
        if first == last {
            return Ok((first, None));
        }
        let (mut same, mut different) = (1, longest);
        while different - same > 1 {
            let middle = same + (different - same) / 2;
            if self.select(control, middle)? == first { same = middle } else { different = middle }
        }
        if self.select(control, different)? != last {
            return Err(several_switches(self.cosines.name));
        }
        Ok((first, Some((different, last))))
    }

    /// What a sequence of `length` positions selects.
    fn select(&self, control: &mut Control<'_, 'a>, length: usize) -> Result<Selection> {
        let call = Call::of(length - 1, 1);
        let cosines = self.cosines.branch_taken(control, call)?;
        let sines = self.sines.branch_taken(control, call)?;
        let Some(positions) = self.positions else { return Ok(Selection { cosines, sines, row_offset: 0 }) };
        let row_offset = self.offset(control, positions, call)?;
        // The same selection must follow from a longer call: prefill in one pass.
        let new = length.min(3);
        if self.offset(control, positions, Call::of(length - new, new))? != row_offset {
            return Err(self.odd_positions());
        }
        Ok(Selection { cosines, sines, row_offset })
    }

    /// The shift that `positions` adds to the positions of `call`.
    fn offset(&self, control: &mut Control<'_, 'a>, positions: &str, call: Call) -> Result<usize> {
        let value = control.value(call, positions)?;
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

    fn variant(&self, selection: Selection) -> Result<RopeVariant> {
        let row_offset = selection.row_offset;
        let cosines = self.cosines.tensor(self.view, selection.cosines)?;
        let sines = self.sines.tensor(self.view, selection.sines)?;
        let [rows, width] = cosines.dims[..] else {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!("a rotation table of shape {:?}", cosines.dims),
            )
            .with_node(self.cosines.name));
        };
        if sines.dims != cosines.dims || width == 0 || rows == 0 {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                format!("tables of shapes {:?} and {:?}", cosines.dims, sines.dims),
            )
            .with_node(self.cosines.name));
        }
        let rows = usize::try_from(rows).ok().filter(|rows| *rows > row_offset).ok_or_else(|| {
            Error::new(ErrorKind::InvalidModel, format!("{rows} rows do not reach the positions"))
                .with_node(self.cosines.name)
        })?;
        Ok(RopeVariant {
            cosines: self.view.floats(&cosines)?,
            sines: self.view.floats(&sines)?,
            rows,
            row_offset,
        })
    }
}
