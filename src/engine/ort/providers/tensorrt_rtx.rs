//! NVIDIA RTX GPUs through TensorRT for RTX. It reads and writes the new keys and values in place, with masks of a fixed width.

use ort::ep;

use super::{GPU_VARIANTS, Row, configured};
use crate::engine::Provider;

pub(super) const ROW: Row = Row {
    provider: Provider::TensorRtRtx,
    name: "NvTensorRTRTXExecutionProvider",
    keys: &[
        "device_id",
        "nv_max_workspace_size",
        "nv_max_shared_mem_size",
        "nv_dump_subgraphs",
        "nv_detailed_build_log",
        "nv_profile_min_shapes",
        "nv_profile_max_shapes",
        "nv_profile_opt_shapes",
        "nv_multi_profile_enable",
        "nv_use_external_data_initializer",
        "nv_runtime_cache_path",
    ],
    defaults: &[],
    capture_keys: &["enable_cuda_graph", "nv_cuda_graph_enable"],
    memory: Some("Cuda"),
    shares_cache: true,
    static_mask: true,
    plugin: Some(("onnxruntime_ep_nv_tensorrt_rtx", "onnxruntime_providers_nv_tensorrt_rtx")),
    needs: "the plug-in onnxruntime-ep-nv-tensorrt-rtx",
    folders: &["nvtensorrtrtx", "trtrtx", "NvTensorRtRtx"],
    variants: GPU_VARIANTS,
    build: |options| Ok(configured(ep::NVRTX::default(), options).build()),
};
