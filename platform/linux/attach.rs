//! Why a process may not be traced, in words that help.

use std::io::Read;

use dumpwright_target::{Fault, FaultKind};
use nix::errno::Errno;

use crate::proc_dir::{ProcDir, field, read_bounded};

/// How the file of a 32-bit program begins (`EI_CLASS` is 1).
const ELF_32_BITS: [u8; 5] = *b"\x7fELF\x01";

/// What stands in the header of x86-64 programs as the machine.
const X86_64_MACHINE: [u8; 2] = 62_u16.to_le_bytes();

/// `CAP_SYS_PTRACE`, as a bit of `CapEff`.
const CAP_SYS_PTRACE: u64 = 1 << 19;

/// All that can stand between us and a thread. Collected when the kernel has said no; the kernel's only word
/// is EPERM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Circumstances {
    /// Who traces it already: process id and name.
    pub(crate) tracer: Option<(u32, String)>,
    /// Its real, effective and saved user ids; these three have to be ours.
    pub(crate) user_ids: [u32; 3],
    /// Our user id.
    pub(crate) own_user_id: u32,
    /// Whether we have `CAP_SYS_PTRACE`.
    pub(crate) capable: bool,
    /// Whether it lets itself be examined by its own user (`PR_SET_DUMPABLE`). A process that has changed
    /// its user, or whose program file may not be read, does not.
    pub(crate) dumpable: bool,
    /// The Yama module's setting, if the kernel has that module.
    pub(crate) ptrace_scope: Option<String>,
}

impl Circumstances {
    /// Looks around.
    pub(crate) fn observe(dir: &ProcDir, tid: u32) -> Self {
        let status =
            read_bounded(&dir.process_path(format!("task/{tid}/status")), 1 << 20).unwrap_or_default();
        let own = std::fs::read("/proc/self/status").unwrap_or_default();
        let user_ids = user_ids(&status);
        Self {
            tracer: tracer(&status),
            user_ids,
            own_user_id: nix::unistd::getuid().as_raw(),
            capable: field(&own, "CapEff")
                .and_then(|text| u64::from_str_radix(&text, 16).ok())
                .is_some_and(|bits| bits & CAP_SYS_PTRACE != 0),
            dumpable: is_owned_by_its_user(dir, user_ids[1]),
            ptrace_scope: std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok(),
        }
    }

    /// The fault that these circumstances explain.
    pub(crate) fn explain(&self, pid: u32, tid: u32, errno: Errno) -> Fault {
        let operation = if pid == tid {
            format!("attach to process {pid}")
        } else {
            format!("attach to thread {tid} of process {pid}")
        };
        let fault =
            |kind, reason: String| Fault::new(kind, operation.clone(), reason).with_os_code(errno as i32);
        let system = errno.desc();
        match errno {
            Errno::ESRCH => return fault(FaultKind::Gone, format!("it has ended ({system})")),
            Errno::EPERM | Errno::EACCES => {}
            _ => return fault(FaultKind::System, system.to_string()),
        }
        if let Some((tracer, name)) = &self.tracer {
            return fault(
                FaultKind::AlreadyTraced,
                format!("it is traced by process {tracer} ({name}), and a process has one tracer at most"),
            )
            .advise("detach or end that debugger first");
        }
        let denied = |reason: String| fault(FaultKind::NotPermitted, format!("{reason} ({system})"));
        if self.capable {
            return denied("the system does not permit it, although this program has CAP_SYS_PTRACE".into())
                .advise("a security module or the container's settings may forbid it, or the process lives in another user namespace");
        }
        if self.user_ids != [self.own_user_id; 3] {
            return denied(format!(
                "it belongs to user {}, and this program runs as user {} without CAP_SYS_PTRACE",
                self.foreign_user(),
                self.own_user_id
            ))
            .advise("run as that user, or as root");
        }
        if !self.dumpable {
            return denied(
                "it is marked not dumpable (it has changed its user, has privileges of its own, \
                           its program file may not be read, or it asked for it by PR_SET_DUMPABLE)"
                    .into(),
            )
            .advise("run as root");
        }
        match self.ptrace_scope.as_deref().map(str::trim) {
            Some("1") => denied("kernel.yama.ptrace_scope is 1: only ancestors of a process may trace it".into())
                .advise("start the program through `--exec`, run as root, let the program call prctl(PR_SET_PTRACER), or set kernel.yama.ptrace_scope to 0"),
            Some("2") => denied("kernel.yama.ptrace_scope is 2: tracing needs CAP_SYS_PTRACE".into())
                .advise("run as root, or set kernel.yama.ptrace_scope to 0"),
            Some("3") => denied("kernel.yama.ptrace_scope is 3: nobody may trace until the next boot".into())
                .advise("boot with another value of kernel.yama.ptrace_scope"),
            _ => denied("the system does not permit it".into())
                .advise("a security module or the container's settings may forbid it (in a container, add the capability SYS_PTRACE)"),
        }
    }

    fn foreign_user(&self) -> u32 {
        let foreign = self.user_ids.iter().find(|id| **id != self.own_user_id);
        foreign.copied().unwrap_or(self.own_user_id)
    }
}

/// Why `PTRACE_SEIZE` said no to a thread.
pub(crate) fn refusal(dir: &ProcDir, tid: u32, errno: Errno) -> Fault {
    let circumstances = Circumstances::observe(dir, tid);
    tracing::debug!(pid = dir.pid, tid, %errno, ?circumstances, "may not attach");
    circumstances.explain(dir.pid, tid, errno)
}

/// What can be known before anything is stopped: whether this backend can hold and read such a process.
///
/// # Errors
/// The process, or the processor we run on, is of a kind that is not handled.
pub(crate) fn check_supported(dir: &ProcDir) -> Result<(), Fault> {
    let operation = || format!("examine process {}", dir.pid);
    if !cfg!(target_arch = "x86_64") {
        return Err(Fault::new(
            FaultKind::Unsupported,
            operation(),
            format!(
                "live processes are supported on x86-64 only, and this is {}",
                std::env::consts::ARCH
            ),
        ));
    }
    let mut header = [0; 20];
    let read = std::fs::File::open(dir.path("exe")).and_then(|mut file| file.read_exact(&mut header));
    // An executable that we may not open will be refused with its true reason when we attach.
    if read.is_ok() && is_x32(&header) {
        return Err(Fault::new(
            FaultKind::Unsupported,
            operation(),
            "it is an x32 program (32-bit pointers in 64-bit code), of which no reader of minidumps knows",
        ));
    }
    Ok(())
}

/// Whether an ELF header is one of a program with 32-bit pointers in 64-bit code.
fn is_x32(header: &[u8; 20]) -> bool {
    header.starts_with(&ELF_32_BITS) && header[18..] == X86_64_MACHINE
}

/// The process as such is not ours: we cannot stop ourselves.
///
/// # Errors
/// `pid` is this process, or one of its threads.
pub(crate) fn check_foreign(pid: u32) -> Result<(), Fault> {
    if pid != std::process::id() && !std::path::Path::new(&format!("/proc/self/task/{pid}")).exists() {
        return Ok(());
    }
    Err(Fault::new(
        FaultKind::OwnProcess,
        format!("examine process {pid}"),
        "it is the process that wants to dump it, and no process can stop and examine itself",
    )
    .advise("start another process for it: `dumpwright dump --pid …`"))
}

/// A process that is traced already will stay so.
///
/// # Errors
/// It is traced.
pub(crate) fn check_untraced(dir: &ProcDir) -> Result<(), Fault> {
    let status = dir.read("status").unwrap_or_default();
    if tracer(&status).is_none() {
        return Ok(());
    }
    Err(refusal(dir, dir.task, Errno::EPERM))
}

/// The process that `TracerPid` names, and its name. The number is that of the tracing *thread*.
fn tracer(status: &[u8]) -> Option<(u32, String)> {
    let thread: u32 = field(status, "TracerPid")?.parse().ok().filter(|tid| *tid != 0)?;
    let of_thread = std::fs::read(format!("/proc/{thread}/status")).unwrap_or_default();
    let pid = field(&of_thread, "Tgid")
        .and_then(|pid| pid.parse().ok())
        .unwrap_or(thread);
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(name.trim_ascii_end()).into_owned();
    Some((
        pid,
        if name.is_empty() {
            "name unknown".into()
        } else {
            name
        },
    ))
}

/// The first three numbers of `Uid`: real, effective, saved.
fn user_ids(status: &[u8]) -> [u32; 3] {
    let line = field(status, "Uid").unwrap_or_default();
    let mut numbers = line.split_ascii_whitespace().map_while(|word| word.parse().ok());
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

/// What is in the directory in `/proc` of a process that is not dumpable belongs to root (proc(5)); the directory
/// itself does not. For processes of root nothing can be told this way.
fn is_owned_by_its_user(dir: &ProcDir, effective_user_id: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(dir.process_path("status")).is_ok_and(|meta| meta.uid() == effective_user_id)
}

/// What these tests would catch: refusals that blame the wrong thing. The circumstances are made
/// up, because tests run as root, to whom nothing is refused.
#[cfg(test)]
mod tests {
    use super::*;

    fn same_user() -> Circumstances {
        Circumstances {
            user_ids: [1000; 3],
            own_user_id: 1000,
            dumpable: true,
            ..Circumstances::default()
        }
    }

    fn explain(circumstances: &Circumstances) -> Fault {
        circumstances.explain(17, 17, Errno::EPERM)
    }

    #[test]
    fn a_tracer_is_named() {
        let fault = explain(&Circumstances {
            tracer: Some((5, "gdb".into())),
            user_ids: [0; 3],
            ..same_user()
        });
        assert_eq!(fault.kind, FaultKind::AlreadyTraced);
        assert!(fault.to_string().contains("traced by process 5 (gdb)"), "{fault}");
    }

    #[test]
    fn a_foreign_user_is_named() {
        let fault = explain(&Circumstances {
            user_ids: [1000, 33, 33],
            ptrace_scope: Some("1\n".into()),
            dumpable: false,
            ..same_user()
        });
        assert_eq!(
            (fault.kind, fault.os_code),
            (FaultKind::NotPermitted, Some(libc::EPERM))
        );
        assert!(
            fault.reason.contains("user 33") && fault.reason.contains("user 1000"),
            "{fault}"
        );
    }

    #[test]
    fn a_process_that_is_not_dumpable_is_told_before_yama() {
        let fault = explain(&Circumstances {
            dumpable: false,
            ptrace_scope: Some("1\n".into()),
            ..same_user()
        });
        assert!(fault.reason.contains("not dumpable"), "{fault}");
    }

    #[test]
    fn every_value_of_ptrace_scope_has_its_own_advice() {
        for (value, advice) in [("1", "PR_SET_PTRACER"), ("2", "root"), ("3", "boot")] {
            let fault = explain(&Circumstances {
                ptrace_scope: Some(format!("{value}\n")),
                ..same_user()
            });
            assert!(
                fault.reason.contains(&format!("ptrace_scope is {value}")),
                "{fault}"
            );
            assert!(
                fault.advice.as_deref().is_some_and(|text| text.contains(advice)),
                "{fault}"
            );
        }
        for scope in [None, Some("0\n".to_string())] {
            let fault = explain(&Circumstances {
                ptrace_scope: scope,
                ..same_user()
            });
            assert!(!fault.reason.contains("ptrace_scope"), "{fault}");
        }
    }

    #[test]
    fn with_the_capability_the_user_is_not_to_blame() {
        let fault = explain(&Circumstances {
            capable: true,
            own_user_id: 0,
            ..same_user()
        });
        assert!(fault.reason.contains("although"), "{fault}");
    }

    #[test]
    fn other_errors_are_passed_on() {
        let fault = same_user().explain(17, 18, Errno::ESRCH);
        assert_eq!(fault.kind, FaultKind::Gone);
        assert!(fault.operation.contains("thread 18 of process 17"));
        assert_eq!(same_user().explain(17, 17, Errno::EIO).kind, FaultKind::System);
    }

    /// Few kernels run such programs.
    #[test]
    fn x32_programs_are_told_from_their_relatives() {
        let header = |class: u8, machine: u8| {
            let mut header = [0; 20];
            header[..5].copy_from_slice(&[0x7f, b'E', b'L', b'F', class]);
            header[18] = machine;
            header
        };
        let [i386, x86_64] = [3, 62];
        assert!(is_x32(&header(1, x86_64)));
        assert!(!is_x32(&header(1, i386)) && !is_x32(&header(2, x86_64)));
    }

    #[test]
    fn ids_are_read_from_status() {
        let status = b"Name:\tx\nTracerPid:\t0\nUid:\t1\t2\t3\t4\n";
        assert_eq!(user_ids(status), [1, 2, 3]);
        assert_eq!(tracer(status), None);
        assert_eq!(user_ids(b""), [0; 3]);
    }
}
