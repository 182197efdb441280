//! The runs of a sequence: tensors bound to the session's inputs and outputs, and the rows of logits that are wanted.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use half::{bf16, f16};
use ort::session::IoBinding;
use ort::value::{DynTensor, DynValue, Tensor};

use super::cache::{self, OrtCache};
use super::failure::of_run;
use super::interface::NumberInput;
use super::{OrtEngine, Runner};
use crate::engine::RunControl;
use crate::error::{Error, ErrorKind, Result};

/// The runs of one sequence.
pub(super) struct Pass<'p> {
    pub(super) engine: &'p OrtEngine,
    pub(super) runner: &'p mut Runner,
    pub(super) control: &'p RunControl,
    pub(super) vocabulary: Option<&'p [u32]>,
}

impl Pass<'_> {
    /// Feeds the tokens at `indices` after `depth` others that follow the cached positions, and fills in the rows that are
    /// wanted of them. Returns the tensors of the longer sequence where they are not shared.
    pub(super) fn chain(
        &mut self,
        cache: &mut OrtCache,
        depth: usize,
        indices: &[usize],
        tokens: &[u32],
        rows: &mut BTreeMap<usize, Vec<f32>>,
    ) -> Result<Option<Vec<DynTensor>>> {
        let mut past = cache.length + depth;
        let mut tensors: Option<Vec<DynTensor>> = None;
        for piece in self.pieces(indices, rows) {
            let ids: Vec<i64> = piece.iter().map(|index| i64::from(tokens[*index])).collect();
            let wanted: Vec<(usize, usize)> = piece
                .iter()
                .enumerate()
                .filter(|(_, index)| rows.contains_key(*index))
                .map(|(row, index)| (row, *index))
                .collect();
            let new = self.run(cache, tensors.as_deref(), past, ids, &wanted, rows)?;
            if !self.engine.is_shared {
                tensors = Some(new);
            }
            past += piece.len();
        }
        Ok(tensors)
    }

    /// Cuts a chain where that saves work: a graph that gives the last logits alone needs a run for each that is wanted, and from
    /// a device's memory only a single row is fetched in place of all.
    fn pieces<'i>(&self, indices: &'i [usize], rows: &BTreeMap<usize, Vec<f32>>) -> Vec<&'i [usize]> {
        let is_wanted = |index: &usize| rows.contains_key(index);
        let (last, before) = match indices.split_last() {
            Some((last, before)) if !before.is_empty() => (last, before),
            _ => return vec![indices],
        };
        if self.engine.interface.only_last {
            let mut pieces = Vec::new();
            let mut start = 0;
            for (place, index) in indices.iter().enumerate() {
                if is_wanted(index) || place + 1 == indices.len() {
                    pieces.push(&indices[start..=place]);
                    start = place + 1;
                }
            }
            return pieces;
        }
        if self.engine.row.memory.is_some() && is_wanted(last) && !before.iter().any(is_wanted) {
            return vec![before, &indices[before.len()..]];
        }
        vec![indices]
    }

    /// One run of the session.
    fn run(
        &mut self,
        cache: &mut OrtCache,
        tensors: Option<&[DynTensor]>,
        past: usize,
        ids: Vec<i64>,
        wanted: &[(usize, usize)],
        rows: &mut BTreeMap<usize, Vec<f32>>,
    ) -> Result<Vec<DynTensor>> {
        let Self { engine, runner, control, vocabulary } = self;
        let interface = &engine.interface;
        let (count, total) = (ids.len(), past + ids.len());
        let failed = |error: ort::Error| of_run(&error);
        let mut own_binding;
        let binding = if engine.is_shared {
            cache
                .binding
                .as_mut()
                .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "the cache was not prepared"))?
        } else {
            own_binding = runner.session.create_binding().map_err(failed)?;
            let tensors = tensors.unwrap_or(&cache.tensors);
            for (index, shape) in engine.shapes.iter().enumerate() {
                match tensors.get(index) {
                    Some(tensor) => own_binding.bind_input(&*shape.past, tensor).map_err(failed)?,
                    None => {
                        let empty = cache::allocate(&runner.allocator, shape, 0)?;
                        own_binding.bind_input(&*shape.past, &empty).map_err(failed)?;
                    }
                }
                own_binding.bind_output_to_device(&*shape.present, &runner.cache_memory).map_err(failed)?;
            }
            &mut own_binding
        };
        bind(binding, &interface.tokens, ids)?;
        if let Some(mask) = &interface.mask {
            let width = if engine.row.static_mask { cache.capacity.max(total) } else { total };
            let ones = (0..width).map(|position| i64::from(position < total)).collect();
            bind(binding, mask, ones)?;
        }
        if let Some(positions) = &interface.positions {
            bind(binding, positions, (past as i64..total as i64).collect())?;
        }
        let first_wanted = wanted.first().map_or(count - 1, |(row, _)| *row);
        if let Some(keep) = &interface.logits_to_keep {
            bind(binding, keep, vec![(count - first_wanted) as i64])?;
        }
        // What nobody reads stays where it is made.
        let memory = if wanted.is_empty() { &runner.cache_memory } else { &runner.host_memory };
        binding.bind_output_to_device(&*interface.logits, memory).map_err(failed)?;
        let session = &mut runner.session;
        let mut outputs =
            engine.watch.run(control, |options| session.run_binding_with_options(binding, options))?;
        control.check()?;
        if !wanted.is_empty() {
            let logits = outputs
                .remove(&*interface.logits)
                .ok_or_else(|| Error::new(ErrorKind::Internal, "ONNX Runtime returned no logits"))?;
            read_rows(&logits, count, interface.vocabulary, *vocabulary, wanted, rows)?;
        }
        if engine.is_shared {
            return Ok(Vec::new());
        }
        let mut new = Vec::with_capacity(engine.shapes.len());
        for shape in engine.shapes.iter() {
            let tensor = outputs
                .remove(&*shape.present)
                .ok_or_else(|| Error::new(ErrorKind::Internal, "ONNX Runtime returned no cache"))?;
            let tensor: DynTensor = tensor.downcast().map_err(failed)?;
            let expected = [1, shape.heads, total, shape.head_size].map(|dim| dim as i64);
            if tensor.shape().iter().ne(expected.iter()) {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{} has the shape {:?} after {total} positions", shape.present, tensor.shape()),
                )
                .with_hint("this provider keeps the cache in another way; use another provider"));
            }
            new.push(tensor);
        }
        Ok(new)
    }
}

fn bind(binding: &mut IoBinding, input: &NumberInput, values: Vec<i64>) -> Result<()> {
    let count = values.len() as i64;
    let dims = if input.is_scalar {
        vec![]
    } else if LENGTHS.contains(&input.name.as_str()) {
        vec![count]
    } else {
        vec![1, count]
    };
    let failed = |error: ort::Error| of_run(&error);
    if input.is_short {
        let short: Vec<i32> =
            values.into_iter().map(|value| i32::try_from(value).unwrap_or(i32::MAX)).collect();
        let tensor = Tensor::from_array((dims, short)).map_err(failed)?;
        binding.bind_input(&*input.name, &tensor).map_err(failed)
    } else {
        let tensor = Tensor::from_array((dims, values)).map_err(failed)?;
        binding.bind_input(&*input.name, &tensor).map_err(failed)
    }
}

/// Inputs without a batch.
const LENGTHS: [&str; 2] = ["num_logits_to_keep", "logits_to_keep"];

/// Reads the wanted rows of logits of `count` tokens; the graph gives those of the last of them, or of all.
fn read_rows(
    logits: &DynValue,
    count: usize,
    width: usize,
    vocabulary: Option<&[u32]>,
    wanted: &[(usize, usize)],
    rows: &mut BTreeMap<usize, Vec<f32>>,
) -> Result<()> {
    fn read<T: Copy>(
        all: &[T],
        (count, width): (usize, usize),
        vocabulary: Option<&[u32]>,
        wanted: &[(usize, usize)],
        rows: &mut BTreeMap<usize, Vec<f32>>,
        to_f32: impl Fn(T) -> f32,
    ) -> Option<()> {
        if !all.len().is_multiple_of(width) {
            return None;
        }
        let missing = count.checked_sub(all.len() / width)?;
        for (row, index) in wanted {
            let start = row.checked_sub(missing)? * width;
            let row = all.get(start..start + width)?;
            let values = match vocabulary {
                None => row.iter().map(|value| to_f32(*value)).collect(),
                Some(entries) => entries.iter().map(|entry| to_f32(row[*entry as usize])).collect(),
            };
            rows.insert(*index, values);
        }
        Some(())
    }
    let size = (count, width);
    let found = if let Ok((_, all)) = logits.try_extract_tensor::<f32>() {
        read(all, size, vocabulary, wanted, rows, |value| value)
    } else if let Ok((_, all)) = logits.try_extract_tensor::<f16>() {
        read(all, size, vocabulary, wanted, rows, f16::to_f32)
    } else if let Ok((_, all)) = logits.try_extract_tensor::<bf16>() {
        read(all, size, vocabulary, wanted, rows, bf16::to_f32)
    } else {
        None
    };
    found.ok_or_else(|| {
        let message = format!("ONNX Runtime returned logits of type {} for {count} tokens", logits.dtype());
        Error::new(ErrorKind::Unsupported, message)
    })
}
