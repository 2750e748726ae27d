//! The header, as compilers of Windows take it.

use std::fs;
use std::process::Command;

use crate::workshop::package;

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

#[test]
fn mingw_takes_the_header() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = [
        "",
        "#include <windows.h>\n",
        "#define WIN32_LEAN_AND_MEAN\n#include <windows.h>\n",
        // mingw-w64's has layouts of its own; that what is in it is not declared again is all that counts here.
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
