//! The file of revocations: what was acknowledged is in it, whatever happens to the process or the machine.
//!
//! Owns its form: a first line that names it, then a line for each change, with a checksum before it. Changes are appended and
//! synced; the file is written anew, beside and then in its place, when most of it is out of date. A line that was cut off at the
//! end was never acknowledged and is dropped; anything else that is wrong is told, and nothing is guessed.
//!
//! A line is text on purpose: a person can read it, and mend it where a disk has broken it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::Revocation;
use super::set::Set;

/// The first line.
const TITLE: &str = "holdfast revocations 1\n";
/// Hex digits of a checksum: of a line that was damaged, one in 2⁶⁴ is taken for good.
const CHECKSUM_DIGITS: usize = 16;
/// Lines out of date beyond which, and beyond half of all, the file is written anew.
const STALE_MAX: usize = 1024;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A revocation is in force.
    Add(Revocation),
    /// The one with this number is not any more.
    Drop(u64),
    /// The gateway has run for so many seconds, all processes together.
    Ran(u64),
}

/// What a journal is written to.
pub trait Medium {
    /// Appends bytes; some of them may be there although it failed.
    ///
    /// # Errors
    /// No room, or a broken disk.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts it to a length.
    ///
    /// # Errors
    /// A broken disk.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;

    /// Returns when everything is on the disk.
    ///
    /// # Errors
    /// No room, or a broken disk.
    fn sync(&mut self) -> io::Result<()>;

    /// Puts other content in its place, whole or not at all, and synced.
    ///
    /// # Errors
    /// No room, or a broken disk: the content before is still there.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// An open journal.
pub struct Journal<M> {
    medium: M,
    /// Bytes that were acknowledged.
    bytes: u64,
    /// Lines behind the title.
    lines: usize,
    /// Something may lie behind the acknowledged bytes, and has to be cut off before more is written.
    is_frayed: bool,
}

impl<M: Medium> Journal<M> {
    /// A journal on a medium that holds `text`, and what is revoked. An empty medium is a new journal.
    ///
    /// # Errors
    /// The line, from 1, that is no change and was not cut off at the end either; or the medium's.
    pub fn on(medium: M, text: &[u8]) -> Result<(Self, Set), JournalError> {
        let (set, lines, bytes) = read(text)?;
        let is_frayed = bytes < text.len() as u64;
        let mut journal = Self { medium, bytes, lines, is_frayed };
        if bytes == 0 {
            journal.rewrite(&set, 0)?;
        }
        journal.mend()?;
        Ok((journal, set))
    }

    /// Writes changes down. When this returns they outlive everything but the disk.
    ///
    /// # Errors
    /// Of the medium: none of them is in force after a restart, as far as the disk still does what it is told.
    pub fn append(&mut self, changes: &[Change]) -> io::Result<()> {
        self.mend()?;
        let mut text = String::new();
        for change in changes {
            text.push_str(&line(change)?);
        }
        self.is_frayed = true;
        if let Err(error) = self.medium.append(text.as_bytes()).and_then(|()| self.medium.sync()) {
            // What is there of it is no acknowledged line. If it cannot be cut off now, it is before the next one.
            let _ = self.mend();
            return Err(error);
        }
        self.is_frayed = false;
        self.bytes += text.len() as u64;
        self.lines += changes.len();
        Ok(())
    }

    /// Writes the file anew where most of it is out of date; `ran_secs` is how long the gateway has run.
    ///
    /// # Errors
    /// Of the medium: the file stays as it is.
    pub fn tidy(&mut self, set: &Set, ran_secs: u64) -> io::Result<()> {
        let stale = self.lines.saturating_sub(set.len());
        if stale > STALE_MAX && stale > set.len() { self.rewrite(set, ran_secs) } else { Ok(()) }
    }

    fn rewrite(&mut self, set: &Set, ran_secs: u64) -> io::Result<()> {
        let mut text = TITLE.to_owned();
        let mut lines = set.len();
        for revocation in set.all() {
            text.push_str(&line(&Change::Add(revocation.clone()))?);
        }
        // Numbers are given once: the last one is remembered also where its revocation is gone.
        if let Some(last) = set.last_gone() {
            text.push_str(&line(&Change::Drop(last))?);
            lines += 1;
        }
        if ran_secs > 0 {
            text.push_str(&line(&Change::Ran(ran_secs))?);
            lines += 1;
        }
        self.medium.replace(text.as_bytes())?;
        (self.bytes, self.lines, self.is_frayed) = (text.len() as u64, lines, false);
        Ok(())
    }

    fn mend(&mut self) -> io::Result<()> {
        if self.is_frayed {
            self.medium.cut(self.bytes)?;
            self.medium.sync()?;
            self.is_frayed = false;
        }
        Ok(())
    }
}

/// Why there is no journal.
#[derive(Debug)]
pub enum JournalError {
    /// The file could not be opened, read or written.
    Io(io::Error),
    /// Another process has it open.
    InUse,
    /// This line, from 1, is not as it was written.
    Damaged(usize),
    /// The file is something else.
    Foreign,
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl std::fmt::Display for JournalError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(out, "{error}"),
            Self::InUse => out.write_str("another gateway has it open"),
            Self::Damaged(line) => write!(
                out,
                "line {line} is damaged, and what it revoked cannot be known. Put a good copy in its place, or take the line out and revoke anew what it held: each line is a checksum and JSON"
            ),
            Self::Foreign => out.write_str("it is no file of revocations; name another one, or move it away"),
        }
    }
}

fn line(change: &Change) -> io::Result<String> {
    let json = serde_json::to_string(change).map_err(io::Error::from)?;
    Ok(format!("{} {json}\n", checksum(json.as_bytes())))
}

fn checksum(json: &[u8]) -> String {
    let hash = digest(&SHA256, json);
    hash.as_ref().iter().take(CHECKSUM_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

fn change(line: &[u8]) -> Option<Change> {
    let (sum, json) = line.split_at_checked(CHECKSUM_DIGITS)?;
    let json = json.strip_prefix(b" ")?;
    (sum == checksum(json).as_bytes()).then(|| serde_json::from_slice(json).ok())?
}

/// What a text holds: what is revoked, its lines behind the title, and the length of what is whole.
fn read(text: &[u8]) -> Result<(Set, usize, u64), JournalError> {
    if text.is_empty() {
        return Ok((Set::default(), 0, 0));
    }
    let body = text.strip_prefix(TITLE.as_bytes()).ok_or(JournalError::Foreign)?;
    let (mut set, mut lines, mut whole) = (Set::default(), 0, TITLE.len());
    for piece in body.split_inclusive(|byte| *byte == b'\n') {
        let Some(complete) = piece.strip_suffix(b"\n") else {
            // The process or the machine ended in the middle of it: it was not acknowledged.
            break;
        };
        lines += 1;
        match change(complete).ok_or(JournalError::Damaged(lines + 1))? {
            Change::Add(revocation) => {
                set.set_ran_before(revocation.created_ran);
                set.insert(revocation);
            }
            Change::Drop(id) => drop(set.remove(id)),
            Change::Ran(secs) => set.set_ran_before(secs),
        }
        whole += piece.len();
    }
    Ok((set, lines, whole as u64))
}

/// A file on a disk, which no other process may write as long as it is open.
pub struct Disk {
    /// Where it is, with no link in it: a new file takes its place there.
    path: PathBuf,
    file: Flock<File>,
    /// The folder, while it is not known to have the file's name on the disk.
    unsettled: Option<File>,
}

impl Disk {
    /// Opens the journal at a path, or makes one.
    ///
    /// # Errors
    /// It cannot be opened, another process has it, or it is damaged.
    pub fn open(path: &Path) -> Result<(Journal<Self>, Set), JournalError> {
        if !path.try_exists()? {
            // Whole, with its title: an empty file has lost what it held.
            let (_, folder) = written_beside(path, TITLE.as_bytes())?;
            folder.sync_all()?;
        }
        let path = path.canonicalize()?;
        let file = options().read(true).create(false).open(&path)?;
        let mut disk = Self { path, file: locked(file)?, unsettled: None };
        let mut text = Vec::new();
        disk.file.read_to_end(&mut text)?;
        if text.is_empty() {
            return Err(JournalError::Foreign);
        }
        Journal::on(disk, &text)
    }
}

/// Writes a file beside, syncs it, and puts it in the place of `path`: there is always a whole one. The name is on the disk once the
/// folder, which is given back too, is synced.
fn written_beside(path: &Path, bytes: &[u8]) -> Result<(Flock<File>, File), JournalError> {
    // Before anything is done: who may not read the folder could not sync it.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder)?;
    // Behind the whole name: in place of an extension it might be the file itself.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = options().open(&beside)?;
    let written = file.set_len(0).and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = std::fs::remove_file(&beside);
        return Err(error.into());
    }
    let file = locked(file)?;
    std::fs::rename(&beside, path)?;
    Ok((file, folder))
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options
}

fn locked(file: File) -> Result<Flock<File>, JournalError> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => JournalError::InUse,
        other => JournalError::Io(other.into()),
    })
}

impl Medium for Disk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.seek(SeekFrom::End(0)).map(drop)
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(folder) = &self.unsettled {
            folder.sync_all()?;
            self.unsettled = None;
        }
        self.file.sync_data()
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (file, folder) = written_beside(&self.path, bytes).map_err(|error| match error {
            JournalError::Io(error) => error,
            other => io::Error::other(other.to_string()),
        })?;
        // It is the one under that name from here on, whatever becomes of the folder: nothing more is acknowledged before that is synced.
        self.file = file;
        self.unsettled = folder.sync_all().is_err().then_some(folder);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
