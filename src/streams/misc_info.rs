//! MiscInfo: process id and times, clock rates, time zone, build strings, the layout of extended
//! contexts, the process cookie (generation 5). DbgHelp 6.3.9600 writes generation 4, which lacks
//! the last two.
//!
//! This is the only place where all readers look for the process id.

use dumpwright_callback::SecondaryFlags;
use dumpwright_target::{CpuContext, Power, TimeZone};
use minidump_common::format::{
    MINIDUMP_MISC_INFO_4, MiscInfoFlags, SYSTEMTIME, TIME_ZONE_INFORMATION, XSTATE_CONFIG_FEATURE_MSC_INFO,
    XSTATE_FEATURE,
};

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::format;

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let process = snapshot.facts().process();
    let times = process.and_then(|process| process.times);
    let power = process.and_then(|process| process.power).filter(|_| {
        !snapshot
            .terms()
            .secondary
            .contains(SecondaryFlags::WITHOUT_POWER_INFO)
    });
    let time_zone = process.and_then(|process| process.time_zone.clone());
    let mut flags = MiscInfoFlags::MINIDUMP_MISC1_PROCESS_ID | MiscInfoFlags::MINIDUMP_MISC4_BUILDSTRING;
    flags.set(MiscInfoFlags::MINIDUMP_MISC1_PROCESS_TIMES, times.is_some());
    flags.set(
        MiscInfoFlags::MINIDUMP_MISC1_PROCESSOR_POWER_INFO,
        power.is_some(),
    );
    flags.set(MiscInfoFlags::MINIDUMP_MISC3_TIMEZONE, time_zone.is_some());
    let windows = process.map(|process| process.windows).unwrap_or_default();
    for (flag, value) in [
        (
            MiscInfoFlags::MINIDUMP_MISC3_PROCESS_INTEGRITY,
            windows.integrity_level,
        ),
        (
            MiscInfoFlags::MINIDUMP_MISC3_PROCESS_EXECUTE_FLAGS,
            windows.execute_flags,
        ),
        (
            MiscInfoFlags::MINIDUMP_MISC3_PROTECTED_PROCESS,
            windows.protected_process,
        ),
    ] {
        flags.set(flag, value.is_some());
    }
    let is_fifth = snapshot.terms().profile.writes_misc_info_5();
    let cookie = windows.cookie.filter(|_| is_fifth);
    flags.set(MiscInfoFlags::MINIDUMP_MISC5_PROCESS_COOKIE, cookie.is_some());
    let [process_create_time, process_user_time, process_kernel_time] = times.unwrap_or_default();
    // Fields whose flag is not set are zero. DbgHelp leaves uninitialized memory in them.
    let power = power.unwrap_or(Power {
        max_mhz: 0,
        current_mhz: 0,
        limit_mhz: 0,
        max_idle_state: 0,
        current_idle_state: 0,
    });
    let build = snapshot
        .facts()
        .system()
        .map_or("", |system| system.build.as_str());
    let fifth = if is_fifth {
        fifth_generation(extended_state(snapshot).unwrap_or_default(), cookie.unwrap_or(0))
    } else {
        Vec::new()
    };
    // The name of the writer and the processor, in DbgHelp's format. It contains no version, so
    // that all releases write the same dump of the same process.
    let writer = snapshot.facts().system().map_or_else(
        || "dumpwright".to_owned(),
        |system| format!("dumpwright,{}", system.cpu.name()),
    );
    let fourth = format::bytes([MINIDUMP_MISC_INFO_4 {
        size_of_info: 832 + u32::try_from(fifth.len()).expect("small"),
        flags1: flags.bits(),
        process_id: snapshot.terms().process_id,
        process_create_time,
        process_user_time,
        process_kernel_time,
        processor_max_mhz: power.max_mhz,
        processor_current_mhz: power.current_mhz,
        processor_mhz_limit: power.limit_mhz,
        processor_max_idle_state: power.max_idle_state,
        processor_current_idle_state: power.current_idle_state,
        process_integrity_level: windows.integrity_level.unwrap_or(0),
        process_execute_flags: windows.execute_flags.unwrap_or(0),
        protected_process: windows.protected_process.unwrap_or(0),
        time_zone_id: time_zone.as_ref().map_or(0, |zone| zone.id),
        time_zone: zone_record(time_zone),
        build_string: fixed(build),
        dbg_bld_str: fixed(&writer),
    }]);
    plan.bytes([fourth, fifth].concat())
}

/// Returns the fields of generation 5: the layout of extended contexts, and the cookie. Only
/// Windows has a cookie; otherwise it is 0, and its flag is not set.
fn fifth_generation(extended: XSTATE_CONFIG_FEATURE_MSC_INFO, cookie: u32) -> Vec<u8> {
    let mut bytes = format::bytes([extended]);
    bytes.extend(cookie.to_le_bytes());
    bytes
}

/// Returns the layout of extended contexts, if any thread has one. Readers compare `ContextSize`
/// with the size of the contexts.
fn extended_state(snapshot: &Snapshot) -> Option<XSTATE_CONFIG_FEATURE_MSC_INFO> {
    let layout = snapshot.facts().system()?.extended_state.as_ref()?;
    let mut contexts = snapshot
        .threads()
        .kept()
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
        standard_name: fixed(&zone.standard.name),
        daylight_name: fixed(&zone.daylight.name),
        standard_date: date(zone.standard.begins),
        standard_bias: zone.standard.bias,
        daylight_date: date(zone.daylight.begins),
        daylight_bias: zone.daylight.bias,
    }
}

fn date([year, month, day_of_week, day, hour, minute, second, milliseconds]: [u16; 8]) -> SYSTEMTIME {
    SYSTEMTIME {
        year,
        month,
        day_of_week,
        day,
        hour,
        minute,
        second,
        milliseconds,
    }
}

/// Returns a string for a field of fixed size. It is truncated so that the field ends with a NUL.
fn fixed<const N: usize>(text: &str) -> [u16; N] {
    let mut units = [0; N];
    for (unit, place) in text.encode_utf16().zip(&mut units[..N - 1]) {
        *place = unit;
    }
    units
}
