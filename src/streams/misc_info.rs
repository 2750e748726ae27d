//! MiscInfo: process id and times, clock rates, time zone, build texts (generation 4); of the fifth generation where there are
//! extended contexts, which it says the layout of, or a cookie.
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
    let cookie = windows.cookie.filter(|_| snapshot.profile.knows_misc_info_5());
    flags.set(MiscInfoFlags::MINIDUMP_MISC5_PROCESS_COOKIE, cookie.is_some());
    let [process_create_time, process_user_time, process_kernel_time] = times.unwrap_or_default();
    // What has no bit is zero; DbgHelp leaves what its memory held.
    let power = power.unwrap_or(Power {
        max_mhz: 0,
        current_mhz: 0,
        limit_mhz: 0,
        max_idle_state: 0,
        current_idle_state: 0,
    });
    let build = snapshot
        .system
        .as_ref()
        .map_or("", |system| system.build.as_str());
    let extended = extended_state(snapshot);
    let fifth = if cookie.is_some() || extended.is_some() {
        fifth_generation(extended.unwrap_or_default(), cookie.unwrap_or(0))
    } else {
        Vec::new()
    };
    // Names the writer, with the processor as DbgHelp has it. No version: the same process gives the same dump whichever
    // release wrote it.
    let writer = snapshot.system.as_ref().map_or_else(
        || "dumpwright".to_owned(),
        |system| format!("dumpwright,{}", system.cpu.name()),
    );
    let fourth = format::bytes([MINIDUMP_MISC_INFO_4 {
        size_of_info: 832 + u32::try_from(fifth.len()).expect("small"),
        flags1: flags.bits(),
        process_id: snapshot.process_id,
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

/// What the fifth generation adds: where extended contexts have what, and the cookie, which only Windows has (0 else, and
/// its bit is not set).
fn fifth_generation(extended: XSTATE_CONFIG_FEATURE_MSC_INFO, cookie: u32) -> Vec<u8> {
    let mut bytes = format::bytes([extended]);
    bytes.extend(cookie.to_le_bytes());
    bytes
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

/// A text in a field of fixed size, cut off to leave a NUL.
fn fixed<const N: usize>(text: &str) -> [u16; N] {
    let mut units = [0; N];
    for (unit, place) in text.encode_utf16().zip(&mut units[..N - 1]) {
        *place = unit;
    }
    units
}
