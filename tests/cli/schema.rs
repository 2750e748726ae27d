//! The schema of the object that `show --json` prints: `docs/show.schema.json`.
//!
//! It is generated from the types in this file. Each key that is printed must be in them, and each
//! of their keys must be printed. Python's package `jsonschema` validates the objects.
#![expect(dead_code, reason = "the fields are there for their names and types")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::attempt::{Folder, Outcome, dump, threads};
use crate::support::dumper::dumpwright;
use crate::support::repository;

/// A number as text: 0x and hexadecimal digits.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct Hex(#[schemars(regex(pattern = "^0x[0-9a-f]+$"))] String);

/// Bytes as text: two hexadecimal digits each.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
struct HexBytes(#[schemars(regex(pattern = "^([0-9a-f]{2})*$"))] String);

/// What `dumpwright show --json` prints about a dump.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Show {
    /// The version of this output. It changes when a key gets another meaning or another type, or
    /// is removed.
    #[schemars(range(min = 1, max = 1))]
    version: u32,
    /// The file.
    file: String,
    /// The size of the dump, of a compressed file after decompression.
    bytes: u64,
    header: Header,
    /// The names of the flags in the header, without MiniDump.
    flag_names: Vec<String>,
    /// The directory.
    streams: Vec<Stream>,
    system: Option<System>,
    process: Option<Process>,
    threads: Vec<Thread>,
    modules: Vec<Module>,
    unloaded_modules: Vec<UnloadedModule>,
    memory: Memory,
    compressed_memory: Option<CompressedMemory>,
    compressed_regions: Vec<CompressedRegion>,
    /// The map of the address space.
    regions: Vec<Region>,
    exception: Option<Exception>,
    handles: Vec<Handle>,
    handle_operations: Vec<HandleOperation>,
    function_tables: Vec<FunctionTable>,
    tokens: Vec<Token>,
    system_memory: Option<Counters>,
    vm_counters: Option<Counters>,
    breakpad_info: Option<BreakpadInfo>,
    dso_debug: Option<DsoDebug>,
    /// Files of /proc as text, by the names of their streams.
    texts: BTreeMap<String, String>,
    /// Comments of the caller.
    comments: Vec<String>,
    /// What was missing or left out before the dump was written. By dumpwright, objects with
    /// severity, subject and reason.
    soft_errors: Option<Value>,
    /// Memory that was lost while the dump was being written.
    losses: Vec<Loss>,
    /// Of lists and texts that are not shown in full, the number of entries or bytes that are not
    /// shown.
    left_out: BTreeMap<String, u64>,
    /// Streams that cannot be read, with the reasons.
    problems: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Header {
    version: Hex,
    number_of_streams: u32,
    stream_directory_rva: u32,
    checksum: u32,
    /// Seconds since 1970 (UTC).
    time: u32,
    /// The dump type (MINIDUMP_TYPE).
    flags: Hex,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Stream {
    r#type: Hex,
    name: Option<String>,
    size: u32,
    /// The file offset.
    offset: u32,
}

/// SystemInfo.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct System {
    /// A name, such as amd64, or an object with the key other and a number.
    cpu: Value,
    processor_architecture: u16,
    processor_level: u16,
    processor_revision: Hex,
    number_of_processors: u8,
    product_type: u8,
    /// A name, such as linux, or an object with the key other and a number.
    platform: Value,
    platform_id: Hex,
    major_version: u32,
    minor_version: u32,
    build_number: u32,
    csd_version_rva: u32,
    csd_version: Option<String>,
    suite_mask: Hex,
    cpu_information: Vec<u8>,
}

/// MiscInfo.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Process {
    size_of_info: u32,
    flags: Hex,
    process_id: Option<u32>,
    /// Seconds since 1970 (UTC).
    process_create_time: Option<u32>,
    /// In seconds.
    process_user_time: Option<u32>,
    /// In seconds.
    process_kernel_time: Option<u32>,
    processor_power: Option<ProcessorPower>,
    process_integrity_level: Option<u32>,
    process_execute_flags: Option<u32>,
    protected_process: Option<u32>,
    time_zone: Option<TimeZone>,
    build_string: Option<String>,
    debug_build_string: Option<String>,
    extended_state: Option<XStateLayout>,
    process_cookie: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProcessorPower {
    max_mhz: u32,
    current_mhz: u32,
    mhz_limit: u32,
    max_idle_state: u32,
    current_idle_state: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TimeZone {
    id: u32,
    /// Minutes to add to local time for UTC.
    bias: i32,
    standard_name: String,
    daylight_name: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct XStateLayout {
    context_size: u32,
    enabled_features: Hex,
    features: Vec<XStateFeature>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct XStateFeature {
    number: u8,
    offset: u32,
    size: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Location {
    size: u32,
    /// The file offset.
    rva: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StackDescriptor {
    start: Hex,
    size: u32,
    /// The file offset.
    rva: u32,
}

/// The registers by their names. Of a processor that is not supported, the flags and the number of
/// bytes.
type Registers = BTreeMap<String, Register>;

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Register {
    One(Hex),
    Several(Vec<Hex>),
    Bytes(u64),
    Extended(Option<ExtendedState>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExtendedState {
    in_use: Hex,
    ymm: Vec<Hex>,
    zmm: Vec<Hex>,
    k: Vec<Hex>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Thread {
    record_offset: u64,
    id: u32,
    name: Option<String>,
    suspend_count: u32,
    priority_class: u32,
    priority: i32,
    teb: Hex,
    stack: StackDescriptor,
    backing_store: Option<StackDescriptor>,
    context_location: Location,
    context: Option<Registers>,
    info: Option<ThreadInfo>,
    /// The stack trace, innermost frame first.
    frames: Vec<Frame>,
}

/// The entry of ThreadInfoList.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ThreadInfo {
    record_offset: u64,
    thread_id: u32,
    dump_flags: Hex,
    dump_error: Hex,
    exit_status: Hex,
    /// In units of 100 ns since 1601 (UTC).
    create_time: u64,
    /// In units of 100 ns since 1601 (UTC).
    exit_time: u64,
    /// In units of 100 ns.
    kernel_time: u64,
    /// In units of 100 ns.
    user_time: u64,
    start_address: Hex,
    affinity: Hex,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Frame {
    /// The instruction pointer in the first frame; in the others, the return address.
    address: Hex,
    stack_pointer: Hex,
    module: Option<String>,
    module_offset: Option<u64>,
    function: Option<String>,
    function_offset: Option<u64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Module {
    record_offset: u64,
    base: Hex,
    size: u32,
    checksum: Hex,
    timestamp: Hex,
    dll_characteristics: Hex,
    name_rva: u32,
    name: Option<String>,
    version: Option<String>,
    cv_location: Location,
    code_view: Option<CodeView>,
    debug_id: Option<String>,
    code_id: Option<String>,
}

/// The record that identifies the symbol file.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum CodeView {
    Pdb70 { guid: HexBytes, age: u32, path: String },
    Pdb20 { signature: u32, age: u32, path: String },
    Elf { build_id: HexBytes },
    Raw { bytes: HexBytes },
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UnloadedModule {
    record_offset: u64,
    base: Hex,
    size: u32,
    checksum: Hex,
    timestamp: Hex,
    name_rva: u32,
    name: Option<String>,
}

/// The captured memory.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Memory {
    /// The total size. Null if not all ranges are shown.
    bytes: Option<u64>,
    ranges: Vec<Range>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Range {
    record_offset: u64,
    address: Hex,
    size: u64,
    file_offset: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CompressedMemory {
    record_offset: u64,
    dump_id: Hex,
    process_id: u64,
    transfer_size: u64,
    stream_offset: u64,
    stream_size: u64,
    bytes_read: u64,
    compressed_bytes: u64,
    /// What compression saved, in percent.
    rate: u64,
    regions: u64,
    buckets: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CompressedRegion {
    record_offset: u64,
    address: Hex,
    size: u32,
    bucket: u64,
    offset_in_bucket: u32,
}

/// A region of the address space, with the values of Windows.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Region {
    record_offset: u64,
    base: Hex,
    allocation_base: Hex,
    allocation_protect: Hex,
    size: u64,
    state: Hex,
    protect: Hex,
    kind: Hex,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Exception {
    /// The exception in words.
    description: String,
    thread_id: u32,
    code: Hex,
    flags: Hex,
    record: Hex,
    address: Hex,
    number_of_parameters: u32,
    parameters: Vec<Hex>,
    context_location: Location,
    context: Option<Registers>,
    /// The stack trace from these registers.
    frames: Vec<Frame>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Handle {
    record_offset: u64,
    handle: u64,
    type_name_rva: u32,
    type_name: Option<String>,
    object_name_rva: u32,
    object_name: Option<String>,
    attributes: Hex,
    granted_access: Hex,
    handle_count: u32,
    pointer_count: u32,
    object_info_rva: u32,
    object_information: Vec<ObjectInformation>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ObjectInformation {
    record_offset: u64,
    info_type: u32,
    bytes: Vec<Hex>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HandleOperation {
    record_offset: u64,
    handle: u64,
    process_id: u32,
    thread_id: u32,
    /// 1 open, 2 close, 3 a bad reference.
    operation_type: u32,
    index: u32,
    return_addresses: Vec<Hex>,
}

/// Functions made at run time.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FunctionTable {
    record_offset: u64,
    minimum_address: Hex,
    maximum_address: Hex,
    base_address: Hex,
    entries: Vec<FunctionEntry>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FunctionEntry {
    begin_address: Hex,
    end_address: Hex,
    unwind_info_address: Hex,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Token {
    record_offset: u64,
    id: u32,
    handle: u64,
    session: Option<u32>,
    token_type: Option<u32>,
    user: Option<String>,
    groups: Vec<TokenGroup>,
    primary_group: Option<String>,
    privileges: Vec<TokenPrivilege>,
    restricting: Vec<TokenGroup>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TokenGroup {
    sid: String,
    attributes: Hex,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TokenPrivilege {
    luid: u64,
    attributes: Hex,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Counters {
    revision: u16,
    flags: Hex,
    /// By the names of Windows.
    numbers: BTreeMap<String, u64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BreakpadInfo {
    dump_thread_id: Option<u32>,
    requesting_thread_id: Option<u32>,
}

/// The list of the dynamic linker.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DsoDebug {
    version: u32,
    brk: Hex,
    ldbase: Hex,
    dynamic: Hex,
    link_map: Vec<LinkMapEntry>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LinkMapEntry {
    addr: Hex,
    name_rva: u32,
    name: Option<String>,
    ld: Hex,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Loss {
    record_offset: u64,
    start: Hex,
    length: u64,
    reason: LossReason,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum LossReason {
    ReadFailed,
    TargetExited,
    TargetResumed,
    /// A number that this version does not know.
    Other(u32),
}

fn schema() -> PathBuf {
    repository().join("docs/show.schema.json")
}

#[test]
fn the_documented_schema_is_this_schema() {
    let schema_of_types = serde_json::to_string_pretty(&schemars::schema_for!(Show)).unwrap() + "\n";
    if std::env::var_os("DUMPWRIGHT_BLESS").is_some() {
        fs::write(schema(), &schema_of_types).unwrap();
    }
    let documented = fs::read_to_string(schema()).unwrap_or_default();
    assert!(
        documented == schema_of_types,
        "docs/show.schema.json is old: `cargo xtask bless` renews it"
    );
}

fn show_json(file: &std::path::Path) -> Vec<u8> {
    Outcome::of(dumpwright().arg("show").arg(file).arg("--json"))
        .expect(0)
        .stdout
}

#[test]
fn every_golden_dump_and_a_live_one_conform_to_the_schema() {
    let folder = Folder::new();
    let victim = threads();
    let pid = victim.pid().to_string();
    let [live, crash, lossy] = ["live", "crash", "lossy"].map(|name| folder.file(name));
    Outcome::of(dump().args([&pid, "--type", "mini", "-o"]).arg(&live)).expect(0);
    let program = ["--", "sh", "-c", "kill -SEGV $$"];
    let crashing = ["--exec", "--after", "never", "-o"];
    Outcome::of(dump().args(crashing).arg(&crash).args(program)).expect(0);
    // Memory that fails while it is copied into the file is lost.
    let plain = fs::read_to_string(repository().join("testdata/cases/plain/scenario.toml")).unwrap();
    let scenario = folder.file("scenario.toml");
    let fault = "[[fault]]\nkind = \"unreadable-from\"\nat = \"heap\"\nsize = 0x1000\n";
    fs::write(&scenario, plain + fault).unwrap();
    Outcome::of(
        dump()
            .arg("--scenario")
            .arg(&scenario)
            .args(["--type", "full", "-o"])
            .arg(&lossy),
    )
    .expect(3);
    let cases = fs::read_dir(repository().join("testdata/cases")).unwrap();
    let mut files: Vec<_> = cases
        .map(|case| case.unwrap().path().join("dump.dmp"))
        .filter(|file| file.is_file())
        .collect();
    assert!(files.len() > 80, "{}", files.len());
    files.extend([live, crash, lossy]);
    let mut texts = Vec::new();
    let mut printed = BTreeSet::new();
    for (number, file) in files.iter().enumerate() {
        let text = show_json(file);
        let object: Value = serde_json::from_slice(&text).unwrap();
        keys(&object, &mut printed);
        serde_json::from_slice::<Show>(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let copy = folder.file(&format!("{number}.json"));
        fs::write(&copy, text).unwrap();
        texts.push(copy);
    }
    // The schema has no key that is never printed, except in dumps by other writers: a PDB in the
    // old format, and a reason that this version does not know.
    let documented: Value = serde_json::from_str(&fs::read_to_string(schema()).unwrap()).unwrap();
    let mut described = BTreeSet::new();
    properties(&documented, &mut described);
    let unprinted: Vec<_> = described.difference(&printed).map(String::as_str).collect();
    assert_eq!(unprinted, ["other", "signature"], "described and never printed");
    // An independent implementation of JSON Schema.
    let script = "import json, sys\n\
                  from jsonschema import Draft202012Validator as Validator\n\
                  schema = json.load(open(sys.argv[1]))\n\
                  Validator.check_schema(schema)\n\
                  validator = Validator(schema)\n\
                  for name in sys.argv[2:]:\n    validator.validate(json.load(open(name)))\n\
                  wrong = json.load(open(sys.argv[2]))\n\
                  wrong['header']['flags'] = 7\n\
                  assert not validator.is_valid(wrong)\n";
    let output = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(schema())
        .args(&texts)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{said}\n(Debian's python3-jsonschema: `cargo xtask readers`)"
    );
}

/// All keys of objects.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                found.insert(key.clone());
                keys(value, found);
            }
        }
        Value::Array(entries) => entries.iter().for_each(|entry| keys(entry, found)),
        _ => {}
    }
}

/// All keys that a schema describes.
fn properties(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(entries) => {
            for (key, value) in entries {
                if let (Some(named), "properties") = (value.as_object(), key.as_str()) {
                    found.extend(named.keys().cloned());
                }
                properties(value, found);
            }
        }
        Value::Array(entries) => entries.iter().for_each(|entry| properties(entry, found)),
        _ => {}
    }
}
