//! Which engine runs a model, and what it may be told.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};

/// Which engine runs a model.
///
/// ```
/// use edgeslm::engine::{EngineChoice, OrtOptions, Provider};
///
/// let options = edgeslm::LoadOptions {
///     engine: EngineChoice::Ort(OrtOptions { provider: Provider::Cuda, ..OrtOptions::default() }),
///     ..edgeslm::LoadOptions::default()
/// };
/// assert_ne!(options.engine, EngineChoice::Cpu);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EngineChoice {
    /// This library's own kernels on the CPU; nothing else is needed.
    #[default]
    Cpu,
    /// ONNX Runtime with one of its execution providers. Its shared library is opened when the model is loaded.
    Ort(OrtOptions),
}

/// How ONNX Runtime is found and which execution provider it uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrtOptions {
    /// The absolute path of ONNX Runtime's shared library; `None` looks where the module `engine::ort` says.
    pub library: Option<PathBuf>,
    /// The execution provider.
    pub provider: Provider,
    /// The absolute path of the provider's own shared library, where it is a plug-in. `None` looks beside ONNX Runtime.
    pub provider_library: Option<PathBuf>,
    /// The provider's options, as ONNX Runtime names them. A key that the provider does not have is an error.
    pub provider_options: Vec<(String, String)>,
}

/// What runs the nodes of a graph inside ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Provider {
    /// The first that takes the model of CUDA, DirectML, WebGPU, OpenVINO and CPU.
    #[default]
    Auto,
    /// ONNX Runtime's own kernels on the CPU.
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
    /// NVIDIA GPUs through TensorRT, CUDA for the rest.
    TensorRt,
    /// NVIDIA RTX GPUs through TensorRT for RTX.
    TensorRtRtx,
    /// GPUs of any vendor on Windows.
    DirectMl,
    /// Apple's GPU and neural engine.
    CoreMl,
    /// Intel's CPUs, GPUs and NPUs.
    OpenVino,
    /// Qualcomm's NPUs and GPUs.
    Qnn,
    /// GPUs of any vendor through Vulkan, Direct3D 12 or Metal.
    WebGpu,
    /// The XNNPACK kernels on the CPU.
    Xnnpack,
}

impl Provider {
    /// Every value, in the order of declaration.
    pub const ALL: [Self; 11] = [
        Self::Auto,
        Self::Cpu,
        Self::Cuda,
        Self::TensorRt,
        Self::TensorRtRtx,
        Self::DirectMl,
        Self::CoreMl,
        Self::OpenVino,
        Self::Qnn,
        Self::WebGpu,
        Self::Xnnpack,
    ];

    /// The name that commands and bindings use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::TensorRtRtx => "tensorrt-rtx",
            Self::DirectMl => "directml",
            Self::CoreMl => "coreml",
            Self::OpenVino => "openvino",
            Self::Qnn => "qnn",
            Self::WebGpu => "webgpu",
            Self::Xnnpack => "xnnpack",
        }
    }

    /// The provider of that [`name`](Self::name).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for another name.
    pub fn by_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::new(ErrorKind::InvalidArgument, format!("there is no execution provider {name:?}"))
                .with_hint(format!("the providers are {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_has_a_name_of_its_own() {
        for (index, provider) in Provider::ALL.into_iter().enumerate() {
            assert_eq!(provider as usize, index);
            assert_eq!(Provider::by_name(provider.name()).unwrap(), provider);
        }
        let error = Provider::by_name("gpu").unwrap_err();
        assert!(error.to_string().contains("tensorrt-rtx"), "{error}");
    }
}
