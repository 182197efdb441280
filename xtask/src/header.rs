//! `cargo xtask header`: the C header, generated from the sources of the C ABI crate.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

/// Arguments of the chore.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if the committed header is not what would be written
    #[arg(long)]
    check: bool,
}

/// Writes `ffi/include/edgeslm.h`, or compares it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ffi");
    let file = crate_directory.join("include/edgeslm.h");
    let header = generate(&crate_directory)?;
    if arguments.check {
        let committed = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        if committed != header {
            bail!("ffi/include/edgeslm.h is not what its sources say: run `cargo xtask header`");
        }
    } else {
        fs::create_dir_all(crate_directory.join("include"))?;
        fs::write(&file, header).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn generate(crate_directory: &Path) -> anyhow::Result<String> {
    let settings = crate_directory.join("cbindgen.toml");
    let mut config = cbindgen::Config::from_file(&settings)
        .map_err(|error| anyhow::anyhow!("{}: {error}", settings.display()))?;
    config.after_includes = Some(version_macros() + config.after_includes.as_deref().unwrap_or_default());
    let bindings =
        cbindgen::generate_with_config(crate_directory, config).context("generating the header")?;
    let mut header = Vec::new();
    bindings.write(&mut header);
    Ok(with_sections(&String::from_utf8(header)?, &section_titles(&crate_directory.join("src"))?))
}

/// The version of the workspace, which is the version of this package, as macros.
fn version_macros() -> String {
    format!(
        "\n// The version of the library that this header comes with.\n\
         #define SLM_VERSION \"{}\"\n#define SLM_VERSION_MAJOR {}\n#define SLM_VERSION_MINOR {}\n\
         #define SLM_VERSION_PATCH {}\n\n",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    )
}

/// For each exported function the first line of its module's comment.
fn section_titles(sources: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut titles = BTreeMap::new();
    for entry in fs::read_dir(sources)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let title = text.lines().next().and_then(|line| line.strip_prefix("//! "));
        let title = title.with_context(|| format!("{} does not start with a comment", path.display()))?;
        for line in text.lines().filter(|line| line.starts_with("pub ")) {
            if let Some((name, _)) =
                line.split_once(" extern \"C\" fn ").and_then(|(_, rest)| rest.split_once('('))
            {
                titles.insert(name.to_owned(), title.to_owned());
            }
        }
    }
    Ok(titles)
}

/// Puts a title before the first of each run of functions with the same title.
fn with_sections(header: &str, titles: &BTreeMap<String, String>) -> String {
    let mut result = String::with_capacity(header.len() + 1024);
    let mut present = None;
    // The generator breaks a long declaration after each of its marks.
    let header = header
        .replace("\nSLM_API\n", "\nSLM_API ")
        .replace("\nSLM_API SLM_NODISCARD\n", "\nSLM_API SLM_NODISCARD ");
    // A declaration and the comment on top of it are a paragraph.
    for paragraph in header.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()) {
        let declaration = paragraph.lines().find(|line| line.starts_with("SLM_API "));
        let declared =
            declaration.and_then(|line| titles.get(line.split('(').next()?.rsplit([' ', '*']).next()?));
        if let Some(title) = declared.filter(|title| present != Some(*title)) {
            result.push_str(&format!("/* {title} */\n\n"));
            present = Some(title);
        }
        result.push_str(paragraph);
        result.push_str("\n\n");
    }
    result.truncate(result.trim_end().len());
    result.push('\n');
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_of_functions_gets_its_title_once() {
        let titles = [("slm_a", "A."), ("slm_b", "A."), ("slm_c", "C.")];
        let titles = titles.map(|(name, title)| (name.to_owned(), title.to_owned())).into();
        let header = "#define X\n\n\n// Calls slm_c(.\nSLM_API int slm_a(int);\n\nSLM_API int slm_b(void);\n\n\
                      SLM_API char *slm_c(\n    int a);\n";
        let expected = "#define X\n\n/* A. */\n\n// Calls slm_c(.\nSLM_API int slm_a(int);\n\nSLM_API int slm_b(void);\n\n\
                        /* C. */\n\nSLM_API char *slm_c(\n    int a);\n";
        assert_eq!(with_sections(header, &titles), expected);
    }
}
