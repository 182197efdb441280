//! What Linux tells of the processor.

use std::fs;

use anyhow::Context;

/// The machine's processor.
pub(super) struct Processor {
    pub(super) name: String,
    flags: Vec<String>,
}

/// Sets of instructions for which there are kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instructions {
    /// AMX with 8-bit integers.
    Amx,
    /// AVX-512 with VNNI, without AMX.
    Avx512,
    /// AVX2 alone.
    Avx2,
}

impl Instructions {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Amx => "AMX",
            Self::Avx512 => "AVX-512 VNNI",
            Self::Avx2 => "AVX2",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::Amx => "amx_int8",
            Self::Avx512 => "avx512_vnni",
            Self::Avx2 => "avx2",
        }
    }
}

impl Processor {
    pub(super) fn of_this_machine() -> anyhow::Result<Self> {
        let path = "/proc/cpuinfo";
        Self::read(&fs::read_to_string(path).with_context(|| format!("{path} (the chore needs Linux)"))?)
    }

    fn read(text: &str) -> anyhow::Result<Self> {
        let value = |key: &str| {
            let mut fields = text.lines().filter_map(|line| line.split_once(':'));
            fields.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
        };
        let name = value("model name").unwrap_or(std::env::consts::ARCH).to_owned();
        let flags = value("flags").or_else(|| value("Features")).context("/proc/cpuinfo tells no flags")?;
        Ok(Self { name, flags: flags.split_whitespace().map(str::to_owned).collect() })
    }

    pub(super) fn has(&self, instructions: Instructions) -> bool {
        self.flags.iter().any(|flag| flag == instructions.flag())
    }

    /// The name for a file: `intel-xeon` for "Intel(R) Xeon(R) Processor".
    pub(super) fn file_name(&self) -> String {
        let name = self.name.to_lowercase().replace("(r)", " ").replace("(tm)", " ");
        // What follows is the clock.
        let name = name.split('@').next().unwrap_or_default();
        let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
        let words: Vec<_> =
            words.filter(|word| !word.is_empty() && !["cpu", "processor"].contains(word)).collect();
        if words.is_empty() { std::env::consts::ARCH.to_owned() } else { words.join("-") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_instructions() {
        let text = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Processor\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor\t: 1\n";
        let processor = Processor::read(text).unwrap();
        assert_eq!(processor.name, "Intel(R) Xeon(R) Processor");
        assert_eq!(processor.file_name(), "intel-xeon");
        let all = [Instructions::Amx, Instructions::Avx512, Instructions::Avx2];
        assert_eq!(all.map(|instructions| processor.has(instructions)), [false, true, true]);
        for (name, file) in [
            ("Intel(R) Core(TM) i7-1065G7 CPU @ 1.30GHz", "intel-core-i7-1065g7"),
            ("AMD EPYC 9B45", "amd-epyc-9b45"),
            ("(R)", std::env::consts::ARCH),
        ] {
            let processor = Processor { name: name.to_owned(), flags: vec![] };
            assert_eq!(processor.file_name(), file);
        }
        assert!(Processor::read("model name: x\n").is_err());
    }
}
