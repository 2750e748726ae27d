//! The files that Linux dumps carry verbatim.

use std::io;
use std::path::Path;

use dumpwright_target::{LinuxText, LinuxTextKind, Need, Remark, Subject};

use crate::files;
use crate::proc_dir::{ProcDir, read_bounded};

/// `/etc/lsb-release` and `/etc/os-release` are small.
const RELEASE_LIMIT: u64 = 64 << 10;

/// `/proc/cpuinfo` takes about 1.5 KiB for each processor.
const CPUINFO_LIMIT: u64 = 64 << 20;

/// The texts that have been got, and what is to be said of those that have not.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) texts: Vec<LinuxText>,
    pub(crate) remarks: Vec<Remark>,
}

impl Texts {
    /// Those that do not change with the process, and its `status` as it was before a debugger came.
    pub(crate) fn before_stop(dir: &ProcDir) -> Self {
        let mut texts = Self::default();
        texts.add(
            LinuxTextKind::CpuInfo,
            read_bounded(Path::new("/proc/cpuinfo"), CPUINFO_LIMIT),
        );
        texts.add(LinuxTextKind::ProcStatus, dir.read("status"));
        let release = |path| files::read_in_root(dir, Path::new(path), RELEASE_LIMIT);
        texts.add(
            LinuxTextKind::LsbRelease,
            release("/etc/lsb-release").or_else(|_| release("/etc/os-release")),
        );
        texts
    }

    /// Adds the others. Command line and environment may hold secrets and are read only if they are needed.
    pub(crate) fn during_stop(&mut self, dir: &ProcDir, need: &Need) {
        if need.environment {
            self.add(LinuxTextKind::CmdLine, dir.read("cmdline"));
            self.add(LinuxTextKind::Environ, dir.read("environ"));
        }
        self.add(LinuxTextKind::Auxv, dir.read("auxv"));
        self.add(LinuxTextKind::Limits, dir.read("limits"));
    }

    /// Adds the text of `maps` that the capture goes by, so that all streams tell of one moment.
    pub(crate) fn add_maps(&mut self, text: Vec<u8>) {
        self.add(LinuxTextKind::Maps, Ok(text));
    }

    fn add(&mut self, kind: LinuxTextKind, text: io::Result<Vec<u8>>) {
        let subject = Subject::Stream(stream(kind));
        match text {
            Ok(bytes) => self.texts.push(LinuxText { kind, bytes }),
            // A container need not name a distribution.
            Err(error) if error.kind() == io::ErrorKind::NotFound && kind == LinuxTextKind::LsbRelease => {
                self.remarks
                    .push(Remark::left_out(subject, "the system names no distribution"));
            }
            Err(error) => self.remarks.push(Remark::missing(
                subject,
                format!("cannot read its source: {error}"),
            )),
        }
    }
}

/// The stream that a text goes into.
fn stream(kind: LinuxTextKind) -> &'static str {
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

/// What these tests would catch: secrets taken without need, texts that are not the kernel's, and losses unsaid.
#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::proc_dir::field;
    use dumpwright_target::{Cpu, Gravity};

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
        // It runs when it answers.
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
        let mut plain = Texts::before_stop(&dir);
        plain.during_stop(&dir, &Need::default());
        let mut all = Texts::before_stop(&dir);
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
            all.remarks
                .iter()
                .all(|remark| remark.gravity == Gravity::LeftOut)
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
        let mut texts = Texts::before_stop(&dir);
        texts.during_stop(&dir, &Need::default());
        assert_eq!(kinds(&texts), [LinuxTextKind::CpuInfo]);
        let missing = |name| {
            texts
                .remarks
                .iter()
                .any(|r| r.subject == Subject::Stream(name) && r.gravity == Gravity::Missing)
        };
        for name in ["LinuxProcStatus", "LinuxAuxv", "MozLinuxLimits"] {
            assert!(missing(name), "{name}: {:?}", texts.remarks);
        }
    }
}
