//! A certificate that a gateway gets which is started for a run, and which agents trust.
//!
//! Owns its files, in a folder that goes with it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair, SerialNumber};

/// The name in it.
pub const NAME: &str = "localhost";

/// A certificate that signs itself, P-256, and its key.
pub struct Certificate {
    folder: PathBuf,
    pair: KeyPair,
}

impl Certificate {
    /// Makes one.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn make() -> Result<Self, String> {
        let pair = KeyPair::generate().map_err(|error| error.to_string())?;
        let folder =
            std::env::temp_dir().join(format!("holdfast-loadtest-{}-{:016x}", std::process::id(), fastrand::u64(..)));
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let certificate = Self { folder, pair };
        certificate.renew()?;
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(certificate.key())
            .and_then(|mut file| file.write_all(certificate.pair.serialize_pem().as_bytes()))
            .map_err(|error| format!("{}: {error}", certificate.folder.display()))?;
        Ok(certificate)
    }

    /// Puts another certificate for the same name and key in its place, at once, and returns it in DER. Who trusts an earlier one
    /// trusts this one too.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn renew(&self) -> Result<Vec<u8>, String> {
        let mut params = CertificateParams::new([NAME.to_owned()]).map_err(|error| error.to_string())?;
        params.serial_number = Some(SerialNumber::from(fastrand::u64(1..)));
        let made = params.self_signed(&self.pair).map_err(|error| error.to_string())?;
        let (next, chain) = (self.folder.join("next.pem"), self.chain());
        fs::write(&next, made.pem())
            .and_then(|()| fs::rename(&next, &chain))
            .map_err(|error| format!("{}: {error}", chain.display()))?;
        Ok(made.der().to_vec())
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
