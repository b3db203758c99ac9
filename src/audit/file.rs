//! The file of the audit log: appended to, never read but for its last byte, and opened again when it was moved away.
//!
//! Owns the descriptor. It is opened after the event loops have started, so that no loop's table of descriptors keeps a file that was
//! rotated away.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Only the gateway's own user reads it: it says who calls whom.
const MODE: u32 = 0o600;

/// Where lines go.
pub(super) trait Sink {
    /// Appends as many of the bytes as it takes at once.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Opens it again by its name; on an error the old one stays. Whether it ends within a line.
    fn reopen(&mut self) -> io::Result<Tail>;
}

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// With a whole line, or it is empty.
    Whole,
    /// Within a line: whoever wrote it was killed, or the disk was full.
    Cut,
}

/// The file.
#[derive(Debug)]
pub struct AuditFile {
    path: PathBuf,
    file: File,
    tail: Tail,
}

impl AuditFile {
    /// Opens it, and makes it where it is not there, for its owner alone.
    ///
    /// # Errors
    /// It cannot be opened or made.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (file, tail) = open(path)?;
        Ok(Self { path: path.to_owned(), file, tail })
    }

    /// How it ended when it was opened.
    pub(super) fn tail(&self) -> Tail {
        self.tail
    }

    /// Its name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn open(path: &Path) -> io::Result<(File, Tail)> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
    let tail = tail(&mut file).unwrap_or(Tail::Whole);
    Ok((file, tail))
}

/// How it ends. What cannot be searched (a pipe) has no end.
fn tail(file: &mut File) -> io::Result<Tail> {
    if file.metadata()?.len() == 0 {
        return Ok(Tail::Whole);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(if last == *b"\n" { Tail::Whole } else { Tail::Cut })
}

impl Sink for AuditFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn reopen(&mut self) -> io::Result<Tail> {
        let (file, tail) = open(&self.path)?;
        self.file = file;
        Ok(tail)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("holdfast-audit-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn it_is_made_for_its_owner_and_appended_to() {
        let folder = folder("made");
        let path = folder.join("audit");
        let mut file = AuditFile::open(&path).unwrap();
        assert_eq!((file.tail(), fs::metadata(&path).unwrap().permissions().mode() & 0o777), (Tail::Whole, 0o600));
        assert_eq!(file.append(b"one\n").unwrap(), 4);
        // Another program may cut it (logrotate's copytruncate): what is appended comes at its end all the same.
        fs::write(&path, "").unwrap();
        assert_eq!(file.append(b"two\ncut").unwrap(), 7);
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\ncut");
        assert_eq!(AuditFile::open(&path).unwrap().tail(), Tail::Cut);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn it_follows_its_name_when_it_is_opened_again() {
        let folder = folder("moved");
        let (path, old) = (folder.join("audit"), folder.join("audit.1"));
        let mut file = AuditFile::open(&path).unwrap();
        file.append(b"one\n").unwrap();
        fs::rename(&path, &old).unwrap();
        file.append(b"two\n").unwrap();
        assert_eq!(file.reopen().unwrap(), Tail::Whole);
        file.append(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        fs::remove_dir_all(&folder).unwrap();
        // Its folder is gone: what it had stays.
        assert!(file.reopen().is_err());
        assert_eq!(file.append(b"four\n").unwrap(), 5);
    }
}
