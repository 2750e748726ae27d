//! Explains why a process cannot be traced.

use dumpwright_target::{Fault, FaultKind, printable};
use nix::errno::Errno;

use crate::proc_dir::{ProcDir, Program, field, read_bounded};

/// The bit of `CAP_SYS_PTRACE` in `CapEff`.
const CAP_SYS_PTRACE: u64 = 1 << 19;

/// All known reasons why the kernel may refuse to let us trace a thread.
///
/// They are collected after a refusal, because the kernel reports nothing but EPERM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Circumstances {
    /// The process that already traces it: process id and name.
    pub(crate) tracer: Option<(u32, String)>,
    /// Its real, effective and saved user ids. Without a capability all three must be ours.
    pub(crate) user_ids: [u32; 3],
    /// Our user id.
    pub(crate) own_user_id: u32,
    /// Whether we have `CAP_SYS_PTRACE`.
    pub(crate) capable: bool,
    /// Whether it may use capabilities (`CapPrm`) that we may not, such as those of its program
    /// file.
    pub(crate) is_privileged: bool,
    /// Whether the process is dumpable (`PR_SET_DUMPABLE`), so that its own user may examine it. A
    /// process that has changed its user, or whose program file is not readable, is not dumpable.
    pub(crate) dumpable: bool,
    /// The value of Yama's `ptrace_scope`, if the kernel has that module.
    pub(crate) ptrace_scope: Option<String>,
}

impl Circumstances {
    /// Collects the circumstances of thread `tid`.
    pub(crate) fn observe(dir: &ProcDir, tid: u32) -> Self {
        let status =
            read_bounded(&dir.process_path(format!("task/{tid}/status")), 1 << 20).unwrap_or_default();
        let own = std::fs::read("/proc/self/status").unwrap_or_default();
        let user_ids = user_ids(&status);
        let capabilities = |status: &[u8], name: &str| {
            field(status, name)
                .and_then(|text| u64::from_str_radix(&text, 16).ok())
                .unwrap_or(0)
        };
        Self {
            tracer: tracer(&status),
            user_ids,
            own_user_id: nix::unistd::getuid().as_raw(),
            capable: capabilities(&own, "CapEff") & CAP_SYS_PTRACE != 0,
            is_privileged: capabilities(&status, "CapPrm") & !capabilities(&own, "CapPrm") != 0,
            dumpable: is_owned_by_its_user(dir, user_ids[1]),
            ptrace_scope: std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok(),
        }
    }

    /// Returns the fault that explains why attaching to `tid` failed with `errno`.
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
            .advise(if *tracer == std::process::id() {
                "dump it on the thread that attached to it, while all of its threads are stopped; or detach first"
            } else {
                "detach or end that debugger first"
            });
        }
        let denied = |reason: String| fault(FaultKind::NotPermitted, format!("{reason} ({system})"));
        if self.capable {
            return denied("the system does not permit it, although this program has CAP_SYS_PTRACE".into())
                .advise("a security module or the container's settings may forbid it, or the process may be in another user namespace");
        }
        if self.user_ids != [self.own_user_id; 3] {
            return denied(format!(
                "it belongs to user {}, and this program runs as user {} without CAP_SYS_PTRACE",
                self.foreign_user(),
                self.own_user_id
            ))
            .advise(format!("run as that user, or {}", self.privileged("as root")));
        }
        if self.is_privileged {
            return denied(
                "it has capabilities that this program has not, from its program file (setcap) or its service manager"
                    .into(),
            )
            .advise(self.privileged("run as root"));
        }
        if !self.dumpable {
            return denied(
                "it is marked not dumpable (it has changed its user, has privileges of its own, \
                           its program file is not readable, or it called prctl(PR_SET_DUMPABLE))"
                    .into(),
            )
            .advise(self.privileged("run as root"));
        }
        match self.ptrace_scope.as_deref().map(str::trim) {
            Some("1") => denied("kernel.yama.ptrace_scope is 1: only ancestors of a process may trace it".into())
                .advise(format!(
                    "start the program through `--exec`, {}, let the program call prctl(PR_SET_PTRACER), or set kernel.yama.ptrace_scope to 0",
                    self.privileged("run as root")
                )),
            Some("2") => denied("kernel.yama.ptrace_scope is 2: tracing needs CAP_SYS_PTRACE".into())
                .advise(format!("{}, or set kernel.yama.ptrace_scope to 0", self.privileged("run as root"))),
            Some("3") => denied("kernel.yama.ptrace_scope is 3: nobody may trace until the next boot".into())
                .advise("boot with another value of kernel.yama.ptrace_scope"),
            _ => denied("the system does not permit it".into())
                .advise("a security module or the container's settings may forbid it (in a container, add the capability SYS_PTRACE)"),
        }
    }

    /// Advice to get privileges. Root without `CAP_SYS_PTRACE`, as in containers, has none.
    fn privileged<'a>(&self, for_users: &'a str) -> &'a str {
        match self.own_user_id {
            0 => "get the capability CAP_SYS_PTRACE (in a container, add SYS_PTRACE)",
            _ => for_users,
        }
    }

    fn foreign_user(&self) -> u32 {
        let foreign = self.user_ids.iter().find(|id| **id != self.own_user_id);
        foreign.copied().unwrap_or(self.own_user_id)
    }
}

/// Returns the fault that explains why `PTRACE_SEIZE` of thread `tid` failed.
pub(crate) fn refusal(dir: &ProcDir, tid: u32, errno: Errno) -> Fault {
    let circumstances = Circumstances::observe(dir, tid);
    tracing::debug!(pid = dir.pid, tid, %errno, ?circumstances, "may not attach");
    circumstances.explain(dir.pid, tid, errno)
}

/// Checks that this backend supports the program that the process runs.
///
/// The check stops nothing.
///
/// # Errors
/// The process runs an x32 program.
pub(crate) fn check_supported(dir: &ProcDir) -> Result<(), Fault> {
    // If it is not known, attaching will fail and report the real reason.
    if dir.program() == Program::X32 {
        return Err(Fault::new(
            FaultKind::Unsupported,
            format!("examine process {}", dir.pid),
            "it is an x32 program (32-bit pointers in 64-bit code), which no reader of minidumps supports",
        ));
    }
    Ok(())
}

/// Checks that `pid` is not a thread of this program.
///
/// # Errors
/// It is one.
pub(crate) fn check_foreign(pid: u32) -> Result<(), Fault> {
    if !std::path::Path::new(&format!("/proc/self/task/{pid}")).exists() {
        return Ok(());
    }
    Err(Fault::new(
        FaultKind::OwnProcess,
        format!("examine process {pid}"),
        "it is not a process but a thread of this program",
    )
    .advise(format!("dump process {}, this program", std::process::id())))
}

/// Checks that no other process traces the process.
///
/// # Errors
/// The process is already traced.
pub(crate) fn check_untraced(dir: &ProcDir) -> Result<(), Fault> {
    let status = dir.read("status").unwrap_or_default();
    if tracer(&status).is_none() {
        return Ok(());
    }
    Err(refusal(dir, dir.task, Errno::EPERM))
}

/// Returns the id and name of the process that `TracerPid` in `status` belongs to.
///
/// `TracerPid` is the id of a *thread*.
fn tracer(status: &[u8]) -> Option<(u32, String)> {
    let thread: u32 = field(status, "TracerPid")?.parse().ok().filter(|tid| *tid != 0)?;
    let of_thread = std::fs::read(format!("/proc/{thread}/status")).unwrap_or_default();
    let pid = field(&of_thread, "Tgid")
        .and_then(|pid| pid.parse().ok())
        .unwrap_or(thread);
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    // Any program can set its name to an escape sequence for the terminal.
    let mut name = printable(&String::from_utf8_lossy(name.trim_ascii_end())).into_owned();
    if name == crate::tracer::NAME
        && pid == thread
        && let Some(host) = field(&of_thread, "PPid")
    {
        // A helper process. Its parent is the program that makes a dump.
        name = format!("{name}, which dumps it for process {host}");
    }
    Some((
        pid,
        if name.is_empty() {
            "name unknown".into()
        } else {
            name
        },
    ))
}

/// Parses the first three numbers of `Uid`: the real, effective and saved user id.
pub(crate) fn user_ids(status: &[u8]) -> [u32; 3] {
    let line = field(status, "Uid").unwrap_or_default();
    let mut numbers = line.split_ascii_whitespace().map_while(|word| word.parse().ok());
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

/// Whether the files in the process's `/proc` directory belong to the user `effective_user_id`.
///
/// The files of a process that is not dumpable belong to root (proc(5)); the directory itself does
/// not. For processes of root this check says nothing.
fn is_owned_by_its_user(dir: &ProcDir, effective_user_id: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(dir.process_path("status")).is_ok_and(|meta| meta.uid() == effective_user_id)
}

/// What these tests would catch: a refusal that is explained by the wrong cause. The circumstances
/// are invented, because the tests run as root, to whom the kernel refuses nothing.
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
    fn capabilities_of_the_program_file_are_named() {
        let fault = explain(&Circumstances {
            is_privileged: true,
            dumpable: false,
            ..same_user()
        });
        assert!(fault.reason.contains("capabilities"), "{fault}");
        assert_eq!(fault.advice.as_deref(), Some("run as root"));
    }

    #[test]
    fn root_is_not_told_to_become_root() {
        let root = Circumstances {
            own_user_id: 0,
            user_ids: [0; 3],
            ..same_user()
        };
        let cases = [
            Circumstances {
                user_ids: [1000; 3],
                ..root.clone()
            },
            Circumstances {
                is_privileged: true,
                ..root.clone()
            },
            Circumstances {
                dumpable: false,
                ..root.clone()
            },
            Circumstances {
                ptrace_scope: Some("2\n".into()),
                ..root
            },
        ];
        for circumstances in &cases {
            let fault = explain(circumstances);
            let advice = fault.advice.as_deref().expect("advice");
            assert!(
                advice.contains("CAP_SYS_PTRACE") && !advice.contains("root"),
                "{fault}"
            );
        }
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

    #[test]
    fn ids_are_read_from_status() {
        let status = b"Name:\tx\nTracerPid:\t0\nUid:\t1\t2\t3\t4\n";
        assert_eq!(user_ids(status), [1, 2, 3]);
        assert_eq!(tracer(status), None);
        assert_eq!(user_ids(b""), [0; 3]);
    }
}
