//! What the command says of itself, and that what it says for programs is JSON, without colours.

mod command;

use command::{json, nova, volume, works, write};
use std::fs;

#[test]
fn every_shell_gets_completions_for_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = works(&["completions", shell]);
        for word in ["mkfs", "fsck", "compact", "corrupt", "--json"] {
            let found = said.contains(word) || said.contains(word.trim_start_matches('-'));
            assert!(found, "{shell}: {word}");
        }
    }
    assert_eq!(nova(&["completions", "dos"]).status.code(), Some(2));
}

#[test]
fn bash_takes_the_completions_and_completes_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let script = write(&folder, "nova.bash", works(&["completions", "bash"]).as_bytes());
    let ask = format!(
        "source {}; COMP_WORDS=(nova pool com); COMP_CWORD=2; _nova nova com pool; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    match std::process::Command::new("bash").args(["-c", &ask]).output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "compact", "{output:?}"),
        Err(error) => println!("skipped: no bash: {error}"),
    }
}

#[test]
fn there_is_a_man_page_for_every_command() {
    let page = works(&["man"]);
    assert!(
        page.contains(".TH nova 1") && page.contains("Exit codes") && page.contains("something is wrong"),
        "{page}"
    );
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("man1");
    works(&["man", dir.to_str().unwrap()]);
    for name in
        ["nova", "nova-mkfs", "nova-fsck", "nova-map", "nova-pool", "nova-pool-scan", "nova-debug-corrupt"]
    {
        let page = fs::read_to_string(dir.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH DESCRIPTION") || page.contains(".SH NAME"), "{name}");
    }
}

#[test]
fn help_says_what_the_exit_codes_mean() {
    let help = works(&["--help"]);
    for line in ["0  done", "1  an error", "2  wrong arguments", "4  something is wrong"] {
        assert!(help.contains(line), "{help}");
    }
}

#[test]
fn whatever_prints_data_prints_it_as_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    let source = write(&folder, "one", b"hello");
    works(&["cp", source.to_str().unwrap(), &format!("{image}:/")]);
    let place = format!("{image}:/one");
    let volume_commands: [&[&str]; 7] = [
        &["info", &image],
        &["df", &image],
        &["ls", &image],
        &["stat", &place],
        &["quota", &image],
        &["map", &image],
        &["fsck", &image],
    ];
    let pool = folder.path().join("pool");
    let pool = pool.to_str().unwrap();
    works(&["pool", "create", pool, "--size", "1M"]);
    let pool_commands: [&[&str]; 6] = [
        &["pool", "info", pool],
        &["pool", "ls", pool],
        &["pool", "check", pool],
        &["pool", "map", pool],
        &["pool", "dump", pool],
        &["pool", "compact", pool],
    ];
    for arguments in volume_commands.into_iter().chain(pool_commands) {
        json(&[arguments, &["--json"]].concat());
    }
    let other = folder.path().join("other");
    assert_eq!(json(&["mkfs", other.to_str().unwrap(), "--size", "16M", "--json"])["bytes"], 16 << 20);
}

#[test]
fn a_check_as_json_has_what_is_wrong_and_the_same_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    works(&["debug", "corrupt", &image, "state", "--force"]);
    let output = nova(&["fsck", "--json", &image]);
    assert_eq!(output.status.code(), Some(4));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["clean"], &said["problems"][0]["offset"]), (&false.into(), &4096.into()));
    let repaired = json(&["fsck", "--repair", "--json", &image]);
    assert_eq!(
        (repaired["repairs"].as_array().unwrap().len(), repaired["left"].as_array().unwrap().len()),
        (1, 0)
    );
    assert_eq!(json(&["fsck", "--json", &image])["clean"], true);
}

#[test]
fn what_no_terminal_reads_has_no_colours() {
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    works(&["debug", "corrupt", &image, "replica", "--force"]);
    for arguments in [&["fsck", &image][..], &["map", &image]] {
        let output = nova(arguments);
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_has_read_enough_ends_it_without_a_word() {
    use std::{os::unix::process::ExitStatusExt, process::Command};
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        Command::new(env!("CARGO_BIN_EXE_nova")).args(["info", &image]).stdout(writer).output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGPIPE));
    assert!(output.stderr.is_empty(), "{output:?}");
}
