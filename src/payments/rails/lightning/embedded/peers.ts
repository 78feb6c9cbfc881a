import { connect, createServer, type Server, type Socket } from 'node:net';
import {
  Option_SocketAddressZ,
  Result_boolPeerHandleErrorZ_OK,
  Result_CVec_u8ZPeerHandleErrorZ_OK,
  SocketDescriptor,
} from 'lightningdevkit';
import { fromHex, toHex, unwrap } from './ldk.ts';
import type { LightningNode } from './node.ts';

const HOST = '127.0.0.1';
const REDIAL_MS = 100;

let lastSocket = 0n;

/** Lets other nodes of this machine connect to ours (BOLT 8 over TCP). */
export async function listenForPeers(
  node: LightningNode,
  port: number,
): Promise<{ port: number; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const descriptor = bridge(node, socket);
    const result = node.parts.peerManager.new_inbound_connection(
      descriptor,
      Option_SocketAddressZ.constructor_none(),
    );
    if (!result.is_ok()) socket.destroy();
  });
  const close = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { port: await listenNear(server, port), close };
}

/** Listens where it did before when that is free, else where there is room. */
export async function listenNear(server: Server, port: number): Promise<number> {
  const attempt = (wanted: number) =>
    new Promise<number>((resolve, reject) => {
      server.once('error', reject);
      server.once('listening', () => {
        server.off('error', reject);
        const address = server.address();
        resolve(typeof address === 'object' && address ? address.port : wanted);
      });
      server.listen(wanted, HOST);
    });
  if (port === 0) return attempt(0);
  return attempt(port).catch(() => attempt(0));
}

/** Keeps a connection to a peer, which may move to another port, until the returned function is called. */
export function keepConnected(
  node: LightningNode,
  findPeer: () => { id: string; port: number } | undefined,
): () => void {
  let isStopped = false;
  let socket: Socket | undefined;
  let timer: NodeJS.Timeout | undefined;
  const redial = () => {
    if (!isStopped) timer = setTimeout(dial, REDIAL_MS);
  };
  const dial = () => {
    const peer = findPeer();
    if (peer === undefined) {
      redial();
      return;
    }
    socket = connect(peer.port, HOST);
    socket.once('connect', () => greet(node, socket, peer.id));
    socket.once('close', redial);
    // `close` follows, and dials again.
    socket.on('error', () => {});
  };
  dial();
  return () => {
    isStopped = true;
    clearTimeout(timer);
    socket?.destroy();
  };
}

export function isConnected(node: LightningNode, peerId: string): boolean {
  return node.parts.peerManager
    .list_peers()
    .some((peer) => toHex(peer.get_counterparty_node_id()) === peerId);
}

function greet(node: LightningNode, socket: Socket | undefined, peerId: string): void {
  if (socket === undefined) return;
  const descriptor = bridge(node, socket);
  const result = node.parts.peerManager.new_outbound_connection(
    fromHex(peerId),
    descriptor,
    Option_SocketAddressZ.constructor_none(),
  );
  if (result.is_ok()) socket.write(unwrap(result, Result_CVec_u8ZPeerHandleErrorZ_OK, 'a greeting'));
  else socket.destroy();
}

/** A socket as LDK sees it. Node buffers what the peer is slow to read: LDK bounds what it has under way. */
function bridge(node: LightningNode, socket: Socket): SocketDescriptor {
  lastSocket += 1n;
  const number = lastSocket;
  let isGone = false;
  const descriptor = SocketDescriptor.new_impl({
    send_data: (bytes) => {
      if (!socket.destroyed) socket.write(new Uint8Array(bytes));
      return bytes.length;
    },
    disconnect_socket: () => {
      // LDK has forgotten the connection, and must not be told of its end.
      isGone = true;
      socket.destroy();
    },
    eq: (other) => other.hash() === number,
    hash: () => number,
  });
  socket.setNoDelay(true);
  socket.on('data', (bytes) => {
    if (isGone) return;
    const result = node.parts.peerManager.read_event(descriptor, new Uint8Array(bytes));
    if (!(result instanceof Result_boolPeerHandleErrorZ_OK)) {
      isGone = true;
      socket.destroy();
    }
    void node.commit();
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    if (!isGone) node.parts.peerManager.socket_disconnected(descriptor);
    isGone = true;
    void node.commit();
  });
  return descriptor;
}
