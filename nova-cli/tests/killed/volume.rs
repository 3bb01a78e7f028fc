//! A volume whose daemon may be killed.

use fastrand::Rng;
use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Times that the daemon is killed.
pub(crate) fn kills() -> usize {
    std::env::var("NOVA_KILLS").map_or(6, |text| text.parse().expect("NOVA_KILLS is a number"))
}

/// Choices, repeatable by the seed that is printed.
pub(crate) fn random() -> Rng {
    let seed = std::env::var("NOVA_KILLS_SEED")
        .map_or_else(|_| fastrand::u64(..), |text| text.parse().expect("NOVA_KILLS_SEED is a number"));
    println!("NOVA_KILLS_SEED={seed}");
    Rng::with_seed(seed)
}

fn nova() -> Command {
    Command::new(env!("CARGO_BIN_EXE_nova"))
}

pub(crate) struct Volume {
    /// Ends last.
    _folder: TempDir,
    image: PathBuf,
    dir: PathBuf,
}

impl Volume {
    /// A new volume; `None`, and a line that says so, where nothing can be mounted.
    pub(crate) fn make(size: &str) -> Option<Volume> {
        if !Path::new("/dev/fuse").exists() {
            println!("skipped: there is no /dev/fuse");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (image, dir) = (folder.path().join("vol.img"), folder.path().join("mnt"));
        std::fs::create_dir(&dir).unwrap();
        assert!(nova().arg("mkfs").arg(&image).args(["--size", size]).output().unwrap().status.success());
        let volume = Volume { _folder: folder, image, dir };
        match volume.try_serve(true) {
            Ok(daemon) => volume.end(daemon),
            Err(said) => {
                println!("skipped: nothing can be mounted here: {said}");
                return None;
            }
        }
        Some(volume)
    }

    /// Where it is mounted.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a daemon, and waits until it serves.
    pub(crate) fn serve(&self, emulated: bool) -> Child {
        self.try_serve(emulated).unwrap_or_else(|said| panic!("it could be mounted before: {said}"))
    }

    fn try_serve(&self, emulated: bool) -> Result<Child, String> {
        let mut child = nova()
            .arg("mount")
            .args(emulated.then_some("--emulate-pmem"))
            .args([&self.image, &self.dir])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.starts_with("mounted ") {
            return Ok(child);
        }
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        Err(said)
    }

    /// After the daemon was killed: takes the mount away, and checks what is left.
    pub(crate) fn bury(&self, mut daemon: Child) {
        daemon.wait().unwrap();
        self.unmount();
        self.check();
    }

    /// Unmounts, and checks.
    pub(crate) fn end(&self, mut daemon: Child) {
        self.unmount();
        assert!(daemon.wait().unwrap().success());
        self.check();
    }

    fn unmount(&self) {
        let done = nova().arg("umount").arg(&self.dir).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn check(&self) {
        let checked = nova().arg("fsck").arg(&self.image).output().unwrap();
        assert!(
            checked.status.success(),
            "{}{}",
            String::from_utf8_lossy(&checked.stdout),
            String::from_utf8_lossy(&checked.stderr)
        );
    }
}

impl Drop for Volume {
    /// A test that fails leaves no mount behind.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = Command::new("umount").arg("-l").arg(&self.dir).stderr(Stdio::null()).status();
        }
    }
}
