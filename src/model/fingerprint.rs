//! Which model this is, told from what it computes with.

#![forbid(unsafe_code)]

use sha2::{Digest, Sha256};

use super::load::Model;
use crate::graph::{Matrix, Program};
use crate::text::Tokenizer;

/// A sample of so many bytes is taken of each piece of a matrix's bytes that begins at a multiple of [`STRIDE`], and of
/// the last bytes.
const SAMPLE: usize = 64;
const STRIDE: usize = 1 << 20;

impl Model {
    /// What tells this model from others: the sizes of all its matrices, samples of their bytes, and the tokenizer's
    /// vocabulary, as SHA-256 in hexadecimal. Another quantisation of the same weights is another model. Both engines tell
    /// the same of one graph, unless the CPU engine cannot read it.
    ///
    /// Samples suffice to tell models apart, since training changes all weights of a matrix, and they take
    /// milliseconds where reading all weights would take seconds. It does not show that a file was damaged or forged.
    ///
    /// ```no_run
    /// # fn example() -> edgeslm::Result<()> {
    /// let model = edgeslm::Model::load("models/llama-3.2-1b-int4", &Default::default())?;
    /// println!("{}", model.fingerprint());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.matrices_digest());
        add_vocabulary(&mut hash, self.text().tokenizer());
        hexadecimal(&hash.finalize())
    }
}

/// What tells the matrices of a program from those of others.
pub(super) fn of_program(program: &Program) -> [u8; 32] {
    let mut hash = Sha256::new();
    for matrix in program.steps.iter().flat_map(|step| step.operation.matrices()) {
        hash.update((matrix.rows() as u64).to_le_bytes());
        match matrix {
            Matrix::Dense(weights) => add_bytes(&mut hash, weights.elements.bytes.as_bytes()),
            Matrix::Block(weights) => {
                add_bytes(&mut hash, weights.codes.as_bytes());
                add_bytes(&mut hash, weights.scales.bytes.as_bytes());
            }
        }
    }
    hash.finalize().into()
}

/// What tells a graph that the CPU engine cannot read from others, by its file and the files of its weights.
#[cfg(feature = "ort")]
pub(super) fn of_files(files: &super::GraphFiles<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    add_bytes(&mut hash, files.as_bytes());
    for (name, file) in files.external_files() {
        hash.update(name.as_bytes());
        add_bytes(&mut hash, file.as_bytes());
    }
    hash.finalize().into()
}

fn add_bytes(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    for piece in bytes.chunks(STRIDE) {
        hash.update(&piece[..piece.len().min(SAMPLE)]);
    }
    hash.update(&bytes[bytes.len().saturating_sub(SAMPLE)..]);
}

fn add_vocabulary(hash: &mut Sha256, tokenizer: &Tokenizer) {
    for id in 0..tokenizer.vocabulary_size() {
        let bytes = u32::try_from(id).ok().and_then(|id| tokenizer.token_bytes(id)).unwrap_or_default();
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
}

/// Bytes as text.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::model::{LoadOptions, Model};

    const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models");

    fn fingerprint(directory: &Path) -> String {
        Model::load(directory, &LoadOptions { threads: Some(1), ..Default::default() }).unwrap().fingerprint()
    }

    #[test]
    fn a_copy_is_the_same_model_and_a_changed_weight_another() {
        let original = Path::new(MODELS).join("llama-3.2-1b-int4");
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(&original).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
        }
        let found = fingerprint(&original);
        assert_eq!(found.len(), 64);
        assert_eq!(fingerprint(copy.path()), found);
        assert_ne!(fingerprint(&Path::new(MODELS).join("phi-4-mini-int4")), found);

        // Every 64th byte of the weights becomes another one, as after training.
        let weights = copy.path().join("model.onnx.data");
        let mut bytes = fs::read(&weights).unwrap();
        bytes.iter_mut().step_by(64).for_each(|byte| *byte ^= 1);
        fs::write(&weights, bytes).unwrap();
        assert_ne!(fingerprint(copy.path()), found);
    }
}
