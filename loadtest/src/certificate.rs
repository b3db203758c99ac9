//! A certificate that a gateway gets which is started for a run, and which agents trust.
//!
//! Owns its files, in a folder that goes with it.

use std::fs;
use std::path::PathBuf;

/// The name in it.
pub const NAME: &str = "localhost";

/// A certificate that signs itself, P-256, and its key.
pub struct Certificate {
    folder: PathBuf,
}

impl Certificate {
    /// Makes one.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn make() -> Result<Self, String> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(|error| error.to_string())?;
        let folder =
            std::env::temp_dir().join(format!("holdfast-loadtest-{}-{:016x}", std::process::id(), fastrand::u64(..)));
        let failed = |error| format!("{}: {error}", folder.display());
        fs::create_dir(&folder).map_err(failed)?;
        let certificate = Self { folder: folder.clone() };
        fs::write(certificate.chain(), made.cert.pem()).map_err(failed)?;
        fs::write(certificate.key(), made.signing_key.serialize_pem()).map_err(failed)?;
        Ok(certificate)
    }

    /// The certificate's file.
    pub fn chain(&self) -> PathBuf {
        self.folder.join("gateway.pem")
    }

    /// Its key's file.
    pub fn key(&self) -> PathBuf {
        self.folder.join("gateway.key")
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // A folder that stays in the temporary one is no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
