//! Every cut of the file, a disk that fills up anywhere, and bytes that changed.

use proptest::prelude::*;

use super::super::{Ban, Moment, Target};
use super::*;

/// A disk of a given size in memory; it remembers what was synced.
#[derive(Clone, Default)]
struct Small {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    size: usize,
    syncs_fail: bool,
}

impl Small {
    fn of(size: usize) -> Self {
        Self { size, ..Self::default() }
    }
}

impl Medium for &mut Small {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = self.size.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.bytes.truncate(bytes as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.syncs_fail {
            return Err(io::ErrorKind::Other.into());
        }
        self.synced = self.bytes.clone();
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.size {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes = bytes.to_vec();
        self.synced = self.bytes.clone();
        Ok(())
    }
}

/// Another process begins.
const START: Moment = Moment { unix_secs: 0, running_secs: 0 };

#[test]
fn how_long_the_gateway_has_run_is_the_most_that_any_line_says() {
    let mut medium = Small::of(1 << 20);
    let (mut journal, _) = Journal::on(&mut medium, b"").unwrap();
    let changes = [Change::Ran(300), Change::Add(revocation(400)), Change::Ran(350), Change::Drop(400)];
    for (count, expected) in [(1, 300), (2, 400), (3, 400), (4, 400)] {
        journal.append(&changes[count - 1..count]).unwrap();
        let text = journal.medium.bytes.clone();
        assert_eq!(read(&text).unwrap().0.ran(Moment { running_secs: 7, ..START }), expected + 7, "{count}");
    }
    // Lines of files that are older than the count.
    let old: Change =
        serde_json::from_str(r#"{"add":{"id":1,"created_unix":5,"tenant":"t","target":"tenant"}}"#).unwrap();
    assert!(matches!(old, Change::Add(Revocation { created_ran: 0, .. })));
}

fn revocation(id: u64) -> Revocation {
    let ban = Ban {
        tenant: "acme".into(),
        target: Target::Agent(format!("web-{id}\n\u{e4}")),
        issued_before: id.is_multiple_of(2).then_some(id),
        reason: "stolen \"laptop\"".into(),
        expires_unix: None,
    };
    Revocation { id, created_unix: 1_800_000_000 + id, created_ran: id, ban }
}

fn ids(set: &Set) -> Vec<u64> {
    set.all().map(|revocation| revocation.id).collect()
}

/// A file with three revocations, of which the first was taken back, and where each line ends.
fn written() -> (Vec<u8>, Vec<usize>) {
    let mut medium = Small::of(1 << 20);
    let (mut journal, set) = Journal::on(&mut medium, b"").unwrap();
    assert!(set.is_empty());
    let mut ends = vec![journal.bytes as usize];
    for change in [Change::Add(revocation(1)), Change::Add(revocation(2)), Change::Drop(1), Change::Add(revocation(3))]
    {
        journal.append(&[change]).unwrap();
        ends.push(journal.bytes as usize);
    }
    assert_eq!(medium.synced, medium.bytes);
    (medium.bytes, ends)
}

#[test]
fn what_was_written_is_read_and_what_was_cut_off_is_dropped() {
    let (text, ends) = written();
    let expected: [&[u64]; 5] = [&[], &[1], &[1, 2], &[2], &[2, 3]];
    for cut in ends[0]..=text.len() {
        let mut medium = Small { bytes: text[..cut].to_vec(), size: 1 << 20, ..Small::default() };
        let (mut journal, set) = Journal::on(&mut medium, &text[..cut]).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(ids(&set), expected[whole], "{cut}");
        assert_eq!(journal.bytes as usize, ends[whole], "{cut}");
        // And it can be written on.
        journal.append(&[Change::Add(revocation(9))]).unwrap();
        let (again, ..) = read(&medium.bytes).unwrap();
        assert_eq!(ids(&again), [expected[whole], &[9]].concat(), "{cut}");
    }
    assert_eq!(read(&text).unwrap().0.get("acme", 3), Some(&revocation(3)));
}

#[test]
fn a_byte_that_changed_is_found_wherever_it_is() {
    let (text, ends) = written();
    for at in 0..text.len() {
        for flip in [1, 0x20, 0x80] {
            let mut changed = text.clone();
            changed[at] ^= flip;
            let found = read(&changed);
            let line = ends.iter().filter(|end| **end <= at).count();
            match found {
                Err(JournalError::Foreign) => assert_eq!(line, 0, "{at}"),
                Err(JournalError::Damaged(told)) => assert!(told == line + 1, "{at}: {told}"),
                // The very last line feed: the line looks cut off.
                Ok((set, ..)) => assert!(at == text.len() - 1 && ids(&set) == [2], "{at}"),
                Err(JournalError::Io(_) | JournalError::InUse) => panic!("{at}"),
            }
        }
    }
    assert!(matches!(read(b"something else"), Err(JournalError::Foreign)));
    assert!(matches!(read(&text[1..]), Err(JournalError::Foreign)));
}

#[test]
fn a_full_disk_keeps_what_was_acknowledged_and_no_half_of_another() {
    let (text, _) = written();
    for size in TITLE.len()..text.len() + 300 {
        let mut medium = Small::of(size);
        let (mut journal, _) = Journal::on(&mut medium, b"").unwrap();
        let mut acknowledged = Vec::new();
        for id in 1..=4 {
            if journal.append(&[Change::Add(revocation(id))]).is_ok() {
                acknowledged.push(id);
            }
        }
        assert!(!journal.is_frayed, "{size}");
        let (set, ..) = read(&medium.synced).unwrap();
        assert_eq!(ids(&set), acknowledged, "{size}");
        assert_eq!(medium.bytes, medium.synced, "{size}");
    }
}

#[test]
fn a_disk_that_does_not_sync_acknowledges_nothing_until_it_does() {
    let mut medium = Small::of(1 << 20);
    let (mut journal, _) = Journal::on(&mut medium, b"").unwrap();
    journal.append(&[Change::Add(revocation(1))]).unwrap();
    journal.medium.syncs_fail = true;
    for id in 2..4 {
        assert!(journal.append(&[Change::Add(revocation(id))]).is_err());
        assert!(journal.is_frayed);
    }
    journal.medium.syncs_fail = false;
    journal.append(&[Change::Add(revocation(5))]).unwrap();
    assert_eq!(ids(&read(&medium.synced).unwrap().0), [1, 5]);
}

#[test]
fn a_file_that_is_mostly_out_of_date_is_written_anew() {
    let mut medium = Small::of(1 << 24);
    let (mut journal, mut set) = Journal::on(&mut medium, b"").unwrap();
    for id in 1..=STALE_MAX as u64 {
        journal.append(&[Change::Add(revocation(id)), Change::Drop(id)]).unwrap();
    }
    let keeper = revocation(9999);
    journal.append(&[Change::Add(keeper.clone())]).unwrap();
    set.insert(keeper);
    let before = journal.bytes;
    journal.tidy(&set, 77_777).unwrap();
    assert!(journal.bytes < before / 100 && journal.lines == 2);
    journal.append(&[Change::Add(revocation(10_000))]).unwrap();
    let after = journal.bytes;
    journal.tidy(&set, 88_888).unwrap();
    assert_eq!(journal.bytes, after);
    let again = read(&medium.bytes).unwrap().0;
    assert_eq!(ids(&again), [9999, 10_000]);
    assert_eq!(again.ran(START), 77_777, "how long the gateway has run is in the new file");
}

#[test]
fn a_number_is_given_once_also_where_its_revocation_was_tidied_away() {
    let mut medium = Small::of(1 << 20);
    let (mut journal, _) = Journal::on(&mut medium, b"").unwrap();
    let mut set = Set::of([1, 2, 3].map(revocation));
    set.remove(3);
    journal.rewrite(&set, 0).unwrap();
    assert_eq!(journal.lines, 3);
    let (again, lines, _) = read(&medium.bytes).unwrap();
    assert_eq!((ids(&again), lines), (vec![1, 2], 3));
    assert_eq!(again.draft(revocation(1).ban, START, 10).unwrap().id, 4);
}

#[test]
fn a_link_to_the_file_stays_one_and_its_target_is_written_anew() {
    let folder = std::env::temp_dir().join(format!("holdfast-journal-link-{}", std::process::id()));
    let volume = folder.join("volume");
    std::fs::create_dir_all(&volume).unwrap();
    let (link, target) = (folder.join("revocations"), volume.join("revocations"));
    drop(Disk::open(&target).unwrap());
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let (mut journal, _) = Disk::open(&link).unwrap();
    journal.rewrite(&Set::of([revocation(1)]), 0).unwrap();
    journal.append(&[Change::Add(revocation(2))]).unwrap();
    drop(journal);
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(ids(&Disk::open(&target).unwrap().1), [1, 2]);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_file_on_a_disk_outlives_its_journal_and_belongs_to_one() {
    let folder = std::env::temp_dir().join(format!("holdfast-journal-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("revocations.new");
    let _ = std::fs::remove_file(&path);
    let (mut journal, _) = Disk::open(&path).unwrap();
    journal.append(&[Change::Add(revocation(1))]).unwrap();
    assert!(matches!(Disk::open(&path), Err(JournalError::InUse)));
    // Written anew, it is still locked and still the one that is written.
    journal.rewrite(&Set::of([revocation(1), revocation(2)]), 0).unwrap();
    assert!(matches!(Disk::open(&path), Err(JournalError::InUse)));
    journal.append(&[Change::Add(revocation(3))]).unwrap();
    drop(journal);
    let (journal, set) = Disk::open(&path).unwrap();
    assert_eq!(ids(&set), [1, 2, 3]);
    drop(journal);
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(Disk::open(&path), Err(JournalError::Foreign)));
    std::fs::remove_dir_all(&folder).unwrap();
}

proptest! {
    #[test]
    fn no_text_is_taken_for_a_change_without_its_checksum(text in ".{0,200}") {
        prop_assert!(change(text.as_bytes()).is_none());
    }
}
