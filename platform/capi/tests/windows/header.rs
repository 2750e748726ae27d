//! The header with compilers for Windows.

use std::fs;
use std::process::Command;

use crate::scratch::package;

const USE: &str = r#"
#include "dumpwright.h"
static BOOL CALLBACK callback(PVOID parameter, PMINIDUMP_CALLBACK_INPUT input, PMINIDUMP_CALLBACK_OUTPUT output)
{
    (void)parameter;
    if (input->CallbackType == ModuleCallback && wcslen(input->Module.FullPath) > 3)
        output->ModuleWriteFlags &= (ULONG)~ModuleWriteDataSeg;
    return TRUE;
}
MINIDUMP_CALLBACK_INFORMATION information = {callback, 0};
int dump(HANDLE process, DWORD id, HANDLE file)
{
    dumpwright_request *request = dumpwright_request_create(MiniDumpNormal);
    dumpwright_request_handle(request, process);
    return MiniDumpWriteDump(process, id, file, MiniDumpNormal, 0, 0, &information) || dumpwright_dump(request);
}
"#;

/// Returns a replacement for the SDK's header, which mingw-w64 does not have: the declarations with
/// which dumpwright.h replaces that header, and the SDK's include guard.
fn minidumpapiset() -> String {
    let header = fs::read_to_string(package().join("include/dumpwright.h")).expect("the header");
    let (_, declarations) = header
        .split_once("!defined(MINIDUMP_SIGNATURE)\n")
        .expect("the header checks this macro");
    let (declarations, _) = declarations
        .split_once("#endif /* no <dbghelp.h> */")
        .expect("the header marks the end");
    let declarations = declarations
        .lines()
        .filter(|line| !line.starts_with("DUMPWRIGHT_"))
        .map(|line| line.replace("DUMPWRIGHT_ALIGN16", "__attribute__((aligned(16)))"))
        .map(|line| line.replace("DUMPWRIGHT_PAD", "ULONG pad;") + "\n");
    let declarations: String = declarations.collect();
    format!(
        "#ifndef _MINIDUMP_H\n#define _MINIDUMP_H\n#pragma GCC system_header\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\
         {declarations}\n#ifdef __cplusplus\n}}\n#endif\n#endif\n"
    )
}

#[test]
fn mingw_takes_the_header() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("minidumpapiset.h"), minidumpapiset()).expect("a file of ours");
    let before = [
        "",
        "#include <windows.h>\n#include <minidumpapiset.h>\n",
        "#include <windows.h>\n",
        "#define WIN32_LEAN_AND_MEAN\n#include <windows.h>\n",
        // mingw-w64's <dbghelp.h> has other layouts. Here it only matters that nothing is declared
        // twice.
        "#include <windows.h>\n#include <dbghelp.h>\n",
    ];
    for (compiler, standard, file) in [
        ("x86_64-w64-mingw32-gcc", "-std=c11", "use.c"),
        ("x86_64-w64-mingw32-gcc", "-std=gnu17", "use.c"),
        ("x86_64-w64-mingw32-g++", "-std=c++17", "use.cpp"),
    ] {
        for before in before {
            let source = folder.path().join(file);
            fs::write(&source, format!("{before}{USE}")).expect("a file of ours");
            let output = Command::new(compiler)
                .args([standard, "-Wall", "-Wextra", "-Werror", "-c", "-I"])
                .arg(package().join("include"))
                .arg("-I")
                .arg(folder.path())
                .arg(&source)
                .arg("-o")
                .arg(folder.path().join("use.o"))
                .output()
                .expect("cargo xtask windows installs it");
            assert!(
                output.status.success(),
                "{compiler} {standard} {before}:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}
