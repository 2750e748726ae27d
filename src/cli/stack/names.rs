//! Names of functions: symbol tables, and names as programmers write them.

use object::{Object, ObjectSymbol, SymbolKind};

/// The maximum number of functions of one binary. Web browsers have a million.
const MOST_FUNCTIONS: usize = 4 << 20;
/// The maximum length in bytes of a name that is decoded. C++ templates have names of some
/// thousands of characters.
const LONGEST_NAME: usize = 16 << 10;

/// The functions of a binary, sorted by address.
#[derive(Default)]
pub(super) struct Functions(Vec<NamedFunction>);

struct NamedFunction {
    start: u64,
    /// The first address after the function. It equals `start` if the size is unknown.
    end: u64,
    rank: u8,
    name: Box<[u8]>,
}

impl Functions {
    /// Adds the functions of a file from all its tables.
    pub(super) fn add<'data>(&mut self, file: &object::File<'data, impl object::ReadRef<'data>>) {
        for symbol in file.symbols().chain(file.dynamic_symbols()) {
            if !symbol.is_definition() || symbol.kind() != SymbolKind::Text {
                continue;
            }
            let size = symbol.size();
            if let Ok(name) = symbol.name_bytes() {
                self.push(symbol.address(), size, name, symbol.is_local());
            }
        }
        // PE files have few other symbols.
        if !matches!(file, object::File::Pe64(_) | object::File::Pe32(_)) {
            return;
        }
        let Ok(exports) = file.exports() else { return };
        for export in exports.flatten() {
            if let (object::NameOrOrdinal::Name(name), object::ExportTarget::Address { address, .. }) =
                (export.name(), export.target())
            {
                self.push(address, 0, name, false);
            }
        }
    }

    fn push(&mut self, start: u64, size: u64, name: &[u8], is_local: bool) {
        // A version may follow the name, as in `memcpy@@GLIBC_2.14`.
        let name = name.split(|byte| *byte == b'@').next().unwrap_or_default();
        if name.is_empty() || start == 0 || self.0.len() >= MOST_FUNCTIONS {
            return;
        }
        // Several names may have one address. The name for programs is the one with the fewest
        // underscores, such as `poll` for `__poll` and `__libc_poll`.
        let underscores = name.iter().take_while(|byte| **byte == b'_').count().min(20);
        let is_mangled = name.starts_with(b"_Z") || name.starts_with(b"_R");
        let rank = if is_mangled { 0 } else { underscores as u8 };
        self.0.push(NamedFunction {
            start,
            end: start.saturating_add(size),
            rank: rank * 2 + u8::from(is_local),
            name: name.into(),
        });
    }

    /// Sorts the functions. Of several at one address, the best name remains.
    pub(super) fn finish(&mut self) {
        self.0.sort_by(|a, b| {
            let key = |function: &NamedFunction| (function.start, function.rank, function.name.len());
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        self.0.dedup_by(|later, first| {
            let is_same = later.start == first.start;
            if is_same {
                first.end = first.end.max(later.end);
            }
            is_same
        });
        self.0.shrink_to_fit();
    }

    /// Returns the name of the function that contains an address, and its start.
    pub(super) fn find(&self, address: u64) -> Option<(String, u64)> {
        let behind = self.0.partition_point(|function| function.start <= address);
        // A function of unknown size ends where the next one begins.
        let function = self.0.get(behind.checked_sub(1)?)?;
        let is_inside = address < function.end || function.end == function.start;
        is_inside.then(|| (readable(&function.name), function.start))
    }
}

/// Returns a name as a programmer writes it, if it is one of Rust or C++.
fn readable(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if name.len() > LONGEST_NAME {
        return name.into_owned();
    }
    // Without the hash at the end, which differs between builds.
    if let Ok(rust) = rustc_demangle::try_demangle(&name) {
        return format!("{rust:#}");
    }
    let cpp = cpp_demangle::Symbol::new(name.as_bytes());
    match cpp.map(|symbol| symbol.demangle()) {
        Ok(Ok(name)) => name,
        _ => name.into_owned(),
    }
}

/// Returns a name without parameters, template arguments and type of the result, for lists.
///
/// `std::vector<int>::push_back(int const&)` becomes `std::vector::push_back`.
pub(in crate::cli) fn short(name: &str) -> String {
    // Names of operators have the characters that enclose arguments elsewhere. Rust's have no
    // parameters, but types: `<alloc::vec::Vec<T> as core::ops::Drop>::drop`.
    if name.contains("operator") || name.starts_with('<') {
        return name.to_owned();
    }
    // `(anonymous namespace)` is a part of the name.
    const ANONYMOUS: &str = "(anonymous namespace)";
    let mut text = String::new();
    let mut depth = 0_usize;
    let mut rest = name;
    while let Some(letter) = rest.chars().next() {
        if depth == 0 && rest.starts_with(ANONYMOUS) {
            text.push_str(ANONYMOUS);
            rest = &rest[ANONYMOUS.len()..];
            continue;
        }
        match letter {
            '(' if depth == 0 => break,
            '<' => depth += 1,
            '>' if depth > 0 => depth -= 1,
            // A type in front of the name: only functions that are templates have one.
            ' ' if depth == 0 && !text.is_empty() => text.clear(),
            _ if depth == 0 => text.push(letter),
            _ => {}
        }
        rest = &rest[letter.len_utf8()..];
    }
    let text = text.trim_end_matches("::");
    if text.is_empty() {
        name.to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    //! These tests catch names that readers of a trace would not find in their sources.

    use super::*;

    #[test]
    fn names_are_as_programmers_write_them() {
        for (raw, shown) in [
            ("main", "main"),
            ("_ZN4pool6Worker4waitEi", "pool::Worker::wait(int)"),
            (
                "_ZN3std2io5stdio6_print17h0123456789abcdefE",
                "std::io::stdio::_print",
            ),
            ("_RNvC3foo3bar", "foo::bar"),
            ("_Znonsense", "_Znonsense"),
        ] {
            assert_eq!(readable(raw.as_bytes()), shown);
        }
    }

    #[test]
    fn short_names_have_no_arguments() {
        for (name, shown) in [
            ("main", "main"),
            ("pool::Worker::wait(int)", "pool::Worker::wait"),
            (
                "std::vector<int, std::allocator<int> >::push_back(int const&)",
                "std::vector::push_back",
            ),
            ("void pool::run<int>(int)", "pool::run"),
            ("(anonymous namespace)::deep(int)", "(anonymous namespace)::deep"),
            (
                "core::ops::function::FnOnce::call_once{{vtable.shim}}",
                "core::ops::function::FnOnce::call_once{{vtable.shim}}",
            ),
            (
                "<alloc::vec::Vec<T> as core::ops::Drop>::drop",
                "<alloc::vec::Vec<T> as core::ops::Drop>::drop",
            ),
            ("operator new(unsigned long)", "operator new(unsigned long)"),
            ("worker::run::<u32>", "worker::run"),
        ] {
            assert_eq!(short(name), shown);
        }
    }

    #[test]
    fn of_several_names_the_one_for_programs_is_shown() {
        let mut functions = Functions::default();
        for (start, size, name, is_local) in [
            (0x1000, 0x10, "__libc_poll", true),
            (0x1000, 0x10, "__poll", false),
            (0x1000, 0x10, "poll", false),
            (0x2000, 0, "_start", false),
            (0x3000, 0x20, "memcpy@@GLIBC_2.14", false),
        ] {
            functions.push(start, size, name.as_bytes(), is_local);
        }
        functions.finish();
        let name = |address| functions.find(address).map(|(name, _)| name);
        assert_eq!(name(0x1008).as_deref(), Some("poll"));
        assert_eq!(name(0x1010), None, "after its end");
        assert_eq!(name(0x2abc).as_deref(), Some("_start"), "a size of 0 is unknown");
        assert_eq!(name(0x3000).as_deref(), Some("memcpy"));
        assert_eq!(name(0xfff), None);
    }
}
