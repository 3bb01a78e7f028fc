//! Certificates: the servers want this client's, and this client wants theirs.

use crate::{
    bank::{MINUTE, Pair, config, options, transfer},
    cluster::{Cluster, INSTALL},
};
use pmem_replica::{Error, Primary, async_nats::ConnectOptions};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// An authority, and a certificate that it has signed, as files `NAME-ca.pem`, `NAME.pem` and `NAME.key`. `None` where there is no `openssl`.
fn certificates(folder: &Path, name: &str) -> Option<[PathBuf; 3]> {
    let file = |ending: &str| folder.join(format!("{name}{ending}"));
    let run = |arguments: &str| {
        let arguments = arguments.replace('@', &file("").display().to_string());
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    std::fs::write(
        file(".ext"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n",
    )
    .unwrap();
    let made = run(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority -keyout @-ca.key -out @-ca.pem",
    ) && run(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=pool -keyout @.key -out @.csr",
    ) && run(
        "x509 -req -in @.csr -CA @-ca.pem -CAkey @-ca.key -CAcreateserial -days 2 -extfile @.ext -out @.pem",
    );
    made.then(|| ["-ca.pem", ".pem", ".key"].map(file))
}

#[test]
fn without_the_right_certificates_nothing_connects() {
    let folder = tempfile::tempdir().unwrap();
    let made = (certificates(folder.path(), "right"), certificates(folder.path(), "foreign"));
    let (Some([ca, cert, key]), Some([foreign_ca, foreign_cert, foreign_key])) = made else {
        println!(
            "SKIPPED: openssl is missing; install it (Debian, Ubuntu: apt-get install openssl) and run this again"
        );
        return;
    };
    let tls = format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }}");
    let Some(servers) = Cluster::start_with(&tls) else {
        println!("SKIPPED: {INSTALL}");
        return;
    };
    type Files<'a> = (&'a PathBuf, Option<(&'a PathBuf, &'a PathBuf)>);
    let with = |(ca, own): Files<'_>| {
        let (ca, own) = (ca.clone(), own.map(|(cert, key)| (cert.clone(), key.clone())));
        config(&servers, "certified").connect_with(move || {
            let options = ConnectOptions::new().require_tls(true).add_root_certificates(ca.clone());
            match own.clone() {
                Some((cert, key)) => options.add_client_certificate(cert, key),
                None => options,
            }
        })
    };
    let wrong = [
        ("nothing", config(&servers, "certified")),
        ("no certificate", with((&ca, None))),
        ("another authority's certificate", with((&ca, Some((&foreign_cert, &foreign_key))))),
        ("servers of another authority", with((&foreign_ca, Some((&cert, &key))))),
    ];
    for (what, wrong) in wrong {
        let pair = Pair::new(wrong.patience(Duration::ZERO));
        // SAFETY: files of this test alone.
        let refused = unsafe { Primary::create(pair.path("primary"), &options(), &pair.config) };
        assert!(matches!(refused, Err(Error::Unreachable { .. })), "{what}: {refused:?}");
    }
    let pair = Pair::new(with((&ca, Some((&cert, &key)))));
    let primary = pair.create();
    let follower = pair.seed(&primary, "follower");
    transfer(primary.pool()).unwrap();
    assert!(follower.wait_for(primary.status().committed, MINUTE), "{follower:?}");
}
