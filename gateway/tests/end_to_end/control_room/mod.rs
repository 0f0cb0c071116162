//! The control room, from a browser's side.

mod accounts;
mod alarms;
pub(crate) mod browser;
mod door;
mod emergency;
mod feed;
mod history;
mod ledger;
mod look;
mod map;
mod map_server;
mod past_alarms;
mod past_looks;
mod people;
mod pictures;
mod rebuild;
mod resume;
mod rig;
mod schema;
mod scope;
mod shift;
