//! Measures constants and structs of the header with a C program.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::Snapshot;
use super::declarations::Declarations;

/// What the header in `include` declares, with values, sizes and offsets as the C compiler has them.
pub(super) fn measure(include: &Path) -> anyhow::Result<Snapshot> {
    let header = include.join("edgeslm.h");
    let header = fs::read_to_string(&header).with_context(|| header.display().to_string())?;
    let declarations = Declarations::parse(&header).context("ffi/include/edgeslm.h")?;
    let output = run(&program(&declarations)?, include)?;
    let mut numbers = output.lines();
    let mut next = || numbers.next().context("the C program printed too little");

    let mut snapshot = Snapshot::default();
    for name in &declarations.constants {
        snapshot.add(format!("constant {name}"), next()?.to_owned());
    }
    for name in &declarations.opaque {
        snapshot.add(format!("type {name}"), "opaque".to_owned());
    }
    for (name, meaning) in &declarations.types {
        snapshot.add(format!("type {name}"), meaning.clone());
    }
    for (name, fields) in &declarations.structs {
        snapshot.add(format!("struct {name}"), format!("{} bytes", next()?));
        for (field_type, field) in fields {
            let (offset, size) = (next()?, next()?);
            snapshot.add(format!("field {name}.{field}"), format!("at {offset}, {size} bytes, {field_type}"));
        }
    }
    for (name, function_type) in &declarations.functions {
        snapshot.add(format!("function {name}"), function_type.clone());
    }
    Ok(snapshot)
}

/// A program that prints a line for each constant, each struct's size, and each field's offset and size.
fn program(declarations: &Declarations) -> anyhow::Result<String> {
    let mut program = String::from(
        "#include <edgeslm.h>\n#include <stdio.h>\n\
         _Static_assert(sizeof(void *) == 8 && sizeof(long) == 8, \"64-bit pointers and longs\");\n\
         #define CONSTANT(value) \\\n    ((value) < 0 ? printf(\"%lld\\n\", (long long)(value)) \\\n\
         : printf(\"%llu\\n\", (unsigned long long)(value)))\n\
         #define SIZE(type) printf(\"%zu\\n\", sizeof(type))\n\
         #define FIELD(type, field) \\\n\
         printf(\"%zu\\n%zu\\n\", offsetof(type, field), sizeof(((type *)0)->field))\n\
         int main(void) {\n",
    );
    for name in &declarations.constants {
        writeln!(program, "    CONSTANT({name});")?;
    }
    for (name, fields) in &declarations.structs {
        writeln!(program, "    SIZE({name});")?;
        for (_, field) in fields {
            writeln!(program, "    FIELD({name}, {field});")?;
        }
    }
    program.push_str("}\n");
    Ok(program)
}

/// What a C program prints that includes the header.
fn run(program: &str, include: &Path) -> anyhow::Result<String> {
    let directory = std::env::temp_dir().join(format!("edgeslm-abi-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let compiled = compile_and_run(program, include, &directory);
    fs::remove_dir_all(&directory)?;
    compiled
}

fn compile_and_run(program: &str, include: &Path, directory: &Path) -> anyhow::Result<String> {
    let (source, binary) = (directory.join("abi.c"), directory.join("abi"));
    fs::write(&source, program)?;
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut compile = Command::new(&compiler);
    compile.args(["-std=c11", "-w", "-I"]).arg(include).arg(&source).arg("-o").arg(&binary);
    for command in [&mut compile, &mut Command::new(&binary)] {
        let output = command.output().with_context(|| format!("{command:?}"))?;
        if !output.status.success() {
            bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        if !output.stdout.is_empty() {
            return Ok(String::from_utf8(output.stdout)?);
        }
    }
    bail!("the C program printed nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_offsets_are_the_compilers() {
        let include = std::env::temp_dir().join(format!("edgeslm-abi-test-{}", std::process::id()));
        fs::create_dir_all(&include).unwrap();
        let header = "#include <stddef.h>\n#include <stdint.h>\n#define SLM_NUL SIZE_MAX\n#define SLM_LOW -7\n\
                      typedef struct slm_model slm_model;\n\
                      typedef struct {\n    uint8_t small;\n    double large;\n    uint16_t last;\n} slm_gaps;\n";
        fs::write(include.join("edgeslm.h"), header).unwrap();
        let measured = measure(&include);
        fs::remove_dir_all(&include).unwrap();
        let expected = "constant SLM_NUL: 18446744073709551615\nconstant SLM_LOW: -7\ntype slm_model: opaque\n\
                        struct slm_gaps: 24 bytes\nfield slm_gaps.small: at 0, 1 bytes, uint8_t\n\
                        field slm_gaps.large: at 8, 8 bytes, double\nfield slm_gaps.last: at 16, 2 bytes, uint16_t\n";
        assert_eq!(measured.unwrap(), Snapshot::parse(expected).unwrap());
    }
}
