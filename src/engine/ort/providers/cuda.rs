//! NVIDIA GPUs, built in or as a plug-in of the same name.

use ort::ep;

use super::{GPU_VARIANTS, Row, configured};
use crate::engine::Provider;

pub(super) const ROW: Row = Row {
    provider: Provider::Cuda,
    name: "CUDAExecutionProvider",
    keys: &[
        "device_id",
        "gpu_mem_limit",
        "arena_extend_strategy",
        "cudnn_conv_algo_search",
        "cudnn_conv_use_max_workspace",
        "cudnn_conv1d_pad_to_nc1d",
        "do_copy_in_default_stream",
        "use_tf32",
        "use_ep_level_unified_stream",
        "sdpa_kernel",
        "prefer_nhwc",
        "fuse_conv_bias",
        "enable_skip_layer_norm_strict_mode",
        "tunable_op_enable",
        "tunable_op_tuning_enable",
        "tunable_op_max_tuning_duration_ms",
    ],
    defaults: &[("arena_extend_strategy", "kSameAsRequested")],
    capture_keys: &["enable_cuda_graph"],
    memory: Some("Cuda"),
    shares_cache: true,
    static_mask: false,
    plugin: Some(("onnxruntime_ep_cuda", "onnxruntime_providers_cuda_plugin")),
    needs: "ONNX Runtime's GPU build (onnxruntime-gpu) and its CUDA libraries",
    folders: &["cuda", "gpu"],
    variants: GPU_VARIANTS,
    build: |options| Ok(configured(ep::CUDA::default(), options).build()),
};
