//! The XNNPACK kernels on the CPU. Of graphs with fused attention they run little.

use ort::ep;

use super::{CPU_FOLDERS, CPU_VARIANTS, Row, configured};
use crate::engine::Provider;

pub(super) const ROW: Row = Row {
    provider: Provider::Xnnpack,
    name: "XnnpackExecutionProvider",
    keys: &["intra_op_num_threads"],
    defaults: &[],
    capture_keys: &[],
    memory: None,
    shares_cache: true,
    static_mask: false,
    plugin: None,
    needs: "an ONNX Runtime that was built with XNNPACK",
    folders: CPU_FOLDERS,
    variants: CPU_VARIANTS,
    build: |options| Ok(configured(ep::XNNPACK::default(), options).build()),
};
