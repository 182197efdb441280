//! Copies of a golden directory that tests change.

use std::path::{Path, PathBuf};

use edgeslm::onnx::Node;
use tempfile::TempDir;

use super::golden_directory;

/// A copy that is deleted with the value.
pub(crate) struct Copy(TempDir);

impl Copy {
    pub(crate) fn of(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(golden_directory(name)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Changes the graph.
    pub(crate) fn edit_graph(&self, edit: impl FnOnce(&mut edgeslm::onnx::Model<'_>)) {
        let path = self.file("model.onnx");
        let bytes = std::fs::read(&path).unwrap();
        let mut model = edgeslm::onnx::Model::parse(&bytes).unwrap();
        edit(&mut model);
        std::fs::write(path, edgeslm::onnx::write(&model).unwrap()).unwrap();
    }
}

/// A node of ONNX's own operators, named as its output.
pub(crate) fn node(op_type: &'static str, inputs: &[&'static str], output: &'static str) -> Node<'static> {
    Node {
        name: output,
        op_type,
        domain: "",
        inputs: inputs.to_vec(),
        outputs: vec![output],
        attributes: vec![],
    }
}
