import { IncomingMessage } from 'node:http';

/**
 * A request whose end need not be told. Node tells it by an event in a turn of its own, which costs more than reading
 * the request did; of one that a bare reply answers nobody would hear it.
 */
export class MutedMessage extends IncomingMessage {
  #isMuted = false;

  mute(): void {
    this.#isMuted = true;
  }

  /** As every other request from here on, its end included if that was there meanwhile. */
  unmute(): void {
    if (!this.#isMuted) return;
    this.#isMuted = false;
    if (this.complete) this.push(null);
  }

  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    return this.#isMuted && chunk === null ? false : super.push(chunk, encoding);
  }
}
