//! The dialogue of a dump on the command line: who answers, and what is written down of it.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use dumpwright::protocol::{Lint, Playback, Recorder, Script, Symbols, Transcript};
use dumpwright::{Callback, Error, FileSink, Report, Request, Sink, Target};

use super::backend::Writer;

#[derive(Debug, Args)]
pub(super) struct DialogueArgs {
    /// Answer the callback questions by the rules in this file
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    /// Answer them as in this transcript, and fail where the questions are others
    #[arg(long, value_name = "FILE", conflicts_with = "script")]
    playback: Option<PathBuf>,

    /// Write the questions and their answers to this file, as JSON lines; an existing one is replaced only with --force
    #[arg(long, value_name = "FILE")]
    pub(super) transcript: Option<PathBuf>,

    /// Say on standard error which answers of the script are misuse
    #[arg(long, requires = "script")]
    lint: bool,
}

/// Who answers.
enum Answers {
    Nobody,
    Script(Script),
    Playback(PathBuf, Playback),
}

/// The dialogue of one dump.
pub(super) struct Dialogue<'a> {
    args: &'a DialogueArgs,
    symbols: Symbols,
    answers: Answers,
    /// Where the transcript goes. What a callback puts into reads is in it, so it is as private as a dump.
    transcript: Option<FileSink>,
}

impl<'a> Dialogue<'a> {
    /// Reads the files that the arguments name, and begins that of the transcript; addresses get these names.
    pub fn open(args: &'a DialogueArgs, symbols: Symbols, force: bool) -> Result<Self, Error> {
        let create = |file| FileSink::create(file, force);
        let transcript = args.transcript.as_ref().map(create).transpose()?;
        let answers = match (&args.script, &args.playback) {
            (Some(file), _) => Answers::Script(Script::load(file)?.symbols(symbols.clone())),
            (None, Some(file)) => {
                let refused = |reason: String| Error::InvalidRequest(format!("{}: {reason}", file.display()));
                let text =
                    fs::read_to_string(file).map_err(|error| refused(format!("cannot read it: {error}")))?;
                let transcript = Transcript::parse(&text).map_err(|error| refused(error.to_string()))?;
                Answers::Playback(file.clone(), Playback::with_symbols(transcript, symbols.clone()))
            }
            (None, None) => Answers::Nobody,
        };
        Ok(Self {
            args,
            symbols,
            answers,
            transcript,
        })
    }

    /// Lets the rules of a script read the memory of this target, which is another one than is dumped.
    pub fn reading(mut self, target: impl Target + 'static) -> Self {
        if let Answers::Script(script) = self.answers {
            self.answers = Answers::Script(script.memory_of(target));
        }
        self
    }

    /// Dumps with this dialogue. An error after the dump means that the dump is not what was asked for.
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
            transcript: transcript_file,
        } = self;
        let callback: Option<&mut dyn Callback> = match &mut answers {
            Answers::Nobody => None,
            Answers::Script(script) => Some(script),
            Answers::Playback(_, playback) => Some(playback),
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
            eprintln!("dumpwright: lint: {finding}");
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
    /// Holds the outcome against what was to be answered, and puts output that the callback took over where it
    /// belongs.
    fn settle(
        &self,
        lint: bool,
        outcome: Result<Report, Error>,
        sink: &mut dyn Sink,
    ) -> Result<Report, Error> {
        let taken_over = match self {
            Self::Nobody => return outcome,
            Self::Script(script) => {
                if lint {
                    for line in script.unused() {
                        eprintln!(
                            "dumpwright: lint: {}:{line}: no question was for this rule",
                            script.file()
                        );
                    }
                }
                let outcome = outcome?;
                if let Some(problem) = script.problems().into_iter().next() {
                    return Err(problem.into());
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
