// A device that sends what nobody can read, as broken firmware would: MQTT 3.1.1 (OASIS, 3.1 and 3.3) over mutual TLS, QoS 1, as fast as
// it is acknowledged. All of it is kept in quarantine, so that a small spool fills up within seconds.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';

/** The largest packet that a front door takes by default, with its head. */
const PAYLOAD = Buffer.alloc(1_900, 0xff);
/** Publications that wait for their PUBACK. */
const WINDOW = 8;

const text = (words) => Buffer.concat([Buffer.from([words.length >> 8, words.length & 0xff]), Buffer.from(words)]);

/** A packet: its first byte, then its length, seven bits a byte, then the rest (2.2.3). */
function packet(first, ...parts) {
  const body = Buffer.concat(parts);
  const length = [];
  for (let left = body.length; left > 0 || length.length === 0; left >>= 7) length.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
  return Buffer.concat([Buffer.from([first, ...length]), body]);
}

export class Noise {
  #socket;

  /** Begins. `folder` has the device's files of `fieldpost pki issue`. */
  static begin({ host, port, folder, device }) {
    const one = new Noise();
    const file = (name) => readFileSync(join(folder, name));
    const identity = { key: file(`${device}.key`), cert: file(`${device}.pem`), ca: file('ca.pem') };
    one.#socket = connect({ host, port, servername: 'localhost', ...identity }, () => {
      const flags = Buffer.from([0x04, 0x02, 0x00, 0x3c]); // Version 3.1.1, a clean session, a minute of keep-alive.
      one.#socket.write(packet(0x10, text('MQTT'), flags, text(device)));
    });
    let number = 0;
    const publish = () => {
      number = (number % 0xffff) + 1;
      one.#socket.write(packet(0x32, text(`fp1/${device}/live`), Buffer.from([number >> 8, number & 0xff]), PAYLOAD));
    };
    // CONNACK and PUBACK are four bytes each (3.2, 3.4).
    let heard = Buffer.alloc(0);
    one.#socket.on('data', (bytes) => {
      heard = Buffer.concat([heard, bytes]);
      for (; heard.length >= 4; heard = heard.subarray(4)) {
        if (heard[0] === 0x20) for (let each = 0; each < WINDOW; each += 1) publish();
        else publish();
      }
    });
    // A gateway that is full says nothing any more, and may hang up.
    one.#socket.on('error', () => undefined);
    return one;
  }

  end() {
    this.#socket.destroy();
  }
}
