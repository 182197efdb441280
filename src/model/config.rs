//! What a directory's configuration files say about its model.
//!
//! `genai_config.json` is described at <https://onnxruntime.ai/docs/genai/reference/config.html>; `config.json` and
//! `generation_config.json` are those of Hugging Face transformers.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::json::{Json, JsonFile};
use crate::error::{Error, ErrorKind, Result};
use crate::sampling::SamplingOptions;

/// A text file of a model: its path, for errors, and its contents.
#[derive(Debug, Clone)]
pub struct TextFile {
    /// Where it lies, or what its source calls it.
    pub path: PathBuf,
    /// Its bytes.
    pub text: Vec<u8>,
}

/// The configuration files of a directory, each of which may be missing.
#[derive(Debug, Clone, Default)]
pub struct ConfigFiles {
    /// `genai_config.json`, of the GenAI builder.
    pub genai_config: Option<TextFile>,
    /// `config.json`, of transformers.
    pub config: Option<TextFile>,
    /// `generation_config.json`, of transformers.
    pub generation_config: Option<TextFile>,
}

/// What is known of a model without reading its graph. Where files contradict each other, `genai_config.json` wins;
/// the stop tokens are the union.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The architecture in lower case, such as `llama` or `phi3`.
    pub model_type: Option<String>,
    /// The most positions of a sequence.
    pub context_length: Option<usize>,
    /// Rows of the embedding table, which may be more than the tokenizer has tokens.
    pub vocabulary_size: Option<usize>,
    /// Decoder layers.
    pub layers: Option<usize>,
    /// Query heads.
    pub heads: Option<usize>,
    /// Key and value heads.
    pub kv_heads: Option<usize>,
    /// Width of a head. Not always `hidden_size / heads`.
    pub head_size: Option<usize>,
    /// Width of the residual stream.
    pub hidden_size: Option<usize>,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The token that fills unused places. May equal a stop token.
    pub pad_token_id: Option<u32>,
    /// The tokens that end an answer: of every file, without repetitions, in the order found.
    pub eos_token_ids: Vec<u32>,
    /// The names of the graph's inputs and outputs.
    pub names: GraphNames,
    /// How the publisher would choose tokens.
    pub sampling: SamplingDefaults,
    /// Templates of old GenAI files, where there is no chat template.
    pub prompt_templates: Option<PromptTemplates>,
    /// The graph's file, relative to the directory.
    pub graph_file: Option<String>,
    /// The row of the rotation tables at which those for long sequences begin, where `genai_config.json` tells it to an
    /// execution provider.
    pub rotary_cache_offset: Option<usize>,
    /// Where the tokenizer's files lie, relative to the directory; `None` for the directory itself.
    pub tokenizer_directory: Option<String>,
}

/// The names of a graph's inputs and outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GraphNames {
    /// Token ids, int64 `[batch, sequence]`.
    pub input_ids: String,
    /// Ones and zeros, int64 `[batch, total sequence]`.
    pub attention_mask: String,
    /// Positions, int64 `[batch, sequence]`; few graphs have them.
    pub position_ids: String,
    /// Cached keys of a layer, `[batch, kv heads, past sequence, head size]`.
    pub past_key: LayerName,
    /// Cached values of a layer.
    pub past_value: LayerName,
    /// Logits, `[batch, sequence, vocabulary]`.
    pub logits: String,
    /// Cached and new keys of a layer, `[batch, kv heads, total sequence, head size]`.
    pub present_key: LayerName,
    /// Cached and new values of a layer.
    pub present_value: LayerName,
}

impl Default for GraphNames {
    fn default() -> Self {
        let name = |prefix: &str, suffix: &str| LayerName { prefix: prefix.into(), suffix: suffix.into() };
        Self {
            input_ids: "input_ids".into(),
            attention_mask: "attention_mask".into(),
            position_ids: "position_ids".into(),
            past_key: name("past_key_values.", ".key"),
            past_value: name("past_key_values.", ".value"),
            logits: "logits".into(),
            present_key: name("present.", ".key"),
            present_value: name("present.", ".value"),
        }
    }
}

/// A name in which the number of a layer stands at one place, such as `present.%d.key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerName {
    prefix: String,
    suffix: String,
}

impl LayerName {
    /// The name with its `%d`, or `None` when it does not have exactly one, and no other `%`.
    #[must_use]
    pub fn parse(pattern: &str) -> Option<Self> {
        let (prefix, suffix) = pattern.split_once("%d")?;
        let is_plain = !prefix.contains('%') && !suffix.contains('%');
        is_plain.then(|| Self { prefix: prefix.to_owned(), suffix: suffix.to_owned() })
    }

    /// The name of `layer`, counted from 0.
    #[must_use]
    pub fn of(&self, layer: usize) -> String {
        format!("{}{layer}{}", self.prefix, self.suffix)
    }

    /// The layer that `name` belongs to, or `None` when it is of another pattern.
    #[must_use]
    pub fn layer_of(&self, name: &str) -> Option<usize> {
        let number = name.strip_prefix(&*self.prefix)?.strip_suffix(&*self.suffix)?;
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse().ok().filter(|layer| is_plain && self.of(*layer) == name)
    }
}

/// The publisher's choice of tokens. What the file does not say is `None`.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct SamplingDefaults {
    /// The file that says it.
    pub source: Option<PathBuf>,
    /// Whether tokens are drawn at random.
    pub do_sample: Option<bool>,
    /// What the logits are divided by.
    pub temperature: Option<f32>,
    /// How many of the most probable tokens are kept; 0 keeps all.
    pub top_k: Option<usize>,
    /// The sum of probabilities that is kept.
    pub top_p: Option<f32>,
    /// The least probability that is kept, relative to the most probable token.
    pub min_p: Option<f32>,
    /// Divides the logits of tokens that occurred.
    pub repetition_penalty: Option<f32>,
    /// The most tokens of prompt and answer together.
    pub max_length: Option<usize>,
}

impl SamplingDefaults {
    /// The options that choose as the publisher would: greedily unless the file asks for sampling, by the rule of
    /// ONNX Runtime GenAI, which also takes a `top_k` of 1 or a temperature of 0 as greedy. As in GenAI and
    /// transformers the repetition penalty looks at all of prompt and answer, and sampling keeps the 50 most
    /// probable tokens unless the file says otherwise.
    #[must_use]
    pub fn options(&self) -> SamplingOptions {
        let repetition_penalty = self.repetition_penalty.unwrap_or(1.0);
        let is_greedy =
            self.do_sample != Some(true) || self.top_k == Some(1) || self.temperature == Some(0.0);
        if is_greedy {
            return SamplingOptions {
                repetition_penalty,
                penalty_window: usize::MAX,
                ..SamplingOptions::default()
            };
        }
        SamplingOptions {
            temperature: self.temperature.unwrap_or(1.0),
            top_k: self.top_k.unwrap_or(50),
            penalty_window: usize::MAX,
            // GenAI applies top_p only between 0 and 1.
            top_p: self.top_p.filter(|top_p| *top_p > 0.0).unwrap_or(1.0),
            min_p: self.min_p.unwrap_or(0.0),
            repetition_penalty,
            ..SamplingOptions::default()
        }
    }
}

/// Templates with `{Content}` where a message's text belongs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PromptTemplates {
    /// A system message.
    pub system: Option<String>,
    /// A message of the user.
    pub user: Option<String>,
    /// A message of the model.
    pub assistant: Option<String>,
    /// A whole prompt of one message.
    pub prompt: Option<String>,
}

/// Limits on numbers, all far above those of published models. They keep products of them far from overflow.
const MAXIMUM_POSITIONS: u32 = 1 << 30;
const MAXIMUM_VOCABULARY: u32 = 1 << 24;
const MAXIMUM_LAYERS: u32 = 1 << 12;
const MAXIMUM_HEADS: u32 = 1 << 12;
const MAXIMUM_HEAD_SIZE: u32 = 1 << 14;
const MAXIMUM_HIDDEN_SIZE: u32 = 1 << 20;
const MAXIMUM_STOP_TOKENS: usize = 1000;

/// Parts of `genai_config.json: model` that mean more than one decoder graph.
const OTHER_PARTS: [&str; 5] = ["encoder", "embedding", "vision", "speech", "encoder_decoder_init"];

impl ModelConfig {
    /// Reads the configuration files.
    ///
    /// # Errors
    /// With the file and the path of the value, such as `model.decoder.filename`: [`ErrorKind::InvalidModel`] for
    /// text that is not JSON, wrong types and impossible numbers; [`ErrorKind::Unsupported`] for models of several
    /// graphs or with an encoder.
    pub fn parse(files: &ConfigFiles) -> Result<Self> {
        let parse = |file: &Option<TextFile>| {
            file.as_ref().map(|file| JsonFile::parse(&file.path, &file.text)).transpose()
        };
        let mut config = Self::default();
        if let Some(file) = parse(&files.genai_config)? {
            config.read_genai(&file.root())?;
            let search = file.root().get("search")?;
            if let (Some(search), Some(file)) = (search, &files.genai_config) {
                config.sampling = sampling_defaults(&search, file)?;
            }
        }
        let generation = parse(&files.generation_config)?;
        if let (Some(json), Some(file)) = (&generation, &files.generation_config) {
            config.add_eos(&json.root())?;
            if config.sampling.source.is_none() {
                config.sampling = sampling_defaults(&json.root(), file)?;
            }
        }
        if let Some(file) = parse(&files.config)? {
            config.read_transformers(&file.root())?;
        }
        if let Some(json) = generation {
            fill(&mut config.bos_token_id, || optional_id(&json.root(), "bos_token_id"))?;
            fill(&mut config.pad_token_id, || optional_id(&json.root(), "pad_token_id"))?;
        }
        Ok(config)
    }

    fn read_genai(&mut self, root: &Json<'_>) -> Result<()> {
        let Some(model) = root.get("model")? else {
            return Err(root.error("the file has no \"model\""));
        };
        for part in OTHER_PARTS {
            if let Some(part) = model.get(part)?.filter(|part| !part.is_empty()) {
                return Err(unsupported(&part, "models of several graphs are not supported"));
            }
        }
        self.model_type = optional(&model, "type", |json| Ok(json.string()?.to_lowercase()))?;
        self.context_length = optional(&model, "context_length", |json| json.count(MAXIMUM_POSITIONS))?;
        self.vocabulary_size = optional(&model, "vocab_size", |json| json.count(MAXIMUM_VOCABULARY))?;
        self.bos_token_id = optional_id(&model, "bos_token_id")?;
        self.pad_token_id = optional_id(&model, "pad_token_id")?;
        self.add_eos(&model)?;
        self.tokenizer_directory = text(&model, "tokenizer_dir")?.filter(|directory| !directory.is_empty());
        if let Some(templates) = model.get("prompt_templates")? {
            self.prompt_templates = Some(PromptTemplates {
                system: text(&templates, "system")?,
                user: text(&templates, "user")?,
                assistant: text(&templates, "assistant")?,
                prompt: text(&templates, "prompt")?,
            });
        }
        let Some(decoder) = model.get("decoder")? else {
            return Err(model.error("it has no \"decoder\""));
        };
        if let Some(pipeline) = decoder.get("pipeline")?.filter(|pipeline| !pipeline.is_empty()) {
            return Err(unsupported(&pipeline, "models in a pipeline of several graphs are not supported"));
        }
        self.graph_file = text(&decoder, "filename")?;
        self.layers = optional(&decoder, "num_hidden_layers", |json| json.count(MAXIMUM_LAYERS))?;
        self.heads = optional(&decoder, "num_attention_heads", |json| json.count(MAXIMUM_HEADS))?;
        self.kv_heads = optional(&decoder, "num_key_value_heads", |json| json.count(MAXIMUM_HEADS))?;
        self.head_size = optional(&decoder, "head_size", |json| json.count(MAXIMUM_HEAD_SIZE))?;
        self.hidden_size = optional(&decoder, "hidden_size", |json| json.count(MAXIMUM_HIDDEN_SIZE))?;
        self.names = graph_names(&decoder)?;
        self.rotary_cache_offset = rotary_cache_offset(&decoder)?;
        Ok(())
    }

    /// Fills in from `config.json` what is still unknown.
    fn read_transformers(&mut self, root: &Json<'_>) -> Result<()> {
        if let Some(flag) = root.get("is_encoder_decoder")?
            && flag.boolean()?
        {
            return Err(unsupported(&flag, "models with an encoder are not supported"));
        }
        let count = |key: &'static str, maximum| move || optional(root, key, |json| json.count(maximum));
        fill(&mut self.model_type, || {
            optional(root, "model_type", |json| Ok(json.string()?.to_lowercase()))
        })?;
        fill(&mut self.context_length, count("max_position_embeddings", MAXIMUM_POSITIONS))?;
        fill(&mut self.vocabulary_size, count("vocab_size", MAXIMUM_VOCABULARY))?;
        fill(&mut self.layers, count("num_hidden_layers", MAXIMUM_LAYERS))?;
        fill(&mut self.heads, count("num_attention_heads", MAXIMUM_HEADS))?;
        fill(&mut self.kv_heads, count("num_key_value_heads", MAXIMUM_HEADS))?;
        fill(&mut self.head_size, count("head_dim", MAXIMUM_HEAD_SIZE))?;
        fill(&mut self.hidden_size, count("hidden_size", MAXIMUM_HIDDEN_SIZE))?;
        // transformers: as many key and value heads as query heads unless stated.
        self.kv_heads = self.kv_heads.or(self.heads);
        if let (None, Some(heads), Some(hidden)) = (self.head_size, self.heads, self.hidden_size) {
            self.head_size = (hidden % heads == 0).then(|| hidden / heads);
        }
        fill(&mut self.bos_token_id, || optional_id(root, "bos_token_id"))?;
        fill(&mut self.pad_token_id, || optional_id(root, "pad_token_id"))?;
        self.add_eos(root)
    }

    fn add_eos(&mut self, json: &Json<'_>) -> Result<()> {
        for id in optional(json, "eos_token_id", |json| json.token_ids())?.unwrap_or_default() {
            if self.eos_token_ids.contains(&id) {
                continue;
            }
            if self.eos_token_ids.len() >= MAXIMUM_STOP_TOKENS {
                return Err(json.error(format!("there are more than {MAXIMUM_STOP_TOKENS} stop tokens")));
            }
            self.eos_token_ids.push(id);
        }
        Ok(())
    }
}

fn unsupported(json: &Json<'_>, message: &str) -> Error {
    json.error_of(ErrorKind::Unsupported, message).with_hint("use a model with a single decoder graph")
}

/// The value of `key` in `json` as `read` understands it, or `None` where there is none.
fn optional<'a, T>(
    json: &Json<'a>,
    key: &str,
    read: impl FnOnce(Json<'a>) -> Result<T>,
) -> Result<Option<T>> {
    json.get(key)?.map(read).transpose()
}

fn optional_id(json: &Json<'_>, key: &str) -> Result<Option<u32>> {
    Ok(optional(json, key, |json| json.token_id())?.flatten())
}

fn text(json: &Json<'_>, key: &str) -> Result<Option<String>> {
    optional(json, key, |json| Ok(json.string()?.to_owned()))
}

fn fill<T>(slot: &mut Option<T>, read: impl FnOnce() -> Result<Option<T>>) -> Result<()> {
    // Read in any case: a damaged value is an error even where it is not needed.
    let value = read()?;
    if slot.is_none() {
        *slot = value;
    }
    Ok(())
}

fn graph_names(decoder: &Json<'_>) -> Result<GraphNames> {
    let mut names = GraphNames::default();
    let set = |json: &Json<'_>, key: &str, name: &mut String| {
        text(json, key).map(|value| value.into_iter().for_each(|value| *name = value))
    };
    let set_layer = |json: &Json<'_>, key: &str, name: &mut LayerName| {
        if let Some(json) = json.get(key)? {
            let text = || json.error("a name with exactly one %d, for the layer, belongs here");
            *name = LayerName::parse(json.string()?).ok_or_else(text)?;
        }
        Ok::<(), Error>(())
    };
    if let Some(inputs) = decoder.get("inputs")? {
        if let (Some(combined), None) = (inputs.get("past_names")?, inputs.get("past_key_names")?) {
            return Err(unsupported(&combined, "keys and values in one tensor are not supported"));
        }
        set(&inputs, "input_ids", &mut names.input_ids)?;
        set(&inputs, "attention_mask", &mut names.attention_mask)?;
        set(&inputs, "position_ids", &mut names.position_ids)?;
        set_layer(&inputs, "past_key_names", &mut names.past_key)?;
        set_layer(&inputs, "past_value_names", &mut names.past_value)?;
    }
    if let Some(outputs) = decoder.get("outputs")? {
        set(&outputs, "logits", &mut names.logits)?;
        set_layer(&outputs, "present_key_names", &mut names.present_key)?;
        set_layer(&outputs, "present_value_names", &mut names.present_value)?;
    }
    Ok(names)
}

/// The option by which execution providers learn where the second rotation table of a cache begins. Each provider spells
/// it in its own way; 0 turns it off.
fn rotary_cache_offset(decoder: &Json<'_>) -> Result<Option<usize>> {
    const SPELLINGS: [&str; 3] = [
        "multi_rotary_cache_concat_offset",
        "nv_multi_rotary_cache_concat_offset",
        "multiRotaryCacheConcatOffset",
    ];
    let mut found = None;
    let options = optional(decoder, "session_options", |options| options.get("provider_options"))?.flatten();
    for provider in options.iter().flat_map(Json::elements) {
        for options in provider.members() {
            for json in SPELLINGS.iter().filter_map(|name| options.get(name).transpose()) {
                let json = json?;
                let offset = json.integer_or_text(0..=i64::from(MAXIMUM_POSITIONS))?;
                let offset = usize::try_from(offset).ok().filter(|offset| *offset > 0);
                if offset.is_some() && found.replace(offset).is_some_and(|other| other != offset) {
                    return Err(json.error("another rotary cache offset is given elsewhere"));
                }
            }
        }
    }
    Ok(found.flatten())
}

fn sampling_defaults(json: &Json<'_>, file: &TextFile) -> Result<SamplingDefaults> {
    Ok(SamplingDefaults {
        source: Some(file.path.clone()),
        do_sample: optional(json, "do_sample", |json| json.boolean())?,
        temperature: optional(json, "temperature", |json| json.float(0.0..=1000.0))?,
        // Some files write -1 for "all".
        top_k: optional(json, "top_k", |json| {
            Ok(usize::try_from(json.integer(-1..=i64::from(u32::MAX))?).unwrap_or(0))
        })?,
        top_p: optional(json, "top_p", |json| json.float(0.0..=1.0))?,
        min_p: optional(json, "min_p", |json| json.float(0.0..=1.0))?,
        repetition_penalty: optional(json, "repetition_penalty", |json| json.float(1e-3..=100.0))?,
        max_length: optional(json, "max_length", |json| json.count(MAXIMUM_POSITIONS))?,
    })
}

#[cfg(test)]
mod tests;
