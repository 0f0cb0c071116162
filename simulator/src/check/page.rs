//! The live page as a browser uses it: the one-time link, the stream, the acknowledgement.

use std::{collections::BTreeMap, time::Duration};

use http_body_util::BodyExt;
use hyper::{StatusCode, body::Incoming};
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    account::{Account, AccountsPage},
    board::Board,
    http::{Http, HttpError},
};

/// Longest time between two events: the stream has a heartbeat every 2 s.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Longest single event: a snapshot of 100,000 units would be larger than any run here.
const EVENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An alarm as the page has it.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct PageAlarm {
    /// `force/device/boot/seq`.
    pub id: String,
    /// `force/device`.
    pub unit: String,
    /// What the control room calls the unit.
    pub callsign: String,
    /// What raised it.
    pub cause: String,
    /// `unacknowledged` or `acknowledged`.
    pub state: String,
    /// How far the receipt got back: `none`, `queued`, `delivered`.
    pub receipt: String,
}

/// What the page shows at this moment, as far as the checks need it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageState {
    /// Every alarm seen, by id.
    pub alarms: BTreeMap<String, PageAlarm>,
    /// Units with a position.
    pub units_shown: usize,
    /// Unit updates received.
    pub updates: u64,
    /// Times the page was told that it lags.
    pub lagged: u64,
}

#[derive(Deserialize)]
struct PageUnit {
    device: String,
    position: Option<PagePosition>,
}

#[derive(Deserialize)]
struct PagePosition {
    device_time_ms: u64,
}

/// A logged-in page.
#[derive(Debug)]
pub struct Page {
    http: Http,
    stream: Option<Incoming>,
    shown: std::collections::BTreeSet<String>,
    state: watch::Sender<PageState>,
}

/// Acknowledges alarms in the name of the page's operator.
#[derive(Debug, Clone)]
pub struct Operator {
    http: Http,
}

impl Page {
    /// Opens the one-time link `http://host/login?token=..`, then the stream.
    ///
    /// # Errors
    /// [`HttpError`] if the link is not taken or the stream does not open.
    pub async fn open(link: &str) -> Result<Self, HttpError> {
        let shape = |detail: &str| HttpError::Shape("the login link".to_owned(), detail.to_owned());
        let rest = link.strip_prefix("http://").ok_or_else(|| shape("it does not begin with http://"))?;
        let (host, path) = rest.split_once('/').ok_or_else(|| shape("it has no path"))?;
        let mut http = Http::new(host);
        http.log_in(&format!("/{path}")).await?;
        let mut page = Self {
            http,
            stream: None,
            shown: std::collections::BTreeSet::new(),
            state: watch::Sender::new(PageState::default()),
        };
        page.stream = Some(page.open_stream().await?);
        Ok(page)
    }

    /// For acknowledging from elsewhere.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator { http: self.http.clone() }
    }

    /// What the page shows, as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<PageState> {
        self.state.subscribe()
    }

    /// Reads the stream until `stop`, opening it anew when it breaks as a browser would.
    ///
    /// # Errors
    /// [`HttpError`] if it cannot be opened again.
    pub async fn follow(mut self, board: &Board, stop: &CancellationToken) -> Result<(), HttpError> {
        loop {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => tokio::select! {
                    stream = self.open_stream() => stream?,
                    () = stop.cancelled() => return Ok(()),
                },
            };
            tokio::select! {
                () = self.read(&mut stream, board) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    async fn open_stream(&self) -> Result<Incoming, HttpError> {
        let path = "/api/v1/stream";
        let answer = self.http.get(path).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status => Err(HttpError::Status(path.to_owned(), status, String::new())),
        }
    }

    /// Until the stream ends or falls silent.
    async fn read(&mut self, stream: &mut Incoming, board: &Board) {
        let mut buffer: Vec<u8> = Vec::new();
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE_MAX, stream.frame()).await {
            let Some(bytes) = frame.data_ref() else { continue };
            buffer.extend_from_slice(bytes);
            while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = buffer.drain(..end + 2).collect();
                self.take_event(&event, board);
            }
            if buffer.len() > EVENT_BYTES_MAX {
                return;
            }
        }
    }

    fn take_event(&mut self, event: &[u8], board: &Board) {
        let text = String::from_utf8_lossy(event);
        let mut name = "message";
        let mut data = String::new();
        for line in text.lines() {
            if let Some(value) = line.strip_prefix("event:") {
                name = value.trim();
            } else if let Some(value) = line.strip_prefix("data:") {
                data.push_str(value);
            }
        }
        match name {
            "units" => self.take_units(&data, board),
            "alarm" => {
                if let Ok(alarm) = serde_json::from_str::<PageAlarm>(&data) {
                    self.state.send_modify(|state| {
                        state.alarms.insert(alarm.id.clone(), alarm);
                    });
                }
            }
            "lagged" => self.state.send_modify(|state| state.lagged += 1),
            _ => {}
        }
    }

    fn take_units(&mut self, data: &str, board: &Board) {
        let Ok(units) = serde_json::from_str::<Vec<PageUnit>>(data) else { return };
        let now_us = board.now_us();
        let mut ledger = board.ledger();
        for unit in &units {
            let Some(position) = &unit.position else { continue };
            if let Some(device) = ledger.device(&unit.device) {
                ledger.shown(device, position.device_time_ms, now_us);
            }
            if !self.shown.contains(&unit.device) {
                self.shown.insert(unit.device.clone());
            }
        }
        drop(ledger);
        let units_shown = self.shown.len();
        self.state.send_modify(|state| {
            state.units_shown = units_shown;
            state.updates += units.len() as u64;
        });
    }
}

impl Operator {
    /// The gateway's loss ledger, whole, and how many entries of its spool it could not read.
    ///
    /// # Errors
    /// [`HttpError`] if the control room refuses.
    pub async fn accounts(&self) -> Result<(Vec<Account>, u64), HttpError> {
        let mut accounts = Vec::new();
        let mut path = "/api/v1/ledger".to_owned();
        loop {
            let page = self.http.get_json(&path).await?;
            let page: AccountsPage = serde_json::from_value(page)
                .map_err(|error| HttpError::Shape(path.clone(), error.to_string()))?;
            accounts.extend(page.accounts);
            match page.next_after {
                Some(after) => path = format!("/api/v1/ledger?after={after}"),
                None => return Ok((accounts, page.missed)),
            }
        }
    }

    /// Acknowledges an alarm.
    ///
    /// # Errors
    /// [`HttpError`] if the control room refuses; [`HttpError::Status`] with 409 if somebody else was first.
    pub async fn acknowledge(&self, alarm_id: &str) -> Result<PageAlarm, HttpError> {
        let path = "/api/v1/alarms/acknowledge";
        let (status, answer) = self.http.post_json(path, &serde_json::json!({ "id": alarm_id })).await?;
        if status != StatusCode::OK {
            return Err(HttpError::Status(path.to_owned(), status, "somebody else was first".to_owned()));
        }
        serde_json::from_value(answer).map_err(|error| HttpError::Shape(path.to_owned(), error.to_string()))
    }
}
