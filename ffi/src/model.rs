//! Models: loading, and what they tell.

use std::ffi::c_char;
use std::path::Path;
use std::ptr;

use edgeslm::engine::{EngineChoice, OrtOptions, Provider, ThreadPriority};
use edgeslm::model::Load;
use edgeslm::{Accuracy, KvPrecision, LoadOptions, MemoryEstimate, Model};

use crate::allocator;
use crate::boundary::{self, Output, required, slice};
use crate::error::{Failure, Outcome, slm_error};
use crate::handle::{Counted, Shared};
use crate::options::{self, Options, Plain};
use crate::sampling::slm_sampling_options;
use crate::status::{SLM_INTERNAL, SLM_INVALID_ARGUMENT, slm_status};
use crate::string::{self, Text, slm_str, slm_string};

/// Weights are read where they lie in the mapped files: nothing is copied, and processes share them. Nothing may change
/// the files meanwhile: a process that truncates one ends every program that has mapped it.
pub const SLM_LOAD_MAP: i32 = 0;
/// The files are read into memory once; what happens to them afterwards has no effect.
pub const SLM_LOAD_COPY: i32 = 1;

/// Integer dot products over activations quantised to 8 bits; f16 KV cache unless `kv_precision` says otherwise.
pub const SLM_ACCURACY_DEFAULT: i32 = 0;
/// fp32 arithmetic in a fixed order; f32 KV cache unless `kv_precision` says otherwise.
pub const SLM_ACCURACY_STRICT: i32 = 1;
/// As the default, but over activations in two planes of 8 bits, the second of which quantises what the first leaves: errors near those
/// of fp32 for a smaller part of its time. Of `SLM_ENGINE_CPU` alone.
pub const SLM_ACCURACY_PRECISE: i32 = 2;

/// The engine's own threads are as urgent as the one that loads the model; on Windows, as the process.
pub const SLM_PRIORITY_NORMAL: i32 = 0;
/// They give way to threads of normal priority.
pub const SLM_PRIORITY_LOW: i32 = 1;
/// They come before threads of normal priority, where the system allows it.
pub const SLM_PRIORITY_HIGH: i32 = 2;

/// As the accuracy says: f32 in `SLM_ACCURACY_STRICT`, else f16.
pub const SLM_KV_AUTO: i32 = 0;
/// Codes of 8 bits with an f16 scale for each 32 elements of a head: 17/32 of the memory of f16.
pub const SLM_KV_INT8: i32 = 1;

/// The library's own kernels on the CPU; nothing else is needed.
pub const SLM_ENGINE_CPU: i32 = 0;
/// ONNX Runtime, whose shared library is opened when the first model is loaded with it.
pub const SLM_ENGINE_ORT: i32 = 1;

/// The first that takes the model of CUDA, DirectML, WebGPU, OpenVINO and CPU.
pub const SLM_PROVIDER_AUTO: i32 = 0;
/// ONNX Runtime's own kernels on the CPU.
pub const SLM_PROVIDER_CPU: i32 = 1;
/// NVIDIA GPUs.
pub const SLM_PROVIDER_CUDA: i32 = 2;
/// NVIDIA GPUs through TensorRT, CUDA for the rest.
pub const SLM_PROVIDER_TENSORRT: i32 = 3;
/// NVIDIA RTX GPUs through TensorRT for RTX.
pub const SLM_PROVIDER_TENSORRT_RTX: i32 = 4;
/// GPUs of any vendor on Windows.
pub const SLM_PROVIDER_DIRECTML: i32 = 5;
/// Apple's GPU and neural engine.
pub const SLM_PROVIDER_COREML: i32 = 6;
/// Intel's CPUs, GPUs and NPUs.
pub const SLM_PROVIDER_OPENVINO: i32 = 7;
/// Qualcomm's NPUs and GPUs.
pub const SLM_PROVIDER_QNN: i32 = 8;
/// GPUs of any vendor through Vulkan, Direct3D 12 or Metal.
pub const SLM_PROVIDER_WEBGPU: i32 = 9;
/// The XNNPACK kernels on the CPU.
pub const SLM_PROVIDER_XNNPACK: i32 = 10;

/// As a flag of `slm_model_options`: follows links that lead out of the model directory.
pub const SLM_FOLLOW_LINKS: u32 = 1;

/// A loaded model, immutable and shared: any number of threads may use it.
pub struct slm_model {
    pub(crate) shared: Shared<Model>,
}

impl Counted for slm_model {}

/// An option by its name.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_option {
    /// The name.
    pub key: slm_str,
    /// What it is set to.
    pub value: slm_str,
}

/// Options of loading; fill them with `slm_model_options_init` first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_model_options {
    /// The size of this struct, as `slm_model_options_init` set it.
    pub struct_size: u32,
    /// `SLM_FOLLOW_LINKS` or 0.
    pub flags: u32,
    /// `SLM_LOAD_...`.
    pub load: i32,
    /// `SLM_ACCURACY_...`.
    pub accuracy: i32,
    /// Threads, the caller's included; 0 for as many as the process may use, or as `processors` has.
    pub threads: u32,
    /// The most positions of a session; 0 for what the model was trained for.
    pub context_length: u32,
    /// The most bytes that the KV caches of all sessions may hold together: what would go above ends with
    /// `SLM_MEMORY_BUDGET` before it is allocated. 0 for three quarters of the memory that is free at loading,
    /// `UINT64_MAX` for no limit.
    pub memory_budget: u64,
    /// Which graph of the directory: a file name relative to it, or a variant such as `q4f16`; empty to choose by
    /// looking.
    pub graph: slm_str,
    /// The kernel row, as `slm_build_info` names them; empty for the best that the CPU has. Of `SLM_ENGINE_CPU` alone.
    pub kernels: slm_str,
    /// `SLM_ENGINE_...`. The fields from `provider` to `provider_option_count` are of `SLM_ENGINE_ORT` alone.
    pub engine: i32,
    /// The execution provider, `SLM_PROVIDER_...`.
    pub provider: i32,
    /// The absolute path of ONNX Runtime's shared library; empty for the variable `EDGESLM_ORT_LIBRARY`, or one that lies beside
    /// this library, beside the program or in a Python environment.
    pub ort_library: slm_str,
    /// The absolute path of a plug-in provider's shared library; empty for one beside ONNX Runtime.
    pub provider_library: slm_str,
    /// Options of the provider, by ONNX Runtime's names; NULL for none. A key that it does not have is an error.
    pub provider_options: *const slm_option,
    /// How many.
    pub provider_option_count: usize,
    /// The processors that the engine's own threads may run on, as the system numbers them from 0; NULL for those of the thread that
    /// loads the model. On Windows they are 0 to 63 of one processor group, and NULL means the processors of the process. Threads of
    /// the program stay where they are, those that call the library too: the program itself places them (`pthread_setaffinity_np`,
    /// `SetThreadAffinityMask`). A processor that the process may not use is an error. This and `priority` are of `SLM_ENGINE_CPU`
    /// alone, on Linux, Android and Windows.
    pub processors: *const u32,
    /// How many: 1 at least where there is a list.
    pub processor_count: u32,
    /// How urgent the engine's own threads are, `SLM_PRIORITY_...`. On Windows normal priority is the process's. Where the system
    /// refuses it, loading ends with `SLM_UNSUPPORTED`.
    pub priority: i32,
    /// In which numbers keys and values are kept, `SLM_KV_...`. Of `SLM_ENGINE_CPU` alone.
    pub kv_precision: i32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: integers, texts and a raw pointer, without padding in front of a field.
unsafe impl Plain for slm_model_options {}

impl Options for slm_model_options {
    const DEFAULTS: Self = Self {
        struct_size: size_of::<Self>() as u32,
        flags: 0,
        load: SLM_LOAD_MAP,
        accuracy: SLM_ACCURACY_DEFAULT,
        threads: 0,
        context_length: 0,
        memory_budget: 0,
        graph: slm_str::EMPTY,
        kernels: slm_str::EMPTY,
        engine: SLM_ENGINE_CPU,
        provider: SLM_PROVIDER_AUTO,
        ort_library: slm_str::EMPTY,
        provider_library: slm_str::EMPTY,
        provider_options: ptr::null(),
        provider_option_count: 0,
        processors: ptr::null(),
        processor_count: 0,
        priority: SLM_PRIORITY_NORMAL,
        kv_precision: SLM_KV_AUTO,
        reserved: 0,
    };
}

/// What loading a model and running one session takes, in bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_estimate {
    /// Weights that each token reads. With `SLM_LOAD_MAP` these are pages of the files, which the system may drop and
    /// read again; with `SLM_LOAD_COPY` they are memory of the process.
    pub weights: u64,
    /// Keys and values of the session.
    pub cache: u64,
    /// Buffers for activations and logits.
    pub scratch: u64,
    /// Tokenizer, chat template and the graph's own data.
    pub text: u64,
    /// All of it.
    pub total: u64,
}

// SAFETY: integers of 8 bytes each.
unsafe impl Plain for slm_estimate {}

/// Sizes of a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct slm_sizes {
    /// How many tokens the model gives logits for.
    pub vocabulary_size: u64,
    /// The most tokens of a prompt and its answer together.
    pub context_length: u64,
    /// Layers with a KV cache.
    pub layers: u64,
    /// Bytes of KV cache for one more token, on average.
    pub cache_bytes_per_position: u64,
}

// SAFETY: integers of 8 bytes each.
unsafe impl Plain for slm_sizes {}

impl From<&MemoryEstimate> for slm_estimate {
    fn from(estimate: &MemoryEstimate) -> Self {
        Self {
            weights: estimate.weights,
            cache: estimate.cache,
            scratch: estimate.scratch,
            text: estimate.text,
            total: estimate.total(),
        }
    }
}

/// Reads the caller's options.
///
/// # Safety
/// `options` is NULL or points to options whose pointers are NULL or valid.
pub(crate) unsafe fn read_options(options: *const slm_model_options) -> Outcome<LoadOptions> {
    // SAFETY: passed on.
    let (options, graph, kernels, engine, processors) = unsafe {
        let options = options::read(options)?;
        let graph = string::read("graph", options.graph.data, options.graph.len)?;
        let kernels = string::read("kernels", options.kernels.data, options.kernels.len)?;
        let processors = slice("processors", options.processors, options.processor_count as usize)?;
        let processors = (!options.processors.is_null()).then(|| processors.to_vec());
        (options, graph, kernels, read_engine(&options)?, processors)
    };
    let unknown =
        |what: &str, value: i64| Failure::new(SLM_INVALID_ARGUMENT, format!("there is no {what} {value}"));
    if options.flags & !SLM_FOLLOW_LINKS != 0 {
        return Err(unknown("flag", options.flags.into()));
    }
    if options.reserved != 0 {
        return Err(Failure::new(SLM_INVALID_ARGUMENT, "reserved is not 0")
            .with_hint("fill the options with slm_model_options_init"));
    }
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(LoadOptions {
        engine,
        graph: given(graph),
        kernels: given(kernels),
        load: match options.load {
            SLM_LOAD_MAP => Load::Map,
            SLM_LOAD_COPY => Load::Copy,
            other => return Err(unknown("way to load", other.into())),
        },
        accuracy: match options.accuracy {
            SLM_ACCURACY_DEFAULT => Accuracy::Default,
            SLM_ACCURACY_STRICT => Accuracy::Strict,
            SLM_ACCURACY_PRECISE => Accuracy::Precise,
            other => return Err(unknown("accuracy", other.into())),
        },
        kv_precision: match options.kv_precision {
            SLM_KV_AUTO => KvPrecision::Auto,
            SLM_KV_INT8 => KvPrecision::Int8,
            other => return Err(unknown("precision of the KV cache", other.into())),
        },
        threads: (options.threads > 0).then_some(options.threads as usize),
        processors: processors.map(|list| list.into_iter().map(|processor| processor as usize).collect()),
        priority: match options.priority {
            SLM_PRIORITY_NORMAL => ThreadPriority::Normal,
            SLM_PRIORITY_LOW => ThreadPriority::Low,
            SLM_PRIORITY_HIGH => ThreadPriority::High,
            other => return Err(unknown("priority", other.into())),
        },
        memory_budget: (options.memory_budget > 0).then_some(options.memory_budget),
        context_length: (options.context_length > 0).then_some(options.context_length as usize),
        follow_links: options.flags & SLM_FOLLOW_LINKS != 0,
    })
}

/// Reads which engine the options choose.
///
/// # Safety
/// The options' pointers are NULL or valid.
pub(crate) unsafe fn read_engine(options: &slm_model_options) -> Outcome<EngineChoice> {
    // SAFETY: passed on.
    let (library, provider_library, pairs) = unsafe {
        let text = |name, text: slm_str| string::read(name, text.data, text.len);
        let given = slice("provider_options", options.provider_options, options.provider_option_count)?;
        let mut pairs = Vec::with_capacity(given.len());
        for option in given {
            let (key, value) = (text("key", option.key)?, text("value", option.value)?);
            pairs.push((key.to_owned(), value.to_owned()));
        }
        let library = text("ort_library", options.ort_library)?;
        (library, text("provider_library", options.provider_library)?, pairs)
    };
    let unknown = |what: &str, value: i32| {
        Err(Failure::new(SLM_INVALID_ARGUMENT, format!("there is no {what} {value}")))
    };
    let Some(provider) = usize::try_from(options.provider).ok().and_then(|index| Provider::ALL.get(index))
    else {
        return unknown("provider", options.provider);
    };
    let path = |text: &str| (!text.is_empty()).then(|| text.into());
    let chosen = OrtOptions {
        library: path(library),
        provider: *provider,
        provider_library: path(provider_library),
        provider_options: pairs,
    };
    match options.engine {
        SLM_ENGINE_CPU if chosen == OrtOptions::default() => Ok(EngineChoice::Cpu),
        SLM_ENGINE_CPU => Err(Failure::new(
            SLM_INVALID_ARGUMENT,
            "the options have a provider or a library, and the engine is the CPU's",
        )
        .with_hint("set engine to SLM_ENGINE_ORT")),
        SLM_ENGINE_ORT => Ok(EngineChoice::Ort(chosen)),
        other => unknown("engine", other),
    }
}

/// Fills `options`, a struct of `size` bytes, with the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_model_options_init(
    options: *mut slm_model_options,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the caller's struct of `size` bytes and memory for the error.
    unsafe { options::init("options", options, size, error) }
}

/// Opens ONNX Runtime as `options` say and stores what it has, as a JSON object: `library`, `version`, `providers`, each with
/// `name`, `library` of a plug-in and `error` where that cannot be used, and `devices`, each with `provider`, `kind` (`cpu`, `gpu` or
/// `npu`), `vendor` and `hardware_id`. Of the options only those of `SLM_ENGINE_ORT` count. NULL for `options` means the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_ort_devices(
    options: *const slm_model_options,
    devices: *mut slm_string,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let output = Output::new("devices", devices)?;
        let options = slm_model_options { engine: SLM_ENGINE_ORT, ..options::read(options)? };
        let EngineChoice::Ort(choice) = read_engine(&options)? else {
            return Err(Failure::new(SLM_INTERNAL, "the engine that was chosen is another"));
        };
        output.write(Text::new(list_devices(&choice)?).into_owned());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

#[cfg(feature = "ort")]
fn list_devices(choice: &OrtOptions) -> Outcome<String> {
    let devices = edgeslm::engine::ort::devices(choice)?;
    serde_json::to_string(&devices).map_err(|error| Failure::new(SLM_INTERNAL, error.to_string()))
}

#[cfg(not(feature = "ort"))]
fn list_devices(_: &OrtOptions) -> Outcome<String> {
    use crate::status::SLM_ENGINE_UNAVAILABLE;

    Err(Failure::new(SLM_ENGINE_UNAVAILABLE, "this build has no engine for ONNX Runtime"))
}

/// Stores in `estimate`, a struct of `size` bytes, what loading the model and running one session of `positions` tokens
/// would take, without loading it. NULL for `options` means the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_model_estimate(
    directory: *const c_char,
    directory_length: usize,
    options: *const slm_model_options,
    positions: u64,
    estimate: *mut slm_estimate,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let directory = string::read("directory", directory, directory_length)?;
        if estimate.is_null() {
            return Err(Failure::null("estimate"));
        }
        let options = read_options(options)?;
        let positions = usize::try_from(positions).unwrap_or(usize::MAX);
        let result = Model::estimate(Path::new(directory), &options, positions)?;
        options::write("estimate", &slm_estimate::from(&result), estimate, size)
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Loads the model in a directory: one in the layout of the ONNX Runtime GenAI builder or of transformers.js. NULL for
/// `options` means the defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_model_load(
    directory: *const c_char,
    directory_length: usize,
    options: *const slm_model_options,
    model: *mut *const slm_model,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let directory = string::read("directory", directory, directory_length)?;
        let output = Output::new("model", model)?;
        let options = read_options(options)?;
        let model = allocator::without_wiping(|| Model::load(Path::new(directory), &options))?;
        output.write(slm_model { shared: Shared::new("model", model) }.into_handle());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Stores what the model is and how it runs, as a JSON object: architecture, context length, engine, kernel row, bytes of
/// weights by kind, bytes of KV cache for a position, and more.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_model_info(
    model: *const slm_model,
    info: *mut slm_string,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let model = required("model", model)?;
        let output = Output::new("info", info)?;
        let json = model.shared.with(|model| {
            serde_json::to_string(&model.info())
                .map_err(|error| Failure::new(SLM_INTERNAL, error.to_string()))
        })?;
        output.write(Text::new(json).into_owned());
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Stores the sizes of the model in `sizes`, a struct of `size` bytes: what an older library does not know becomes zero.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_model_sizes(
    model: *const slm_model,
    sizes: *mut slm_sizes,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let model = required("model", model)?;
        let result = model.shared.with(|model| {
            let info = model.info();
            Ok(slm_sizes {
                vocabulary_size: info.vocabulary_size as u64,
                context_length: info.context_length as u64,
                layers: info.layers as u64,
                cache_bytes_per_position: info.cache_bytes_per_position,
            })
        })?;
        options::write("sizes", &result, sizes, size)
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Fills `options`, a struct of `size` bytes, with how the model's publisher recommends to choose tokens: greedily where
/// nothing is recommended.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_model_sampling(
    model: *const slm_model,
    options: *mut slm_sampling_options,
    size: usize,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let model = required("model", model)?;
        let sampling = model.shared.with(|model| Ok(model.config().sampling.options()))?;
        options::fill("options", &slm_sampling_options::from(&sampling), options, size)
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Stores another handle to the same model, which is loaded until both are freed.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_model_clone(
    model: *const slm_model,
    clone: *mut *const slm_model,
    error: *mut *mut slm_error,
) -> slm_status {
    // SAFETY: the pointers are NULL or valid as the header says.
    let body = || unsafe {
        let output = Output::new("clone", clone)?;
        required("model", model)?.shared.with(|_| Ok(()))?;
        output.write(slm_model::clone_handle(model));
        Ok(())
    };
    // SAFETY: the caller's memory for the error.
    unsafe { boundary::status(error, body) }
}

/// Gives the handle up; NULL is allowed. The model is unloaded when no handle, session or stream needs it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slm_model_free(model: *const slm_model) {
    // SAFETY: NULL, or a handle that the caller gives up.
    unsafe { Counted::free(model) };
}
