//! The committed seeds of the fuzz targets, run through their bodies in the usual tests, and bent a little.
//!
//! Owns where they lie and how they are bent. What must hold is the body's matter. Test code alone.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

/// Cuts and changed bytes of each seed, at most.
const BENDS: usize = 64;
/// What a byte is changed by: one bit at either end, all of them, and the case of a letter.
const FLIPS: [u8; 4] = [0x01, 0x80, 0xFF, 0x20];

/// The folder with the seeds of all targets.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds")
}

/// Runs a body on each seed of its target, on beginnings of it, and on what it is with one byte changed.
pub fn run(target: &str, body: fn(&[u8])) {
    let folder = folder().join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds for {target}");
    for path in paths {
        let seed = fs::read(&path).expect("a seed");
        // What the test runner shows of a failed test: the seed whose bend it was.
        println!("{}", path.display());
        body(&seed);
        let step = 1 + seed.len() / BENDS;
        for at in (0..seed.len()).step_by(step) {
            body(&seed[..at]);
            let mut bent = seed.clone();
            bent[at] ^= FLIPS[at / step % FLIPS.len()];
            body(&bent);
        }
    }
}

#[test]
fn every_target_has_seeds_and_every_folder_of_seeds_its_target() {
    // Read when it runs: a copy of the sources without it can be built.
    let manifest = folder().with_file_name("Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("a manifest");
    let targets = manifest.split("[[bin]]").skip(1).filter_map(|bin| bin.split('"').nth(1));
    let mut targets: Vec<String> = targets.map(str::to_owned).collect();
    targets.sort();
    let folders = fs::read_dir(folder()).expect("a folder");
    let mut folders: Vec<String> =
        folders.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect();
    folders.sort();
    assert_eq!(targets, folders);
    assert!(targets.len() >= 11, "{targets:?}");
}
