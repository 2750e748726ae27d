//! A package for Debian: an archive of `ar` with three members.
//!
//! The format is described in deb(5) of dpkg.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use xshell::{Shell, cmd};

use super::{VERSION, archive};

/// The words that the package has about itself.
const DESCRIPTION: &str = "\
Description: write minidumps of processes, show and check them
 dumpwright writes minidumps as Microsoft's MiniDumpWriteDump does, of live
 processes on Linux. A callback, a script or a policy file decides what a dump
 contains. It shows dumps with the stacks of their threads, compares them, and
 checks them against the rules of the format.
";

/// Makes the package FILE of the tree, which becomes the root of the system.
pub(super) fn make(shell: &Shell, tree: &Path, file: &Path, time: u64) -> anyhow::Result<()> {
    let work = shell.create_temp_dir()?;
    let work = work.path();
    let control = work.join("control");
    shell.write_file(control.join("control"), control_file(installed_kib(shell, tree)?))?;
    let in_tree = shell.push_dir(tree);
    let names = cmd!(shell, "find usr -type f").quiet().read()?;
    let mut names: Vec<_> = names.lines().collect();
    names.sort_unstable();
    let sums = cmd!(shell, "md5sum {names...}").quiet().read()?;
    drop(in_tree);
    shell.write_file(control.join("md5sums"), format!("{sums}\n"))?;
    archive::tar(shell, &control, ".", &work.join("control.tar.xz"), time)?;
    archive::tar(shell, tree, ".", &work.join("data.tar.xz"), time)?;
    shell.write_file(work.join("debian-binary"), "2.0\n")?;
    shell.remove_path(file)?;
    let _work = shell.push_dir(work);
    // D: without times and owners. S: without an index of symbols.
    cmd!(shell, "ar rcDS {file} debian-binary control.tar.xz data.tar.xz")
        .quiet()
        .run()
        .with_context(|| format!("cannot make {}", file.display()))
}

/// The size of the tree in KiB, as Installed-Size counts it.
fn installed_kib(shell: &Shell, tree: &Path) -> anyhow::Result<u64> {
    let text = cmd!(shell, "du --apparent-size --summarize --block-size=1024 {tree}")
        .quiet()
        .read()?;
    let size = text.split_whitespace().next().context("the output of du")?;
    Ok(size.parse()?)
}

fn control_file(installed_kib: u64) -> String {
    let mut text = String::new();
    for (key, value) in [
        ("Package", "dumpwright"),
        ("Version", VERSION),
        ("Architecture", "amd64"),
        ("Maintainer", "dumpwright contributors <dumpwright@localhost>"),
        ("Section", "devel"),
        ("Priority", "optional"),
        ("Suggests", "lldb"),
    ] {
        let _ = writeln!(text, "{key}: {value}");
    }
    let _ = writeln!(text, "Installed-Size: {installed_kib}");
    text + DESCRIPTION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_its_three_members_in_order() {
        let shell = Shell::new().unwrap();
        let folder = shell.create_temp_dir().unwrap();
        let folder = folder.path();
        let tree = folder.join("tree");
        shell.write_file(tree.join("usr/bin/tool"), "program").unwrap();
        let [first, second] = ["first.deb", "second.deb"].map(|name| folder.join(name));
        for file in [&first, &second] {
            make(&shell, &tree, file, 1_700_000_000).unwrap();
        }
        let members = cmd!(shell, "ar t {first}").read().unwrap();
        assert_eq!(members, "debian-binary\ncontrol.tar.xz\ndata.tar.xz");
        let member = |name: &str, file: &str| {
            shell
                .write_file(
                    folder.join(name),
                    cmd!(shell, "ar p {first} {name}").output().unwrap().stdout,
                )
                .unwrap();
            let archive = folder.join(name);
            cmd!(shell, "tar --extract --to-stdout --file {archive} {file}")
                .read()
                .unwrap()
        };
        assert_eq!(member("data.tar.xz", "./usr/bin/tool"), "program");
        // The sum of the text "program".
        let sums = member("control.tar.xz", "./md5sums");
        assert_eq!(sums, "a9c449d4fa44e9e5a41c574ae55ce4d9  usr/bin/tool");
        let control = member("control.tar.xz", "./control");
        assert!(control.starts_with("Package: dumpwright\nVersion: "), "{control}");
        assert!(control.lines().all(|line| line.len() <= 80), "{control}");
        let [first, second] = [first, second].map(|file| shell.read_binary_file(file).unwrap());
        assert!(first == second, "the same files give another package");
    }
}
