//! Archives with the same bytes for the same files.

use std::path::Path;

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::debian::PYTHON;

/// Makes an archive for `tar` of everything in `folder`. The names in it begin with `prefix`. The
/// compression follows from the name of the file: `.tar.gz` or `.tar.xz`.
pub(super) fn tar(shell: &Shell, folder: &Path, prefix: &str, file: &Path, time: u64) -> anyhow::Result<()> {
    let compress = match file.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => "gzip --no-name --best",
        _ => "xz --threads=1",
    };
    let names = format!("s,^\\.,{prefix},");
    let time = format!("@{time}");
    cmd!(
        shell,
        "tar --create --file {file} --use-compress-program {compress} --format=gnu --sort=name --owner=root:0
            --group=root:0 --mtime={time} --transform {names} --directory {folder} ."
    )
    .quiet()
    .run()
    .with_context(|| format!("cannot make {}", file.display()))
}

/// Makes an archive for `zip` of `folder`; the names in it begin with the name of the folder.
pub(super) fn zip(shell: &Shell, folder: &Path, file: &Path, time: u64) -> anyhow::Result<()> {
    shell.remove_path(file)?;
    let time = format!("@{time}");
    cmd!(shell, "find {folder} -exec touch --date={time}")
        .args(["{}", "+"])
        .quiet()
        .run()?;
    let parent = folder.parent().context("the folder is in another one")?;
    let name = folder.file_name().context("the folder has a name")?;
    let _folder = shell.push_dir(parent);
    // The times in the archive are those of the local time zone.
    cmd!(shell, "{PYTHON} -m zipfile --create {file} {name}")
        .env("TZ", "UTC")
        .quiet()
        .run()
        .with_context(|| format!("cannot make {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_same_bytes_each_time() {
        let shell = Shell::new().unwrap();
        let folder = shell.create_temp_dir().unwrap();
        let folder = folder.path();
        let make = |name: &str, order: [&str; 2]| {
            let tree = folder.join(name).join("tree");
            for file in order {
                shell.write_file(tree.join("docs").join(file), file).unwrap();
            }
            let files = ["a.tar.gz", "a.zip"].map(|file| folder.join(name).join(file));
            tar(&shell, &tree, "./usr", &files[0], 1_700_000_000).unwrap();
            zip(&shell, &tree, &files[1], 1_700_000_000).unwrap();
            files
        };
        let first = make("first", ["one", "two"]);
        let second = make("second", ["two", "one"]);
        let listed = cmd!(shell, "tar --list --file").arg(&first[0]).read().unwrap();
        assert_eq!(listed, "./usr/\n./usr/docs/\n./usr/docs/one\n./usr/docs/two");
        let [first, second] = [first, second].map(|files| shell.read_binary_file(&files[0]).unwrap());
        assert_eq!(first, second);
    }
}
