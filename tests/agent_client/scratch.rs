//! A directory of one test's own, gone after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::gateway::eventually;

pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("holdfast-agent-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.join(name).exists()
    }

    pub fn put(&self, name: &str) {
        fs::write(self.0.join(name), "").unwrap();
    }

    /// Waits until a program has made this file.
    pub fn await_file(&self, name: &str) {
        eventually(name, || self.has(name).then_some(()));
    }

    /// Waits until a program has written its process id, with a line feed, into this file.
    pub fn await_pid(&self, name: &str) -> i32 {
        eventually(name, || {
            let text = fs::read_to_string(self.0.join(name)).ok()?;
            text.ends_with('\n').then(|| text.trim().parse().unwrap())
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
