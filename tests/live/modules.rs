//! Modules, the process, the machine, and the texts of `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dumpwright::read::{Module, stream_type};

use crate::capture::{Capture, memory_of};
use crate::support::proc::{self, Mapping, Stat};
use crate::support::victim::{self, Frames, Victim};
use crate::support::{copy_program, run_well};

const NOTHING: [&str; 0] = [];

fn victim() -> Victim {
    Victim::start(&victim::c("threads", Frames::Pointers), &NOTHING)
}

/// The build id that binutils finds in a file.
fn build_id(file: &Path) -> String {
    let notes = run_well(Command::new("readelf").arg("-nW").arg(file));
    let id = notes
        .split("Build ID: ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    id.unwrap_or_else(|| panic!("{} has no build id:\n{notes}", file.display()))
        .to_owned()
}

/// The first address and the end of each file whose code is mapped.
fn images(maps: &[Mapping]) -> BTreeMap<String, (u64, u64)> {
    let mut images = BTreeMap::new();
    for mapping in maps.iter().filter(|mapping| mapping.name.starts_with('/')) {
        let (start, end) = images
            .entry(mapping.name.clone())
            .or_insert((mapping.start, mapping.end));
        *start = mapping.start.min(*start);
        *end = mapping.end.max(*end);
    }
    images.retain(|name, _| maps.iter().any(|m| m.name == *name && m.access.contains('x')));
    images
}

fn named(module: &Module) -> String {
    module.name.clone().expect("every module has a name")
}

#[test]
fn modules_are_the_files_whose_code_is_mapped_with_their_build_ids() {
    let mut victim = victim();
    let capture = Capture::of(victim.pid(), "normal");
    let maps = proc::maps(victim.pid());
    let images = images(&maps);
    let modules = capture.dump.modules().unwrap();
    let program = fs::canonicalize(format!("/proc/{}/exe", victim.pid())).unwrap();
    assert_eq!(Path::new(&named(&modules[0])), program, "the main program first");

    let (files, others): (Vec<_>, Vec<_>) = modules.iter().partition(|module| named(module).starts_with('/'));
    let found: Vec<String> = {
        let mut names: Vec<String> = files.iter().map(|module| named(module)).collect();
        names.sort();
        names
    };
    assert_eq!(found, images.keys().cloned().collect::<Vec<_>>());
    for module in files {
        let name = named(module);
        let (start, end) = images[&name];
        assert_eq!(module.base, start, "{name}");
        // Uninitialised data may follow the last mapping of the file, in anonymous memory.
        assert!(module.end() >= end, "{name}: {:#x} {end:#x}", module.end());
        assert_eq!(
            module.code_id.as_ref(),
            Some(&build_id(Path::new(&name))),
            "{name}"
        );
    }

    // The vdso is not a file; its image comes from the kernel.
    let vdso = maps
        .iter()
        .find(|mapping| mapping.name == "[vdso]")
        .expect("a vdso");
    let [module] = others[..] else {
        panic!("{others:?}")
    };
    assert_eq!(
        (module.base, named(module).as_str()),
        (vdso.start, "linux-gate.so")
    );
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("vdso.so");
    fs::write(
        &image,
        memory_of(victim.pid(), vdso.start, (vdso.end - vdso.start) as usize),
    )
    .unwrap();
    assert_eq!(module.code_id, Some(build_id(&image)));
    victim.ping();
}

/// From memory, because the file may have been deleted or replaced.
#[test]
fn a_program_whose_file_is_gone_keeps_its_name_and_build_id() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("gone");
    copy_program(&victim::live("plain"), &program);
    let expected = build_id(&program);
    let mut victim = Victim::start(&program, &NOTHING);
    fs::remove_file(&program).unwrap();
    let capture = Capture::of(victim.pid(), "normal");
    let main = &capture.dump.modules().unwrap()[0];
    assert_eq!(main.code_id, Some(expected));
    assert_eq!(PathBuf::from(named(main)), program, "without \" (deleted)\"");
    victim.ping();
}

#[test]
fn the_process_and_its_times() {
    let victim = victim();
    let before = Stat::of(victim.pid()).unwrap();
    let capture = Capture::of(victim.pid(), "normal");
    let after = Stat::of(victim.pid()).unwrap();
    let misc = capture.dump.misc_info().unwrap().unwrap();
    assert_eq!(misc.process_id, Some(victim.pid()));

    let file_time = fs::metadata(format!("/proc/{}", victim.pid())).unwrap();
    assert!(file_time.is_dir());
    let created = u64::from(misc.process_create_time.unwrap());
    let expected = started(&before);
    // The boot time is in whole seconds.
    assert!(created.abs_diff(expected) <= 2, "{created} {expected}");
    for (time, field, name) in [
        (misc.process_user_time, 14, "user"),
        (misc.process_kernel_time, 15, "kernel"),
    ] {
        let time = u64::from(time.unwrap());
        let seconds = |stat: &Stat| stat.number(field) / 100;
        assert!(
            (seconds(&before)..=seconds(&after)).contains(&time),
            "{name}: {time}"
        );
    }
    let breakpad = capture.dump.breakpad_info().unwrap().unwrap();
    assert_eq!(breakpad.requesting_thread_id, Some(victim.pid()));
}

/// When a process or thread started, in seconds since 1970.
fn started(stat: &Stat) -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let boot: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .unwrap()
        .parse()
        .unwrap();
    // Field 22 counts ticks. A second has USER_HZ ticks, which is 100 on x86.
    boot + stat.number(22) / 100
}

#[test]
fn the_machine() {
    let victim = victim();
    let capture = Capture::of(victim.pid(), "normal");
    let system = capture.dump.system_info().unwrap().unwrap();
    assert!(system.platform.is_linux());
    // PROCESSOR_ARCHITECTURE_AMD64
    assert_eq!(system.processor_architecture, 9);
    let uname = run_well(Command::new("uname").arg("-srvm"));
    assert_eq!(system.csd_version.as_deref(), Some(uname.trim()));
    let release = run_well(Command::new("uname").arg("-r"));
    let numbers: Vec<u32> = release
        .split(|c: char| !c.is_ascii_digit())
        .take(3)
        .map(|word| word.parse().unwrap_or(0))
        .collect();
    assert_eq!(
        [system.major_version, system.minor_version, system.build_number],
        numbers[..]
    );
    let processors = run_well(Command::new("getconf").arg("_NPROCESSORS_ONLN"));
    assert_eq!(
        u64::from(system.number_of_processors),
        processors.trim().parse::<u64>().unwrap().min(255)
    );
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
    let of_cpuinfo = |field: &str| -> String {
        let line = cpuinfo
            .lines()
            .find(|line| line.split(':').next().unwrap().trim() == field)
            .unwrap();
        line.split(':').nth(1).unwrap().trim().to_owned()
    };
    assert_eq!(system.processor_level.to_string(), of_cpuinfo("cpu family"));
    let [model, stepping] = system.processor_revision.to_be_bytes();
    assert_eq!(
        [model.to_string(), stepping.to_string()],
        ["model", "stepping"].map(of_cpuinfo)
    );
    assert_eq!(
        system.cpu_vendor().map(str::to_owned),
        Some(of_cpuinfo("vendor_id"))
    );
}

#[test]
fn the_texts_of_proc_are_verbatim() {
    let mut victim = victim();
    let pid = victim.pid();
    let capture = Capture::of(pid, "with-process-thread-data");
    let bytes = |stream| {
        capture
            .dump
            .stream_bytes(stream)
            .unwrap()
            .unwrap_or_else(|| panic!("{stream:#x}"))
    };
    for (stream, file) in [
        (stream_type::LINUX_MAPS, "maps"),
        (stream_type::LINUX_AUXV, "auxv"),
        (stream_type::MOZ_LINUX_LIMITS, "limits"),
        (stream_type::LINUX_CMD_LINE, "cmdline"),
        (stream_type::LINUX_ENVIRON, "environ"),
    ] {
        let own = fs::read(format!("/proc/{pid}/{file}")).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&bytes(stream)),
            String::from_utf8_lossy(&own),
            "{file} of a process that does nothing"
        );
    }
    let status = String::from_utf8(bytes(stream_type::LINUX_PROC_STATUS)).unwrap();
    assert!(status.contains(&format!("Pid:\t{pid}\n")));
    assert!(
        status.contains("TracerPid:\t0\n"),
        "as it was before we came:\n{status}"
    );
    // Clock rates change all the time.
    let steady =
        |text: &str| -> String { text.lines().filter(|line| !line.starts_with("cpu MHz")).collect() };
    assert_eq!(
        steady(&String::from_utf8(bytes(stream_type::LINUX_CPU_INFO)).unwrap()),
        steady(&fs::read_to_string("/proc/cpuinfo").unwrap())
    );
    let release = ["/etc/lsb-release", "/etc/os-release"]
        .iter()
        .find_map(|path| fs::read(path).ok());
    assert_eq!(Some(bytes(stream_type::LINUX_LSB_RELEASE)), release);
    victim.ping();
}

#[test]
fn the_dynamic_linkers_list_agrees_with_the_modules() {
    let victim = victim();
    let capture = Capture::of(victim.pid(), "normal");
    let list = capture.dump.dso_debug().unwrap().unwrap();
    let modules = capture.dump.modules().unwrap();
    let linker = modules
        .iter()
        .find(|module| named(module).contains("/ld-linux"))
        .expect("the linker");
    assert_eq!(list.ldbase, linker.base);
    assert!((linker.base..linker.end()).contains(&list.brk));
    let program = &modules[0];
    assert!((program.base..program.end()).contains(&list.dynamic));
    assert_eq!(list.link_map[0].name.as_deref(), Some(""), "the program itself");
    // The objects are linked at address 0, so the difference is the base.
    for entry in &list.link_map {
        assert!(
            modules.iter().any(|module| module.base == entry.addr),
            "{entry:?}"
        );
    }
    assert_eq!(list.link_map.len(), modules.len());
}
