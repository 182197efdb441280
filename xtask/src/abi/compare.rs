//! What in a newer ABI breaks a program that was built against an older one.

use std::collections::BTreeMap;

use super::Snapshot;

/// Tells programs of breaks, and is no break itself.
pub(super) const VERSION: &str = "constant SLM_ABI_VERSION";

/// The breaks, one a line. Whatever is new breaks nothing, except in a struct that may not grow.
pub(super) fn breaks(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let (old_facts, new_facts) = (old.by_subject(), new.by_subject());
    let mut found = Vec::new();
    for (subject, fact) in &old.facts {
        let is_struct = subject.starts_with("struct ");
        match new_facts.get(&**subject) {
            _ if subject == VERSION => {}
            None => found.push(format!("{subject} is gone; it was {fact}")),
            Some(now) if now == fact => {}
            Some(now) if is_struct && size(now) > size(fact) && may_grow(subject, &old_facts) => {}
            Some(now) => found.push(format!("{subject} was {fact} and is {now}")),
        }
    }
    for (subject, fact) in &new.facts {
        let Some((owner, _)) = subject.strip_prefix("field ").and_then(|field| field.split_once('.')) else {
            continue;
        };
        let old_size = old_facts.get(&*format!("struct {owner}")).and_then(|fact| size(fact));
        // What lies between older fields is not set by older programs.
        if !old_facts.contains_key(&**subject) && old_size.is_some_and(|old| offset(fact) < Some(old)) {
            found.push(format!("{subject} is new, but not behind the struct's older end"));
        }
    }
    found
}

/// Whether programs and library tell each other the size of a struct: it starts with its size, or a function that fills
/// it is given the size.
fn may_grow(subject: &str, facts: &BTreeMap<&str, &str>) -> bool {
    let name = subject.trim_start_matches("struct ");
    let sized = format!("{name} *, size_t");
    facts.contains_key(&*format!("field {name}.struct_size"))
        || facts.iter().any(|(subject, fact)| {
            subject.starts_with("function ")
                && fact.match_indices(&sized).any(|(index, _)| {
                    fact[..index].ends_with(['(', ' ']) && !fact[..index].ends_with("const ")
                })
        })
}

/// Of `16 bytes`.
fn size(fact: &str) -> Option<u64> {
    fact.split(' ').next()?.parse().ok()
}

/// Of `at 8, 4 bytes, uint32_t`.
fn offset(fact: &str) -> Option<u64> {
    fact.strip_prefix("at ")?.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "\
constant SLM_ABI_VERSION: 1
constant SLM_OK: 0
type slm_model: opaque
type slm_status: int32_t
struct slm_options: 16 bytes
field slm_options.struct_size: at 0, 4 bytes, uint32_t
field slm_options.budget: at 8, 8 bytes, uint64_t
struct slm_sizes: 8 bytes
field slm_sizes.layers: at 0, 8 bytes, uint64_t
struct slm_message: 8 bytes
field slm_message.text: at 0, 8 bytes, const char *
function slm_load: slm_status(const slm_options *, slm_model **)
function slm_sizes_of: slm_status(const slm_model *, slm_sizes *, size_t)
function slm_chat: slm_status(const slm_message *, size_t)
";

    /// The breaks when `from` is replaced with `to`.
    fn after(from: &str, to: &str) -> Vec<String> {
        assert!(OLD.contains(from), "{from}");
        let new = Snapshot::parse(&OLD.replace(from, to)).unwrap();
        breaks(&Snapshot::parse(OLD).unwrap(), &new)
    }

    #[test]
    fn what_breaks_programs() {
        for (from, to, expected) in [
            ("constant SLM_OK: 0", "constant SLM_OK: 1", "constant SLM_OK was 0 and is 1"),
            ("constant SLM_OK: 0\n", "", "constant SLM_OK is gone; it was 0"),
            ("type slm_model: opaque\n", "", "type slm_model is gone; it was opaque"),
            ("slm_status: int32_t", "slm_status: int64_t", "type slm_status was int32_t and is int64_t"),
            (
                "slm_load: slm_status(const slm_options *, slm_model **)",
                "slm_load: slm_status(const slm_options *, const slm_model **)",
                "function slm_load was slm_status(const slm_options *, slm_model **) and is slm_status(const slm_options *, \
                 const slm_model **)",
            ),
            (
                "function slm_chat: slm_status(const slm_message *, size_t)\n",
                "",
                "function slm_chat is gone; it was slm_status(const slm_message *, size_t)",
            ),
            (
                "slm_options: 16 bytes",
                "slm_options: 12 bytes",
                "struct slm_options was 16 bytes and is 12 bytes",
            ),
            (
                "budget: at 8, 8 bytes, uint64_t",
                "budget: at 4, 8 bytes, uint64_t",
                "field slm_options.budget was at 8, 8 bytes, uint64_t and is at 4, 8 bytes, uint64_t",
            ),
            (
                "budget: at 8, 8 bytes, uint64_t",
                "budget: at 8, 8 bytes, double",
                "field slm_options.budget was at 8, 8 bytes, uint64_t and is at 8, 8 bytes, double",
            ),
            // An array of them would have another stride, and nobody tells the size.
            (
                "slm_message: 8 bytes",
                "slm_message: 16 bytes",
                "struct slm_message was 8 bytes and is 16 bytes",
            ),
            (
                "field slm_options.budget",
                "field slm_options.flags: at 4, 4 bytes, uint32_t\nfield slm_options.budget",
                "field slm_options.flags is new, but not behind the struct's older end",
            ),
        ] {
            assert_eq!(after(from, to), [expected]);
        }
        let renamed = after("field slm_options.budget", "field slm_options.limit");
        assert_eq!(renamed.len(), 2, "{renamed:?}");
    }

    #[test]
    fn what_breaks_nothing() {
        for (from, to) in [
            ("constant SLM_OK: 0", "constant SLM_OK: 0\nconstant SLM_NEW: 1"),
            ("ABI_VERSION: 1", "ABI_VERSION: 2"),
            ("function slm_chat", "function slm_new: int32_t(void)\nfunction slm_chat"),
            (
                "struct slm_options: 16 bytes",
                "struct slm_options: 24 bytes\nfield slm_options.new: at 16, 8 bytes, uint64_t",
            ),
            (
                "struct slm_sizes: 8 bytes",
                "struct slm_sizes: 16 bytes\nfield slm_sizes.new: at 8, 8 bytes, uint64_t",
            ),
            (
                "struct slm_message",
                "struct slm_new: 8 bytes\nfield slm_new.a: at 0, 8 bytes, double\nstruct slm_message",
            ),
        ] {
            assert_eq!(after(from, to), Vec::<String>::new(), "{to}");
        }
    }
}
