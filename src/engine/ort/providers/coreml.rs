//! Apple GPUs and neural engines. Of graphs with fused attention it runs little.

use ort::ep;

use super::{GPU_VARIANTS, Row, configured};
use crate::engine::Provider;

pub(super) const ROW: Row = Row {
    provider: Provider::CoreMl,
    name: "CoreMLExecutionProvider",
    keys: &[
        "ModelFormat",
        "MLComputeUnits",
        "RequireStaticInputShapes",
        "EnableOnSubgraphs",
        "SpecializationStrategy",
        "ProfileComputePlan",
        "AllowLowPrecisionAccumulationOnGPU",
        "ModelCacheDirectory",
    ],
    defaults: &[("ModelFormat", "MLProgram")],
    capture_keys: &[],
    memory: None,
    shares_cache: true,
    static_mask: false,
    plugin: None,
    needs: "ONNX Runtime for macOS or iOS",
    folders: &["coreml"],
    variants: GPU_VARIANTS,
    build: |options| Ok(configured(ep::CoreML::default(), options).build()),
};
