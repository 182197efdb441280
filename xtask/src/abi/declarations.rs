//! The declarations of the header, which is written in the few forms that cbindgen has.

use anyhow::{Context, bail};

/// Macros that are not part of what a program relies on: marks of declarations, and the library's own version, which
/// every release changes.
const OTHER_MACROS: [&str; 4] = ["EDGESLM_H", "SLM_API", "SLM_NODISCARD", "SLM_VERSION"];

/// What a header declares, in its order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Declarations {
    /// Names of macros that are numbers.
    pub(super) constants: Vec<String>,
    /// Names of structs that programs know by pointer alone.
    pub(super) opaque: Vec<String>,
    /// Other types: name and meaning.
    pub(super) types: Vec<(String, String)>,
    /// Structs: name, and type and name of each field.
    pub(super) structs: Vec<(String, Vec<(String, String)>)>,
    /// Functions: name and type.
    pub(super) functions: Vec<(String, String)>,
}

impl Declarations {
    pub(super) fn parse(header: &str) -> anyhow::Result<Self> {
        let mut declarations = Self::default();
        let mut code = String::new();
        for line in without_comments(header).lines() {
            let line = line.trim();
            if let Some(definition) = line.strip_prefix("#define ") {
                let name = definition.split_whitespace().next().unwrap_or_default();
                if !OTHER_MACROS.iter().any(|other| *other == name || name.starts_with("SLM_VERSION_")) {
                    declarations.constants.push(name.to_owned());
                }
            } else if !line.starts_with('#') && line != "extern \"C\" {" && line != "}" {
                code.push_str(line);
                code.push(' ');
            }
        }
        for statement in statements(&code) {
            let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
            declarations.add(&statement).with_context(|| format!("cannot read {statement:?}"))?;
        }
        Ok(declarations)
    }

    fn add(&mut self, statement: &str) -> anyhow::Result<()> {
        if let Some(rest) = statement.strip_prefix("SLM_API ") {
            let rest = rest.strip_prefix("SLM_NODISCARD ").unwrap_or(rest);
            let (declared, parameters) = rest.split_once('(').context("no parameters")?;
            let (result, name) = type_and_name(declared)?;
            self.functions.push((name, format!("{result}({})", parameter_types(parameters)?)));
        } else if let Some(rest) = statement.strip_prefix("typedef struct {") {
            let (fields, name) = rest.split_once('}').context("no end of the struct")?;
            let fields = fields.split(';').map(str::trim).filter(|field| !field.is_empty());
            let fields = fields.map(type_and_name).collect::<anyhow::Result<_>>()?;
            self.structs.push((name.trim().to_owned(), fields));
        } else if let Some(rest) = statement.strip_prefix("typedef struct ") {
            self.opaque.push(type_and_name(rest)?.1);
        } else if let Some(rest) = statement.strip_prefix("typedef ") {
            match rest.split_once("(*") {
                Some((result, rest)) => {
                    let (name, parameters) = rest.split_once(")(").context("no parameters")?;
                    let meaning = format!("{}(*)({})", result.trim(), parameter_types(parameters)?);
                    self.types.push((name.to_owned(), meaning));
                }
                None => {
                    let (meaning, name) = type_and_name(rest)?;
                    self.types.push((name, meaning));
                }
            }
        } else {
            bail!("no known form");
        }
        Ok(())
    }
}

fn without_comments(header: &str) -> String {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The parts that end with a semicolon outside braces.
fn statements(code: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (index, character) in code.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' if depth == 0 => {
                found.push(&code[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    found
}

/// Splits `const char *data` into `const char *` and `data`.
fn type_and_name(declared: &str) -> anyhow::Result<(String, String)> {
    let declared = declared.trim();
    let before =
        declared.trim_end_matches(|character: char| character.is_ascii_alphanumeric() || character == '_');
    let name = &declared[before.len()..];
    if before.trim().is_empty() || name.is_empty() {
        bail!("{declared:?} has no type or no name");
    }
    Ok((before.trim().to_owned(), name.to_owned()))
}

/// The types of `parameters`, which end with a parenthesis: names may change.
fn parameter_types(parameters: &str) -> anyhow::Result<String> {
    let parameters = parameters.strip_suffix(')').context("no end of the parameters")?;
    if parameters == "void" {
        return Ok(parameters.to_owned());
    }
    let types = parameters.split(',').map(|parameter| Ok(type_and_name(parameter)?.0));
    Ok(types.collect::<anyhow::Result<Vec<_>>>()?.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_declaration() {
        let header = "/* slm_x(; */\n#ifndef EDGESLM_H\n#define EDGESLM_H\n#define SLM_API\n#define SLM_VERSION \"1\"\n\
                      #define SLM_VERSION_MAJOR 1\n#define SLM_NUL SIZE_MAX\n// A; b.\n#define SLM_STOP -1\n\
                      typedef struct slm_model slm_model;\ntypedef int32_t slm_status;\n\
                      typedef struct {\n    // The first; byte.\n    const char *data;\n    size_t len;\n} slm_str;\n\
                      typedef int32_t (*slm_call)(void *user_data, slm_str text);\n\
                      #ifdef __cplusplus\nextern \"C\" {\n#endif\nSLM_API const char *slm_version(void);\n\
                      SLM_API SLM_NODISCARD slm_status slm_load(const char *directory,\n    slm_model **model);\n\
                      #ifdef __cplusplus\n}  // extern\n#endif\n#endif\n";
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let expected = Declarations {
            constants: vec!["SLM_NUL".to_owned(), "SLM_STOP".to_owned()],
            opaque: vec!["slm_model".to_owned()],
            types: pairs(&[("slm_status", "int32_t"), ("slm_call", "int32_t(*)(void *, slm_str)")]),
            structs: vec![("slm_str".to_owned(), pairs(&[("const char *", "data"), ("size_t", "len")]))],
            functions: pairs(&[
                ("slm_version", "const char *(void)"),
                ("slm_load", "slm_status(const char *, slm_model **)"),
            ]),
        };
        assert_eq!(Declarations::parse(header).unwrap(), expected);
        for unreadable in
            ["int x;", "SLM_API int slm_x;", "typedef struct { int; } s;", "SLM_API int slm_f(int);"]
        {
            assert!(Declarations::parse(unreadable).is_err(), "{unreadable}");
        }
    }
}
