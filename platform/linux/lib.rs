//! Live Linux processes as dumpwright targets.
#![cfg(target_os = "linux")]
