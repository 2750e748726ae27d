//! The page that `show --html` writes: one file of HTML that shows the dump in a browser.
//!
//! The page has the facts as JSON, and a script that draws them. It loads nothing. A
//! Content-Security-Policy allows only the script and the style sheet with the hashes in
//! `page.html`; `cargo xtask bless` renews the hashes. What the target controls is escaped twice:
//! [`printable`] makes control and bidirectional characters visible, and the JSON has none of the
//! characters that end a script element. The script sets texts, and never HTML.

mod data;

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use dumpwright::protocol::Transcript;
use dumpwright::{FileSink, Sink};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

use super::text::ShownDump;
use crate::cli::backend;
use crate::cli::print::printable;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Writes the page into a new file, or to standard output if the path is `-`. Returns the size of
/// the file in bytes, or `None` for standard output.
///
/// # Errors
///
/// The file exists and `force` is not set, it is a symbolic link, or it cannot be written.
pub(super) fn write(
    shown: &mut ShownDump<'_>,
    transcript: Option<&Transcript>,
    path: &Path,
    force: bool,
) -> Result<Option<u64>, Box<dyn Error>> {
    if path.as_os_str() == "-" {
        let mut out = BufWriter::new(io::stdout().lock());
        let printed = page(&mut out, shown, transcript);
        super::quiet_on_broken_pipe(printed.and_then(|()| out.flush()))?;
        return Ok(None);
    }
    // Like a dump, it contains secrets of the process.
    let mut file = backend::create_file(path, force)?;
    let mut sink = SinkWriter {
        sink: &mut file,
        at: 0,
    };
    let written = page(&mut sink, shown, transcript);
    let size = sink.at;
    let finished = written.and_then(|()| file.finish());
    finished.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    file.publish()?;
    Ok(Some(size))
}

/// Writes to the end of a sink.
struct SinkWriter<'s> {
    sink: &'s mut FileSink,
    at: u64,
}

impl Write for SinkWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.append(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the page.
fn page(out: &mut impl Write, shown: &mut ShownDump<'_>, transcript: Option<&Transcript>) -> io::Result<()> {
    let data = data::gather(shown, transcript);
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, behind) = after.split_once("}}").expect("a placeholder has an end");
        out.write_all(before.as_bytes())?;
        match name {
            "title" => out.write_all(escaped(&data.title()).as_bytes())?,
            "style" => out.write_all(STYLE.as_bytes())?,
            "script" => out.write_all(SCRIPT.as_bytes())?,
            "data" => json(out, &data)?,
            other => unreachable!("the page has no {other}"),
        }
        rest = behind;
    }
    out.write_all(rest.as_bytes())
}

/// Escapes text for the contents of an element.
fn escaped(text: &str) -> String {
    let text = printable(text);
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Writes JSON that can stand in a script element.
fn json(out: &mut impl Write, data: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, InScript(CompactFormatter));
    data.serialize(&mut serializer).map_err(Into::into)
}

/// Escapes the characters that have a meaning in HTML. They occur only in texts.
struct InScript(CompactFormatter);

impl Formatter for InScript {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some(at) = rest.find(['<', '>', '&']) {
            let (before, special) = rest.split_at(at);
            self.0.write_string_fragment(out, before)?;
            write!(out, "\\u{:04x}", special.as_bytes()[0])?;
            rest = &special[1..];
        }
        self.0.write_string_fragment(out, rest)
    }
}

#[cfg(test)]
mod tests {
    //! These tests catch text of a target that would be read as HTML.

    use super::*;

    #[test]
    fn no_text_ends_the_script_element() {
        let hostile = "</script><!-- &amp; \u{2028}\"\\";
        let mut out = Vec::new();
        json(&mut out, &[hostile]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains(['<', '>', '&']), "{text}");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, [hostile]);
    }

    #[test]
    fn a_title_is_text() {
        assert_eq!(escaped("<b>&\u{202e}"), "&lt;b&gt;&amp;\\u{202e}");
    }

    #[test]
    fn the_page_has_each_placeholder_once() {
        for name in ["title", "style", "script", "data"] {
            assert_eq!(PAGE.matches(&format!("{{{{{name}}}}}")).count(), 1, "{name}");
        }
        assert_eq!(PAGE.matches("{{").count(), 4);
    }
}
