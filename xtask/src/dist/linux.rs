//! The static program for Linux: an archive, and a package for Debian.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use xshell::{Shell, cmd};

use super::notices::{self, Part};
use super::{VERSION, add_texts, archive, debian_package, empty_folder, generate, time_of_files};
use crate::debian::{self, Program};
use crate::packages::target_folder;
use crate::{ci, windows};

const TARGET: &str = "x86_64-unknown-linux-musl";

/// Where Debian has musl's libraries.
const MUSL: &str = "/usr/lib/x86_64-linux-musl";

const PROGRAMS: &[Program] = &[
    Program {
        name: "musl-gcc",
        packages: &["musl-tools"],
    },
    Program {
        name: "xz",
        packages: &["xz-utils"],
    },
];

/// Makes the archive and the package, and tries them. Returns their paths.
pub(super) fn make(shell: &Shell, dist: &Path) -> anyhow::Result<Vec<PathBuf>> {
    debian::install(shell, &debian::missing(shell, PROGRAMS))?;
    windows::install_standard_library(shell)?;
    let program = build(shell)?;
    let version = cmd!(shell, "gcc -dumpversion").quiet().read()?;
    let mut parts = notices::crates(shell, &["dumpwright"], TARGET)?;
    parts.push(Part::with_file(
        shell,
        "musl, the C library",
        "MIT",
        "/usr/share/doc/musl/copyright",
    )?);
    parts.push(Part::with_file(
        shell,
        &format!("libgcc {version}, of which the code to unwind stacks is used"),
        "GPL-3.0-or-later WITH GCC-exception-3.1",
        &format!("/usr/share/doc/gcc-{version}-base/copyright"),
    )?);
    let notices = notices::render("The program dumpwright for Linux", &parts);
    let time = time_of_files(shell)?;

    let name = format!("dumpwright-{VERSION}-x86_64-linux");
    let folder = empty_folder(shell, dist, &name)?;
    add_program(shell, &program, &folder.join("dumpwright"))?;
    add_texts(shell, &folder, &notices)?;
    notices::add_standard_library(shell, &folder)?;
    let man = folder.join("man");
    shell.create_dir(&man)?;
    cmd!(shell, "{program} man {man}").quiet().run()?;
    for (shell_name, file) in [
        ("bash", "dumpwright.bash"),
        ("zsh", "_dumpwright"),
        ("fish", "dumpwright.fish"),
    ] {
        let file = folder.join("completions").join(file);
        generate(shell, &program, &["completions", shell_name], &file)?;
    }
    let tarball = dist.join(format!("{name}.tar.gz"));
    archive::tar(shell, &folder, &name, &tarball, time)?;

    let tree = empty_folder(shell, dist, "debian")?;
    arrange(shell, &folder, &tree)?;
    let package = dist.join(format!("dumpwright_{VERSION}_amd64.deb"));
    debian_package::make(shell, &tree, &package, time)?;
    for folder in [folder, tree] {
        shell.remove_path(folder)?;
    }

    try_archive(shell, &tarball, &name)?;
    try_package(shell, &package)?;
    Ok(vec![tarball, package])
}

/// Builds the static program. Returns its path.
fn build(shell: &Shell) -> anyhow::Result<String> {
    let start = format!("{MUSL}/rcrt1.o");
    ensure!(
        Path::new(&start).is_file(),
        "{start} does not exist; apt-get install musl-dev"
    );
    let unwinder = target_folder(shell).join("musl/unwind");
    make_unwinder(shell, &unwinder)?;
    let arguments = [
        format!("-Lnative={}", unwinder.display()),
        // Before the folders of the compiler, which have the C library of the system.
        format!("-Lnative={MUSL}"),
        // The start file of musl for static programs that can be at any address.
        "-Clink-arg=-nostartfiles".to_owned(),
        format!("-Clink-arg={start}"),
        // They need one another.
        "-Clink-arg=-Wl,--start-group,-lunwind,-lgcc,-lc,--end-group".to_owned(),
    ];
    let flags = format!("target.{TARGET}.rustflags={arguments:?}");
    ci::executable(
        cmd!(
            shell,
            "cargo build --release --locked --config .cargo/musl.toml --config {flags} --package dumpwright
                --bin dumpwright --message-format json-render-diagnostics"
        )
        .env("RUSTC_BOOTSTRAP", "1"),
        "dumpwright",
    )
}

/// Makes a folder with static libraries: the C library, and "unwind", which Rust's standard library
/// is linked with. It expects LLVM's; GCC's has the same functions.
fn make_unwinder(shell: &Shell, folder: &Path) -> anyhow::Result<()> {
    shell.create_dir(folder)?;
    let library = folder.join("libunwind.a");
    let of_gcc = cmd!(shell, "gcc -print-file-name=libgcc_eh.a").quiet().read()?;
    shell.copy_file(of_gcc, &library)?;
    let source = "xtask/src/dist/find_object.c";
    let object = folder.join("find_object.o");
    cmd!(
        shell,
        "musl-gcc -O2 -fPIC -Wall -Wextra -Werror -c {source} -o {object}"
    )
    .run()?;
    cmd!(shell, "ar rs {library} {object}")
        .ignore_stderr()
        .quiet()
        .run()?;
    // At the end of the command, the linker takes shared libraries. It looks for both kinds in one
    // folder after the other, and the folder of musl has both.
    shell.copy_file(format!("{MUSL}/libc.a"), folder.join("libc.a"))?;
    Ok(())
}

fn add_program(shell: &Shell, program: &str, to: &Path) -> anyhow::Result<()> {
    cmd!(shell, "install -D --mode=755 {program} {to}")
        .quiet()
        .run()?;
    Ok(())
}

/// Arranges the files of the archive as in the root of a Debian system.
fn arrange(shell: &Shell, folder: &Path, tree: &Path) -> anyhow::Result<()> {
    let usr = tree.join("usr");
    let share = usr.join("share");
    let doc = share.join("doc/dumpwright");
    let install = |from: PathBuf, to: PathBuf, mode: &str| -> anyhow::Result<()> {
        cmd!(shell, "install -D --mode={mode} {from} {to}")
            .quiet()
            .run()?;
        Ok(())
    };
    install(folder.join("dumpwright"), usr.join("bin/dumpwright"), "755")?;
    for page in shell.read_dir(folder.join("man"))? {
        let name = page.file_name().context("a page has a name")?;
        install(page.clone(), share.join("man/man1").join(name), "644")?;
    }
    let man = share.join("man/man1");
    cmd!(shell, "find {man} -type f -exec gzip --no-name --best")
        .args(["{}", "+"])
        .quiet()
        .run()?;
    for (file, place) in [
        ("dumpwright.bash", "bash-completion/completions/dumpwright"),
        ("_dumpwright", "zsh/vendor-completions/_dumpwright"),
        ("dumpwright.fish", "fish/vendor_completions.d/dumpwright.fish"),
    ] {
        install(folder.join("completions").join(file), share.join(place), "644")?;
    }
    shell.create_dir(&doc)?;
    for entry in shell.read_dir(folder)? {
        let name = entry
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if !["dumpwright", "man", "completions"].contains(&name) {
            cmd!(shell, "cp --recursive {entry} {doc}").quiet().run()?;
        }
    }
    // The file that Debian expects. The licence of dumpwright itself comes first.
    let [own, others] = ["LICENSE-MIT", "THIRD-PARTY.txt"].map(|name| shell.read_file(folder.join(name)));
    shell.write_file(
        doc.join("copyright"),
        format!(
            "dumpwright is licensed under MIT or Apache-2.0 (/usr/share/common-licenses/Apache-2.0), at your option.\n\n\
             {}\n{}",
            own?, others?
        ),
    )?;
    shell.remove_path(doc.join("THIRD-PARTY.txt"))?;
    // The modes do not depend on those of the repository.
    cmd!(shell, "chmod --recursive u=rwX,go=rX {tree}")
        .quiet()
        .run()?;
    Ok(())
}

/// Runs the program of the archive in a folder that has nothing else, and dumps a live process.
fn try_archive(shell: &Shell, tarball: &Path, name: &str) -> anyhow::Result<()> {
    let unpacked = shell.create_temp_dir()?;
    let unpacked = unpacked.path();
    cmd!(shell, "tar --extract --file {tarball} --directory {unpacked}").run()?;
    let program = unpacked.join(name).join("dumpwright");
    let headers = cmd!(shell, "readelf --program-headers --dynamic {program}")
        .quiet()
        .read()?;
    ensure!(
        !headers.contains("INTERP") && !headers.contains("(NEEDED)"),
        "{} needs libraries of the system:\n{headers}",
        program.display()
    );
    ensure!(
        shell.path_exists(unpacked.join(name).join("man/dumpwright-dump.1")),
        "the archive lacks the man page of dumpwright dump"
    );
    let root = shell.create_temp_dir()?;
    add_program(
        shell,
        &program.display().to_string(),
        &root.path().join("dumpwright"),
    )?;
    try_in_root(shell, root.path(), "/dumpwright")?;
    ci::release_dump(shell, &program.display().to_string())
}

/// Installs the package into an empty root, and runs its program there.
fn try_package(shell: &Shell, package: &Path) -> anyhow::Result<()> {
    cmd!(shell, "dpkg-deb --info {package}").run()?;
    let contents = cmd!(shell, "dpkg-deb --contents {package}").quiet().read()?;
    for path in [
        "./usr/bin/dumpwright",
        "./usr/share/man/man1/dumpwright.1.gz",
        "./usr/share/bash-completion/completions/dumpwright",
        "./usr/share/doc/dumpwright/copyright",
    ] {
        ensure!(
            contents
                .lines()
                .any(|line| line.ends_with(path) && line.contains(" root/root ")),
            "the package has no {path}, or it belongs to somebody:\n{contents}"
        );
    }
    let root = shell.create_temp_dir()?;
    let root = root.path();
    for folder in ["info", "updates"] {
        shell.create_dir(root.join("var/lib/dpkg").join(folder))?;
    }
    shell.write_file(root.join("var/lib/dpkg/status"), "")?;
    cmd!(shell, "dpkg --root={root} --log=/dev/null --install {package}").run()?;
    let changed = cmd!(shell, "dpkg --root={root} --verify dumpwright").read()?;
    ensure!(
        changed.is_empty(),
        "the installed files differ from their sums:\n{changed}"
    );
    try_in_root(shell, root, "/usr/bin/dumpwright")
}

/// Runs the program in a root folder that has no library, no `/proc` and no other program.
fn try_in_root(shell: &Shell, root: &Path, program: &str) -> anyhow::Result<()> {
    super::try_commands(|arguments| Ok(cmd!(shell, "chroot {root} {program} {arguments...}").read()?))
}
