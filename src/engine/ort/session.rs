//! Makes sessions: of a model's graph, and of the graph that grows a cache.

#![forbid(unsafe_code)]

use std::path::Path;
use std::sync::Arc;

use ort::memory::{AllocationDevice, AllocatorType, DeviceType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::{AutoDevicePolicy, BuilderResult, SessionBuilder};

use super::failure::{of_run, of_session, unavailable};
use super::loader::Runtime;
use super::placement::{self, Placement};
use super::providers::{self, Row};
use crate::engine::{Accuracy, OrtOptions, Provider};
use crate::error::{Error, ErrorKind, Result};
use crate::onnx::{self, DataType, Dimension, Graph, Node, OperatorSet, ValueInfo};

/// Where ONNX Runtime gets a graph from.
pub(crate) enum GraphSource<'a> {
    /// It reads the file, and the weights beside it.
    File(&'a Path),
    /// The graph is in memory.
    Memory {
        /// The file's bytes.
        bytes: &'a [u8],
        /// Those of the files of weights, by the names that the graph has for them.
        weights: Vec<(String, Arc<[u8]>)>,
        /// Where the other files of weights lie.
        folder: &'a Path,
    },
}

/// A session and where its nodes run.
pub(super) struct Made {
    pub(super) session: Session,
    pub(super) placement: Placement,
}

/// How sessions are made.
pub(super) struct Maker<'a> {
    pub(super) runtime: &'static Runtime,
    pub(super) row: &'static Row,
    pub(super) options: &'a OrtOptions,
    pub(super) threads: usize,
    pub(super) accuracy: Accuracy,
}

impl Maker<'_> {
    /// A session of the model's graph.
    ///
    /// # Errors
    /// [`ErrorKind::EngineUnavailable`] when the provider cannot be used or does not take the graph.
    pub(super) fn of_graph(&self, graph: &Graph<'_>, source: GraphSource<'_>) -> Result<Made> {
        let mut builder = self.builder()?;
        builder = entry(builder, placement::RECORD, "1")?;
        if self.accuracy == Accuracy::Strict {
            builder = entry(builder, "session.qdq_matmulnbits_accuracy_level", "1")?;
        }
        let session = match source {
            GraphSource::File(path) => builder.commit_from_file(path),
            GraphSource::Memory { bytes, weights, folder } => {
                if let Some(folder) = folder.to_str().filter(|folder| !folder.is_empty()) {
                    builder = entry(builder, "session.model_external_initializers_file_folder_path", folder)?;
                }
                for (name, bytes) in weights {
                    builder = builder
                        .with_external_initializer_file_in_memory(name, bytes)
                        .map_err(|error| of_run(&error))?;
                }
                builder.commit_from_memory(bytes)
            }
        };
        let session = session.map_err(|error| of_session(&error))?;
        let placement = placement::of(&session, graph, self.row)?;
        placement::check(&placement, self.row)?;
        Ok(Made { session, placement })
    }

    /// A session of a graph that puts `filler` behind `old`, along the positions, where the provider's memory is.
    pub(super) fn of_growth(&self, data_type: DataType) -> Result<Session> {
        self.builder()?.commit_from_memory(&growth(data_type)?).map_err(|error| of_session(&error))
    }

    fn builder(&self) -> Result<SessionBuilder> {
        let builder = Session::builder(&self.runtime.environment).map_err(|error| of_run(&error))?;
        // Nothing is chosen that was not asked for.
        let builder = made(builder.with_auto_device(AutoDevicePolicy::PreferCPU))?;
        let builder = made(builder.with_intra_threads(self.threads))?;
        let builder = made(builder.with_inter_threads(1))?;
        // Shapes change with every token.
        let builder = made(builder.with_memory_pattern(false))?;
        let builder = made(builder.with_device_allocated_initializers())?;
        // Threads spin while a pass runs, and sleep between two.
        let builder = entry(builder, "session.force_spinning_stop", "1")?;
        self.with_provider(builder)
    }

    fn with_provider(&self, builder: SessionBuilder) -> Result<SessionBuilder> {
        let row = self.row;
        let options = row.options(&self.options.provider_options)?;
        let built_in = self.runtime.built_in()?;
        let is_built_in = built_in.iter().any(|name| name == row.name);
        let plugin = match &self.options.provider_library {
            Some(path) if row.plugin.is_some() => Some(path.clone()),
            Some(path) => {
                let text = format!("the provider {} is not a plug-in", row.provider.name());
                return Err(Error::new(ErrorKind::InvalidArgument, text).with_file(path));
            }
            None if is_built_in => None,
            None => row.plugin.and_then(|(package, stem)| self.runtime.plugin(package, stem)),
        };
        if let Some(path) = plugin {
            self.runtime.register(row.name, &path)?;
            return self.with_devices(builder, options).map_err(|error| error.with_file(path));
        }
        if !is_built_in {
            let (path, version) = (self.runtime.path.display(), &self.runtime.version);
            return Err(unavailable(format!(
                "ONNX Runtime {version} in {path} does not have the provider {}; it has {}",
                row.provider.name(),
                built_in.join(", ")
            ))
            .with_hint(format!("it needs {}", row.needs)));
        }
        if row.provider == Provider::Cpu {
            // Where no device is named, ONNX Runtime takes any that is a processor, such as that of a plug-in.
            let environment = &self.runtime.environment;
            let device = environment.devices().find(|device| device.ep().is_ok_and(|name| name == row.name));
            let builder = made(builder.with_devices(device, None))?;
            return made(builder.with_execution_providers([(row.build)(&options)?.error_on_failure()]));
        }
        let mut wanted = vec![(row.build)(&options)?.error_on_failure()];
        if row.provider == Provider::TensorRt && built_in.iter().any(|name| name == "CUDAExecutionProvider") {
            // What TensorRT does not know is better run by CUDA.
            if let Some(cuda) = providers::row(Provider::Cuda) {
                wanted.push((cuda.build)(&cuda.options(&[])?)?.error_on_failure());
            }
        }
        builder.with_execution_providers(wanted).map_err(|error| {
            unavailable(format!(
                "the provider {} cannot be used: {}",
                row.provider.name(),
                error.message().trim()
            ))
            .with_hint(format!("it needs {}", row.needs))
        })
    }

    /// Adds the device of a plug-in provider: by the option `device_type`, else by `device_id`, else a GPU, an NPU or the CPU.
    fn with_devices(
        &self,
        builder: SessionBuilder,
        options: Vec<(String, String)>,
    ) -> Result<SessionBuilder> {
        let row = self.row;
        let environment = &self.runtime.environment;
        let mut devices: Vec<_> =
            environment.devices().filter(|device| device.ep().is_ok_and(|name| name == row.name)).collect();
        let kind = |device: &ort::device::Device<'_>| match device.hardware_device().ty() {
            DeviceType::GPU => "GPU",
            DeviceType::NPU | DeviceType::FPGA => "NPU",
            DeviceType::CPU => "CPU",
        };
        let found: Vec<&str> = devices.iter().map(&kind).collect();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        let option =
            |key: &str| options.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str());
        let wanted = option("device_type").map(str::to_uppercase);
        if let Some(wanted) = &wanted {
            devices.retain(|device| wanted.starts_with(kind(device)));
        }
        devices.sort_by_key(|device| ["GPU", "NPU", "CPU"].iter().position(|name| *name == kind(device)));
        let index: usize = match option("device_id").or_else(|| option("deviceId")) {
            Some(value) => value.parse().map_err(|_| {
                Error::new(ErrorKind::InvalidArgument, format!("{value:?} is no number of a device"))
            })?,
            None => 0,
        };
        if index >= devices.len() {
            let wanted = wanted.map_or_else(String::new, |wanted| format!(" of type {wanted}"));
            return Err(unavailable(format!(
                "the plug-in of the provider {} finds no device{wanted} that it can use; found: {found}",
                row.provider.name()
            ))
            .with_hint(format!("it needs {}", row.needs)));
        }
        let device = devices.swap_remove(index);
        let options: Vec<(String, String)> = options
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "device_type" | "device_id" | "deviceId"))
            .map(|(key, value)| (format!("{}.{key}", row.name), value.clone()))
            .collect();
        builder.with_devices([device], Some(&options)).map_err(|error| {
            unavailable(format!(
                "the provider {} cannot be used: {}",
                row.provider.name(),
                error.message().trim()
            ))
        })
    }
}

fn entry(builder: SessionBuilder, key: &str, value: &str) -> Result<SessionBuilder> {
    made(builder.with_config_entry(key, value))
}

fn made(result: BuilderResult) -> Result<SessionBuilder> {
    result.map_err(|error| of_run(&error))
}

/// The memory in which a provider keeps caches.
pub(super) fn cache_memory(row: &Row, options: &OrtOptions) -> Result<MemoryInfo<'static>> {
    let Some(name) = row.memory else { return host_memory() };
    let id =
        options.provider_options.iter().find(|(key, _)| matches!(key.as_str(), "device_id" | "deviceId"));
    let id = id.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    MemoryInfo::new(AllocationDevice::new(name), id, AllocatorType::Device, MemoryType::Default)
        .map_err(|error| of_run(&error))
}

/// Memory that this process reads.
pub(super) fn host_memory() -> Result<MemoryInfo<'static>> {
    MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)
        .map_err(|error| of_run(&error))
}

/// The names of the growing graph's inputs and output.
pub(super) const OLD: &str = "old";
pub(super) const FILLER: &str = "filler";
pub(super) const GROWN: &str = "grown";

fn growth(data_type: DataType) -> Result<Vec<u8>> {
    let value = |name: &'static str, positions: &'static str| ValueInfo {
        name,
        data_type: Some(data_type),
        shape: Some(["batch", "heads", positions, "size"].map(Dimension::Symbol).to_vec()),
    };
    let axis = onnx::Attribute { name: "axis", value: onnx::AttributeValue::Int(2) };
    let node = Node {
        name: "grow",
        op_type: "Concat",
        domain: "",
        inputs: vec![OLD, FILLER],
        outputs: vec![GROWN],
        attributes: vec![axis],
    };
    onnx::write(&onnx::Model {
        ir_version: 8,
        producer_name: "edgeslm",
        operator_sets: vec![OperatorSet { domain: "", version: 17 }],
        graph: Graph {
            name: "growth",
            nodes: vec![node],
            inputs: vec![value(OLD, "before"), value(FILLER, "added")],
            outputs: vec![value(GROWN, "after")],
            ..Graph::default()
        },
        ..onnx::Model::default()
    })
}
