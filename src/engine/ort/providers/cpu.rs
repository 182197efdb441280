//! ONNX Runtime's own kernels on the CPU, which every build has.

use super::{CPU_FOLDERS, CPU_VARIANTS, Row, parsed};
use crate::engine::Provider;
use ort::ep;

pub(super) const ROW: Row = Row {
    provider: Provider::Cpu,
    name: "CPUExecutionProvider",
    keys: &["use_arena"],
    // An arena keeps the largest prefill's memory for good.
    defaults: &[("use_arena", "0")],
    capture_keys: &[],
    memory: None,
    shares_cache: true,
    static_mask: false,
    plugin: None,
    needs: "any ONNX Runtime",
    folders: CPU_FOLDERS,
    variants: CPU_VARIANTS,
    build: |options| {
        let mut provider = ep::CPU::default();
        for (key, value) in options {
            provider = provider.with_arena_allocator(parsed::<u8>(key, value)? != 0);
        }
        Ok(provider.build())
    },
};
