//! Wildcard patterns for the names of modules and threads.

/// Whether a module's path matches a pattern. `*` matches any number of characters, `?` exactly
/// one.
///
/// A pattern without a folder is compared with the last part of the path, a pattern with a folder
/// with the whole path. For Windows paths the case of ASCII letters is ignored, as Windows does.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let is_windows = path.contains('\\');
    let subject = if pattern.contains(['/', '\\']) {
        path
    } else {
        path.rsplit(['/', '\\']).next().unwrap_or(path)
    };
    let fold = |text: &str| -> Vec<char> {
        text.chars()
            .map(|c| if is_windows { c.to_ascii_lowercase() } else { c })
            .collect()
    };
    matches_all(&fold(pattern), &fold(subject))
}

/// Whether a text, such as the name of a thread, matches a pattern. The characters are compared as
/// they are.
pub(crate) fn matches_text(pattern: &str, text: &str) -> bool {
    let characters = |text: &str| text.chars().collect::<Vec<_>>();
    matches_all(&characters(pattern), &characters(text))
}

/// Matches with backtracking. Only the last star has to be tried with more characters.
fn matches_all(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    retry = Some((after_star, from + 1));
                    (p, t) = (after_star, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::{matches, matches_text};

    #[test]
    fn names_of_threads_have_no_folders() {
        assert!(matches_text("kworker*", "kworker/0:1"));
        assert!(!matches_text("0:1", "kworker/0:1"));
        assert!(!matches_text("Worker", "worker"));
    }

    #[test]
    fn names_folders_and_case() {
        for (pattern, path, expected) in [
            ("libc.so*", "/usr/lib/libc.so.6", true),
            ("libc.so*", "/usr/lib/musl-libc.so.6", false),
            ("*c.so*", "/usr/lib/musl-libc.so.6", true),
            ("/usr/*/libc.so.?", "/usr/lib/libc.so.6", true),
            ("lib/libc.so.6", "/usr/lib/libc.so.6", false),
            ("LIBC*", "/usr/lib/libc.so.6", false),
            ("KERNEL32.dll", r"C:\Windows\System32\kernel32.DLL", true),
            (r"c:\windows\*", r"C:\Windows\System32\kernel32.dll", true),
            ("*", "linux-gate.so", true),
            ("", "program", false),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "axxbyybz", false),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
