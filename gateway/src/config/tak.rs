//! `[tak]`: where TAK clients connect to us, and `[[tak.client]]`: who may, and what each is told.
//!
//! **Default deny, twice**: who is not listed does not get in, and who is listed is told only what their release names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use fieldpost_protocol::ForceId;

use super::forward::{add, forward, tak_manner};
use super::material::{Authority, RevocationList};
use super::parse::{loaded, now_s, server_identity};
use super::section::{Located, Section};
use super::{Forward, Sink, TakClient, TakListener, check};
use crate::login::Operator;

/// A name in a certificate; RFC 5280 ends common names there.
const COMMON_NAME_BYTES_MAX: usize = 64;

/// What `[tak]` has come to.
pub(super) type Listening = (TakListener, Located<SocketAddr>);

/// Reads `[tak]`; its clients are outputs like others and join `forwards`. Outer `None`: reported.
pub(super) fn tak(
    root: &Section<'_>,
    served: &BTreeMap<ForceId, String>,
    forwards: &mut Vec<Forward>,
) -> Option<Option<Listening>> {
    if !root.has("tak") {
        return Some(None);
    }
    let section = root.section("tak");
    let listen = section.address("listen", "0.0.0.0:8089");
    let identity = server_identity(&section, true);
    let authority = client_authority(&section);
    let revocation_list = revocation_list(&section, authority.as_ref());
    clients(&section, served, forwards);
    section.finish();
    let listen = listen?;
    let listener = TakListener {
        listen: listen.value,
        identity: Arc::new(identity??),
        client_authority: Arc::new(authority?),
        revocation_list: revocation_list?,
    };
    Some(Some((listener, listen)))
}

fn client_authority(section: &Section<'_>) -> Option<Authority> {
    let help = "name who issues the certificates of TAK clients; keep it apart from the devices' authority";
    let path = section.required_path("client_authority", help)?;
    let authority = loaded(section, &path, Authority::load(&path.value))?;
    check::not_expired(section.report(), &path, authority.not_after_s, now_s());
    Some(authority)
}

/// Outer `None`: reported.
fn revocation_list(
    section: &Section<'_>,
    authority: Option<&Authority>,
) -> Option<Option<Arc<RevocationList>>> {
    let Some(path) = section.path("revocation_list") else { return Some(None) };
    let list = loaded(section, &path, RevocationList::load(&path.value))?;
    check::revocation_list(section.report(), &path, &list, authority, now_s());
    Some(Some(Arc::new(list)))
}

fn clients(section: &Section<'_>, served: &BTreeMap<ForceId, String>, forwards: &mut Vec<Forward>) {
    let entries = section.sections("client");
    if entries.is_empty() {
        section.report().mistake(
            section.origin(),
            "`tak.client` is missing: nobody may connect".to_owned(),
            "add [[tak.client]] with name and release, or take [tak] out",
        );
    }
    let mut names = BTreeSet::new();
    for entry in entries {
        if let Some(forward) = forward(&entry, "client", client, served) {
            if let Sink::TakClient(client) = &forward.sink
                && !names.insert(client.common_name.clone())
            {
                entry.report().mistake(
                    entry.origin(),
                    format!(
                        "`{}`: another client has the common name \"{}\"",
                        entry.name(),
                        client.common_name
                    ),
                    "one entry a certificate: a client is one output",
                );
            }
            add(&entry, forwards, forward);
        }
        entry.finish();
    }
}

fn client(entry: &Section<'_>) -> Option<Sink> {
    let name = entry.required_text("name", "for example name = \"control-room-1\"");
    let common_name = entry.text("common_name").or(name)?;
    let may_acknowledge = entry.boolean("acknowledge", false);
    let manner = tak_manner(entry);
    if common_name.value.is_empty() || common_name.value.len() > COMMON_NAME_BYTES_MAX {
        entry.report().mistake(
            &common_name.origin,
            format!("`{}` must have 1 to {COMMON_NAME_BYTES_MAX} bytes", common_name.key),
            "write the common name in the client's certificate (`openssl x509 -noout -subject -in FILE`)",
        );
        return None;
    }
    let acknowledges_as = if may_acknowledge { Some(operator(entry, &common_name)?) } else { None };
    Some(Sink::TakClient(TakClient { common_name: common_name.value, acknowledges_as, manner }))
}

/// Not a name that an account can be mistaken for: what stands before `@tak` comes from a certificate.
fn operator(entry: &Section<'_>, common_name: &Located<String>) -> Option<Operator> {
    let operator = Operator::try_new(&format!("{}@tak", common_name.value));
    operator
        .map_err(|_| {
            entry.report().mistake(
                &common_name.origin,
                format!("`{}` cannot be an operator's name, which `acknowledge` needs", common_name.key),
                "issue a certificate with at most 60 characters of A-Z a-z 0-9 . _ -, or leave acknowledge out",
            );
        })
        .ok()
}

/// The listener's files, to see whether they have changed.
pub(crate) fn files(listener: &TakListener) -> Vec<&Path> {
    let identity = &listener.identity;
    let mut files = vec![
        identity.certificate_path.as_path(),
        identity.key_path.as_path(),
        listener.client_authority.path.as_path(),
    ];
    files.extend(listener.revocation_list.as_ref().map(|list| list.path.as_path()));
    files
}
