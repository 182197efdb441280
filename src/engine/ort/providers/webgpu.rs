//! GPUs of any vendor through Vulkan, Direct3D 12 or Metal, built in or as a plug-in.

use ort::ep;

use super::{GPU_VARIANTS, Row, configured};
use crate::engine::Provider;

pub(super) const ROW: Row = Row {
    provider: Provider::WebGpu,
    name: "WebGpuExecutionProvider",
    keys: &[
        "preferredLayout",
        "dawnBackendType",
        "dawnProcTable",
        "deviceId",
        "webgpuInstance",
        "webgpuDevice",
        "storageBufferCacheMode",
        "uniformBufferCacheMode",
        "queryResolveBufferCacheMode",
        "defaultBufferCacheMode",
        "validationMode",
        "forceCpuNodeNames",
        "enablePIXCapture",
        "enableInt64",
        "preserveDevice",
        "powerPreference",
        "adapterIndex",
    ],
    defaults: &[],
    capture_keys: &["enableGraphCapture"],
    memory: Some("WebGPU_Buffer"),
    shares_cache: true,
    static_mask: false,
    plugin: Some(("onnxruntime_ep_webgpu", "onnxruntime_providers_webgpu")),
    needs: "the build onnxruntime-webgpu or the plug-in onnxruntime-ep-webgpu, and a GPU driver",
    folders: &["webgpu", "gpu"],
    variants: GPU_VARIANTS,
    build: |options| Ok(configured(ep::WebGPU::default(), options).build()),
};
