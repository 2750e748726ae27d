//! The dump's facts about threads, compared with what the threads report.

use dumpwright::read::Thread;

use crate::victim::{Victim, complete, number};

const EVERYTHING_OF_THREADS: &str = "normal,with-thread-info";

#[test]
fn threads_are_what_they_say() {
    let victim = Victim::start("steady");
    let (dump, _) = complete(&victim, &["--type", EVERYTHING_OF_THREADS]);
    let threads = dump.threads().unwrap();
    let said = victim.truth["threads"].as_array().unwrap();
    let ids = |threads: &[Thread]| threads.iter().map(|thread| thread.id).collect::<Vec<_>>();
    let order: Vec<u32> = said.iter().map(|thread| number(&thread["id"]) as u32).collect();
    assert_eq!(ids(&threads), order, "in the order in which they were made");
    for (thread, said) in threads.iter().zip(said) {
        let role = &said["role"];
        let base = number(&said["stack_base"]);
        assert_eq!(thread.teb, number(&said["teb"]), "{role}");
        assert_eq!(
            u64::from(thread.suspend_count),
            number(&said["suspended"]),
            "{role}"
        );
        assert_eq!(
            i64::from(thread.priority),
            said["priority"].as_i64().unwrap(),
            "{role}"
        );
        assert_eq!(
            thread.priority_class, 0x4000,
            "{role}: BELOW_NORMAL_PRIORITY_CLASS"
        );
        let registers = thread.registers().expect("it has registers");
        assert_eq!(
            thread.stack.start, registers.rsp,
            "{role}: from the stack pointer"
        );
        assert_eq!(thread.stack.end(), Some(base), "{role}: to the upper end");
        assert!(
            (number(&said["stack_limit"])..base).contains(&registers.rsp),
            "{role}"
        );
        let info = thread.info.as_ref().expect("ThreadInfoList has it");
        assert_eq!(info.create_time, number(&said["created"]), "{role}");
        assert_eq!(info.affinity, number(&said["affinity"]), "{role}");
        assert_eq!((info.dump_flags, info.exit_time), (0, 0), "{role}: it lives");
        // The main thread begins at the program's entry point, which `main` cannot report.
        if role != "main" {
            assert_eq!(info.start_address, number(&said["start"]), "{role}");
        }
    }
    victim.assert_runs(&[0, 1, 2, 4]);
}

#[test]
fn a_thread_has_its_registers_and_its_stack() {
    let victim = Victim::start("steady");
    let (dump, _) = complete(&victim, &[]);
    let id = number(&victim.thread("registers")["id"]);
    let threads = dump.threads().unwrap();
    let thread = threads.iter().find(|thread| u64::from(thread.id) == id).unwrap();
    let registers = thread.registers().unwrap();
    assert_eq!(registers.rbx, 0x1111_2222_3333_4444);
    assert_eq!(registers.rsi, 0x5555_6666_7777_8888);
    assert_eq!(registers.rdi, 0x9999_aaaa_bbbb_cccc);
    assert_eq!(
        [registers.r12, registers.r13, registers.r14],
        [
            0x1212_1212_1212_1212,
            0x1313_1313_1313_1313,
            0x1414_1414_1414_1414
        ]
    );
    assert_eq!(registers.r15, number(&victim.truth["beat"]));
    let context = thread.context.as_ref().unwrap();
    assert_eq!(context.flags(), Some(0x10_001f), "all of a plain CONTEXT");
    let bytes = context.bytes();
    assert_eq!(bytes[..0x30], [0; 0x30], "no home addresses of parameters");
    assert_eq!(
        bytes[0x300..0x4A8],
        [0; 0x1A8],
        "no vector registers of the old form"
    );
    let xmm6 = &bytes[0x200..0x210];
    assert_eq!(xmm6[..8], 0x1111_2222_3333_4444_u64.to_le_bytes(), "xmm6");
    assert_eq!(xmm6[8..], 0x5555_6666_7777_8888_u64.to_le_bytes(), "xmm6");
    let mark = number(&victim.truth["mark"]);
    assert_eq!(
        dump.memory(mark, 32).unwrap().expect("the stack is in the dump"),
        b"known bytes on the stack 0123456"
    );
}

#[test]
fn threads_have_their_names() {
    let victim = Victim::start("steady");
    assert_eq!(
        victim.truth["named"], true,
        "this Windows has no SetThreadDescription"
    );
    let (dump, _) = complete(&victim, &[]);
    let id = number(&victim.thread("named")["id"]);
    let named: Vec<_> = dump
        .threads()
        .unwrap()
        .into_iter()
        .filter_map(|thread| Some((u64::from(thread.id), thread.name?)))
        .collect();
    assert_eq!(named, [(id, "n\u{e4}me of a thread".to_owned())]);
}
