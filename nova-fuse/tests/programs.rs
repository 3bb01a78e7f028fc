//! Real programs on a mount: whichever of them the machine has. Each run ends with the check of the volume.

use nova_core::{FormatOptions, MountOptions};
use nova_fuse::{Options, Server};
use pmem_map::Mapping;
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Runs `work` on a new volume of 64 MiB, then checks the volume. Says so where it cannot.
fn on_a_volume(program: &str, work: impl FnOnce(&Path)) {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_err() || !Path::new("/dev/fuse").exists() {
        println!("skipped: {program} or /dev/fuse is missing");
        return;
    }
    let nova = FormatOptions::new().format(Mapping::memfd(64 << 20).unwrap(), MountOptions::new()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let server = match Server::mount(nova, folder.path(), &Options::new().threads(2)) {
        Ok(server) => server,
        Err(error) => return println!("skipped: {error}"),
    };
    work(folder.path());
    let nova = server.unmount().unwrap();
    let report = nova.fsck().unwrap();
    assert!(report.is_clean(), "{report}");
    nova.unmount().unwrap();
}

/// Runs a program that has to succeed; what it prints.
fn run(program: &str, folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("GIT_AUTHOR_NAME", "a")
        .env("GIT_AUTHOR_EMAIL", "a@example.org")
        .env("GIT_COMMITTER_NAME", "a")
        .env("GIT_COMMITTER_EMAIL", "a@example.org")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

#[test]
fn git_keeps_a_repository() {
    on_a_volume("git", |folder| {
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
        run("git", folder, &["init", "-q", "repository"]);
        let repository = folder.join("repository");
        for round in 0..10 {
            let to = repository.join(format!("round-{round}"));
            run("cp", folder, &["-r", sources, to.to_str().unwrap()]);
            run("git", &repository, &["add", "-A"]);
            run("git", &repository, &["commit", "-q", "-m", &format!("round {round}")]);
        }
        run("git", folder, &["clone", "-q", "repository", "clone"]);
        run("git", &folder.join("clone"), &["gc", "-q"]);
        run("git", &folder.join("clone"), &["fsck", "--full"]);
        run("diff", folder, &["-r", "repository/round-3", "clone/round-3"]);
    });
}

#[test]
fn sqlite_keeps_a_database_with_a_journal_and_with_a_log() {
    on_a_volume("sqlite3", |folder| {
        for mode in ["delete", "wal"] {
            let database = format!("{mode}.db");
            let script = format!(
                "pragma journal_mode={mode}; create table t(a integer primary key, b text);\n\
                 with recursive n(x) as (select 1 union all select x+1 from n where x < 5000)\n\
                 insert into t select x, hex(randomblob(40)) from n;\n\
                 update t set b = 'even' where a % 2 = 0; delete from t where a % 7 = 0; vacuum;\n\
                 select count(*) from t; pragma integrity_check;"
            );
            let said = run("sqlite3", folder, &[&database, &script]);
            assert!(said.contains("4286") && said.contains("ok"), "{said}");
        }
    });
}

#[test]
fn tar_brings_back_what_it_packed() {
    on_a_volume("tar", |folder| {
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        run("tar", folder, &["-C", sources, "-cf", "packed.tar", "nova-core/src", "pmem-tx/src"]);
        std::fs::create_dir(folder.join("unpacked")).unwrap();
        run("tar", folder, &["-C", "unpacked", "-xf", "packed.tar"]);
        run("diff", folder, &["-r", "unpacked/nova-core/src", &format!("{sources}/nova-core/src")]);
        run("rm", folder, &["-r", "unpacked", "packed.tar"]);
    });
}
