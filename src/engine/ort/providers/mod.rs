//! The execution providers: one file each, and the table of them.

#![forbid(unsafe_code)]

mod coreml;
mod cpu;
mod cuda;
mod directml;
mod openvino;
mod qnn;
mod tensorrt;
mod tensorrt_rtx;
mod webgpu;
mod xnnpack;

use ort::ep::{ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};

use crate::engine::Provider;
use crate::error::{Error, ErrorKind, Result};

/// What is known of a provider.
pub(super) struct Row {
    pub(super) provider: Provider,
    /// ONNX Runtime's name of it.
    pub(super) name: &'static str,
    /// The option keys that ONNX Runtime's documentation has for it.
    pub(super) keys: &'static [&'static str],
    /// Options that are set unless the caller sets them.
    pub(super) defaults: &'static [(&'static str, &'static str)],
    /// Keys that ask for captured graphs, which need inputs at fixed addresses. The engine does not offer them.
    pub(super) capture_keys: &'static [&'static str],
    /// The name of its memory, as ONNX Runtime knows it; `None` for the processor's.
    pub(super) memory: Option<&'static str>,
    /// Whether its attention writes new keys and values into the buffer of the old.
    pub(super) shares_cache: bool,
    /// Whether masks have to be as wide as the cache.
    pub(super) static_mask: bool,
    /// Where a plug-in lies: the Python package and the library's name.
    pub(super) plugin: Option<(&'static str, &'static str)>,
    /// What has to be installed.
    pub(super) needs: &'static str,
    /// Folders of graphs made for it, best first.
    pub(super) folders: &'static [&'static str],
    /// Variants of graphs that suit it, best first.
    pub(super) variants: &'static [&'static str],
    /// The provider as the `ort` crate builds it, given checked options.
    pub(super) build: fn(&[(String, String)]) -> Result<ExecutionProviderDispatch>,
}

/// One row a provider.
pub(super) const ROWS: [&Row; 10] = [
    &cpu::ROW,
    &cuda::ROW,
    &tensorrt::ROW,
    &tensorrt_rtx::ROW,
    &directml::ROW,
    &coreml::ROW,
    &openvino::ROW,
    &qnn::ROW,
    &webgpu::ROW,
    &xnnpack::ROW,
];

/// What [`Provider::Auto`] tries, in this order. Not in it: providers that need a graph made for them (TensorRT, TensorRT-RTX,
/// QNN) and those that run little of such graphs (CoreML, XNNPACK).
pub(super) const AUTO: [Provider; 5] =
    [Provider::Cuda, Provider::DirectMl, Provider::WebGpu, Provider::OpenVino, Provider::Cpu];

/// For tests of what only other providers need.
#[cfg(test)]
pub(super) static CPU_WITH_STATIC_MASKS: Row = Row { static_mask: true, ..cpu::ROW };

/// Folders and variants of graphs for the processor.
pub(super) const CPU_FOLDERS: &[&str] = &["cpu_and_mobile", "cpu"];
pub(super) const CPU_VARIANTS: &[&str] = &["q4", "q4f16", "fp16", "fp32"];
/// Variants for GPUs, which compute in 16 bits.
const GPU_VARIANTS: &[&str] = &["q4f16", "fp16", "q4", "fp32"];

/// The row of a provider; `None` for [`Provider::Auto`].
pub(super) fn row(provider: Provider) -> Option<&'static Row> {
    ROWS.into_iter().find(|row| row.provider == provider)
}

impl Row {
    /// The caller's options, checked, and the defaults.
    pub(super) fn options(&self, given: &[(String, String)]) -> Result<Vec<(String, String)>> {
        let name = self.provider.name();
        for (index, (key, value)) in given.iter().enumerate() {
            let invalid = |message: String| Error::new(ErrorKind::InvalidArgument, message);
            if self.capture_keys.contains(&key.as_str()) {
                if matches!(value.as_str(), "0" | "false" | "disable") {
                    continue;
                }
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{key} of the provider {name} is not offered"),
                )
                .with_hint("captured graphs need inputs at fixed addresses; leave the option out"));
            }
            if !self.keys.contains(&key.as_str()) {
                let known = if self.keys.is_empty() { "none".to_owned() } else { self.keys.join(", ") };
                return Err(invalid(format!("the provider {name} has no option {key:?}"))
                    .with_hint(format!("its options are {known}")));
            }
            if key.contains('\0') || value.contains('\0') {
                return Err(invalid(format!("the option {key:?} holds a zero byte")));
            }
            if given[..index].iter().any(|(other, _)| other == key) {
                return Err(invalid(format!("the option {key:?} is given twice")));
            }
        }
        let mut options = given.to_vec();
        for (key, value) in self.defaults {
            if !given.iter().any(|(other, _)| other == key) {
                options.push(((*key).to_owned(), (*value).to_owned()));
            }
        }
        Ok(options)
    }
}

/// Hands the options to a provider of the `ort` crate.
fn configured<P: ArbitrarilyConfigurableExecutionProvider>(
    mut provider: P,
    options: &[(String, String)],
) -> P {
    for (key, value) in options {
        provider = provider.with_arbitrary_config(key, value);
    }
    provider
}

/// A value of an option that is a number or a switch.
fn parsed<T: std::str::FromStr>(key: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| {
        Error::new(ErrorKind::InvalidArgument, format!("{value:?} is no value for the option {key}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_but_auto_has_a_row() {
        for provider in Provider::ALL {
            assert_eq!(row(provider).is_none(), provider == Provider::Auto, "{provider:?}");
        }
        for row in ROWS {
            for (key, _) in row.defaults {
                assert!(row.keys.contains(key), "{key} of {}", row.name);
            }
            assert!(row.capture_keys.iter().all(|key| !row.keys.contains(key)), "{}", row.name);
        }
    }

    #[test]
    fn options_are_checked_by_key() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let error = cuda::ROW.options(&[pair("devise_id", "1")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("device_id"), "{error}");
        let error = cuda::ROW.options(&[pair("enable_cuda_graph", "1")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(cuda::ROW.options(&[pair("device_id", "0"), pair("device_id", "1")]).is_err());
        assert!(cuda::ROW.options(&[pair("device_id", "0\0")]).is_err());
        let options = cuda::ROW.options(&[pair("device_id", "1")]).unwrap();
        assert!(options.contains(&pair("device_id", "1")));
        assert!(options.contains(&pair("arena_extend_strategy", "kSameAsRequested")));
        let error = directml::ROW
            .options(&[pair("device_id", "zero")])
            .and_then(|o| (directml::ROW.build)(&o).map(|_| ()));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
