//! Qualcomm NPUs and GPUs.

use ort::ep;

use super::{GPU_VARIANTS, Row, configured};
use crate::engine::Provider;

pub(super) const ROW: Row = Row {
    provider: Provider::Qnn,
    name: "QNNExecutionProvider",
    keys: &[
        "backend_type",
        "backend_path",
        "profiling_level",
        "profiling_file_path",
        "rpc_control_latency",
        "vtcm_mb",
        "htp_performance_mode",
        "qnn_saver_path",
        "qnn_context_priority",
        "htp_graph_finalization_optimization_mode",
        "soc_model",
        "htp_arch",
        "device_id",
        "enable_htp_fp16_precision",
        "enable_htp_weight_sharing",
        "offload_graph_io_quantization",
        "enable_htp_shared_memory_allocator",
        "dump_json_qnn_graph",
        "json_qnn_graph_dir",
    ],
    defaults: &[],
    capture_keys: &[],
    memory: None,
    shares_cache: false,
    static_mask: false,
    plugin: Some(("onnxruntime_qnn", "onnxruntime_providers_qnn")),
    needs: "the plug-in onnxruntime-qnn and Qualcomm's libraries",
    folders: &["qnn", "npu"],
    variants: GPU_VARIANTS,
    build: |options| Ok(configured(ep::QNN::default(), options).build()),
};
