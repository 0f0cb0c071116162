//! Every call, and what it takes to make it.
//!
//! **A route exists by its row here, and a row says who may.** There is no other way to add one. Whatever is not in the
//! table is a file of the page, for a session of any role.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::routing::MethodRouter;

use self::Needs::{Machine, May, Nothing, Session, Unlocked};
use super::audit;
use super::viewer::Permission;
use super::viewer::Permission::{
    Acknowledge, Assign, Assignments, Close, History, Ledger, Look, Lower, People, Performance, Shelve,
};
use super::viewer::Permission::{AuditExport, AuditRead};
use super::{
    App, alarms, api, assignments, console, enter, feed, guard, history, ledger, login, openapi, page,
    people, reason, stream, tiles, trace,
};

/// What a request must bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it makes a session, or tells nothing.
    Nothing,
    /// A session, whatever its roles.
    Session,
    /// The same, and its console is not locked: whoever passes by says nothing in its operator's name.
    Unlocked,
    /// A session with a role that has the permission.
    May(Permission),
    /// A machine's token, and no session.
    Machine,
}

/// One row.
#[derive(Clone, Copy)]
pub struct Route {
    /// `GET`, `POST`.
    pub verb: &'static str,
    /// As axum writes paths.
    pub path: &'static str,
    /// What a request must bring.
    pub needs: Needs,
    handler: fn() -> MethodRouter<Arc<App>>,
}

macro_rules! table {
    ($($verb:ident $path:literal $needs:expr => $handler:path;)*) => {
        /// Every call.
        pub const ROUTES: &[Route] = &[$(Route {
            verb: verb!($verb),
            path: $path,
            needs: $needs,
            handler: || axum::routing::$verb($handler),
        }),*];
    };
}

macro_rules! verb {
    (get) => {
        "GET"
    };
    (head) => {
        "HEAD"
    };
    (post) => {
        "POST"
    };
    (any) => {
        "*"
    };
}

#[rustfmt::skip]
table! {
    get  "/login"                          Nothing          => login::login;
    head "/login"                          Nothing          => login::preview;
    post "/login"                          Nothing          => enter::form;
    get  "/login.css"                      Nothing          => login::style;
    get  "/favicon.svg"                    Nothing          => page::file;
    post "/api/v1/login"                   Nothing          => enter::call;
    post "/api/v1/logout"                  Session          => console::logout;
    post "/api/v1/password"                Session          => enter::password;
    post "/api/v1/console/lock"            Session          => console::lock;
    post "/api/v1/console/unlock"          Session          => console::unlock;
    get  "/api/v1/session"                 Session          => console::session;
    post "/api/v1/session/reason"          Unlocked         => reason::set;
    get  "/api/v1/units"                   May(Look)        => api::units;
    get  "/api/v1/alarms"                  May(Look)        => alarms::alarms;
    post "/api/v1/alarms/acknowledge"      May(Acknowledge) => alarms::acknowledge;
    post "/api/v1/alarms/shelve"           May(Shelve)      => alarms::shelve;
    post "/api/v1/alarms/unshelve"         May(Shelve)      => alarms::unshelve;
    post "/api/v1/alarms/lower"            May(Lower)       => alarms::lower;
    post "/api/v1/alarms/close"            May(Close)       => alarms::close;
    post "/api/v1/alarms/note"             May(Acknowledge) => alarms::note;
    get  "/api/v1/alarms/timeline"         May(Look)        => alarms::timeline;
    get  "/api/v1/alarms/performance"      May(Performance) => alarms::performance;
    get  "/api/v1/ledger"                  May(Ledger)      => ledger::ledger;
    get  "/api/v1/trace"                   May(Ledger)      => trace::trace;
    get  "/api/v1/history/track"           May(History)     => history::track;
    get  "/api/v1/history/at"              May(History)     => history::at;
    get  "/api/v1/history/units"           May(History)     => history::units;
    get  "/api/v1/history/replay"          May(History)     => history::replay;
    get  "/api/v1/history/alarms"          May(History)     => history::alarms;
    get  "/api/v1/openapi.json"            Session          => openapi::openapi;
    get  "/api/v1/stream"                  May(Look)        => stream::stream;
    get  "/api/v1/feed"                    Machine          => feed::feed;
    get  "/api/v1/assignments"             May(Assignments) => assignments::list;
    post "/api/v1/assignments"             May(Assign)      => assignments::assign;
    get  "/api/v1/people"                  May(People)      => people::list;
    post "/api/v1/people"                  May(People)      => people::add;
    post "/api/v1/people/{name}/disable"   May(People)      => people::disable;
    post "/api/v1/people/{name}/enable"    May(People)      => people::enable;
    post "/api/v1/people/{name}/roles"     May(People)      => people::grant;
    post "/api/v1/people/{name}/password"  May(People)      => people::reset;
    get  "/api/v1/audit/verify"            May(AuditRead)   => audit::verified;
    get  "/api/v1/audit/saw"               May(AuditRead)   => audit::who_saw;
    get  "/api/v1/audit/looks"             May(AuditRead)   => audit::looks_of;
    get  "/api/v1/audit/disclosures"       May(AuditRead)   => audit::disclosures;
    get  "/api/v1/audit/export"            May(AuditExport) => audit::exported;
    get  "/map/streets.json"               Session          => api::streets;
    get  "/map/base.json"                  Session          => tiles::base;
    get  "/map/tiles/{z}/{x}/{y}"          Session          => tiles::tile;
    any  "/api/{*rest}"                    Session          => api::unknown;
}

/// Health of the process; its routes come from outside and tell nothing else.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// The table as a router.
pub(super) fn router() -> Router<Arc<App>> {
    ROUTES.iter().fold(Router::new(), |router, route| {
        let needs = route.needs;
        let permit = from_fn(move |request: Request, next: Next| guard::permit(needs, request, next));
        router.route(route.path, (route.handler)().layer(permit))
    })
}

/// Whether a path is served to machines.
pub(super) fn is_for_machines(path: &str) -> bool {
    ROUTES.iter().any(|route| route.needs == Machine && route.path == path)
}

/// Whether a path is served without a session.
pub(super) fn is_public(path: &str) -> bool {
    let mut public = ROUTES.iter().filter(|route| route.needs == Nothing).map(|route| route.path);
    HEALTH.contains(&path) || public.any(|open| open == path)
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?}", self.verb, self.path, self.needs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_public_in_all_its_rows_or_in_none() {
        for route in ROUTES {
            assert_eq!(is_public(route.path), route.needs == Nothing, "{route:?}");
        }
    }
}
