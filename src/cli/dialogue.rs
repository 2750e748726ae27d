//! The callback of a dump on the command line: what answers it, and where the dialogue is recorded.

use std::path::PathBuf;

use clap::Args;
use dumpwright::policy::{PolicyFile, PolicySet, ProcessTexts};
use dumpwright::protocol::{Lint, Playback, Recorder, Script, ScriptError, Symbols, Transcript};
use dumpwright::{Callback, Error, FileSink, Report, Request, Sink, Target};

use super::backend::{self, Writer};
use super::print::complain;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = super::dump::CALLBACK)]
pub(super) struct DialogueArgs {
    /// Answer the callback by the rules in this script
    ///
    /// The callback decides what the dump contains: for each thread and module, the writer calls
    /// it and follows the answer. Without --script and --playback, the dump is made without a
    /// callback. docs/script.md describes the format.
    #[arg(long, value_name = "FILE", conflicts_with = "policies")]
    script: Option<PathBuf>,

    /// Answer the callback as recorded in this transcript
    ///
    /// The dump fails if the dialogue differs from the recorded one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["script", "policies"])]
    playback: Option<PathBuf>,

    /// Record the dialogue with the callback in this file, as JSON lines
    ///
    /// The dialogue consists of all calls of the callback and their answers. Without a callback,
    /// the calls are recorded without answers. An existing file is replaced only with --force.
    /// docs/transcript.md describes the format.
    #[arg(long, value_name = "FILE")]
    pub(super) transcript: Option<PathBuf>,

    /// Report misuse of the callback protocol by the script on standard error
    ///
    /// This lists answers that cannot have the intended effect, and rules that matched no call.
    #[arg(long, requires = "script")]
    lint: bool,
}

impl DialogueArgs {
    /// Whether there is no callback.
    pub(super) fn asks_nobody(&self) -> bool {
        self.script.is_none() && self.playback.is_none()
    }
}

/// What answers the callback.
enum Answers {
    Nobody,
    Script(Script),
    Playback(PathBuf, Playback),
    Policy(PolicySet),
}

/// The dialogue of one dump, recorded if a transcript was requested.
pub(super) struct RecordedDialogue<'a> {
    args: &'a DialogueArgs,
    symbols: Symbols,
    answers: Answers,
    policy: Option<PolicyFile>,
    /// The file of the transcript. It is as private as a dump, because it contains the memory that
    /// a callback supplies for reads.
    transcript: Option<FileSink>,
}

impl<'a> RecordedDialogue<'a> {
    /// Reads the script or the transcript to play back, and creates the file of the new transcript.
    /// `symbols` are the names of addresses in all of them. A policy answers if there is neither a
    /// script nor such a transcript.
    pub fn open(
        args: &'a DialogueArgs,
        policy: Option<PolicyFile>,
        symbols: Symbols,
        force: bool,
    ) -> Result<Self, Error> {
        let create = |file: &PathBuf| backend::create_file(file, force);
        let transcript = args.transcript.as_ref().map(create).transpose()?;
        let answers = match (&args.script, &args.playback) {
            (Some(file), _) => Answers::Script(Script::load(file)?.symbols(symbols.clone())),
            (None, Some(file)) => {
                let transcript = Transcript::load(file).map_err(|error| {
                    Error::InvalidRequest(format!("the transcript of --playback cannot be used: {error}"))
                })?;
                Answers::Playback(file.clone(), Playback::with_symbols(transcript, symbols.clone()))
            }
            (None, None) => Answers::Nobody,
        };
        Ok(Self {
            args,
            symbols,
            answers,
            policy,
            transcript,
        })
    }

    /// Reads what a policy overwrites of the texts of a live process.
    pub fn of_process(self, pid: u32) -> Result<Self, Error> {
        if !self.policy.as_ref().is_some_and(PolicyFile::needs_texts) {
            return Ok(self);
        }
        let failed = |error| {
            Error::InvalidRequest(format!(
                "the policy overwrites texts of process {pid}, which cannot be read: {error}; run dumpwright as the user of \
                 the process or as root, or remove the keys environment and command-line"
            ))
        };
        let texts = ProcessTexts::of_process(pid).map_err(failed)?;
        self.with_texts(&texts)
    }

    /// Refuses a policy that overwrites texts of the process, which are not known.
    pub fn without_texts(self) -> Result<Self, Error> {
        if !self.policy.as_ref().is_some_and(PolicyFile::needs_texts) {
            return Ok(self);
        }
        let reason = "the policy overwrites the environment or the command line of the process, and a core does not tell \
                      what they were; remove the keys environment and command-line";
        Err(Error::InvalidRequest(reason.to_owned()))
    }

    fn with_texts(mut self, texts: &ProcessTexts) -> Result<Self, Error> {
        if let Some(policy) = self.policy.take() {
            self.answers = Answers::Policy(policy.policies(texts)?);
        }
        Ok(self)
    }

    /// Lets the rules of a script read the memory of `target`, a separate copy of the target that
    /// is dumped.
    pub fn reading(mut self, target: impl Target + 'static) -> Self {
        if let Answers::Script(script) = self.answers {
            self.answers = Answers::Script(script.memory_of(target));
        }
        self
    }

    /// Writes the dump with this dialogue.
    ///
    /// # Errors
    ///
    /// There is no dump. Or a dump was written to `sink`, but it is not the requested one: the
    /// script had problems, the dialogue differs from the one to be played back, or the transcript
    /// cannot be written.
    pub fn dump(
        self,
        writer: &mut dyn Writer,
        request: &Request,
        sink: &mut dyn Sink,
    ) -> Result<Report, Error> {
        let Self {
            args,
            symbols,
            mut answers,
            policy: _,
            transcript: transcript_file,
        } = self.with_texts(&ProcessTexts::default())?;
        let callback: Option<&mut dyn Callback> = match &mut answers {
            Answers::Nobody => None,
            Answers::Script(script) => Some(script),
            Answers::Playback(_, playback) => Some(playback),
            Answers::Policy(policies) => Some(policies),
        };
        let mut lint = None;
        let callback: Option<&mut dyn Callback> = match callback {
            Some(callback) if args.lint => Some(lint.insert(Lint::new(callback))),
            Some(callback) => Some(callback),
            None => None,
        };
        let (outcome, transcript) = if transcript_file.is_some() {
            let mut recorder = Recorder::new(callback, symbols);
            let outcome = writer.write(request, Some(&mut recorder), sink);
            let mut transcript = recorder.finish(&outcome);
            transcript.engine = writer.engine();
            (outcome, Some(transcript))
        } else {
            (writer.write(request, callback, sink), None)
        };
        for finding in lint.iter().flat_map(Lint::findings) {
            complain(format_args!("lint: {finding}"));
        }
        if let (Some(mut file), Some(transcript)) = (transcript_file, transcript) {
            let text = transcript.to_json_lines();
            let written = file.append(0, text.as_bytes()).and_then(|()| file.finish());
            written.map_err(|source| Error::Output {
                operation: "write the transcript to",
                path: args.transcript.clone(),
                source,
            })?;
            file.publish()?;
        }
        answers.settle(args.lint, outcome, sink)
    }
}

impl Answers {
    /// Checks that the script had no problems, or that the dialogue was the one to be played back.
    /// Then writes the output that the callback took over to `sink`.
    fn settle(
        &self,
        lint: bool,
        outcome: Result<Report, Error>,
        sink: &mut dyn Sink,
    ) -> Result<Report, Error> {
        let taken_over = match self {
            Self::Nobody => return outcome,
            Self::Policy(policies) => {
                let mut report = outcome?;
                policies.conclude(&mut report);
                return Ok(report);
            }
            Self::Script(script) => {
                if lint {
                    for line in script.unused() {
                        complain(format_args!(
                            "lint: {}:{line}: this rule matched no call",
                            script.file()
                        ));
                    }
                }
                let outcome = outcome?;
                if let Some(problems) = ScriptError::new(script.problems()) {
                    return Err(problems.into());
                }
                (script.output(), outcome)
            }
            Self::Playback(file, playback) => {
                if let Some(difference) = playback.difference(&outcome) {
                    let file = file.display().to_string();
                    return Err(Error::OtherDialogue { file, difference });
                }
                (playback.output(), outcome?)
            }
        };
        let (bytes, report) = taken_over;
        if !bytes.is_empty() {
            let written = sink.append(0, bytes).and_then(|()| sink.finish());
            written.map_err(|source| Error::Output {
                operation: "write to",
                path: None,
                source,
            })?;
        }
        Ok(report)
    }
}
