//! The control room as an operator has it: the one-time link, the live stream, the acknowledgement.
//!
//! Source: `gateway/src/http`. Blocking, one request after the other; the stream has a thread of its own.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use ureq::Agent;

use super::Gateway;
use crate::Failure;

/// What the page has been shown since it was opened.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// The newest view of each unit, by `force/device`.
    pub units: BTreeMap<String, Value>,
    /// Every place a device was shown at, in order: (device, device time in Unix ms, latitude, longitude).
    pub track: Vec<(String, u64, f64, f64)>,
    /// The newest view of each alarm, by id.
    pub alarms: BTreeMap<String, Value>,
    /// The stream has ended.
    pub ended: bool,
}

/// An operator at a page.
#[derive(Debug)]
pub struct Page {
    agent: Agent,
    base: String,
    cookie: String,
    shown: Arc<(Mutex<Shown>, Condvar)>,
}

impl Gateway {
    /// Opens the live page as operator `name`.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn open_page(&self, name: &str) -> Result<Page, Failure> {
        let config = self.config().display().to_string();
        let link = self.command(&["login", "-c", &config, "--operator", name])?;
        let (_, token) = link.trim().split_once("/login?").ok_or_else(|| unexpected(&link))?;
        let base = format!("http://{}", self.addresses.control_room);
        let settings = Agent::config_builder().max_redirects(0).http_status_as_error(false).build();
        let agent: Agent = settings.into();
        let answer = agent.get(format!("{base}/login?{token}")).call().map_err(unexpected)?;
        let cookie = answer.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok());
        let cookie = cookie
            .and_then(|cookie| cookie.split(';').next())
            .ok_or_else(|| unexpected("login without a cookie"))?;
        let page = Page { cookie: cookie.to_owned(), agent, base, shown: Arc::default() };
        page.follow()?;
        Ok(page)
    }
}

impl Page {
    /// Waits until what is shown satisfies `is_right`, and returns what it found.
    ///
    /// # Errors
    /// [`Failure::Late`].
    pub fn wait_until<T>(
        &self,
        awaited: &str,
        wait: Duration,
        mut is_right: impl FnMut(&Shown) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + wait;
        let mut shown = lock(&self.shown.0);
        loop {
            if let Some(found) = is_right(&shown) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || shown.ended {
                let seen = format!(
                    "alarms {:?}, {} places, stream ended: {}",
                    shown.alarms,
                    shown.track.len(),
                    shown.ended
                );
                return Err(Failure::Late { awaited: awaited.to_owned(), waited: wait, seen });
            }
            shown = self.shown.1.wait_timeout(shown, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Acknowledges an alarm and returns its view.
    ///
    /// # Errors
    /// [`Failure`] if the control room does not take it.
    pub fn acknowledge(&self, alarm: &str) -> Result<Value, Failure> {
        let post = self.agent.post(format!("{}/api/v1/alarms/acknowledge", self.base));
        let post = post
            .header("Cookie", &self.cookie)
            .header("Origin", &self.base)
            .header("X-Fieldpost", "1")
            .header("Content-Type", "application/json");
        let mut answer = post.send(json!({ "id": alarm }).to_string()).map_err(unexpected)?;
        let text = answer.body_mut().read_to_string().map_err(unexpected)?;
        if !answer.status().is_success() {
            return Err(unexpected(format!("acknowledge answered {}: {text}", answer.status())));
        }
        serde_json::from_str(&text).map_err(unexpected)
    }

    /// Reads the stream on a thread until it ends.
    fn follow(&self) -> Result<(), Failure> {
        let get = self.agent.get(format!("{}/api/v1/stream", self.base)).header("Cookie", &self.cookie);
        let answer = get.call().map_err(unexpected)?;
        if !answer.status().is_success() {
            return Err(unexpected(format!("the stream answered {}", answer.status())));
        }
        let shown = Arc::clone(&self.shown);
        thread::spawn(move || {
            let mut event = String::new();
            for line in BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok) {
                if let Some(name) = line.strip_prefix("event:") {
                    name.trim().clone_into(&mut event);
                } else if let Some(data) = line.strip_prefix("data:")
                    && let Ok(data) = serde_json::from_str(data)
                {
                    lock(&shown.0).take(&event, data);
                    shown.1.notify_all();
                }
            }
            lock(&shown.0).ended = true;
            shown.1.notify_all();
        });
        Ok(())
    }
}

impl Shown {
    fn take(&mut self, event: &str, data: Value) {
        match (event, data) {
            ("units", Value::Array(units)) => units.into_iter().for_each(|unit| self.take_unit(unit)),
            ("alarm", alarm) => {
                if let Some(id) = alarm["id"].as_str() {
                    self.alarms.insert(id.to_owned(), alarm);
                }
            }
            _ => {}
        }
    }

    fn take_unit(&mut self, unit: Value) {
        let place = &unit["position"];
        if let (Some(device), Some(time_ms), Some(lat), Some(lon)) = (
            unit["device"].as_str(),
            place["device_time_ms"].as_u64(),
            place["lat"].as_f64(),
            place["lon"].as_f64(),
        ) {
            let place = (device.to_owned(), time_ms, lat, lon);
            if self.track.last() != Some(&place) {
                self.track.push(place);
            }
        }
        if let Some(id) = unit["id"].as_str() {
            self.units.insert(id.to_owned(), unit);
        }
    }
}

fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    // A panic elsewhere leaves whole events behind.
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unexpected(what: impl ToString) -> Failure {
    Failure::child("gateway", what)
}
