//! rust-minidump reads the samples as dumpwright does.

use dumpwright::read::Dump;
use minidump::{
    Minidump, MinidumpException, MinidumpHandleDataStream, MinidumpMemoryInfoList, MinidumpMiscInfo,
    MinidumpModuleList, MinidumpSystemInfo, MinidumpThreadInfoList, MinidumpThreadList, MinidumpThreadNames,
    MinidumpUnloadedModuleList, Module as _,
};

use crate::sample::{self, Sample};

fn both(sample: Sample) -> (Dump, Minidump<'static, Vec<u8>>) {
    let other = Minidump::read(sample.bytes.clone()).expect("rust-minidump opens the sample");
    (
        Dump::from_bytes(sample.bytes).expect("dumpwright opens the sample"),
        other,
    )
}

#[test]
fn on_system_and_process() {
    for sample in [sample::normal(), sample::full()] {
        let (ours, theirs) = both(sample);
        let system: MinidumpSystemInfo = theirs.get_stream().unwrap();
        let our_system = ours.system_info().unwrap().unwrap();
        assert_eq!(our_system.csd_version.as_deref(), system.csd_version().as_deref());
        assert_eq!(our_system.processor_revision, system.raw.processor_revision);
        assert_eq!(our_system.build_number, system.raw.build_number);
        let misc: MinidumpMiscInfo = theirs.get_stream().unwrap();
        let our_misc = ours.misc_info().unwrap().unwrap();
        assert_eq!(our_misc.process_id.as_ref(), misc.raw.process_id());
        assert_eq!(
            our_misc.process_create_time.as_ref(),
            misc.raw.process_create_time()
        );
        assert_eq!(
            our_misc.process_kernel_time.as_ref(),
            misc.raw.process_kernel_time()
        );
        assert_eq!(
            our_misc.processor_power.map(|power| power.mhz_limit).as_ref(),
            misc.raw.processor_mhz_limit()
        );
    }
}

#[test]
fn on_threads() {
    for sample in [sample::normal(), sample::full()] {
        let (ours, theirs) = both(sample);
        let system: MinidumpSystemInfo = theirs.get_stream().unwrap();
        let list: MinidumpThreadList = theirs.get_stream().unwrap();
        let names = theirs.get_stream::<MinidumpThreadNames>().ok();
        let infos = theirs.get_stream::<MinidumpThreadInfoList>().ok();
        let threads = ours.threads().unwrap();
        assert_eq!(threads.len(), list.threads.len());
        for (our, their) in threads.iter().zip(&list.threads) {
            let raw = &their.raw;
            assert_eq!(
                (our.id, our.suspend_count, our.teb),
                (raw.thread_id, raw.suspend_count, raw.teb)
            );
            assert_eq!(our.stack.start, raw.stack.start_of_memory_range);
            let name = names.as_ref().and_then(|names| names.get_name(our.id));
            assert_eq!(our.name.as_deref(), name.as_deref());
            let context = their.context(&system, None).expect("the thread has a context");
            let registers = our.registers().unwrap();
            assert_eq!(registers.rip, context.get_instruction_pointer());
            for (name, value) in [
                ("rsp", registers.rsp),
                ("rax", registers.rax),
                ("rbx", registers.rbx),
                ("rbp", registers.rbp),
                ("rsi", registers.rsi),
                ("rdi", registers.rdi),
                ("r8", registers.r8),
                ("r15", registers.r15),
            ] {
                assert_eq!(Some(value), context.get_register(name), "{name}");
            }
            let minidump::MinidumpRawContext::Amd64(raw) = &context.raw else {
                panic!("not AMD64")
            };
            assert_eq!(
                (registers.eflags, registers.cs, registers.ss),
                (raw.eflags, raw.cs, raw.ss)
            );
            assert_eq!(
                (registers.dr0, registers.dr7, registers.mxcsr),
                (raw.dr0, raw.dr7, raw.mx_csr)
            );
            let info = infos
                .as_ref()
                .and_then(|infos| infos.get_thread_info(our.id))
                .map(|info| &info.raw);
            assert_eq!(
                our.info.as_ref().map(|info| info.user_time),
                info.map(|info| info.user_time)
            );
            assert_eq!(
                our.info.as_ref().map(|info| info.affinity),
                info.map(|info| info.affinity)
            );
            assert_eq!(
                our.info.as_ref().map(|info| info.start_address),
                info.map(|info| info.start_address)
            );
        }
    }
}

#[test]
fn on_modules() {
    let (ours, theirs) = both(sample::normal());
    let list: MinidumpModuleList = theirs.get_stream().unwrap();
    let modules = ours.modules().unwrap();
    assert_eq!(modules.len(), list.iter().count());
    for (our, their) in modules.iter().zip(list.iter()) {
        assert_eq!(
            (our.base, u64::from(our.size)),
            (their.base_address(), their.size())
        );
        assert_eq!(our.name.as_deref(), Some(&*their.code_file()));
        assert_eq!(our.version.as_deref(), their.version().as_deref());
        assert_eq!(
            our.debug_id,
            their.debug_identifier().map(|id| id.breakpad().to_string())
        );
        // rust-minidump's type has code ids in lower case.
        let code_id = our.code_id.as_ref().map(|id| id.to_lowercase());
        assert_eq!(code_id, their.code_identifier().map(|id| id.to_string()));
    }
    let unloaded: MinidumpUnloadedModuleList = theirs.get_stream().unwrap();
    let their = unloaded.iter().next().unwrap();
    let our = &ours.unloaded_modules().unwrap()[0];
    assert_eq!(
        (our.base, our.name.as_deref()),
        (their.base_address(), Some(&*their.code_file()))
    );
}

#[test]
fn on_memory() {
    for sample in [sample::normal(), sample::full(), sample::with_losses()] {
        let (ours, theirs) = both(sample);
        let memory = theirs.get_memory().unwrap();
        let ranges = ours.memory_ranges().unwrap();
        assert_eq!(ranges.len(), memory.iter().count());
        for (our, their) in ranges.iter().zip(memory.iter()) {
            assert_eq!((our.address, our.size), (their.base_address(), their.size()));
            // For every other reader, lost memory is data.
            if ours.lost(our.address, our.size).unwrap().is_empty() {
                assert_eq!(
                    ours.memory(our.address, our.size).unwrap().as_deref(),
                    Some(their.bytes())
                );
            }
        }
        let regions: MinidumpMemoryInfoList = theirs.get_stream().unwrap();
        for (our, their) in ours.memory_regions().unwrap().iter().zip(regions.iter()) {
            assert_eq!(
                (our.base, our.size),
                (their.raw.base_address, their.raw.region_size)
            );
            assert_eq!(
                (our.state, our.protect, our.kind),
                (their.raw.state, their.raw.protection, their.raw._type)
            );
        }
    }
}

#[test]
fn on_exception_and_handles() {
    let (ours, theirs) = both(sample::normal());
    let system: MinidumpSystemInfo = theirs.get_stream().unwrap();
    let their: MinidumpException = theirs.get_stream().unwrap();
    let our = ours.exception().unwrap().unwrap();
    assert_eq!(our.thread_id, their.get_crashing_thread_id());
    assert_eq!(our.address, their.get_crash_address(system.os, system.cpu));
    let reason = their.get_crash_reason(system.os, system.cpu).to_string();
    assert_eq!(reason, "SIGSEGV / SEGV_MAPERR");
    let rip = their
        .context(&system, None)
        .map(|context| context.get_instruction_pointer());
    assert_eq!(our.context.and_then(|context| context.instruction_pointer()), rip);

    let handles: MinidumpHandleDataStream = theirs.get_stream().unwrap();
    let our_handles = ours.handles().unwrap();
    assert_eq!(our_handles.len(), handles.iter().count());
    for (our, their) in our_handles.iter().zip(handles.iter()) {
        assert_eq!(Some(&our.handle), their.raw.handle());
        assert_eq!(
            (&our.type_name, &our.object_name),
            (&their.type_name, &their.object_name)
        );
        assert_eq!(Some(&our.granted_access), their.raw.granted_access());
    }
}
