//! Writes the image of a failure to files, for whoever wants to look at it with other tools.

use crate::Image;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The variable that names the folder.
const VARIABLE: &str = "PMEM_CRASH_DUMP";

/// Writes `left` and `visible`, with what is wrong, to the folder that the environment names, if it names one. Returns
/// where `left` is.
pub(crate) fn write(
    name: &str,
    place: &str,
    left: &Image,
    visible: &Image,
    message: &str,
) -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os(VARIABLE)?);
    let written = write_to(&folder, name, place, left, visible, message);
    Some(written.unwrap_or_else(|error| panic!("{VARIABLE}={}: {error}", folder.display())))
}

fn write_to(
    folder: &Path,
    name: &str,
    place: &str,
    left: &Image,
    visible: &Image,
    message: &str,
) -> io::Result<PathBuf> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "+-.".contains(c) { c } else { '_' };
    // A place may be long; a name on most filesystems has 255 bytes.
    let stem: String = format!("{name} {place}").chars().map(plain).take(200).collect();
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{stem}.left"));
    fs::write(&path, left.bytes())?;
    fs::write(folder.join(format!("{stem}.stored")), visible.bytes())?;
    fs::write(folder.join(format!("{stem}.txt")), message)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_written_beside_what_was_stored_and_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let (left, visible) = (Image::new(vec![1; 64]), Image::new(vec![2; 64]));
        let path = write_to(folder.path(), "a/b", "1/3+0:1", &left, &visible, "wrong").unwrap();
        assert_eq!(path.file_name().unwrap(), "a_b_1_3+0_1.left");
        assert_eq!(fs::read(&path).unwrap(), left.bytes());
        assert_eq!(fs::read(path.with_extension("stored")).unwrap(), visible.bytes());
        assert_eq!(fs::read(path.with_extension("txt")).unwrap(), b"wrong");
        write_to(folder.path(), &"long".repeat(100), "1/1+", &left, &visible, "wrong").unwrap();
    }
}
