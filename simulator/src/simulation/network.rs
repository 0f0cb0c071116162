//! The network, and the ends of it.
//!
//! Bytes of one connection and direction arrive in order, late, and in other pieces than they were sent, as with TCP; or from
//! some instant on not at all, and each side learns of that in its own time, or never.

use fieldpost_firmware::Input;
use fieldpost_protocol::{BootId, Downlink, Receipt, SeqRange};

use super::{
    event::Event,
    mqtt::{self, Heard},
    net::{ConnId, End, GatewayEnd, pipe},
    promise::Fact,
    run::Run,
    tasks::TaskId,
};
use crate::check::ledger::RecordId;

/// Seconds; a device pings twice as often.
const KEEP_ALIVE_S: u16 = 60;

/// One connection on its way.
pub(super) struct Conn {
    device: usize,
    /// The gateway's end and the session that has it.
    gateway: Option<(GatewayEnd, TaskId)>,
    /// Or it ends at the broker.
    is_at_broker: bool,
    /// One-way delay, ms.
    delay_ms: u64,
    /// When the last bytes arrive that were sent so far, each way.
    up_at_ms: u64,
    down_at_ms: u64,
    /// From here on bytes are lost, each way.
    up_is_cut: bool,
    down_is_cut: bool,
    /// What is under way to the gateway is lost too.
    up_is_lost: bool,
}

impl Run<'_> {
    fn reaches_gateway(&self, device: usize) -> bool {
        !self.everybody_is_cut_off && !self.bodies[device].is_out_of_reach
    }

    fn delay_ms(&mut self, conn: ConnId) -> u64 {
        let base_ms = self.conns.get(&conn).map_or(0, |conn| conn.delay_ms);
        let jitter_ms =
            if self.network.happens(0.05) { self.network.index(1_500) } else { self.network.index(20) };
        base_ms + jitter_ms as u64
    }

    pub(super) fn dial(&mut self, device: usize) {
        let conn = self.next_conn;
        self.next_conn += 1;
        let delay_ms = 2 + self.network.index(80) as u64;
        self.conns.insert(
            conn,
            Conn {
                device,
                gateway: None,
                is_at_broker: false,
                delay_ms,
                up_at_ms: self.now_ms,
                down_at_ms: self.now_ms,
                up_is_cut: false,
                down_is_cut: false,
                up_is_lost: false,
            },
        );
        self.bodies[device].link = super::body::Link::on(conn);
        // Out of reach, the device hears nothing and gives up by itself.
        if self.reaches_gateway(device) {
            let delay_ms = 2 * self.delay_ms(conn);
            self.events.add(self.now_ms + delay_ms, Event::Arrive { conn });
        }
    }

    pub(super) fn arrive(&mut self, conn: ConnId) {
        let delay_ms = self.delay_ms(conn);
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        if entry.up_is_cut {
            return;
        }
        if self.bodies[entry.device].key.is_some() {
            entry.is_at_broker = self.broker.welcome(conn, entry.device);
            let answer = if entry.is_at_broker { Event::Open { conn } } else { Event::DownEnd { conn } };
            self.events.add(self.now_ms + delay_ms, answer);
            return;
        }
        let Some(gateway) = &self.gateway else {
            self.events.add(self.now_ms + delay_ms, Event::DownEnd { conn });
            return;
        };
        let (end, pipe) = pipe(conn, &self.touched);
        let identity = self.bodies[entry.device].identity.clone();
        let task = self.tasks.spawn(gateway.door.serve(pipe, identity));
        entry.gateway = Some((end, task));
        self.events.add(self.now_ms + delay_ms, Event::Open { conn });
    }

    pub(super) fn open(&mut self, conn: ConnId) {
        let Some(device) = self.device_on(conn) else { return };
        let body = &self.bodies[device];
        // A device that has just started has no session of its own to resume.
        let clean_start =
            body.device.as_ref().is_some_and(|device| device.uplink_counters().connections == 0);
        let connect = mqtt::connect(body.identity.device.as_str(), KEEP_ALIVE_S, clean_start);
        self.send_up(conn, &connect);
        self.events.add(self.now_ms + u64::from(KEEP_ALIVE_S) * 500, Event::Ping { conn });
    }

    pub(super) fn ping(&mut self, conn: ConnId) {
        if self.device_on(conn).is_some() {
            self.send_up(conn, &mqtt::ping());
            self.events.add(self.now_ms + u64::from(KEEP_ALIVE_S) * 500, Event::Ping { conn });
        }
    }

    /// The device that still uses the connection.
    fn device_on(&self, conn: ConnId) -> Option<usize> {
        let device = self.conns.get(&conn)?.device;
        (self.bodies[device].link.conn == Some(conn)).then_some(device)
    }

    pub(super) fn send_up(&mut self, conn: ConnId, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece =
                if self.network.happens(0.1) { 1 + self.network.index(rest.len()) } else { rest.len() };
            let delay_ms = self.delay_ms(conn);
            let Some(entry) = self.conns.get_mut(&conn) else { return };
            if entry.up_is_cut {
                return;
            }
            entry.up_at_ms = entry.up_at_ms.max(self.now_ms + delay_ms);
            self.events.add(entry.up_at_ms, Event::Up { conn, bytes: rest[..piece].to_vec() });
            rest = &rest[piece..];
        }
    }

    pub(super) fn up(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(Conn { gateway, is_at_broker, up_is_lost: false, .. }) = self.conns.get(&conn) else {
            return;
        };
        if *is_at_broker {
            self.broker_hears(conn, bytes);
            return;
        }
        let Some((end, _)) = gateway else { return };
        self.trace.note(
            self.now_ms,
            b'u',
            bytes,
            format_args!("conn {conn} -> gateway: {} bytes", bytes.len()),
        );
        end.arrive(bytes);
    }

    pub(super) fn up_end(&mut self, conn: ConnId, is_lost: bool) {
        self.broker.forget_guest(conn);
        if let Some(Conn { gateway: Some((end, _)), .. }) = self.conns.get(&conn) {
            end.end(if is_lost { End::Lost } else { End::Closed });
        }
    }

    /// The broker sends bytes to a device.
    pub(super) fn send_down(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let delay_ms = self.delay_ms(conn);
        let Some(entry) = self.conns.get_mut(&conn).filter(|entry| !entry.down_is_cut) else { return };
        entry.down_at_ms = entry.down_at_ms.max(self.now_ms + delay_ms);
        self.events.add(entry.down_at_ms, Event::Down { conn, bytes });
    }

    /// The broker's end of a connection died with the broker, whose kernel says so.
    pub(super) fn broker_is_gone(&mut self, conn: ConnId) {
        let delay_ms = self.delay_ms(conn);
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        entry.up_is_cut = true;
        if !entry.down_is_cut {
            let at_ms = entry.down_at_ms.max(self.now_ms + delay_ms);
            self.events.add(at_ms, Event::DownEnd { conn });
        }
    }

    /// Puts what the gateway wrote on the network. True if there was something.
    pub(super) fn carry_away(&mut self) -> bool {
        let touched = self.take_touched();
        for conn in &touched {
            let delay_ms = self.delay_ms(*conn);
            let Some(entry) = self.conns.get_mut(conn) else { continue };
            let Some((end, _)) = &entry.gateway else { continue };
            let written = end.take();
            entry.down_at_ms = entry.down_at_ms.max(self.now_ms + delay_ms);
            let at_ms = entry.down_at_ms;
            if !written.bytes.is_empty() {
                if entry.down_is_cut {
                    end.delivered(written.bytes.len());
                } else {
                    self.events.add(at_ms, Event::Down { conn: *conn, bytes: written.bytes });
                }
            }
            if written.is_closed {
                if !entry.down_is_cut {
                    self.events.add(at_ms, Event::DownEnd { conn: *conn });
                }
                entry.gateway = None;
            }
        }
        !touched.is_empty()
    }

    pub(super) fn down(&mut self, conn: ConnId, bytes: &[u8]) {
        if let Some(Conn { gateway: Some((end, _)), .. }) = self.conns.get(&conn) {
            end.delivered(bytes.len());
        }
        let Some(device) = self.device_on(conn) else { return };
        self.trace.note(
            self.now_ms,
            b'd',
            bytes,
            format_args!("conn {conn} -> device: {} bytes", bytes.len()),
        );
        self.bodies[device].link.received.extend_from_slice(bytes);
        while let Some((heard, used)) = mqtt::take(&self.bodies[device].link.received) {
            self.bodies[device].link.received.drain(..used);
            self.hear(device, conn, heard);
            if self.device_on(conn).is_none() {
                return;
            }
        }
    }

    fn hear(&mut self, device: usize, conn: ConnId, heard: Heard) {
        match heard {
            Heard::Connected { accepted: true, session_present } => {
                self.bodies[device].link.is_up = true;
                self.tell(device, Input::Connected { session_present });
            }
            Heard::Connected { .. } | Heard::End => self.down_end(conn),
            Heard::Acknowledged { packet_id, refused } => {
                let Some((handle, records)) = self.bodies[device].link.in_flight.remove(&packet_id) else {
                    return;
                };
                if refused {
                    self.tell(device, Input::Refused(handle));
                } else {
                    // A broker's word says nothing.
                    if self.bodies[device].key.is_none() {
                        self.are_stored(&records);
                    }
                    self.tell(device, Input::Acknowledged(handle));
                }
            }
            Heard::Message { packet_id, payload } => {
                self.note_told(device, &payload);
                if let Some(packet_id) = packet_id {
                    self.send_up(conn, &mqtt::acknowledge(packet_id));
                }
                self.tell(device, Input::Downlink(&payload));
            }
            Heard::Nothing => {}
        }
    }

    /// What a message to a device says of its records.
    fn note_told(&mut self, device: usize, payload: &[u8]) {
        let heard = match self.bodies[device].key {
            Some(key) => key.open_down(payload).ok(),
            None => Downlink::decode(payload).ok(),
        };
        let id = |boot: BootId, seq: u32| RecordId { device, boot: boot.0, seq };
        let (receipt, records): (_, Vec<_>) = match heard {
            Some(Downlink::Receipts(said)) => {
                let range = |range: &SeqRange| range.first.0..=range.first.0.saturating_add(range.more);
                (said.receipt, said.ranges.iter().flat_map(range).map(|seq| id(said.boot, seq)).collect())
            }
            Some(Downlink::Proven(said)) => {
                (said.receipt, said.records.iter().map(|record| id(said.boot, record.seq.0)).collect())
            }
            _ => return,
        };
        if receipt == Receipt::Stored {
            self.are_stored(&records);
        } else {
            records.iter().for_each(|alarm| self.know(&Fact::Told { receipt, alarm: *alarm }));
        }
    }

    fn are_stored(&mut self, records: &[RecordId]) {
        self.note_records(b'A', "STORED", records);
        self.know(&Fact::Stored(records));
    }

    /// The device learns that its connection is over.
    pub(super) fn down_end(&mut self, conn: ConnId) {
        if let Some(device) = self.device_on(conn) {
            self.bodies[device].link = super::body::Link::default();
            self.close_up(conn);
            self.tell(device, Input::Disconnected);
        }
    }

    /// The device's end closes; the gateway learns of it after what was sent before.
    pub(super) fn close_up(&mut self, conn: ConnId) {
        let delay_ms = self.delay_ms(conn);
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        if !entry.up_is_cut {
            entry.up_is_cut = true;
            let at_ms = entry.up_at_ms.max(self.now_ms + delay_ms);
            self.events.add(at_ms, Event::UpEnd { conn, is_lost: false });
        }
    }

    /// The connection breaks. What is under way may still arrive; each side learns of it late, or only by its silence.
    pub(super) fn cut(&mut self, conn: ConnId) {
        let (gateway_learns_ms, device_learns_ms) = (self.network.index(90_000), self.network.index(30_000));
        let (both_learn, up_arrives) = (self.network.happens(0.7), self.network.happens(0.5));
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        self.trace.note(self.now_ms, b'X', &[], format_args!("conn {conn} breaks"));
        (entry.up_is_cut, entry.down_is_cut) = (true, true);
        entry.up_is_lost = !up_arrives;
        self.events.add(self.now_ms + gateway_learns_ms as u64, Event::UpEnd { conn, is_lost: true });
        if both_learn {
            self.events.add(self.now_ms + device_learns_ms as u64, Event::DownEnd { conn });
        }
    }

    pub(super) fn cut_off(&mut self, device: usize) {
        if let Some(conn) = self.bodies[device].link.conn {
            self.cut(conn);
        }
    }

    /// The gateway's end of a connection died with the gateway. `says_so`: its kernel closes the connection.
    pub(super) fn gateway_end_is_gone(&mut self, conn: ConnId, says_so: bool) {
        let silence_ms = if says_so { 0 } else { self.network.index(60_000) as u64 };
        let delay_ms = self.delay_ms(conn);
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        let Some((_, task)) = entry.gateway.take() else { return };
        entry.up_is_cut = true;
        let at_ms = entry.down_at_ms.max(self.now_ms + delay_ms) + silence_ms;
        self.tasks.drop(task);
        self.events.add(at_ms, Event::DownEnd { conn });
    }
}
