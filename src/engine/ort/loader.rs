//! Finds ONNX Runtime's shared library, opens it once for the process and makes its environment.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

use super::failure::{reason, unavailable};
use super::{own_path, shared_library};
use crate::error::{Error, ErrorKind, Result};

/// Names the library where the options do not; the second is what the `ort` crate reads.
const VARIABLES: [&str; 2] = ["EDGESLM_ORT_LIBRARY", "ORT_DYLIB_PATH"];

/// The function that every ONNX Runtime has.
const ENTRY: &str = "OrtGetApiBase";

/// The oldest version whose functions are used, 1.N.
pub(super) const OLDEST: u32 = ort::MINOR_VERSION;

/// The opened library and its environment, of which a process has one.
pub(super) struct Runtime {
    pub(super) environment: Environment,
    /// The file that was opened.
    pub(super) path: PathBuf,
    /// Such as `1.32.0`.
    pub(super) version: String,
    /// The plug-in providers that have been registered: by name, the file.
    plugins: Mutex<BTreeMap<String, PathBuf>>,
}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Only one caller opens a library.
static OPENING: Mutex<()> = Mutex::new(());

/// The process's ONNX Runtime, opened now if it is not yet.
pub(super) fn runtime(wanted: Option<&Path>) -> Result<&'static Runtime> {
    let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return match wanted {
            Some(wanted) if !same_file(wanted, &runtime.path) => {
                let path = runtime.path.display();
                Err(unavailable(format!("the process already uses ONNX Runtime from {path}"))
                    .with_file(wanted)
                    .with_hint("a process can use one ONNX Runtime library"))
            }
            _ => Ok(runtime),
        };
    }
    let path = find(wanted)?;
    let version = open(&path)?;
    let environment = environment(&path).map_err(|error| error.with_file(&path))?;
    log::info!("opened ONNX Runtime {version} from {}", path.display());
    Ok(RUNTIME.get_or_init(|| Runtime { environment, path, version, plugins: Mutex::default() }))
}

fn same_file(one: &Path, other: &Path) -> bool {
    let canonical = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    canonical(one) == canonical(other)
}

/// The library's path: as asked for, as the environment says, or the first that lies where one is looked for.
fn find(wanted: Option<&Path>) -> Result<PathBuf> {
    let variable = || {
        VARIABLES.into_iter().find_map(|name| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
            Some((PathBuf::from(value), name))
        })
    };
    let named = wanted.map(|path| (path.to_path_buf(), "the option for the library")).or_else(variable);
    if let Some((path, source)) = named {
        if !path.is_absolute() {
            // The system's loader would look for it in places that anybody may have chosen.
            return Err(Error::new(ErrorKind::InvalidArgument, format!("{source} is not an absolute path"))
                .with_file(path)
                .with_hint("give the whole path of ONNX Runtime's shared library"));
        }
        shared_library::check(&path, ENTRY)?;
        return Ok(path);
    }
    let folders = folders();
    // Of several, the first that can be used; what is wrong with the others is only worth telling where none can.
    let mut refused = None;
    for path in folders.iter().filter_map(|folder| library_in(folder)) {
        match shared_library::check(&path, ENTRY) {
            Ok(()) => return Ok(path),
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    Err(refused.unwrap_or_else(|| {
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        unavailable(format!("there is no ONNX Runtime library in {}", folders.join(", "))).with_hint(format!(
            "name its shared library, version 1.{OLDEST} or later, by option or in {}",
            VARIABLES[0]
        ))
    }))
}

/// Where the library is looked for: beside this one, beside the program, and in Python environments.
fn folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let own = own_path::directories();
    folders.extend(own.iter().cloned());
    // The Python package of this library has ONNX Runtime's as its neighbour.
    folders
        .extend(own.iter().filter_map(|folder| folder.parent()).map(|above| above.join("onnxruntime/capi")));
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        if let Some(root) = std::env::var_os(variable).map(PathBuf::from).filter(|root| root.is_absolute()) {
            folders.extend(site_packages(&root).into_iter().map(|site| site.join("onnxruntime/capi")));
        }
    }
    folders
}

/// The folders of packages in a Python environment.
fn site_packages(root: &Path) -> Vec<PathBuf> {
    let windows = root.join("Lib/site-packages");
    if windows.is_dir() {
        return vec![windows];
    }
    let entries = std::fs::read_dir(root.join("lib")).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("python"))
        .map(|entry| entry.path().join("site-packages"))
        .collect();
    found.sort();
    found
}

/// The library in a folder, whatever version its name has.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let is_library = |name: &str| {
        if cfg!(windows) {
            name == "onnxruntime.dll"
        } else if cfg!(target_vendor = "apple") {
            name.starts_with("libonnxruntime.") && name.ends_with(".dylib")
        } else {
            name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")
        }
    };
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let found = entries.filter(|entry| is_library(&entry.file_name().to_string_lossy()));
    found.map(|entry| entry.path()).max()
}

/// Opens the library for good and returns its version, which is one that can be used.
fn open(path: &Path) -> Result<String> {
    // ONNX Runtime reads it when an environment is made; `with_telemetry` below is the switch for Windows.
    if std::env::var_os("ORT_DISABLE_TELEMETRY").is_none() {
        // SAFETY: setting a variable races with C code that reads the environment at this moment in another thread. Only the
        // first load of a model with this engine does it, as the module's documentation tells the host.
        unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    }
    let refused = |message: String| unavailable(message).with_file(path);
    // SAFETY: opening a library runs its initialisers. The path is absolute and named by the host, its environment, or lies
    // beside this library or in a Python environment: whoever can write there can change the host itself.
    let library = unsafe { libloading::Library::new(path) }
        .map_err(|error| refused(format!("the system cannot load the library: {}", reason(&error))))?;
    type GetApiBase = unsafe extern "system" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: every ONNX Runtime since 1.0 exports the function with this type.
    let get = unsafe { library.get::<GetApiBase>(ENTRY.as_bytes()) }
        .map_err(|error| refused(format!("{ENTRY} cannot be found: {}", reason(&error))))?;
    // SAFETY: the function has no arguments; the struct that it returns lives as long as the library.
    let base = unsafe { get().as_ref() }.ok_or_else(|| refused(format!("{ENTRY} returned nothing")))?;
    // SAFETY: the function has no arguments and returns a string that lives as long as the library.
    let text: *const c_char = unsafe { (base.GetVersionString)() };
    if text.is_null() {
        return Err(refused("the library has no version".to_owned()));
    }
    // SAFETY: it is not null, and ONNX Runtime's version is a string that ends with a zero.
    let version = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let (major, minor) = (numbers.next().flatten(), numbers.next().flatten());
    if major != Some(1) || minor.is_none_or(|minor| minor < OLDEST) {
        return Err(refused(format!("ONNX Runtime {version} is too old or unknown"))
            .with_hint(format!("version 1.{OLDEST} or a later 1.x is needed")));
    }
    // SAFETY: the function takes any number, and returns null for one that it does not know.
    if unsafe { (base.GetApi)(OLDEST) }.is_null() {
        return Err(refused(format!("ONNX Runtime {version} does not have the functions of 1.{OLDEST}")));
    }
    // The process keeps the library: threads of its own may run in it.
    std::mem::forget(library);
    Ok(version)
}

fn environment(path: &Path) -> Result<Environment> {
    let builder = ort::init_from(path).map_err(|error| unavailable(error.to_string()))?;
    let logger = Arc::new(|level: LogLevel, _: &str, _: &str, place: &str, message: &str| {
        let level = match level {
            LogLevel::Verbose => log::Level::Trace,
            LogLevel::Info => log::Level::Debug,
            // What it warns of are choices of its own, such as nodes that it prefers to run on the CPU.
            LogLevel::Warning => log::Level::Info,
            LogLevel::Error | LogLevel::Fatal => log::Level::Warn,
        };
        log::log!(target: "onnxruntime", level, "{message} ({place})");
    });
    let builder = builder.with_name("edgeslm").with_telemetry(false).with_logger(logger);
    let environment = builder.build().map_err(|error| unavailable(error.message()))?;
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
}

impl Runtime {
    /// The providers that are built into the library.
    pub(super) fn built_in(&self) -> Result<Vec<String>> {
        let mut names = std::ptr::null_mut();
        let mut count = 0;
        // SAFETY: the function writes one array and its length, which are released below.
        let status = unsafe { (ort::api().GetAvailableProviders)(&raw mut names, &raw mut count) };
        // SAFETY: a status that a function has returned, not looked at before.
        unsafe { ort::Error::result_from_status(status) }.map_err(|error| unavailable(error.message()))?;
        let mut found = Vec::new();
        for index in 0..usize::try_from(count).unwrap_or(0) {
            // SAFETY: the array has `count` strings that end with a zero.
            found.push(unsafe { CStr::from_ptr(*names.add(index)) }.to_string_lossy().into_owned());
        }
        // SAFETY: the array and its length as they were given, released once.
        let status = unsafe { (ort::api().ReleaseAvailableProviders)(names, count) };
        // SAFETY: a status that a function has returned, not looked at before.
        unsafe { ort::Error::result_from_status(status) }.map_err(|error| unavailable(error.message()))?;
        Ok(found)
    }

    /// Registers a plug-in provider's library under the provider's name, once.
    pub(super) fn register(&self, name: &str, path: &Path) -> Result<()> {
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = plugins.get(name) {
            return if same_file(known, path) {
                Ok(())
            } else {
                Err(unavailable(format!("the process already uses {name} from {}", known.display()))
                    .with_file(path))
            };
        }
        if !path.is_absolute() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "the provider's library is not an absolute path",
            )
            .with_file(path));
        }
        shared_library::check(path, "CreateEpFactories")?;
        self.environment.register_ep_library(name, path).map_err(|error| {
            unavailable(format!("{name} cannot be registered: {}", error.message())).with_file(path)
        })?;
        plugins.insert(name.to_owned(), path.to_path_buf());
        Ok(())
    }

    /// The file of a plug-in provider, where one lies beside the library or in a package beside its own.
    pub(super) fn plugin(&self, package: &str, stem: &str) -> Option<PathBuf> {
        let file = if cfg!(windows) {
            format!("{stem}.dll")
        } else if cfg!(target_vendor = "apple") {
            format!("lib{stem}.dylib")
        } else {
            format!("lib{stem}.so")
        };
        let beside = self.path.parent()?;
        // SITE/onnxruntime/capi/libonnxruntime.so.1.32.0
        let packages = beside.parent().and_then(Path::parent).map(|site| site.join(package));
        [Some(beside.to_path_buf()), packages]
            .into_iter()
            .flatten()
            .map(|folder| folder.join(&file))
            .find(|path| path.is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_of_a_python_environment_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let capi = folder.path().join("lib/python3.11/site-packages/onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        let name = if cfg!(windows) {
            "onnxruntime.dll"
        } else if cfg!(target_vendor = "apple") {
            "libonnxruntime.1.32.0.dylib"
        } else {
            "libonnxruntime.so.1.32.0"
        };
        for other in [name, "libonnxruntime_providers_shared.so", "onnxruntime_pybind11_state.so"] {
            std::fs::write(capi.join(other), "").unwrap();
        }
        let sites = site_packages(folder.path());
        assert_eq!(sites, [folder.path().join("lib/python3.11/site-packages")]);
        assert_eq!(library_in(&sites[0].join("onnxruntime/capi")), Some(capi.join(name)));
        assert_eq!(library_in(folder.path()), None);
    }

    #[test]
    fn a_relative_path_is_refused() {
        let error = find(Some(Path::new("libonnxruntime.so"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("absolute"), "{error}");
    }
}
