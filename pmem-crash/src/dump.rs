//! Writes the image of a failure to files, for whoever wants to look at it with other tools.

use crate::Image;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The variable that names the folder.
const VARIABLE: &str = "PMEM_CRASH_DUMP";

/// The name of the file for what `PMEM_CRASH_IMAGE` calls an image (`NAME#1/3+0:1`).
fn dump_name(image: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "+-.".contains(c) { c } else { '_' };
    // A place may be long; a name on most filesystems has 255 bytes.
    format!("{}.left", image.chars().map(plain).take(200).collect::<String>())
}

/// Writes `left` and `visible` to the folder that the environment names, if it names one. Returns where `left` is.
pub(crate) fn write(name: &str, place: &str, left: &Image, visible: &Image) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os(VARIABLE)?);
    Some(write_to(&folder, name, place, left, visible).unwrap_or_else(|error| failed(&folder, &error)))
}

/// Writes the account of the failure beside its image.
pub(crate) fn write_account(left: &Path, account: &str) {
    fs::write(left.with_extension("txt"), account).unwrap_or_else(|error| failed(left, &error));
}

fn failed(path: &Path, error: &io::Error) -> ! {
    panic!("{VARIABLE}: {}: {error}", path.display())
}

fn write_to(folder: &Path, name: &str, place: &str, left: &Image, visible: &Image) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join(dump_name(&format!("{name}#{place}")));
    fs::write(&path, left.bytes())?;
    fs::write(path.with_extension("stored"), visible.bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_written_beside_what_was_stored_and_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let (left, visible) = (Image::new(vec![1; 64]), Image::new(vec![2; 64]));
        let path = write_to(folder.path(), "a/b", "1/3+0:1", &left, &visible).unwrap();
        write_account(&path, "wrong");
        assert_eq!(path.file_name().unwrap(), "a_b_1_3+0_1.left");
        assert_eq!(fs::read(&path).unwrap(), left.bytes());
        assert_eq!(fs::read(path.with_extension("stored")).unwrap(), visible.bytes());
        assert_eq!(fs::read(path.with_extension("txt")).unwrap(), b"wrong");
        write_to(folder.path(), &"long".repeat(100), "1/1+", &left, &visible).unwrap();
    }
}
