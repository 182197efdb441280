//! Intel CPUs, GPUs and NPUs, built in or as a plug-in. Its attention does not write in place.

use ort::ep;

use super::{CPU_VARIANTS, Row, configured};
use crate::engine::Provider;

pub(super) const ROW: Row = Row {
    provider: Provider::OpenVino,
    name: "OpenVINOExecutionProvider",
    keys: &[
        "device_type",
        "device_id",
        "precision",
        "num_of_threads",
        "num_streams",
        "cache_dir",
        "load_config",
        "context",
        "enable_qdq_optimizer",
        "disable_dynamic_shapes",
        "reshape_input",
        "layout",
        "model_priority",
        "enable_opencl_throttling",
    ],
    defaults: &[],
    capture_keys: &[],
    memory: None,
    shares_cache: false,
    static_mask: false,
    plugin: Some(("onnxruntime_ep_openvino", "onnxruntime_providers_openvino_plugin")),
    needs: "the plug-in onnxruntime-ep-openvino, or the build onnxruntime-openvino",
    folders: &["openvino", "cpu_and_mobile", "cpu"],
    variants: CPU_VARIANTS,
    build: |options| Ok(configured(ep::OpenVINO::default(), options).build()),
};
