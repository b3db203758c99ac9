//! The option `--config`, the same for every command that reads the settings.
//!
//! Owns its name. It never opens the file.

use std::path::PathBuf;

/// Which file of settings is read.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SettingsFile {
    /// Configuration file (TOML), as `holdfast default-config` prints one; without it, defaults and the environment (`HOLDFAST_…`) alone.
    #[arg(id = "config", long = "config", value_name = "FILE")]
    pub path: Option<PathBuf>,
}
