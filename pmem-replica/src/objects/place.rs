//! Where objects are: a folder, or an S3 bucket.

use super::{Error, Result};
use opendal::{Operator, services};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Where objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    url: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Folder(PathBuf),
    #[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "only to say that it is not known"))]
    S3 {
        bucket: String,
        prefix: String,
        endpoint: Option<String>,
    },
}

/// Under the folder: what is being written, and has no name yet.
const PARTIAL: &str = ".partial";

impl Place {
    /// A folder (a path, or `file:///path`), or `s3://bucket/prefix`. `endpoint`: of an S3 that is not Amazon's, as `http://host:9000`.
    ///
    /// Credentials and the region of S3 are what the environment says, as for other programs (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_REGION`, profiles).
    ///
    /// # Errors
    ///
    /// [`Error::BadUrl`].
    pub fn parse(url: &str, endpoint: Option<&str>) -> Result<Place> {
        let bad = |why| Error::BadUrl { url: url.into(), why };
        let kind = match url.split_once("://") {
            Some(("file", path)) if path.starts_with('/') => Kind::Folder(path.into()),
            Some(("file", _)) => return Err(bad("a file's URL has three slashes, and a path from the root")),
            Some(("s3", rest)) => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(bad("it names no bucket"));
                }
                let (bucket, prefix) = (bucket.into(), prefix.trim_matches('/').into());
                Kind::S3 { bucket, prefix, endpoint: endpoint.map(str::to_owned) }
            }
            Some(_) => return Err(bad("its scheme is not known")),
            None if url.is_empty() => return Err(bad("it is empty")),
            None => Kind::Folder(url.into()),
        };
        if endpoint.is_some() && matches!(kind, Kind::Folder(_)) {
            return Err(bad("a folder has no endpoint"));
        }
        Ok(Place { url: url.into(), kind })
    }

    /// Its folder, if it is one.
    pub(super) fn folder(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Folder(folder) => Some(folder),
            Kind::S3 { .. } => None,
        }
    }

    /// What a folder has of objects that were not written to their end.
    pub(super) fn partial(&self) -> Option<PathBuf> {
        Some(self.folder()?.join(PARTIAL))
    }

    pub(super) fn operator(&self) -> Result<Operator> {
        let made = match &self.kind {
            Kind::Folder(folder) => {
                let partial = folder.join(PARTIAL);
                let [Some(root), Some(partial)] = [folder.to_str(), partial.to_str()] else {
                    return Err(Error::BadUrl { url: self.url.clone(), why: "its path is no UTF-8" });
                };
                Operator::new(services::Fs::default().root(root).atomic_write_dir(partial))
            }
            #[cfg(feature = "s3")]
            Kind::S3 { bucket, prefix, endpoint } => s3(bucket, prefix, endpoint.as_deref()),
            #[cfg(not(feature = "s3"))]
            Kind::S3 { .. } => return Err(Error::NoS3 { url: self.url.clone() }),
        };
        made.map_err(|source| Error::Storage {
            place: self.url.clone(),
            what: "open",
            path: String::new(),
            source: Box::new(source),
        })
    }
}

#[cfg(feature = "s3")]
fn s3(bucket: &str, prefix: &str, endpoint: Option<&str>) -> opendal::Result<Operator> {
    use opendal::layers::{RetryLayer, TimeoutLayer};
    // An error says that there is a provider already, which is as good.
    _ = rustls::crypto::ring::default_provider().install_default();
    opendal_http_transport_reqwest::install_default();
    let var = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let region = var("AWS_REGION").or_else(|| var("AWS_DEFAULT_REGION"));
    let mut builder = services::S3::default()
        .bucket(bucket)
        .root(&format!("/{prefix}"))
        .region(region.as_deref().unwrap_or("us-east-1"));
    let of_environment = var("AWS_ENDPOINT_URL");
    if let Some(endpoint) = endpoint.or(of_environment.as_deref()) {
        builder = builder.endpoint(endpoint);
    }
    Ok(Operator::new(builder)?.layer(TimeoutLayer::new()).layer(RetryLayer::new().with_jitter()))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        for path in ["/var/backups", "file:///var/backups"] {
            assert_eq!(Place::parse(path, None).unwrap().folder(), Some(Path::new("/var/backups")));
        }
        let kind = |url| Place::parse(url, Some("http://host:9000")).unwrap().kind;
        for url in ["s3://bucket/a/b", "s3://bucket/a/b/"] {
            let (bucket, prefix) = ("bucket".into(), "a/b".into());
            assert_eq!(kind(url), Kind::S3 { bucket, prefix, endpoint: Some("http://host:9000".into()) });
        }
        for bad in ["", "file://relative", "s3://", "s3:///prefix", "http://host"] {
            assert!(matches!(Place::parse(bad, None), Err(Error::BadUrl { .. })), "{bad}");
        }
        assert!(matches!(Place::parse("/folder", Some("http://host")), Err(Error::BadUrl { .. })));
    }
}
