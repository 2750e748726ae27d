//! Facts about the same process, in a dump by dumpwright's own engine and in one by Microsoft's
//! DbgHelp 6.3.9600, both under Wine.
//!
//! Would catch: a fact of SystemInfo, MiscInfo, ModuleList, UnloadedModuleList or Token that
//! differs from that of Microsoft's writer, or has another offset or unit; modules in another
//! order; a debug record that is not the image's.
//!
//! DEVIATIONS.md lists the differences that are intended.

use std::fs;
use std::sync::OnceLock;

use crate::support::windows;
use dumpwright::read::{Dump, TokenGroup, TokenPrivilege};
use minidump::{Minidump, MinidumpMiscInfo, MinidumpModuleList, MinidumpSystemInfo, Module};

/// MiniDumpWithUnloadedModules, MiniDumpWithTokenInformation.
const TYPE: &str = "0x40020";

/// The bytes of both dumps, Microsoft's first.
fn dumps() -> &'static [Vec<u8>; 2] {
    static DUMPS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    DUMPS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let source = crate::support::repository().join("tests/windows_victims/dumped_twice.c");
        let program = windows::compile("dumped_twice.exe", &source, &["-ladvapi32"], &[]);
        let beside = folder.path().join("dumped_twice.exe");
        fs::copy(program, &beside).unwrap();
        // Under another name; otherwise Wine would load its own library.
        let dbghelp = windows::cache().join("dbgeng-6.3/dbghelp.dll");
        fs::copy(dbghelp, folder.path().join("msdbghelp.dll")).expect("cargo xtask windows downloads it");
        let files = ["theirs.dmp", "ours.dmp"].map(|name| folder.path().join(name));
        let output = windows::run(
            windows::wine(&beside)
                .arg(TYPE)
                .args(files.each_ref().map(|file| windows::path(file)))
                .arg(windows::path(windows::executable()))
                .current_dir(folder.path()),
        );
        assert!(output.status.success(), "{output:?}");
        files.map(|file| fs::read(file).unwrap())
    })
}

fn parsed() -> [Minidump<'static, &'static [u8]>; 2] {
    dumps()
        .each_ref()
        .map(|bytes| Minidump::read(&bytes[..]).unwrap())
}

fn opened() -> [Dump; 2] {
    dumps()
        .each_ref()
        .map(|bytes| Dump::from_bytes(bytes.clone()).unwrap())
}

#[test]
fn the_system_is_the_same() {
    let [theirs, ours] = parsed().map(|dump| dump.get_stream::<MinidumpSystemInfo>().unwrap());
    assert_eq!(ours.csd_version(), theirs.csd_version());
    let [mut theirs, mut ours] = [theirs.raw, ours.raw];
    // The last eight bytes belong to no field of the processor's part. DbgHelp has remains of other
    // memory there.
    for raw in [&mut theirs, &mut ours] {
        raw.csd_version_rva = 0;
        raw.cpu.data[16..].fill(0);
    }
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
}

#[test]
fn the_process_is_the_same() {
    let [theirs, ours] = opened().map(|dump| dump.stream_bytes(15).unwrap().unwrap());
    // All of the fourth version up to the name of the writer, except ProtectedProcess at 52, which
    // neither marks as valid.
    assert_eq!(ours[..52], theirs[..52]);
    assert_eq!(ours[56..752], theirs[56..752]);
    let [dump, _] = parsed();
    let misc = dump.get_stream::<MinidumpMiscInfo>().unwrap();
    assert!(misc.raw.process_create_time().is_some() && misc.raw.build_string().is_some());
}

#[test]
fn modules_are_the_same() {
    let lists = parsed().map(|dump| dump.get_stream::<MinidumpModuleList>().unwrap());
    let [theirs, ours] = lists.each_ref().map(|list| {
        let module = |module: &minidump::MinidumpModule| {
            let raw = &module.raw;
            format!(
                "{:#x} {:#x} {:#x} {:#x} {} {:?} {:?} {:?}",
                raw.base_of_image,
                raw.size_of_image,
                raw.checksum,
                raw.time_date_stamp,
                // DbgHelp spells names as the file system does.
                module.code_file().to_lowercase(),
                raw.version_info,
                module.codeview_info,
                raw.misc_record.data_size,
            )
        };
        list.iter().map(module).collect::<Vec<_>>()
    });
    assert_eq!(ours, theirs);
    let records = lists[1]
        .iter()
        .filter(|module| module.codeview_info.is_some())
        .count();
    assert!(ours.len() > 5 && records > 0, "{ours:#?}");
}

#[test]
fn unloaded_modules_are_the_same() {
    let [theirs, ours] = opened().map(|dump| {
        let modules = dump.unloaded_modules().unwrap();
        let facts = |module: &dumpwright::read::UnloadedModule| {
            format!(
                "{:#x} {:#x} {:#x} {:#x} {:?}",
                module.base, module.size, module.checksum, module.timestamp, module.name
            )
        };
        modules.iter().map(facts).collect::<Vec<_>>()
    });
    // Wine's entries have 96 bytes. Windows' have 104, which DbgHelp assumes when it counts them,
    // so it loses the last ones.
    assert_eq!(theirs.len(), ours.len() * 96 / 104);
    assert_eq!(ours[..theirs.len()], theirs);
    assert!(theirs.len() > 10, "{theirs:#?}");
}

#[test]
fn tokens_are_the_same() {
    type Facts = (
        u32,
        [Option<u32>; 2],
        Option<String>,
        Vec<TokenGroup>,
        Option<String>,
        Vec<TokenPrivilege>,
    );
    let [theirs, ours] = opened().map(|dump| {
        let facts = |token: dumpwright::read::Token| -> Facts {
            (
                token.id,
                [token.session, token.token_type],
                token.user,
                token.groups,
                token.primary_group,
                token.privileges,
            )
        };
        dump.tokens().unwrap().into_iter().map(facts).collect::<Vec<_>>()
    });
    assert_eq!(ours, theirs);
    // The token of the process, and that of the thread that impersonates.
    let kinds: Vec<_> = ours.iter().map(|token| token.1[1]).collect();
    assert_eq!(kinds, [Some(1), Some(2)]);
    assert!(!ours[0].3.is_empty() && !ours[0].5.is_empty(), "{ours:#?}");
}
