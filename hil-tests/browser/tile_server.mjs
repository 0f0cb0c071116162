// A tile server of a force: pictures of plain ground with a line around each tile, and trouble on demand.
import { createServer } from 'node:http';
import { crc32, deflateSync } from 'node:zlib';

const SIDE_PX = 256;

export class TileServer {
  #server;
  #is_down = false;
  /** Headers of every request. */
  asked = [];

  static async start() {
    const one = new TileServer();
    const picture = tile();
    one.#server = createServer((request, response) => {
      one.asked.push(request.headers);
      if (one.#is_down) return response.writeHead(500).end();
      response.writeHead(200, { 'Content-Type': 'image/png' }).end(picture);
    });
    await new Promise((resolve) => one.#server.listen(0, '127.0.0.1', resolve));
    return one;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}/{z}/{x}/{y}.png`;
  }

  down(is_down) {
    this.#is_down = is_down;
  }

  stop() {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** A PNG in greys: light, with a darker edge. */
function tile() {
  const row = (edge) => Buffer.concat([Buffer.from([0]), Buffer.alloc(SIDE_PX, edge ? 0xa8 : 0xe4)]);
  const line = row(false);
  line[1] = 0xa8;
  const rows = [row(true), ...Array.from({ length: SIDE_PX - 1 }, () => line)];
  const header = Buffer.alloc(13);
  header.writeUInt32BE(SIDE_PX, 0);
  header.writeUInt32BE(SIDE_PX, 4);
  header[8] = 8;
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(Buffer.concat(rows))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(name, data) {
  const body = Buffer.concat([Buffer.from(name), data]);
  const framed = Buffer.alloc(8 + body.length);
  framed.writeUInt32BE(data.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32(body), framed.length - 4);
  return framed;
}
