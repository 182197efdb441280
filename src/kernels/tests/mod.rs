//! One battery for every row of the table.

mod attention;
mod products;
mod scheduling;
mod team;
mod vectors;

use super::KernelTable;

/// Rows that must not be skipped, separated by commas.
const REQUIRED_VARIABLE: &str = "EDGESLM_REQUIRE_KERNELS";

/// The rows that this CPU can run, or the one that `EDGESLM_KERNELS` names, for emulators, which are slow. Prints those that it
/// cannot run.
fn rows_under_test() -> Vec<&'static KernelTable> {
    if std::env::var(crate::ROW_VARIABLE).is_ok_and(|name| !name.is_empty()) {
        return vec![KernelTable::select().unwrap()];
    }
    for (name, missing) in KernelTable::all() {
        if let Some(missing) = missing {
            println!("skipped kernels {name}: the CPU lacks {missing}");
        }
    }
    KernelTable::supported().collect()
}

/// The scalar row, whose results the vector operations of the others must equal.
fn scalar() -> &'static KernelTable {
    KernelTable::by_name("scalar").unwrap()
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Between -1 and 1.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn vector(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.unit()).collect()
    }
}

#[track_caller]
fn assert_same_bits(what: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!(
            actual.to_bits() == expected.to_bits() || actual.is_nan() && expected.is_nan(),
            "{what}: [{index}] is {actual:e} and not {expected:e}"
        );
    }
}

#[test]
fn every_row_of_the_build_is_known_here() {
    let names: Vec<_> = KernelTable::all().map(|(name, _)| name).collect();
    let expected: &[&str] = if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        &["amx-int8", "avx512vnni", "avx-vnni", "avx2", "scalar-tiles", "scalar"]
    } else if cfg!(target_arch = "x86_64") {
        &["avx512vnni", "avx-vnni", "avx2", "scalar-tiles", "scalar"]
    } else if cfg!(target_arch = "aarch64") {
        &["neon-i8mm", "neon-dotprod", "neon", "scalar-tiles", "scalar"]
    } else {
        &["scalar-tiles", "scalar"]
    };
    assert_eq!(names, expected);
}

#[test]
fn required_rows_are_not_skipped() {
    let required = std::env::var(REQUIRED_VARIABLE).unwrap_or_default();
    for name in required.split(',').filter(|name| !name.is_empty()) {
        KernelTable::by_name(name).unwrap();
    }
}

#[test]
fn unknown_rows_are_refused_with_the_names_that_exist() {
    let error = KernelTable::by_name("mmx").unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("scalar"), "{error}");
}

#[test]
fn the_best_row_comes_first() {
    let best = rows_under_test()[0].name();
    if std::env::var(super::ROW_VARIABLE).is_err() {
        assert_eq!(KernelTable::select().unwrap().name(), best);
    }
}
