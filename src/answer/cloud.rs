//! A client for endpoints that speak OpenAI's chat completions: vLLM, llama.cpp's server, Azure and others.
//!
//! Only with the cargo feature `cloud`, which is off by default: without it the library has no network code. Nothing is
//! sent that the host does not ask for.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::classify::invalid;
use super::route::{Attempt, Limits, Usage, Worker};
use crate::error::{Error, ErrorKind, Result};
use crate::text::Message;

/// How the key is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum KeyHeader {
    /// `Authorization: Bearer KEY`.
    #[default]
    Bearer,
    /// `api-key: KEY`, as Azure wants it.
    ApiKey,
}

/// Where the endpoint is, and how much it may take.
#[derive(Clone)]
pub struct CloudOptions {
    /// The address before `/chat/completions`, such as `https://example.org/v1`; a query (`?api-version=…`) is kept.
    /// `http` only for this device's own addresses, unless [`allow_plain_http`](Self::allow_plain_http) is set.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// The key; overwritten with zeros when the options are dropped.
    pub key: Option<Zeroizing<String>>,
    /// How it is sent.
    pub key_header: KeyHeader,
    /// The most time for a request with all its repetitions, from the call to the last byte. Default 30 s.
    pub timeout: Duration,
    /// The most tokens of an answer. Default 512.
    pub max_tokens: u32,
    /// The longest reply that is read, in bytes. Default 4 MiB.
    pub maximum_reply: u64,
    /// How often a request is repeated that the endpoint refuses for the moment (429, 503), after the time that it names
    /// in `Retry-After`, or a second, if that much time is left. Default 1.
    pub retries: u32,
    /// Sends requests without encryption to other devices too.
    pub allow_plain_http: bool,
}

impl CloudOptions {
    /// The defaults for an endpoint and a model.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            key: None,
            key_header: KeyHeader::default(),
            timeout: Duration::from_secs(30),
            max_tokens: 512,
            maximum_reply: 4 << 20,
            retries: 1,
            allow_plain_http: false,
        }
    }
}

/// A client of one endpoint. It keeps connections open, follows no redirection, so that a request goes nowhere else, and
/// uses no proxy.
///
/// ```no_run
/// use edgeslm::answer::cloud::{CloudClient, CloudOptions};
/// use edgeslm::text::Message;
///
/// let client = CloudClient::new(CloudOptions::new("http://localhost:8000/v1", "llama-3.1-70b"))?;
/// let reply = client.chat(&[Message::user("Why is the sky blue?")], None)?;
/// println!("{} ({} tokens)", reply.answer, reply.usage.generated_tokens);
/// # Ok::<(), edgeslm::Error>(())
/// ```
pub struct CloudClient {
    agent: ureq::Agent,
    address: String,
    options: CloudOptions,
}

impl CloudClient {
    /// A client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an address that is neither `https` nor, on this device, `http`, and for a key
    /// that no header can hold.
    pub fn new(options: CloudOptions) -> Result<Self> {
        let address = address(&options)?;
        if let Some(key) = &options.key
            && (key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(invalid("the key is empty or has characters that a key has not"));
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .build()
            .into();
        Ok(Self { agent, address, options })
    }

    /// The endpoint's answer to a conversation, at temperature 0. It abstains where the answer was cut off. `time` is the
    /// most it may take, where that is less than [`CloudOptions::timeout`].
    ///
    /// # Errors
    /// [`ErrorKind::DeadlineExceeded`] when time runs out; [`ErrorKind::InvalidArgument`] where the endpoint refuses the
    /// request or the key (4xx); [`ErrorKind::Io`] where it cannot be reached, is overloaded (429, 5xx), redirects, or
    /// sends something else than the reply that was expected or more than [`CloudOptions::maximum_reply`]. The messages
    /// hold neither the prompt nor the key.
    pub fn chat(&self, messages: &[Message], time: Option<Duration>) -> Result<Attempt<String>> {
        let deadline = Instant::now() + time.unwrap_or(Duration::MAX).min(self.options.timeout);
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| json!({"role": message.role.name(), "content": message.content}))
            .collect();
        let body = json!({
            "model": self.options.model,
            "messages": messages,
            "max_tokens": self.options.max_tokens,
            "temperature": 0,
            "stream": false,
        });
        let body = Zeroizing::new(body.to_string());
        let mut repetitions = 0;
        loop {
            let reply = self.send(&body, deadline).map_err(|error| self.at(error))?;
            match reply.status {
                200..=299 => return read_reply(&reply.body).map_err(|error| self.at(error)),
                429 | 503 if repetitions < self.options.retries => {
                    let wait = reply.retry_after.unwrap_or(Duration::from_secs(1));
                    if wait >= left(deadline) {
                        return Err(self.at(refusal(&reply)));
                    }
                    std::thread::sleep(wait);
                    repetitions += 1;
                }
                _ => return Err(self.at(refusal(&reply))),
            }
        }
    }

    /// A worker for a [`Router`](super::route::Router) whose requests are conversations: it is
    /// [`remote`](Worker::remote) and keeps to the time that is left.
    pub fn worker(&self, name: impl Into<String>) -> Worker<'_, Vec<Message>, String> {
        Worker::new(name, |messages: &Vec<Message>, limits: Limits| self.chat(messages, limits.time)).remote()
    }

    fn at(&self, error: Error) -> Error {
        error.with_node(&self.address)
    }

    fn send(&self, body: &str, deadline: Instant) -> Result<Reply> {
        let mut request = self
            .agent
            .post(&self.address)
            .config()
            .timeout_global(Some(left(deadline).max(Duration::from_millis(1))))
            .build()
            .header("content-type", "application/json");
        if let Some(key) = &self.options.key {
            request = match self.options.key_header {
                KeyHeader::Bearer => request
                    .header("authorization", Zeroizing::new(format!("Bearer {}", key.as_str())).as_str()),
                KeyHeader::ApiKey => request.header("api-key", key.as_str()),
            };
        }
        let mut response = request.send(body).map_err(failure)?;
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(self.options.maximum_reply)
            .read_to_vec()
            .map_err(failure)?;
        Ok(Reply { status, retry_after, body: Zeroizing::new(body) })
    }
}

struct Reply {
    status: u16,
    retry_after: Option<Duration>,
    body: Zeroizing<Vec<u8>>,
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// The address of chat completions.
fn address(options: &CloudOptions) -> Result<String> {
    let bad = |message: &str, hint: &str| {
        Err(invalid(format!("the address {:?} {message}", options.base_url)).with_hint(hint))
    };
    let (base, query) = match options.base_url.split_once('?') {
        Some((base, query)) => (base, Some(query)),
        None => (options.base_url.as_str(), None),
    };
    let Some((scheme, rest)) = base.split_once("://") else {
        return bad("has no scheme", "it begins with https://");
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') || rest.contains(char::is_whitespace) {
        return bad("is no address of an endpoint", "it is https://HOST/v1; a key goes into `key`");
    }
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_here =
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match scheme {
        "https" => {}
        "http" if is_here || options.allow_plain_http => {}
        "http" => return bad("is not encrypted", "use https, or set allow_plain_http"),
        _ => return bad("has another scheme than https", "it begins with https://"),
    }
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    Ok(format!("{}/chat/completions{query}", base.trim_end_matches('/')))
}

fn failure(error: ureq::Error) -> Error {
    match error {
        ureq::Error::Timeout(_) => {
            Error::new(ErrorKind::DeadlineExceeded, "the endpoint did not answer in time")
        }
        ureq::Error::BodyExceedsLimit(limit) => {
            Error::new(ErrorKind::Io, format!("the reply has more than {limit} bytes"))
        }
        other => {
            Error::new(ErrorKind::Io, format!("the endpoint cannot be asked: {other}")).with_source(other)
        }
    }
}

/// The longest part of an endpoint's own words that is passed on.
const SHOWN: usize = 200;

fn refusal(reply: &Reply) -> Error {
    let value: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let said = value.as_ref().and_then(|value| {
        let error = value.get("error")?;
        error.get("message").and_then(Value::as_str).or(error.as_str())
    });
    let said: String = said.unwrap_or_default().chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let status = reply.status;
    let (kind, hint) = match status {
        401 | 403 => (ErrorKind::InvalidArgument, "check the key"),
        404 => (ErrorKind::InvalidArgument, "check the address and the model's name"),
        429 => (ErrorKind::Io, "the endpoint wants fewer requests; ask again later"),
        300..=399 => (ErrorKind::Io, "redirections are not followed; give the address that it leads to"),
        400..=499 => (ErrorKind::InvalidArgument, "the endpoint does not take the request"),
        _ => (ErrorKind::Io, "the endpoint is out of order; ask again later"),
    };
    Error::new(kind, format!("the endpoint answers with status {status}{said}")).with_hint(hint)
}

/// `choices[0].message.content` and `usage` of a chat completion.
fn read_reply(body: &[u8]) -> Result<Attempt<String>> {
    let malformed = |what: &str| Error::new(ErrorKind::Io, format!("the endpoint's reply {what}"));
    let value: Value = serde_json::from_slice(body).map_err(|_| malformed("is not JSON"))?;
    let choice =
        value.get("choices").and_then(|choices| choices.get(0)).ok_or_else(|| malformed("has no choices"))?;
    let content = choice.get("message").and_then(|message| message.get("content")).and_then(Value::as_str);
    let content = content.ok_or_else(|| malformed("has no text"))?;
    let reason = choice.get("finish_reason").and_then(Value::as_str).unwrap_or("stop");
    let tokens = |name: &str| {
        value.get("usage").and_then(|usage| usage.get(name)).and_then(Value::as_u64).unwrap_or(0)
    };
    Ok(Attempt {
        answer: content.to_owned(),
        confidence: None,
        abstain: reason != "stop",
        usage: Usage {
            prompt_tokens: tokens("prompt_tokens"),
            generated_tokens: tokens("completion_tokens"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let of = |base: &str| address(&CloudOptions::new(base, "m"));
        for (base, expected) in [
            ("https://example.org/v1", "https://example.org/v1/chat/completions"),
            ("https://example.org/v1/", "https://example.org/v1/chat/completions"),
            ("http://localhost:8000/v1", "http://localhost:8000/v1/chat/completions"),
            ("http://127.0.0.2/v1", "http://127.0.0.2/v1/chat/completions"),
            ("http://[::1]:80/v1", "http://[::1]:80/v1/chat/completions"),
            (
                "https://x.example/openai/deployments/d?api-version=1",
                "https://x.example/openai/deployments/d/chat/completions?api-version=1",
            ),
        ] {
            assert_eq!(of(base).unwrap(), expected);
        }
        for base in [
            "http://example.org/v1",
            "http://localhost.example.org/v1",
            "http://127.0.0.1.example.org/",
            "http://localhost@example.org/",
            "ftp://localhost/",
            "example.org",
            "https://",
            "https://exam ple.org/",
        ] {
            assert_eq!(of(base).unwrap_err().kind(), ErrorKind::InvalidArgument, "{base}");
        }
        let plain = CloudOptions { allow_plain_http: true, ..CloudOptions::new("http://10.0.0.5/v1", "m") };
        assert!(address(&plain).is_ok());
    }

    #[test]
    fn keys_that_would_break_a_header_are_refused() {
        for key in ["", "a\r\nhost: x", "ü", "a b"] {
            let options = CloudOptions {
                key: Some(Zeroizing::new(key.to_owned())),
                ..CloudOptions::new("https://example.org/v1", "m")
            };
            assert!(CloudClient::new(options).is_err(), "{key:?}");
        }
    }
}
