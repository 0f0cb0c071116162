//! What is in the files that sinks read: authorities, client certificates, keys, credentials, tokens.
//!
//! **A file replaced under its name is noticed at the next reload.** Only digests are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use crate::config::material::PEM_BYTES_MAX;
use crate::config::{Config, Sink, tak};

/// Not a name that an output can have.
const LISTENER: &str = "[tak]";

/// One digest for each sink that reads files, by the sink's name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SinkFiles(BTreeMap<String, Vec<u8>>);

impl SinkFiles {
    /// Reads the files of every sink of `config`, at most [`PEM_BYTES_MAX`] of each. Blocking. A file that cannot be
    /// read is a content of its own.
    #[must_use]
    pub fn read(config: &Config) -> Self {
        let digests = config.forwards.iter().map(|forward| {
            let mut context = Context::new(&SHA256);
            for path in paths(&forward.sink) {
                add(&mut context, &contents(path));
            }
            (forward.name.clone(), context.finish().as_ref().to_vec())
        });
        let mut digests: BTreeMap<_, _> = digests.collect();
        if let Some(listener) = &config.tak {
            let mut context = Context::new(&SHA256);
            tak::files(listener).into_iter().for_each(|path| add(&mut context, &contents(path)));
            digests.insert(LISTENER.to_owned(), context.finish().as_ref().to_vec());
        }
        Self(digests)
    }

    /// Names of the sinks that are in both and whose files are not the same.
    pub fn changed<'a>(&'a self, now: &'a Self) -> impl Iterator<Item = &'a str> {
        let is_other = |name: &String, digest| now.0.get(name).is_some_and(|now| now != digest);
        self.0.iter().filter(move |(name, digest)| is_other(name, *digest)).map(|(name, _)| name.as_str())
    }
}

impl fmt::Debug for SinkFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No digests: they are of secrets too.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn paths(sink: &Sink) -> Vec<&Path> {
    if let Sink::Postgres(server) = sink {
        let client = server.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        return client.chain(&server.password_file).chain(&server.authority).map(PathBuf::as_path).collect();
    }
    let (files, client) = match sink {
        Sink::Nats(nats) => {
            ([nats.credentials.as_deref(), nats.authority.as_deref(), None], nats.client.as_ref())
        }
        Sink::Webhook(webhook) => {
            let secrets = [webhook.bearer_token_file.as_deref(), webhook.signing_keys_file.as_deref()];
            ([webhook.authority.as_deref(), secrets[0], secrets[1]], None)
        }
        Sink::File(_) | Sink::Postgres(_) | Sink::TakClient(_) => ([None, None, None], None),
        Sink::Nmea(nmea) => ([nmea.authority.as_deref(), None, None], nmea.client.as_ref()),
        Sink::Tak(tak) => ([Some(tak.authority.as_path()), None, None], Some(&tak.client)),
    };
    let client = client.into_iter().flat_map(|client| [client.certificate.as_path(), client.key.as_path()]);
    files.into_iter().flatten().chain(client).collect()
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(PEM_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// With its length, so that what moves from one file to the next is a change.
fn add(context: &mut Context, contents: &io::Result<Vec<u8>>) {
    match contents {
        Ok(bytes) => {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        }
        Err(_) => context.update(&u64::MAX.to_be_bytes()),
    }
}
