//! Where the core goes if there is no dump: where it would have gone without a handler.
//!
//! The kernel has opened a pipe instead, so its rules (`fs/coredump.c`) are followed here. A file
//! is written with the rights of the crashed process and in its root directory, unless only root
//! may have the core. A file that exists is replaced only if it is one that the kernel would
//! replace.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use dumpwright::{FileSink, Sink};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};

use super::crash::{Dumpable, DyingProcess};

/// The size in bytes of the parts in which a core is copied.
const PART: usize = 64 << 10;

/// Sends a core to where `pattern` says. `front` is what was read of it, and `rest` what was not.
/// Returns what was done, in words that follow "the core".
///
/// # Errors
/// The core is lost. The error has the reason.
pub(super) fn send(
    pattern: &str,
    crash: Option<&DyingProcess>,
    front: &[u8],
    rest: &mut dyn Read,
) -> Result<String, String> {
    let crash =
        crash.ok_or("the process does not exist any more, so it is not known where its core belongs")?;
    let mut core = front.chain(rest);
    if let Some(program) = pattern.strip_prefix('|') {
        return pipe(program, crash, &mut core);
    }
    if pattern.starts_with('@') {
        return Err(format!(
            "the fallback {pattern} is a socket, which is not supported"
        ));
    }
    if pattern.is_empty() || pattern == "none" {
        return Ok("was discarded, as the fallback says".to_owned());
    }
    let limit = crash.core_limit();
    if limit == Some(0) {
        return Ok("was not written, because the process has a core limit of 0 (ulimit -c)".to_owned());
    }
    let name = file_name(pattern, crash);
    let file =
        create(&name, crash).map_err(|error| format!("the core file {name} cannot be created: {error}"))?;
    let bytes =
        copy(&mut core, &file, limit).map_err(|error| format!("writing the core file {name}: {error}"))?;
    Ok(format!("was written to {name} ({bytes} bytes)"))
}

/// The name of the file. `kernel.core_uses_pid` adds the process id to names that do not have it.
fn file_name(pattern: &str, crash: &DyingProcess) -> String {
    let uses_pid = fs::read_to_string("/proc/sys/kernel/core_uses_pid").is_ok_and(|text| text.trim() == "1");
    match uses_pid && !pattern.contains("%p") {
        true => crash.filled(&format!("{pattern}.%p")),
        false => crash.filled(pattern),
    }
}

/// Starts a program that reads the core.
fn pipe(program: &str, crash: &DyingProcess, core: &mut dyn Read) -> Result<String, String> {
    // The kernel also divides the pattern first, so that values cannot become several arguments.
    let words: Vec<String> = program
        .split_ascii_whitespace()
        .map(|word| crash.filled(word))
        .collect();
    let (name, arguments) = words.split_first().ok_or("the fallback names no program")?;
    let failed = |error: io::Error| format!("the fallback program {name}: {error}");
    let mut child = Command::new(name)
        .args(arguments)
        .env_clear()
        .env("PATH", "/sbin:/bin:/usr/sbin:/usr/bin")
        .env("HOME", "/")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // A program that has seen enough closes the pipe.
        let _ = io::copy(core, &mut input);
    }
    let status = child.wait().map_err(failed)?;
    Ok(format!("was given to {name}, which ended with {status}"))
}

/// Creates the file, and gives up the rights that the process did not have.
fn create(name: &str, crash: &DyingProcess) -> io::Result<File> {
    let other = |text: &str| io::Error::other(text.to_owned());
    let new = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    match crash.dumpable() {
        Dumpable::Not => Err(other("the process must not be dumped (fs.suid_dumpable is 0)")),
        Dumpable::ByRoot => {
            if !name.starts_with('/') {
                return Err(other(
                    "only root may have this core, and the name is not an absolute path",
                ));
            }
            let _ = fs::remove_file(name);
            Ok(nix::fcntl::open(name, new | STRICT, PRIVATE)?.into())
        }
        Dumpable::ByUser => {
            let start = if name.starts_with('/') { "root" } else { "cwd" };
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let start = nix::fcntl::open(&crash.file(start), flags, Mode::empty())?;
            let ids = crash.ids("Uid").zip(crash.ids("Gid"));
            let ([.., user], [.., group]) = ids.ok_or_else(|| other("its user is not known"))?;
            become_user(user, group)?;
            let name = name.trim_start_matches('/');
            match open_in(&start, name, new, PRIVATE) {
                Err(Errno::EEXIST) => replace(&start, name, user),
                opened => Ok(opened?.into()),
            }
        }
    }
}

/// Flags for all files that are opened.
const STRICT: OFlag = OFlag::O_NOFOLLOW
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY);

/// The mode of core files.
const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Opens a file below a directory of the process, which must not lead out of it.
fn open_in(start: &OwnedFd, name: &str, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | STRICT)
        .mode(mode)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    nix::fcntl::openat2(start, Path::new(name), how)
}

/// Empties a file that exists, if the kernel would do so: a regular file of the user with one name.
fn replace(start: &OwnedFd, name: &str, user: u32) -> io::Result<File> {
    let file: File = open_in(start, name, OFlag::O_WRONLY, Mode::empty())?.into();
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 || found.uid() != user || found.mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the file exists, and is not a core of this user",
        ));
    }
    file.set_len(0)?;
    Ok(file)
}

/// Takes the rights of the user of the process, for the rest of the life of this one.
fn become_user(user: u32, group: u32) -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(group, group, group)?;
    // Not the real and the saved id: the user could stop this process, or let it wait in a file
    // system of the user's own. The effective capabilities are gone as well.
    nix::unistd::seteuid(user)?;
    Ok(())
}

/// Copies a core up to a limit in bytes, with holes in the place of zeros. Returns its length.
fn copy(core: &mut dyn Read, file: &File, limit: Option<u64>) -> io::Result<u64> {
    let mut sink = FileSink::filling(file.try_clone()?);
    let mut buffer = vec![0; PART];
    let mut at = 0;
    let mut core = core.take(limit.unwrap_or(u64::MAX));
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match core.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled == 0 {
            break;
        }
        sink.append(at, &buffer[..filled])?;
        at += filled as u64;
    }
    sink.finish()?;
    Ok(at)
}

#[cfg(test)]
mod tests {
    //! These tests catch a core that is cut, or longer than its limit.

    use super::*;

    #[test]
    fn a_core_is_copied_with_its_holes() {
        let mut bytes = vec![7; 3 * PART + 5];
        bytes[PART..2 * PART + 4096].fill(0);
        for (limit, length) in [(None, bytes.len()), (Some(PART as u64 + 9), PART + 9)] {
            let file = tempfile::tempfile().unwrap();
            let (front, mut rest) = bytes.split_at(1000);
            let copied = copy(&mut front.chain(&mut rest), &file, limit).unwrap();
            assert_eq!(copied as usize, length);
            let mut found = vec![0; length];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut found, 0).unwrap();
            assert_eq!(found, bytes[..length]);
            assert_eq!(file.metadata().unwrap().len() as usize, length);
        }
    }
}
