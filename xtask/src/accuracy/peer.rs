//! A program that answers sequences of tokens with logits.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;

/// The running program: it reads a line of tokens and writes a row of logits for each of them, float32, until its input ends.
pub(super) struct Peer {
    child: Child,
    /// `None` when the program is to end.
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl Peer {
    /// # Errors
    /// The program does not start.
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let what = format!("starting {command:?}");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().with_context(|| what.clone())?;
        let input = Some(child.stdin.take().with_context(|| what.clone())?);
        let output = child.stdout.take().context(what)?;
        Ok(Self { child, input, output })
    }

    /// The logits after each of `tokens`, one row of `vocabulary` a token.
    ///
    /// # Errors
    /// The program ends early; what it says stands on standard error.
    pub(super) fn logits(&mut self, tokens: &[u32], vocabulary: usize) -> anyhow::Result<Vec<f32>> {
        let mut line = tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        line.push('\n');
        let input = self.input.as_mut().context("the program's input is closed")?;
        input.write_all(line.as_bytes()).context("sending tokens")?;
        let mut bytes = vec![0; tokens.len() * vocabulary * size_of::<f32>()];
        self.output.read_exact(&mut bytes).context("reading logits")?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.input = None;
        // Whatever it still says, its logits have been read.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_answers_line_by_line() {
        // Four bytes a token, each its last digit: "1111" as a float32.
        let script =
            "while read -r line; do for token in $line; do printf $token$token$token$token; done; done";
        let mut peer = Peer::start(Command::new("bash").args(["-c", script])).unwrap();
        let float = |digit: u8| f32::from_ne_bytes([digit; 4]);
        assert_eq!(peer.logits(&[1, 2], 1).unwrap(), [float(b'1'), float(b'2')]);
        assert_eq!(peer.logits(&[3], 1).unwrap(), [float(b'3')]);
    }

    #[test]
    fn a_program_that_ends_is_an_error() {
        let mut peer = Peer::start(Command::new("sh").args(["-c", "read -r line; printf 123"])).unwrap();
        assert_eq!(peer.logits(&[1], 1).unwrap_err().to_string(), "reading logits");
        let error = Peer::start(&mut Command::new("/absent")).err().unwrap().to_string();
        assert_eq!(error, "starting \"/absent\"");
    }
}
