//! The process that examines the crashed one and writes the dump. It has few rights.
//!
//! Standard input is the beginning of the core, standard output the file of the dump, and standard
//! error the pipe for the report, which is one line of JSON.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use dumpwright::native::{self, CrashedProcess};
use dumpwright::policy::{PolicyFile, ProcessTexts};
use dumpwright::protocol::{Script, Symbols};
use dumpwright::{Callback, CompressedSink, DumpType, Error, FileSink, Report, Request, Sink, Target, dump};
use nix::sys::resource::{Resource, setrlimit};
use serde_json::{Value, json};

use super::crash::DyingProcess;
use super::{CoreHandlerArgs, HandlerOptions};
use crate::cli::{FAILED, print, result};

/// Makes the dump for the supervisor with this process id.
pub(super) fn run(args: &CoreHandlerArgs, supervisor: u32) -> ExitCode {
    let (report, status) = match make(args, supervisor) {
        Ok(report) => (described(&report), ExitCode::SUCCESS),
        Err(reason) => (json!({ "error": reason }), ExitCode::from(FAILED)),
    };
    match print::error(&format!("{report}\n")) {
        Ok(()) => status,
        Err(_) => ExitCode::from(FAILED),
    }
}

fn described(report: &Report) -> Value {
    let exception = report.exception.as_ref();
    json!({
        "status": result::status(report),
        "exception": exception.map(|exception| format!("{} in thread {}", exception.description, exception.thread_id)),
    })
}

fn make(args: &CoreHandlerArgs, supervisor: u32) -> Result<Report, String> {
    let options = &args.options;
    native::end_with_parent(supervisor).map_err(|error| error.to_string())?;
    let crash = DyingProcess::find(&args.values)?;
    // Everything that needs rights comes first. None of it depends on what the crashed process has
    // in its memory.
    let limit = options.max_memory.0;
    setrlimit(Resource::RLIMIT_AS, limit, limit).map_err(|errno| errno.desc().to_owned())?;
    let mut answers = WorkerCallback::load(options).map_err(|error| error.to_string())?;
    let output = io::stdout().as_fd().try_clone_to_owned();
    let output = output.map_err(|error| format!("the file of the dump: {error}"))?;
    native::confine().map_err(|error| format!("rights cannot be given up: {error}"))?;
    // To become another user has cancelled it.
    native::end_with_parent(supervisor).map_err(|error| error.to_string())?;

    answers.read_texts(crash.pid)?;
    let mut process =
        CrashedProcess::open(crash.pid, io::stdin().lock()).map_err(|fault| fault.to_string())?;
    let mut request = answers.request(options);
    if let Some(exception) = process.exception() {
        request = request.exception(exception.clone());
    }
    if let Some(text) = namespace_ids(&crash, process.exception().map(|exception| exception.thread_id)) {
        request = request.comment(&text);
    }
    answers
        .dump(&mut process, &request, options, File::from(output))
        .map_err(|error| error.to_string())
}

/// Returns the ids that the process has in its own pid namespace, if they differ.
fn namespace_ids(crash: &DyingProcess, thread: Option<u32>) -> Option<String> {
    let inner = crash.inner_id(crash.pid).filter(|inner| *inner != crash.pid)?;
    let thread = thread.and_then(|thread| crash.inner_id(thread));
    let thread = thread.map(|thread| format!(", and thread {thread} has received the signal"));
    Some(format!(
        "In its container, the process has the id {inner}{}.",
        thread.unwrap_or_default()
    ))
}

/// What answers the callback.
struct WorkerCallback {
    policy: Option<PolicyFile>,
    texts: ProcessTexts,
    script: Option<Script>,
}

impl WorkerCallback {
    fn load(options: &HandlerOptions) -> Result<Self, Error> {
        let policy = options.policy.load()?;
        let script = options.script.as_ref().map(Script::load).transpose()?;
        Ok(Self {
            policy,
            texts: ProcessTexts::default(),
            script: script.map(|script| script.symbols(Symbols::live())),
        })
    }

    /// Reads the environment and the command line of the process, if the policy overwrites them.
    /// They are memory of the process.
    fn read_texts(&mut self, pid: u32) -> Result<(), String> {
        if self.policy.as_ref().is_some_and(PolicyFile::needs_texts) {
            let texts = ProcessTexts::of_process(pid);
            self.texts = texts.map_err(|error| format!("the texts of the process: {error}"))?;
        }
        Ok(())
    }

    fn request(&self, options: &HandlerOptions) -> Request {
        let added = self
            .policy
            .as_ref()
            .map_or(DumpType::NORMAL, PolicyFile::dump_type);
        let request = Request::new(options.dump_type | added);
        let request = match &self.policy {
            Some(policy) => policy.request(request),
            None => request,
        };
        match options.include_dontdump {
            true => request.include_dont_dump(true),
            false => request,
        }
    }

    fn dump(
        self,
        process: &mut dyn Target,
        request: &Request,
        options: &HandlerOptions,
        file: File,
    ) -> Result<Report, Error> {
        let mut policies = self
            .policy
            .map(|policy| policy.policies(&self.texts))
            .transpose()?;
        let mut script = self.script;
        let callback: Option<&mut dyn Callback> = match (&mut policies, &mut script) {
            (Some(policies), _) => Some(policies),
            (None, Some(script)) => Some(script),
            (None, None) => None,
        };
        let file = FileSink::filling(file).sync(options.sync);
        let mut write = |sink: &mut dyn Sink, callback| dump(process, request, callback, sink);
        let mut report = match options.compress {
            None => write(&mut { file }, callback),
            Some(level) => write(&mut CompressedSink::new(file, level)?, callback),
        }?;
        if let Some(policies) = &policies {
            policies.conclude(&mut report);
        }
        Ok(report)
    }
}
