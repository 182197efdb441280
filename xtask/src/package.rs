//! `cargo xtask package`: the packed result, used as programs use it, from folders outside the source tree.

mod document;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::command::{checked, has, succeed};
use crate::demo::workspace;
use crate::{abi, dist, size};

/// What the sections of docs/getting-started.md need besides a shell.
const TOOLS: [(&str, &[&str]); 6] = [
    ("What to take", &["tar", "sha256sum"]),
    ("C", &["cc", "pkg-config"]),
    ("C++", &["c++", "cmake"]),
    ("C#", &["mcs", "mono"]),
    ("C# with the .NET SDK", &["dotnet"]),
    ("Python", &["python3"]),
];

/// Packs for this machine and tries every way to use it.
pub(crate) fn run() -> anyhow::Result<()> {
    let package = dist::pack(None)?;
    let scratch = workspace().join("target/package-tests");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    fs::create_dir_all(&scratch)?;
    // Moved away from where it was made, as on another machine.
    let moved = scratch.join("a folder with spaces");
    succeed(Command::new("cp").arg("-a").arg(&package.folder).arg(&moved))?;
    let test = Test { package: moved, scratch, packed: package };
    test.checksums_hold()?;
    test.the_csharp_project_carries_the_library()?;
    test.the_library_is_fit_to_ship()?;
    for (tool, name, check) in [
        ("cmake", "CMake", Test::cmake as fn(&Test) -> anyhow::Result<()>),
        ("pkg-config", "pkg-config", Test::pkg_config),
    ] {
        if has(tool)? {
            check(&test)?;
            say(&format!("{name}: shared and static programs answer"));
        }
    }
    test.loading_and_unloading_does_not_grow()?;
    test.the_document_gets_a_reader_started()
}

#[allow(clippy::print_stderr, reason = "progress of a long command")]
fn say(line: &str) {
    eprintln!("{line}");
}

struct Test {
    /// The packed folder, moved.
    package: PathBuf,
    scratch: PathBuf,
    packed: dist::Package,
}

impl Test {
    fn checksums_hold(&self) -> anyhow::Result<()> {
        let mut command = Command::new("sha256sum");
        succeed(command.args(["--check", "--quiet", "--strict", "SHA256SUMS"]).current_dir(&self.package))
    }

    /// .NET looks for native libraries in `runtimes/PLATFORM/native`.
    fn the_csharp_project_carries_the_library(&self) -> anyhow::Result<()> {
        let project = self.package.join("share/edgeslm/csharp/EdgeSlm");
        let identifier = dist::runtime_identifier(&dist::host()?).context("a host with a shared library")?;
        let native = project.join("runtimes").join(identifier).join("native/libedgeslm.so");
        ensure!(fs::read(&native)? == fs::read(self.library())?, "{} is another library", native.display());
        for name in ["EdgeSlm.csproj", "README.md", "Model.cs"] {
            ensure!(project.join(name).is_file(), "the C# project lacks {name}");
        }
        Ok(())
    }

    fn library(&self) -> PathBuf {
        self.package.join("lib/libedgeslm.so")
    }

    /// Small and stripped, the header's symbols and no others, no text relocations, a versioned name, no dependency beyond the C
    /// library's.
    fn the_library_is_fit_to_ship(&self) -> anyhow::Result<()> {
        let bytes = size::check(&self.library())?;
        let glibc = dist::glibc_minor(&self.library())?;
        say(&format!("libedgeslm.so: {bytes} bytes, needs version 2.{glibc} of the C library"));
        let output = checked(Command::new("readelf").args(["-S", "-W"]).arg(self.library()))?;
        ensure!(!String::from_utf8(output.stdout)?.contains(".symtab"), "the library is not stripped");
        let output =
            checked(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(self.library()))?;
        let symbols = String::from_utf8(output.stdout)?;
        let exported: BTreeSet<&str> =
            symbols.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let header = fs::read_to_string(self.package.join("include/edgeslm.h"))?;
        let functions = abi::functions(&header)?;
        let declared: BTreeSet<&str> = functions.iter().map(String::as_str).collect();
        ensure!(
            exported == declared && exported.iter().all(|name| name.starts_with("slm_")),
            "exported and not declared, or declared and not exported: {:?}",
            exported.symmetric_difference(&declared).collect::<Vec<_>>()
        );
        let output = checked(Command::new("readelf").args(["-d", "-W"]).arg(self.library()))?;
        let dynamic = String::from_utf8(output.stdout)?;
        ensure!(!dynamic.contains("TEXTREL"), "the library has text relocations");
        ensure!(dynamic.contains("[libedgeslm.so.0]"), "the library lacks its versioned name");
        for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
            let name = line.split(['[', ']']).nth(1).context("a library that is needed has a name")?;
            let known = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libdl.so.2", "libpthread.so.0"];
            ensure!(known.contains(&name) || name.starts_with("ld-linux"), "the library needs {name}");
        }
        Ok(())
    }

    /// A folder of its own for one way to build, with the test project's sources.
    fn project(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.scratch.join(name);
        succeed(Command::new("cp").arg("-r").arg(workspace().join("ffi/tests/package")).arg(&folder))?;
        Ok(folder)
    }

    fn cmake(&self) -> anyhow::Result<()> {
        let project = self.project("cmake")?;
        let build = project.join("build");
        let prefix = format!("-DCMAKE_PREFIX_PATH={}", self.package.display());
        checked(Command::new("cmake").arg("-S").arg(&project).arg("-B").arg(&build).arg(prefix))?;
        checked(Command::new("cmake").arg("--build").arg(&build))?;
        self.answers(&build.join("shared_c"))?;
        self.answers(&build.join("shared_cpp"))?;
        self.answers(&build.join("static_c"))
    }

    fn pkg_config(&self) -> anyhow::Result<()> {
        let project = self.project("pkg-config")?;
        let mut make = Command::new("make");
        make.arg("-C").arg(&project).env("PKG_CONFIG_PATH", self.package.join("lib/pkgconfig"));
        checked(&mut make)?;
        self.answers(&project.join("shared_c"))?;
        self.answers(&project.join("static_c"))
    }

    /// Runs a program on a golden model and looks at its answer.
    fn answers(&self, program: &Path) -> anyhow::Result<()> {
        let mut command = Command::new(program);
        command.arg(golden()).env("LD_LIBRARY_PATH", self.package.join("lib"));
        let output = checked(&mut command)?;
        ensure!(!output.stdout.is_empty(), "{} says nothing", program.display());
        Ok(())
    }

    fn loading_and_unloading_does_not_grow(&self) -> anyhow::Result<()> {
        let source = workspace().join("ffi/tests/package/reload.c");
        let program = self.scratch.join("reload");
        checked(
            Command::new("cc").args(["-O2", "-Wall", "-Werror", "-o"]).arg(&program).arg(source).arg("-ldl"),
        )?;
        let output = checked(Command::new(&program).arg(self.library()).arg(golden()))?;
        say(&format!("loading and unloading: {}", String::from_utf8_lossy(&output.stdout).trim_end()));
        Ok(())
    }

    /// Every command of docs/getting-started.md works as it stands there, and every program gives the command's answer.
    fn the_document_gets_a_reader_started(&self) -> anyhow::Result<()> {
        let folder = self.scratch.join("getting started");
        fs::create_dir(&folder)?;
        for file in [Some(&self.packed.archive), self.packed.wheel.as_ref()].into_iter().flatten() {
            fs::copy(file, folder.join(file.file_name().context("a file has a name")?))?;
        }
        let model = workspace().join("tests/data/models/gemma-2-2b-int4");
        succeed(Command::new("cp").arg("-r").arg(model).arg(folder.join("model")))?;
        let document = fs::read_to_string(workspace().join("docs/getting-started.md"))?;
        let mut expected = None;
        for section in document::sections(&document)?.iter().filter(|section| section.has_commands()) {
            let tools = TOOLS.iter().find(|(title, _)| *title == section.title);
            let (_, tools) = tools.with_context(|| format!("what does {:?} need?", section.title))?;
            if !section.can_run(tools)? {
                continue;
            }
            let answer = section.run(&folder)?;
            let expected = expected.get_or_insert_with(|| answer.clone());
            ensure!(
                answer == *expected && answer.trim().len() > 10,
                "{:?} answers {answer:?} and not {expected:?}",
                section.title
            );
            say(&format!("docs/getting-started.md, {}: answers", section.title));
        }
        Ok(())
    }
}

fn golden() -> PathBuf {
    workspace().join("tests/data/models/llama-3.2-1b-int4")
}
