//! GGUF files for tests.

/// A file under construction; tests damage it.
pub(in crate::import) struct File {
    pub(in crate::import) bytes: Vec<u8>,
}

impl File {
    pub(in crate::import) fn new(version: u32, tensors: u64, keys: u64) -> Self {
        let mut file = Self { bytes: b"GGUF".to_vec() };
        file.put(&version.to_le_bytes()).put(&tensors.to_le_bytes()).put(&keys.to_le_bytes());
        file
    }

    pub(in crate::import) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(in crate::import) fn string(&mut self, text: &str) -> &mut Self {
        self.put(&(text.len() as u64).to_le_bytes()).put(text.as_bytes())
    }

    pub(in crate::import) fn key(&mut self, name: &str, code: u32, value: &[u8]) -> &mut Self {
        self.string(name).put(&code.to_le_bytes()).put(value)
    }

    pub(in crate::import) fn tensor(
        &mut self,
        name: &str,
        dims: &[u64],
        code: u32,
        offset: u64,
    ) -> &mut Self {
        self.string(name).put(&(dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| {
            self.put(&dim.to_le_bytes());
        });
        self.put(&code.to_le_bytes()).put(&offset.to_le_bytes())
    }

    pub(in crate::import) fn data(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(32), 0);
        self.put(bytes)
    }
}

pub(in crate::import) fn text_value(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}
