//! Scripts: the language, its errors, and the effect of their answers on dumps of simulated
//! processes.
//!
//! Would catch: an action or a condition without effect or with a wrong one; a default that is not
//! the documented one; a mistake in a script that counts as an answer or hides another one; an
//! error with a wrong place; a hostile text that crashes the parser; an example in the
//! documentation that is not a script.

mod answers;
mod dumps;
mod hostile;
mod mistakes;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use dumpwright::callback::{
    AskKind, CancelAnswer, CompressionAnswer, MemoryAnswer, MemoryInfo, ModuleAsked, ModuleWriteFlags,
    RegionAnswer, SecondaryFlags, ThreadAsked, ThreadWriteFlags, VmQueryAnswer, VmReadAnswer,
};
use dumpwright::protocol::{Script, Symbols};
use dumpwright::target::Pieces;
use dumpwright::target::protect::READWRITE;
use dumpwright::{Ask, Callback, DumpType, Error, Hresult, Report, Request, dump};
use dumpwright_sim::{Contents, SimProcess};
use proptest::prelude::*;

fn parse(text: &str) -> Script {
    let symbols = Symbols::new()
        .name("block", 0x5000, 0x1000)
        .name("other", 0x9000, 0x10);
    Script::parse(text, "test.toml")
        .unwrap_or_else(|error| panic!("{error}"))
        .symbols(symbols)
}

/// A rule for one callback type.
fn rule(ask: &str, actions: &str) -> Script {
    parse(&format!("[[rule]]\nask = \"{ask}\"\n{actions}\n"))
}

fn thread_flags(script: &mut Script, thread_id: u32) -> (bool, u32) {
    let mut keep = ThreadWriteFlags::from_bits_retain(0x17);
    let said = script.ask(Ask::IncludeThread {
        thread_id,
        keep: &mut keep,
    });
    (said, keep.bits())
}

fn module_flags(script: &mut Script, path: &str, base: u64) -> (bool, u32) {
    let module = ModuleAsked {
        full_path: path,
        base_of_image: base,
        size_of_image: 0x2000,
        checksum: 0,
        time_date_stamp: 0,
        version_info: [0; 13],
        cv_record: &[],
        misc_record: &[],
    };
    let mut keep = ModuleWriteFlags::from_bits_retain(0xd);
    let said = script.ask(Ask::Module {
        module,
        keep: &mut keep,
    });
    (said, keep.bits())
}

fn memory(script: &mut Script) -> (bool, u64, u32) {
    let mut wanted = MemoryAnswer::default();
    let said = script.ask(Ask::Memory { wanted: &mut wanted });
    (said, wanted.base, wanted.size)
}

fn vm_start(script: &mut Script) -> (bool, Hresult) {
    let mut status = Hresult::E_NOTIMPL;
    let said = script.ask(Ask::VmStart { status: &mut status });
    (said, status)
}

fn region(script: &mut Script, base: u64, size: u64) -> (bool, RegionAnswer) {
    let region = MemoryInfo {
        base_address: base,
        region_size: size,
        state: 0x1000,
        protect: 4,
        ..MemoryInfo::default()
    };
    let mut answer = RegionAnswer { region, cont: false };
    let said = script.ask(Ask::IncludeVmRegion { answer: &mut answer });
    (said, answer)
}

fn query(script: &mut Script, offset: u64) -> (bool, VmQueryAnswer) {
    let mut answer = VmQueryAnswer {
        status: Hresult::E_NOTIMPL,
        region: MemoryInfo::default(),
    };
    let said = script.ask(Ask::VmQuery {
        offset,
        answer: &mut answer,
    });
    (said, answer)
}

/// The status, the number of completed bytes and the buffer, which held the numbers from 0.
fn pre_read(script: &mut Script, offset: u64, size: u8) -> (Hresult, u32, Vec<u8>) {
    let mut buffer: Vec<u8> = (0..size).collect();
    let mut answer = VmReadAnswer {
        status: Hresult::E_NOTIMPL,
        completed: 0,
    };
    assert!(script.ask(Ask::VmPreRead {
        offset,
        buffer: &mut buffer,
        answer: &mut answer
    }));
    (answer.status, answer.completed, buffer)
}

fn post_read(script: &mut Script, offset: u64, completed: u32, status: Hresult) -> (Hresult, u32, Vec<u8>) {
    let mut buffer: Vec<u8> = (0..16).collect();
    let mut answer = VmReadAnswer {
        status: Hresult::E_NOTIMPL,
        completed,
    };
    assert!(script.ask(Ask::VmPostRead {
        offset,
        buffer: &mut buffer,
        completed,
        status,
        answer: &mut answer
    }));
    (answer.status, answer.completed, buffer)
}

fn write(script: &mut Script, offset: u64, bytes: &[u8]) -> (bool, Hresult) {
    let mut status = Hresult::E_FAIL;
    let said = script.ask(Ask::IoWriteAll {
        handle: 0,
        offset,
        bytes,
        status: &mut status,
    });
    (said, status)
}
