//! The texts that dumps of Linux processes contain verbatim.

use std::io;
use std::path::Path;

use dumpwright_target::{Diagnostic, Fault, LinuxText, LinuxTextKind, Need, Subject};

use crate::files;
use crate::mounts::FileSystems;
use crate::proc_dir::{ProcDir, read_bounded};

/// The maximum size of `/etc/lsb-release` and `/etc/os-release`, which are small.
const RELEASE_LIMIT: u64 = 64 << 10;

/// The maximum size of `/proc/cpuinfo`, which has about 1.5 KiB for each processor.
pub(crate) const CPUINFO_LIMIT: u64 = 64 << 20;

/// The texts that were read, and diagnostics for those that could not be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    pub(crate) texts: Vec<LinuxText>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Texts {
    /// Reads the texts that the process does not affect, and its `status` before we attach to it.
    pub(crate) fn before_stop(dir: &ProcDir, systems: &FileSystems) -> Self {
        let mut texts = Self::default();
        texts.add(
            LinuxTextKind::CpuInfo,
            read_bounded(Path::new("/proc/cpuinfo"), CPUINFO_LIMIT),
        );
        texts.add(LinuxTextKind::ProcStatus, dir.read("status"));
        let release = |path| files::read_in_root(dir, systems, Path::new(path), RELEASE_LIMIT);
        texts.add(
            LinuxTextKind::LsbRelease,
            release("/etc/lsb-release").or_else(|_| release("/etc/os-release")),
        );
        texts
    }

    /// The text of `/proc/cpuinfo`, if it could be read.
    pub(crate) fn cpuinfo(&self) -> Option<&[u8]> {
        let mut texts = self.texts.iter();
        let found = texts.find(|text| text.kind == LinuxTextKind::CpuInfo);
        found.map(|text| text.bytes.as_slice())
    }

    /// Adds the other texts.
    pub(crate) fn during_stop(&mut self, dir: &ProcDir, need: &Need) {
        for (kind, file) in Self::of_stop(need) {
            self.add(*kind, dir.read(file));
        }
    }

    /// Reports the other texts as missing.
    pub(crate) fn without_others(mut self, need: &Need, fault: &Fault) -> Self {
        for (kind, _) in Self::of_stop(need) {
            self.add(*kind, Err(io::Error::other(fault.reason.clone())));
        }
        self
    }

    /// The texts that are read during the stop, and their files. The command line and the
    /// environment may contain secrets, so they are read only if they are needed.
    fn of_stop(need: &Need) -> &'static [(LinuxTextKind, &'static str)] {
        const ALL: [(LinuxTextKind, &str); 4] = [
            (LinuxTextKind::CmdLine, "cmdline"),
            (LinuxTextKind::Environ, "environ"),
            (LinuxTextKind::Auxv, "auxv"),
            (LinuxTextKind::Limits, "limits"),
        ];
        if need.environment { &ALL } else { &ALL[2..] }
    }

    /// Adds the text of `maps` that the capture uses, so that all streams show the same moment.
    pub(crate) fn add_maps(&mut self, text: Vec<u8>) {
        self.add(LinuxTextKind::Maps, Ok(text));
    }

    fn add(&mut self, kind: LinuxTextKind, text: io::Result<Vec<u8>>) {
        let subject = Subject::Stream(stream(kind));
        match text {
            Ok(bytes) => self.texts.push(LinuxText { kind, bytes }),
            // A container may have neither of the two files.
            Err(error) if error.kind() == io::ErrorKind::NotFound && kind == LinuxTextKind::LsbRelease => {
                self.diagnostics.push(Diagnostic::left_out(
                    subject,
                    "the system does not name its distribution",
                ));
            }
            Err(error) => self.diagnostics.push(Diagnostic::missing(
                subject,
                format!("cannot read its source: {error}"),
            )),
        }
    }
}

/// Returns the name of the stream that holds the text.
pub(crate) fn stream(kind: LinuxTextKind) -> &'static str {
    match kind {
        LinuxTextKind::CpuInfo => "LinuxCpuInfo",
        LinuxTextKind::ProcStatus => "LinuxProcStatus",
        LinuxTextKind::LsbRelease => "LinuxLsbRelease",
        LinuxTextKind::CmdLine => "LinuxCmdLine",
        LinuxTextKind::Environ => "LinuxEnviron",
        LinuxTextKind::Auxv => "LinuxAuxv",
        LinuxTextKind::Maps => "LinuxMaps",
        LinuxTextKind::Limits => "MozLinuxLimits",
        _ => "a stream of Linux",
    }
}

/// What these tests would catch: secrets that are read without need, texts that differ from the
/// kernel's, and missing texts that are not reported.
#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::proc_dir::field;
    use dumpwright_target::{Cpu, Severity};

    fn kinds(texts: &Texts) -> Vec<LinuxTextKind> {
        texts.texts.iter().map(|text| text.kind).collect()
    }

    #[test]
    fn command_line_and_environment_only_on_demand() {
        let mut child = Command::new("cat")
            .arg("-")
            .env_clear()
            .env("TOKEN", "secret")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("coreutils");
        // Its reply shows that it is running.
        child
            .stdin
            .as_mut()
            .expect("piped")
            .write_all(b".")
            .expect("listens");
        child
            .stdout
            .as_mut()
            .expect("piped")
            .read_exact(&mut [0])
            .expect("answers");
        let dir = ProcDir::new(child.id()).expect("runs");
        let mut plain = Texts::before_stop(&dir, &FileSystems::of(&dir));
        plain.during_stop(&dir, &Need::default());
        let mut all = Texts::before_stop(&dir, &FileSystems::of(&dir));
        all.during_stop(
            &dir,
            &Need {
                environment: true,
                ..Need::default()
            },
        );
        child.kill().and_then(|()| child.wait()).expect("ends");

        let holds_secret = |texts: &Texts| {
            texts
                .texts
                .iter()
                .any(|t| t.bytes.windows(6).any(|w| w == b"secret"))
        };
        assert!(!holds_secret(&plain) && holds_secret(&all));
        assert!(!kinds(&plain).contains(&LinuxTextKind::CmdLine));
        let text = |kind| {
            all.texts
                .iter()
                .find(|text| text.kind == kind)
                .map(|text| &text.bytes[..])
        };
        assert_eq!(text(LinuxTextKind::CmdLine), Some(&b"cat\0-\0"[..]));
        assert_eq!(text(LinuxTextKind::Environ), Some(&b"TOKEN=secret\0"[..]));
        let status = text(LinuxTextKind::ProcStatus).expect("got");
        assert_eq!(field(status, "Tgid"), Some(child.id().to_string()));
        assert_eq!(field(status, "TracerPid").as_deref(), Some("0"));
        assert!(text(LinuxTextKind::Auxv).is_some_and(|auxv| !auxv.is_empty() && auxv.len() % 16 == 0));
        assert!(text(LinuxTextKind::Limits).expect("got").starts_with(b"Limit"));
        assert!(!text(LinuxTextKind::CpuInfo).expect("got").is_empty());
        assert!(
            all.diagnostics
                .iter()
                .all(|diagnostic| diagnostic.severity == Severity::LeftOut)
        );
    }

    #[test]
    fn what_a_process_that_is_gone_cannot_tell_is_missing() {
        let mut child = Command::new("true").spawn().expect("coreutils");
        let dir = ProcDir {
            pid: child.id(),
            task: child.id(),
            cpu: Cpu::Amd64,
        };
        child.wait().expect("ends");
        let mut texts = Texts::before_stop(&dir, &FileSystems::of(&dir));
        texts.during_stop(&dir, &Need::default());
        assert_eq!(kinds(&texts), [LinuxTextKind::CpuInfo]);
        let missing = |name| {
            texts
                .diagnostics
                .iter()
                .any(|r| r.subject == Subject::Stream(name) && r.severity == Severity::Missing)
        };
        for name in ["LinuxProcStatus", "LinuxAuxv", "MozLinuxLimits"] {
            assert!(missing(name), "{name}: {:?}", texts.diagnostics);
        }
    }
}
