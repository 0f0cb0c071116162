//! Whether the gateway does its work, for load balancers, supervisors and the page.
//!
//! **Ready means: a message sent now can be acknowledged, or an alarm at least.** A full spool still takes alarms into its
//! reserve, so it is ready but degraded: taking the gateway out of service would cut exactly those off. Without a reserve it
//! is not ready. A failed spool takes nothing either, and the process ends so that a restart recovers it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;

use crate::config::{Config, TakListener};
use crate::metrics::Metrics;
use crate::spool::{CommitState, Health};

/// Say so two weeks before a certificate that we show, or an authority, expires.
const CERTIFICATE_WARNING_S: i64 = 14 * 86_400;
/// Say so three days before a revocation list expires: a weekend.
const LIST_WARNING_S: i64 = 3 * 86_400;

/// What the gateway knows about its own state. Clones share it; asking is cheap.
#[derive(Debug, Clone)]
pub struct Readiness {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    commits: watch::Receiver<CommitState>,
    metrics: Arc<Metrics>,
    draining: AtomicBool,
    expiries: RwLock<Vec<Expiry>>,
}

/// Something that ends on a date.
#[derive(Debug, Clone)]
struct Expiry {
    name: &'static str,
    at_s: i64,
    warning_s: i64,
    /// What expires with it.
    consequence: &'static str,
}

/// What ends for the clients of `[tak]`.
fn of_tak(listener: &TakListener) -> Vec<Expiry> {
    let mut expiries = vec![
        Expiry {
            name: "the certificate for TAK clients",
            at_s: listener.identity.not_after_s,
            warning_s: CERTIFICATE_WARNING_S,
            consequence: "TAK clients refuse the gateway",
        },
        Expiry {
            name: "the authority of TAK clients",
            at_s: listener.client_authority.not_after_s,
            warning_s: CERTIFICATE_WARNING_S,
            consequence: "the gateway refuses every TAK client",
        },
    ];
    expiries.extend(listener.revocation_list.as_ref().map(|list| Expiry {
        name: "the revocation list of TAK clients",
        at_s: list.next_update_s,
        warning_s: LIST_WARNING_S,
        consequence: "the gateway refuses every TAK client; renew the list",
    }));
    expiries
}

/// The state at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether traffic should be sent here.
    pub ready: bool,
    /// The spool's health.
    pub spool: Health,
    /// What does not work as it should, in words.
    pub degraded: Vec<String>,
}

impl Readiness {
    /// Watches the spool through `commits`; reads forwarders from `metrics` and dates from `config`.
    #[must_use]
    pub fn new(commits: watch::Receiver<CommitState>, metrics: Arc<Metrics>, config: &Config) -> Self {
        let inner = Inner { commits, metrics, draining: AtomicBool::new(false), expiries: RwLock::default() };
        let readiness = Self { inner: Arc::new(inner) };
        readiness.take_dates(config);
        readiness
    }

    /// Takes the dates of new certificates and new revocation lists.
    pub fn take_dates(&self, config: &Config) {
        let front_door = &config.front_door;
        let mut expiries = vec![
            Expiry {
                name: "the front door's certificate",
                at_s: front_door.identity.not_after_s,
                warning_s: CERTIFICATE_WARNING_S,
                consequence: "devices refuse the gateway",
            },
            Expiry {
                name: "the device authority",
                at_s: front_door.device_authority.not_after_s,
                warning_s: CERTIFICATE_WARNING_S,
                consequence: "the gateway refuses every device",
            },
        ];
        if let Some(list) = &front_door.revocation_list {
            expiries.push(Expiry {
                name: "the revocation list",
                at_s: list.next_update_s,
                warning_s: LIST_WARNING_S,
                consequence: "the gateway refuses every device; run `fieldpost pki crl`",
            });
        }
        expiries.extend(config.tak.iter().flat_map(of_tak));
        let service = &self.inner.metrics.service;
        service.certificate_expiry_s.set(front_door.identity.not_after_s);
        service
            .revocation_list_expiry_s
            .set(front_door.revocation_list.as_ref().map_or(0, |list| list.next_update_s));
        *self.inner.expiries.write().unwrap_or_else(PoisonError::into_inner) = expiries;
    }

    /// From now on the gateway is leaving: not ready.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }

    /// The state at `now_s`, unix seconds.
    #[must_use]
    pub fn report(&self, now_s: i64) -> Report {
        self.judge(now_s, true)
    }

    /// `names_sinks`: for whoever runs the gateway; a page is for people of one force.
    fn judge(&self, now_s: i64, names_sinks: bool) -> Report {
        let CommitState { health, stalled, closed, .. } = *self.inner.commits.borrow();
        let draining = self.inner.draining.load(Ordering::Acquire);
        let mut degraded = Vec::new();
        match health {
            Health::Ok => {}
            Health::Full if stalled => {
                degraded
                    .push("the spool is full, the reserve for alarms too: nothing is accepted".to_owned());
            }
            Health::Full => degraded.push("the spool is full: only alarms are accepted".to_owned()),
            Health::Failed => degraded.push("the spool's storage failed: nothing is accepted".to_owned()),
        }
        if draining {
            degraded.push("the gateway is shutting down".to_owned());
        }
        degraded.extend(self.expiring(now_s));
        for forwarder in self.inner.metrics.forward.snapshot() {
            if forwarder.is_failing {
                let (name, lag) = (&forwarder.name, forwarder.lag_records_count);
                degraded.push(match names_sinks {
                    true => format!("sink {name} does not accept: {lag} records wait"),
                    false => "a force system does not accept records".to_owned(),
                });
            }
        }
        degraded.extend(self.inner.metrics.retention.trouble());
        let ready = health != Health::Failed && !stalled && !draining && !closed;
        Report { ready, spool: health, degraded }
    }

    /// What does not work as it should at this moment, in words; for the page.
    #[must_use]
    pub fn degraded(&self) -> Vec<String> {
        let mut degraded = self.judge(now_s(), false).degraded;
        degraded.dedup();
        degraded
    }

    fn expiring(&self, now_s: i64) -> Vec<String> {
        let expiries = self.inner.expiries.read().unwrap_or_else(PoisonError::into_inner);
        let say = |expiry: &Expiry| {
            let Expiry { name, at_s, warning_s, consequence } = expiry;
            let left_s = at_s - now_s;
            match left_s {
                ..0 => Some(format!("{name} has expired: {consequence}")),
                _ if left_s < *warning_s => {
                    Some(format!("{name} expires in {} hours, then {consequence}", left_s / 3600))
                }
                _ => None,
            }
        };
        expiries.iter().filter_map(say).collect()
    }

    /// `/healthz` (the process answers) and `/readyz` (200 or 503, with the reasons as JSON). The reasons name sinks and
    /// dates: for this machine only.
    pub fn routes(&self) -> Router {
        self.routes_with(|report| Json(report).into_response())
    }

    /// The same for whoever can reach the page, without a login: `ready`, `degraded` or `not ready`, and no reason.
    pub fn public_routes(&self) -> Router {
        self.routes_with(|report| report.in_short().into_response())
    }

    fn routes_with(&self, render: fn(Report) -> Response) -> Router {
        let readiness = self.clone();
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(move || async move { readiness.answer(render) }))
    }

    fn answer(&self, render: fn(Report) -> Response) -> Response {
        let report = self.report(now_s());
        let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, render(report)).into_response()
    }
}

impl Report {
    fn in_short(&self) -> &'static str {
        match (self.ready, self.degraded.is_empty()) {
            (true, true) => "ready\n",
            (true, false) => "degraded\n",
            (false, _) => "not ready\n",
        }
    }
}

fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RELEASE_ALL;
    use crate::config::template::TemplateValues;
    use crate::init::{InitOptions, init};
    use crate::spool::Lsn;

    const DAY_S: i64 = 86_400;

    fn readiness(health: Health) -> (Readiness, i64) {
        readiness_of(health, false)
    }

    fn readiness_of(health: Health, stalled: bool) -> (Readiness, i64) {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::load(&init(dir.path(), &InitOptions::default()).unwrap().config).unwrap();
        let list_ends_s = config.front_door.revocation_list.as_ref().unwrap().next_update_s;
        (readiness_with(&config, health, stalled), list_ends_s)
    }

    fn readiness_with(config: &Config, health: Health, stalled: bool) -> Readiness {
        let state = CommitState { committed: Lsn(0), urgent: Lsn(0), health, stalled, closed: false };
        Readiness::new(watch::channel(state).1, Metrics::new(), config)
    }

    #[test]
    fn full_spool_is_ready_for_alarms_and_a_failed_one_for_nothing() {
        let (full, list_ends_s) = readiness(Health::Full);
        let now_s = list_ends_s - 10 * DAY_S;
        let report = full.report(now_s);
        assert!(
            report.ready && report.degraded == ["the spool is full: only alarms are accepted"],
            "{report:?}"
        );
        assert_eq!(report.in_short(), "degraded\n");
        let used_up = readiness_of(Health::Full, true).0.report(now_s);
        assert!(!used_up.ready && used_up.degraded[0].contains("nothing is accepted"), "{used_up:?}");
        assert!(!readiness(Health::Failed).0.report(now_s).ready);
        let (well, _) = readiness(Health::Ok);
        assert_eq!(well.report(now_s), Report { ready: true, spool: Health::Ok, degraded: Vec::new() });
        well.drain();
        assert!(!well.report(now_s).ready, "a leaving gateway gets no new traffic");
    }

    #[test]
    fn dates_are_said_before_they_pass() {
        let (readiness, list_ends_s) = readiness(Health::Ok);
        let said = |now_s| readiness.report(now_s).degraded.join("; ");
        assert_eq!(said(list_ends_s - 4 * DAY_S), "");
        assert!(said(list_ends_s - DAY_S).contains("the revocation list expires in 24 hours"));
        assert!(
            said(list_ends_s + 1)
                .contains("the revocation list has expired: the gateway refuses every device")
        );
        assert!(said(list_ends_s + 5_000 * DAY_S).contains("the device authority has expired"));
    }

    #[test]
    fn dates_of_the_listener_for_tak_clients_are_said_too() {
        let dir = tempfile::tempdir().unwrap();
        let appendix = format!(
            "[tak]\nlisten = \"127.0.0.1:0\"\ncertificate = \"pki/server.pem\"\nkey = \"pki/server.key\"\n\
             client_authority = \"pki/ca.pem\"\nrevocation_list = \"pki/crl.pem\"\n\
             [[tak.client]]\nname = \"room\"\n{RELEASE_ALL}\n"
        );
        let values = TemplateValues { appendix, ..TemplateValues::default() };
        let options = InitOptions { values, ..InitOptions::default() };
        let config = Config::load(&init(dir.path(), &options).unwrap().config).unwrap();
        let list_ends_s = config.tak.as_ref().unwrap().revocation_list.as_ref().unwrap().next_update_s;
        let readiness = readiness_with(&config, Health::Ok, false);
        let said = |now_s| readiness.report(now_s).degraded.join("; ");
        assert_eq!(said(list_ends_s - 4 * DAY_S), "");
        assert!(said(list_ends_s - DAY_S).contains("the revocation list of TAK clients expires in 24 hours"));
        let after = said(list_ends_s + 5_000 * DAY_S);
        for what in [
            "the revocation list of TAK clients",
            "the certificate for TAK clients",
            "the authority of TAK clients",
        ] {
            assert!(after.contains(&format!("{what} has expired")), "{after}");
        }
    }
}
