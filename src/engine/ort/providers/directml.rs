//! GPUs of any vendor on Windows, through Direct3D 12.

use ort::ep;
use ort::ep::directml::{DeviceFilter, PerformancePreference};

use super::{GPU_VARIANTS, Row, parsed};
use crate::engine::Provider;
use crate::error::{Error, ErrorKind};

pub(super) const ROW: Row = Row {
    provider: Provider::DirectMl,
    name: "DmlExecutionProvider",
    keys: &["device_id", "performance_preference", "device_filter"],
    defaults: &[],
    capture_keys: &["enable_graph_capture"],
    memory: Some("DML"),
    shares_cache: true,
    static_mask: false,
    plugin: None,
    needs: "ONNX Runtime's DirectML build on Windows",
    folders: &["directml", "dml", "gpu"],
    variants: GPU_VARIANTS,
    build: |options| {
        let mut provider = ep::DirectML::default();
        for (key, value) in options {
            let invalid = || {
                Error::new(ErrorKind::InvalidArgument, format!("{value:?} is no value for the option {key}"))
            };
            provider = match (key.as_str(), value.as_str()) {
                ("device_id", _) => provider.with_device_id(parsed(key, value)?),
                ("performance_preference", "default") => {
                    provider.with_performance_preference(PerformancePreference::Default)
                }
                ("performance_preference", "high_performance") => {
                    provider.with_performance_preference(PerformancePreference::HighPerformance)
                }
                ("performance_preference", "minimum_power") => {
                    provider.with_performance_preference(PerformancePreference::MinimumPower)
                }
                ("device_filter", "gpu") => provider.with_device_filter(DeviceFilter::Gpu),
                ("device_filter", "npu") => provider.with_device_filter(DeviceFilter::Npu),
                ("device_filter", "any") => provider.with_device_filter(DeviceFilter::Any),
                _ => return Err(invalid().with_hint("see docs/execution-providers.md")),
            };
        }
        Ok(provider.build())
    },
};
