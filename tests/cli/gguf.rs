//! A GGUF file of a Llama with one layer and random weights in Q8_0, written from the format's description.

/// Numbers from -1 to 1, the same each time (a linear congruence by Knuth).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

#[derive(Default)]
struct File {
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: Vec<u8>,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl File {
    fn key(&mut self, name: &str, kind: u32, value: &[u8]) {
        self.keys.push([&string(name)[..], &kind.to_le_bytes(), value].concat());
    }

    fn number(&mut self, name: &str, value: u32) {
        self.key(name, 4, &value.to_le_bytes());
    }

    fn text(&mut self, name: &str, value: &str) {
        self.key(name, 8, &string(value));
    }

    fn texts(&mut self, name: &str, values: &[String]) {
        let count = (values.len() as u64).to_le_bytes();
        let items: Vec<u8> = values.iter().flat_map(|value| string(value)).collect();
        self.key(name, 9, &[&8_u32.to_le_bytes()[..], &count, &items].concat());
    }

    fn tensor(&mut self, name: &str, shape: &[u64], kind: u32, data: &[u8]) {
        let mut entry = string(name);
        entry.extend((shape.len() as u32).to_le_bytes());
        entry.extend(shape.iter().flat_map(|size| size.to_le_bytes()));
        entry.extend(kind.to_le_bytes());
        entry.extend((self.data.len() as u64).to_le_bytes());
        self.tensors.push(entry);
        self.data.extend(data);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
    }

    /// A matrix of random weights in blocks of 32: a scale in f16 and 32 signed bytes.
    fn matrix(&mut self, noise: &mut Noise, name: &str, columns: u64, rows: u64) {
        let mut data = Vec::new();
        for _ in 0..columns * rows / 32 {
            data.extend(0x1400_u16.to_le_bytes()); // 2^-10
            data.extend((0..32).map(|_| ((noise.next() * 127.0) as i8).to_le_bytes()[0]));
        }
        self.tensor(name, &[columns, rows], 8, &data);
    }

    fn ones(&mut self, name: &str, count: u64) {
        let data: Vec<u8> = (0..count).flat_map(|_| 1_f32.to_le_bytes()).collect();
        self.tensor(name, &[count], 0, &data);
    }

    fn bytes(self) -> Vec<u8> {
        let Self { keys, tensors, data } = self;
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((tensors.len() as u64).to_le_bytes());
        bytes.extend((keys.len() as u64).to_le_bytes());
        bytes.extend(keys.concat());
        bytes.extend(tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(data);
        bytes
    }
}

/// The characters by which GPT-2's vocabulary spells single bytes.
fn byte_tokens() -> Vec<String> {
    let is_itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 256_u32..;
    (0..=255_u8)
        .map(|byte| {
            let code = if is_itself(byte) { u32::from(byte) } else { others.next().unwrap() };
            char::from_u32(code).unwrap().to_string()
        })
        .collect()
}

/// The file's bytes.
pub(super) fn llama() -> Vec<u8> {
    let mut file = File::default();
    file.text("general.architecture", "llama");
    file.text("general.name", "Tiny");
    file.text("general.license", "cc0-1.0");
    for (name, value) in [
        ("block_count", 1),
        ("context_length", 8192),
        ("embedding_length", 64),
        ("feed_forward_length", 96),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ] {
        file.number(&format!("llama.{name}"), value);
    }
    file.key("llama.attention.layer_norm_rms_epsilon", 6, &1e-5_f32.to_le_bytes());
    file.text("tokenizer.ggml.model", "gpt2");
    file.text("tokenizer.ggml.pre", "gpt-2");
    let mut tokens = byte_tokens();
    tokens.push("<|end|>".to_owned());
    let kinds: Vec<u8> =
        (0..257).flat_map(|id: u32| if id < 256 { 1_i32 } else { 3 }.to_le_bytes()).collect();
    file.texts("tokenizer.ggml.tokens", &tokens);
    file.key(
        "tokenizer.ggml.token_type",
        9,
        &[&5_u32.to_le_bytes()[..], &257_u64.to_le_bytes(), &kinds].concat(),
    );
    file.texts("tokenizer.ggml.merges", &["t h".to_owned()][..0]);
    file.number("tokenizer.ggml.eos_token_id", 256);
    file.text(
        "tokenizer.chat_template",
        "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:",
    );

    let noise = &mut Noise(1);
    file.matrix(noise, "token_embd.weight", 64, 257);
    file.ones("output_norm.weight", 64);
    file.ones("blk.0.attn_norm.weight", 64);
    file.ones("blk.0.ffn_norm.weight", 64);
    for (name, columns, rows) in [
        ("attn_q", 64, 64),
        ("attn_k", 64, 32),
        ("attn_v", 64, 32),
        ("attn_output", 64, 64),
        ("ffn_gate", 64, 96),
        ("ffn_up", 64, 96),
        ("ffn_down", 96, 64),
    ] {
        file.matrix(noise, &format!("blk.0.{name}.weight"), columns, rows);
    }
    file.bytes()
}
