//! `cargo xtask ort`: the tests that run models in ONNX Runtime, with the libraries that its Python packages carry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::command::{cargo_command, checked, has, succeed};
use crate::demo::workspace;
use crate::python;

/// Where the packages and what they are made of lie.
const FOLDER: &str = "target/onnxruntime";

/// A folder of packages, without those that only Python code needs.
pub(crate) struct Packages {
    folder: &'static str,
    wanted: &'static [&'static str],
}

/// ONNX Runtime with its CPU provider, and OpenVINO's plug-in.
const CPU: Packages =
    Packages { folder: "cpu", wanted: &["onnxruntime==1.32.0", "onnxruntime-ep-openvino==1.8.1"] };

/// ONNX Runtime with the WebGPU provider built in.
const WEBGPU: Packages = Packages { folder: "webgpu", wanted: &["onnxruntime-webgpu==1.27.0"] };

/// ONNX Runtime with the CUDA provider, and the CUDA libraries that it loads.
pub(crate) const CUDA: Packages = Packages {
    folder: "cuda",
    wanted: &[
        "onnxruntime-gpu==1.31.1",
        "nvidia-cublas",
        "nvidia-cuda-runtime",
        "nvidia-cuda-nvrtc",
        "nvidia-cufft",
        "nvidia-curand",
        "nvidia-cudnn-cu13",
        "nvidia-nvjitlink",
    ],
};

/// Debian packages that carry a software device for Vulkan and Vulkan's loader, and the files of each that are used.
const VULKAN: [(&str, &[&str]); 2] =
    [("libvulkan1", &["libvulkan.so.1"]), ("chromium-common", &["libvk_swiftshader.so", DESCRIPTION])];

/// The device's description, which the loader reads.
const DESCRIPTION: &str = "vk_swiftshader_icd.json";

/// The tests, as arguments to Cargo.
const TESTS: &[&str] = &[
    "test",
    "--workspace",
    "--test",
    "ort",
    "--test",
    "ort_faults",
    "--test",
    "ort_offline",
    "--test",
    "ort_providers",
    "--test",
    "ort_programs",
];

/// Fetches what is missing and runs the tests of the engine alone.
pub(crate) fn run() -> anyhow::Result<()> {
    let variables = variables()?;
    let cargo = |arguments: &[&str]| succeed(cargo_command(arguments).envs(variables.iter().cloned()));
    cargo(TESTS)?;
    cargo(&["test", "--package", "edgeslm", "--lib", "model::ort"])?;
    cargo(&["test", "--workspace", "--test", "behaviour", "the_shared_cases_in_onnx_runtime"])
}

/// Fetches what is missing; what tells the tests of it.
pub(crate) fn variables() -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    CPU.fetch()?;
    WEBGPU.fetch()?;
    let mut variables = vec![("EDGESLM_TEST_ORT", workspace().join(FOLDER))];
    variables.extend(software_vulkan()?.map(|description| ("EDGESLM_TEST_VULKAN", description)));
    Ok(variables)
}

impl Packages {
    /// The folder, filled by pip where it is not yet.
    #[allow(clippy::print_stderr, reason = "progress of a long command")]
    pub(crate) fn fetch(&self) -> anyhow::Result<PathBuf> {
        let folder = workspace().join(FOLDER).join(self.folder);
        let (note, wanted) = (folder.join("installed.txt"), self.wanted.join("\n"));
        if fs::read_to_string(&note).is_ok_and(|installed| installed == wanted) {
            return Ok(folder);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        eprintln!("Fetching {} with pip", self.wanted.join(", "));
        let mut pip = Command::new(python::interpreter()?);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"]);
        pip.arg(&folder).args(self.wanted);
        succeed(pip.env("PIP_CACHE_DIR", workspace().join("target/pip-cache")))?;
        fs::write(note, wanted)?;
        Ok(folder)
    }
}

/// ONNX Runtime's shared library in a folder of packages.
pub(crate) fn library(folder: &Path) -> anyhow::Result<PathBuf> {
    let capi = folder.join("onnxruntime/capi");
    let entries = fs::read_dir(&capi).with_context(|| capi.display().to_string())?;
    let mut found: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    found.retain(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so."))
    });
    found.pop().with_context(|| format!("there is no library in {}", capi.display()))
}

/// The CPU provider's library, fetched where it is missing.
pub(crate) fn cpu_library() -> anyhow::Result<PathBuf> {
    library(&CPU.fetch()?)
}

/// The description of a Vulkan device in software, from Debian packages that are unpacked and not installed. `None` without
/// `apt-get`, which is skipped by name.
fn software_vulkan() -> anyhow::Result<Option<PathBuf>> {
    let folder = workspace().join(FOLDER).join("vulkan");
    let description = folder.join(DESCRIPTION);
    if description.exists() {
        return Ok(Some(description));
    }
    if !has("apt-get")? || !has("dpkg-deb")? {
        return Ok(None);
    }
    fs::create_dir_all(&folder)?;
    for (package, files) in VULKAN {
        let download = folder.with_file_name(package);
        if download.exists() {
            fs::remove_dir_all(&download)?;
        }
        fs::create_dir_all(&download)?;
        let fetch =
            || checked(Command::new("apt-get").args(["download", "-q", package]).current_dir(&download));
        if fetch().is_err() {
            // A fresh machine has no list of packages yet.
            checked(Command::new("apt-get").args(["update", "-q"]))
                .context("reading Debian's list of packages")?;
            fetch().with_context(|| format!("downloading the Debian package {package}"))?;
        }
        let file = fs::read_dir(&download)?.next().context("apt-get has downloaded nothing")??.path();
        let unpacked = download.join("unpacked");
        checked(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&unpacked))?;
        for name in files {
            let found = find(&unpacked, name)?.with_context(|| format!("{package} has no {name}"))?;
            // Where the name is a link, what it leads to.
            fs::copy(found, folder.join(name))?;
        }
        fs::remove_dir_all(&download)?;
    }
    Ok(Some(description))
}

fn find(folder: &Path, name: &str) -> anyhow::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|found| found == name) {
            return Ok(Some(path));
        }
        if path.is_dir()
            && !path.is_symlink()
            && let Some(found) = find(&path, name)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The folders of libraries in NVIDIA's packages.
pub(crate) fn cuda_folders(packages: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let root = packages.join("nvidia");
    if !root.is_dir() {
        bail!("{} is missing", root.display());
    }
    let mut folders = Vec::new();
    let mut waiting = vec![root];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.to_string_lossy().contains(".so") && !folders.contains(&folder) {
                folders.push(folder.clone());
            }
        }
    }
    folders.sort();
    Ok(folders)
}
