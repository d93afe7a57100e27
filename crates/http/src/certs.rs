//! Certificates of single hosts, kept as docker and podman keep them: `DIR/HOST[:PORT]/*.crt` are authorities that are
//! trusted besides the machine's, `NAME.cert` and `NAME.key` are what we show.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use reimage_castore::read_dir_sorted;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::HttpError;

/// What one host is reached with.
#[derive(Debug, Default)]
pub(crate) struct Certs {
    authorities: Vec<Certificate<'static>>,
    client: Option<ClientCert>,
}

impl Certs {
    /// What the first of `directories` that knows a host has for it; with its port it is known better.
    pub(crate) fn of(directories: &[PathBuf], host: &str, port: u16) -> Result<Self, HttpError> {
        for name in [format!("{host}:{port}"), host.to_owned()] {
            for directory in directories {
                let directory = directory.join(&name);
                match read_dir_sorted(&directory) {
                    Ok(files) => {
                        let mut certs = Self::default();
                        for file in files {
                            certs.add(&file.path())?;
                        }
                        return Ok(certs);
                    }
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(HttpError::Certificate { path: directory, source }),
                }
            }
        }
        Ok(Self::default())
    }

    fn add(&mut self, path: &Path) -> Result<(), HttpError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => self.authorities.extend(certificates(path)?),
            Some("cert") => {
                let chain = certificates(path)?;
                let key = key(&path.with_extension("key"))?;
                self.client = Some(ClientCert::new_with_certs(&chain, key));
            }
            _ => {}
        }
        Ok(())
    }

    /// TLS with them.
    pub(crate) fn tls(&self) -> TlsConfig {
        let roots = if self.authorities.is_empty() {
            RootCerts::PlatformVerifier
        } else {
            let machine = rustls_native_certs::load_native_certs().certs;
            let machine = machine.iter().map(|cert| Certificate::from_der(cert).to_owned());
            RootCerts::Specific(Arc::new(machine.chain(self.authorities.clone()).collect()))
        };
        TlsConfig::builder()
            .root_certs(roots)
            .client_cert(self.client.clone())
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build()
    }
}

fn items(path: &Path) -> Result<Vec<PemItem<'static>>, HttpError> {
    let failed = |source| HttpError::Certificate { path: path.to_owned(), source };
    let bytes = fs_err::read(path).map_err(failed)?;
    let items = parse_pem(&bytes).collect::<Result<_, _>>();
    items.map_err(|e| failed(io::Error::new(io::ErrorKind::InvalidData, e)))
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, HttpError> {
    let certificates = items(path)?.into_iter().filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() {
        let source = io::Error::new(io::ErrorKind::InvalidData, "there is no certificate in it");
        return Err(HttpError::Certificate { path: path.to_owned(), source });
    }
    Ok(certificates)
}

fn key(path: &Path) -> Result<PrivateKey<'static>, HttpError> {
    let key = items(path)?.into_iter().find_map(|item| match item {
        PemItem::PrivateKey(key) => Some(key),
        _ => None,
    });
    key.ok_or_else(|| {
        let source = io::Error::new(io::ErrorKind::InvalidData, "there is no private key in it");
        HttpError::Certificate { path: path.to_owned(), source }
    })
}
