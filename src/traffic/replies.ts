import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { MutedMessage } from './muted-message.ts';

/**
 * The answer to one request. Node's response object, made, filled in and ended, costs more than all the rest of a
 * small answer: a bare reply does without, and has one made for it the moment somebody asks for it.
 */
export type Reply = {
  readonly incoming: IncomingMessage;
  /** Node's response; asking makes it, and the answer then goes out by it alone. */
  readonly outgoing: ServerResponse;
  /** Whether `write` is still open: there is no response, and the connection lives on behind the answer. */
  readonly isBare: boolean;
  /** A whole answer as it goes out, head and body, in ASCII; once, and only by a bare reply. */
  write(text: string): void;
};

/** A reply by a response that is there already. */
export function replyBy(incoming: IncomingMessage, outgoing: ServerResponse): Reply {
  const write = () => {
    throw new TypeError('a reply that has its response is written by that');
  };
  return { incoming, outgoing, isBare: false, write };
}

export type Replies = {
  /** Offers the requests of a connection before Node makes responses for them. */
  watch(socket: Socket): void;
  /** Whether Node made this response for a reply that was taken before: nobody else is to answer it. */
  claims(incoming: IncomingMessage, outgoing: ServerResponse): boolean;
  /** Makes the response of the reply that a connection waits for, if there is one. */
  settle(socket: Socket): void;
};

export type RepliesOptions = {
  /**
   * True when it takes the request, and sees to its answer. It takes none that has a body, which nobody would read,
   * and asks none for its response that it leaves. Of one that it takes the end is not told before it asked for it.
   */
  offer(reply: Reply): boolean;
  /** What was taken is answered, or has nobody to be answered to. Once for each. */
  close(): void;
  /** How long a connection may say nothing behind an answer that was written here. */
  idleMs: number;
};

/** A connection as replies see it. */
type Seat = {
  socket: NodeSocket;
  /** Node's own way to take a request in: makes its response, puts it in line, and emits both. */
  take: TakeIn;
  pending: BareReply | undefined;
  /** How many were answered since the last turn of the event loop that was looked at. */
  streak: number;
  /** Whether the connection's timer is ours. Node sets its own behind each of its responses. */
  isTimed: boolean;
};
type TakeIn = (incoming: IncomingMessage, isKept: boolean) => number;
/** What Node keeps on the socket of a server's connection: no part of its types, and the same in all its versions. */
type NodeSocket = Socket & { parser?: { onIncoming?: TakeIn | null } | null; _httpMessage?: object | null };

/** Stands for the response that a connection is busy with: to Node it is neither idle nor timed out. */
const BUSY = Object.freeze({ finished: false, emit: () => true });

/**
 * Where this Node takes requests in by another way than the one it is asked for here, nothing is offered and every
 * request has its response.
 */
export function createReplies(options: RepliesOptions): Replies {
  const seats = new WeakMap<Socket, Seat>();
  let making: { incoming: IncomingMessage; made?: ServerResponse } | undefined;

  function make(seat: Seat, incoming: IncomingMessage): ServerResponse | undefined {
    making = { incoming };
    try {
      handOver(seat, incoming, true);
      return making.made;
    } finally {
      making = undefined;
    }
  }

  const ways = { make, close: options.close, idleMs: options.idleMs };
  return {
    watch(socket) {
      const { parser } = socket as NodeSocket;
      const take = parser?.onIncoming;
      if (!parser || typeof take !== 'function') return;
      const seat: Seat = { socket, take, pending: undefined, streak: 0, isTimed: false };
      seats.set(socket, seat);
      parser.onIncoming = (incoming, isKept) => {
        // What comes behind another answer is Node's to put in line.
        void seat.pending?.outgoing;
        if (isKept && isFree(seat, incoming)) {
          const reply = new BareReply(seat, incoming, ways);
          if (options.offer(reply)) {
            reply.wait();
            return 0;
          }
        }
        return handOver(seat, incoming, isKept);
      };
    },
    claims(incoming, outgoing) {
      if (making?.incoming !== incoming) return false;
      making.made = outgoing;
      return true;
    },
    settle: (socket) => void seats.get(socket)?.pending?.outgoing,
  };
}

/** Who sends many requests at once has no more of a turn than so many answers; what is behind them waits in line. */
const STREAK_MAX = 64;
const STREAK_LOOKED_AT = 16;

function isFree(
  { socket, streak }: Seat,
  { httpVersion, upgrade }: IncomingMessage & { upgrade?: boolean },
): boolean {
  const isIdle = !socket._httpMessage && !socket.writableNeedDrain && socket.writable && streak < STREAK_MAX;
  return isIdle && httpVersion === '1.1' && upgrade !== true;
}

function endStreak(seat: Seat): void {
  seat.streak = 0;
}

function handOver(seat: Seat, incoming: IncomingMessage, isKept: boolean): number {
  if (seat.isTimed) {
    seat.isTimed = false;
    // A call may take longer than a connection may be silent.
    seat.socket.setTimeout(0);
  }
  return seat.take(incoming, isKept);
}

type BareReplyOptions = Pick<RepliesOptions, 'close' | 'idleMs'> & {
  make(seat: Seat, incoming: IncomingMessage): ServerResponse | undefined;
};

/** A class, because an object with functions of its own costs more. */
class BareReply implements Reply {
  readonly incoming: IncomingMessage;
  readonly #seat: Seat;
  readonly #options: BareReplyOptions;
  #response: ServerResponse | undefined;
  #isWritten = false;

  constructor(seat: Seat, incoming: IncomingMessage, options: BareReplyOptions) {
    this.incoming = incoming;
    this.#seat = seat;
    this.#options = options;
  }

  get isBare(): boolean {
    return !this.#response && !this.#isWritten;
  }

  get outgoing(): ServerResponse {
    if (!this.#response) {
      this.#response = this.#respond();
      // Once it is there: who hears the end may ask for it.
      if (this.incoming instanceof MutedMessage) this.incoming.unmute();
    }
    return this.#response;
  }

  write(text: string): void {
    if (!this.isBare) throw new TypeError('this reply is not bare any more');
    this.#isWritten = true;
    this.#release();
    this.#options.close();
    const seat = this.#seat;
    const { socket } = seat;
    if (!socket.writable) return;
    socket.write(text, 'latin1');
    seat.streak += 1;
    if (seat.streak === STREAK_LOOKED_AT) setImmediate(endStreak, seat);
    if (seat.isTimed) return;
    seat.isTimed = true;
    socket.setTimeout(this.#options.idleMs);
  }

  /** Keeps the connection's place for an answer that is still to come. */
  wait(): void {
    if (this.#response) return;
    if (this.incoming instanceof MutedMessage) this.incoming.mute();
    if (this.#isWritten) return;
    this.#seat.pending = this;
    this.#seat.socket._httpMessage = BUSY;
  }

  #release(): void {
    if (this.#seat.pending !== this) return;
    this.#seat.pending = undefined;
    this.#seat.socket._httpMessage = null;
  }

  #respond(): ServerResponse {
    this.#release();
    const { socket } = this.#seat;
    const isOpen = !socket.destroyed && !this.#isWritten;
    const made = isOpen ? this.#options.make(this.#seat, this.incoming) : undefined;
    if (made) return made.once('close', this.#options.close);
    // There is nobody to answer any more: what is written to this one goes nowhere.
    if (!this.#isWritten) this.#options.close();
    const outgoing = new ServerResponse(this.incoming);
    outgoing.destroy();
    return outgoing;
  }
}
