//! How the process is suspended, and that it is resumed.

use crate::victim::{Victim, complete, dumps, number, word};

#[test]
fn a_thread_that_is_left_out_runs_on_while_all_others_stand() {
    let victim = Victim::start("steady");
    let excluded = number(&victim.thread("named")["id"]).to_string();
    let told = dumps(&[
        "exclude",
        &victim.pid().to_string(),
        &excluded,
        &word(&victim.path("beats")),
        "4",
        &word(&victim.path("victim.dmp")),
    ]);
    assert_eq!(told["threads"], 4, "{told}");
    assert_eq!(told["went_on"], true, "{told}");
    assert_eq!(told["others_stood"], true, "{told}");
    victim.assert_runs(&[0, 1, 2, 4]);
}

/// Wine 8 cannot copy processes. If the system can, the dump is made from the copy; see
/// `platform/windows/snapshot.rs`.
#[test]
fn a_process_that_cannot_be_copied_is_stopped_and_the_report_says_so() {
    let victim = Victim::start("steady");
    let (_, result) = complete(&victim, &["--hold", "clone"]);
    assert_eq!(result["hold"], "stop");
    let notes = result["notes"].as_array().unwrap();
    assert!(
        notes
            .iter()
            .any(|note| note.to_string().contains("stopped, not copied")),
        "{result}"
    );
    victim.assert_runs(&[0, 1, 2, 4]);
}

#[test]
fn full_memory_is_read_while_the_process_stands_and_it_runs_again() {
    let victim = Victim::start("steady");
    let (dump, result) = complete(&victim, &["--type", "full"]);
    assert_eq!(result["hold"], "stop");
    let mark = number(&victim.truth["mark"]);
    assert!(dump.has_memory(mark, 32).unwrap());
    victim.assert_runs(&[0, 1, 2, 4]);
}

/// Makes this many dumps in a row of a process in which everything changes.
fn many(count: usize) {
    let victim = Victim::start("changing");
    let told = dumps(&[
        "repeat",
        &victim.pid().to_string(),
        &count.to_string(),
        &word(&victim.path("victim.dmp")),
    ]);
    println!("{told}");
    assert_eq!(told["failure"], serde_json::Value::Null, "{told}");
    assert_eq!(told["partial"], 0, "{told}");
    assert_eq!(told["left_suspended"], serde_json::json!([]), "{told}");
    assert_eq!(told["handles"], told["handles_after_first"], "{told}");
    assert!(number(&told["handles"]) > 0, "{told}");
    victim.assert_runs(&[0, 1, 2, 3]);
}

#[test]
fn fifty_dumps_in_a_row_leave_nothing_behind() {
    many(50);
}

#[test]
#[ignore = "takes minutes: cargo test --test windows -- --ignored five_hundred"]
fn five_hundred_dumps_in_a_row_leave_nothing_behind() {
    many(500);
}
