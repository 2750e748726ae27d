//! MiscInfo: process id and times, clock rates, time zone, build texts (generation 4); in dumps with extended contexts also
//! where these have what (generation 5).
//!
//! The only place for the process id that all readers know.

use dumpwright_callback::SecondaryFlags;
use dumpwright_target::{CpuContext, Power, TimeZone};
use minidump_common::format::{
    MINIDUMP_MISC_INFO_4, MiscInfoFlags, SYSTEMTIME, TIME_ZONE_INFORMATION, XSTATE_CONFIG_FEATURE_MSC_INFO,
    XSTATE_FEATURE,
};

use super::{BlockId, Pieces, Plan, Snapshot};
use crate::format;

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &Pieces) -> BlockId {
    let process = snapshot.process.as_ref();
    let times = process.and_then(|process| process.times);
    let power = process
        .and_then(|process| process.power)
        .filter(|_| !snapshot.secondary.contains(SecondaryFlags::WITHOUT_POWER_INFO));
    let time_zone = process.and_then(|process| process.time_zone.clone());
    let mut flags = MiscInfoFlags::MINIDUMP_MISC1_PROCESS_ID | MiscInfoFlags::MINIDUMP_MISC4_BUILDSTRING;
    flags.set(MiscInfoFlags::MINIDUMP_MISC1_PROCESS_TIMES, times.is_some());
    flags.set(
        MiscInfoFlags::MINIDUMP_MISC1_PROCESSOR_POWER_INFO,
        power.is_some(),
    );
    flags.set(MiscInfoFlags::MINIDUMP_MISC3_TIMEZONE, time_zone.is_some());
    let [process_create_time, process_user_time, process_kernel_time] = times.unwrap_or_default();
    // What has no bit is zero; DbgHelp leaves what its memory held.
    let power = power.unwrap_or(Power {
        max_mhz: 0,
        current_mhz: 0,
        limit_mhz: 0,
    });
    let build = snapshot
        .system
        .as_ref()
        .map_or("", |system| system.build.as_str());
    let extended = extended_state(snapshot);
    // Names the writer, with the processor as DbgHelp has it. No version: the same process gives the same dump whichever
    // release wrote it.
    let writer = snapshot.system.as_ref().map_or_else(
        || "dumpwright".to_owned(),
        |system| format!("dumpwright,{}", system.cpu.name()),
    );
    let mut bytes = format::bytes([MINIDUMP_MISC_INFO_4 {
        size_of_info: if extended.is_some() { 1364 } else { 832 },
        flags1: flags.bits(),
        process_id: snapshot.process_id,
        process_create_time,
        process_user_time,
        process_kernel_time,
        processor_max_mhz: power.max_mhz,
        processor_current_mhz: power.current_mhz,
        processor_mhz_limit: power.limit_mhz,
        processor_max_idle_state: 0,
        processor_current_idle_state: 0,
        process_integrity_level: 0,
        process_execute_flags: 0,
        protected_process: 0,
        time_zone_id: time_zone.as_ref().map_or(0, |zone| zone.id),
        time_zone: zone_record(time_zone),
        build_string: fixed(build),
        dbg_bld_str: fixed(&writer),
    }]);
    if let Some(extended) = extended {
        bytes.extend(format::bytes([extended]));
        // ProcessCookie, which only Windows has; its bit is not set.
        bytes.extend([0; 4]);
    }
    plan.bytes(bytes)
}

/// Where extended contexts have what, if any thread has one. Readers hold `ContextSize` against the contexts' own size.
fn extended_state(snapshot: &Snapshot) -> Option<XSTATE_CONFIG_FEATURE_MSC_INFO> {
    let layout = snapshot.system.as_ref()?.extended_state.as_ref()?;
    let mut contexts = snapshot
        .threads
        .iter()
        .filter_map(|kept| kept.thread.context.as_ref());
    if !contexts.any(CpuContext::is_extended) {
        return None;
    }
    let mut record = XSTATE_CONFIG_FEATURE_MSC_INFO {
        context_size: u32::try_from(layout.context_size()).expect("below 64 KiB"),
        enabled_features: layout.enabled(),
        ..XSTATE_CONFIG_FEATURE_MSC_INFO::default()
    };
    for feature in layout.features() {
        record.features[usize::from(feature.number)] = XSTATE_FEATURE {
            offset: feature.offset,
            size: feature.size,
        };
    }
    Some(record)
}

fn zone_record(zone: Option<TimeZone>) -> TIME_ZONE_INFORMATION {
    let Some(zone) = zone else {
        return TIME_ZONE_INFORMATION::default();
    };
    TIME_ZONE_INFORMATION {
        bias: zone.bias,
        standard_name: fixed(&zone.name),
        daylight_name: fixed(&zone.name),
        standard_date: SYSTEMTIME::default(),
        standard_bias: 0,
        daylight_date: SYSTEMTIME::default(),
        daylight_bias: 0,
    }
}

/// A text in a field of fixed size, cut off to leave a NUL.
fn fixed<const N: usize>(text: &str) -> [u16; N] {
    let mut units = [0; N];
    for (unit, place) in text.encode_utf16().zip(&mut units[..N - 1]) {
        *place = unit;
    }
    units
}
