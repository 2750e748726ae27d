//! Finds the processes with a name as they start.

use std::collections::HashMap;

use super::super::backend;

/// A process that has not had the name yet is looked at again after 1, 2, 4 … searches, and at last
/// after this many: a process gets its name when it executes its program, some time after its
/// start.
const RAREST: u32 = 64;

/// Finds processes by name. Each search lists all processes, but examines only new ones, and the
/// others from time to time.
#[derive(Debug)]
pub(super) struct Finder {
    name: String,
    known: HashMap<u32, Seen>,
}

#[derive(Debug)]
enum Seen {
    /// It has the name.
    Found,
    /// It has another name: the number of searches until it is looked at again, and from then on.
    Other { left: u32, pause: u32 },
}

impl Finder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            known: HashMap::new(),
        }
    }

    /// Lets a process be found again.
    pub(super) fn forget(&mut self, pid: u32) {
        self.known.remove(&pid);
    }

    /// Returns the processes with the name that earlier searches have not returned.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub(super) fn search(&mut self) -> Result<Vec<u32>, String> {
        let own = std::process::id();
        let mut ids = backend::process_ids()?;
        ids.retain(|pid| *pid != own);
        let has_name =
            |pid: u32| backend::running(pid).is_some_and(|process| process.names.contains(&self.name));
        let mut before = std::mem::take(&mut self.known);
        let mut found = Vec::new();
        for pid in ids {
            let seen = match before.remove(&pid) {
                Some(Seen::Found) => Seen::Found,
                Some(Seen::Other { left, pause }) if left > 1 => Seen::Other {
                    left: left - 1,
                    pause,
                },
                earlier => {
                    let pause = match earlier {
                        Some(Seen::Other { pause, .. }) => (pause * 2).min(RAREST),
                        _ => 1,
                    };
                    if has_name(pid) {
                        found.push(pid);
                        Seen::Found
                    } else {
                        Seen::Other { left: pause, pause }
                    }
                }
            };
            self.known.insert(pid, seen);
        }
        Ok(found)
    }
}
