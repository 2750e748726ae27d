//! The archive for Windows: the program, the C library with its import library, and the headers.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use xshell::{Shell, cmd};

use super::notices::{self, Part};
use super::{VERSION, add_texts, archive, empty_folder, generate, time_of_files};
use crate::debian::PYTHON;
use crate::{capi, ci, windows};

const TARGET: &str = "x86_64-pc-windows-gnu";

/// Makes the archive and tries it under Wine. Returns its path.
pub(super) fn make(shell: &Shell, dist: &Path) -> anyhow::Result<Vec<PathBuf>> {
    windows::install(shell)?;
    let strip = "profile.release.strip=\"symbols\"";
    let program = ci::executable(
        windows::cargo(shell, "build")?
            .args(["--release", "--locked", "--config", strip])
            .args(["--package", "dumpwright", "--bin", "dumpwright"])
            .args(["--message-format", "json-render-diagnostics"]),
        "dumpwright.exe",
    )?;
    let messages = windows::cargo(shell, "build")?
        .args(["--release", "--locked", "--config", strip])
        .args([
            "--package",
            "dumpwright-capi",
            "--message-format",
            "json-render-diagnostics",
        ])
        .read()?;
    let mut parts = notices::crates(shell, &["dumpwright", "dumpwright-capi"], TARGET)?;
    for (name, licence, package) in [
        ("mingw-w64, the C library", "see its text", "mingw-w64-x86-64-dev"),
        (
            "libgcc",
            "GPL-3.0-or-later WITH GCC-exception-3.1",
            "gcc-mingw-w64-base",
        ),
    ] {
        let file = format!("/usr/share/doc/{package}/copyright");
        parts.push(Part::with_file(shell, name, licence, &file)?);
    }
    let notices = notices::render("The program and the C library of dumpwright for Windows", &parts);

    let name = format!("dumpwright-{VERSION}-x86_64-windows");
    let folder = empty_folder(shell, dist, &name)?;
    shell.copy_file(&program, folder.join("dumpwright.exe"))?;
    for library in ["dumpwright.dll", "libdumpwright.dll.a"] {
        let built = capi::path_ending(&messages, library)
            .with_context(|| format!("cargo reported no path of {library}"))?;
        shell.copy_file(built, folder.join(library))?;
    }
    let include = folder.join("include");
    shell.create_dir(&include)?;
    shell.copy_file("platform/capi/include/dumpwright.h", include.join("dumpwright.h"))?;
    add_texts(shell, &folder, &notices)?;
    notices::add_standard_library(shell, &folder)?;
    // The pages and completions come from the program itself, which only Wine can run here.
    windows::keep_server(shell)?;
    let runner = runner(shell, &folder.join("dumpwright.exe"))?;
    let wine = runner.path().join("run").display().to_string();
    let completions = folder.join("completions/dumpwright.ps1");
    generate(shell, &wine, &["completions", "powershell"], &completions)?;
    let man = folder.join("man");
    shell.create_dir(&man)?;
    cmd!(shell, "{wine} man").arg(&man).quiet().run()?;
    let file = dist.join(format!("{name}.zip"));
    archive::zip(shell, &folder, &file, time_of_files(shell)?)?;
    shell.remove_path(&folder)?;
    try_archive(shell, &file, &name)?;
    Ok(vec![file])
}

/// Returns a folder with a program `run`, which runs this program under Wine.
fn runner(shell: &Shell, program: &Path) -> anyhow::Result<xshell::TempDir> {
    let folder = shell.create_temp_dir()?;
    let run = folder.path().join("run");
    let prefix = windows::prefix()?;
    let text = format!(
        "#!/bin/sh\nWINEPREFIX='{}' WINEDEBUG=-all exec wine '{}' \"$@\"\n",
        prefix.display(),
        program.display()
    );
    shell.write_file(&run, text)?;
    cmd!(shell, "chmod 755 {run}").quiet().run()?;
    Ok(folder)
}

/// Unpacks the archive, runs the program under Wine, and links a C program with the library.
fn try_archive(shell: &Shell, file: &Path, name: &str) -> anyhow::Result<()> {
    let unpacked = shell.create_temp_dir()?;
    cmd!(shell, "{PYTHON} -m zipfile --extract {file}")
        .arg(unpacked.path())
        .run()?;
    let folder = unpacked.path().join(name);
    let runner_folder = runner(shell, &folder.join("dumpwright.exe"))?;
    let run = runner_folder.path().join("run");
    let _folder = shell.push_dir(&folder);
    // Names without a drive are relative to the current folder.
    super::try_commands(|arguments| {
        let arguments = arguments.iter().map(|argument| argument.trim_start_matches('/'));
        Ok(cmd!(shell, "{run} {arguments...}").read()?)
    })?;
    drop(_folder);

    let client = folder.join("client.exe");
    let source = folder.join("client.c");
    shell.write_file(&source, CLIENT)?;
    cmd!(
        shell,
        "x86_64-w64-mingw32-gcc -o {client} {source} -I {folder}/include -L {folder} -ldumpwright"
    )
    .run()?;
    let client = runner(shell, &client)?;
    let client = client.path().join("run");
    let printed = cmd!(shell, "{client}").read()?;
    ensure!(
        printed.trim() == "80070057",
        "the C program with dumpwright.dll printed {printed:?}"
    );
    Ok(())
}

/// Asks for a dump of a type that does not exist. The error is E_INVALIDARG, as with DbgHelp.
const CLIENT: &str = "\
#include <stdio.h>
#include <windows.h>
#include <dumpwright.h>

int main(void) {
    BOOL done = MiniDumpWriteDump(GetCurrentProcess(), GetCurrentProcessId(), NULL,
                                  (MINIDUMP_TYPE)0x80000000, NULL, NULL, NULL);
    printf(\"%08lx\\n\", done ? 0 : (unsigned long)GetLastError());
    return 0;
}
";
