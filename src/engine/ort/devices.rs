//! What ONNX Runtime has to run models on here.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use ort::memory::DeviceType;
use serde::Serialize;

use super::providers::{self, ROWS};
use super::{failure, loader};
use crate::engine::OrtOptions;
use crate::error::{Error, ErrorKind, Result};

/// ONNX Runtime's library, its providers and the devices that it has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Devices {
    /// The shared library.
    pub library: PathBuf,
    /// Its version, such as `1.32.0`.
    pub version: String,
    /// The providers that are built in or have been registered as plug-ins, by this library's names where it has one for them.
    pub providers: Vec<ProviderFound>,
    /// The devices that the providers tell of. A built-in provider that tells of none may still have one: CUDA's is only looked
    /// for when a model is loaded.
    pub devices: Vec<Device>,
}

/// A provider that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProviderFound {
    /// The name for options, such as `cuda`; ONNX Runtime's where there is none.
    pub name: String,
    /// The plug-in's file; `None` for a provider that is built in.
    pub library: Option<PathBuf>,
    /// Why a plug-in that lies beside the library cannot be used.
    pub error: Option<String>,
}

/// A device as a provider tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Device {
    /// The provider's name, as in [`ProviderFound::name`].
    pub provider: String,
    /// `cpu`, `gpu` or `npu`.
    pub kind: &'static str,
    /// Who makes it, as far as the system says.
    pub vendor: String,
    /// The number that the vendor gives to this kind of device, 0 where there is none. It is not the option `device_id`.
    pub hardware_id: u32,
}

/// Opens ONNX Runtime and lists what it has: its providers, the plug-ins that lie beside it or in packages beside its own, and that
/// of [`OrtOptions::provider_library`], with their devices.
///
/// ```no_run
/// use edgeslm::engine::{OrtOptions, ort};
///
/// for device in ort::devices(&OrtOptions::default())?.devices {
///     println!("{} {} {}", device.provider, device.kind, device.vendor);
/// }
/// # Ok::<(), edgeslm::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::EngineUnavailable`] when the library, or the plug-in that is named, cannot be used;
/// [`ErrorKind::InvalidArgument`] for a plug-in of a provider that is none.
pub fn devices(options: &OrtOptions) -> Result<Devices> {
    let runtime = loader::runtime(options.library.as_deref())?;
    let mut found: Vec<ProviderFound> = runtime
        .built_in()?
        .into_iter()
        .map(|name| ProviderFound { name: short(&name), library: None, error: None })
        .collect();
    for row in ROWS {
        let Some((package, stem)) = row.plugin else { continue };
        let is_named = options.provider == row.provider;
        let named = options.provider_library.as_ref().filter(|_| is_named);
        let name = row.provider.name();
        let path = match named {
            Some(path) => path.clone(),
            None if found.iter().any(|provider| provider.name == name) => continue,
            None => match runtime.plugin(package, stem) {
                Some(path) => path,
                None => continue,
            },
        };
        let error = match runtime.register(row.name, &path) {
            Ok(()) => None,
            Err(error) if named.is_some() => return Err(error),
            Err(error) => Some(error.to_string()),
        };
        found.retain(|provider| provider.name != name);
        found.push(ProviderFound { name: name.to_owned(), library: Some(path), error });
    }
    if let Some(path) = &options.provider_library
        && providers::row(options.provider).is_none_or(|row| row.plugin.is_none())
    {
        let text = format!("the provider {} is not a plug-in", options.provider.name());
        return Err(Error::new(ErrorKind::InvalidArgument, text).with_file(path));
    }
    let mut devices = Vec::new();
    for device in runtime.environment.devices() {
        let failed = |error: ort::Error| failure::unavailable(error.message());
        let hardware = device.hardware_device();
        devices.push(Device {
            provider: short(device.ep().map_err(failed)?),
            kind: match hardware.ty() {
                DeviceType::CPU => "cpu",
                DeviceType::GPU => "gpu",
                DeviceType::NPU | DeviceType::FPGA => "npu",
            },
            vendor: hardware.vendor().map_err(failed)?.to_owned(),
            hardware_id: hardware.id(),
        });
    }
    Ok(Devices { library: runtime.path.clone(), version: runtime.version.clone(), providers: found, devices })
}

/// This library's name for a provider of ONNX Runtime.
fn short(name: &str) -> String {
    let row = ROWS.into_iter().find(|row| row.name == name);
    row.map_or_else(|| name.to_owned(), |row| row.provider.name().to_owned())
}
