//! Memory of this process.

/// What the system says of this process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessMemory {
    /// The most that was resident at a time, pages of mapped files included.
    pub(crate) peak_resident: u64,
    /// What belongs to no file.
    pub(crate) anonymous: u64,
}

impl ProcessMemory {
    /// At present, where the system has `/proc`.
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    /// Lets the peak begin anew. Returns whether the system does that.
    pub(crate) fn reset_peak() -> bool {
        std::fs::write("/proc/self/clear_refs", "5").is_ok()
    }

    fn parse(status: &str) -> Option<Self> {
        let bytes = |name: &str| -> Option<u64> {
            let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { peak_resident: bytes("VmHWM")?, anonymous: bytes("RssAnon")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_figures() {
        let status = "Name:\tedgeslm\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\nRssAnon:\t       3 kB\n";
        assert_eq!(
            ProcessMemory::parse(status),
            Some(ProcessMemory { peak_resident: 2_097_152, anonymous: 3072 })
        );
        assert_eq!(ProcessMemory::parse("VmHWM:\t 1 kB\n"), None);
        assert_eq!(ProcessMemory::parse("VmHWM:\t 1\nRssAnon: 2 kB"), None);
    }
}
