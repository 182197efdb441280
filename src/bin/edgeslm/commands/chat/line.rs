//! What a line of a conversation means.

/// The commands, for people.
pub(super) const HELP: &str = "\
In the conversation:
  /help          These lines
  /reset         Begin a new conversation
  /rewind [N]    Take back the last message and its answer, or the last N
  /system TEXT   Set the instructions to the model; without TEXT remove them
  /stats         Times and rates of the last answer, and how full the context is
  /quit          Leave, as Ctrl-D does
A line that ends in \\ goes on in the next. // begins a message with a slash. Ctrl-C stops an answer.";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Empty,
    Message(&'a str),
    Command(Command<'a>),
    /// A command that does not exist or that cannot be understood.
    Unknown(&'a str),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Help,
    Quit,
    Reset,
    Statistics,
    /// The new system message; empty for none.
    System(&'a str),
    /// How many turns.
    Rewind(usize),
}

impl<'a> Line<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Self::Empty;
        }
        let Some(command) = text.strip_prefix('/') else { return Self::Message(text) };
        if command.starts_with('/') {
            return Self::Message(command);
        }
        let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let argument = argument.trim();
        let command = match (name, argument) {
            ("help" | "?", "") => Command::Help,
            ("quit" | "exit", "") => Command::Quit,
            ("reset", "") => Command::Reset,
            ("stats", "") => Command::Statistics,
            ("system", text) => Command::System(text),
            ("rewind", "") => Command::Rewind(1),
            ("rewind", count) => match count.parse() {
                Ok(count) => Command::Rewind(count),
                Err(_) => return Self::Unknown(text),
            },
            _ => return Self::Unknown(text),
        };
        Self::Command(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (text, expected) in [
            ("", Line::Empty),
            ("  \n ", Line::Empty),
            (" hello / there ", Line::Message("hello / there")),
            ("//etc/passwd is a file", Line::Message("/etc/passwd is a file")),
            ("/help", Line::Command(Command::Help)),
            ("/quit", Line::Command(Command::Quit)),
            ("/exit ", Line::Command(Command::Quit)),
            ("/reset", Line::Command(Command::Reset)),
            ("/stats", Line::Command(Command::Statistics)),
            ("/system  Be brief.\nBe kind. ", Line::Command(Command::System("Be brief.\nBe kind."))),
            ("/system", Line::Command(Command::System(""))),
            ("/rewind", Line::Command(Command::Rewind(1))),
            ("/rewind 3", Line::Command(Command::Rewind(3))),
            ("/rewind all", Line::Unknown("/rewind all")),
            ("/reset now", Line::Unknown("/reset now")),
            ("/", Line::Unknown("/")),
            ("/fly", Line::Unknown("/fly")),
        ] {
            assert_eq!(Line::parse(text), expected, "{text:?}");
        }
    }
}
