//! The devices: their power, what they sense, and what their logic asks for.

use fieldpost_firmware::{AlarmId, FrameBuffer, Input, Notice, Output};
use fieldpost_protocol::{Receipt, limits::FRAME_BYTES_MAX, topic};

use super::{event::Event, key, mqtt, promise::Fact, run::Run};
use crate::check::ledger::RecordId;

impl Run<'_> {
    pub(super) fn power_on(&mut self, device: usize) {
        self.bodies[device].start(self.now_ms);
        let body = &mut self.bodies[device];
        let life = body.life;
        self.trace.note(self.now_ms, b'P', &[device as u8], format_args!("device {device} starts"));
        self.events.add(self.now_ms + 1 + self.plan.fix_ms, Event::Sense { device, life });
        self.pump(device);
    }

    /// Power goes; the gateway's end of its connection hears nothing.
    pub(super) fn power_off(&mut self, device: usize) {
        if let Some(conn) = self.bodies[device].link.conn {
            self.cut(conn);
        }
        self.trace.note(self.now_ms, b'p', &[device as u8], format_args!("device {device} loses power"));
        self.bodies[device].stop();
        let dark_ms = 100 + self.trouble.index(20_000) as u64;
        self.events.add(self.now_ms + dark_ms, Event::PowerOn { device });
    }

    pub(super) fn sense(&mut self, device: usize, life: u32) {
        if self.bodies[device].life != life || self.is_healed {
            return;
        }
        let fix = self.bodies[device].next_fix(self.now_ms);
        let body = &mut self.bodies[device];
        let local_ms = body.local_ms(self.now_ms);
        let coin = body.dice.index(self.plan.coin_sides);
        if let Some(device) = &mut body.device {
            device.on_fix(local_ms, &fix);
            match coin {
                0 => device.on_button(local_ms, false),
                1 => device.on_cancel(local_ms),
                2 => device.on_battery(
                    local_ms,
                    (fix.satellites * 7) % 100,
                    fieldpost_protocol::Power::BATTERY,
                ),
                _ => {}
            }
        }
        let next_ms = 1 + body.dice.index(2 * self.plan.fix_ms as usize) as u64;
        self.events.add(self.now_ms + next_ms, Event::Sense { device, life });
        self.pump(device);
    }

    pub(super) fn poll_due(&mut self, device: usize, life: u32) {
        if self.bodies[device].life == life {
            self.bodies[device].poll_at_ms = None;
            self.pump(device);
        }
    }

    pub(super) fn tell(&mut self, device: usize, input: Input<'_>) {
        let local_ms = self.bodies[device].local_ms(self.now_ms);
        if let Some(logic) = &mut self.bodies[device].device {
            logic.handle(local_ms, input);
        }
        self.pump(device);
    }

    /// Carries out whatever the device asks for, until it asks for nothing or its power goes.
    fn pump(&mut self, device: usize) {
        let mut frame: FrameBuffer = [0; FRAME_BYTES_MAX];
        loop {
            if self.bodies[device].flash.is_dead() {
                if self.bodies[device].device.is_some() {
                    self.power_off(device);
                }
                return;
            }
            let body = &mut self.bodies[device];
            let local_ms = body.local_ms(self.now_ms);
            let Some(logic) = &mut body.device else { return };
            let dice = &mut body.dice;
            let mut random = || (dice.number() >> 32) as u32;
            let output = logic.poll(local_ms, &mut random, &mut frame);
            // What a device says after its power has gone nobody hears.
            if body.flash.is_dead() {
                continue;
            }
            let Some(output) = output else { break };
            match output {
                Output::Connect => self.dial(device),
                Output::HangUp(_) => {
                    if let Some(conn) = std::mem::take(&mut body.link).conn {
                        self.close_up(conn);
                    }
                }
                Output::Subscribe => self.subscribe(device),
                Output::Notice(notice) => self.notice(device, &notice),
                Output::Publish { handle, lane, frame } => {
                    let Some(conn) = body.link.conn else { continue };
                    let packet_id = body.link.next_packet_id();
                    let topic = topic::uplink(&body.identity.device, lane);
                    let packet = mqtt::publish(&topic, packet_id, frame);
                    let records = key::records(device, frame);
                    body.link.in_flight.insert(packet_id, (handle, records));
                    self.know(&Fact::Published { device, lane, frame });
                    self.send_up(conn, &packet);
                }
            }
        }
        self.report(device);
    }

    fn subscribe(&mut self, device: usize) {
        let body = &mut self.bodies[device];
        let Some(conn) = body.link.conn else { return };
        let packet_id = body.link.next_packet_id();
        let packet = mqtt::subscribe(&topic::downlink(&body.identity.device), packet_id);
        self.send_up(conn, &packet);
    }

    fn notice(&mut self, device: usize, notice: &Notice) {
        let words = format!("{notice:?}");
        self.trace.note(self.now_ms, b'n', words.as_bytes(), format_args!("device {device}: {words}"));
        let id = |alarm: &AlarmId| RecordId { device, boot: alarm.boot.0, seq: alarm.seq.0 };
        match notice {
            Notice::AlarmRaised { alarm, .. } => self.know(&Fact::Raised(id(alarm))),
            Notice::AlarmReceipt { alarm, receipt: Receipt::Seen } => self.know(&Fact::Seen(id(alarm))),
            _ => {}
        }
    }

    /// What the device says of itself, and when it wants to be polled.
    fn report(&mut self, device: usize) {
        let body = &mut self.bodies[device];
        let Some(logic) = &body.device else { return };
        let ledger = logic.ledger();
        // A deadline that has passed was polled already.
        let poll_at_ms = logic.poll_at().map(|at_ms| (body.booted_ms + at_ms).max(self.now_ms + 1));
        if let Some(at_ms) = poll_at_ms.filter(|at| body.poll_at_ms.is_none_or(|arranged| *at < arranged)) {
            body.poll_at_ms = Some(at_ms);
            let life = body.life;
            self.events.add(at_ms, Event::Poll { device, life });
        }
        self.know(&Fact::Issued {
            device,
            boot: ledger.boot.0,
            count: ledger.issued,
            balances: ledger.balances(),
        });
    }
}
