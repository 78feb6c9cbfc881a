/**
 * The jail's end of its way out. TLS connections of this process go to the egress proxy's unix socket by themselves:
 * `https`, `fetch` and WebSocket libraries all come by `tls.connect`, and none of them reads HTTPS_PROXY in Node 20
 * (axios does, and asks proxies what they refuse, so it stays unset). Everything else finds the proxy at
 * 127.0.0.1:3128. What may be reached is decided at the other end, outside; nothing here is trusted.
 */
'use strict';

const net = require('node:net');
const tls = require('node:tls');
const { syncBuiltinESMExports } = require('node:module');
const { Duplex } = require('node:stream');

const FORWARDER = { host: '127.0.0.1', port: 3128 };
const HEAD_BYTES_MAX = 4096;
const LOOPBACK = /^(?:localhost|127\.\d+\.\d+\.\d+|::1|)$/;

/** Resolves once the way is open; does nothing in a jail without one. */
exports.openWayOut = async () => {
  const proxy = process.env.MILLICENT_EGRESS;
  if (!proxy) return;
  await listen(proxy);
  const connectDirectly = tls.connect;
  tls.connect = (...given) => {
    const { options, callback } = normalise(given);
    const { host = 'localhost', port } = options;
    if (options.socket || options.path || LOOPBACK.test(host)) return connectDirectly(...given);
    const servername = options.servername ?? (net.isIP(host) ? '' : host);
    return connectDirectly({ ...options, servername, socket: new Tunnel(proxy, host, port) }, callback);
  };
  syncBuiltinESMExports();
};

/** `tls.connect` takes (options), (port, options), (port, host, options), each with a callback or without. */
function normalise(given) {
  const callback = given.find((argument) => typeof argument === 'function');
  const [first, second] = given;
  const options = given.find((argument) => typeof argument === 'object' && argument !== null) ?? {};
  if (typeof first === 'object' || Number.isNaN(Number(first))) return { options, callback };
  const named = typeof second === 'string' ? { host: second } : {};
  return { options: { ...options, ...named, port: Number(first) }, callback };
}

/** For other programs of the jail: carries connections from loopback to the proxy. */
function listen(proxy) {
  return new Promise((resolve, reject) => {
    const server = net.createServer({ allowHalfOpen: true }, (client) => {
      const remote = net.connect({ path: proxy, allowHalfOpen: true });
      const end = () => {
        client.destroy();
        remote.destroy();
      };
      client.on('error', end).pipe(remote).on('error', end).pipe(client);
    });
    server.once('error', reject);
    // A server that has nothing else to do may end.
    server.listen(FORWARDER, () => resolve()).unref();
  });
}

/** A connection to a host through the proxy (RFC 9110, section 9.3.6: CONNECT). */
class Tunnel extends Duplex {
  constructor(proxy, host, port) {
    super({ allowHalfOpen: true });
    this.host = host;
    this.authority = `${net.isIPv6(host) ? `[${host}]` : host}:${port}`;
    this.carrier = net.connect({ path: proxy, allowHalfOpen: true });
    this.carrier.on('error', (error) => this.destroy(error));
    this.carrier.once('close', () => {
      if (!this.readableEnded) this.destroy();
    });
  }

  _construct(callback) {
    const { carrier } = this;
    let head = Buffer.alloc(0);
    const fail = (why) => {
      carrier.off('data', read).off('end', cut);
      callback(Object.assign(new Error(`${this.authority} cannot be reached: ${why}`), { code: 'EACCES' }));
    };
    const cut = () => fail(head.toString('latin1').split('\r\n\r\n')[1]?.trim() || 'the proxy hung up');
    const read = (chunk) => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf('\r\n\r\n');
      const isAccepted = /^HTTP\/1\.1 2/.test(head.toString('latin1', 0, 10));
      // A refusal says why in its body, and then hangs up.
      if (end < 0 || !isAccepted) return head.length > HEAD_BYTES_MAX ? fail('the proxy is odd') : undefined;
      carrier.off('data', read).off('end', cut).pause();
      carrier.on('data', (data) => {
        if (!this.push(data)) carrier.pause();
      });
      carrier.once('end', () => this.push(null));
      const rest = head.subarray(end + 4);
      if (rest.length > 0) this.push(rest);
      return callback();
    };
    carrier.on('data', read).once('end', cut);
    carrier.write(`CONNECT ${this.authority} HTTP/1.1\r\nHost: ${this.authority}\r\n\r\n`);
  }

  _read() {
    this.carrier.resume();
  }

  _write(chunk, _encoding, callback) {
    this.carrier.write(chunk, callback);
  }

  _final(callback) {
    this.carrier.end(callback);
  }

  _destroy(error, callback) {
    this.carrier.destroy();
    callback(error);
  }
}
