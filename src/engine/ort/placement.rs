//! Which provider runs which nodes of a session.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};

use ort::AsPointer;
use ort::session::Session;

use super::failure::unavailable;
use super::providers::Row;
use crate::error::Result;
use crate::onnx;

/// The session entry without which nothing is recorded.
pub(super) const RECORD: &str = "session.record_ep_graph_assignment_info";

/// Operators that do a model's work. Where these run is what a choice of provider is about; the few nodes around masks and
/// lengths run on the CPU in any case.
const WORK: [&str; 12] = [
    "MatMulNBits",
    "MatMul",
    "Gemm",
    "GroupQueryAttention",
    "MultiHeadAttention",
    "Attention",
    "FusedMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QLinearMatMul",
    "MatMulBnb4",
];

/// Nodes by provider and operator.
pub(super) type Placement = BTreeMap<String, BTreeMap<String, usize>>;

/// Asks the session of `graph`.
///
/// ONNX Runtime records what the CPU provider and those that compile parts of a graph run. Where it has nothing of the provider
/// that was asked for, the provider runs the nodes of the graph that are recorded nowhere.
pub(super) fn of(session: &Session, graph: &onnx::Graph<'_>, row: &Row) -> Result<Placement> {
    let mut placement = recorded(session)?;
    if !placement.contains_key(row.name) {
        let rest = unrecorded(&placement, graph);
        if !rest.is_empty() {
            placement.insert(row.name.to_owned(), rest);
        }
    }
    Ok(placement)
}

/// The nodes of a graph, by operator, that no provider has.
fn unrecorded(placement: &Placement, graph: &onnx::Graph<'_>) -> BTreeMap<String, usize> {
    let mut rest = BTreeMap::new();
    for node in graph.nodes.iter().filter(|node| node.op_type != "Constant") {
        *rest.entry(node.op_type.to_owned()).or_insert(0_usize) += 1;
    }
    for (operator, count) in placement.values().flatten() {
        if let Some(left) = rest.get_mut(operator) {
            *left = left.saturating_sub(*count);
        }
    }
    rest.retain(|_, count| *count > 0);
    rest
}

fn recorded(session: &Session) -> Result<Placement> {
    let api = ort::api();
    let failed = |error: ort::Error| unavailable(format!("the placement of nodes: {}", error.message()));
    let mut subgraphs = std::ptr::null();
    let mut count = 0;
    // SAFETY: the session is alive; the function writes an array that the session owns, and its length.
    let status =
        unsafe { (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &raw mut subgraphs, &raw mut count) };
    // SAFETY: a status that a function has returned, not looked at before.
    unsafe { ort::Error::result_from_status(status) }.map_err(failed)?;
    let mut placement = Placement::new();
    for index in 0..count {
        // SAFETY: the array has `count` pointers, which are valid as long as the session.
        let subgraph = unsafe { *subgraphs.add(index) };
        let provider = text(|out| {
            // SAFETY: `subgraph` is one of the session's; the function writes one pointer to a string of it.
            unsafe { (api.EpAssignedSubgraph_GetEpName)(subgraph, out) }
        })
        .map_err(failed)?;
        let mut nodes = std::ptr::null();
        let mut node_count = 0;
        // SAFETY: as above; an array of the session's and its length.
        let status =
            unsafe { (api.EpAssignedSubgraph_GetNodes)(subgraph, &raw mut nodes, &raw mut node_count) };
        // SAFETY: a status that a function has returned, not looked at before.
        unsafe { ort::Error::result_from_status(status) }.map_err(failed)?;
        let operators = placement.entry(provider).or_default();
        for index in 0..node_count {
            // SAFETY: the array has `node_count` pointers, which are valid as long as the session.
            let node = unsafe { *nodes.add(index) };
            let operator = text(|out| {
                // SAFETY: `node` is one of the session's; the function writes one pointer to a string of it.
                unsafe { (api.EpAssignedNode_GetOperatorType)(node, out) }
            })
            .map_err(failed)?;
            *operators.entry(operator).or_insert(0) += 1;
        }
    }
    Ok(placement)
}

/// A string that a function hands out.
fn text(get: impl FnOnce(*mut *const c_char) -> ort::sys::OrtStatusPtr) -> ort::Result<String> {
    let mut text = std::ptr::null();
    let status = get(&raw mut text);
    // SAFETY: a status that a function has returned, not looked at before.
    unsafe { ort::Error::result_from_status(status) }?;
    if text.is_null() {
        return Ok(String::new());
    }
    // SAFETY: the function has succeeded: the string ends with a zero and lives as long as the session.
    Ok(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// Refuses a placement in which the provider that was asked for does less than half of the work.
pub(super) fn check(placement: &Placement, row: &Row) -> Result<()> {
    let work = |operators: &BTreeMap<String, usize>| {
        operators
            .iter()
            .filter(|(name, _)| WORK.contains(&name.as_str()))
            .map(|(_, count)| count)
            .sum::<usize>()
    };
    let own = placement.get(row.name).map_or(0, work);
    let all: usize = placement.values().map(work).sum();
    if own * 2 >= all && (own > 0 || placement.contains_key(row.name)) {
        return Ok(());
    }
    let elsewhere: Vec<String> = placement
        .iter()
        .filter(|(provider, _)| *provider != row.name)
        .flat_map(|(provider, operators)| operators.iter().map(move |(name, count)| (provider, name, count)))
        .filter(|(_, name, _)| WORK.contains(&name.as_str()))
        .map(|(provider, name, count)| format!("{count} {name} on {provider}"))
        .collect();
    Err(unavailable(format!(
        "the provider {} runs {own} of the {all} products and attentions of this graph; the others: {}",
        row.provider.name(),
        elsewhere.join(", ")
    ))
    .with_hint(if row.folders.is_empty() {
        "use a graph that was made for this provider".to_owned()
    } else {
        format!(
            "use a graph that was made for this provider; they are published in folders such as {}",
            row.folders.join(", ")
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::super::providers;
    use super::*;
    use crate::engine::Provider;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_recorded_nowhere_is_the_providers() {
        let node = |op_type| onnx::Node {
            name: "",
            op_type,
            domain: "",
            inputs: vec![],
            outputs: vec![],
            attributes: vec![],
        };
        let nodes = ["MatMul", "Constant", "Shape", "MatMul"].map(node).to_vec();
        let graph = onnx::Graph { nodes, ..onnx::Graph::default() };
        let cpu =
            BTreeMap::from([("Shape".to_owned(), 1), ("MatMul".to_owned(), 1), ("Other".to_owned(), 3)]);
        let placement = Placement::from([("CPUExecutionProvider".to_owned(), cpu)]);
        assert_eq!(unrecorded(&placement, &graph), BTreeMap::from([("MatMul".to_owned(), 1)]));
    }

    #[test]
    fn a_provider_that_does_not_do_the_work_is_told() {
        let row = providers::row(Provider::Cuda).unwrap();
        let operators = |pairs: &[(&str, usize)]| {
            pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let mut placement = Placement::new();
        placement.insert(
            "CPUExecutionProvider".to_owned(),
            operators(&[("GroupQueryAttention", 16), ("Shape", 1)]),
        );
        let error = check(&placement, row).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineUnavailable);
        assert!(
            error.message().contains("0 of the 16")
                && error.message().contains("16 GroupQueryAttention on CPU"),
            "{error}"
        );
        placement.insert(row.name.to_owned(), operators(&[("MatMulNBits", 81)]));
        check(&placement, row).unwrap();
        placement.insert(row.name.to_owned(), operators(&[("MatMulNBits", 15)]));
        assert!(check(&placement, row).is_err());
    }
}
