//! Callgrind, a simulator of processors: how many instructions a function executes, exactly.

use crate::Failure;
use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
};

/// glibc chooses its copies by what the processor has: this takes the choices that every x86-64 has, so that the
/// same is counted on all of them.
const BASELINE: &str =
    "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-BMI2,-MOVBE";

fn run(command: &mut Command, what_it_is_for: &str) -> Result<Output, Failure> {
    let output = command
        .output()
        .map_err(|error| format!("{:?}: {error}; {what_it_is_for}", command.get_program()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}\n{said}", output.status).into());
    }
    Ok(output)
}

/// What valgrind says that it is.
pub(crate) fn version() -> Result<String, Failure> {
    let output =
        run(Command::new("valgrind").arg("--version"), "install valgrind, which counts the instructions")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The model of the processor.
pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("unknown", |(_, model)| model).trim().to_owned()
}

/// The compiler of this package, and for which processor it compiles.
pub(crate) fn rustc() -> Result<String, Failure> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    let output =
        run(command.arg("-vV").current_dir(env!("CARGO_MANIFEST_DIR")), "counts are kept with its version")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
    Ok(format!("{}, {host}", text.lines().next().unwrap_or_default()))
}

/// Instructions of one operation: the mean of `operations` of them in a process of their own, whose environment is empty, for its size
/// decides where the stack begins.
pub(crate) fn count(name: &str, operations: u64) -> Result<f64, Failure> {
    let folder = tempfile::tempdir()?;
    let (program, profile) = (env::current_exe()?, folder.path().join("profile"));
    let mut out = std::ffi::OsString::from("--callgrind-out-file=");
    out.push(&profile);
    let mut command = Command::new("valgrind");
    command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).env("GLIBC_TUNABLES", BASELINE);
    command.args(["--tool=callgrind", "--toggle-collect=*count_operations*"]).arg(out);
    run(command.arg(program).arg("--counted").arg(name), "install valgrind")?;
    Ok(total(&profile)? as f64 / operations as f64)
}

/// The instructions of a profile.
fn total(profile: &Path) -> Result<u64, Failure> {
    let text = fs::read_to_string(profile)?;
    let total =
        text.lines().find_map(|line| line.strip_prefix("totals:")).ok_or("the profile has no total")?;
    match total.trim().parse()? {
        0 => Err("nothing was counted: callgrind did not see the function whose name it was given".into()),
        total => Ok(total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_without_instructions_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let of = |text: &str| {
            fs::write(file.path(), text).expect("written");
            total(file.path())
        };
        assert_eq!(of("events: Ir\nfn=(1) f\n1 20\n\ntotals: 20\n").expect("a total"), 20);
        assert!(of("events: Ir\n\ntotals: 0\n").is_err());
        assert!(of("events: Ir\n").is_err());
    }
}
