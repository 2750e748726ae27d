//! These tests catch limits that do not hold, dumps that are removed although they should stay,
//! what writers that were killed leave behind, and folders and files of others that are trusted.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use crate::folder::SpoolFolder;
use crate::{Admission, DumpFacts, Reservation, Spool, SpoolError, SpoolProblem};

/// A spool with these settings.
fn spool(settings: &str) -> (TempDir, Spool) {
    let folder = TempDir::new().unwrap();
    let text = format!("keep-free = 0\n{settings}\n");
    fs::write(folder.path().join("spool.toml"), text).unwrap();
    let spool = Spool::open(folder.path()).unwrap();
    (folder, spool)
}

/// Writes a dump of this size, and puts it into the spool.
fn finish(reservation: Reservation, size: usize, facts: &DumpFacts) -> Result<Admission, SpoolError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    io::Write::write_all(&mut file, &vec![b'x'; size]).unwrap();
    let path = reservation.path();
    reservation.commit(&file.reopen().unwrap(), facts, || {
        fs::copy(file.path(), path).map(|_| ())
    })
}

fn add(spool: &Spool, size: usize) -> Result<String, SpoolError> {
    let reservation = spool.reserve("server", ".dmp", size as u64)?;
    match finish(reservation, size, &DumpFacts::default())? {
        Admission::Kept { name, problems } => {
            assert_eq!(problems, [""; 0]);
            Ok(name)
        }
        counted => panic!("{counted:?}"),
    }
}

fn crash(spool: &Spool, signature: &str) -> Result<Admission, SpoolError> {
    let facts = DumpFacts {
        signature: Some(signature.to_owned()),
        ..DumpFacts::default()
    };
    finish(spool.reserve("server", ".dmp", 10)?, 10, &facts)
}

fn names(spool: &Spool) -> Vec<String> {
    let entries = spool.entries().unwrap().into_iter();
    entries.map(|entry| entry.name).collect()
}

/// The files in the folder that are neither dumps nor records nor there for ever.
fn left_over(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with(".spool-reserved") || name.starts_with(".spool-new"))
        .collect()
}

/// Sets the time of a dump.
fn date(folder: &Path, name: &str, before: Duration) {
    let file = File::options().write(true).open(folder.join(name)).unwrap();
    file.set_modified(SystemTime::now() - before).unwrap();
}

#[test]
fn the_oldest_make_room_and_other_files_stay() {
    let (folder, spool) = spool("keep-count = 3");
    let foreign = folder.path().join("precious.dmp");
    fs::write(&foreign, "x").unwrap();
    let mut added = Vec::new();
    for number in 0..6 {
        let name = add(&spool, 100).unwrap();
        date(folder.path(), &name, Duration::from_secs(100 - number));
        added.push(name);
    }
    assert_eq!(names(&spool), added[3..]);
    assert!(foreign.exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3 * 2 + 2 + 1);
    let entry = spool.entries().unwrap().remove(0);
    assert_eq!((entry.bytes, entry.record.unwrap().bytes), (100, 100));
    assert_eq!(spool.verify(&entry.name).unwrap(), []);
    let mode = fs::metadata(folder.path().join(format!("{}.json", entry.name))).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_being_written_counts() {
    let (folder, spool) = spool("keep-bytes = 1000\nkeep-count = 3");
    let kept = add(&spool, 300).unwrap();
    date(folder.path(), &kept, Duration::from_secs(9));
    let mut first = spool.reserve("a", ".dmp", 500).unwrap();
    // There is room for 200 without the old dump, and for 500 with it.
    assert!(matches!(
        spool.reserve("b", ".dmp", 600),
        Err(SpoolError::Full { .. })
    ));
    assert_eq!(names(&spool), [&*kept], "nothing is removed in vain");
    let second = spool.reserve("b", ".dmp", 200).unwrap();
    assert_eq!(names(&spool), [&*kept]);
    // It would need the room of the second one.
    assert!(matches!(first.grow(900, 0), Err(SpoolError::Full { .. })));
    assert_eq!(names(&spool), [&*kept]);
    first.grow(800, 0).unwrap();
    assert_eq!(names(&spool), [""; 0]);
    assert_eq!((first.bytes(), first.removed()), (800, &[kept][..]));
    finish(first, 800, &DumpFacts::default()).unwrap().unwrap_kept();
    drop(second);
    assert_eq!(left_over(folder.path()), [""; 0]);
    assert!(matches!(
        spool.reserve("c", ".dmp", 1001),
        Err(SpoolError::Full { .. })
    ));
    // The file is larger than what was reserved.
    let small = spool.reserve("c", ".dmp", 1).unwrap();
    assert!(matches!(
        finish(small, 2000, &DumpFacts::default()),
        Err(SpoolError::Full { .. })
    ));
    assert_eq!(names(&spool).len(), 1);
    let small = spool.reserve("c", ".dmp", 1).unwrap();
    finish(small, 600, &DumpFacts::default()).unwrap().unwrap_kept();
    assert_eq!(names(&spool).len(), 1, "the older one made room");
    assert_eq!(left_over(folder.path()), [""; 0]);
}

impl Admission {
    fn unwrap_kept(self) {
        assert!(matches!(self, Self::Kept { .. }), "{self:?}");
    }
}

#[test]
fn a_dump_that_is_read_stays() {
    let (folder, spool) = spool("keep-count = 2");
    let read = add(&spool, 10).unwrap();
    date(folder.path(), &read, Duration::from_secs(20));
    let other = add(&spool, 10).unwrap();
    date(folder.path(), &other, Duration::from_secs(10));
    let shared = spool.share(&read).unwrap();
    assert!(matches!(spool.remove(&read), Err(SpoolError::InUse { .. })));
    let newer = add(&spool, 10).unwrap();
    assert_eq!(names(&spool), [&*read, &*newer]);
    let also = spool.share(&newer).unwrap();
    let error = spool.reserve("c", ".dmp", 0).unwrap_err().to_string();
    assert!(error.contains("2 dumps are being read"), "{error}");
    drop((shared, also));
    spool.remove(&read).unwrap();
    assert!(matches!(spool.remove(&read), Err(SpoolError::Absent { .. })));
    assert_eq!(names(&spool), [newer]);
}

#[test]
fn old_dumps_are_removed() {
    let (folder, spool) = spool("keep-age = \"1h\"");
    let old = add(&spool, 10).unwrap();
    let younger = add(&spool, 10).unwrap();
    date(folder.path(), &old, Duration::from_secs(3700));
    date(folder.path(), &younger, Duration::from_secs(3500));
    let cleaned = spool.clean().unwrap();
    assert_eq!((cleaned.expired, cleaned.surplus), (vec![old], vec![]));
    date(folder.path(), &younger, Duration::from_secs(3700));
    drop(spool.reserve("a", ".dmp", 1).unwrap());
    assert_eq!(names(&spool), [""; 0]);
}

#[test]
fn free_space_is_kept_free() {
    let (folder, spool) = spool("");
    let first = add(&spool, 10).unwrap();
    fs::write(folder.path().join("spool.toml"), "keep-free = \"1000000TiB\"").unwrap();
    let error = spool.reserve("a", ".dmp", 10).unwrap_err();
    assert!(matches!(error, SpoolError::Full { .. }), "{error}");
    // Other files fill the disk; removing dumps would not help.
    assert_eq!(spool.clean().unwrap().surplus, [""; 0]);
    assert_eq!(names(&spool), [first]);
}

#[test]
fn limits_that_were_lowered_hold_after_cleaning() {
    let (folder, spool) = spool("");
    for _ in 0..5 {
        add(&spool, 100).unwrap();
    }
    let text = "keep-free = \"1000000TiB\"\nkeep-bytes = 250";
    fs::write(folder.path().join("spool.toml"), text).unwrap();
    assert_eq!(spool.clean().unwrap().surplus.len(), 3);
    assert_eq!(names(&spool).len(), 2);
}

#[test]
fn the_same_crash_is_counted() {
    let (folder, spool) = spool("keep-per-signature = 2\nmax-rate-per-signature = \"3/h\"");
    crash(&spool, "a").unwrap().unwrap_kept();
    crash(&spool, "b").unwrap().unwrap_kept();
    crash(&spool, "a").unwrap().unwrap_kept();
    let newest = names(&spool);
    for seen in 3..6 {
        let admission = crash(&spool, "a").unwrap();
        let Admission::Counted {
            duplicate_of,
            seen: found,
        } = admission
        else {
            panic!("{admission:?}")
        };
        assert_eq!(found, seen);
        assert!(newest.contains(&duplicate_of));
    }
    let seen = |spool: &Spool| {
        let entries = spool.entries().unwrap().into_iter();
        let mut seen: Vec<_> = entries.map(|entry| entry.count.map(|count| count.seen)).collect();
        seen.sort();
        seen
    };
    assert_eq!(seen(&spool), [Some(1), Some(5), Some(5)]);
    assert_eq!(left_over(folder.path()), [""; 0]);
    // When the dumps are gone, the rate decides: the third is kept, and the fourth is not.
    for name in names(&spool) {
        spool.remove(&name).unwrap();
    }
    crash(&spool, "a").unwrap().unwrap_kept();
    spool.remove(&names(&spool)[0]).unwrap();
    assert!(matches!(crash(&spool, "a"), Err(SpoolError::TooOften { .. })));
    crash(&spool, "c").unwrap().unwrap_kept();
    // Lost or damaged counters only lose their counts.
    fs::write(folder.path().join(".spool-counters.json"), "{\"version\":").unwrap();
    crash(&spool, "a").unwrap().unwrap_kept();
}

#[test]
fn a_rate_holds_for_what_is_being_written() {
    let (_folder, spool) = spool("max-rate = \"2/h\"");
    add(&spool, 1).unwrap();
    let second = spool.reserve("a", ".dmp", 1).unwrap();
    assert!(matches!(
        spool.reserve("b", ".dmp", 1),
        Err(SpoolError::TooOften { .. })
    ));
    // A writer that fails uses nothing up.
    drop(second);
    add(&spool, 1).unwrap();
    assert!(matches!(add(&spool, 1), Err(SpoolError::TooOften { .. })));
}

#[test]
fn what_the_killed_leave_is_removed() {
    let (folder, spool) = spool("keep-count = 2");
    let kept = add(&spool, 10).unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at(".spool-reserved-01234567-999"), "").unwrap();
    fs::write(at(".spool-new-01234567"), "half").unwrap();
    fs::write(at("a.dw-01234567.dmp.json"), "{}").unwrap();
    let living = spool.reserve("a", ".dmp", 1).unwrap();
    assert_eq!(left_over(folder.path()).len(), 1);
    assert!(!at("a.dw-01234567.dmp.json").exists());
    assert_eq!(names(&spool), [kept]);
    spool.clean().unwrap();
    finish(living, 1, &DumpFacts::default()).unwrap().unwrap_kept();
}

#[test]
fn records_can_be_lost_and_written_again() {
    let (folder, spool) = spool("");
    let name = add(&spool, 10).unwrap();
    let record = folder.path().join(format!("{name}.json"));
    for damage in [None, Some("{"), Some("[]")] {
        match damage {
            None => fs::remove_file(&record).unwrap(),
            Some(text) => fs::write(&record, text).unwrap(),
        }
        let entry = spool.entries().unwrap().remove(0);
        assert!(entry.record.is_err());
        let problems = spool.verify(&name).unwrap();
        assert!(matches!(problems[..], [SpoolProblem::Record(_)]));
        spool.describe(&name, &DumpFacts::default()).unwrap();
        assert_eq!(spool.verify(&name).unwrap(), []);
    }
    // Nobody writes through a link.
    fs::remove_file(&record).unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "untouched").unwrap();
    symlink(&target, &record).unwrap();
    assert!(spool.entries().unwrap()[0].record.is_err());
    spool.describe(&name, &DumpFacts::default()).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
    // Damage of the dump itself.
    let dump = folder.path().join(&name);
    fs::write(&dump, "xxxxxxxxxy").unwrap();
    assert_eq!(spool.verify(&name).unwrap(), [SpoolProblem::Checksum]);
    fs::write(&dump, "xx").unwrap();
    let size = SpoolProblem::Size {
        recorded: 10,
        found: 2,
    };
    assert_eq!(spool.verify(&name).unwrap(), [size]);
}

#[test]
fn folders_that_others_control_are_refused() {
    let folder = TempDir::new().unwrap();
    let inner = folder.path().join("spool");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    Spool::create(&inner).unwrap();
    assert_eq!(fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
    let link = folder.path().join("link");
    symlink(&inner, &link).unwrap();
    let refused = |path: &Path| Spool::create(path).unwrap_err().to_string();
    assert!(refused(&link).contains("symbolic link"), "{}", refused(&link));
    fs::write(folder.path().join("file"), "").unwrap();
    let file = folder.path().join("file");
    assert!(refused(&file).contains("not a folder"), "{}", refused(&file));
    for bits in [0o777, 0o1777, 0o770, 0o702] {
        mode(&inner, bits);
        assert!(refused(&inner).contains("other users may write"), "{bits:o}");
    }
    mode(&inner, 0o700);
    // Settings that others can change.
    let settings = inner.join("spool.toml");
    fs::write(&settings, "keep-count = 1").unwrap();
    mode(&settings, 0o666);
    let spool = Spool::open(&inner).unwrap();
    let error = spool.reserve("a", ".dmp", 1).unwrap_err().to_string();
    assert!(error.contains("another user can change it"), "{error}");
    // A link to a file that must not be shown.
    fs::remove_file(&settings).unwrap();
    symlink("/etc/hostname", &settings).unwrap();
    assert!(matches!(spool.settings(), Err(SpoolError::System { .. })));
    fs::remove_file(&settings).unwrap();
    fs::write(&settings, "keep-cuont = 1").unwrap();
    let error = spool.reserve("a", ".dmp", 1).unwrap_err().to_string();
    assert!(error.contains("did you mean \"keep-count\"?"), "{error}");
}

#[test]
fn names_cannot_lead_elsewhere() {
    let (folder, spool) = spool("");
    for stem in ["", "../a", "a/b", ".a", "-a", "a\n", "a b", &"a".repeat(201)] {
        assert!(
            matches!(spool.reserve(stem, ".dmp", 1), Err(SpoolError::Invalid(_))),
            "{stem:?}"
        );
    }
    assert!(matches!(
        spool.reserve("a", ".txt", 1),
        Err(SpoolError::Invalid(_))
    ));
    fs::write(folder.path().join("other"), "x").unwrap();
    for name in ["other", "../other", "spool.toml", ".spool-lock", ""] {
        assert!(matches!(spool.remove(name), Err(SpoolError::Absent { .. })));
        assert!(matches!(spool.share(name), Err(SpoolError::Absent { .. })));
    }
    // A link with the name of a dump is no dump.
    symlink("other", folder.path().join("a.dw-01234567.dmp")).unwrap();
    assert_eq!(names(&spool), [""; 0]);
    assert!(spool.share("a.dw-01234567.dmp").is_err());
    let name = add(&spool, 10).unwrap();
    let number = &name["server.dw-".len()..][..8];
    assert_eq!(spool.find(number).unwrap().as_ref(), Some(&name));
    assert_eq!(spool.find(&name).unwrap(), Some(name));
    assert_eq!(spool.find("other").unwrap(), None);
}

#[test]
fn a_lock_that_does_not_end_is_an_error() {
    let (folder, spool) = spool("");
    add(&spool, 10).unwrap();
    let file = File::open(folder.path().join(".spool-lock")).unwrap();
    let held = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .unwrap();
    let other = SpoolFolder::open(folder.path()).unwrap();
    let error = other.lock_within(Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, SpoolError::Locked { .. }), "{error}");
    // Reading needs no lock.
    assert_eq!(spool.entries().unwrap().len(), 1);
    drop(held);
    other.lock_within(Duration::ZERO).unwrap();
}

#[test]
fn a_folder_that_moves_stays_the_spool() {
    let folder = TempDir::new().unwrap();
    let (before, after) = (folder.path().join("a"), folder.path().join("b"));
    let spool = Spool::create(&before).unwrap();
    fs::write(before.join("spool.toml"), "keep-free = 0").unwrap();
    fs::rename(&before, &after).unwrap();
    fs::create_dir(&before).unwrap();
    let name = add(&spool, 10).unwrap();
    assert!(after.join(name).exists());
    assert_eq!(fs::read_dir(&before).unwrap().count(), 0);
}

/// Several writers, and one who looks while nobody changes anything.
#[test]
fn writers_together_keep_the_limits() {
    let (folder, spool) = spool("keep-count = 6\nkeep-bytes = 500\nkeep-per-signature = 1");
    let (is_over, refused, kept) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let own = SpoolFolder::open(folder.path()).unwrap();
            let mut most = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                let lock = own.lock().unwrap();
                let dumps = crate::contents::dumps(&own).unwrap();
                let reserved = left_over(folder.path());
                let reserved: Vec<u64> = reserved
                    .iter()
                    .map(|name| name.rsplit_once('-').unwrap().1.parse().unwrap())
                    .collect();
                let count = dumps.len() + reserved.len();
                let bytes = dumps.iter().map(|dump| dump.bytes).chain(reserved).sum::<u64>();
                most = (most.0.max(count), most.1.max(bytes));
                drop(lock);
                // The lock is not fair. No outcome depends on this.
                std::thread::sleep(Duration::from_millis(1));
            }
            most
        });
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (refused, kept) = (&refused, &kept);
                let folder = folder.path();
                scope.spawn(move || {
                    let own = Spool::open(folder).unwrap();
                    for turn in 0..40 {
                        let reserved = own.reserve("w", ".dmp", 10);
                        let mut reservation = match reserved {
                            Err(SpoolError::Full { .. }) => {
                                refused.fetch_add(1, Ordering::Relaxed);
                                continue;
                            }
                            reserved => reserved.unwrap(),
                        };
                        let size = 50 + 37 * (turn % 7);
                        match reservation.grow(size, 10) {
                            Err(SpoolError::Full { .. }) => {
                                refused.fetch_add(1, Ordering::Relaxed);
                                continue;
                            }
                            grown => grown.unwrap(),
                        }
                        let facts = DumpFacts {
                            signature: Some(format!("{writer} {turn}")),
                            ..DumpFacts::default()
                        };
                        finish(reservation, size as usize, &facts).unwrap().unwrap_kept();
                        kept.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        let (count, bytes) = watcher.join().unwrap();
        assert!((1..=6).contains(&count), "{count}");
        assert!((1..=500).contains(&bytes), "{bytes}");
    });
    assert_eq!(refused.into_inner() + kept.into_inner(), 160);
    assert_eq!(left_over(folder.path()), [""; 0]);
    for name in names(&spool) {
        assert_eq!(spool.verify(&name).unwrap(), []);
    }
}

#[test]
fn a_dump_is_kept_without_annotations_that_are_too_long() {
    let (_folder, spool) = spool("");
    let mut facts = DumpFacts {
        reason: Some("SIGSEGV".to_owned()),
        ..DumpFacts::default()
    };
    facts.annotations.insert("log".to_owned(), "x".repeat(40_000));
    let reservation = spool.reserve("a", ".dmp", 10).unwrap();
    let Admission::Kept { problems, .. } = finish(reservation, 10, &facts).unwrap() else {
        panic!("there is no other dump")
    };
    assert!(problems[0].contains("32 KiB"), "{problems:?}");
    let found = spool.entries().unwrap().remove(0).record.unwrap().facts;
    assert_eq!((found.reason, found.annotations.len()), (facts.reason, 0));
}

/// Of equal crashes at once, one is kept and all are counted.
#[test]
fn the_same_crash_of_several_writers_is_kept_once() {
    let (folder, spool) = spool("");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let own = Spool::open(folder.path()).unwrap();
                for _ in 0..10 {
                    let _ = crash(&own, "same").unwrap();
                }
            });
        }
    });
    let entries = spool.entries().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].count.unwrap().seen, 40);
}
